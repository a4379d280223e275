//! What was counted, as numbers that can be kept, added and taken from each other.

use std::{array, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DELIVERY_TIMES, Metrics, REQUEST_TIMES, histogram::Histogram};
use crate::transport::FailureCode;

/// Observations by the bucket that they fall into, as a histogram of the metrics has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Spread(Vec<u64>);

impl Spread {
    fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let before = earlier.0.iter().chain(std::iter::repeat(&0));
        Self(self.0.iter().zip(before).map(|(count, before)| count.saturating_sub(*before)).collect())
    }

    /// How long so many in a hundred took at most: between the bounds of the bucket it falls into, as if those in it lay
    /// evenly. None where nothing was observed.
    fn percentile(&self, bounds_us: &[u64], percent: u64) -> Option<Duration> {
        let rank = (self.0.iter().sum::<u64>() * percent).div_ceil(100);
        let mut before = 0;
        for (index, count) in self.0.iter().enumerate() {
            if *count > 0 && before + count >= rank {
                let lower = index.checked_sub(1).and_then(|index| bounds_us.get(index)).copied().unwrap_or(0);
                let upper = bounds_us.get(index).copied().unwrap_or(lower);
                return Some(Duration::from_micros(lower + (upper - lower) * (rank - before) / count));
            }
            before += count;
        }
        None
    }
}

/// What a process counted, of all merchants together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Events stored.
    pub accepted: u64,
    /// Attempts that succeeded.
    pub attempts_succeeded: u64,
    /// Attempts that failed.
    pub attempts_failed: u64,
    /// Deliveries that succeeded.
    pub deliveries_succeeded: u64,
    /// Deliveries that were abandoned.
    pub deliveries_abandoned: u64,
    accept: Spread,
    delivery: Spread,
}

impl Tally {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.numbers().into_iter().zip(other.clone().numbers()) {
            *count += *more;
        }
        self.accept.add(&other.accept);
        self.delivery.add(&other.delivery);
    }

    /// What has come since `earlier`, which is what the same process had counted then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.numbers().into_iter().zip(earlier.clone().numbers()) {
            *count = count.saturating_sub(*before);
        }
        since.accept = self.accept.since(&earlier.accept);
        since.delivery = self.delivery.since(&earlier.delivery);
        since
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clone().numbers().into_iter().all(|count| *count == 0)
    }

    /// How long so many in a hundred requests to publish waited for their commit at most.
    #[must_use]
    pub fn accept_time(&self, percent: u64) -> Option<Duration> {
        self.accept.percentile(REQUEST_TIMES, percent)
    }

    /// How long, from their making to the answer, so many in a hundred of the deliveries that succeeded took at most.
    #[must_use]
    pub fn delivery_time(&self, percent: u64) -> Option<Duration> {
        self.delivery.percentile(DELIVERY_TIMES, percent)
    }

    fn numbers(&mut self) -> [&mut u64; 5] {
        [
            &mut self.accepted,
            &mut self.attempts_succeeded,
            &mut self.attempts_failed,
            &mut self.deliveries_succeeded,
            &mut self.deliveries_abandoned,
        ]
    }
}

impl Metrics {
    /// What was counted since the process began.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let attempts: [u64; 1 + FailureCode::ALL.len()] = array::from_fn(|place| self.attempts[place].get());
        let finished: Vec<u64> =
            super::ends().enumerate().map(|(place, _)| self.deliveries_finished[place].get()).collect();
        let spread = |histogram: &Histogram| Spread(histogram.counts());
        Tally {
            accepted: super::EventType::ALL
                .iter()
                .map(|event_type| self.events_accepted[*event_type as usize].get())
                .sum(),
            attempts_succeeded: attempts[0],
            attempts_failed: attempts[1..].iter().sum(),
            deliveries_succeeded: finished[0],
            deliveries_abandoned: finished[1..].iter().sum(),
            accept: spread(&self.accept_duration),
            delivery: spread(&self.delivery_latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(times_ms: &[u64]) -> Spread {
        let histogram = Histogram::new(REQUEST_TIMES);
        for time in times_ms {
            histogram.observe(Duration::from_millis(*time));
        }
        Spread(histogram.counts())
    }

    #[test]
    fn a_percentile_lies_in_the_bucket_of_its_rank() {
        let at =
            |spread: &Spread, percent| spread.percentile(REQUEST_TIMES, percent).map(|time| time.as_millis());
        assert_eq!(at(&Spread::default(), 50), None);
        assert_eq!(at(&spread(&[]), 99), None);
        assert_eq!(at(&spread(&[7]), 50), Some(10));
        assert_eq!(at(&spread(&[60_000]), 50), Some(30_000), "longer than the last bound");
        let all = spread(&(1..=100).collect::<Vec<_>>());
        assert_eq!((at(&all, 50), at(&all, 99)), (Some(50), Some(99)));
    }

    #[test]
    fn what_came_since_and_what_was_before_add_up_to_all() {
        let earlier = Tally { accepted: 3, attempts_failed: 1, accept: spread(&[1, 5]), ..Tally::default() };
        let later =
            Tally { accepted: 10, attempts_failed: 1, accept: spread(&[1, 5, 7, 900]), ..Tally::default() };
        let since = later.since(&earlier);
        assert_eq!((since.accepted, since.attempts_failed, since.is_empty()), (7, 0, false));
        let mut sum = earlier.clone();
        sum.add(&since);
        assert_eq!(sum, later);
        assert!(later.since(&later).is_empty());
    }

    #[test]
    fn what_another_version_counted_can_be_read() {
        let known: Tally =
            serde_json::from_str(r#"{"accepted": 2, "accept": [1, 1], "not_known": 5}"#).unwrap();
        assert_eq!((known.accepted, known.attempts_failed), (2, 0));
        let mut sum = known.clone();
        sum.add(&Tally { accept: spread(&[1]), ..Tally::default() });
        assert_eq!(sum.accept_time(50), Some(Duration::from_micros(750)));
    }
}
