//! `/v1/events/stream`: a merchant's events as they are accepted, and its deliveries as they are recorded, as server-sent
//! events (WHATWG HTML, section 9.2).

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    fmt::Write as _,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep, sleep_until},
};
use utoipa_axum::routes;

use super::events;
use crate::{
    audit::ActorId,
    endpoint::EnabledEvents,
    event::Event,
    feed::{Feed, Follower, RecordedDelivery, Seat},
    http::{
        Api, auth::Merchant, connection::Streamed, error::ApiError, query::Query, routes::Routes,
        shapes::StreamPart, view,
    },
    id::{EndpointId, EventId},
    merchant::Tenant,
    store::Store,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(follow))
}

/// After so long without anything to tell, a comment says that the stream lives; and the key is looked up again.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A stream ends after this, to be resumed: so that connections spread over processes that were added meanwhile.
const STREAM_MAX: Duration = Duration::from_secs(3600);

/// How often other processes' events are looked for.
const POLL: Duration = Duration::from_secs(1);

/// After a hint, before the look: hints come as often as a busy process commits.
const GATHER: Duration = Duration::from_millis(20);

/// How far the clocks of two processes may differ without one's events being missed in the other's streams.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// Endpoints of which a stream remembers whether they are its tenant's.
const ENDPOINTS_MAX: usize = 1000;

/// The first part, with which the head is sent at once: how long a client waits before it comes again, in milliseconds, and
/// the place from which it then goes on although nothing has come yet.
fn opening(place: Option<EventId>) -> Bytes {
    let place = place.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("retry: 1000\n{place}\n").into()
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Has proxies such as nginx pass on each part as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What is asked of a stream.
#[derive(Debug)]
struct Wanted {
    types: EnabledEvents,
    deliveries: bool,
    starting_after: Option<EventId>,
}

/// Names of event types with commas between them.
struct Types(EnabledEvents);

impl FromStr for Types {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text.split(',').map(str::to_owned).collect();
        EnabledEvents::parse(&names).map(Self).map_err(|errors| {
            let named = |(index, message): (Option<usize>, String)| match index {
                Some(index) => format!("{:?} {message}", names[index]),
                None => message,
            };
            errors.into_iter().map(named).collect::<Vec<_>>().join("; ")
        })
    }
}

/// Follow events
///
/// Server-sent events (WHATWG HTML, 9.2): one named `event` for each event as it is recorded, with the event as its data and
/// its id as its id; with `deliveries`, one named `delivery` for each delivery as an attempt at it is recorded. A comment comes
/// every 15 seconds. The stream ends after an hour at most: come again with the last id, and nothing is missed.
#[utoipa::path(
    get, path = "/v1/events/stream", operation_id = "streamEvents", tag = "Events",
    params(
        ("types" = Option<String>, Query, description = "Of these types, with commas between them.",
            example = json!("charge.succeeded,refund.created")),
        ("deliveries" = Option<bool>, Query, description = "Whether deliveries are told of too."),
        ("starting_after" = Option<EventId>, Query, description = "From the events after this one on; from now on, if not given."),
        ("Last-Event-ID" = Option<EventId>, Header, description = "The same, as browsers send it when they come again."),
    ),
    responses((status = 200, description = "The stream.", body = StreamPart, content_type = "text/event-stream")),
)]
async fn follow(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let types = query.optional::<Types>("types").map_or(EnabledEvents::All, |types| types.0);
    let deliveries = query.optional("deliveries").unwrap_or(false);
    let starting_after = query.optional("starting_after");
    query.finish()?;
    // A browser that comes again sends this header, and beside it the query with which it came first.
    let starting_after = last_event_id(&headers)?.or(starting_after);
    let wanted = Wanted { types, deliveries, starting_after };
    let live = Live::open(&api, tenant, by.actor.id, wanted).await?;
    let parts = stream::unfold(live, async |mut live| Some((Ok::<_, Infallible>(live.next().await?), live)));
    let mut response = Body::from_stream(parts).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response.extensions_mut().insert(Streamed);
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    text.parse()
        .map(Some)
        .map_err(|error: crate::id::NotAnId| ApiError::bad_field("Last-Event-ID", error.to_string()))
}

