//! The part of the matrix that is for those who operate the service: what the console shows.

use k_webhooks::http::Route;
use serde_json::{Value, json};

use super::{
    AnyKey, BOOTSTRAP_KEY, Consoles, Delivery, Endpoint, Entry, Event, Ids, Operators, Path, Services, entry,
    list,
};

/// The route's entry, if it is one of these.
pub(super) fn entry_of(route: &Route) -> Option<Entry> {
    let nothing: fn(&Ids) -> Value = |_| Value::Null;
    let none = &[];
    let found = match (route.method.as_str(), route.path) {
        ("GET", "/console" | "/console/{*page}" | "/console/assets/{file}") => {
            entry(Operators, none, nothing)
        }
        ("POST", "/console/session") => entry(Operators, none, |_| json!({ "key": BOOTSTRAP_KEY })),
        ("GET" | "DELETE", "/console/session") => entry(Consoles, none, nothing),
        ("GET", "/v1/api_keys") => list(Services, AnyKey, none),
        ("DELETE", "/v1/api_keys/{id}") => entry(Services, &[(AnyKey, Path)], nothing),
        (
            "GET",
            "/v1/status"
            | "/v1/throughput"
            | "/v1/failing_endpoints"
            | "/v1/merchants/{merchant}/webhook_endpoints",
        ) => entry(Services, none, nothing),
        ("GET", "/v1/objects/{id}" | "/v1/all/events/{id}" | "/v1/all/events/{id}/timeline") => {
            entry(Services, &[(Event, Path)], nothing)
        }
        ("GET", "/v1/all/events/{id}/deliveries") => list(Services, Delivery, &[(Event, Path)]),
        ("GET", "/v1/all/deliveries/{id}" | "/v1/all/deliveries/{id}/timeline") => {
            entry(Services, &[(Delivery, Path)], nothing)
        }
        ("GET", "/v1/all/webhook_endpoints/{id}" | "/v1/all/webhook_endpoints/{id}/health")
        | ("POST", "/v1/all/webhook_endpoints/{id}/release") => entry(Services, &[(Endpoint, Path)], nothing),
        ("GET", "/v1/all/webhook_endpoints/{id}/deliveries") => list(Services, Delivery, &[(Endpoint, Path)]),
        ("POST", "/v1/all/webhook_endpoints/{id}/hold") => {
            entry(Services, &[(Endpoint, Path)], |_| json!({ "reason": "It never answers." }))
        }
        _ => return None,
    };
    Some(found)
}

/// Whether a service reaches what is of any merchant by this route, and sees it.
pub(super) fn is_of_all(route: &Route) -> bool {
    let all = [
        "/v1/audit_entries",
        "/v1/abandoned_deliveries",
        "/v1/api_keys",
        "/v1/api_keys/{id}",
        "/v1/objects/{id}",
        "/v1/failing_endpoints",
        "/v1/merchants/{merchant}/webhook_endpoints",
    ];
    all.contains(&route.path) || route.path.starts_with("/v1/all/")
}
