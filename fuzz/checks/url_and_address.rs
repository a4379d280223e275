//! Which address may be registered: what is judged is what is called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k_webhooks::{
    endpoint_url::EndpointUrl,
    transport::{AddressPolicy, CallRules},
};
use url::{Position, Url};

/// The rules of production, and those of development.
fn rules(development: bool, addresses: &AddressPolicy) -> CallRules {
    CallRules {
        allow_http: development,
        allow_short_names: development,
        allow_names: Vec::new(),
        addresses: addresses.clone(),
        ports: vec!["1-65535".parse().expect("a range")],
        own: Vec::new(),
    }
}

pub(crate) fn check(data: &[u8]) {
    let strict = AddressPolicy::new(Vec::new());
    let development = AddressPolicy::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    if let Ok(text) = std::str::from_utf8(data) {
        for (allow_http, addresses) in [(false, &strict), (true, &development)] {
            if let Ok(url) = EndpointUrl::parse(text, &rules(allow_http, addresses)) {
                accepted(text, &url, allow_http, addresses);
            }
        }
    }
    if let Some(bytes) = data.first_chunk::<4>() {
        let address = Ipv4Addr::from(*bytes);
        // No spelling of an address opens what the address itself does not.
        for spelled in [address.to_ipv6_mapped(), address.to_ipv6_compatible()] {
            assert!(strict.check(spelled.into()).is_err(), "{spelled}");
            let open = development.check(spelled.into()).is_ok();
            assert!(!open || development.check(address.into()).is_ok(), "{spelled}");
        }
    }
    if let Some(bytes) = data.first_chunk::<16>() {
        let address = Ipv6Addr::from(*bytes);
        let global = address.segments()[0] >> 13 == 1;
        assert!(global || strict.check(address.into()).is_err(), "{address}");
    }
}

fn accepted(text: &str, url: &EndpointUrl, allow_http: bool, addresses: &AddressPolicy) {
    assert_eq!(url.as_str(), text);
    let stored = EndpointUrl::from_stored(text).expect("what was accepted can be read again");
    assert_eq!(stored.uri(), url.uri());

    // Two parsers, one address.
    let (judged, called) = (Url::parse(text).expect("a URL"), url.uri());
    let host = called.host().expect("a host");
    assert_eq!(judged.host_str(), Some(host), "{text}");
    assert_eq!(called.scheme_str(), Some(judged.scheme()), "{text}");
    assert!(judged.scheme() == "https" || (allow_http && judged.scheme() == "http"), "{text}");
    let port = called.port_u16().or_else(|| judged.port_or_known_default());
    assert_eq!(port, judged.port_or_known_default(), "{text}");
    assert_eq!(called.port_u16(), judged.port(), "{text}");
    assert!(port.is_some_and(|port| port != 0), "{text}");
    let path = called.path_and_query().expect("a path").as_str();
    assert_eq!(path, &judged[Position::BeforePath..Position::AfterQuery], "{text}");
    assert!(!called.authority().expect("an authority").as_str().contains('@'), "{text}");
    assert!(!text.chars().any(|character| character.is_whitespace() || character.is_control()), "{text:?}");

    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        assert_eq!(addresses.check(address), Ok(()), "{text}");
    } else {
        // Nor is it a spelling of an address that a resolver reads as one, such as 127.1 or 0x7f000001.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let number = last.strip_prefix("0x").unwrap_or(last);
        assert!(!number.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    }
}
