//! `healthcheck`: asks a service that runs beside it whether it lives, for images that hold no other HTTP client. Not whether
//! it is ready: a process is not to be restarted because its database is away.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use axum::{
    body::Body,
    http::{Response, Uri},
};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{ConfigArgs, say};
use crate::id::RequestId;

const DEADLINE: Duration = Duration::from_secs(3);

impl ConfigArgs {
    pub(super) async fn check_health(&self) -> Result<()> {
        let internal = self.load()?.internal;
        let address = reachable(internal.listen);
        let status = ask(address, internal.tls_certificate.is_some()).await?.status();
        if !status.is_success() {
            bail!("{address} answers {status}");
        }
        say("healthy");
        Ok(())
    }
}

/// What a listener says of its health.
async fn ask(address: SocketAddr, tls: bool) -> Result<Response<Incoming>> {
    let scheme = if tls { "https" } else { "http" };
    let uri: Uri = format!("{scheme}://{address}/healthz").parse()?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(AnyCertificate::config()?)
        .https_or_http()
        .enable_all_versions()
        .build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let answer = tokio::time::timeout(DEADLINE, client.get(uri)).await;
    let answer = answer.with_context(|| format!("{address} does not answer in time"))?;
    answer.with_context(|| format!("{address} does not answer"))
}

/// Whether what listens there is a service of this kind: each of its answers has the id of its request.
pub(super) async fn answers_as_this_service(address: SocketAddr, tls: bool) -> bool {
    let answer = ask(address, tls).await;
    answer.is_ok_and(|answer| {
        let id = answer.headers().get("request-id").and_then(|id| id.to_str().ok());
        id.is_some_and(|id| id.parse::<RequestId>().is_ok())
    })
}

/// Takes whatever certificate the listener has: it is this machine's own, is called by its address, and is told nothing.
/// The one in the file may be newer than the one that the service has read.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    fn config() -> Result<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Self(provider)))
            .with_no_client_auth())
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Where a listener can be called from the same machine: one on all addresses, on the loopback address.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
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
