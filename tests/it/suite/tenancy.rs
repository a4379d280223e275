//! Tenancy: a matrix of every route, every kind of caller and every place where a request names an object. Another's object
//! is answered as one that is nowhere, a key of the wrong kind opens nothing, and no such request changes anything.

mod operators;
mod world;

use std::collections::BTreeMap;

use k_webhooks::http::{Route, internal, public};
use serde_json::{Value, json};

use super::TestApp;
use crate::support::{Answer, Caller, charge, id};
use world::World;

const BOOTSTRAP_KEY: &str = "bootstrap-key-of-the-matrix";

/// Ids of objects: those of a tenant, or a request's.
#[derive(Clone, Debug)]
struct Ids {
    merchant: &'static str,
    endpoint: String,
    event: String,
    delivery: String,
    backfill: String,
    key: String,
    /// Another key, which is called by its id alone.
    any_key: String,
    session: String,
    /// The token of a link that opens a portal session.
    link: String,
}

/// What a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Endpoint,
    Event,
    Delivery,
    Backfill,
    Key,
    AnyKey,
    Session,
}

use Thing::{AnyKey, Backfill, Delivery, Endpoint, Event, Key, Session};

impl Ids {
    fn of(&mut self, thing: Thing) -> &mut String {
        match thing {
            Endpoint => &mut self.endpoint,
            Event => &mut self.event,
            Delivery => &mut self.delivery,
            Backfill => &mut self.backfill,
            Key => &mut self.key,
            AnyKey => &mut self.any_key,
            Session => &mut self.session,
        }
    }

    fn all(&self) -> [&str; 6] {
        [&self.endpoint, &self.event, &self.delivery, &self.backfill, &self.key, &self.session]
    }

    /// Ids that are well formed, and nobody's.
    fn nowhere() -> Self {
        let text = |prefix| format!("{prefix}_01h455vb4pex5vsknk084sn02q");
        Self {
            merchant: "m_0",
            endpoint: text("we"),
            event: text("evt"),
            delivery: text("dlv"),
            backfill: text("bf"),
            key: text("key"),
            any_key: text("key"),
            session: text("ps"),
            link: String::new(),
        }
    }
}

/// Where a request names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Path,
    Body,
    /// A parameter that need not be there.
    Query(&'static str),
}

use Place::{Body, Path};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// Anyone, on both listeners.
    Anyone,
    /// Whoever reaches the internal listener.
    Operators,
    Merchants,
    /// Pages of the portal, with their session.
    Pages,
    /// Pages of the console, with theirs.
    Consoles,
    Services,
}

use Audience::{Anyone, Consoles, Merchants, Operators, Pages, Services};

/// A route in the matrix: who may call it, what it names and where, and a body that it accepts.
struct Entry {
    audience: Audience,
    names: Vec<(Thing, Place)>,
    body: fn(&Ids) -> Value,
}

fn entry(audience: Audience, names: &[(Thing, Place)], body: fn(&Ids) -> Value) -> Entry {
    Entry { audience, names: names.to_vec(), body }
}

/// A list, whose pages lie beside `thing`.
fn list(audience: Audience, thing: Thing, names: &[(Thing, Place)]) -> Entry {
    let cursors = ["starting_after", "ending_before"].map(|name| (thing, Place::Query(name)));
    Entry { audience, names: [names, &cursors].concat(), body: |_| Value::Null }
}

