//! Which addresses may be called: the public ones, and the networks that the operator allows.
//!
//! The table follows the IANA special-purpose address registries of IPv4 and IPv6. An IPv4 address inside an IPv6 one is
//! checked as what it is.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::{IpNet, Ipv6Net};

/// Which addresses may be called.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
    nat64: Vec<Ipv6Net>,
}

/// Answers whoever asks from the machine with its credentials, so no network that is allowed opens it: only the very
/// address does.
const METADATA: &str = "a cloud metadata service";

/// What private networks are made of.
const PRIVATE: &str = "a private address (RFC 1918)";
const SHARED: &str = "a shared address (RFC 6598)";
const UNIQUE_LOCAL: &str = "a unique local address (RFC 4193)";

/// What this machine is to itself.
const LOOPBACK: &str = "a loopback address (RFC 1122)";
const LOOPBACK_6: &str = "a loopback address (RFC 4291)";

/// An address that may not be called, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub reason: &'static str,
}

impl Forbidden {
    /// Whether it is forbidden for being of a private network, and for nothing else.
    #[must_use]
    pub fn is_private(&self) -> bool {
        [PRIVATE, SHARED, UNIQUE_LOCAL].contains(&self.reason)
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.address, self.reason)
    }
}

/// The first match names the reason, so single addresses stand before the networks that hold them.
const FORBIDDEN: &[(&str, &str)] = &[
    ("169.254.169.254/32", METADATA),
    // Elsewhere in the link-local network: AWS's containers and pods, Tencent, Scaleway, AWS's resolver.
    ("169.254.170.2/32", METADATA),
    ("169.254.170.23/32", METADATA),
    ("169.254.0.23/32", METADATA),
    ("169.254.42.42/32", METADATA),
    ("169.254.169.253/32", METADATA),
    // Alibaba, Oracle, Azure: the last is a public address by its number.
    ("100.100.100.200/32", METADATA),
    ("192.0.0.192/32", METADATA),
    ("168.63.129.16/32", METADATA),
    ("0.0.0.0/8", "an address of this network (RFC 791)"),
    ("10.0.0.0/8", PRIVATE),
    ("100.64.0.0/10", SHARED),
    ("127.0.0.0/8", LOOPBACK),
    ("169.254.0.0/16", "a link-local address (RFC 3927)"),
    ("172.16.0.0/12", PRIVATE),
    ("192.0.0.0/24", "reserved for protocol assignments (RFC 6890)"),
    ("192.0.2.0/24", "reserved for documentation (RFC 5737)"),
    ("192.31.196.0/24", "reserved for AS112 (RFC 7535)"),
    ("192.52.193.0/24", "reserved for AMT (RFC 7450)"),
    ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
    ("192.168.0.0/16", PRIVATE),
    ("192.175.48.0/24", "reserved for AS112 (RFC 7534)"),
    ("198.18.0.0/15", "reserved for benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "reserved for documentation (RFC 5737)"),
    ("203.0.113.0/24", "reserved for documentation (RFC 5737)"),
    ("224.0.0.0/4", "a multicast address (RFC 5771)"),
    ("255.255.255.255/32", "the broadcast address (RFC 919)"),
    ("240.0.0.0/4", "a reserved address (RFC 1112)"),
    // AWS, Google, Scaleway.
    ("fd00:ec2::254/128", METADATA),
    ("fd00:ec2::23/128", METADATA),
    ("fd00:ec2::253/128", METADATA),
    ("fd20:ce::254/128", METADATA),
    ("fd00:42::42/128", METADATA),
    ("::/128", "the unspecified address (RFC 4291)"),
    ("::1/128", LOOPBACK_6),
    ("::ffff:0:0/96", "an IPv4-mapped address (RFC 4291)"),
    ("::/96", "an IPv4-compatible address (RFC 4291)"),
    ("64:ff9b::/96", "a translation address (RFC 6052)"),
    ("64:ff9b:1::/48", "a local translation address (RFC 8215)"),
    ("100::/64", "a discard address (RFC 6666)"),
    ("100:0:0:1::/64", "a dummy address (RFC 9780)"),
    ("2001::/32", "a Teredo address (RFC 4380)"),
    ("2001:2::/48", "reserved for benchmarking (RFC 5180)"),
    ("2001:20::/28", "a cryptographic identifier (RFC 7343)"),
    ("2001::/23", "reserved for protocol assignments (RFC 2928)"),
    ("2001:db8::/32", "reserved for documentation (RFC 3849)"),
    ("2002::/16", "a 6to4 address (RFC 3056)"),
    ("2620:4f:8000::/48", "reserved for AS112 (RFC 7534)"),
    ("3fff::/20", "reserved for documentation (RFC 9637)"),
    ("5f00::/16", "a segment routing identifier (RFC 9602)"),
    ("fc00::/7", UNIQUE_LOCAL),
    ("fe80::/10", "a link-local address (RFC 4291)"),
    ("fec0::/10", "a site-local address (RFC 3879)"),
    ("ff00::/8", "a multicast address (RFC 4291)"),
];

static TABLE: LazyLock<Vec<(IpNet, &'static str)>> =
    LazyLock::new(|| FORBIDDEN.iter().map(|(network, reason)| (net(network), *reason)).collect());

/// All that is assigned for global unicast.
static GLOBAL_UNICAST: LazyLock<IpNet> = LazyLock::new(|| net("2000::/3"));

fn net(text: &str) -> IpNet {
    text.parse().expect("the networks of this file are well formed")
}

impl AddressPolicy {
    /// Public addresses, and those in `allow`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow, nat64: Vec::new() }
    }

    /// The same, and private networks and this machine. Metadata services in them stay closed.
    #[must_use]
    pub fn with_private(mut self) -> Self {
        let private = TABLE
            .iter()
            .filter(|(_, reason)| [PRIVATE, SHARED, UNIQUE_LOCAL, LOOPBACK, LOOPBACK_6].contains(reason));
        self.allow.extend(private.map(|(network, _)| *network));
        self
    }

    /// The same where IPv6 addresses under these prefixes lead to the IPv4 addresses inside them (RFC 6052).
    #[must_use]
    pub fn translating(self, nat64: Vec<Ipv6Net>) -> Self {
        Self { nat64, ..self }
    }

    /// Whether this address may be called. An IPv4 address inside an IPv6 one must be one that may be called, too, so
    /// that allowing a network of translated addresses does not open the private ones behind it.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let inner = match address {
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(address) => self.embedded(address),
        };
        // An IPv4-mapped address is its IPv4 address in another spelling; the others go another way.
        let allowed = self.allows(address) || self.allows(address.to_canonical());
        let inner = inner.into_iter().map(IpAddr::from);
        let refused = inner.filter(|inner| !self.allows(*inner)).find_map(reason);
        let refused = refused.or_else(|| if allowed { None } else { reason(address) });
        refused.map_or(Ok(()), |reason| Err(Forbidden { address, reason }))
    }

    fn allows(&self, address: IpAddr) -> bool {
        let exactly = reason(address) == Some(METADATA);
        let mut networks = self.allow.iter().filter(|network| network.contains(&address));
        networks.any(|network| !exactly || network.prefix_len() == network.max_prefix_len())
    }

    /// The IPv4 addresses that an IPv6 address may lead to.
    fn embedded(&self, address: Ipv6Addr) -> Vec<Ipv4Addr> {
        if let Some(prefix) = self.nat64.iter().find(|prefix| prefix.contains(&address)) {
            return vec![translated(address, prefix.prefix_len())];
        }
        let segments = address.segments();
        let at = |index: usize| {
            Ipv4Addr::from_bits(u32::from(segments[index]) << 16 | u32::from(segments[index + 1]))
        };
        match segments {
            // Unspecified and loopback are what they are.
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
            // Compatible, mapped (RFC 4291), translated (RFC 2765) and NAT64 (RFC 6052).
            [0, 0, 0, 0, 0, 0 | 0xffff, ..]
            | [0, 0, 0, 0, 0xffff, 0, ..]
            | [0x64, 0xff9b, 0, 0, 0, 0, ..]
            // ISATAP, under any prefix (RFC 5214, section 6.1).
            | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![at(6)],
            // Local NAT64 (RFC 8215) whose prefix is not known: in whichever place the address may stand.
            [0x64, 0xff9b, 1, ..] => [48, 56, 64, 96]
                .map(|length| translated(address, length))
                .into_iter()
                // What is found in the wrong place begins with padding.
                .filter(|found| found.octets()[0] != 0)
                .collect(),
            // 6to4 (RFC 3056).
            [0x2002, ..] => vec![at(1)],
            // Teredo: the client's address with every bit inverted (RFC 4380, section 4).
            [0x2001, 0, ..] => vec![Ipv4Addr::from_bits(!at(6).to_bits())],
            _ => Vec::new(),
        }
    }
}

