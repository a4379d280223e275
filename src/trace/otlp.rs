//! Spans as OpenTelemetry's collectors read them: OTLP over HTTP, in its JSON form.
//! Source: <https://opentelemetry.io/docs/specs/otlp/>. Ids are hexadecimal there, and 64-bit numbers are texts.

use serde_json::{Value, json};

use super::{Attribute, Kind, Span};

/// The body of a request to `/v1/traces`.
pub(super) fn encode(spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", "k-webhooks".into()), ("service.version", version.into())];
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&resource) },
        "scopeSpans": [{
            "scope": { "name": "k-webhooks", "version": version },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] });
    body.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let started_ns = i128::from(span.started_at.0) * 1_000_000;
    let ended_ns = started_ns + i128::try_from(span.duration.as_nanos()).unwrap_or_default();
    let links = span
        .link
        .iter()
        .map(|link| json!({ "traceId": hex::encode(link.trace_id), "spanId": hex::encode(link.span_id) }));
    let mut encoded = json!({
        "traceId": hex::encode(span.context.trace_id),
        "spanId": hex::encode(span.context.span_id),
        "name": span.name,
        "kind": match span.kind { Kind::Server => 2, Kind::Client => 3 },
        "startTimeUnixNano": started_ns.to_string(),
        "endTimeUnixNano": ended_ns.to_string(),
        "attributes": attributes(&span.attributes),
        "links": links.collect::<Vec<_>>(),
        "status": match &span.error { None => json!({}), Some(message) => json!({ "code": 2, "message": message }) },
    });
    if let Some(parent) = span.parent {
        encoded["parentSpanId"] = hex::encode(parent.span_id).into();
    }
    encoded
}

fn attributes(attributes: &[(&'static str, Attribute)]) -> Value {
    let encoded = attributes.iter().map(|(key, value)| {
        let value = match value {
            Attribute::Text(text) => json!({ "stringValue": text }),
            Attribute::Number(number) => json!({ "intValue": number.to_string() }),
        };
        json!({ "key": key, "value": value })
    });
    encoded.collect()
}
