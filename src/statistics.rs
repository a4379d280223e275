//! Statistics: how many attempts and deliveries came to what, by endpoint and time, and what was seen last of each endpoint.
//!
//! Each process gathers in memory and writes what it gathered every few seconds, so that recording an outcome costs a short
//! lock more and no statement. What a process had not written when it was killed is not counted; deliveries do not depend
//! on it. Buckets of processes on one database add up, and are rolled up into longer ones as they age.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::UnixMs,
    delivery::{AttemptResult, Verdict},
    id::EndpointId,
    merchant::Tenant,
    store::{Result, Store},
    transport::FailureCode,
};

/// The upper bounds of how long answered attempts took, in milliseconds; one more counts what took longer.
pub const LATENCY_BOUNDS_MS: [i64; 17] =
    [5, 10, 20, 35, 50, 75, 100, 150, 200, 350, 500, 750, 1_000, 2_000, 5_000, 10_000, 30_000];

const CODES: usize = FailureCode::ALL.len();
const DELIVERIES_SUCCEEDED: usize = 1 + CODES;
const DELIVERIES_ABANDONED: usize = DELIVERIES_SUCCEEDED + 1;
const LATENCIES: usize = DELIVERIES_ABANDONED + 1;

/// How many numbers a bucket has.
pub const MEASURES: usize = LATENCIES + LATENCY_BOUNDS_MS.len() + 1;

/// The numbers of a bucket: attempts that succeeded, those that failed by code, deliveries that succeeded and that were
/// abandoned, and answered attempts by how long they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts([i64; MEASURES]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; MEASURES])
    }
}

impl Counts {
    /// One outcome, which `decides` how its delivery stands.
    #[must_use]
    pub fn of(result: &AttemptResult, decides: bool) -> Self {
        let mut counts = Self::default();
        let attempt = &result.attempt;
        counts.0[attempt.failure_code.map_or(0, |code| 1 + code as usize)] = 1;
        match result.verdict {
            _ if !decides => {}
            Verdict::Succeeded => counts.0[DELIVERIES_SUCCEEDED] = 1,
            Verdict::Abandon(_) => counts.0[DELIVERIES_ABANDONED] = 1,
            Verdict::RetryAt(_) => {}
        }
        if attempt.response_status.is_some() {
            let bucket = LATENCY_BOUNDS_MS.partition_point(|bound| *bound < attempt.duration_ms);
            counts.0[LATENCIES + bucket] = 1;
        }
        counts
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// In the order of [`columns`].
    #[must_use]
    pub fn as_array(&self) -> &[i64; MEASURES] {
        &self.0
    }

    /// In the order of [`columns`].
    #[must_use]
    pub fn from_array(counts: [i64; MEASURES]) -> Self {
        Self(counts)
    }

    /// Attempts that succeeded.
    #[must_use]
    pub fn succeeded(&self) -> i64 {
        self.0[0]
    }

    /// Attempts that failed like this.
    #[must_use]
    pub fn failed_with(&self, code: FailureCode) -> i64 {
        self.0[1 + code as usize]
    }

    /// Attempts that failed.
    #[must_use]
    pub fn failed(&self) -> i64 {
        self.0[1..=CODES].iter().sum()
    }

    /// Deliveries whose attempt settled them.
    #[must_use]
    pub fn deliveries_succeeded(&self) -> i64 {
        self.0[DELIVERIES_SUCCEEDED]
    }

    /// Deliveries whose attempt was their last and failed.
    #[must_use]
    pub fn deliveries_abandoned(&self) -> i64 {
        self.0[DELIVERIES_ABANDONED]
    }

    /// How long, in milliseconds, so many in a hundred of the answered attempts took at most: between the bounds of the
    /// bucket it falls into, as if those in it lay evenly. None where none was answered.
    #[must_use]
    pub fn latency_ms(&self, percent: i64) -> Option<i64> {
        let buckets = &self.0[LATENCIES..];
        let total: i64 = buckets.iter().sum();
        let rank = (total * percent + 99) / 100;
        let mut before = 0;
        for (index, count) in buckets.iter().enumerate() {
            if *count > 0 && before + count >= rank {
                let lower = index.checked_sub(1).map_or(0, |index| LATENCY_BOUNDS_MS[index]);
                let upper = LATENCY_BOUNDS_MS.get(index).copied().unwrap_or(lower);
                return Some(lower + (upper - lower) * (rank - before) / count);
            }
            before += count;
        }
        None
    }
}

/// The names under which the numbers are stored.
pub fn columns() -> impl Iterator<Item = String> {
    let failed = FailureCode::ALL.iter().map(|code| format!("failed_{}", code.as_str()));
    let within = LATENCY_BOUNDS_MS.iter().map(|bound| format!("within_{bound}_ms"));
    let deliveries = ["deliveries_succeeded", "deliveries_abandoned"].map(str::to_owned);
    std::iter::once("succeeded".to_owned())
        .chain(failed)
        .chain(deliveries)
        .chain(within)
        .chain(std::iter::once("longer".to_owned()))
}

/// How long a bucket is. Each begins at a multiple of its length since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Length {
    /// As it is counted.
    FiveMinutes,
    /// Of what is older than a day.
    Hour,
    /// Of what is older than a week.
    Day,
}

