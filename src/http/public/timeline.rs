//! What happened to an event, or to one of its deliveries, in order and in words: recorded, matched or not and why, each
//! attempt with what to do about it, and what comes next.
//!
//! It is told from what is stored. How an endpoint was set when the event came is not: where that matters, it says how the
//! endpoint is set now, and that it is now.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{deliveries, events};
use crate::{
    clock::UnixMs,
    delivery::{AbandonedReason, Attempt, Delivery, DeliveryStatus},
    endpoint::{EnabledEvents, Endpoint, EndpointStatus},
    event::Event,
    http::{Api, auth::Merchant, error::ApiError, path::Path, routes::Routes, view::IsTimeline},
    id::{AttemptId, DeliveryId, EndpointId, EventId},
    merchant::Tenant,
    store::{DeliveryFilter, Page, Position, Result as StoreResult},
    transport::FailureCode,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(of_event)).route(routes!(of_delivery))
}

/// Deliveries that one timeline tells of, the newest.
const DELIVERIES_MAX: u32 = 50;

/// Attempts that one timeline tells of, unless one delivery has more: the older deliveries are left out.
const ATTEMPTS_MAX: usize = 1000;

/// What happened to an event, or to one of its deliveries.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Timeline {
    #[schema(inline)]
    object: IsTimeline,
    event: EventId,
    /// In order; what is so now and has no time comes last.
    data: Vec<TimelineEntry>,
    /// Whether there are older deliveries, of which it does not tell.
    has_more: bool,
}

/// One thing that happened, or how things are.
#[derive(Serialize, ToSchema)]
struct TimelineEntry {
    /// When, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: Option<i64>,
    /// When, in unix milliseconds.
    #[schema(examples(1_749_651_729_123_i64))]
    at_ms: Option<i64>,
    /// `event.recorded`, `endpoint.matched`, `endpoint.not_matched`, `delivery.created`, `attempt.succeeded`,
    /// `attempt.failed`, or how the delivery stands: `delivery.pending`, `.held`, `.succeeded`, `.abandoned`.
    #[schema(examples("attempt.failed"))]
    kind: &'static str,
    /// What, in words.
    #[schema(examples(
        "Attempt 1 to 192.0.2.7:443 failed after 87 ms: http_status: the endpoint answered 500."
    ))]
    summary: String,
    /// What can be done about it.
    hint: Option<&'static str>,
    webhook_endpoint: Option<EndpointId>,
    delivery: Option<DeliveryId>,
    attempt: Option<AttemptId>,
}

/// Tell what happened to an event
///
/// Recorded, matched or not and why, each attempt with what can be done about a failure, and what comes next: of its 50
/// newest deliveries.
#[utoipa::path(
    get, path = "/v1/events/{id}/timeline", operation_id = "getEventTimeline", tag = "Events",
    params(("id" = EventId, Path, description = "The event.")),
    responses((status = 200, description = "What happened.", body = Timeline)),
)]
pub(in crate::http) async fn of_event(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Timeline>, ApiError> {
    let event = events::find(&api, &tenant, &id).await?;
    let page = Page { limit: DELIVERIES_MAX, position: Position::First };
    let filter = DeliveryFilter::OfEvent(event.id);
    let list = api.foundation.store.list_deliveries(&tenant, &filter, &page).await?;
    let list = list.ok_or_else(|| ApiError::internal("the first page is beside nothing"))?;
    let (mut newest, mut attempts) = (Vec::new(), 0);
    for delivery in &list.items {
        let of_delivery = api.foundation.store.attempts(delivery.id).await?;
        attempts += of_delivery.len();
        if attempts > ATTEMPTS_MAX && !newest.is_empty() {
            break;
        }
        newest.push((delivery, of_delivery));
    }
    let has_more = list.has_more || newest.len() < list.items.len();
    let mut told = Telling::of(&api, &tenant, &event).await?;
    if !has_more {
        told.not_matched(&list.items);
    }
    for (delivery, attempts) in newest.into_iter().rev() {
        told.delivery(delivery, &attempts);
    }
    Ok(told.shown(has_more))
}

/// Tell what happened to a delivery
///
/// The same of one delivery alone, with all its attempts.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}/timeline", operation_id = "getDeliveryTimeline", tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery.")),
    responses((status = 200, description = "What happened.", body = Timeline)),
)]
pub(in crate::http) async fn of_delivery(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Timeline>, ApiError> {
    let delivery = deliveries::find(&api, &tenant, &id).await?;
    let event = events::find(&api, &tenant, &delivery.event_id.to_string()).await?;
    let mut told = Telling::of(&api, &tenant, &event).await?;
    told.delivery(&delivery, &api.foundation.store.attempts(delivery.id).await?);
    Ok(told.shown(false))
}

/// All endpoints of the tenant, oldest first.
async fn endpoints_of(api: &Api, tenant: &Tenant) -> StoreResult<Vec<Endpoint>> {
    let mut page = Page { limit: 100, position: Position::First };
    let mut endpoints = Vec::new();
    loop {
        let Some(list) = api.foundation.store.list_endpoints(tenant, &page).await? else { break };
        let last = list.items.last().map(|endpoint| endpoint.id);
        endpoints.extend(list.items);
        match last {
            Some(last) if list.has_more => page.position = Position::After(last),
            _ => break,
        }
    }
    endpoints.reverse();
    Ok(endpoints)
}

/// A timeline that is being told.
struct Telling<'a> {
    event: &'a Event,
    endpoints: Vec<Endpoint>,
    now: UnixMs,
    /// Endpoints whose first delivery was told of.
    seen: HashSet<EndpointId>,
    /// When, and what; without a time it is how things are now, and comes last.
    entries: Vec<(Option<UnixMs>, TimelineEntry)>,
}

