//! From names to addresses.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::ResolverConfig,
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::read_system_conf,
};

/// Resolves the names of endpoints.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, or why there are none.
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String>;
}

/// The operating system's name servers and hosts file. Unlike `getaddrinfo` its lookups end when they are dropped.
pub struct SystemResolver(Option<TokioResolver>);

impl SystemResolver {
    /// Reads the system's configuration. Where there is none, only the hosts file and `localhost` are known.
    #[must_use]
    pub fn new() -> Self {
        Self::build(TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the system's name servers are not known; only the hosts file is");
            hosts_only()
        }))
    }

    fn build(builder: ResolverBuilder<TokioRuntimeProvider>) -> Self {
        let resolver = builder.build();
        if let Err(error) = &resolver {
            tracing::error!(%error, "names cannot be resolved");
        }
        Self(resolver.ok())
    }
}

/// The addresses of the system's name servers.
pub fn name_servers() -> Result<Vec<IpAddr>, String> {
    let (config, _) = read_system_conf().map_err(|error| error.to_string())?;
    let servers: Vec<IpAddr> = config.name_servers().iter().map(|server| server.ip).collect();
    if servers.is_empty() { Err("none is named".to_owned()) } else { Ok(servers) }
}

fn hosts_only() -> ResolverBuilder<TokioRuntimeProvider> {
    TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.0.as_ref().ok_or("this service has no resolver")?;
        // The trailing dot keeps the system's search domains out of it.
        let name = format!("{}.", host.trim_end_matches('.'));
        let found = resolver.lookup_ip(name).await.map_err(|error| in_words(&error))?;
        Ok(found.iter().collect())
    }
}

fn in_words(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "there is no such name".to_owned(),
        error if error.is_no_records_found() => "the name has no address".to_owned(),
        NetError::Timeout => "its name servers do not answer".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_this_machine_with_or_without_name_servers() {
        for resolver in [SystemResolver::new(), SystemResolver::build(hosts_only())] {
            for name in ["localhost", "LOCALHOST.", "a.localhost"] {
                let addresses = resolver.resolve(name).await.unwrap();
                assert!(
                    !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback),
                    "{name}: {addresses:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn without_name_servers_no_other_name_resolves() {
        let error = SystemResolver::build(hosts_only()).resolve("receiver.example").await.unwrap_err();
        assert!(!error.is_empty());
    }
}
