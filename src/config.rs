//! The configuration: built-in defaults, then a TOML file, then the environment, then flags.
//!
//! Each layer is laid over a table of the defaults, whose keys are the ones that exist and whose types say how a text
//! from the environment is read. The result is deserialised once, so that every error names its key.

#![expect(missing_docs, reason = "config.toml says what each option is for")]

mod layers;
mod rules;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use ipnet::{IpNet, Ipv6Net};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use crate::{
    failing::FailingRules,
    operational::{OperationalType, Told},
    transport::{NamePattern, PortRange, Proxy},
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
    pub portal: Portal,
    pub internal: Internal,
    pub console: Console,
    pub retry: Retry,
    pub delivery: Delivery,
    pub endpoint: Endpoint,
    pub security: Security,
    pub operations: Operations,
    pub limits: Limits,
    pub retention: Retention,
    pub test_clock: TestClock,
    pub shutdown: Shutdown,
    pub tracing: Tracing,
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
pub struct Portal {
    /// An origin, or empty.
    pub url: String,
    /// Each an origin.
    pub origins: Vec<String>,
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
pub struct Console {
    pub enabled: bool,
    /// From when a session is opened.
    #[serde(deserialize_with = "duration")]
    pub session: Duration,
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
pub struct Endpoint {
    /// None where it is never.
    #[serde(deserialize_with = "duration_or_never")]
    pub disable_after_failing: Option<Duration>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Security {
    /// Empty for none; else the base64 of 32 bytes.
    pub encryption_key: SecretString,
    /// Keys that open what was sealed with them, and seal nothing.
    pub earlier_encryption_keys: Vec<SecretString>,
    pub allow_http: bool,
    pub allow_networks: Vec<IpNet>,
    pub allow_names: Vec<NamePattern>,
    pub ports: Vec<PortRange>,
    pub nat64_prefixes: Vec<Ipv6Net>,
    /// Empty for none. May hold a password.
    pub proxy: SecretString,
    #[serde(deserialize_with = "path")]
    pub extra_root_certificates: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Operations {
    /// Empty for none. May hold a token.
    pub url: SecretString,
    pub signing_secret: SecretString,
    #[serde(deserialize_with = "operational_types")]
    pub types: Told,
    pub allow_private: bool,
}

impl Operations {
    /// What is told: nothing, where there is nobody to tell.
    #[must_use]
    pub fn told(&self) -> Told {
        if self.url.expose_secret().is_empty() { Told::NOTHING } else { self.types }
    }
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
    pub streams_per_merchant: usize,
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
pub struct Tracing {
    #[serde(deserialize_with = "address")]
    pub otlp_endpoint: Option<Url>,
    pub sample_ratio: f64,
    pub propagate: bool,
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
        rules::check(&config)?;
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

    /// For how long an endpoint may fail, and what is told of it.
    #[must_use]
    pub fn failing_rules(&self) -> FailingRules {
        FailingRules { disable_after: self.endpoint.disable_after_failing, told: self.operations.told() }
    }

    /// The origin at which browsers reach the portal, while the public listener listens there; none where there is no portal.
    #[must_use]
    pub fn portal_url(&self, listening_at: SocketAddr) -> Option<String> {
        if !self.portal.url.is_empty() {
            return Some(self.portal.url.clone());
        }
        let scheme = if self.server.tls_certificate.is_some() { "https" } else { "http" };
        let port = listening_at.port();
        // No browser can be told to go to all addresses.
        let host = Some(listening_at.ip()).filter(|ip| !ip.is_unspecified());
        let host =
            host.map_or_else(|| format!("localhost:{port}"), |ip| SocketAddr::new(ip, port).to_string());
        (self.mode == Mode::Development).then(|| format!("{scheme}://{host}"))
    }

    /// The proxy through which endpoints are called, if any.
    #[must_use]
    pub fn proxy(&self) -> Option<Proxy> {
        Proxy::parse(self.security.proxy.expose_secret())
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

fn duration_or_never<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "never" || text == "0" {
        return Ok(None);
    }
    let duration = parse_duration(&text).map_err(serde::de::Error::custom)?;
    Ok((!duration.is_zero()).then_some(duration))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration, such as 15s, 5m, 72h or 30d"))
}

fn operational_types<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Told, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    if names == ["*"] {
        return Ok(Told::of(OperationalType::ALL));
    }
    let types = names.iter().map(|name| {
        name.parse::<OperationalType>().map_err(|error| serde::de::Error::custom(format!("{name:?} {error}")))
    });
    Ok(Told::of(&types.collect::<Result<Vec<_>, _>>()?))
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

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let message = "must be http://host:port or https://host:port";
    url.map(Some).ok_or_else(|| serde::de::Error::custom(message))
}

fn path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