impl Length {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    /// In milliseconds.
    #[must_use]
    pub fn ms(self) -> i64 {
        UnixMs(0).plus(self.duration()).0
    }

    /// When the bucket begins that this instant is in.
    #[must_use]
    pub fn floor(self, at: UnixMs) -> UnixMs {
        UnixMs(at.0 - at.0.rem_euclid(self.ms()))
    }

    /// The next longer one, and how old a bucket is when it becomes part of one; some hours more than the ranges that are
    /// shown in buckets like this.
    #[must_use]
    pub fn rolled_up(self) -> Option<(Self, Duration)> {
        match self {
            Self::FiveMinutes => Some((Self::Hour, Duration::from_secs(26 * 3_600))),
            Self::Hour => Some((Self::Day, Duration::from_secs(9 * 86_400))),
            Self::Day => None,
        }
    }

    /// In which buckets a range is shown: few enough to look at, and no shorter than those that are left of its beginning.
    #[must_use]
    pub fn showing(from: UnixMs, to: UnixMs, now: UnixMs) -> Self {
        let fits = |length: &Self| {
            let left = length.rolled_up().is_none_or(|(_, age)| from >= now.minus(age));
            left && to.since(from) <= length.duration() * 200
        };
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Day)
    }
}

/// A bucket with its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Whose they are.
    pub endpoint_id: EndpointId,
    /// When it begins.
    pub starts_at: UnixMs,
    /// Its numbers.
    pub counts: Counts,
}

/// What was seen last of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// When the last attempt was made that succeeded.
    pub success_at: Option<UnixMs>,
    /// The last attempt that failed.
    pub failure: Option<LatestFailure>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestFailure {
    /// When it was made.
    pub at: UnixMs,
    /// What failed.
    pub code: FailureCode,
    /// The same in words.
    pub message: String,
}

impl Latest {
    fn note(&mut self, result: &AttemptResult) {
        let at = result.attempt.started_at;
        match result.attempt.failure_code {
            None => self.success_at = self.success_at.max(Some(at)),
            Some(code) if self.failure.as_ref().is_none_or(|failure| failure.at <= at) => {
                let message = result.attempt.failure_message.clone().unwrap_or_default();
                self.failure = Some(LatestFailure { at, code, message });
            }
            Some(_) => {}
        }
    }
}

/// Which statistics to read.
#[derive(Clone, Debug)]
pub struct StatisticsFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Of this endpoint only.
    pub endpoint_id: Option<EndpointId>,
    /// Of buckets that begin at this instant or later.
    pub from: UnixMs,
    /// Of buckets that begin before this instant.
    pub to: UnixMs,
}

/// How often what was gathered is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Buckets in one transaction, so that nobody waits long for the writer.
const BUCKETS_AT_ONCE: usize = 100;

/// Between two transactions, so many times as long as one took.
const REST: u32 = 4;

/// Endpoints and times that are gathered at most, which is some tens of megabytes: while the database is away, what comes
/// beyond is not counted.
const GATHERED_MAX: usize = 50_000;

#[derive(Default)]
struct Gathered {
    buckets: BTreeMap<(EndpointId, UnixMs), Counts>,
    latest: BTreeMap<EndpointId, Latest>,
}

/// Gathers outcomes, and writes what was gathered.
pub struct Statistics {
    store: Arc<dyn Store>,
    gathered: Mutex<Gathered>,
    /// One writes at a time; who waits for it finds all written that was gathered before.
    writing: tokio::sync::Mutex<()>,
}

