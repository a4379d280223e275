//! Statements over many rows. There is one writer, so nothing needs to be locked.
//!
//! Those that insert and update many rows do so `OR FAIL`: a row that cannot be written then ends the statement where it is
//! and the write with it, and SQLite need not keep a copy of every page in order to take back the statement alone. 256
//! deliveries to as many endpoints take SQLite alone 3.1 ms of CPU so, and took 6.6. Where a savepoint is open it keeps
//! copies all the same, once for all statements behind it.

use std::sync::LazyLock;

use serde_json::json;
use sqlx::{
    QueryBuilder, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteQueryResult},
};

pub(super) use super::attempts::store_attempts;
use super::{
    Write,
    values::{OverRows, ROWS_MAX, room},
};
use crate::{
    clock::UnixMs,
    id::{DeliveryId, LeaseToken},
    merchant::Tenant,
    store::{
        LeaseOffer, Result,
        rows::{
            DeliveryValues, DestinationRow, EventValues, FailingRow, KeyValues, KnownEventRow, LeasedRow,
            RememberedRow, StandingRow, expect_affected, portal::CountRow,
        },
        sql::{destination_columns, health::failing_columns, portal::count_columns},
    },
};

const PRUNABLE_EVENTS: &str = "SELECT e.id FROM events e WHERE e.id < $1 AND NOT EXISTS \
     (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.status IN ('pending', 'held')) ORDER BY e.id LIMIT $2";

pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

pub(super) fn affected(result: &SqliteQueryResult) -> usize {
    usize::try_from(result.rows_affected()).unwrap_or(usize::MAX)
}

/// `before (…, …) after`, with a placeholder for each id.
fn over_ids<'a>(before: &str, ids: impl IntoIterator<Item = &'a str>, after: &str) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(before);
    query.push("(");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.to_owned());
    }
    query.push(")").push(after);
    query
}

#[expect(clippy::unused_async, reason = "the other engine asks its server")]
pub(super) async fn lock_tenant(_: &mut Write, _: &Tenant) -> Result<()> {
    Ok(())
}

#[expect(clippy::unused_async, reason = "the other engine asks its server")]
pub(super) async fn lock_endpoints(_: &mut Write, _: &[&str]) -> Result<()> {
    Ok(())
}

/// Whether the event is there.
pub(super) async fn keep_event(write: &mut Write, id: &str) -> Result<bool> {
    let found: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM events WHERE id = $1").bind(id).fetch_optional(&mut **write).await?;
    Ok(found.is_some())
}

static REMEMBERED: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        "SELECT k.merchant_id, k.livemode, k.key, k.fingerprint, k.event_id FROM",
        4,
        "AS wanted CROSS JOIN idempotency_keys k ON k.merchant_id = wanted.column1 AND k.livemode = wanted.column2 \
         AND k.key = wanted.column3 AND k.expires_at > wanted.column4",
    )
});

pub(super) async fn remembered(
    write: &mut Write,
    keyed: &[(&Tenant, &str)],
    now: UnixMs,
) -> Result<Vec<RememberedRow>> {
    let mut remembered = Vec::new();
    for keys in keyed.chunks(ROWS_MAX) {
        let mut lookup = sqlx::query_as(REMEMBERED.text(keys.len()));
        for (tenant, key) in keys {
            lookup = lookup.bind(tenant.merchant_id.as_str()).bind(tenant.livemode).bind(*key).bind(now.0);
        }
        remembered.extend(write.fetch_all(lookup).await?);
    }
    Ok(remembered)
}

static ENDPOINTS_OF: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        concat!("SELECT ", destination_columns!(), " FROM"),
        2,
        "AS tenant CROSS JOIN webhook_endpoints e ON e.merchant_id = tenant.column1 AND e.livemode = tenant.column2 \
         AND e.deleted_at IS NULL CROSS JOIN signing_secrets s ON s.webhook_endpoint_id = e.id ORDER BY e.id, s.id DESC",
    )
});