/// The route's entry. A route without one fails the test.
fn entry_of(route: &Route) -> Entry {
    let nothing: fn(&Ids) -> Value = |_| Value::Null;
    let none = &[];
    match (route.method.as_str(), route.path) {
        ("GET", "/metrics") => entry(Operators, none, nothing),
        ("GET", "/healthz" | "/readyz" | "/openapi.json" | "/docs" | "/docs/redoc-2.5.4.js") => {
            entry(Anyone, none, nothing)
        }
        ("GET", "/portal" | "/portal/{*page}" | "/portal/assets/{file}") => entry(Anyone, none, nothing),
        ("POST", "/portal/session") => entry(Anyone, none, |ids| json!({ "token": ids.link })),
        ("GET" | "DELETE", "/portal/session") => entry(Pages, none, nothing),
        ("GET", "/v1/portal_sessions") => list(Services, Session, none),
        ("POST", "/v1/portal_sessions") => {
            entry(Services, none, |ids| json!({ "merchant_id": ids.merchant, "livemode": false }))
        }
        ("DELETE", "/v1/portal_sessions/{id}") => entry(Services, &[(Session, Path)], nothing),
        ("GET", "/v1/webhook_endpoints") => list(Merchants, Endpoint, none),
        ("POST", "/v1/webhook_endpoints") => {
            entry(Merchants, none, |_| json!({ "url": "https://example.com" }))
        }
        ("GET", "/v1/statistics") => {
            entry(Merchants, &[(Endpoint, Place::Query("webhook_endpoint"))], nothing)
        }
        ("GET" | "DELETE", "/v1/webhook_endpoints/{id}") | ("GET", "/v1/webhook_endpoints/{id}/health") => {
            entry(Merchants, &[(Endpoint, Path)], nothing)
        }
        ("PATCH", "/v1/webhook_endpoints/{id}") => {
            entry(Merchants, &[(Endpoint, Path)], |_| json!({ "description": "changed" }))
        }
        ("POST", "/v1/webhook_endpoints/{id}/rotate_secret") => {
            entry(Merchants, &[(Endpoint, Path)], |_| json!({ "expire_previous_in": 0 }))
        }
        ("POST", "/v1/webhook_endpoints/{id}/test") => {
            entry(Merchants, &[(Endpoint, Path)], |_| json!({ "type": "payout.paid" }))
        }
        ("GET", "/v1/webhook_endpoints/{id}/deliveries") => list(Merchants, Delivery, &[(Endpoint, Path)]),
        ("GET", "/v1/events") => list(Merchants, Event, none),
        ("GET", "/v1/events/stream") => entry(Merchants, &[(Event, Place::Query("starting_after"))], nothing),
        ("GET", "/v1/events/{id}" | "/v1/events/{id}/timeline") => {
            entry(Merchants, &[(Event, Path)], nothing)
        }
        ("GET", "/v1/events/{id}/deliveries") => list(Merchants, Delivery, &[(Event, Path)]),
        ("POST", "/v1/events/{id}/resend") => {
            let body: fn(&Ids) -> Value = |ids| json!({ "webhook_endpoint": ids.endpoint });
            entry(Merchants, &[(Event, Path), (Endpoint, Body)], body)
        }
        (
            "GET",
            "/v1/deliveries/{id}" | "/v1/deliveries/{id}/timeline" | "/v1/deliveries/{id}/attempts/{number}",
        )
        | ("POST", "/v1/deliveries/{id}/retry") => entry(Merchants, &[(Delivery, Path)], nothing),
        ("GET", "/v1/webhook_endpoints/{id}/backfills") => list(Merchants, Backfill, &[(Endpoint, Path)]),
        ("POST", "/v1/webhook_endpoints/{id}/backfills") => entry(
            Merchants,
            &[(Endpoint, Path)],
            |_| json!({ "created_gte": 0, "created_lte": 1, "only": "all", "dry_run": true }),
        ),
        ("GET", "/v1/backfills/{id}") => entry(Merchants, &[(Backfill, Path)], nothing),
        ("PATCH", "/v1/backfills/{id}") => {
            entry(Merchants, &[(Backfill, Path)], |_| json!({ "status": "paused" }))
        }
        ("POST", "/v1/reconciliations") => entry(
            Merchants,
            &[(Endpoint, Body)],
            |ids| json!({ "created_gte": 0, "created_lte": 253_402_300_799_i64, "webhook_endpoint": ids.endpoint }),
        ),
        ("POST", "/v1/merchants/{merchant}/reconciliations") => entry(
            Services,
            none,
            |_| json!({ "created_gte": 0, "created_lte": 253_402_300_799_i64, "livemode": true }),
        ),
        // The merchant of an event is what a publisher says it is.
        ("POST", "/v1/events") => entry(Services, none, |ids| event_of(ids.merchant, false)),
        ("POST", "/v1/events/batch") => {
            entry(Services, none, |ids| json!({ "events": [event_of(ids.merchant, true)] }))
        }
        ("GET", "/v1/merchants/{merchant}/api_keys") => list(Services, Key, none),
        ("DELETE", "/v1/merchants/{merchant}/api_keys/{key}")
        | ("POST", "/v1/merchants/{merchant}/api_keys/{key}/rotate") => {
            entry(Services, &[(Key, Path)], nothing)
        }
        ("GET", "/v1/audit_entries" | "/v1/abandoned_deliveries" | "/v1/test_clock")
        | ("POST", "/v1/merchants/{merchant}/api_keys") => entry(Services, none, nothing),
        ("POST", "/v1/test_clock/advance") => entry(Services, none, |_| json!({ "by": "1s" })),
        _ => operators::entry_of(route).unwrap_or_else(|| panic!("{route:?} has no entry in the matrix")),
    }
}

