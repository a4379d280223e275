//! Sending spans to a collector. Nothing waits for it: what it does not take in time is dropped, and counted.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use axum::http::{Request, Uri, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::mpsc;

use super::{Message, Span, otlp};
use crate::{
    metrics::{Metrics, SpanEnd},
    transport::tls_config,
};

/// Spans in one request.
const BATCH_MAX: usize = 512;

/// How long a request to the collector may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two requests, so that spans gather.
const PAUSE: Duration = Duration::from_millis(500);

/// The loop that sends.
pub(super) struct Exporter {
    messages: mpsc::Receiver<Message>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    metrics: Arc<Metrics>,
}

impl Exporter {
    /// To the collector at this address, such as `http://127.0.0.1:4318`.
    pub(super) fn new(
        endpoint: &str,
        messages: mpsc::Receiver<Message>,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        const OPTION: &str = "tracing.otlp_endpoint";
        let uri: Uri = format!("{}/v1/traces", endpoint.trim_end_matches('/')).parse().context(OPTION)?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(None).context(OPTION)?)
            .https_or_http()
            .enable_all_versions()
            .build();
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        Ok(Self { messages, client, uri, metrics })
    }

    /// Sends for as long as there can be spans.
    pub(super) async fn run(mut self) {
        let mut gathered = Vec::with_capacity(BATCH_MAX);
        let mut fails = false;
        while self.messages.recv_many(&mut gathered, BATCH_MAX).await > 0 {
            let (mut spans, mut flushed) = (Vec::with_capacity(gathered.len()), Vec::new());
            for message in gathered.drain(..) {
                match message {
                    Message::Span(span) => spans.push(*span),
                    Message::Flush(done) => flushed.push(done),
                }
            }
            if !spans.is_empty() {
                let sent = self.send(&spans).await;
                let end = if sent.is_ok() { SpanEnd::Exported } else { SpanEnd::Failed };
                self.metrics.spans_ended(end, spans.len());
                let failed_before = std::mem::replace(&mut fails, sent.is_err());
                match sent {
                    Err(error) if !failed_before => {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            "the collector of traces does not take them"
                        );
                    }
                    Ok(()) if failed_before => tracing::info!("the collector takes traces again"),
                    _ => {}
                }
            }
            if flushed.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            for done in flushed {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    async fn send(&self, spans: &[Span]) -> Result<()> {
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(otlp::encode(spans)))?;
        let response = tokio::time::timeout(DEADLINE, self.client.request(request)).await;
        let status = response.context("it does not answer in time")?.context("it cannot be called")?.status();
        anyhow::ensure!(status.is_success(), "it answers {status}");
        Ok(())
    }
}