pub(super) async fn endpoints_of(write: &mut Write, tenants: &[&Tenant]) -> Result<Vec<DestinationRow>> {
    let mut endpoints = Vec::new();
    for tenants in tenants.chunks(ROWS_MAX) {
        let mut lookup = sqlx::query_as(ENDPOINTS_OF.text(tenants.len()));
        for tenant in tenants {
            lookup = lookup.bind(tenant.merchant_id.as_str()).bind(tenant.livemode);
        }
        endpoints.extend(write.fetch_all(lookup).await?);
    }
    Ok(endpoints)
}

static INSERT_KEYS: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        "INSERT OR REPLACE INTO idempotency_keys (merchant_id, livemode, key, fingerprint, event_id, expires_at) \
         SELECT * FROM",
        6,
        "WHERE column1 IS NOT NULL",
    )
});

/// Remembers keys; an earlier use whose time has ended is replaced. Answers how many it could.
pub(super) async fn insert_keys(
    write: &mut Write,
    keys: &[KeyValues],
    ends_at: UnixMs,
    _: UnixMs,
) -> Result<usize> {
    for keys in keys.chunks(ROWS_MAX) {
        let mut insert = sqlx::query(INSERT_KEYS.text(keys.len()));
        for values in keys {
            insert = insert.bind(values.tenant.merchant_id.as_str()).bind(values.tenant.livemode);
            insert = insert.bind(values.key.as_str()).bind(values.fingerprint.to_vec());
            insert = insert.bind(values.event_id.to_string()).bind(ends_at.0);
        }
        write.execute(insert).await?;
    }
    Ok(keys.len())
}

const EVENT_COLUMNS: usize = 8;
static INSERT_EVENTS: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        "INSERT OR FAIL INTO events (id, merchant_id, livemode, type, created_at, body, only_endpoint_id, \
           traceparent) SELECT * FROM",
        EVENT_COLUMNS,
        "WHERE column1 IS NOT NULL",
    )
});
static INSERT_DELIVERIES: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        "INSERT OR FAIL INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, \
           next_attempt_at, claimable_at, lease_token, created_at, window_started_at, attempt_count, ladder_failures) \
         SELECT *, column10, 0, 0 FROM",
        10,
        "WHERE column1 IS NOT NULL",
    )
});

static INSERT_BOTH: LazyLock<OverRows> =
    LazyLock::new(|| OverRows::both("", &INSERT_EVENTS, &INSERT_DELIVERIES));

/// Inserts events and their deliveries.
pub(super) async fn insert_events(
    write: &mut Write,
    events: &[EventValues],
    deliveries: &[DeliveryValues],
    now: UnixMs,
) -> Result<()> {
    // As it is where each event goes to one endpoint.
    if events.len() <= ROWS_MAX && room(events.len()) == room(deliveries.len()) && !events.is_empty() {
        let insert = bind_events(sqlx::query(INSERT_BOTH.text(events.len())), events);
        let insert = bind_nulls(insert, (room(events.len()) - events.len()) * EVENT_COLUMNS);
        let [_, _] = write.execute_all(bind_deliveries(insert, deliveries, now)).await?;
        return Ok(());
    }
    for events in events.chunks(ROWS_MAX) {
        write.execute(bind_events(sqlx::query(INSERT_EVENTS.text(events.len())), events)).await?;
    }
    for deliveries in deliveries.chunks(ROWS_MAX) {
        let insert = sqlx::query(INSERT_DELIVERIES.text(deliveries.len()));
        write.execute(bind_deliveries(insert, deliveries, now)).await?;
    }
    Ok(())
}

/// Binds so many nothings: what rows that are not there leave in a list that others follow.
pub(super) fn bind_nulls(statement: Statement, count: usize) -> Statement {
    (0..count).fold(statement, |statement, _| statement.bind(None::<i64>))
}

