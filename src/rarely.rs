//! Saying what may happen often once in a while, with how often it has happened.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long nothing more is said.
const INTERVAL: Duration = Duration::from_secs(60);

/// When something was last said, and how often it has happened since.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// It has happened. Answers how often since it was last said, where it is time to say it.
    pub(crate) fn happened(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said_at, times) = &mut *state;
        *times += 1;
        if said_at.is_some_and(|at| now.saturating_duration_since(at) < INTERVAL) {
            return None;
        }
        *said_at = Some(now);
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once_a_minute_with_how_often() {
        let (rarely, start) = (Rarely::default(), Instant::now());
        assert_eq!(rarely.happened(start), Some(1));
        for second in 1..60 {
            assert_eq!(rarely.happened(start + Duration::from_secs(second)), None);
        }
        assert_eq!(rarely.happened(start + INTERVAL), Some(60));
    }
}