impl<'a> Telling<'a> {
    async fn of(api: &Api, tenant: &Tenant, event: &'a Event) -> StoreResult<Self> {
        let endpoints = endpoints_of(api, tenant).await?;
        let (now, seen, entries) = (api.foundation.clock.now(), HashSet::new(), Vec::new());
        let mut told = Self { event, endpoints, now, seen, entries };
        let recorded = event.id.made_at();
        let dated =
            serde_json::from_slice::<Value>(&event.body).ok().and_then(|body| body["created"].as_i64());
        let dated = dated.filter(|dated| *dated != recorded.seconds()).map_or_else(String::new, |dated| {
            format!("; its publisher dates it {}", date(UnixMs(dated.saturating_mul(1000))))
        });
        told.tell(
            Some(recorded),
            "event.recorded",
            &format!("The event {} was recorded{dated}.", event.event_type),
        );
        Ok(told)
    }

    fn tell(&mut self, at: Option<UnixMs>, kind: &'static str, summary: &str) -> &mut TimelineEntry {
        let entry = TimelineEntry {
            created: at.map(UnixMs::seconds),
            at_ms: at.map(|at| at.0),
            kind,
            summary: summary.to_owned(),
            hint: None,
            webhook_endpoint: None,
            delivery: None,
            attempt: None,
        };
        let last = self.entries.len();
        self.entries.push((at, entry));
        &mut self.entries[last].1
    }

    /// Endpoints that have no delivery of the event.
    fn not_matched(&mut self, deliveries: &[Delivery]) {
        let delivered: HashSet<EndpointId> = deliveries.iter().map(|delivery| delivery.endpoint_id).collect();
        let (recorded, event_type) = (self.event.id.made_at(), self.event.event_type);
        let others: Vec<_> =
            self.endpoints.iter().filter(|endpoint| !delivered.contains(&endpoint.id)).cloned().collect();
        for endpoint in others {
            let (why, hint) = if let Some(only) = self.event.only_endpoint {
                (format!("the event is a test for {only} alone"), None)
            } else if endpoint.created_at > recorded {
                (
                    format!("it was registered later, on {}", date(endpoint.created_at)),
                    Some("Send it with POST /v1/events/:id/resend, or all that it missed with a backfill."),
                )
            } else if !endpoint.enabled_events.matches(event_type) {
                (
                    format!("it does not list {event_type} (as it is set now)"),
                    Some("Add the type to enabled_events; a backfill then sends what it missed."),
                )
            } else {
                (
                    format!("it did not list {event_type} then; it does now"),
                    Some("Send it with POST /v1/events/:id/resend, or all that it missed with a backfill."),
                )
            };
            let summary = format!("{} did not match: {why}.", endpoint.url);
            let entry = self.tell(Some(recorded), "endpoint.not_matched", &summary);
            (entry.webhook_endpoint, entry.hint) = (Some(endpoint.id), hint);
        }
    }