fn bind_events(mut insert: Statement, events: &[EventValues]) -> Statement {
    for event in events {
        insert = insert.bind(event.id.to_string()).bind(event.tenant.merchant_id.as_str());
        insert = insert.bind(event.tenant.livemode).bind(event.event_type.as_str());
        insert = insert.bind(event.created_at.0).bind(event.body.as_ref());
        insert = insert.bind(event.only_endpoint.map(|endpoint| endpoint.to_string()));
        insert = insert.bind(event.trace.map(|trace| trace.to_string()));
    }
    insert
}

fn bind_deliveries(mut insert: Statement, deliveries: &[DeliveryValues], now: UnixMs) -> Statement {
    for delivery in deliveries {
        insert = insert.bind(delivery.id.to_string()).bind(delivery.tenant.merchant_id.as_str());
        insert = insert.bind(delivery.tenant.livemode).bind(delivery.event_id.to_string());
        insert = insert.bind(delivery.endpoint_id.to_string()).bind(delivery.status());
        insert = insert.bind(delivery.next_attempt_at(now)).bind(delivery.claimable_at(now));
        insert = insert.bind(delivery.lease_token()).bind(now.0);
    }
    insert
}

/// Those of the ids that are events of the tenant's.
pub(super) async fn events_among(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    ids: &[String],
) -> Result<Vec<KnownEventRow>> {
    let known = sqlx::query_as(
        "SELECT e.id, e.type AS event_type, e.created_at, e.only_endpoint_id \
         FROM json_each($1) AS given CROSS JOIN events e ON e.id = given.value \
         WHERE e.merchant_id = $2 AND e.livemode = $3",
    );
    let known = known.bind(json(ids)).bind(tenant.merchant_id.as_str()).bind(tenant.livemode);
    Ok(known.fetch_all(connection).await?)
}

/// An endpoint's status, and when it was deleted.
pub(super) async fn endpoint_state(write: &mut Write, id: &str) -> Result<Option<(String, Option<i64>)>> {
    Ok(sqlx::query_as("SELECT status, deleted_at FROM webhook_endpoints WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut **write)
        .await?)
}

/// Where to send for these endpoints, as far as they are on.
pub(super) async fn destinations(write: &mut Write, endpoints: &[&str]) -> Result<Vec<DestinationRow>> {
    let before = concat!(
        "SELECT ",
        destination_columns!(),
        " FROM webhook_endpoints e CROSS JOIN signing_secrets s ON s.webhook_endpoint_id = e.id \
         WHERE e.status = 'enabled' AND e.deleted_at IS NULL AND e.id IN "
    );
    let mut lookup = over_ids(before, endpoints.iter().copied(), " ORDER BY e.id, s.id DESC");
    Ok(write.fetch_all(lookup.build_query_as()).await?)
}

/// Due deliveries of the endpoints in a JSON list of pairs, of each as many as its pair says and at most `$3`: a `LIMIT`
/// cannot come from a row. One text for any number of endpoints, so that it is planned once: a query for each of them,
/// with `UNION ALL` between, took longer to plan than to run. The sign before the limit keeps the planner from looking at
/// its value and planning anew for each.
const PICK: &str = "SELECT d.id, d.event_id, e.type AS event_type, e.body, e.traceparent, d.webhook_endpoint_id, d.attempt_count, \
       d.ladder_failures, d.window_started_at \
     FROM json_each($1) AS lane CROSS JOIN json_each(( \
       SELECT json_group_array(due.id) FROM ( \
         SELECT x.id FROM deliveries x WHERE x.status = 'pending' AND x.lease_token IS NULL \
           AND x.webhook_endpoint_id = lane.value ->> 0 AND x.claimable_at <= $2 \
         ORDER BY x.claimable_at LIMIT +$3) AS due)) AS picked \
     CROSS JOIN deliveries d ON d.id = picked.value CROSS JOIN events e ON e.id = d.event_id \
     WHERE picked.key < lane.value ->> 1";
const LEASE: &str = "UPDATE deliveries SET lease_token = $1, claimable_at = $2 \
     WHERE id IN (SELECT value FROM json_each($3))";

/// Leases due deliveries of these endpoints, of each as many as its number says, the smallest numbers first.
pub(super) async fn lease_due(
    write: &mut Write,
    lanes: &[(String, i64)],
    offer: &LeaseOffer,
    now: UnixMs,
) -> Result<Vec<LeasedRow>> {
    let mut due: Vec<LeasedRow> = Vec::new();
    // Together those whose numbers are alike: of each as many are looked at as of the one with most.
    for alike in lanes.chunk_by(|(_, one), (_, next)| one.ilog2() == next.ilog2()) {
        let most = alike.iter().map(|(_, number)| *number).max();
        let pick = sqlx::query_as(PICK).bind(json(alike)).bind(now.0).bind(most);
        due.extend(write.fetch_all(pick).await?);
    }
    let ids: Vec<&str> = due.iter().map(|row| row.id.as_str()).collect();
    let lease = sqlx::query(LEASE).bind(offer.token.to_string()).bind(offer.until.0).bind(json(&ids));
    let leased = affected(&write.execute(lease).await?);
    expect_affected("deliveries", leased, due.len())?;
    Ok(due)
}

/// A list as SQLite reads it.
fn json(list: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(list).expect("texts and numbers are JSON")
}

static RELEASE: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        "UPDATE deliveries AS d SET lease_token = NULL, claimable_at = d.next_attempt_at FROM",
        2,
        "AS given WHERE d.id = given.column1 AND d.lease_token = given.column2 AND d.status = 'pending'",
    )
});