fn event_of(merchant: &str, livemode: bool) -> Value {
    let mut event = charge();
    (event["merchant_id"], event["livemode"]) = (merchant.into(), livemode.into());
    event
}

/// Every route with its entry, what deletes last.
fn matrix() -> Vec<(Route, Entry)> {
    let routes = public::routes().into_iter().chain(internal::routes());
    let mut matrix: Vec<_> = routes.map(|route| (route.clone(), entry_of(&route))).collect();
    matrix.sort_by_key(|(route, _)| route.method == http::Method::DELETE);
    matrix
}

/// Calls the route with these ids; the parameter of the query only where it is the `place` that matters.
async fn call(caller: &Caller, route: &Route, entry: &Entry, ids: &Ids, place: Place) -> Answer {
    call_with(route.method.as_str(), caller, route, entry, ids, place).await
}

async fn call_with(
    method: &str,
    caller: &Caller,
    route: &Route,
    entry: &Entry,
    ids: &Ids,
    place: Place,
) -> Answer {
    let mut ids = ids.clone();
    let mut path = route.path.replace("{merchant}", ids.merchant).replace("{*page}", "events");
    path = path.replace("{file}", &built_file()).replace("{number}", "1");
    for (thing, named) in &entry.names {
        let id = ids.of(*thing);
        match named {
            Path => path = path.replace("{id}", id).replace("{key}", id),
            Place::Query(name) if *named == place => path = format!("{path}?{name}={id}"),
            Place::Query(_) | Body => {}
        }
    }
    assert!(!path.contains('{'), "{route:?} names something that its entry does not: {path}");
    let body = match (entry.body)(&ids) {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    caller.send(method, &path, &[("content-type", "application/json")], body).await
}

/// The name of a file of the portal.
fn built_file() -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("portal/dist/assets");
    let mut paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let script = paths.find(|path| path.extension().is_some_and(|extension| extension == "js"));
    script.expect("the portal is built").file_name().unwrap().to_str().unwrap().to_owned()
}

