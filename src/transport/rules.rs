//! What may be called at all: schemes, names, ports and addresses. The same rules judge an endpoint when it is registered
//! and every attempt, so that what was registered under other rules, or has been pointed elsewhere since, is not called.

use std::{
    fmt,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    str::FromStr,
};

use serde::Deserialize;

use super::{AddressPolicy, Forbidden, NamePattern};

/// The rules.
#[derive(Clone, Debug)]
pub struct CallRules {
    /// Whether http is called besides https.
    pub allow_http: bool,
    /// Whether names without a dot are called, which are local ones: in development, a container's name.
    pub allow_short_names: bool,
    /// Names that are called although they are local, and may resolve to addresses of private networks.
    pub allow_names: Vec<NamePattern>,
    /// Which IP addresses may be called.
    pub addresses: AddressPolicy,
    /// Which ports may be called.
    pub ports: Vec<PortRange>,
    /// Where this service itself listens: its answers are not for merchants.
    pub own: Vec<SocketAddr>,
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Names under these are local wherever they are asked for: RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476, what ICANN
/// keeps from being delegated, and what clusters use.
const LOCAL_DOMAINS: [&str; 15] = [
    "local",
    "localdomain",
    "internal",
    "home.arpa",
    "onion",
    "alt",
    "invalid",
    "svc",
    "home",
    "corp",
    "mail",
    "lan",
    "intranet",
    "private",
    "in-addr.arpa",
];

/// Names of metadata services that look like public ones, and those without a dot, which stay refused where other names
/// without one are called. The rest is under `.internal`.
const METADATA_NAMES: [&str; 8] = [
    "metadata",
    "instance-data",
    "rancher-metadata",
    "metadata.tencentyun.com",
    "metadata.platformequinix.com",
    "metadata.packet.net",
    "metadata.goog",
    "metadata.oraclecloud.com",
];

impl CallRules {
    /// Whether this scheme may be called. The error completes the sentence "the address …".
    pub fn check_scheme(&self, scheme: &str) -> Result<(), &'static str> {
        match scheme {
            "https" => Ok(()),
            "http" if self.allow_http => Ok(()),
            _ if self.allow_http => Err("must be https or http"),
            _ => Err("must be https"),
        }
    }

    /// Whether this port may be called; the error says which may.
    pub fn check_port(&self, port: u16) -> Result<(), String> {
        if self.ports.iter().any(|range| range.contains(port)) {
            return Ok(());
        }
        let allowed: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        Err(allowed.join(", "))
    }

    /// Whether this name may be asked for and called; the error says what it is. One that resolves to an address that
    /// may not be called is refused by that.
    pub fn check_name(&self, name: &str, port: u16) -> Result<(), String> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_in = |domain: &str| {
            name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        };
        if is_in("localhost") {
            let loopback = self.check_address(SocketAddr::from(([127, 0, 0, 1], port)));
            return loopback.map_err(|forbidden| match forbidden.reason {
                OWN => OWN.to_owned(),
                _ => "this machine".to_owned(),
            });
        }
        if METADATA_NAMES.into_iter().any(is_in) {
            return Err("the name of a cloud metadata service".to_owned());
        }
        if self.allows_name(&name) {
            return Ok(());
        }
        if let Some(domain) = LOCAL_DOMAINS.into_iter().find(|domain| is_in(domain)) {
            return Err(format!("a local name (.{domain})"));
        }
        if !name.contains('.') && !self.allow_short_names {
            return Err("a local name (it has no dot)".to_owned());
        }
        Ok(())
    }

    /// Whether this address may be called, to which `name` resolved. Of an allowed name it may be one of a private
    /// network; this machine, a metadata service and all else stay closed.
    pub fn check_address_of(&self, name: &str, address: SocketAddr) -> Result<(), Forbidden> {
        self.check_address(address).or_else(|forbidden| {
            if forbidden.is_private() && self.allows_name(name) { Ok(()) } else { Err(forbidden) }
        })
    }

    fn allows_name(&self, name: &str) -> bool {
        self.allow_names.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether this address may be called.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), Forbidden> {
        if self.is_own(address) {
            return Err(Forbidden { address: address.ip(), reason: OWN });
        }
        self.addresses.check(address.ip())
    }

    /// Whether this service listens there. One that listens on every address of the machine is found at each of them, so
    /// the system is asked whether the address is the machine's; only where the port is the service's.
    fn is_own(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.own.iter().filter(|own| own.port() == address.port()).any(|own| {
            let listens_on = own.ip().to_canonical();
            listens_on == ip
                || (listens_on.is_unspecified() && is_of_this_machine(ip))
                // To connect to no address is to connect to this machine.
                || (ip.is_unspecified() && is_of_this_machine(listens_on))
        })
    }
}

/// What the service's own listeners are called in a refusal.
const OWN: &str = "the service itself";

