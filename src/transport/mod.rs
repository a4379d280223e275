//! One HTTP exchange with an endpoint, under every bound: checked addresses, one deadline, no redirects, a capped body.
//!
//! Being refused is data, not an error: [`Transport::send`] always answers with an [`Exchange`]. The transport and the
//! resolver are injected, so that every fault is tested without a network.

mod address;
mod check;
mod client;
mod connect;
mod connection;
mod failure;
mod lookup;
mod name_pattern;
mod proxy;
mod resolve;
mod response_headers;
mod rules;
mod tls;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

pub use address::{AddressPolicy, Forbidden, NAT64_PREFIX_LENGTHS};
pub use client::{HyperTransport, TransportError, TransportSettings};
pub use connection::ConnectionLimits;
pub use name_pattern::NamePattern;
pub use proxy::Proxy;
pub use resolve::{Resolve, SystemResolver, name_servers};
pub use response_headers::ResponseHeaders;
pub use rules::{CallRules, PortRange};
pub(crate) use tls::tls_config;

use crate::{endpoint_url::EndpointUrl, words::words};

/// Sends requests to endpoints.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Makes one exchange. It ends within the transport's deadline.
    async fn send(&self, request: AttemptRequest) -> Exchange;
}

/// What to send: `POST url`.
#[derive(Debug)]
pub struct AttemptRequest {
    /// Where to.
    pub url: EndpointUrl,
    /// All headers but those of the protocol itself.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
}

/// What an exchange came to.
#[derive(Debug)]
pub struct Exchange {
    /// From its start to its end.
    pub duration: Duration,
    /// The address that was called, where it came to that.
    pub address: Option<SocketAddr>,
    /// The response, or why there is none.
    pub result: Result<Response, Failure>,
}

/// A response, whatever its status.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of `Retry-After`.
    pub retry_after: Option<String>,
    /// All headers, as far as they are kept.
    pub headers: ResponseHeaders,
    /// The beginning of the body, at most the transport's cap.
    pub body: Bytes,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// The same in words, for the merchant.
    pub message: String,
}

words! {
    /// What can fail, as the API names it.
    FailureCode {
        /// A status that is neither a success nor a redirect.
        HttpStatus "http_status",
        /// A redirect, which is never followed.
        Redirect "redirect",
        /// Not done within the deadline.
        Timeout "timeout",
        /// The name does not resolve.
        Dns "dns",
        /// No connection, or it broke.
        Connection "connection",
        /// No trusted TLS session.
        Tls "tls",
        /// The address may not be called.
        AddressForbidden "address_forbidden",
        /// What came back is not HTTP.
        Protocol "protocol",
    }
}
