//! Before every attempt: whether its address may be called, and at which addresses it is. A connection that was kept is
//! used only after this, too, and a new one is made to what was found here, so a name is asked for once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Uri, uri::Scheme};
use tokio::time::timeout;

use super::{CallRules, Failure, FailureCode, Forbidden, Resolve};

/// Judges the addresses of attempts.
pub(super) struct Checker {
    pub(super) rules: Arc<CallRules>,
    pub(super) resolver: Arc<dyn Resolve>,
    /// Whether a proxy connects: then names are asked for by it, and their addresses are its to judge.
    pub(super) proxied: bool,
    /// How long a name may take to resolve.
    pub(super) timeout: Duration,
}

/// The addresses to connect to, all of which may be called. Where a name does not resolve it is why, which a connection
/// that is still there need not care about.
pub(super) type Found = Result<Vec<SocketAddr>, Failure>;

impl Checker {
    /// What was found, or why the address may not be called. One forbidden address refuses the whole name: which one is
    /// tried first is not the attacker's to choose.
    pub(super) async fn check(&self, uri: &Uri) -> Result<Found, Failure> {
        let forbidden = |message: String| Failure::new(FailureCode::AddressForbidden, message);
        let scheme = uri.scheme_str().unwrap_or_default();
        self.rules
            .check_scheme(scheme)
            .map_err(|why| forbidden(format!("{scheme} is not called here: the url {why}")))?;
        let (host, port) = (uri.host().unwrap_or_default(), port(uri));
        self.rules.check_port(port).map_err(|allowed| {
            forbidden(format!("port {port} is not called here; those that are: {allowed}"))
        })?;
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            let address = SocketAddr::new(ip, port);
            self.rules.check_address(address).map_err(|why| forbidden(why.to_string()))?;
            return Ok(Ok(vec![address]));
        }
        self.rules.check_name(host, port).map_err(|what| forbidden(format!("{host} is {what}")))?;
        if self.proxied {
            return Ok(Ok(Vec::new()));
        }
        let resolving = timeout(self.timeout, self.resolver.resolve(host));
        let addresses = match resolving.await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                return Ok(Err(Failure::new(FailureCode::Dns, format!("{host} does not resolve: {error}"))));
            }
            Err(_) => {
                return Ok(Err(Failure::timeout(&format!("the name {host} was not resolved"), self.timeout)));
            }
        };
        let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        for address in &addresses {
            self.rules.check_address(*address).map_err(|Forbidden { address, reason }| {
                forbidden(format!("{host} resolved to {address}, which is {reason}"))
            })?;
        }
        if addresses.is_empty() {
            return Ok(Err(Failure::new(FailureCode::Dns, format!("{host} has no address"))));
        }
        Ok(Ok(addresses))
    }
}

/// The port, written or of the scheme.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 })
}