fn is_of_this_machine(ip: IpAddr) -> bool {
    let bound = UdpSocket::bind((ip, 0));
    // Anything else that goes wrong says nothing about the address, and is no reason to call it.
    ip.is_unspecified() || !bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

impl PortRange {
    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first @ 1..), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is not a port or a range of ports, such as 443 or 1024-65535")),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(own: &[&str]) -> CallRules {
        CallRules {
            allow_http: false,
            allow_short_names: false,
            allow_names: Vec::new(),
            addresses: AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]),
            ports: ["80", "443", "1024-65535"].map(|range| range.parse().unwrap()).to_vec(),
            own: own.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn ports_of_other_protocols_are_refused() {
        for port in [80, 443, 1024, 8443, 65535] {
            assert_eq!(rules(&[]).check_port(port), Ok(()), "{port}");
        }
        for port in [0, 1, 22, 25, 53, 79, 81, 444, 465, 1023] {
            assert_eq!(rules(&[]).check_port(port), Err("80, 443, 1024-65535".to_owned()), "{port}");
        }
        for text in ["", "0", "70000", "443-80", "1-2-3", "http", "-"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn local_names_and_those_of_metadata_services_are_refused() {
        for name in [
            "metadata",
            "INSTANCE-DATA",
            "kubernetes",
            "kubernetes.default.svc",
            "x.local",
            "metadata.google.internal.",
            "metadata.tencentyun.com",
            "Metadata.PlatformEquinix.com.",
        ] {
            assert!(rules(&[]).check_name(name, 443).is_err(), "{name}");
        }
        for name in ["example.com", "local.example.com", "mylocal.example", "localhost", "a.localhost"] {
            assert_eq!(rules(&[]).check_name(name, 443), Ok(()), "{name}");
        }
        let development = CallRules { allow_short_names: true, ..rules(&[]) };
        assert_eq!(development.check_name("receiver", 443), Ok(()));
        for name in ["metadata.google.internal", "metadata", "instance-data."] {
            assert!(development.check_name(name, 443).is_err(), "{name}");
        }
    }

    #[test]
    fn an_allowed_name_may_be_local_and_lead_into_a_private_network_and_nowhere_else() {
        let allow_names = ["receiver", "*.corp", "*.internal", "*.example.com"];
        let allow_names = allow_names.map(|name| name.parse().unwrap()).to_vec();
        let rules = CallRules { allow_names, own: vec!["10.0.0.7:8081".parse().unwrap()], ..rules(&[]) };
        for name in ["receiver", "Receiver.", "a.corp", "b.a.corp", "a.example.com"] {
            assert_eq!(rules.check_name(name, 443), Ok(()), "{name}");
            for address in ["10.0.0.5:443", "100.64.0.1:443", "[fd12::1]:443", "[::ffff:10.0.0.5]:443"] {
                assert_eq!(
                    rules.check_address_of(name, address.parse().unwrap()),
                    Ok(()),
                    "{name} {address}"
                );
            }
            for address in [
                "169.254.169.254:443",
                "100.100.100.200:443",
                "[fd00:ec2::254]:443",
                "169.254.0.1:443",
                "224.0.0.1:443",
                "0.0.0.0:443",
                "10.0.0.7:8081",
            ] {
                assert!(rules.check_address_of(name, address.parse().unwrap()).is_err(), "{name} {address}");
            }
        }
        for name in ["corp", "other", "notcorp", "metadata", "a.metadata.goog", "b.local"] {
            assert!(rules.check_name(name, 443).is_err(), "{name}");
        }
        let (public, private) = ("example.org", "10.0.0.5:443".parse().unwrap());
        assert!(rules.check_address_of(public, private).is_err(), "another name");
        let metadata = "169.254.169.254:80".parse().unwrap();
        assert!(rules.check_address_of("metadata.google.internal", metadata).is_err());
    }

    #[test]
    fn the_services_own_listeners_are_refused_in_every_spelling() {
        let reason = |own: &[&str], address: &str| {
            rules(own).check_address(address.parse().unwrap()).err().map(|forbidden| forbidden.reason)
        };
        for (own, address) in [
            ("127.0.0.1:8081", "127.0.0.1:8081"),
            ("127.0.0.1:8081", "[::ffff:127.0.0.1]:8081"),
            ("127.0.0.1:8081", "0.0.0.0:8081"),
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("0.0.0.0:8081", "127.8.9.1:8081"),
            ("[::]:8081", "127.0.0.1:8081"),
            ("[::]:8081", "0.0.0.0:8081"),
        ] {
            assert_eq!(
                reason(&["127.0.0.1:8080", own], address),
                Some("the service itself"),
                "{own} {address}"
            );
        }
        for (own, address) in [
            ("127.0.0.1:8081", "127.0.0.1:8082"),
            ("127.0.0.1:8081", "127.0.0.2:8081"),
            ("0.0.0.0:8081", "8.8.8.8:8081"),
        ] {
            assert_eq!(reason(&[own], address), None, "{own} {address}");
        }
        assert_eq!(
            rules(&["127.0.0.1:8081"]).check_name("localhost", 8081),
            Err("the service itself".to_owned())
        );
    }
}