/// All that an answer tells, but for the id that was asked for and what every answer has of its own.
fn told(answer: &Answer, id: &str) -> (u16, BTreeMap<String, String>, String) {
    let own = ["request-id", "date", "content-length"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    let request_id = answer.header("request-id").expect("every answer has a request id");
    (answer.status, headers, answer.text.replace(request_id, "REQUEST").replace(id, "ID"))
}

#[tokio::test]
async fn anothers_object_is_never_found_and_never_changes_whatever_the_route_the_key_and_the_place() {
    let world = World::build().await;
    let before = world.dump().await;
    let mut asked = 0;
    for (route, entry) in &matrix() {
        for tenant in &world.tenants {
            let callers = world.callers(entry.audience, tenant);
            let named = entry.names.iter().flat_map(|name| callers.iter().map(move |caller| (name, caller)));
            for ((thing, place), caller) in named {
                let mut ids = tenant.ids.clone();
                ids.of(*thing).clone_from(Ids::nowhere().of(*thing));
                let nowhere = ids.of(*thing).clone();
                let nowhere = told(&call(caller, route, entry, &ids, *place).await, &nowhere);
                assert_eq!(nowhere.0, 404, "{route:?} {thing:?} {place:?}: {nowhere:?}");
                for foreign in world.foreign(route, tenant, *thing) {
                    ids.of(*thing).clone_from(&foreign);
                    let answer = told(&call(caller, route, entry, &ids, *place).await, &foreign);
                    assert_eq!(answer, nowhere, "{route:?} {thing:?} {place:?} of another");
                    if route.method == http::Method::GET {
                        let head = call_with("HEAD", caller, route, entry, &ids, *place).await;
                        assert_eq!((head.status, head.text.as_str()), (404, ""), "{route:?}");
                    }
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 200, "{asked}");
    assert_eq!(world.dump().await, before);
    world.app.stop().await;
}

#[tokio::test]
async fn a_portal_session_for_reading_changes_nothing_whatever_the_route() {
    let world = World::build().await;
    let session = world.app.portal_session("m_1", "read_only").await;
    let page = Caller::open_portal(world.app.public_addr, &session).await;
    let before = world.dump().await;
    let mut refused = 0;
    for (route, entry) in matrix().iter().filter(|(_, entry)| entry.audience == Merchants) {
        let answer = call(&page, route, entry, &world.tenants[0].ids, Path).await;
        if route.method == http::Method::GET {
            assert_eq!(answer.status, 200, "{route:?}: {answer:?}");
        } else {
            let body = answer.expect(403);
            assert_eq!(body["error"]["message"], "This portal session is for reading only.", "{route:?}");
            refused += 1;
        }
    }
    assert!(refused > 5, "{refused}");
    assert_eq!(world.dump().await, before);
    world.app.stop().await;
}

#[tokio::test]
async fn a_key_of_the_wrong_kind_opens_no_route_and_learns_nothing() {
    let world = World::build().await;
    let before = world.dump().await;
    for (route, entry) in &matrix() {
        let wrong = match entry.audience {
            Anyone | Operators => continue,
            Merchants | Pages => &world.wrong_public,
            Services | Consoles => &world.wrong_internal,
        };
        let places: Vec<Place> = entry.names.iter().map(|(_, place)| *place).chain([Path]).collect();
        for (kind, caller) in wrong {
            let mut answers = Vec::new();
            for place in &places {
                for ids in [&world.tenants[0].ids, &Ids::nowhere()] {
                    let answer = told(&call(caller, route, entry, ids, *place).await, "?");
                    assert_eq!(answer.0, 401, "{route:?} with a key that is {kind}: {answer:?}");
                    answers.push(answer);
                }
            }
            answers.dedup();
            assert_eq!(answers.len(), 1, "{route:?} tells a key that is {kind} what there is: {answers:?}");
        }
    }
    assert_eq!(world.dump().await, before);
    world.app.stop().await;
}

/// Without it, a matrix of requests that nobody can make would pass.
#[tokio::test]
async fn the_same_requests_work_for_their_owners_and_show_nothing_of_others() {
    let world = World::build().await;
    for (route, entry) in &matrix() {
        for tenant in &world.tenants {
            let caller = world.callers(entry.audience, tenant).remove(0);
            let mut places: Vec<_> = entry.names.iter().map(|(_, place)| *place).collect();
            places.retain(|place| matches!(place, Place::Query(_)));
            places.push(Path);
            for place in places {
                let answer = call(&caller, route, entry, &tenant.ids, place).await;
                assert!((200..300).contains(&answer.status), "{route:?} {place:?}: {answer:?}");
                let others = [Endpoint, Event, Delivery, Backfill, Key]
                    .map(|thing| world.foreign(route, tenant, thing))
                    .concat();
                let shown = others.iter().any(|other| answer.text.contains(other));
                assert!(!shown, "{route:?}: {answer:?}");
                // A stream shows what is yet to come.
                let listed = route.path != "/v1/events/stream"
                    && entry.names.iter().any(|(_, place)| matches!(place, Place::Query(_)));
                if listed && place == Path {
                    assert!(tenant.ids.all().iter().any(|own| answer.text.contains(own)), "{answer:?}");
                }
            }
        }
    }
    world.app.stop().await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_in_the_envelope_on_every_route() {
    let world = World::build().await;
    let tenant = &world.tenants[0];
    let named = |(route, entry): &&(Route, Entry)| {
        route.path.contains('{') && !matches!(entry.audience, Anyone | Operators)
    };
    for (route, entry) in matrix().iter().filter(named) {
        let caller = world.callers(entry.audience, tenant).remove(0);
        let path: Vec<_> =
            route.path.split('/').map(|part| if part.starts_with('{') { "%ff" } else { part }).collect();
        let answer = caller.send(route.method.as_str(), &path.join("/"), &[], "").await;
        let body = answer.expect(400);
        assert_eq!(body["error"]["type"], "invalid_request_error", "{route:?}: {body}");
        assert_eq!(body["error"]["request_id"].as_str(), answer.header("request-id"));
        let public = matches!(entry.audience, Merchants | Pages);
        let address = if public { world.app.public_addr } else { world.app.internal_addr };
        let stranger = Caller::new(address, "");
        stranger.send(route.method.as_str(), &path.join("/"), &[], "").await.expect(401);
    }
    world.app.stop().await;
}

#[tokio::test]
async fn a_page_lies_beside_what_is_of_its_list_and_may_have_been_deleted() {
    let app = TestApp::start().await;
    let endpoints = [app.endpoint("https://a.example").await, app.endpoint("https://b.example").await];
    let (first, second) = (app.publish(charge()).await, app.publish(charge()).await);
    let deliveries = async |event: &Value| {
        app.public.get(&format!("/v1/events/{}/deliveries", id(event))).await.expect(200)["data"].clone()
    };
    let (of_first, of_second) = (deliveries(&first).await, deliveries(&second).await);
    let path = format!("/v1/events/{}/deliveries?starting_after=", id(&first));
    app.public.get(&format!("{path}{}", id(&of_first[0]))).await.expect(200);
    let answer = app.public.get(&format!("{path}{}", id(&of_second[0]))).await.expect(404);
    assert_eq!(answer["error"]["message"], format!("No such delivery: {}", id(&of_second[0])));
    // Neither is what has another endpoint, though the event is the same.
    let endpoint = of_first[0]["webhook_endpoint"].as_str().unwrap();
    let path = format!("/v1/webhook_endpoints/{endpoint}/deliveries?ending_before=");
    app.public.get(&format!("{path}{}", id(&of_first[0]))).await.expect(200);
    app.public.get(&format!("{path}{}", id(&of_first[1]))).await.expect(404);
    // What does not pass the filter is of the list all the same.
    let path = format!("/v1/events?type=payout.paid&starting_after={}", id(&second));
    assert_eq!(app.public.get(&path).await.expect(200)["data"], json!([]));

    app.public.delete(&format!("/v1/webhook_endpoints/{}", id(&endpoints[1]))).await.expect(200);
    let path = format!("/v1/webhook_endpoints?starting_after={}", id(&endpoints[1]));
    let page = app.public.get(&path).await.expect(200);
    assert_eq!((page["data"].as_array().unwrap().len(), id(&page["data"][0])), (1, id(&endpoints[0])));
    app.merchant("m_2", false).await.get(&path).await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn a_delivery_is_made_only_of_an_event_and_to_an_endpoint_of_the_same_tenant() {
    use k_webhooks::{merchant, store::NewDelivery};

    let world = World::build().await;
    let before = world.dump().await;
    let tenant_of = |index: usize| merchant::Tenant {
        merchant_id: world.tenants[index].ids.merchant.parse().unwrap(),
        livemode: index % 2 == 1,
    };
    for (tenant, event, endpoint) in [(0, 1, 0), (0, 0, 1), (0, 2, 0), (0, 0, 2), (0, 1, 1), (0, 2, 2)] {
        let new = NewDelivery {
            tenant: tenant_of(tenant),
            event_id: world.tenants[event].ids.event.parse().unwrap(),
            endpoint_id: world.tenants[endpoint].ids.endpoint.parse().unwrap(),
        };
        let made = world.app.foundation.store.insert_delivery(&new, world.app.foundation.clock.now()).await;
        assert!(made.unwrap().is_none(), "{tenant} {event} {endpoint}");
    }
    assert_eq!(world.dump().await, before);
    world.app.stop().await;
}
