//! What the listeners count.

use std::{collections::HashMap, time::Duration};

use ::http::{Method, StatusCode};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{Histogram, REQUEST_TIMES, Registrar, Series};
use crate::{http::Route, words::words};

words! {
    /// Who is listened to.
    Listener {
        /// Merchants.
        Public "public",
        /// Services and operators.
        Internal "internal",
    }
}

words! {
    /// Why a request is told to come back later (429 and 503).
    Refusal {
        /// The key asks more often than it may.
        KeyRate "key_rate",
        /// Too many keys from the address opened nothing.
        FailedAuthentications "failed_authentications",
        /// Another bound on how often something may be asked for.
        OtherRate "other_rate",
        /// As many requests wait to be stored as may.
        AcceptQueue "accept_queue",
        /// The database is away.
        Database "database",
        /// It took longer than a request may.
        Timeout "timeout",
        /// The process ends.
        Draining "draining",
        /// Something else that passes.
        Other "other",
    }
}

/// Classes of status, of the hundreds from 200 on.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What stands for the route and the method of requests that match none.
const NONE: &str = "none";

/// Requests of one listener.
#[derive(Clone, Debug)]
pub struct Requests {
    by_path: HashMap<&'static str, Vec<(Method, Answers)>>,
    unmatched: Answers,
    duration: Histogram,
    refusals: Vec<Counter>,
}

/// Answers of one route, by class of status.
type Answers = [Counter; CLASSES.len()];

impl Requests {
    /// A request was answered. `path` is the template of its route, where it has one.
    pub fn answered(&self, method: &Method, path: Option<&str>, status: StatusCode, took: Duration) {
        // `HEAD` goes with every `GET`.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of_path = path.and_then(|path| self.by_path.get(path)).map_or(&[][..], Vec::as_slice);
        let of_route = of_path.iter().find(|(known, _)| known == method).map(|(_, answers)| answers);
        let class = usize::from(status.as_u16() / 100).saturating_sub(2).min(CLASSES.len() - 1);
        of_route.unwrap_or(&self.unmatched)[class].inc();
        self.duration.observe(took);
    }

    /// A request was told to come back later.
    pub fn refused(&self, why: Refusal) {
        self.refusals[why as usize].inc();
    }
}

/// Connections of one listener.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// Those that there are.
    pub open: Gauge,
    /// Those that were refused because there were as many as there may be.
    pub refused: Counter,
}

/// What one listener counts.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Its requests.
    pub requests: Requests,
    /// Its connections.
    pub connections: Connections,
}

/// What each listener counts, registered together: both are told under the same names.
pub(super) fn register(
    add: &mut Registrar,
    routes: [&[Route]; Listener::ALL.len()],
) -> [Listening; Listener::ALL.len()] {
    let (mut answers, mut refusals, mut durations) = (Vec::new(), Vec::new(), Vec::new());
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    let mut place = 0;
    let listeners = routes.map(|routes| {
        let listener = ("listener", Listener::ALL[place].as_str());
        place += 1;
        let mut of_route = |path, method| -> Answers {
            CLASSES.map(|class| {
                let labels = [listener, ("route", path), ("method", method), ("status", class)];
                let counter = Counter::default();
                answers.push((labels, counter.clone()));
                counter
            })
        };
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for Route { method, path } in routes {
            by_path.entry(*path).or_default().push((method.clone(), of_route(path, name(method))));
        }
        let requests = Requests {
            by_path,
            unmatched: of_route(NONE, NONE),
            duration: Histogram::new(REQUEST_TIMES),
            refusals: Refusal::ALL.iter().map(|_| Counter::default()).collect(),
        };
        durations.push(([listener], requests.duration.clone()));
        let reasons = Refusal::ALL.iter().map(|why| [listener, ("reason", why.as_str())]);
        refusals.extend(reasons.zip(requests.refusals.iter().cloned()));
        let connections = Connections::default();
        open.push(([listener], connections.open.clone()));
        refused.push(([listener], connections.refused.clone()));
        Listening { requests, connections }
    });
    add.add(
        "k_webhooks_http_requests",
        "Requests answered, by the template of their route and the class of their status",
        Series::new(answers),
    );
    add.add(
        "k_webhooks_http_request_duration_seconds",
        "From a request's head to its response, the body of the response not included",
        Series::new(durations),
    );
    add.add(
        "k_webhooks_requests_refused",
        "Requests told to come back later (429 and 503), by reason",
        Series::new(refusals),
    );
    add.add("k_webhooks_connections", "Connections of clients", Series::new(open));
    add.add(
        "k_webhooks_connections_refused",
        "Connections refused because there were as many as there may be",
        Series::new(refused),
    );
    listeners
}

fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => NONE,
    }
}
