//! What an attempt came to, for those who record without having sent.

use bytes::Bytes;
use k_webhooks::{
    clock::UnixMs,
    delivery::{Attempt, AttemptResult, LeasedDelivery, Verdict},
    id::IdSource,
};

/// The next attempt of a delivery: the endpoint answered 200 after 5 ms, whatever is made of it.
pub(crate) fn answered(
    delivery: &LeasedDelivery,
    verdict: Verdict,
    ids: &IdSource,
    started_at: UnixMs,
) -> AttemptResult {
    AttemptResult {
        delivery_id: delivery.id,
        endpoint_id: delivery.destination.endpoint_id,
        lease: delivery.lease,
        leased_as: delivery.standing(),
        attempt: Attempt {
            id: ids.next(started_at),
            number: delivery.attempt_count + 1,
            started_at,
            duration_ms: 5,
            response_status: Some(200),
            failure_code: None,
            failure_message: None,
            response_headers: None,
            response_body: Some(Bytes::from_static(b"\0\xff")),
            address: Some("127.0.0.1:1".to_owned()),
        },
        verdict,
    }
}