/// An open stream.
struct Live {
    api: Arc<Api>,
    seat: Seat,
    key: Option<ActorId>,
    types: EnabledEvents,
    follower: Follower,
    recorded: Option<broadcast::Receiver<RecordedDelivery>>,
    /// Whether endpoints are the tenant's.
    endpoints: HashMap<EndpointId, bool>,
    /// Parts that are ready to send.
    ready: VecDeque<Bytes>,
    /// Whether the key is looked up before the next of them is sent, so that one that has ended learns nothing more. A portal
    /// session is one here.
    check_key: bool,
    /// Whether there may be events ahead.
    behind: bool,
    poll: Duration,
    poll_at: Instant,
    beat_at: Instant,
    check_key_at: Instant,
    ends_at: Instant,
}

impl Live {
    async fn open(
        api: &Arc<Api>,
        tenant: Tenant,
        key: Option<ActorId>,
        wanted: Wanted,
    ) -> Result<Self, ApiError> {
        let (store, limits) = (api.foundation.store.as_ref(), &api.config.limits);
        let seat = seat(api.dispatcher.feed(), &tenant, limits.streams_per_merchant)?;
        // Before the first look, as the seat.
        let recorded = wanted.deliveries.then(|| seat.recorded());
        let (overlap, poll) = if store.allows_many_workers() {
            (api.config.database.statement_timeout + CLOCKS_DIFFER, POLL)
        } else {
            // One process accepts, and commits in the order of ids.
            (Duration::ZERO, api.config.database.poll)
        };
        let follower = match wanted.starting_after {
            Some(id) => {
                let event = events::find(api, &tenant, &id.to_string()).await?;
                Follower::from_event(tenant, event.id, overlap)
            }
            None => Follower::from_now(store, tenant, overlap, api.foundation.clock.now()).await?,
        };
        let now = Instant::now();
        Ok(Self {
            api: Arc::clone(api),
            seat,
            key,
            types: wanted.types,
            recorded,
            endpoints: HashMap::new(),
            ready: VecDeque::from([opening(follower.place())]),
            follower,
            check_key: false,
            behind: true,
            poll,
            poll_at: now + poll,
            beat_at: now + HEARTBEAT,
            check_key_at: now + HEARTBEAT,
            ends_at: now + STREAM_MAX,
        })
    }

