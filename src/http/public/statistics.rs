//! How endpoints fare: `/v1/webhook_endpoints/{id}/health`, and `/v1/statistics` of all or one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::endpoints;
use crate::{
    clock::UnixMs,
    endpoint::{DisabledReason, EndpointStatus},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        path::Path,
        query::Query,
        routes::Routes,
        view::{IsStatistics, IsWebhookEndpointHealth},
    },
    id::EndpointId,
    merchant::Tenant,
    statistics::{Bucket, Counts, Latest, Length, StatisticsFilter},
    store::{Page, Position},
    transport::FailureCode,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(health)).route(routes!(statistics))
}

/// What is counted of a backlog: counting all of a long one would take long.
const OPEN_COUNTED_MAX: u32 = 10_000;

/// What statistics are of unless said otherwise.
const RANGE_DEFAULT: Duration = Duration::from_secs(86_400);

/// How an endpoint fares.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WebhookEndpointHealth {
    #[schema(inline)]
    object: IsWebhookEndpointHealth,
    webhook_endpoint: EndpointId,
    /// Live data, as opposed to test data.
    livemode: bool,
    status: EndpointStatus,
    /// Why it is disabled, where it was not its merchant.
    disabled_reason: Option<DisabledReason>,
    /// When the first attempt was made that failed after the last one that succeeded, in unix seconds, while it fails.
    #[schema(examples(1_749_651_729))]
    failing_since: Option<i64>,
    /// The earliest instant at which another failure disables it, in unix seconds, while it fails.
    #[schema(examples(1_750_083_729))]
    disables_at: Option<i64>,
    last_success: Option<LastSuccess>,
    last_failure: Option<LastFailure>,
    /// Its deliveries that are pending, counted up to 10,000.
    #[schema(minimum = 0)]
    pending: u32,
    /// Its deliveries that are held, counted up to 10,000.
    #[schema(minimum = 0)]
    held: u32,
    last_hour: Numbers,
    last_day: Numbers,
    last_7_days: Numbers,
    last_30_days: Numbers,
}

/// The last attempt that succeeded.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LastSuccess {
    /// When it was made, in unix seconds.
    #[schema(examples(1_749_651_729))]
    at: i64,
}

/// The last attempt that failed.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LastFailure {
    /// When it was made, in unix seconds.
    #[schema(examples(1_749_651_729))]
    at: i64,
    code: FailureCode,
    /// What failed, in words.
    #[schema(examples("the endpoint answered 500"))]
    message: String,
}

impl LastSuccess {
    /// Of an endpoint of which this was seen last.
    pub(in crate::http) fn of(latest: &Latest) -> Option<Self> {
        latest.success_at.map(|at| Self { at: at.seconds() })
    }
}

impl LastFailure {
    /// Of an endpoint of which this was seen last.
    pub(in crate::http) fn of(latest: &Latest) -> Option<Self> {
        let failure = latest.failure.as_ref()?;
        Some(Self { at: failure.at.seconds(), code: failure.code, message: failure.message.clone() })
    }
}

/// What came of attempts and deliveries in some time.
#[derive(Serialize, ToSchema)]
struct Numbers {
    attempts: AttemptNumbers,
    /// The part of the attempts that succeeded, to four places; null where there were none.
    #[schema(minimum = 0, maximum = 1, examples(0.9987))]
    success_rate: Option<f64>,
    /// Null where no attempt was answered.
    latency_ms: Option<Latency>,
    deliveries: DeliveryNumbers,
}

/// Attempts by what came of them.
#[derive(Serialize, ToSchema)]
struct AttemptNumbers {
    #[schema(minimum = 0)]
    succeeded: i64,
    #[schema(minimum = 0)]
    failed: i64,
    /// Those that failed, by failure code.
    failures: BTreeMap<&'static str, i64>,
}

/// How long answered attempts took, in milliseconds: so many in a hundred took at most that.
#[derive(Serialize, ToSchema)]
struct Latency {
    #[schema(minimum = 0, examples(41))]
    p50: i64,
    #[schema(minimum = 0, examples(180))]
    p95: i64,
    #[schema(minimum = 0, examples(340))]
    p99: i64,
}

/// Deliveries that an attempt settled.
#[derive(Serialize, ToSchema)]
struct DeliveryNumbers {
    #[schema(minimum = 0)]
    succeeded: i64,
    #[schema(minimum = 0)]
    abandoned: i64,
}

