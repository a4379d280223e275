//! An address that a merchant registers: parsed and judged once, at the edge.

use std::{fmt, net::SocketAddr};

use http::Uri;
use rustls::pki_types::DnsName;
use url::{Host, Url};

use crate::transport::{CallRules, Forbidden};

/// The longest address, in characters.
pub const URL_CHARS_MAX: usize = 2048;

/// An address that can be called.
#[derive(Clone, Debug)]
pub struct EndpointUrl {
    text: String,
    uri: Uri,
}

impl EndpointUrl {
    /// Judges an address as a merchant gives it. The error completes the sentence "the url …".
    pub fn parse(text: &str, rules: &CallRules) -> Result<Self, String> {
        if text.chars().count() > URL_CHARS_MAX {
            return Err("must be at most 2,048 characters".to_owned());
        }
        // The parser drops or encodes them, and what is shown would not be what is called.
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("must not contain white space or control characters".to_owned());
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => "must have a host".to_owned(),
            error => format!("must be a URL: {error}"),
        })?;
        rules.check_scheme(url.scheme())?;
        // The parser drops user info that is empty, so the text itself is looked at.
        if authority(text).contains('@') {
            return Err("must not contain user info".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not contain a fragment".to_owned());
        }
        let port = url.port_or_known_default().unwrap_or_default();
        match url.host() {
            None => return Err("must have a host".to_owned()),
            Some(Host::Ipv4(address)) => check((address, port).into(), rules)?,
            Some(Host::Ipv6(address)) => check((address, port).into(), rules)?,
            Some(Host::Domain(name)) => check_name(name, port, rules)?,
        }
        rules
            .check_port(port)
            .map_err(|allowed| format!("must not use port {port}; those that are called: {allowed}"))?;
        Self::callable(text, &url)
    }

    /// Reads an address that was accepted before.
    pub fn from_stored(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        Self::callable(text, &url)
    }

    fn callable(text: &str, url: &Url) -> Result<Self, String> {
        let uri = url
            .as_str()
            .parse::<Uri>()
            .map_err(|error| format!("must be a URL that can be called: {error}"))?;
        Ok(Self { text: text.to_owned(), uri })
    }

    /// The address exactly as the merchant gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address as it is called.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check(address: SocketAddr, rules: &CallRules) -> Result<(), String> {
    rules
        .check_address(address)
        .map_err(|Forbidden { address, reason }| format!("must not point to {address}, which is {reason}"))
}

fn check_name(name: &str, port: u16, rules: &CallRules) -> Result<(), String> {
    // One dot at the end is the root. With more there are empty labels, and a number before them passes for a name.
    let relative = name.strip_suffix('.').unwrap_or(name);
    if relative.ends_with('.') || DnsName::try_from(relative).is_err() {
        return Err("must have a host that is a name of the DNS".to_owned());
    }
    rules.check_name(name, port).map_err(|what| format!("must not point to {name}, which is {what}"))
}

/// What stands between the scheme and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest).trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::transport::AddressPolicy;

    /// The forms of `tests/corpus/urls.txt`: verdict, what the refusal says, form.
    pub(crate) fn corpus() -> Vec<(&'static str, &'static str, String)> {
        let lines = include_str!("../tests/corpus/urls.txt").lines();
        let cases = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let cases = cases.map(|line| {
            let mut columns = line.splitn(3, '\t');
            let mut column = || columns.next().unwrap_or_else(|| panic!("three columns: {line}"));
            (column(), column(), unescaped(column()))
        });
        cases.collect()
    }

    fn unescaped(form: &str) -> String {
        let mut parts = form.split("\\u{");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (code, rest) = part.split_once('}').unwrap();
            text.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
            text.push_str(rest);
        }
        text
    }

    /// The rules of production.
    pub(crate) fn strict() -> CallRules {
        CallRules {
            allow_http: false,
            allow_short_names: false,
            allow_names: Vec::new(),
            addresses: AddressPolicy::new(Vec::new()),
            ports: ["80", "443", "1024-65535"].map(|range| range.parse().unwrap()).to_vec(),
            own: Vec::new(),
        }
    }

    #[test]
    fn a_name_that_the_operator_allows_may_be_local() {
        let rules = CallRules { allow_names: vec!["receiver".parse().unwrap()], ..strict() };
        assert!(EndpointUrl::parse("https://Receiver/hooks", &rules).is_ok());
        assert!(EndpointUrl::parse("https://other/hooks", &rules).is_err());
    }

    fn development() -> CallRules {
        CallRules {
            allow_http: true,
            allow_short_names: true,
            allow_names: Vec::new(),
            addresses: AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]),
            own: vec!["127.0.0.1:8081".parse().unwrap()],
            ..strict()
        }
    }

    #[test]
    fn public_https_addresses_are_accepted_and_kept_as_given() {
        for good in [
            "https://example.com/hooks",
            "https://example.com",
            "https://example.com:8443/a?b=c&d=%20",
            "https://bücher.example/hooks",
            "https://8.8.8.8/hooks",
            "https://[2606:4700::1111]/hooks",
            "https://notlocalhost.example/",
            "https://mylocal.example/",
            "https://internal.example/",
            "https://my_receiver.example.com/",
            "https://example.com./hooks",
            "https://example.com/@merchant?mail=a@b.example",
        ] {
            let url = EndpointUrl::parse(good, &strict()).expect(good);
            assert_eq!(url.as_str(), good);
            assert_eq!(EndpointUrl::from_stored(good).unwrap().uri(), url.uri());
        }
        let longest = format!("https://example.com/{}", "x".repeat(URL_CHARS_MAX - 20));
        assert!(EndpointUrl::parse(&longest, &strict()).is_ok());
        assert_eq!(
            EndpointUrl::parse(&format!("{longest}x"), &strict()).unwrap_err(),
            "must be at most 2,048 characters"
        );
    }

    #[test]
    fn every_form_of_the_corpus_is_judged_as_it_says() {
        let corpus = corpus();
        assert!(corpus.len() >= 400);
        let mut wrong = Vec::new();
        for (verdict, why, form) in corpus {
            let judged = EndpointUrl::parse(&form, &strict()).err();
            let right = match (verdict, &judged) {
                ("accept", None) => true,
                ("refuse" | "reject", Some(error)) => error.contains(why),
                _ => false,
            };
            if !right {
                wrong.push(format!("{verdict} {form:?} ({why}): {judged:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn development_may_call_this_machine_over_http_and_nothing_else_that_is_private() {
        for good in [
            "http://127.0.0.1:3000/hooks",
            "http://localhost:3000/hooks",
            "http://receiver:3000/hooks",
            "https://example.com/",
        ] {
            assert!(EndpointUrl::parse(good, &development()).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.5/", "http://192.168.0.1/", "gopher://example.com/"] {
            assert!(EndpointUrl::parse(bad, &development()).is_err(), "{bad}");
        }
        for own in
            ["http://127.0.0.1:8081/v1/events", "http://localhost:8081/", "http://[::ffff:7f00:1]:8081/"]
        {
            let error = EndpointUrl::parse(own, &development()).unwrap_err();
            assert!(error.contains("the service itself"), "{own}: {error}");
        }
    }
}