    /// Why there is a delivery.
    fn origin(
        &self,
        delivery: &Delivery,
        first: bool,
        endpoint: Option<&Endpoint>,
    ) -> (&'static str, String) {
        let event_type = self.event.event_type;
        let address =
            endpoint.map_or("an endpoint that has been deleted since", |endpoint| endpoint.url.as_str());
        if let Some(backfill) = delivery.backfill_id {
            return ("delivery.created", format!("The backfill {backfill} made a delivery to {address}."));
        }
        if !first || delivery.created_at > self.event.id.made_at() {
            return ("delivery.created", format!("A delivery to {address} was asked for again (resend)."));
        }
        let why = match endpoint.map(|endpoint| &endpoint.enabled_events) {
            _ if self.event.only_endpoint.is_some() => "the event is a test for it alone".to_owned(),
            Some(EnabledEvents::All) => "it takes events of all types (as it is set now)".to_owned(),
            Some(only) if only.matches(event_type) => format!("it lists {event_type} (as it is set now)"),
            _ => format!("it listed {event_type} then"),
        };
        ("endpoint.matched", format!("{address} matched, and a delivery was made: {why}."))
    }

    fn delivery(&mut self, delivery: &Delivery, attempts: &[Attempt]) {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == delivery.endpoint_id).cloned();
        let first = self.seen.insert(delivery.endpoint_id);
        let (kind, summary) = self.origin(delivery, first, endpoint.as_ref());
        self.tell_of(delivery, Some(delivery.created_at), kind, &summary);
        for attempt in attempts {
            let (number, took) = (attempt.number, attempt.duration_ms);
            let address =
                attempt.address.as_ref().map_or_else(String::new, |address| format!(" to {address}"));
            let (kind, summary) = match attempt.failure_code {
                None => {
                    let status = attempt.response_status.unwrap_or_default();
                    let summary = format!("Attempt {number}{address} succeeded: {status} after {took} ms.");
                    ("attempt.succeeded", summary)
                }
                Some(code) => {
                    let message = attempt.failure_message.as_deref().unwrap_or("it failed");
                    let code = code.as_str();
                    let summary =
                        format!("Attempt {number}{address} failed after {took} ms: {code}: {message}.");
                    ("attempt.failed", summary)
                }
            };
            let entry = self.tell_of(delivery, Some(attempt.started_at), kind, &summary);
            entry.attempt = Some(attempt.id);
            entry.hint = attempt.failure_code.map(|code| hint(code, attempt.response_status));
        }
        self.outlook(delivery, attempts, endpoint.as_ref());
    }

    fn tell_of(
        &mut self,
        delivery: &Delivery,
        at: Option<UnixMs>,
        kind: &'static str,
        summary: &str,
    ) -> &mut TimelineEntry {
        let entry = self.tell(at, kind, summary);
        entry.webhook_endpoint = Some(delivery.endpoint_id);
        entry.delivery = Some(delivery.id);
        entry
    }

    /// When the next attempt is, or why there is none.
    fn outlook(&mut self, delivery: &Delivery, attempts: &[Attempt], endpoint: Option<&Endpoint>) {
        const RETRY: &str = "Once that is mended, POST /v1/deliveries/:id/retry begins a new ladder.";
        let last = attempts.last();
        let ended =
            last.map(|last| last.started_at.plus(Duration::from_millis(last.duration_ms.unsigned_abs())));
        let (at, kind, summary, hint) = match (delivery.status, delivery.abandoned_reason) {
            (DeliveryStatus::Succeeded, _) => {
                let summary = "The delivery succeeded: no further attempt is made.".to_owned();
                (ended, "delivery.succeeded", summary, None)
            }
            (DeliveryStatus::Pending, _)
                if endpoint.is_none_or(|endpoint| endpoint.status == EndpointStatus::Disabled) =>
            {
                let summary =
                    "No attempt is made: the endpoint is disabled or deleted, and the delivery follows it.";
                (None, "delivery.held", summary.to_owned(), None)
            }
            (DeliveryStatus::Pending, _) => {
                let at = delivery.next_attempt_at;
                let number = delivery.attempt_count + 1;
                let summary = match at.filter(|at| *at > self.now) {
                    Some(at) => format!("Attempt {number} is due on {}.", date(at)),
                    None => format!("Attempt {number} is due, or under way."),
                };
                (at.map(|at| at.max(self.now)), "delivery.pending", summary, None)
            }
            (DeliveryStatus::Held, _) => {
                let summary =
                    "No attempt is made: the endpoint is disabled, and the delivery is held.".to_owned();
                let hint = "Enable the endpoint; it is then due at once, if its window has not closed.";
                (None, "delivery.held", summary, Some(hint))
            }
            (DeliveryStatus::Abandoned, reason) => {
                let (why, hint) = match reason {
                    Some(AbandonedReason::WindowClosed) => {
                        ("the next attempt would have come after its window had closed", Some(RETRY))
                    }
                    Some(AbandonedReason::Gone) => (
                        "the endpoint answered 410, which also disabled it",
                        Some("Enable the endpoint, and send what it missed with a backfill."),
                    ),
                    Some(AbandonedReason::EndpointDeleted) => ("its endpoint was deleted", None),
                    Some(AbandonedReason::EndpointDisabled) => (
                        "its endpoint stayed disabled until its window had closed",
                        Some("Enable the endpoint, and send what it missed with a backfill."),
                    ),
                    None => ("it was given up", Some(RETRY)),
                };
                let by_attempt =
                    matches!(reason, Some(AbandonedReason::WindowClosed | AbandonedReason::Gone));
                let summary = format!("No further attempt is made: {why}.");
                (ended.filter(|_| by_attempt), "delivery.abandoned", summary, hint)
            }
        };
        self.tell_of(delivery, at, kind, &summary).hint = hint;
    }

    fn shown(mut self, has_more: bool) -> Json<Timeline> {
        self.entries.sort_by_key(|(at, _)| at.unwrap_or(UnixMs(i64::MAX)));
        let data = self.entries.into_iter().map(|(_, entry)| entry).collect();
        Json(Timeline { object: IsTimeline, event: self.event.id, data, has_more })
    }
}

