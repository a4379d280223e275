//! The two APIs over HTTP: a file for each resource, with its routes beside its handlers.

mod auth;
mod browser;
mod built;
mod client_address;
mod connection;
mod console_session;
mod documentation;
mod error;
mod fields;
mod health;
pub mod internal;
mod json_depth;
mod metrics;
mod outermost;
mod path;
mod portal_session;
pub mod public;
mod query;
mod rate_limit;
mod reconciliation;
mod routes;
mod selection;
mod serve;
mod shapes;
pub mod tls;
pub(crate) mod view;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    app::Foundation, backfill::Backfills, config::Config, dispatcher::Dispatcher, ingest::Ingest,
    metrics::Metrics, pulse::Pulse, test_clock::TestClock, trace::Tracer, transport::CallRules,
};
pub use connection::Deadlines;
pub use error::{ApiError, ErrorType};
use rate_limit::RateLimiter;
pub use routes::Route;
pub use serve::{Serving, serve};

/// What the handlers work with.
pub struct Api {
    foundation: Foundation,
    config: Arc<Config>,
    ingest: Ingest,
    dispatcher: Dispatcher,
    backfills: Backfills,
    test_clock: Option<TestClock>,
    url_rules: Arc<CallRules>,
    rate_limiter: RateLimiter,
    readiness: health::Readiness,
    metrics: Arc<Metrics>,
    tracer: Arc<Tracer>,
    watch: metrics::Watch,
    draining: CancellationToken,
    portal_url: Option<String>,
    pulse: Arc<Pulse>,
}

/// What the handlers are made of.
pub struct Parts {
    /// The store and what belongs to it.
    pub foundation: Foundation,
    /// The options.
    pub config: Arc<Config>,
    /// Takes events.
    pub ingest: Ingest,
    /// Is told of due work.
    pub dispatcher: Dispatcher,
    /// Are told of what may go on.
    pub backfills: Backfills,
    /// Moves the clock, where users may.
    pub test_clock: Option<TestClock>,
    /// Which addresses may be registered.
    pub url_rules: Arc<CallRules>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What makes spans.
    pub tracer: Arc<Tracer>,
    /// While it is cancelled, the service says that it is not ready.
    pub draining: CancellationToken,
    /// The origin at which browsers reach the portal, if there is one.
    pub portal_url: Option<String>,
    /// What this process says of itself.
    pub pulse: Arc<Pulse>,
}

impl Api {
    /// Handlers over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            foundation,
            config,
            ingest,
            dispatcher,
            backfills,
            test_clock,
            url_rules,
            metrics,
            tracer,
            draining,
            portal_url,
            pulse,
        } = parts;
        let rate_limiter = RateLimiter::new(
            config.limits.requests_per_second,
            config.limits.failed_authentications_per_minute,
        );
        Self {
            foundation,
            config,
            ingest,
            dispatcher,
            backfills,
            test_clock,
            url_rules,
            rate_limiter,
            readiness: health::Readiness::default(),
            metrics,
            tracer,
            watch: metrics::Watch::default(),
            draining,
            portal_url,
            pulse,
        }
    }
}
