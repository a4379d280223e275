//! What is called, and by which ways: merchants' endpoints, and that of those who operate the service.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::{
    attempt::Transports,
    config::{Config, Mode},
    transport::{
        AddressPolicy, CallRules, ConnectionLimits, HyperTransport, Resolve, Transport, TransportSettings,
    },
};

/// How long a connection to a receiver is used, however busy: then DNS decides anew where its name leads.
const CONNECTION_AGE: Duration = Duration::from_secs(300);

/// What a receiver may send on a connection between two responses: what HTTP/2 lets it send ahead, and as much for heads.
const UNASKED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What endpoints may be, and what attempts may call. `own` is where this process listens.
pub(crate) fn call_rules(config: &Config, own: Vec<SocketAddr>) -> CallRules {
    let security = &config.security;
    CallRules {
        allow_http: config.http_allowed(),
        allow_short_names: config.mode == Mode::Development,
        allow_names: security.allow_names.clone(),
        addresses: addresses(config, AddressPolicy::new(config.allowed_networks())),
        ports: security.ports.clone(),
        own,
    }
}

fn addresses(config: &Config, policy: AddressPolicy) -> AddressPolicy {
    policy.translating(config.security.nat64_prefixes.clone())
}

/// What the operators' endpoint may be, where `rules` say what merchants' may: perhaps within private networks too.
pub(crate) fn operators_rules(config: &Config, rules: &CallRules) -> CallRules {
    if !config.operations.allow_private {
        return rules.clone();
    }
    let url = Url::parse(config.operations.url.expose_secret()).ok();
    let name = url.and_then(|url| url.host_str().and_then(|host| host.parse().ok()));
    CallRules {
        allow_http: true,
        allow_short_names: true,
        allow_names: rules.allow_names.iter().cloned().chain(name).collect(),
        addresses: addresses(config, AddressPolicy::new(config.allowed_networks()).with_private()),
        ..rules.clone()
    }
}

/// The ways, by these rules of what may be called.
pub(super) fn transports(
    config: &Config,
    merchants: Arc<CallRules>,
    operators: CallRules,
    resolver: Arc<dyn Resolve>,
) -> Result<Transports> {
    let open = |rules, resolver| -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(HyperTransport::new(transport_settings(config, rules), resolver)?))
    };
    let merchants = open(merchants, Arc::clone(&resolver))?;
    // Of its own where its rules are: no connection that one may keep is ever the other's.
    let operators = if config.operations.allow_private {
        open(Arc::new(operators), resolver)?
    } else {
        Arc::clone(&merchants)
    };
    Ok(Transports { merchants, operators })
}

pub(crate) fn transport_settings(config: &Config, rules: Arc<CallRules>) -> TransportSettings {
    TransportSettings {
        timeout: config.delivery.timeout,
        connect_timeout: config.delivery.connect_timeout,
        response_body_max: config.delivery.response_body_max,
        rules,
        proxy: config.proxy(),
        idle_connections_per_host: config.delivery.max_in_flight_per_endpoint,
        connections: ConnectionLimits {
            kept_max: config.delivery.max_in_flight,
            age: CONNECTION_AGE,
            // As much as all attempts at one endpoint may read, besides what protocols need.
            unasked_bytes_max: config
                .delivery
                .response_body_max
                .saturating_mul(config.delivery.max_in_flight_per_endpoint)
                .saturating_add(UNASKED_BYTES_MAX),
        },
        extra_root_certificates: config.security.extra_root_certificates.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Operations, endpoint_url::EndpointUrl};

    const OWN: &str = "10.0.0.7:8081";

    /// Whether the operators' address may be this one, and whether a merchant's may.
    fn allowed(url: &str, allow_private: bool) -> (bool, bool) {
        let defaults = Config::default();
        let operations = Operations { url: url.into(), allow_private, ..defaults.operations };
        let config = Config { mode: Mode::Production, operations, ..Config::default() };
        let merchants = call_rules(&config, vec![OWN.parse().unwrap()]);
        let operators = operators_rules(&config, &merchants);
        (EndpointUrl::parse(url, &operators).is_ok(), EndpointUrl::parse(url, &merchants).is_ok())
    }

    #[test]
    fn the_operators_address_alone_may_be_private_where_that_is_allowed_and_never_the_service_or_metadata() {
        for url in [
            "http://10.0.0.5/hooks",
            "https://192.168.1.7/",
            "http://127.0.0.1:9093/",
            "http://localhost:9093/",
            "https://[fd12::1]/",
            "https://alerts.internal/",
            "http://alerts:9093/",
        ] {
            assert_eq!(allowed(url, true), (true, false), "{url}");
            assert_eq!(allowed(url, false), (false, false), "{url}");
        }
        for url in [
            "http://10.0.0.7:8081/",
            "http://169.254.169.254/",
            "https://[fd00:ec2::254]/",
            "https://0.0.0.0/",
            "ftp://10.0.0.5/",
        ] {
            assert_eq!(allowed(url, true), (false, false), "{url}");
        }
        assert_eq!(allowed("https://example.com/", false), (true, true));
    }
}
