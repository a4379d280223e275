//! The configuration: built-in defaults, then a TOML file, then the environment, then flags.
//!
//! Each layer is laid over a table of the defaults, whose keys are the ones that exist and whose types say how a text
//! from the environment is read. The result is deserialised once, so that every error names its key.

#![expect(missing_docs, reason = "config.toml says what each option is for")]

mod layers;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use ipnet::{IpNet, Ipv6Net};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::{
    ingest::IDEMPOTENCY_RETENTION,
    transport::{NAT64_PREFIX_LENGTHS, PortRange},
    vault::Vault,
};

/// The file as it stands in the repository: every option at its default.
pub const DEFAULTS: &str = include_str!("../config.toml");

/// All options. `config.toml` says what each is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub mode: Mode,
    pub database: Database,
    pub server: Server,
    pub internal: Internal,
    pub retry: Retry,
    pub delivery: Delivery,
    pub security: Security,
    pub limits: Limits,
    pub retention: Retention,
    pub test_clock: TestClock,
    pub shutdown: Shutdown,
    pub log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Development,
    Production,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
    pub max_connections: u32,
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Duration,
    pub transaction_pooling: bool,
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "path")]
    pub tls_certificate: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub tls_key: Option<PathBuf>,
    #[serde(deserialize_with = "duration")]
    pub hsts_max_age: Duration,
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Internal {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "path")]
    pub tls_certificate: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub tls_key: Option<PathBuf>,
    /// Empty for none.
    pub bootstrap_key: SecretString,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Retry {
    #[serde(deserialize_with = "ladder")]
    pub ladder: Vec<Duration>,
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    pub jitter: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    pub max_in_flight: usize,
    pub max_in_flight_per_endpoint: usize,
    /// In bytes.
    #[serde(deserialize_with = "bytes")]
    pub response_body_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Security {
    /// Empty for none; else the base64 of 32 bytes.
    pub encryption_key: SecretString,
    /// Keys that open what was sealed with them, and seal nothing.
    pub earlier_encryption_keys: Vec<SecretString>,
    pub allow_http: bool,
    pub allow_networks: Vec<IpNet>,
    pub ports: Vec<PortRange>,
    pub nat64_prefixes: Vec<Ipv6Net>,
    #[serde(deserialize_with = "path")]
    pub extra_root_certificates: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Limits {
    /// In bytes.
    #[serde(deserialize_with = "bytes")]
    pub event_body_max: usize,
    pub batch_events_max: usize,
    /// In bytes.
    #[serde(deserialize_with = "bytes")]
    pub batch_body_max: usize,
    pub accept_queue_max: usize,
    /// In bytes.
    #[serde(deserialize_with = "bytes")]
    pub accept_queue_bytes_max: usize,
    pub endpoints_per_merchant: usize,
    pub requests_per_second: u32,
    pub failed_authentications_per_minute: u32,
    /// In bytes.
    #[serde(deserialize_with = "bytes")]
    pub head_bytes_max: usize,
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Retention {
    #[serde(deserialize_with = "duration")]
    pub events: Duration,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TestClock {
    pub enabled: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Shutdown {
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Below the least, commits on a busy disk would fail; above the most, nobody waits.
const STATEMENT_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// A browser's cookies and tokens fit into less, but not into much less.
const HEAD_BYTES_MIN: usize = 8 * 1024;

/// What nobody guesses, even where it is made of words.
const BOOTSTRAP_KEY_CHARS_MIN: usize = 32;

/// What keeps the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// The engine that a database's URL means.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }
}

/// A secret that is given by a flag, by the variable `name`, or by the file that `{name}_FILE` names. None where none of
/// them is there; a flag goes over the environment.
pub fn secret_of(
    flag: Option<SecretString>,
    name: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, ConfigError> {
    if flag.is_some() {
        return Ok(flag);
    }
    let file_name = format!("{name}_FILE");
    match (variable(name), variable(&file_name)) {
        (Some(_), Some(_)) => Err(ConfigError(format!("{file_name}: {name} is given too"))),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(path)) => Ok(Some(layers::read_secret_file(&file_name, &path)?.as_str().into())),
        (None, None) => Ok(None),
    }
}

/// Why the service does not start: one line that names the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Lays all layers over the defaults. A `file` that is named must exist; without one, `config.toml` in the working
    /// directory is read if it is there. Variables are `K_WEBHOOKS__SECTION__KEY`; flags are `section.key`.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut layers = layers::Layers::new()?;
        let path = file.unwrap_or(Path::new("config.toml"));
        match std::fs::read_to_string(path) {
            Ok(text) => layers.lay_file(&path.display().to_string(), &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError(format!("{}: cannot be read: {error}", path.display()))),
        }
        layers.lay_environment(environment)?;
        for (key, text) in flags {
            layers.lay_text(key, text, &format!("flag for {key}"))?;
        }
        let config: Self = layers.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// Whether endpoints may be called over http: where it is allowed, and in development.
    #[must_use]
    pub fn http_allowed(&self) -> bool {
        self.security.allow_http || self.mode == Mode::Development
    }

    /// The networks that may be called although they are not public: those allowed and, in development, this machine.
    #[must_use]
    pub fn allowed_networks(&self) -> Vec<IpNet> {
        let mut networks = self.security.allow_networks.clone();
        if self.mode == Mode::Development {
            networks.extend(
                ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse::<IpNet>().ok()),
            );
        }
        networks
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let production = self.mode == Mode::Production;
        let encryption_key = self.security.encryption_key.expose_secret();
        let bootstrap_key = self.internal.bootstrap_key.expose_secret();
        let url = self.database.url.expose_secret();
        let rules = [
            (
                Engine::of(url).is_none(),
                "database.url: must be a sqlite: or postgres: URL, such as sqlite://data/k-webhooks.db or \
                 postgres://user:password@host/database",
            ),
            // One connection claims and records while another accepts.
            (self.database.max_connections < 2, "database.max_connections: must be at least 2"),
            (
                !STATEMENT_TIMEOUTS.contains(&self.database.statement_timeout),
                "database.statement_timeout: must be from 100ms to 10m",
            ),
            (self.database.poll.is_zero(), "database.poll: must be longer than zero"),
            (self.retry.ladder.is_empty(), "retry.ladder: must have at least one delay"),
            (
                self.retry.ladder.contains(&Duration::ZERO),
                "retry.ladder: every delay must be longer than zero",
            ),
            (self.retry.window.is_zero(), "retry.window: must be longer than zero"),
            (!(0.0..=1.0).contains(&self.retry.jitter), "retry.jitter: must be from 0 to 1"),
            (self.delivery.timeout.is_zero(), "delivery.timeout: must be longer than zero"),
            (self.delivery.connect_timeout.is_zero(), "delivery.connect_timeout: must be longer than zero"),
            (
                self.delivery.connect_timeout > self.delivery.timeout,
                "delivery.connect_timeout: must not be longer than delivery.timeout",
            ),
            (self.delivery.max_in_flight == 0, "delivery.max_in_flight: must be at least 1"),
            (
                self.delivery.max_in_flight_per_endpoint == 0,
                "delivery.max_in_flight_per_endpoint: must be at least 1",
            ),
            (self.limits.event_body_max == 0, "limits.event_body_max: must be larger than zero"),
            (self.limits.batch_body_max == 0, "limits.batch_body_max: must be larger than zero"),
            (
                !(1..=1000).contains(&self.limits.batch_events_max),
                "limits.batch_events_max: must be from 1 to 1000",
            ),
            (self.limits.accept_queue_max == 0, "limits.accept_queue_max: must be at least 1"),
            (
                self.limits.accept_queue_bytes_max
                    < self.limits.batch_body_max.max(self.limits.event_body_max),
                "limits.accept_queue_bytes_max: must not be smaller than limits.batch_body_max and event_body_max",
            ),
            (self.limits.endpoints_per_merchant == 0, "limits.endpoints_per_merchant: must be at least 1"),
            (self.limits.requests_per_second == 0, "limits.requests_per_second: must be at least 1"),
            (
                self.limits.failed_authentications_per_minute == 0,
                "limits.failed_authentications_per_minute: must be at least 1",
            ),
            (self.limits.head_bytes_max < HEAD_BYTES_MIN, "limits.head_bytes_max: must be at least 8KiB"),
            (self.limits.request_timeout.is_zero(), "limits.request_timeout: must be longer than zero"),
            (self.limits.connections_max == 0, "limits.connections_max: must be at least 1"),
            (
                self.limits.connections_per_address_max == 0,
                "limits.connections_per_address_max: must be at least 1",
            ),
            (
                self.server.tls_certificate.is_some() != self.server.tls_key.is_some(),
                "server.tls_key: goes with server.tls_certificate, and neither without the other",
            ),
            (
                self.internal.tls_certificate.is_some() != self.internal.tls_key.is_some(),
                "internal.tls_key: goes with internal.tls_certificate, and neither without the other",
            ),
            (
                self.retention.events <= self.retry.window,
                "retention.events: must be longer than retry.window",
            ),
            (
                self.retention.events < IDEMPOTENCY_RETENTION,
                "retention.events: must be at least 24h, for which idempotency keys are remembered",
            ),
            (
                self.server.listen == self.internal.listen && self.server.listen.port() != 0,
                "internal.listen: must not be server.listen",
            ),
            (
                !encryption_key.is_empty() && Vault::key_from_base64(encryption_key).is_err(),
                "security.encryption_key: must be the base64 of 32 bytes",
            ),
            (
                self.security
                    .earlier_encryption_keys
                    .iter()
                    .any(|key| Vault::key_from_base64(key.expose_secret()).is_err()),
                "security.earlier_encryption_keys: each must be the base64 of 32 bytes",
            ),
            (
                encryption_key.is_empty() && !self.security.earlier_encryption_keys.is_empty(),
                "security.earlier_encryption_keys: needs security.encryption_key, to which to move",
            ),
            (
                production
                    && !bootstrap_key.is_empty()
                    && bootstrap_key.chars().count() < BOOTSTRAP_KEY_CHARS_MIN,
                "internal.bootstrap_key: production needs at least 32 characters",
            ),
            (production && encryption_key.is_empty(), "security.encryption_key: production needs one"),
            (
                production && self.test_clock.enabled,
                "test_clock.enabled: production runs on the system's clock",
            ),
            (
                production && self.security.allow_http,
                "security.allow_http: production delivers over https only",
            ),
            (
                production && self.security.allow_networks.iter().any(|network| network.prefix_len() == 0),
                "security.allow_networks: production does not allow every address; name the networks",
            ),
            (self.security.ports.is_empty(), "security.ports: must have at least one port"),
            (
                self.security
                    .nat64_prefixes
                    .iter()
                    .any(|prefix| !NAT64_PREFIX_LENGTHS.contains(&prefix.prefix_len())),
                "security.nat64_prefixes: every prefix must have a length of 32, 40, 48, 56, 64 or 96",
            ),
            (
                tracing_subscriber::EnvFilter::try_new(&self.log.filter).is_err(),
                "log.filter: must be a tracing filter, such as info or k_webhooks=debug",
            ),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, message)) => Err(ConfigError(message.to_owned())),
            None => Ok(()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        layers::Layers::new()
            .and_then(layers::Layers::finish)
            .expect("the defaults are a configuration, as a test proves")
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration, such as 15s, 5m, 72h or 30d"))
}

fn ladder<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    let rungs = Vec::<String>::deserialize(deserializer)?;
    rungs.iter().map(|rung| parse_duration(rung).map_err(serde::de::Error::custom)).collect()
}

fn bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let size: Result<bytesize::ByteSize, _> = text.parse();
    let size =
        size.map_err(|_| serde::de::Error::custom(format!("{text:?} is not a size, such as 256KiB")))?;
    usize::try_from(size.as_u64()).map_err(serde::de::Error::custom)
}

fn path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