/// Fenced by the lease, so that a lease given back late frees nobody else's.
pub(super) async fn release(write: &mut Write, leases: &[(DeliveryId, LeaseToken)]) -> Result<()> {
    for leases in leases.chunks(ROWS_MAX) {
        let mut release = sqlx::query(RELEASE.text(leases.len()));
        for (id, lease) in leases {
            release = release.bind(id.to_string()).bind(lease.to_string());
        }
        write.execute(release).await?;
    }
    Ok(())
}

pub(super) async fn standings(write: &mut Write, ids: &[String]) -> Result<Vec<StandingRow>> {
    let mut lookup = over_ids(
        "SELECT id, lease_token, status, abandoned_reason, ladder_failures, window_started_at, next_attempt_at \
         FROM deliveries WHERE id IN ",
        ids.iter().map(String::as_str),
        "",
    );
    Ok(write.fetch_all(lookup.build_query_as()).await?)
}

/// How these endpoints fail, as far as they do.
pub(super) async fn lock_failing(write: &mut Write, endpoints: &[&str]) -> Result<Vec<FailingRow>> {
    let before =
        concat!("SELECT ", failing_columns!(), " FROM failing_endpoints WHERE webhook_endpoint_id IN ");
    let mut lookup = over_ids(before, endpoints.iter().copied(), "");
    Ok(write.fetch_all(lookup.build_query_as()).await?)
}

/// Removes events below `cut` that have no open delivery, with all that belongs to them; answers how many events.
pub(super) async fn prune(write: &mut Write, cut: &str, limit: i64) -> Result<usize> {
    let prunable = sqlx::query_as(PRUNABLE_EVENTS).bind(cut).bind(limit);
    let ids: Vec<(String,)> = write.fetch_all(prunable).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    for (before, after) in [
        ("DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id IN ", ")"),
        ("DELETE FROM deliveries WHERE event_id IN ", ""),
        ("DELETE FROM events WHERE id IN ", ""),
    ] {
        let mut delete = over_ids(before, ids.iter().map(|(id,)| id.as_str()), after);
        write.execute(delete.build()).await?;
    }
    Ok(ids.len())
}

/// How the deliveries of these events stand.
pub(super) async fn counts_of_events(
    connection: &mut SqliteConnection,
    events: &[String],
) -> Result<Vec<CountRow>> {
    let counts = concat!(
        "SELECT ",
        count_columns!(),
        " FROM json_each($1) AS wanted CROSS JOIN deliveries d ON d.event_id = wanted.value GROUP BY d.event_id, d.status, attempted"
    );
    Ok(sqlx::query_as(counts).bind(json!(events).to_string()).fetch_all(connection).await?)
}