impl From<&Counts> for Numbers {
    fn from(counts: &Counts) -> Self {
        let (succeeded, failed) = (counts.succeeded(), counts.failed());
        let latency = |percent| counts.latency_ms(percent);
        let latency_ms = latency(50).zip(latency(95)).zip(latency(99));
        Self {
            attempts: AttemptNumbers {
                succeeded,
                failed,
                failures: FailureCode::ALL
                    .iter()
                    .map(|code| (code.as_str(), counts.failed_with(*code)))
                    .collect(),
            },
            success_rate: rate(succeeded, failed),
            latency_ms: latency_ms.map(|((p50, p95), p99)| Latency { p50, p95, p99 }),
            deliveries: DeliveryNumbers {
                succeeded: counts.deliveries_succeeded(),
                abandoned: counts.deliveries_abandoned(),
            },
        }
    }
}

/// The part of successes, to four places; none of nothing. All is one, and one failure among many is not all.
fn rate(succeeded: i64, failed: i64) -> Option<f64> {
    let ten_thousandths = succeeded.saturating_mul(10_000).checked_div(succeeded + failed)?;
    i32::try_from(ten_thousandths).ok().map(|part| f64::from(part) / 10_000.0)
}

/// What came of attempts and deliveries over time.
#[derive(Serialize, ToSchema)]
struct Statistics {
    #[schema(inline)]
    object: IsStatistics,
    /// Live data, as opposed to test data.
    livemode: bool,
    /// The only endpoint they are of, if it was asked for.
    webhook_endpoint: Option<EndpointId>,
    /// When the first bucket begins, in unix seconds.
    #[schema(examples(1_749_564_000))]
    from: i64,
    /// Where they end, in unix seconds.
    #[schema(examples(1_749_651_729))]
    to: i64,
    /// How long a bucket is: 300, 3600 or 86400.
    #[schema(minimum = 300, examples(3600))]
    bucket_seconds: u64,
    total: Numbers,
    /// The buckets, the oldest first.
    data: Vec<StatisticsBucket>,
    /// The same by endpoint.
    webhook_endpoints: Vec<StatisticsOfEndpoint>,
}

/// The numbers of a bucket.
#[derive(Serialize, ToSchema)]
struct StatisticsBucket {
    /// When it begins, in unix seconds.
    #[schema(examples(1_749_564_000))]
    start: i64,
    #[serde(flatten)]
    numbers: Numbers,
}

/// The numbers of an endpoint.
#[derive(Serialize, ToSchema)]
struct StatisticsOfEndpoint {
    webhook_endpoint: EndpointId,
    #[serde(flatten)]
    numbers: Numbers,
}

