//! Which addresses may be called: the public ones, and the networks that the operator allows.
//!
//! The table follows the IANA special-purpose address registries of IPv4 and IPv6. An IPv4 address inside an IPv6 one is
//! checked as what it is.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use ipnet::IpNet;

/// What may be called.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
}

/// An address that may not be called, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub reason: &'static str,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which is {}", self.address, self.reason)
    }
}

/// The first match names the reason, so single addresses stand before the networks that hold them.
const FORBIDDEN: &[(&str, &str)] = &[
    ("169.254.169.254/32", "a cloud metadata service"),
    ("100.100.100.200/32", "a cloud metadata service"),
    ("168.63.129.16/32", "a cloud platform service"),
    ("0.0.0.0/8", "an address of this network (RFC 791)"),
    ("10.0.0.0/8", "a private address (RFC 1918)"),
    ("100.64.0.0/10", "a shared address (RFC 6598)"),
    ("127.0.0.0/8", "a loopback address (RFC 1122)"),
    ("169.254.0.0/16", "a link-local address (RFC 3927)"),
    ("172.16.0.0/12", "a private address (RFC 1918)"),
    ("192.0.0.0/24", "reserved for protocol assignments (RFC 6890)"),
    ("192.0.2.0/24", "reserved for documentation (RFC 5737)"),
    ("192.31.196.0/24", "reserved for AS112 (RFC 7535)"),
    ("192.52.193.0/24", "reserved for AMT (RFC 7450)"),
    ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
    ("192.168.0.0/16", "a private address (RFC 1918)"),
    ("192.175.48.0/24", "reserved for AS112 (RFC 7534)"),
    ("198.18.0.0/15", "reserved for benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "reserved for documentation (RFC 5737)"),
    ("203.0.113.0/24", "reserved for documentation (RFC 5737)"),
    ("224.0.0.0/4", "a multicast address (RFC 5771)"),
    ("240.0.0.0/4", "a reserved address (RFC 1112)"),
    ("fd00:ec2::254/128", "a cloud metadata service"),
    ("::/128", "the unspecified address (RFC 4291)"),
    ("::1/128", "a loopback address (RFC 4291)"),
    ("64:ff9b:1::/48", "a local translation address (RFC 8215)"),
    ("100::/64", "a discard address (RFC 6666)"),
    ("2001::/23", "reserved for protocol assignments (RFC 2928)"),
    ("2001:db8::/32", "reserved for documentation (RFC 3849)"),
    ("2620:4f:8000::/48", "reserved for AS112 (RFC 7534)"),
    ("3fff::/20", "reserved for documentation (RFC 9637)"),
    ("5f00::/16", "a segment routing identifier (RFC 9602)"),
    ("fc00::/7", "a unique local address (RFC 4193)"),
    ("fe80::/10", "a link-local address (RFC 4291)"),
    ("fec0::/10", "a site-local address (RFC 3879)"),
    ("ff00::/8", "a multicast address (RFC 4291)"),
];

static TABLE: LazyLock<Vec<(IpNet, &'static str)>> =
    LazyLock::new(|| FORBIDDEN.iter().map(|(network, reason)| (net(network), *reason)).collect());

/// All that is assigned for global unicast; of the rest, only translated IPv4 addresses may be public.
static GLOBAL_UNICAST: LazyLock<IpNet> = LazyLock::new(|| net("2000::/3"));
static NAT64: LazyLock<IpNet> = LazyLock::new(|| net("64:ff9b::/96"));
static MAPPED: LazyLock<IpNet> = LazyLock::new(|| net("::ffff:0:0/96"));
static COMPATIBLE: LazyLock<IpNet> = LazyLock::new(|| net("::/96"));
static SIX_TO_FOUR: LazyLock<IpNet> = LazyLock::new(|| net("2002::/16"));
static TEREDO: LazyLock<IpNet> = LazyLock::new(|| net("2001::/32"));

fn net(text: &str) -> IpNet {
    text.parse().expect("the networks of this file are well formed")
}

impl AddressPolicy {
    /// Public addresses, and those in `allow`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether this address may be called.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let allowed = |address: IpAddr| self.allow.iter().any(|network| network.contains(&address));
        let inner = embedded(address);
        if allowed(address) || inner.is_some_and(allowed) {
            return Ok(());
        }
        let reason = inner.and_then(reason).or_else(|| reason(address));
        reason.map_or(Ok(()), |reason| Err(Forbidden { address, reason }))
    }
}

fn reason(address: IpAddr) -> Option<&'static str> {
    let listed = TABLE.iter().find(|(network, _)| network.contains(&address)).map(|(_, reason)| *reason);
    let routable = address.is_ipv4()
        || [&GLOBAL_UNICAST, &NAT64, &MAPPED].iter().any(|network| network.contains(&address));
    listed.or((!routable).then_some("not a global unicast address (RFC 4291)"))
}

/// The IPv4 address that an IPv6 address leads to.
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    if v6.is_loopback() || v6.is_unspecified() {
        return None;
    }
    let at = |shift: u32| Ipv4Addr::from_bits((v6.to_bits() >> shift & 0xffff_ffff) as u32);
    let v4 = if [&NAT64, &MAPPED, &COMPATIBLE].iter().any(|network| network.contains(&address)) {
        at(0)
    } else if SIX_TO_FOUR.contains(&address) {
        at(80)
    } else if TEREDO.contains(&address) {
        // The client's address, with every bit inverted (RFC 4380, section 4).
        Ipv4Addr::from_bits(!at(0).to_bits())
    } else {
        return None;
    };
    Some(v4.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), &'static str> {
        AddressPolicy::new(Vec::new()).check(text.parse().unwrap()).map_err(|forbidden| forbidden.reason)
    }

    #[test]
    fn public_addresses_may_be_called() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
        ] {
            assert_eq!(check(public), Ok(()), "{public}");
        }
    }

    #[test]
    fn special_purpose_addresses_may_not() {
        for (address, reason) in [
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("10.0.0.5", "private"),
            ("100.64.0.1", "shared"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("100.100.100.200", "metadata"),
            ("168.63.129.16", "cloud platform"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "protocol assignments"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmarking"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("100::1", "discard"),
            ("2001::1", "reserved"),
            ("2001:10::1", "protocol assignments"),
            ("2001:db8::1", "documentation"),
            ("3fff::1", "documentation"),
            ("5f00::1", "segment routing"),
            ("64:ff9b:1::1", "local translation"),
            ("fc00::1", "unique local"),
            ("fd00:ec2::254", "metadata"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("4000::1", "global unicast"),
        ] {
            let found = check(address).expect_err(address);
            assert!(found.contains(reason), "{address}: {found}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_is_checked_as_what_it_is() {
        for address in [
            "::ffff:10.0.0.5",
            "::10.0.0.5",
            "64:ff9b::10.0.0.5",
            "2002:0a00:0005::1",
            "2001:0:4136:e378:8000:63bf:f5ff:fffa",
            "::ffff:169.254.169.254",
        ] {
            assert!(check(address).is_err(), "{address}");
        }
    }

    #[test]
    fn allowed_networks_are_called_in_every_spelling() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap(), "fd12::/16".parse().unwrap()]);
        for allowed in ["127.0.0.1", "::ffff:127.0.0.1", "fd12::1"] {
            assert_eq!(policy.check(allowed.parse().unwrap()), Ok(()), "{allowed}");
        }
        assert!(policy.check("10.0.0.1".parse().unwrap()).is_err());
        assert!(policy.check("::1".parse().unwrap()).is_err());
    }
}
