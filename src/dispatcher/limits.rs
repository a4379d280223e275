//! How the dispatcher is bounded, and how long what it leases is its own.

use std::time::Duration;

use crate::failing::FailingRules;

/// For clocks that differ, and for a database that is slow.
const RECORD_MARGIN: Duration = Duration::from_secs(5);

/// How the dispatcher is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts under way at once, over all endpoints.
    pub in_flight: usize,
    /// Attempts under way at once to one endpoint.
    pub in_flight_per_endpoint: usize,
    /// The longest that an attempt takes.
    pub attempt_timeout: Duration,
    /// The window of retries: a delivery held for longer is abandoned when its endpoint is enabled again.
    pub window: Duration,
    /// For how long an endpoint may fail.
    pub failing: FailingRules,
    /// How often due work is looked for without having been told of it, while this process hears the others.
    pub poll: Duration,
}

impl Limits {
    /// How long leases last: a wait in the lane and an attempt, and then as long as an attempt, and some seconds, to
    /// record it.
    pub(super) fn lease(&self) -> Duration {
        self.attempt_timeout * 3 + RECORD_MARGIN
    }

    /// What must be left of a lease when an attempt begins. It also bounds how long a delivery waits in its lane, and so
    /// how long a change of its endpoint in another process can go unheard.
    pub(super) fn lease_to_begin(&self) -> Duration {
        self.attempt_timeout * 2 + RECORD_MARGIN
    }
}
