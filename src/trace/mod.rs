//! Traces: a span for each request that has events accepted, and one for each attempt at their deliveries.
//!
//! A publisher's `traceparent` is taken at ingest and kept with the event. An attempt may be made three days later, by
//! another process, so its span begins a trace of its own and links to the span that accepted the event. Spans are made
//! only for a collector (`tracing.otlp_endpoint`); nothing waits for it.

mod context;
mod export;
mod otlp;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::{mpsc, oneshot};

pub use context::{TRACEPARENT, TraceContext};

use export::Exporter;

use crate::{
    clock::{Clock, UnixMs},
    config::Tracing,
    delivery::{AttemptResult, LeasedDelivery},
    entropy::Entropy,
    ingest::IngestError,
    metrics::{Metrics, SpanEnd},
    store::Accepted,
};

/// Spans that wait to be sent, at about half a kilobyte each.
const WAITING_MAX: usize = 4096;

/// Makes spans.
#[derive(Debug)]
pub struct Tracer {
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
    /// Of traces that begin here, the share that is recorded.
    sample_ratio: f64,
    propagate: bool,
    /// To the collector, where there is one.
    spans: Option<mpsc::Sender<Message>>,
}

#[derive(Debug)]
enum Message {
    Span(Box<Span>),
    /// Answered when all before it is sent.
    Flush(oneshot::Sender<()>),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Server,
    Client,
}