    /// The next part, when there is one; none when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        let part = self.next_part().await;
        self.beat_at = Instant::now() + HEARTBEAT;
        part
    }

    async fn next_part(&mut self) -> Option<Bytes> {
        loop {
            let now = Instant::now();
            if self.api.draining.is_cancelled() || now >= self.ends_at {
                return None;
            }
            if self.check_key || now >= self.check_key_at {
                (self.check_key, self.check_key_at) = (false, now + HEARTBEAT);
                if !self.key_works().await {
                    return None;
                }
            }
            if let Some(part) = self.ready.pop_front() {
                return Some(part);
            }
            if self.behind {
                self.look().await;
                continue;
            }
            tokio::select! {
                () = self.api.draining.cancelled() => {}
                () = self.seat.accepted() => {
                    sleep(GATHER).await;
                    self.behind = true;
                }
                delivery = next_recorded(&mut self.recorded) => self.note_recorded(delivery).await,
                () = sleep_until(self.poll_at) => {
                    self.poll_at = Instant::now() + self.poll;
                    self.look_back().await;
                    self.behind = true;
                }
                () = sleep_until(self.beat_at) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    fn store(&self) -> &dyn Store {
        self.api.foundation.store.as_ref()
    }

    /// Whether the key still opens the stream. While the database is away it does.
    async fn key_works(&self) -> bool {
        let Some(key) = self.key else { return true };
        let (tenant, now) = (self.seat.tenant(), self.api.foundation.clock.now());
        match key {
            ActorId::Key(id) => {
                let found = self.store().api_key_mode(tenant.merchant_id.as_str(), id, now).await;
                !matches!(found, Ok(None))
            }
            ActorId::PortalSession(id) => {
                !matches!(self.store().portal_session_lives(id, now).await, Ok(false))
            }
            // Opens none on this listener.
            ActorId::ConsoleSession(_) => false,
        }
    }

    /// Looks for events ahead. What fails is tried again with the next hint or poll.
    async fn look(&mut self) {
        match self.follower.look(self.api.foundation.store.as_ref()).await {
            Ok(looked) => {
                self.behind = looked.more;
                looked.events.iter().for_each(|event| self.tell(event, Some(event.id)));
            }
            Err(error) => {
                self.behind = false;
                tracing::debug!(%error, "a stream does not see what was accepted");
            }
        }
    }

    async fn look_back(&mut self) {
        let now = self.api.foundation.clock.now();
        match self.follower.look_back(self.api.foundation.store.as_ref(), now).await {
            Ok(events) => events.iter().for_each(|event| self.tell(event, None)),
            Err(error) => tracing::debug!(%error, "a stream does not see what was accepted"),
        }
    }

    /// Readies an event. One that turned up behind others leaves the client's place where it was.
    fn tell(&mut self, event: &Event, place: Option<EventId>) {
        if self.types.matches(event.event_type) {
            self.make_ready(part("event", place, &event.body));
        }
    }

    /// Readies a delivery as it stands now, if it is the tenant's.
    async fn note_recorded(&mut self, (delivery, endpoint): RecordedDelivery) {
        let (store, tenant) = (Arc::clone(&self.api.foundation.store), self.seat.tenant());
        let ours = if let Some(ours) = self.endpoints.get(&endpoint) {
            *ours
        } else {
            let Ok(found) = store.endpoint(tenant, endpoint).await else { return };
            if self.endpoints.len() >= ENDPOINTS_MAX {
                self.endpoints.clear();
            }
            self.endpoints.insert(endpoint, found.is_some());
            found.is_some()
        };
        if ours
            && let Ok(Some(delivery)) = store.delivery(tenant, delivery).await
            && self.types.matches(delivery.event_type)
        {
            self.make_ready(part("delivery", None, json!(view::delivery(&delivery)).to_string().as_bytes()));
        }
    }

    fn make_ready(&mut self, part: Bytes) {
        self.ready.push_back(part);
        self.check_key = true;
    }
}

fn seat(feed: &Feed, tenant: &Tenant, max: usize) -> Result<Seat, ApiError> {
    let message = format!("There are {max} streams already; end one of them first.");
    feed.open(tenant, max).ok_or_else(|| ApiError::rate_limited(&message, HEARTBEAT))
}

/// The next delivery that is recorded, where they are wanted. Those that a slow client was too far behind for are not told.
async fn next_recorded(recorded: &mut Option<broadcast::Receiver<RecordedDelivery>>) -> RecordedDelivery {
    while let Some(receiver) = recorded {
        match receiver.recv().await {
            Ok(delivery) => return delivery,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *recorded = None,
        }
    }
    std::future::pending().await
}

/// One server-sent event. Its data must not hold a line break, so what is JSON on several lines comes as several lines of
/// data, which the client joins again.
fn part(kind: &str, id: Option<EventId>, data: &[u8]) -> Bytes {
    let mut text = format!("event: {kind}\n");
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let data = String::from_utf8_lossy(data);
    for line in data.split(['\n', '\r']) {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_on_several_lines_stays_one_event_whose_lines_a_client_joins() {
        let id = "evt_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let text = part("event", Some(id), b"{\n\"a\":\r\n1}");
        assert_eq!(
            text,
            "event: event\nid: evt_01h455vb4pex5vsknk084sn02q\ndata: {\ndata: \"a\":\ndata: \ndata: 1}\n\n"
        );
        assert_eq!(part("delivery", None, b"{}"), "event: delivery\ndata: {}\n\n");
    }

    #[test]
    fn types_are_named_with_commas_and_each_bad_one_is_named() {
        let types = |text: &str| text.parse::<Types>().map(|types| types.0.names());
        assert_eq!(types("charge.failed,payout.paid").unwrap(), ["charge.failed", "payout.paid"]);
        assert_eq!(types("*").unwrap(), ["*"]);
        let refused = types("charge.failed,charge.done,x").unwrap_err();
        assert!(refused.contains("\"charge.done\" is not an event type") && refused.contains("\"x\" is"));
        assert!(types("").is_err());
    }
}
