//! Who is at the other end: the peer, or the client that a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

use super::serve::{Peer, network};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The network of the client: an IPv4 address, or an IPv6 network of /64. Of the addresses in `X-Forwarded-For` the last
/// that is not a trusted proxy's counts, for what stands before it is the client's own word. None where a proxy says what
/// cannot be read: its clients are not to suffer for one another.
pub(super) fn client_network(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let Peer(peer) = *extensions.get()?;
    let is_trusted = |address: &IpAddr| trusted.iter().any(|proxies| proxies.contains(address));
    if !is_trusted(&peer) {
        return Some(network(peer));
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let named = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for text in named {
        match address_of(text.trim()) {
            Some(address) if is_trusted(&address) => {}
            Some(address) => return Some(network(address)),
            None => return None,
        }
    }
    Some(network(peer))
}

/// An address, perhaps with a port, as some proxies write it.
fn address_of(text: &str) -> Option<IpAddr> {
    let address = text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_network(&extensions, &headers, &trusted)
            .map_or_else(String::new, |network| network.to_string())
    }

    #[test]
    fn a_client_cannot_give_itself_another_address() {
        assert_eq!(client("203.0.113.7", &["198.51.100.1"]), "203.0.113.7", "the peer is no proxy of ours");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "203.0.113.7, 10.0.0.2"]), "203.0.113.7");
    }

    #[test]
    fn what_a_proxy_does_not_say_is_the_proxy_itself() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown"]), "", "which is nobody in particular");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(client("2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(client("fd00::1", &["2001:db8:1:2:aaaa::1"]), "2001:db8:1:2::");
    }

    #[test]
    fn addresses_are_read_with_their_ports_and_in_ipv6s_clothes() {
        assert_eq!(
            client("10.0.0.1", &["198.51.100.1:443, ::ffff:10.0.0.2, 203.0.113.7:51234"]),
            "203.0.113.7"
        );
        assert_eq!(client("10.0.0.1", &["203.0.113.7, ::ffff:10.0.0.2"]), "203.0.113.7");
        assert_eq!(client("fd00::1", &["[2001:db8:1:2::7]:443"]), "2001:db8:1:2::");
    }
}
