//! Names that an operator lists.

use std::str::FromStr;

use rustls::pki_types::DnsName;
use serde::Deserialize;

/// A name, or with `*.` before it every name below it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NamePattern {
    /// In lower case, without the dot of the root.
    name: String,
    below: bool,
}

impl NamePattern {
    /// Whether `name` is meant, in whichever case, with or without the dot of the root.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match name.strip_suffix(&self.name) {
            Some(rest) if self.below => rest.ends_with('.'),
            Some(rest) => rest.is_empty(),
            None => false,
        }
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |domain| (domain, true));
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.ends_with('.') || DnsName::try_from(name).is_err() {
            return Err(format!(
                "{text:?} is not a name, such as receiver, hooks.corp.example or *.corp.example; names of other \
                 letters are written as the DNS has them, xn--…"
            ));
        }
        Ok(Self { name: name.to_ascii_lowercase(), below })
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_name_or_all_below_it() {
        let matches = |pattern: &str, name: &str| pattern.parse::<NamePattern>().unwrap().matches(name);
        assert!(matches("Hooks.Corp.example.", "hooks.corp.EXAMPLE"));
        assert!(matches("receiver", "receiver."));
        assert!(!matches("corp.example", "hooks.corp.example"));
        assert!(matches("*.corp.example", "a.hooks.corp.example"));
        assert!(!matches("*.corp.example", "corp.example"));
        assert!(!matches("*.corp.example", "notcorp.example"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", "*", "*.", "*.*", "a.*.example", "..", "a..b", "10.0.0.5", "::1", "a b", "bücher.example"]
        {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
    }
}
