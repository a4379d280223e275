//! Before every attempt: whether its address may be called, and at which addresses it is. A connection that was kept is
//! used only after this, too, and a new one is made to what was found here, so a name is asked for once.

use std::{net::SocketAddr, sync::Arc};

use http::{Uri, uri::Scheme};

use super::{CallRules, Failure, FailureCode, Forbidden, lookup::Lookups};

/// Judges the addresses of attempts.
pub(super) struct Checker {
    pub(super) rules: Arc<CallRules>,
    /// Where a proxy connects there are none: names are asked for by it, and their addresses are its to judge.
    pub(super) lookups: Option<Lookups>,
}

/// What may be called.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// These addresses, all of which may be.
    Addresses(Vec<SocketAddr>),
    /// Whatever the proxy finds.
    ByProxy,
    /// None, because the name does not resolve: a connection that is still there need not care.
    Unresolved(Failure),
}

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
            return Ok(self.lookups.as_ref().map_or(Found::ByProxy, |_| Found::Addresses(vec![address])));
        }
        self.rules.check_name(host, port).map_err(|what| forbidden(format!("{host} is {what}")))?;
        let Some(lookups) = &self.lookups else { return Ok(Found::ByProxy) };
        let addresses = match lookups.addresses(host).await {
            Ok(addresses) => addresses,
            Err(failure) => return Ok(Found::Unresolved(failure)),
        };
        let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        for address in &addresses {
            self.rules.check_address_of(host, *address).map_err(|Forbidden { address, reason }| {
                forbidden(format!("{host} resolved to {address}, which is {reason}"))
            })?;
        }
        Ok(Found::Addresses(addresses))
    }
}

/// The port, written or of the scheme.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 })
}
