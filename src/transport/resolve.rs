//! From names to addresses.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::{TokioResolver, config::ResolverConfig, net::runtime::TokioRuntimeProvider};

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
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the system's name servers are not known; only the hosts file is");
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        let resolver = builder.build();
        if let Err(error) = &resolver {
            tracing::error!(%error, "names cannot be resolved");
        }
        Self(resolver.ok())
    }
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
        let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
        Ok(found.iter().collect())
    }
}
