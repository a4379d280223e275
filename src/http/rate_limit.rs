//! The rate limit of each merchant key.

use std::{num::NonZeroU32, sync::atomic::AtomicU32, sync::atomic::Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock as _, clock::DefaultClock};

use super::error::ApiError;
use crate::id::KeyId;

/// After so many requests, keys that are back at rest are forgotten.
const REQUESTS_PER_TIDYING: u32 = 10_000;

/// Counts requests in real time, also on the test clock: it protects the process.
pub(super) struct RateLimiter {
    limiter: DefaultKeyedRateLimiter<KeyId>,
    requests: AtomicU32,
}

impl RateLimiter {
    /// So many requests a second for each key, twice as many at once.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second)
            .allow_burst(per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self { limiter: DefaultKeyedRateLimiter::keyed(quota), requests: AtomicU32::new(0) }
    }

    pub(super) fn check(&self, key: KeyId) -> Result<(), ApiError> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_TIDYING) {
            self.limiter.retain_recent();
        }
        let too_early = |until: governor::NotUntil<_>| until.wait_time_from(DefaultClock::default().now());
        self.limiter.check_key(&key).map_err(|until| ApiError::rate_limited(too_early(until)))
    }
}
