//! A histogram that is observed by two atomic additions. prometheus-client's own takes a lock each time, which everything
//! that is measured would share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// What the sum counts in: a millionth of the unit, so that it is a whole number.
const PARTS_PER_UNIT: u32 = 1_000_000;

/// Observations by size; clones share them.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The upper bound of each bucket but the last, which has none, in millionths of the unit.
    bounds: &'static [u64],
    /// Observations of each bucket, those of smaller ones not included.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram whose buckets end at `bounds`, in millionths of the unit and ascending.
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds, buckets, sum: AtomicU64::new(0) }))
    }

    /// How much each bucket has counted, those of smaller ones not included.
    pub(super) fn counts(&self) -> Vec<u64> {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }

    fn add(&self, parts: u64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < parts);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(parts, Ordering::Relaxed);
    }

    /// Counts a time, in a histogram of seconds.
    pub fn observe(&self, time: Duration) {
        self.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 16));
    }

    /// Counts a number of things, in a histogram of numbers.
    pub fn observe_count(&self, count: usize) {
        self.add(u64::try_from(count).unwrap_or(u64::MAX >> 32).saturating_mul(PARTS_PER_UNIT.into()));
    }
}

#[expect(clippy::cast_precision_loss, reason = "what a scrape tells is a float")]
fn units(parts: u64) -> f64 {
    parts as f64 / f64::from(PARTS_PER_UNIT)
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    /// The buckets are read one after the other while others may count: the number of all is the sum of what was read, so
    /// that what a scrape shows agrees with itself.
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Inner { bounds, buckets, sum } = &*self.0;
        let bounds = bounds.iter().map(|bound| units(*bound)).chain([f64::INFINITY]);
        let counts = buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(units(sum.load(Ordering::Relaxed)), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn a_bucket_counts_what_is_as_large_as_its_bound_or_smaller() {
        let histogram = Histogram::new(&[1_000, 2_000_000]);
        for time in [0, 1_000, 1_001, 2_000_000, 2_000_001] {
            histogram.observe(Duration::from_micros(time));
        }
        let mut registry = Registry::default();
        registry.register("wait_seconds", "A wait", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "wait_seconds_sum 4.002002",
                "wait_seconds_count 5",
                "wait_seconds_bucket{le=\"0.001\"} 2",
                "wait_seconds_bucket{le=\"2.0\"} 4",
                "wait_seconds_bucket{le=\"+Inf\"} 5",
            ]
        );
    }
}
