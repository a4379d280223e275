//! The two APIs over HTTP: a file for each resource, with its routes beside its handlers.

mod auth;
mod client_address;
mod connection;
mod error;
mod fields;
pub mod health;
pub mod internal;
mod json_depth;
mod outermost;
mod path;
pub mod public;
mod query;
mod rate_limit;
mod routes;
mod serve;
pub mod tls;
mod view;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    app::Foundation, config::Config, dispatcher::Dispatcher, ingest::Ingest, test_clock::TestClock,
    transport::CallRules,
};
pub use connection::Deadlines;
pub use error::ApiError;
use rate_limit::RateLimiter;
pub use routes::Route;
pub use serve::{Serving, serve};

/// What the handlers work with.
pub struct Api {
    foundation: Foundation,
    config: Arc<Config>,
    ingest: Ingest,
    dispatcher: Dispatcher,
    test_clock: Option<TestClock>,
    url_rules: Arc<CallRules>,
    rate_limiter: RateLimiter,
    readiness: health::Readiness,
    draining: CancellationToken,
}

impl Api {
    /// Handlers over these parts. While `draining`, the service says that it is not ready.
    #[must_use]
    pub fn new(
        foundation: Foundation,
        config: Arc<Config>,
        ingest: Ingest,
        dispatcher: Dispatcher,
        test_clock: Option<TestClock>,
        url_rules: Arc<CallRules>,
        draining: CancellationToken,
    ) -> Self {
        let rate_limiter = RateLimiter::new(
            config.limits.requests_per_second,
            config.limits.failed_authentications_per_minute,
        );
        Self {
            foundation,
            config,
            ingest,
            dispatcher,
            test_clock,
            url_rules,
            rate_limiter,
            readiness: health::Readiness::default(),
            draining,
        }
    }
}
