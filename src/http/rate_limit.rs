//! How often somebody may ask: the limit of each merchant key, and that of failed authentications from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock as _, clock::DefaultClock};

use super::error::ApiError;
use crate::metrics::Refusal;

/// The keyed hash of a key, known before it is looked up.
type KeyHash = [u8; 32];

/// After so many requests, keys that are back at rest are forgotten.
const REQUESTS_PER_TIDYING: u32 = 10_000;

/// How long an address that failed too often is refused, and a key that opened something is let in nevertheless: others
/// behind the same address must not suffer.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many of either are remembered; beyond it the oldest go.
const REMEMBERED_MAX: usize = 16_384;

/// Counts requests in real time, also on the test clock: it protects the process.
pub(super) struct RateLimiter {
    keys: DefaultKeyedRateLimiter<KeyHash>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    requests: AtomicU32,
    refused: Memory<IpAddr>,
    good: Memory<KeyHash>,
}

impl RateLimiter {
    /// So many requests a second for each key, twice as many at once; and so many failed authentications a minute from one
    /// address.
    pub(super) fn new(per_second: u32, failures_per_minute: u32) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let per_second = at_least_one(per_second);
        let quota = Quota::per_second(per_second)
            .allow_burst(per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self {
            keys: DefaultKeyedRateLimiter::keyed(quota),
            failures: DefaultKeyedRateLimiter::keyed(Quota::per_minute(at_least_one(failures_per_minute))),
            requests: AtomicU32::new(0),
            refused: Memory::default(),
            good: Memory::default(),
        }
    }

    /// Counts a request with a key.
    pub(super) fn check(&self, key: &KeyHash) -> Result<(), ApiError> {
        self.tidy();
        let too_early = |until: governor::NotUntil<_>| until.wait_time_from(DefaultClock::default().now());
        self.keys.check_key(key).map_err(|until| {
            ApiError::rate_limited("Too many requests with this key; wait and try again.", too_early(until))
                .because(Refusal::KeyRate)
        })
    }

    fn tidy(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_TIDYING) {
            self.keys.retain_recent();
            self.failures.retain_recent();
        }
    }

    /// Refuses an address that failed too often, unless the key opened something a moment ago. Asked before the key is
    /// looked up, so that guessing costs the database nothing.
    pub(super) fn admit(&self, from: Option<IpAddr>, key: &KeyHash) -> Result<(), ApiError> {
        let Some(left) = from.and_then(|from| self.refused.left(&from)) else { return Ok(()) };
        if self.good.left(key).is_some() {
            return Ok(());
        }
        let message = "Too many failed authentications from this address; wait and try again.";
        Err(ApiError::rate_limited(message, left).because(Refusal::FailedAuthentications))
    }

    /// A key opened something.
    pub(super) fn succeeded(&self, key: KeyHash) {
        self.good.remember(key);
    }

    /// A key from this address opened nothing.
    pub(super) fn failed(&self, from: Option<IpAddr>) {
        self.tidy();
        if let Some(from) = from
            && self.failures.check_key(&from).is_err()
        {
            self.refused.remember(from);
        }
    }
}

/// What was seen within the last minute.
struct Memory<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + std::hash::Hash> Memory<K> {
    fn remember(&self, key: K) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX && !seen.contains_key(&key) {
            let now = Instant::now();
            seen.retain(|_, at| now.duration_since(*at) < REMEMBERED / 2);
            if seen.len() >= REMEMBERED_MAX {
                seen.clear();
            }
        }
        seen.insert(key, Instant::now());
    }

    /// How long a thing is still remembered, if it is.
    fn left(&self, key: &K) -> Option<Duration> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = REMEMBERED.checked_sub(seen.get(key)?.elapsed())?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_keys_is_refused_and_a_good_key_behind_the_same_address_is_not() {
        let limiter = RateLimiter::new(100, 3);
        let (guesser, other) = (Some(IpAddr::from([203, 0, 113, 7])), Some(IpAddr::from([203, 0, 113, 8])));
        limiter.succeeded([1; 32]);
        for _ in 0..4 {
            assert!(limiter.admit(guesser, &[2; 32]).is_ok());
            limiter.failed(guesser);
        }
        assert!(limiter.admit(guesser, &[2; 32]).is_err());
        assert!(limiter.admit(guesser, &[1; 32]).is_ok(), "it opened something a moment ago");
        assert!(limiter.admit(other, &[2; 32]).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let memory = Memory::default();
        for number in 0..REMEMBERED_MAX * 2 {
            memory.remember(number);
        }
        assert!(memory.0.lock().unwrap().len() <= REMEMBERED_MAX);
        assert!(memory.left(&(REMEMBERED_MAX * 2 - 1)).is_some());
    }
}
