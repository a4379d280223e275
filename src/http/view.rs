//! The JSON of the objects that the APIs show.

use serde_json::{Value, json, value::RawValue};

use crate::{
    audit::AuditEntry,
    clock::UnixMs,
    delivery::{AbandonedReason, Attempt, Delivery},
    endpoint::{DisabledReason, Endpoint},
    merchant::MerchantId,
    portal::PortalSession,
    store::{ApiKey, KeyOwner, Paged},
};

fn seconds(at: Option<UnixMs>) -> Option<i64> {
    at.map(UnixMs::seconds)
}

pub(super) fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "enabled_events": endpoint.enabled_events.names(),
        "description": endpoint.description,
        "status": endpoint.status.as_str(),
        "disabled_reason": endpoint.disabled_reason.map(DisabledReason::as_str),
        "livemode": endpoint.tenant.livemode,
        "created": endpoint.created_at.seconds(),
        "updated": endpoint.updated_at.seconds(),
    })
}

pub(super) fn delivery(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id,
        "object": "delivery",
        "event": delivery.event_id,
        "event_type": delivery.event_type.as_str(),
        "webhook_endpoint": delivery.endpoint_id,
        "livemode": delivery.livemode,
        "status": delivery.status.as_str(),
        "abandoned_reason": delivery.abandoned_reason.map(AbandonedReason::as_str),
        "attempt_count": delivery.attempt_count,
        "next_attempt_at": seconds(delivery.next_attempt_at),
        "created": delivery.created_at.seconds(),
        "backfill": delivery.backfill_id,
    })
}

pub(super) fn attempt(attempt: &Attempt) -> Value {
    json!({
        "id": attempt.id,
        "object": "attempt",
        "number": attempt.number,
        "started": attempt.started_at.seconds(),
        "duration_ms": attempt.duration_ms,
        "response_status": attempt.response_status,
        "failure_code": attempt.failure_code.map(super::super::transport::FailureCode::as_str),
        "failure_message": attempt.failure_message,
        "response_body": attempt.response_body.as_ref().map(|body| String::from_utf8_lossy(body)),
        "address": attempt.address,
    })
}

pub(super) fn api_key(key: &ApiKey) -> Value {
    let (merchant, livemode) = match &key.owner {
        KeyOwner::Merchant(tenant) => (Some(tenant.merchant_id.as_str()), Some(tenant.livemode)),
        KeyOwner::Service(_) => (None, None),
    };
    json!({
        "id": key.id,
        "object": "api_key",
        "merchant_id": merchant,
        "livemode": livemode,
        "last4": key.last4,
        "publishable_key": key.publishable_key,
        "created": key.created_at.seconds(),
        "expires_at": seconds(key.expires_at),
    })
}

pub(super) fn portal_session(session: &PortalSession) -> Value {
    json!({
        "id": session.id,
        "object": "portal_session",
        "merchant_id": session.tenant.merchant_id.as_str(),
        "livemode": session.tenant.livemode,
        "access": session.access.as_str(),
        "theme": {
            "accent": session.theme.accent.map(|accent| accent.to_string()),
            "appearance": session.theme.appearance.as_str(),
        },
        "created": session.created_at.seconds(),
        "opened": seconds(session.opened_at),
        "expires_at": session.expires_at.seconds(),
    })
}

pub(super) fn audit_entry(entry: &AuditEntry) -> Value {
    let actor = &entry.by.actor;
    json!({
        "id": entry.id,
        "object": "audit_entry",
        "created": entry.created_at.seconds(),
        "merchant_id": entry.merchant_id.as_ref().map(MerchantId::as_str),
        "livemode": entry.livemode,
        "actor": { "kind": actor.kind.as_str(), "id": actor.id.map(|id| id.to_string()), "name": actor.name },
        "action": entry.action.as_str(),
        "object_id": entry.object_id,
        "changes": entry.changes.clone().into_json(),
        "request_id": entry.by.request_id,
    })
}

pub(super) fn list<T>(url: &str, page: &Paged<T>, view: impl Fn(&T) -> Value) -> Value {
    let data: Vec<Value> = page.items.iter().map(view).collect();
    json!({ "object": "list", "url": url, "data": data, "has_more": page.has_more })
}

/// A list of events; their `data` passes through byte for byte.
#[derive(serde::Serialize)]
pub(super) struct EventList {
    object: &'static str,
    url: &'static str,
    data: Vec<Box<RawValue>>,
    has_more: bool,
}

impl EventList {
    pub(super) fn new(events: impl Iterator<Item = Box<RawValue>>, has_more: bool) -> Self {
        Self { object: "list", url: "/v1/events", data: events.collect(), has_more }
    }
}
