//! Time as an argument: every rule takes a [`UnixMs`], and every loop waits on a [`Clock`].
//!
//! The manual clock is the service's test clock. It stands still until it is set, and setting it wakes
//! the very same loops that sleep on the system clock, so a test walks 72 hours without waiting for them.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

/// An instant: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// Whole seconds since the epoch, rounded down: how the API and `t=` show an instant.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant `duration` later; saturates instead of overflowing.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(as_ms(duration)))
    }

    /// The instant `duration` earlier; saturates instead of overflowing.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(as_ms(duration)))
    }

    /// How long after `earlier` this instant is; zero where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Where the service reads the time and waits for it.
#[derive(Clone, Debug)]
pub struct Clock(Inner);

#[derive(Clone, Debug)]
enum Inner {
    System,
    Manual(Arc<watch::Sender<UnixMs>>),
}

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Inner::System)
    }

    /// A clock that stands at `start` until [`Clock::set`] moves it.
    #[must_use]
    pub fn manual(start: UnixMs) -> Self {
        Self(Inner::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        match &self.0 {
            Inner::System => system_now(),
            Inner::Manual(now) => *now.borrow(),
        }
    }

    /// Whether this is the manual clock.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Inner::Manual(_))
    }

    /// Moves the manual clock forward to `to`; it never goes back, and the system clock ignores it.
    pub fn set(&self, to: UnixMs) {
        if let Inner::Manual(now) = &self.0 {
            now.send_if_modified(|now| {
                let moves = to > *now;
                *now = to.max(*now);
                moves
            });
        }
    }

    /// Returns when the clock shows `at` or later. Safe to drop at any time.
    pub async fn sleep_until(&self, at: UnixMs) {
        match &self.0 {
            Inner::System => {
                // In steps, because the wall clock may be set while this sleeps.
                const STEP: Duration = Duration::from_secs(60);
                loop {
                    let left = at.since(system_now());
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left.min(STEP)).await;
                }
            }
            Inner::Manual(now) => {
                // The sender lives in `self`, so the wait cannot fail.
                let _ = now.subscribe().wait_for(|now| *now >= at).await;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the operating system's clock")]
fn system_now() -> UnixMs {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMs(since_epoch.map_or(0, as_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_when_it_reaches_the_time_and_never_goes_back() {
        let clock = Clock::manual(UnixMs(1_000));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep_until(UnixMs(2_000)).await;
                clock.now()
            }
        });
        clock.set(UnixMs(1_999));
        clock.set(UnixMs(500));
        assert_eq!(clock.now(), UnixMs(1_999));
        clock.set(UnixMs(2_000));
        assert_eq!(sleeper.await.unwrap(), UnixMs(2_000));
    }

    #[test]
    fn instants_saturate_instead_of_overflowing() {
        assert_eq!(UnixMs(i64::MAX).plus(Duration::MAX), UnixMs(i64::MAX));
        assert_eq!(UnixMs(5).since(UnixMs(9)), Duration::ZERO);
        assert_eq!(UnixMs(1_999).seconds(), 1);
    }
}
