//! An address that a merchant registers: parsed and judged once, at the edge.

use std::{fmt, net::IpAddr};

use http::Uri;
use url::{Host, Url};

use crate::transport::AddressPolicy;

/// The longest address, in characters.
pub const URL_CHARS_MAX: usize = 2048;

/// What may be registered.
#[derive(Clone, Debug)]
pub struct UrlRules {
    /// Whether http is accepted besides https.
    pub allow_http: bool,
    /// Which IP addresses may stand in an address.
    pub addresses: AddressPolicy,
}

/// An address that can be called.
#[derive(Clone, Debug)]
pub struct EndpointUrl {
    text: String,
    uri: Uri,
}

impl EndpointUrl {
    /// Judges an address as a merchant gives it. The error completes the sentence "the url …".
    pub fn parse(text: &str, rules: &UrlRules) -> Result<Self, String> {
        if text.chars().count() > URL_CHARS_MAX {
            return Err("must be at most 2,048 characters".to_owned());
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("must not contain white space or control characters".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if rules.allow_http => {}
            _ if rules.allow_http => return Err("must be https or http".to_owned()),
            _ => return Err("must be https".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain user info".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not contain a fragment".to_owned());
        }
        if url.port() == Some(0) {
            return Err("must not have port 0".to_owned());
        }
        match url.host() {
            None => return Err("must have a host".to_owned()),
            Some(Host::Ipv4(address)) => check(address.into(), rules)?,
            Some(Host::Ipv6(address)) => check(address.into(), rules)?,
            Some(Host::Domain(name)) => check_name(name, rules)?,
        }
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

fn check(address: IpAddr, rules: &UrlRules) -> Result<(), String> {
    rules.addresses.check(address).map_err(|forbidden| format!("must not point to {forbidden}"))
}

/// Refuses names that are local wherever they are asked for (RFC 6761, RFC 6762, RFC 8375, and what clouds use). A name
/// that resolves to a forbidden address is refused when it is called.
fn check_name(name: &str, rules: &UrlRules) -> Result<(), String> {
    const LOCAL: [&str; 5] = ["local", "localdomain", "internal", "home.arpa", "onion"];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_in =
        |domain: &str| name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if is_in("localhost") {
        let loopback = rules.addresses.check(IpAddr::from([127, 0, 0, 1]));
        return loopback.map_err(|_| format!("must not point to {name}, which is this machine"));
    }
    match LOCAL.into_iter().find(|domain| is_in(domain)) {
        Some(domain) => Err(format!("must not point to a name under .{domain}, which is not public")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict() -> UrlRules {
        UrlRules { allow_http: false, addresses: AddressPolicy::new(Vec::new()) }
    }

    fn development() -> UrlRules {
        UrlRules { allow_http: true, addresses: AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]) }
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
            "https://mylocal/",
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
    fn each_bad_address_is_told_why() {
        for (bad, why) in [
            ("http://example.com/", "must be https"),
            ("ftp://example.com/", "must be https"),
            ("example.com/hooks", "must be a URL"),
            ("", "must be a URL"),
            ("https://", "must be a URL"),
            ("https://user@example.com/", "user info"),
            ("https://user:secret@example.com/", "user info"),
            ("https://:secret@example.com/", "user info"),
            ("https://example.com/#part", "fragment"),
            ("https://example.com:0/", "port 0"),
            ("https://exa mple.com/", "white space"),
            ("https://example.com/\n", "white space"),
            ("https://127.0.0.1/", "a loopback address"),
            ("https://2130706433/", "a loopback address"),
            ("https://0x7f000001/", "a loopback address"),
            ("https://017700000001/", "a loopback address"),
            ("https://127.1/", "a loopback address"),
            ("https://%31%32%37.0.0.1/", "a loopback address"),
            ("https://[::1]/", "a loopback address"),
            ("https://[::ffff:10.0.0.5]/", "a private address"),
            ("https://10.0.0.5/", "a private address"),
            ("https://169.254.169.254/latest/meta-data", "metadata"),
            ("https://localhost/", "this machine"),
            ("https://LOCALHOST./", "this machine"),
            ("https://a.localhost/", "this machine"),
            ("https://printer.local/", ".local"),
            ("https://metadata.google.internal/", ".internal"),
        ] {
            let error = EndpointUrl::parse(bad, &strict()).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn development_may_call_this_machine_over_http_and_nothing_else_that_is_private() {
        for good in ["http://127.0.0.1:3000/hooks", "http://localhost:3000/hooks", "https://example.com/"] {
            assert!(EndpointUrl::parse(good, &development()).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.5/", "http://192.168.0.1/", "gopher://example.com/"] {
            assert!(EndpointUrl::parse(bad, &development()).is_err(), "{bad}");
        }
    }
}
