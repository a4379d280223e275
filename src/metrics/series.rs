//! Metrics with labels, all of which exist from the start.

use std::{ops::Index, sync::Arc};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// A label and its value. Both are words of the program, so nothing that a request brings can become one.
type Label = (&'static str, &'static str);

/// One metric for each of a fixed set of labels, found by its place: counting takes no look-up, and a scrape shows zeros
/// from the start.
#[derive(Clone, Debug)]
pub struct Series<M, const LABELS: usize = 1>(Arc<[([Label; LABELS], M)]>);

impl<M, const LABELS: usize> Series<M, LABELS> {
    pub(super) fn new(rows: impl IntoIterator<Item = ([Label; LABELS], M)>) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl<M: Default> Series<M> {
    /// One for each word, in the order of the words.
    pub(super) fn of_words(label: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        Self::new(words.into_iter().map(|word| ([(label, word)], M::default())))
    }
}

impl<M, const LABELS: usize> Index<usize> for Series<M, LABELS> {
    type Output = M;

    fn index(&self, place: usize) -> &M {
        &self.0[place].1
    }
}

impl<M: EncodeMetric + TypedMetric, const LABELS: usize> EncodeMetric for Series<M, LABELS> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (labels, metric) in self.0.iter() {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
