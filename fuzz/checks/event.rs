//! The body of `POST /v1/events`. An input that begins with `#` has the `Idempotency-Key` header in its first line.

use bytes::Bytes;
use http::HeaderValue;
use k_webhooks::{
    clock::UnixMs,
    event::{Event, render},
    http::internal::parse_event,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Rendered<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    created: i64,
    livemode: bool,
    #[serde(borrow)]
    data: &'a RawValue,
    pending_webhooks: Option<i64>,
}

pub(crate) fn check(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let (header, body) = match (data, data.iter().position(|byte| *byte == b'\n')) {
        ([b'#', ..], Some(end)) => (HeaderValue::from_bytes(&data[1..end]).ok(), body.slice(end + 1..)),
        _ => (None, body),
    };
    let Ok(event) = parse_event(&body, header.as_ref()) else { return };

    let id = "evt_01h455vb4pex5vsknk084sn02q".parse().expect("an id");
    let accepted_at = UnixMs(1_749_651_729_123);
    let bytes = Bytes::from(render(id, &event, accepted_at));
    let rendered: Rendered<'_> = serde_json::from_slice(&bytes).expect("an event renders as JSON");
    assert_eq!(rendered.data.get().as_bytes(), event.data, "data passes through byte for byte");
    assert!(body.windows(event.data.len()).any(|part| part == event.data), "data is a part of the body");
    assert_eq!(rendered.id, id.to_string());
    assert_eq!(rendered.event_type, event.event_type.as_str());
    assert_eq!(rendered.created, event.created.unwrap_or_else(|| accepted_at.seconds()));
    assert_eq!(rendered.livemode, event.tenant.livemode);
    assert_eq!(rendered.pending_webhooks, None);

    let shown = Event {
        id,
        event_type: event.event_type,
        body: bytes.clone(),
        pending_webhooks: 3,
        only_endpoint: None,
    }
    .to_json();
    let shown: Rendered<'_> = serde_json::from_str(shown.get()).expect("an event is shown as JSON");
    assert_eq!((shown.data.get().as_bytes(), shown.pending_webhooks), (event.data.as_ref(), Some(3)));

    let key = event.idempotency_key.as_deref();
    assert!(key.is_none_or(|key| (1..=255).contains(&key.chars().count()) && !key.contains('\0')));
    let merchant = event.tenant.merchant_id.as_str();
    assert!((1..=64).contains(&merchant.len()));
    assert!(merchant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{merchant}");
}