/// An instant as people read it.
fn date(at: UnixMs) -> String {
    let since_epoch = Duration::from_secs(at.seconds().unsigned_abs());
    UNIX_EPOCH
        .checked_add(since_epoch)
        .map_or_else(|| at.seconds().to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// What whoever runs the endpoint can do about a failure.
fn hint(code: FailureCode, status: Option<u16>) -> &'static str {
    match (code, status) {
        (FailureCode::HttpStatus, Some(401 | 403)) => {
            "The endpoint asks for credentials or refuses the caller: let requests in by their signature, and exempt the path from logins and firewalls."
        }
        (FailureCode::HttpStatus, Some(404 | 405)) => {
            "Nothing takes a POST at this path: compare the endpoint's url with the receiver's route."
        }
        (FailureCode::HttpStatus, Some(410)) => {
            "The receiver says that it is gone for good: change the url or delete the endpoint."
        }
        (FailureCode::HttpStatus, Some(413)) => "The receiver takes no bodies this large: raise its limit.",
        (FailureCode::HttpStatus, Some(429)) => {
            "The receiver asks for less at once: raise its limit, or answer at once and work later."
        }
        (FailureCode::HttpStatus, Some(502..=504)) => {
            "A proxy before the receiver answered for it: see whether the receiver runs and answers in time."
        }
        (FailureCode::HttpStatus, Some(500..)) => {
            "The receiver failed: look into its log for the event's id (K-Payments-Event-Id)."
        }
        (FailureCode::HttpStatus, _) => {
            "The receiver refused the request: look into its log, and check how it verifies the signature."
        }
        (FailureCode::Redirect, _) => {
            "Redirects are not followed: register the address that it redirects to, its https and its trailing slash included."
        }
        (FailureCode::Timeout, _) => "Answer 2xx at once, and do the work after that.",
        (FailureCode::Dns, _) => "The name does not resolve: check the url and its public DNS records.",
        (FailureCode::Connection, _) => {
            "Nothing answered, or it hung up: see whether the receiver runs, and whether a firewall lets it be called."
        }
        (FailureCode::Tls, _) => {
            "Renew or complete the certificate: it must be for this name, valid now, and sent with its intermediates."
        }
        (FailureCode::AddressForbidden, _) => {
            "The name leads to an address that is not public: point it at a public one."
        }
        (FailureCode::Protocol, _) => {
            "What answers is not an HTTP server as it should be: check the port and the scheme."
        }
    }
}

/// A hint for each way to fail, so that none is forgotten.
#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_failure_has_a_hint_and_statuses_have_their_own() {
        let mut hints: HashMap<&str, FailureCode> = HashMap::new();
        for code in FailureCode::ALL {
            assert!(hints.insert(hint(*code, None), *code).is_none(), "{code:?}");
        }
        for statuses in [&[401, 403][..], &[404, 405], &[410], &[413], &[429], &[502, 504], &[500, 599]] {
            let told = hint(FailureCode::HttpStatus, Some(statuses[0]));
            assert!(hints.insert(told, FailureCode::HttpStatus).is_none(), "{statuses:?}");
            for status in statuses {
                assert_eq!(hint(FailureCode::HttpStatus, Some(*status)), told);
            }
        }
    }

    #[test]
    fn an_instant_is_shown_as_a_date() {
        assert_eq!(date(UnixMs(1_749_651_729_500)), "2025-06-11T14:22:09Z");
    }
}