#[derive(Debug)]
enum Attribute {
    Text(String),
    Number(i64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// What was done, from when to when.
#[derive(Debug)]
struct Span {
    name: &'static str,
    kind: Kind,
    context: TraceContext,
    parent: Option<TraceContext>,
    link: Option<TraceContext>,
    started_at: UnixMs,
    duration: Duration,
    attributes: Vec<(&'static str, Attribute)>,
    error: Option<String>,
}

/// A request whose events are being accepted.
#[derive(Debug)]
pub struct Accepting {
    parent: Option<TraceContext>,
    context: Option<TraceContext>,
    started_at: UnixMs,
    begun_at: Instant,
}

impl Accepting {
    /// What is kept with the events.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }
}

impl Tracer {
    /// A tracer by these options. Where there is a collector, what sends to it begins to run, for as long as the tracer
    /// lives.
    pub fn start(
        options: &Tracing,
        clock: Clock,
        entropy: Entropy,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>> {
        let mut spans = None;
        if let Some(endpoint) = &options.otlp_endpoint {
            let (sender, messages) = mpsc::channel(WAITING_MAX);
            tokio::spawn(Exporter::new(endpoint.as_str(), messages, Arc::clone(&metrics))?.run());
            spans = Some(sender);
        }
        let (sample_ratio, propagate) = (options.sample_ratio, options.propagate);
        Ok(Arc::new(Self { clock, entropy, metrics, sample_ratio, propagate, spans }))
    }

    /// Events are about to be accepted, for a caller in this span. Without a collector the caller's own span is what their
    /// attempts belong to.
    #[must_use]
    pub fn accepting(&self, parent: Option<TraceContext>) -> Accepting {
        let context = match self.spans {
            Some(_) => Some(self.child_of(parent)),
            None => parent,
        };
        Accepting { parent, context, started_at: self.clock.now(), begun_at: Instant::now() }
    }

    fn child_of(&self, parent: Option<TraceContext>) -> TraceContext {
        let span_id = self.entropy.bytes();
        if let Some(parent) = parent {
            return TraceContext { span_id, ..parent };
        }
        let trace_id: [u8; 16] = self.entropy.bytes();
        TraceContext { trace_id, span_id, sampled: is_sampled(trace_id, self.sample_ratio) }
    }

    /// They were accepted, or not.
    pub fn accepted(&self, accepting: &Accepting, outcome: &Result<Vec<Accepted>, IngestError>) {
        let Some(context) = accepting.context.filter(|context| self.spans.is_some() && context.sampled)
        else {
            return;
        };
        let mut attributes = Vec::new();
        if let Ok(accepted) = outcome {
            attributes.push(("k_webhooks.events", number(accepted.len())));
            if let [only] = accepted.as_slice() {
                attributes.push(("k_webhooks.event.id", Attribute::Text(only.event.id.to_string())));
            }
        }
        self.record(Span {
            name: "accept",
            kind: Kind::Server,
            context,
            parent: accepting.parent,
            link: None,
            started_at: accepting.started_at,
            duration: accepting.begun_at.elapsed(),
            attributes,
            error: outcome.as_ref().err().map(ToString::to_string),
        });
    }

    /// The span of an attempt that is about to be made, where its event's trace is recorded.
    #[must_use]
    pub fn attempting(&self, delivery: &LeasedDelivery) -> Option<TraceContext> {
        let event = delivery.trace.filter(|trace| self.spans.is_some() && trace.sampled)?;
        Some(TraceContext { trace_id: self.entropy.bytes(), span_id: self.entropy.bytes(), ..event })
    }

    /// What a receiver is told of it, where receivers are told.
    #[must_use]
    pub fn told(&self, delivery: &LeasedDelivery, attempt: Option<TraceContext>) -> Option<TraceContext> {
        attempt.or(delivery.trace).filter(|_| self.propagate)
    }

    /// The attempt was made.
    pub fn attempted(
        &self,
        delivery: &LeasedDelivery,
        context: Option<TraceContext>,
        result: &AttemptResult,
    ) {
        let Some(context) = context else { return };
        let attempt = &result.attempt;
        let mut attributes = vec![
            ("k_webhooks.event.id", Attribute::Text(delivery.event_id.to_string())),
            ("k_webhooks.event.type", delivery.event_type.as_str().into()),
            ("k_webhooks.delivery.id", Attribute::Text(delivery.id.to_string())),
            ("k_webhooks.endpoint.id", Attribute::Text(result.endpoint_id.to_string())),
            ("k_webhooks.attempt", Attribute::Number(attempt.number.into())),
        ];
        if let Some(status) = attempt.response_status {
            attributes.push(("http.response.status_code", Attribute::Number(status.into())));
        }
        if let Some(address) = &attempt.address {
            attributes.push(("network.peer.address", address.as_str().into()));
        }
        if let Some(code) = attempt.failure_code {
            attributes.push(("error.type", code.as_str().into()));
        }
        self.record(Span {
            name: "attempt",
            kind: Kind::Client,
            context,
            parent: None,
            link: delivery.trace,
            started_at: attempt.started_at,
            duration: Duration::from_millis(attempt.duration_ms.unsigned_abs()),
            attributes,
            error: attempt.failure_message.clone(),
        });
    }

    /// Hands a span over, unless too many wait.
    fn record(&self, span: Span) {
        let Some(spans) = &self.spans else { return };
        if spans.try_send(Message::Span(Box::new(span))).is_err() {
            self.metrics.spans_ended(SpanEnd::Dropped, 1);
        }
    }

    /// Returns when all spans so far are with the collector, or were refused by it.
    pub async fn flush(&self) {
        let Some(spans) = &self.spans else { return };
        let (done, flushed) = oneshot::channel();
        if spans.send(Message::Flush(done)).await.is_ok() {
            // It fails where the exporter has ended.
            let _ = flushed.await;
        }
    }
}

fn number(count: usize) -> Attribute {
    Attribute::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

/// By the trace's id, which is random.
#[expect(clippy::cast_precision_loss, reason = "a share of them, more or less")]
fn is_sampled(trace_id: [u8; 16], ratio: f64) -> bool {
    let random = u64::from_be_bytes(trace_id[8..].try_into().unwrap_or_default());
    (random as f64) < ratio * u64::MAX as f64 || ratio >= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_large_a_share_of_traces_is_recorded() {
        let sampled = |ratio: f64| {
            (0..1_000_u64)
                .filter(|number| {
                    // Spread evenly, as random ones are.
                    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let mut id = [1; 16];
                    id[8..].copy_from_slice(&spread.to_be_bytes());
                    is_sampled(id, ratio)
                })
                .count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 1_000));
        assert!((200..300).contains(&sampled(0.25)), "{}", sampled(0.25));
    }
}