/// The prefix lengths that a translated address may have (RFC 6052, section 2.2).
pub const NAT64_PREFIX_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// The IPv4 address behind a prefix of this length; octet 8 belongs to none of the two (RFC 6052, section 2.2).
fn translated(address: Ipv6Addr, prefix_length: u8) -> Ipv4Addr {
    let octets = address.octets();
    let mut places = (usize::from(prefix_length) / 8..octets.len()).filter(|place| *place != 8);
    let mut next = || places.next().map_or(0, |place| octets[place]);
    Ipv4Addr::new(next(), next(), next(), next())
}

fn reason(address: IpAddr) -> Option<&'static str> {
    let listed = TABLE.iter().find(|(network, _)| network.contains(&address)).map(|(_, reason)| *reason);
    let routable = address.is_ipv4() || GLOBAL_UNICAST.contains(&address);
    listed.or((!routable).then_some("not a global unicast address (RFC 4291)"))
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
            "2003::1",
            "2620:4f:8001::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "3ffe:ffff::1",
            "3fff:1000::1",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "9.255.255.255",
            "1.0.0.0",
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
            ("168.63.129.16", "metadata"),
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
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("100::1", "discard"),
            ("2001:1::1", "protocol assignments"),
            ("2001:10::1", "protocol assignments"),
            ("2001:2::1", "benchmarking"),
            ("2001:20::1", "cryptographic identifier"),
            ("2001:2f::1", "cryptographic identifier"),
            ("2001:1ff:ffff::1", "protocol assignments"),
            ("2620:4f:8000::1", "AS112"),
            ("100:0:0:1::1", "dummy"),
            ("192.31.196.1", "AS112"),
            ("192.52.193.1", "AMT"),
            ("192.175.48.1", "AS112"),
            ("10.255.255.255", "private"),
            ("100.127.255.255", "shared"),
            ("198.19.255.255", "benchmarking"),
            ("239.255.255.255", "multicast"),
            ("254.255.255.255", "reserved"),
            ("::ffff:8.8.8.8", "mapped"),
            ("::8.8.8.8", "compatible"),
            ("64:ff9b::8.8.8.8", "translation"),
            ("2002:0808:0808::1", "6to4"),
            ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "Teredo"),
            ("::ffff:0:8.8.8.8", "global unicast"),
            ("fe80::5efe:8.8.8.8", "link-local"),
            ("1fff::1", "global unicast"),
            ("3fff:fff:ffff::1", "documentation"),
            ("fdff:ffff::1", "unique local"),
            ("febf::1", "link-local"),
            ("feff::1", "site-local"),
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
            "::ffff:0:10.0.0.5",
            "2a00:1450::5efe:10.0.0.5",
            "2a00:1450::200:5efe:10.0.0.5",
            "64:ff9b:1::10.0.0.5",
        ] {
            assert_eq!(check(address), Err("a private address (RFC 1918)"), "{address}");
        }
        assert_eq!(check("::ffff:169.254.169.254"), Err("a cloud metadata service"));
    }

    #[test]
    fn allowing_translated_addresses_does_not_open_the_private_ones_behind_them() {
        let policy = AddressPolicy::new(vec!["64:ff9b::/96".parse().unwrap()]);
        assert_eq!(policy.check("64:ff9b::8.8.8.8".parse().unwrap()), Ok(()));
        assert!(policy.check("64:ff9b::10.0.0.5".parse().unwrap()).is_err());
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let refusal = AddressPolicy::new(Vec::new()).check("10.0.0.5".parse().unwrap()).unwrap_err();
        assert_eq!(refusal.to_string(), "10.0.0.5 is a private address (RFC 1918)");
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

    #[test]
    fn a_wide_allow_list_does_not_open_the_metadata_service() {
        let policy = |allow: &str| AddressPolicy::new(vec![allow.parse().unwrap()]);
        for (allow, inside, metadata) in [
            ("0.0.0.0/0", "10.0.0.5", "169.254.169.254"),
            ("169.254.0.0/16", "169.254.1.1", "::ffff:169.254.169.254"),
            ("169.254.169.254/31", "169.254.169.255", "169.254.169.254"),
            ("100.64.0.0/10", "100.64.0.1", "100.100.100.200"),
            ("::/0", "fd00::1", "fd00:ec2::254"),
        ] {
            assert_eq!(policy(allow).check(inside.parse().unwrap()), Ok(()), "{allow}");
            let refused = policy(allow).check(metadata.parse().unwrap()).unwrap_err();
            assert_eq!(refused.reason, METADATA, "{allow}");
        }
        assert_eq!(policy("169.254.169.254/32").check("169.254.169.254".parse().unwrap()), Ok(()));
        assert_eq!(policy("fd00:ec2::254/128").check("fd00:ec2::254".parse().unwrap()), Ok(()));
    }

    #[test]
    fn an_address_behind_a_nat64_prefix_is_found_wherever_the_prefix_ends() {
        // The table of RFC 6052, section 2.4, with 10.0.0.5 in the place of 192.0.2.33.
        for (prefix, address) in [
            ("2a00:db8::/32", "2a00:db8:a00:5::"),
            ("2a00:db8:100::/40", "2a00:db8:10a:0:5::"),
            ("2a00:db8:122::/48", "2a00:db8:122:a00:0:500::"),
            ("2a00:db8:122:300::/56", "2a00:db8:122:30a:0:5::"),
            ("2a00:db8:122:344::/64", "2a00:db8:122:344:a:0:500::"),
            ("2a00:db8:122:344::/96", "2a00:db8:122:344::10.0.0.5"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(AddressPolicy::new(Vec::new()).check(address), Ok(()), "{prefix}");
            let policy = AddressPolicy::new(Vec::new()).translating(vec![prefix.parse().unwrap()]);
            let refused = policy.check(address).expect_err(prefix);
            assert_eq!(refused.reason, "a private address (RFC 1918)", "{prefix}");
        }
        let policy =
            AddressPolicy::new(Vec::new()).translating(vec!["2a00:db8:122:344::/96".parse().unwrap()]);
        assert_eq!(policy.check("2a00:db8:122:344::8.8.8.8".parse().unwrap()), Ok(()));
    }

    #[test]
    fn local_nat64_that_is_allowed_does_not_open_the_private_addresses_behind_it() {
        let allowed = AddressPolicy::new(vec!["64:ff9b:1::/48".parse().unwrap()]);
        for public in ["64:ff9b:1::8.8.8.8", "64:ff9b:1:808:8:800::"] {
            assert_eq!(allowed.check(public.parse().unwrap()), Ok(()), "{public}");
        }
        for private in ["64:ff9b:1::10.0.0.5", "64:ff9b:1:abcd::10.0.0.5", "64:ff9b:1:a00:0:500::"] {
            assert!(allowed.check(private.parse().unwrap()).is_err(), "{private}");
        }
    }

    #[test]
    fn an_ipv4_address_that_is_allowed_does_not_open_the_tunnels_to_it() {
        let policy = AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(policy.check("::ffff:10.0.0.5".parse().unwrap()), Ok(()));
        for tunnel in ["64:ff9b::10.0.0.5", "2002:a00:5::1", "fe80::5efe:10.0.0.5", "::10.0.0.5"] {
            assert!(policy.check(tunnel.parse().unwrap()).is_err(), "{tunnel}");
        }
    }
}
