//! Statements over many rows: single statements over a `VALUES` list, whose text sqlx builds from constants and
//! placeholders only. There is one writer, so nothing needs to be locked.

use std::collections::HashSet;

use serde_json::json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteQueryResult};

use super::Write;
use crate::{
    clock::UnixMs,
    delivery::AbandonedReason,
    id::{DeliveryId, LeaseToken},
    merchant::Tenant,
    store::{
        LeaseOffer, Result,
        rows::{
            Change, DeliveryValues, DestinationRow, EventValues, KeyValues, LeasedRow, RememberedRow,
            StandingRow, expect_affected, portal::CountRow,
        },
        sql::{destination_columns, portal::count_columns},
    },
};

/// Rows of one `VALUES` list: a few hundred keep a statement's text and its bound values small.
const ROWS_PER_STATEMENT: usize = 256;

const PRUNABLE_EVENTS: &str = "SELECT e.id FROM events e WHERE e.id < $1 AND NOT EXISTS \
     (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.status IN ('pending', 'held')) ORDER BY e.id LIMIT $2";

fn affected(result: &SqliteQueryResult) -> usize {
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

pub(super) async fn remembered(
    write: &mut Write,
    keyed: &[(&Tenant, &str)],
    now: UnixMs,
) -> Result<Vec<RememberedRow>> {
    let mut remembered = Vec::new();
    for keys in keyed.chunks(ROWS_PER_STATEMENT) {
        let mut lookup = QueryBuilder::<Sqlite>::new("WITH wanted (merchant_id, livemode, key) AS (");
        lookup.push_values(keys, |mut row, (tenant, key)| {
            row.push_bind(tenant.merchant_id.as_str()).push_bind(tenant.livemode).push_bind(*key);
        });
        lookup.push(
            ") SELECT k.merchant_id, k.livemode, k.key, k.fingerprint, k.event_id FROM wanted CROSS JOIN idempotency_keys k \
             ON k.merchant_id = wanted.merchant_id AND k.livemode = wanted.livemode AND k.key = wanted.key \
             WHERE k.expires_at > ",
        );
        lookup.push_bind(now.0);
        remembered.extend(lookup.build_query_as().fetch_all(&mut **write).await?);
    }
    Ok(remembered)
}

pub(super) async fn endpoints_of(write: &mut Write, tenants: &[&Tenant]) -> Result<Vec<DestinationRow>> {
    let mut endpoints = Vec::new();
    for tenants in tenants.chunks(ROWS_PER_STATEMENT) {
        let mut lookup = QueryBuilder::<Sqlite>::new("WITH tenant (merchant_id, livemode) AS (");
        lookup.push_values(tenants, |mut row, tenant| {
            row.push_bind(tenant.merchant_id.as_str()).push_bind(tenant.livemode);
        });
        lookup.push(concat!(
            ") SELECT ",
            destination_columns!(),
            " FROM tenant CROSS JOIN webhook_endpoints e ON e.merchant_id = tenant.merchant_id \
             AND e.livemode = tenant.livemode AND e.deleted_at IS NULL \
             CROSS JOIN signing_secrets s ON s.webhook_endpoint_id = e.id ORDER BY e.id, s.id DESC",
        ));
        endpoints.extend(lookup.build_query_as().fetch_all(&mut **write).await?);
    }
    Ok(endpoints)
}

/// Remembers keys; an earlier use whose time has ended is replaced. Answers how many it could.
pub(super) async fn insert_keys(
    write: &mut Write,
    keys: &[KeyValues],
    ends_at: UnixMs,
    _: UnixMs,
) -> Result<usize> {
    for keys in keys.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR REPLACE INTO idempotency_keys (merchant_id, livemode, key, fingerprint, event_id, expires_at) ",
        );
        insert.push_values(keys, |mut row, values| {
            row.push_bind(values.tenant.merchant_id.as_str()).push_bind(values.tenant.livemode);
            row.push_bind(values.key.as_str()).push_bind(values.fingerprint.to_vec());
            row.push_bind(values.event_id.to_string()).push_bind(ends_at.0);
        });
        insert.build().execute(&mut **write).await?;
    }
    Ok(keys.len())
}

/// Inserts events and their deliveries.
pub(super) async fn insert_events(
    write: &mut Write,
    events: &[EventValues],
    deliveries: &[DeliveryValues],
    now: UnixMs,
) -> Result<()> {
    for events in events.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO events (id, merchant_id, livemode, type, created_at, body, only_endpoint_id) ",
        );
        insert.push_values(events, |mut row, event| {
            row.push_bind(event.id.to_string()).push_bind(event.tenant.merchant_id.as_str());
            row.push_bind(event.tenant.livemode).push_bind(event.event_type.as_str());
            row.push_bind(event.created_at.0).push_bind(event.body.as_ref());
            row.push_bind(event.only_endpoint.map(|endpoint| endpoint.to_string()));
        });
        insert.build().execute(&mut **write).await?;
    }
    for deliveries in deliveries.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, attempt_count, \
             ladder_failures, window_started_at, next_attempt_at, claimable_at, lease_token, created_at) ",
        );
        insert.push_values(deliveries, |mut row, delivery| {
            row.push_bind(delivery.id.to_string()).push_bind(delivery.tenant.merchant_id.as_str());
            row.push_bind(delivery.tenant.livemode).push_bind(delivery.event_id.to_string());
            row.push_bind(delivery.endpoint_id.to_string()).push_bind(delivery.status());
            row.push("0, 0").push_bind(now.0).push_bind(delivery.next_attempt_at(now));
            row.push_bind(delivery.claimable_at(now)).push_bind(delivery.lease_token()).push_bind(now.0);
        });
        insert.build().execute(&mut **write).await?;
    }
    Ok(())
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
    Ok(lookup.build_query_as().fetch_all(&mut **write).await?)
}