impl Statistics {
    /// Nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, gathered: Mutex::default(), writing: tokio::sync::Mutex::new(()) }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts outcomes that were recorded, and of each whether it decides how its delivery stands.
    pub fn count<'a>(&self, results: impl Iterator<Item = (&'a AttemptResult, bool)>) {
        let mut gathered = self.gathered();
        for (result, decides) in results {
            let (endpoint, at) = (result.endpoint_id, Length::FiveMinutes.floor(result.attempt.started_at));
            let full = gathered.buckets.len() >= GATHERED_MAX;
            if full && !gathered.buckets.contains_key(&(endpoint, at)) {
                continue;
            }
            gathered.buckets.entry((endpoint, at)).or_default().add(&Counts::of(result, decides));
            gathered.latest.entry(endpoint).or_default().note(result);
        }
    }

    /// Writes what was gathered until now, in steps. What could not be written is kept for the next time.
    pub async fn write(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let mut left = std::mem::take(&mut *self.gathered());
        while !left.buckets.is_empty() {
            let rest = left.buckets.keys().nth(BUCKETS_AT_ONCE).copied();
            let later = rest.map(|key| left.buckets.split_off(&key)).unwrap_or_default();
            let now = std::mem::replace(&mut left.buckets, later);
            let latest: Vec<_> = now
                .keys()
                .filter_map(|(endpoint, _)| Some((*endpoint, left.latest.remove(endpoint)?)))
                .collect();
            let buckets: Vec<_> = now
                .iter()
                .map(|((endpoint_id, starts_at), counts)| Bucket {
                    endpoint_id: *endpoint_id,
                    starts_at: *starts_at,
                    counts: *counts,
                })
                .collect();
            let started = std::time::Instant::now();
            if let Err(error) = self.store.add_statistics(&buckets, &latest).await {
                left.buckets.extend(now);
                left.latest.extend(latest);
                self.put_back(left);
                return Err(error);
            }
            if !left.buckets.is_empty() {
                tokio::time::sleep(started.elapsed() * REST).await;
            }
        }
        Ok(())
    }

    fn put_back(&self, left: Gathered) {
        let mut gathered = self.gathered();
        for (key, counts) in left.buckets {
            gathered.buckets.entry(key).or_default().add(&counts);
        }
        for (endpoint, latest) in left.latest {
            let newer = gathered.latest.entry(endpoint).or_default();
            newer.success_at = newer.success_at.max(latest.success_at);
            if newer.failure.is_none() {
                newer.failure = latest.failure;
            }
        }
    }

    /// Writes every few seconds until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut told = false;
        while stop.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_some() {
            match self.write().await {
                Ok(()) => told = false,
                Err(error) if !told => {
                    tracing::warn!(%error, "statistics wait for the database");
                    told = true;
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(durations_ms: &[i64]) -> Counts {
        let mut counts = Counts::default();
        for duration in durations_ms {
            let bucket = LATENCY_BOUNDS_MS.partition_point(|bound| bound < duration);
            counts.0[LATENCIES + bucket] += 1;
        }
        counts
    }

    #[test]
    fn percentiles_lie_in_the_bucket_of_their_rank() {
        assert_eq!(Counts::default().latency_ms(50), None);
        let hundred: Vec<i64> = (1..=100).collect();
        let counts = took(&hundred);
        for (percent, exact) in [(50, 50), (95, 95), (99, 99)] {
            let found = counts.latency_ms(percent).unwrap();
            assert!((exact - 1..=exact + 1).contains(&found), "p{percent}: {found}");
        }
        assert_eq!(took(&[7]).latency_ms(99), Some(10));
        assert_eq!(took(&[60_000]).latency_ms(50), Some(30_000), "longer than the last bound");
        assert_eq!(took(&[5, 5, 5, 700]).latency_ms(50), Some(3));
    }

    #[test]
    fn every_number_has_a_column_of_its_own() {
        let names: Vec<String> = columns().collect();
        assert_eq!(names.len(), MEASURES);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), MEASURES);
        assert_eq!(names[1 + FailureCode::Dns as usize], "failed_dns");
        assert_eq!(names[DELIVERIES_ABANDONED], "deliveries_abandoned");
        assert_eq!(names[LATENCIES], "within_5_ms");
    }

    #[test]
    fn a_range_is_shown_in_buckets_that_are_left_of_it_and_few() {
        let (now, hour) = (UnixMs(1_749_651_729_000), Duration::from_secs(3_600));
        for (hours, length) in [
            (1, Length::FiveMinutes),
            (12, Length::FiveMinutes),
            (24, Length::Hour),
            (7 * 24, Length::Hour),
            (30 * 24, Length::Day),
        ] {
            assert_eq!(Length::showing(now.minus(hour * hours), now, now), length, "{hours} hours");
        }
        let (from, to) = (now.minus(hour * 480), now.minus(hour * 479));
        assert_eq!(Length::showing(from, to, now), Length::Day, "an hour of long ago");
        assert_eq!(Length::Hour.floor(UnixMs(3_600_001)), UnixMs(3_600_000));
    }
}
