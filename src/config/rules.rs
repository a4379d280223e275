//! What the options must be, alone and beside each other.

use std::{ops::RangeInclusive, time::Duration};

use secrecy::ExposeSecret as _;

use super::{Config, ConfigError, Engine, Mode};
use crate::{
    ingest::IDEMPOTENCY_RETENTION, signature::SigningSecret, transport::NAT64_PREFIX_LENGTHS, vault::Vault,
};

/// Below the least, commits on a busy disk would fail; above the most, nobody waits.
const STATEMENT_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// What is warned of must be able to be heard.
const DISABLE_AFTER_MIN: Duration = Duration::from_secs(3600);

/// Long enough to look at something, and no longer than a day's work.
const CONSOLE_SESSIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// A browser's cookies and tokens fit into less, but not into much less.
const HEAD_BYTES_MIN: usize = 8 * 1024;

/// What nobody guesses, even where it is made of words.
const BOOTSTRAP_KEY_CHARS_MIN: usize = 32;

/// Whether it is broken, and what it says.
type Rule = (bool, &'static str);

/// The first rule that is broken.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let rules = [
        database(config),
        delivery(config),
        limits(config),
        listeners(config),
        security(config),
        portal(config),
        console(config),
        operations(config),
    ];
    match rules.into_iter().flatten().find(|(broken, _)| *broken) {
        Some((_, message)) => Err(ConfigError(message.to_owned())),
        None => Ok(()),
    }
}

/// Where everything is kept, for how long, and what is logged.
fn database(config: &Config) -> Vec<Rule> {
    let url = config.database.url.expose_secret();
    vec![
        (
            Engine::of(url).is_none(),
            "database.url: must be a sqlite: or postgres: URL, such as sqlite://data/k-webhooks.db or \
             postgres://user:password@host/database",
        ),
        // One connection claims and records while another accepts.
        (config.database.max_connections < 2, "database.max_connections: must be at least 2"),
        (
            !STATEMENT_TIMEOUTS.contains(&config.database.statement_timeout),
            "database.statement_timeout: must be from 100ms to 10m",
        ),
        (config.database.poll.is_zero(), "database.poll: must be longer than zero"),
        (
            config.retention.events <= config.retry.window,
            "retention.events: must be longer than retry.window",
        ),
        (
            config.retention.events < IDEMPOTENCY_RETENTION,
            "retention.events: must be at least 24h, for which idempotency keys are remembered",
        ),
        (!(0.0..=1.0).contains(&config.tracing.sample_ratio), "tracing.sample_ratio: must be from 0 to 1"),
        (
            tracing_subscriber::EnvFilter::try_new(&config.log.filter).is_err(),
            "log.filter: must be a tracing filter, such as info or k_webhooks=debug",
        ),
    ]
}

/// When attempts are made, and how.
fn delivery(config: &Config) -> Vec<Rule> {
    vec![
        (config.retry.ladder.is_empty(), "retry.ladder: must have at least one delay"),
        (config.retry.ladder.contains(&Duration::ZERO), "retry.ladder: every delay must be longer than zero"),
        (config.retry.window.is_zero(), "retry.window: must be longer than zero"),
        (!(0.0..=1.0).contains(&config.retry.jitter), "retry.jitter: must be from 0 to 1"),
        (config.delivery.timeout.is_zero(), "delivery.timeout: must be longer than zero"),
        (config.delivery.connect_timeout.is_zero(), "delivery.connect_timeout: must be longer than zero"),
        (
            config.delivery.connect_timeout > config.delivery.timeout,
            "delivery.connect_timeout: must not be longer than delivery.timeout",
        ),
        (config.delivery.max_in_flight == 0, "delivery.max_in_flight: must be at least 1"),
        (
            config.delivery.max_in_flight_per_endpoint == 0,
            "delivery.max_in_flight_per_endpoint: must be at least 1",
        ),
        (
            config.endpoint.disable_after_failing.is_some_and(|time| time < DISABLE_AFTER_MIN),
            "endpoint.disable_after_failing: must be at least 1h, or never",
        ),
    ]
}

/// What may be asked for.
fn limits(config: &Config) -> Vec<Rule> {
    vec![
        (config.limits.event_body_max == 0, "limits.event_body_max: must be larger than zero"),
        (config.limits.batch_body_max == 0, "limits.batch_body_max: must be larger than zero"),
        (
            !(1..=1000).contains(&config.limits.batch_events_max),
            "limits.batch_events_max: must be from 1 to 1000",
        ),
        (config.limits.accept_queue_max == 0, "limits.accept_queue_max: must be at least 1"),
        (
            config.limits.accept_queue_bytes_max
                < config.limits.batch_body_max.max(config.limits.event_body_max),
            "limits.accept_queue_bytes_max: must not be smaller than limits.batch_body_max and event_body_max",
        ),
        (config.limits.endpoints_per_merchant == 0, "limits.endpoints_per_merchant: must be at least 1"),
        (config.limits.requests_per_second == 0, "limits.requests_per_second: must be at least 1"),
        (
            config.limits.failed_authentications_per_minute == 0,
            "limits.failed_authentications_per_minute: must be at least 1",
        ),
        (config.limits.head_bytes_max < HEAD_BYTES_MIN, "limits.head_bytes_max: must be at least 8KiB"),
        (config.limits.request_timeout.is_zero(), "limits.request_timeout: must be longer than zero"),
        (config.limits.streams_per_merchant == 0, "limits.streams_per_merchant: must be at least 1"),
        (config.limits.connections_max == 0, "limits.connections_max: must be at least 1"),
        (
            config.limits.connections_per_address_max == 0,
            "limits.connections_per_address_max: must be at least 1",
        ),
    ]
}