/// Due deliveries of the endpoints in a JSON list of pairs, of each as many as its pair says and at most `$3`: a `LIMIT`
/// cannot come from a row. One text for any number of endpoints, so that it is planned once: a query for each of them,
/// with `UNION ALL` between, took longer to plan than to run. The sign before the limit keeps the planner from looking at
/// its value and planning anew for each.
const PICK: &str = "SELECT d.id, d.event_id, e.type AS event_type, e.body, d.webhook_endpoint_id, d.attempt_count, \
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
        due.extend(pick.fetch_all(&mut **write).await?);
    }
    let ids: Vec<&str> = due.iter().map(|row| row.id.as_str()).collect();
    let lease = sqlx::query(LEASE).bind(offer.token.to_string()).bind(offer.until.0).bind(json(&ids));
    let leased = affected(&lease.execute(&mut **write).await?);
    expect_affected("deliveries", leased, due.len())?;
    Ok(due)
}

/// A list as SQLite reads it.
fn json(list: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(list).expect("texts and numbers are JSON")
}

/// Fenced by the lease, so that a lease given back late frees nobody else's.
pub(super) async fn release(write: &mut Write, leases: &[(DeliveryId, LeaseToken)]) -> Result<()> {
    for leases in leases.chunks(ROWS_PER_STATEMENT) {
        let mut release = QueryBuilder::<Sqlite>::new("WITH given (id, lease) AS (");
        release.push_values(leases, |mut row, (id, lease)| {
            row.push_bind(id.to_string()).push_bind(lease.to_string());
        });
        release.push(
            ") UPDATE deliveries AS d SET lease_token = NULL, claimable_at = d.next_attempt_at FROM given \
             WHERE d.id = given.id AND d.lease_token = given.lease AND d.status = 'pending'",
        );
        release.build().execute(&mut **write).await?;
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
    Ok(lookup.build_query_as().fetch_all(&mut **write).await?)
}

/// Brings deliveries to where they stand after their attempts, and keeps those, as far as they still have their lease and
/// stand as expected. Answers which.
pub(super) async fn store_attempts(write: &mut Write, changes: &[Change<'_>]) -> Result<Vec<String>> {
    let mut update = QueryBuilder::<Sqlite>::new(
        "WITH r (id, lease, was, window_started_at, attempt_count, ladder_failures, status, abandoned_reason, \
         next_attempt_at) AS (",
    );
    update.push_values(changes, |mut row, Change { result, before, after }| {
        row.push_bind(result.delivery_id.to_string()).push_bind(result.lease.to_string());
        row.push_bind(before.status.as_str()).push_bind(before.window_started_at.0);
        row.push_bind(result.attempt.number)
            .push_bind(after.ladder_failures)
            .push_bind(after.status.as_str());
        row.push_bind(after.abandoned_reason.map(AbandonedReason::as_str));
        row.push_bind(after.next_attempt_at.map(|at| at.0));
    });
    update.push(
        ") UPDATE deliveries AS d SET attempt_count = r.attempt_count, ladder_failures = r.ladder_failures, \
         status = r.status, abandoned_reason = r.abandoned_reason, next_attempt_at = r.next_attempt_at, \
         claimable_at = r.next_attempt_at, lease_token = NULL FROM r WHERE d.id = r.id AND d.lease_token = r.lease \
         AND d.status = r.was AND d.window_started_at = r.window_started_at RETURNING id",
    );
    let written: Vec<(String,)> = update.build_query_as().fetch_all(&mut **write).await?;
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO attempts (delivery_id, number, id, started_at, duration_ms, response_status, failure_code, \
         failure_message, response_body, address) ",
    );
    let ids: HashSet<&str> = written.iter().map(|(id,)| id.as_str()).collect();
    let attempts =
        changes.iter().map(|change| (change.result.delivery_id.to_string(), &change.result.attempt));
    insert.push_values(attempts.filter(|(id, _)| ids.contains(id.as_str())), |mut row, (id, attempt)| {
        row.push_bind(id).push_bind(attempt.number).push_bind(attempt.id.to_string());
        row.push_bind(attempt.started_at.0).push_bind(attempt.duration_ms);
        row.push_bind(attempt.response_status.map(i32::from));
        row.push_bind(attempt.failure_code.map(crate::transport::FailureCode::as_str));
        row.push_bind(attempt.failure_message.as_deref()).push_bind(attempt.response_body.as_deref());
        row.push_bind(attempt.address.as_deref());
    });
    insert.build().execute(&mut **write).await?;
    Ok(written.into_iter().map(|(id,)| id).collect())
}

/// Removes events below `cut` that have no open delivery, with all that belongs to them; answers how many events.
pub(super) async fn prune(write: &mut Write, cut: &str, limit: i64) -> Result<usize> {
    let prunable = sqlx::query_as(PRUNABLE_EVENTS).bind(cut).bind(limit);
    let ids: Vec<(String,)> = prunable.fetch_all(&mut **write).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    for (before, after) in [
        ("DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id IN ", ")"),
        ("DELETE FROM deliveries WHERE event_id IN ", ""),
        ("DELETE FROM events WHERE id IN ", ""),
    ] {
        let mut delete = over_ids(before, ids.iter().map(|(id,)| id.as_str()), after);
        delete.build().execute(&mut **write).await?;
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
