//! `/v1/throughput`: what all processes got done over time, and how long it took.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    clock::UnixMs,
    http::{
        Api, auth::Service, error::ApiError, public::statistics::range, query::Query, routes::Routes,
        view::IsThroughput,
    },
    pulse::{Tally, TallyLength},
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(throughput))
}

/// What all processes got done over time.
#[derive(Serialize, ToSchema)]
struct Throughput {
    #[schema(inline)]
    object: IsThroughput,
    /// When the first bucket begins, in unix seconds.
    #[schema(examples(1_749_564_000))]
    from: i64,
    /// Where they end, in unix seconds.
    #[schema(examples(1_749_651_729))]
    to: i64,
    /// How long a bucket is: 300 or 3600.
    #[schema(minimum = 300, examples(300))]
    bucket_seconds: u64,
    total: Done,
    /// The buckets, the oldest first.
    data: Vec<ThroughputBucket>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
struct Done {
    #[schema(minimum = 0)]
    events_accepted: u64,
    #[schema(minimum = 0)]
    attempts_succeeded: u64,
    #[schema(minimum = 0)]
    attempts_failed: u64,
    #[schema(minimum = 0)]
    deliveries_succeeded: u64,
    #[schema(minimum = 0)]
    deliveries_abandoned: u64,
    /// From a publisher's events in hand to their commit; null where none were.
    accept_ms: Option<Times>,
    /// From a delivery's making to the answer; null where none succeeded.
    delivery_ms: Option<Times>,
}

/// How long it took, in milliseconds: so many in a hundred took at most that.
#[derive(Serialize, ToSchema)]
struct Times {
    #[schema(minimum = 0, examples(1.2))]
    p50: f64,
    #[schema(minimum = 0, examples(4.8))]
    p95: f64,
    #[schema(minimum = 0, examples(9.5))]
    p99: f64,
}

/// What was done in a bucket.
#[derive(Serialize, ToSchema)]
struct ThroughputBucket {
    /// When it begins, in unix seconds.
    #[schema(examples(1_749_564_000))]
    start: i64,
    #[serde(flatten)]
    done: Done,
}

impl Times {
    fn of(percentile: impl Fn(u64) -> Option<Duration>) -> Option<Self> {
        let ms = |percent| percentile(percent).map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0);
        Some(Self { p50: ms(50)?, p95: ms(95)?, p99: ms(99)? })
    }
}

impl From<&Tally> for Done {
    fn from(tally: &Tally) -> Self {
        Self {
            events_accepted: tally.accepted,
            attempts_succeeded: tally.attempts_succeeded,
            attempts_failed: tally.attempts_failed,
            deliveries_succeeded: tally.deliveries_succeeded,
            deliveries_abandoned: tally.deliveries_abandoned,
            accept_ms: Times::of(|percent| tally.accept_time(percent)),
            delivery_ms: Times::of(|percent| tally.delivery_time(percent)),
        }
    }
}

/// Show the throughput
///
/// What was accepted, attempted and delivered, of all merchants, and how long it took: in total, and in buckets of five
/// minutes for up to 16 hours of the last two days, else of an hour. Processes write every ten seconds what they counted.
#[utoipa::path(
    get, path = "/v1/throughput", operation_id = "getThroughput", tag = "Operation",
    params(
        ("from" = Option<i64>, Query, description = "From when on, in unix seconds: a day before `to`, if not given.", minimum = 0),
        ("to" = Option<i64>, Query, description = "Until when, in unix seconds: until now, if not given.", minimum = 0),
    ),
    responses((status = 200, description = "The numbers.", body = Throughput)),
)]
async fn throughput(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<Throughput>, ApiError> {
    let now = api.foundation.clock.now();
    let mut query = Query::parse(query.as_deref());
    let (from, to) = range(&mut query, &api, now);
    query.finish()?;
    // On the test clock nothing happens by itself: whoever asks has just changed something.
    if api.test_clock.is_some() {
        api.pulse.beat().await?;
    }
    let length = TallyLength::showing(from, to, now);
    let begins = length.length().floor(from);
    // What began in this millisecond belongs to it.
    let tallies = api.foundation.store.tallies(length, begins, UnixMs(to.0 + 1)).await?;
    let mut total = Tally::default();
    for (_, tally) in &tallies {
        total.add(tally);
    }
    let by_time: BTreeMap<UnixMs, Tally> = tallies.into_iter().collect();
    let all = std::iter::successors(Some(begins), |at| Some(at.plus(length.length().duration())));
    let data = all.take_while(|at| *at < to).map(|at| ThroughputBucket {
        start: at.seconds(),
        done: by_time.get(&at).map_or_else(|| Done::from(&Tally::default()), Done::from),
    });
    Ok(Json(Throughput {
        object: IsThroughput,
        from: begins.seconds(),
        to: to.seconds(),
        bucket_seconds: length.length().duration().as_secs(),
        total: Done::from(&total),
        data: data.collect(),
    }))
}