/// Who is listened to.
fn listeners(config: &Config) -> Vec<Rule> {
    let production = config.mode == Mode::Production;
    let bootstrap_key = config.internal.bootstrap_key.expose_secret();
    vec![
        (
            config.server.tls_certificate.is_some() != config.server.tls_key.is_some(),
            "server.tls_key: goes with server.tls_certificate, and neither without the other",
        ),
        (
            config.internal.tls_certificate.is_some() != config.internal.tls_key.is_some(),
            "internal.tls_key: goes with internal.tls_certificate, and neither without the other",
        ),
        (
            config.server.listen == config.internal.listen && config.server.listen.port() != 0,
            "internal.listen: must not be server.listen",
        ),
        (
            production
                && !bootstrap_key.is_empty()
                && bootstrap_key.chars().count() < BOOTSTRAP_KEY_CHARS_MIN,
            "internal.bootstrap_key: production needs at least 32 characters",
        ),
    ]
}

/// Where browsers go.
fn portal(config: &Config) -> Vec<Rule> {
    let production = config.mode == Mode::Production;
    let (url, origins) = (&config.portal.url, &config.portal.origins);
    vec![
        (
            !url.is_empty() && !is_origin(url),
            "portal.url: must be a scheme, a host and perhaps a port, such as https://webhooks.example.com",
        ),
        (production && url.starts_with("http://"), "portal.url: production needs https"),
        (
            !origins.iter().all(|origin| is_origin(origin)),
            "portal.origins: each must be a scheme, a host and perhaps a port, such as https://dashboard.example.com",
        ),
        (
            production && origins.iter().any(|origin| origin.starts_with("http://")),
            "portal.origins: production needs https",
        ),
    ]
}

/// Where operators look.
fn console(config: &Config) -> Vec<Rule> {
    let session = config.console.session;
    vec![(!CONSOLE_SESSIONS.contains(&session), "console.session: must be from 1m to 24h")]
}

/// Whether a text is an origin as browsers write it.
fn is_origin(text: &str) -> bool {
    let written = |url: url::Url| url.origin().ascii_serialization() == text;
    text.starts_with("http") && url::Url::parse(text).is_ok_and(written)
}

/// Secrets, and what may be called.
fn security(config: &Config) -> Vec<Rule> {
    let production = config.mode == Mode::Production;
    let encryption_key = config.security.encryption_key.expose_secret();
    vec![
        (
            !encryption_key.is_empty() && Vault::key_from_base64(encryption_key).is_err(),
            "security.encryption_key: must be the base64 of 32 bytes",
        ),
        (
            config
                .security
                .earlier_encryption_keys
                .iter()
                .any(|key| Vault::key_from_base64(key.expose_secret()).is_err()),
            "security.earlier_encryption_keys: each must be the base64 of 32 bytes",
        ),
        (
            encryption_key.is_empty() && !config.security.earlier_encryption_keys.is_empty(),
            "security.earlier_encryption_keys: needs security.encryption_key, to which to move",
        ),
        (production && encryption_key.is_empty(), "security.encryption_key: production needs one"),
        (
            production && config.test_clock.enabled,
            "test_clock.enabled: production runs on the system's clock",
        ),
        (
            production && config.security.allow_http,
            "security.allow_http: production delivers over https only",
        ),
        (
            production && config.security.allow_networks.iter().any(|network| network.prefix_len() == 0),
            "security.allow_networks: production does not allow every address; name the networks",
        ),
        (
            !config.security.proxy.expose_secret().is_empty() && config.proxy().is_none(),
            "security.proxy: must be http://user:password@host:port or socks5://user:password@host:port, with what has a \
             meaning in a URL percent-encoded in user and password",
        ),
        (config.security.ports.is_empty(), "security.ports: must have at least one port"),
        (
            config
                .security
                .nat64_prefixes
                .iter()
                .any(|prefix| !NAT64_PREFIX_LENGTHS.contains(&prefix.prefix_len())),
            "security.nat64_prefixes: every prefix must have a length of 32, 40, 48, 56, 64 or 96",
        ),
    ]
}

/// Where the platform itself is told; the address is judged by the rules of what may be called.
fn operations(config: &Config) -> Vec<Rule> {
    let secret = config.operations.signing_secret.expose_secret();
    vec![
        (
            secret.is_empty() && !config.operations.url.expose_secret().is_empty(),
            "operations.signing_secret: operations.url needs one",
        ),
        (
            !secret.is_empty() && SigningSecret::parse(secret).is_err(),
            "operations.signing_secret: must be whsec_ and the base64 of 32 bytes",
        ),
    ]
}