/// Retrieve the health of an endpoint
///
/// Its success rate, latencies, last success and last failure, what waits for it, and since when it fails. Numbers are
/// written every five seconds; since when it fails, and what waits, is as it is now.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}/health", operation_id = "getWebhookEndpointHealth", tag = "Statistics",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    responses((status = 200, description = "How it fares.", body = WebhookEndpointHealth)),
)]
pub(in crate::http) async fn health(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<WebhookEndpointHealth>, ApiError> {
    let endpoint = endpoints::find(&api, &tenant, &id).await?;
    let (store, now) = (&api.foundation.store, api.foundation.clock.now());
    let failing = store.failing(endpoint.id).await?;
    let latest = store.latest_outcomes(endpoint.id).await?;
    let (pending, held) = store.count_open_deliveries(endpoint.id, OPEN_COUNTED_MAX).await?;
    let disables_at = failing.and_then(|failing| failing.disables_at(api.config.failing_rules()));
    let last = async |days: u32, hours: u32, length: Length| -> Result<Numbers, ApiError> {
        let from = length.floor(now.minus(Duration::from_secs(3_600) * (days * 24 + hours)));
        let buckets = read(&api, &tenant, Some(endpoint.id), (from, now), Length::Day).await?;
        Ok((&sum(&buckets)).into())
    };
    Ok(Json(WebhookEndpointHealth {
        object: IsWebhookEndpointHealth,
        webhook_endpoint: endpoint.id,
        livemode: endpoint.tenant.livemode,
        status: endpoint.status,
        disabled_reason: endpoint.disabled_reason,
        failing_since: failing.map(|failing| failing.since.seconds()),
        disables_at: disables_at.map(UnixMs::seconds),
        last_success: LastSuccess::of(&latest),
        last_failure: LastFailure::of(&latest),
        pending,
        held,
        last_hour: last(0, 1, Length::FiveMinutes).await?,
        last_day: last(1, 0, Length::FiveMinutes).await?,
        last_7_days: last(7, 0, Length::Hour).await?,
        last_30_days: last(30, 0, Length::Day).await?,
    }))
}

/// Retrieve statistics
///
/// What came of attempts and deliveries over time, of all endpoints or one: in buckets, in total and by endpoint. A range is
/// at most as long as events are kept.
#[utoipa::path(
    get, path = "/v1/statistics", operation_id = "getStatistics", tag = "Statistics",
    params(
        ("from" = Option<i64>, Query, description = "From when on, in unix seconds: a day before `to`, if not given.", minimum = 0),
        ("to" = Option<i64>, Query, description = "Until when, in unix seconds: until now, if not given.", minimum = 0),
        ("webhook_endpoint" = Option<EndpointId>, Query, description = "Of this endpoint alone."),
    ),
    responses((status = 200, description = "The numbers.", body = Statistics)),
)]
async fn statistics(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    RawQuery(query): RawQuery,
) -> Result<Json<Statistics>, ApiError> {
    let now = api.foundation.clock.now();
    let mut query = Query::parse(query.as_deref());
    let (from, to) = range(&mut query, &api, now);
    let endpoint = query.optional::<EndpointId>("webhook_endpoint");
    query.finish()?;
    let mut by_endpoint: BTreeMap<EndpointId, Counts> = BTreeMap::new();
    if let Some(id) = endpoint {
        endpoints::find(&api, &tenant, &id.to_string()).await?;
        by_endpoint.insert(id, Counts::default());
    } else {
        let limit = u32::try_from(api.config.limits.endpoints_per_merchant).unwrap_or(u32::MAX);
        let page = Page { limit, position: Position::First };
        let all = api.foundation.store.list_endpoints(&tenant, &page).await?;
        let all = all.into_iter().flat_map(|page| page.items);
        by_endpoint.extend(all.map(|endpoint| (endpoint.id, Counts::default())));
    }
    let length = Length::showing(from, to, now);
    let begins = length.floor(from);
    let buckets = read(&api, &tenant, endpoint, (begins, to), length).await?;
    let mut by_time: BTreeMap<UnixMs, Counts> = BTreeMap::new();
    for bucket in &buckets {
        by_time.entry(bucket.starts_at).or_default().add(&bucket.counts);
        by_endpoint.entry(bucket.endpoint_id).or_default().add(&bucket.counts);
    }
    let all = std::iter::successors(Some(begins), |at| Some(at.plus(length.duration())));
    let data = all.take_while(|at| *at < to).map(|at| StatisticsBucket {
        start: at.seconds(),
        numbers: (&by_time.get(&at).copied().unwrap_or_default()).into(),
    });
    let webhook_endpoints = by_endpoint.iter().map(|(endpoint, counts)| StatisticsOfEndpoint {
        webhook_endpoint: *endpoint,
        numbers: counts.into(),
    });
    Ok(Json(Statistics {
        object: IsStatistics,
        livemode: tenant.livemode,
        webhook_endpoint: endpoint,
        from: begins.seconds(),
        to: to.seconds(),
        bucket_seconds: length.duration().as_secs(),
        total: (&sum(&buckets)).into(),
        data: data.collect(),
        webhook_endpoints: webhook_endpoints.collect(),
    }))
}

/// `from` and `to`: a day until now unless said otherwise, and at most as long as events are kept.
pub(in crate::http) fn range(query: &mut Query, api: &Api, now: UnixMs) -> (UnixMs, UnixMs) {
    let to = query.seconds("to").unwrap_or(now);
    let from = query.seconds("from").unwrap_or_else(|| to.minus(RANGE_DEFAULT));
    if from >= to {
        query.error("from", "must be before to");
    }
    let longest = api.config.retention.events;
    if to.since(from) > longest {
        let longest = humantime::format_duration(longest);
        query.error("from", format!("must not be more than {longest} before to"));
    }
    (from, to)
}

async fn read(
    api: &Api,
    tenant: &Tenant,
    endpoint_id: Option<EndpointId>,
    (from, to): (UnixMs, UnixMs),
    length: Length,
) -> Result<Vec<Bucket>, ApiError> {
    // What began in this millisecond belongs to it.
    let filter = StatisticsFilter { tenant: tenant.clone(), endpoint_id, from, to: UnixMs(to.0 + 1) };
    Ok(api.foundation.store.statistics(&filter, length).await?)
}

fn sum(buckets: &[Bucket]) -> Counts {
    let mut sum = Counts::default();
    for bucket in buckets {
        sum.add(&bucket.counts);
    }
    sum
}
