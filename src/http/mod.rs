//! The two APIs over HTTP: a file for each resource, with its routes beside its handlers.

mod auth;
mod error;
mod fields;
pub mod health;
pub mod internal;
pub mod public;
mod query;
mod rate_limit;
mod serve;
mod view;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    app::Foundation, config::Config, dispatcher::Dispatcher, endpoint_url::UrlRules, id::EndpointId,
    ingest::Ingest, store::Result, test_clock::TestClock,
};
use rate_limit::RateLimiter;
pub use serve::serve;

/// What the handlers work with.
pub struct Api {
    foundation: Foundation,
    config: Arc<Config>,
    ingest: Ingest,
    dispatcher: Dispatcher,
    test_clock: Option<TestClock>,
    url_rules: UrlRules,
    rate_limiter: RateLimiter,
    draining: CancellationToken,
}

/// Deliveries settled in one transaction after their endpoint changed.
const SETTLE_BATCH: u32 = 5_000;

impl Api {
    /// Handlers over these parts. While `draining`, the service says that it is not ready.
    #[must_use]
    pub fn new(
        foundation: Foundation,
        config: Arc<Config>,
        ingest: Ingest,
        dispatcher: Dispatcher,
        test_clock: Option<TestClock>,
        url_rules: UrlRules,
        draining: CancellationToken,
    ) -> Self {
        let rate_limiter = RateLimiter::new(config.limits.requests_per_second);
        Self { foundation, config, ingest, dispatcher, test_clock, url_rules, rate_limiter, draining }
    }

    /// Has an endpoint's deliveries follow a change of it, and looks for what became due.
    async fn endpoint_changed(&self, id: EndpointId) -> Result<()> {
        self.dispatcher.endpoint_changed(id);
        loop {
            let now = self.foundation.clock.now();
            let cut = now.minus(self.config.retry.window);
            if self.foundation.store.settle_endpoint(id, cut, SETTLE_BATCH, now).await? < SETTLE_BATCH {
                break;
            }
        }
        self.dispatcher.wake();
        Ok(())
    }
}
