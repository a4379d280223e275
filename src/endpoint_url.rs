//! An address that a merchant registers: parsed and judged once, at the edge.

use std::{fmt, net::IpAddr};

use http::Uri;
use rustls::pki_types::DnsName;
use url::{Host, Url};

use crate::transport::{AddressPolicy, Forbidden};

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
        // The parser drops or encodes them, and what is shown would not be what is called.
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("must not contain white space or control characters".to_owned());
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => "must have a host".to_owned(),
            error => format!("must be a URL: {error}"),
        })?;
        match url.scheme() {
            "https" => {}
            "http" if rules.allow_http => {}
            _ if rules.allow_http => return Err("must be https or http".to_owned()),
            _ => return Err("must be https".to_owned()),
        }
        // The parser drops user info that is empty, so the text itself is looked at.
        if authority(text).contains('@') {
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
    rules
        .addresses
        .check(address)
        .map_err(|Forbidden { address, reason }| format!("must not point to {address}, which is {reason}"))
}

/// What stands between the scheme and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest).trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// Refuses names that are local wherever they are asked for (RFC 6761, RFC 6762, RFC 8375, and what clouds use). A name
/// that resolves to a forbidden address is refused when it is called.
fn check_name(name: &str, rules: &UrlRules) -> Result<(), String> {
    const LOCAL: [&str; 5] = ["local", "localdomain", "internal", "home.arpa", "onion"];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_in =
        |domain: &str| name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if DnsName::try_from(name.as_str()).is_err() {
        return Err("must have a host that is a name of the DNS".to_owned());
    }
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
    fn each_bad_address_is_told_why() {
        for (bad, why) in [
            ("http://example.com/", "must be https"),
            ("ftp://example.com/", "must be https"),
            ("example.com/hooks", "must be a URL"),
            ("", "must be a URL"),
            ("https://", "must have a host"),
            ("https://:443/", "must have a host"),
            ("https://./", "a name of the DNS"),
            ("https://a..example.com/", "a name of the DNS"),
            ("https://-/", "a name of the DNS"),
            (&format!("https://{}.example/", "x".repeat(64)), "a name of the DNS"),
            ("https://@example.com/", "user info"),
            ("https://:@example.com/", "user info"),
            ("https:\\\\user@example.com/", "user info"),
            ("javascript:alert(1)", "must be https"),
            ("file:///etc/passwd", "must be https"),
            ("//example.com/", "must be a URL"),
            ("https://example.com:99999/", "must be a URL"),
            ("https://example.com/#", "fragment"),
            ("https://example.com:00/", "port 0"),
            ("https://example.com/a\u{a0}b", "white space"),
            ("https://example.com/\u{7f}", "control characters"),
            (" https://example.com/", "white space"),
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
            ("https://0177.0.0.1/", "a loopback address"),
            ("https://127.0.1/", "a loopback address"),
            ("https://127.0.0.1./", "a loopback address"),
            ("https://127。0。0。1/", "a loopback address"),
            ("https://①②⑦.0.0.1/", "a loopback address"),
            ("https://0/", "this network"),
            ("https://[::]/", "unspecified"),
            ("https://[fe80::1]/", "link-local"),
            ("https://[fe80::1%25eth0]/", "must be a URL"),
            ("https://[::ffff:7f00:1]/", "a loopback address"),
            ("https://[64:ff9b::a9fe:a9fe]/", "metadata"),
            ("https://[fd00:ec2::254]/", "metadata"),
            ("https://[::1]/", "a loopback address"),
            ("https://[::ffff:10.0.0.5]/", "a private address"),
            ("https://10.0.0.5/", "a private address"),
            ("https://169.254.169.254/latest/meta-data", "metadata"),
            ("https://localhost/", "this machine"),
            ("https://LOCALHOST./", "this machine"),
            ("https://a.localhost/", "this machine"),
            ("https://localhost.localdomain/", ".localdomain"),
            ("https://router.home.arpa/", ".home.arpa"),
            ("https://HOME.ARPA./", ".home.arpa"),
            ("https://internal/", ".internal"),
            ("https://Printer.LOCAL./", ".local"),
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
