//! `healthcheck`: asks a service that runs beside it whether it is ready, for images that hold no other HTTP client.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use axum::{body::Body, http::Uri};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::{ConfigArgs, say};

/// Longer than `/readyz` waits for its database.
const DEADLINE: Duration = Duration::from_secs(3);

impl ConfigArgs {
    pub(super) async fn check_health(&self) -> Result<()> {
        let address = reachable(self.load()?.internal.listen);
        let uri: Uri = format!("http://{address}/readyz").parse()?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let answer = tokio::time::timeout(DEADLINE, client.get(uri)).await;
        let answer = answer.with_context(|| format!("{address} does not answer in time"))?;
        let status = answer.with_context(|| format!("{address} does not answer"))?.status();
        if !status.is_success() {
            bail!("{address} answers {status}");
        }
        say("ready");
        Ok(())
    }
}

/// Where a listener can be called from the same machine: one on all addresses, on the loopback address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_called_on_the_loopback_address() {
        for (listen, called) in
            [("0.0.0.0:8081", "127.0.0.1:8081"), ("[::]:8081", "[::1]:8081"), ("10.0.0.5:1", "10.0.0.5:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), called.parse().unwrap());
        }
    }
}
