//! The queue: claiming due deliveries fairly, recording what came of them, and pruning what is old.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use sqlx::{QueryBuilder, Sqlite, Transaction, sqlite::SqliteQueryResult};

use super::{SqliteStore, accept::DESTINATION_COLUMNS, affected, query, query_as};
use crate::{
    clock::UnixMs,
    delivery::{AbandonedReason, AttemptResult, LeasedDelivery, Standing, Verdict},
    endpoint::Destination,
    id::{EndpointId, EventId},
    store::{
        Claimed, LeaseOffer, Recorded, Result, StoreError,
        rows::{DestinationRow, LeasedRow, candidates, read, read_number, read_optional},
        sql,
    },
};

type Write = Transaction<'static, Sqlite>;

const DELIVERIES: &str = "deliveries";

/// Endpoints served by one claim, so that the transaction stays short however many have due work.
const LANES_PER_CLAIM: usize = 256;

/// Refuses to commit where a statement touched other rows than those it was for.
fn expect_affected(result: &SqliteQueryResult, rows: usize) -> Result<()> {
    if affected(result) as usize == rows {
        return Ok(());
    }
    let id = format!("{} rows instead of {rows}", affected(result));
    Err(StoreError::Inconsistent { table: DELIVERIES, column: "id", id })
}

impl SqliteStore {
    pub(super) async fn claim_due(&self, offer: &LeaseOffer, now: UnixMs) -> Result<Claimed> {
        // Read first: where nothing is due, no write lock is taken and nothing is synced.
        let lanes = query_as!((String, i64), sql::LANES).fetch_all(&self.readers).await?;
        let mut claimed = Claimed::default();
        let mut due = Vec::new();
        for (endpoint, due_at) in lanes {
            let id: EndpointId = read(&endpoint, DELIVERIES, "webhook_endpoint_id", &endpoint)?;
            if due_at > now.0 {
                claimed.next_due_at =
                    Some(UnixMs(claimed.next_due_at.map_or(due_at, |next| next.0.min(due_at))));
            } else if offer.room.has(id) {
                due.push((endpoint, due_at));
            } else {
                claimed.left_due.push(id);
            }
        }
        if due.is_empty() {
            return Ok(claimed);
        }
        // The longest waiting first, so that no endpoint is passed over for ever.
        due.sort_unstable_by_key(|(_, due_at)| *due_at);
        for (endpoint, _) in due.drain(offer.room.total.min(LANES_PER_CLAIM).min(due.len())..) {
            claimed.left_due.push(read(&endpoint, DELIVERIES, "webhook_endpoint_id", &endpoint)?);
        }

        let mut write = self.write().await?;
        let destinations = destinations(&mut write, &due).await?;
        let mut room = offer.room.clone();
        for row in due_rows(&mut write, &due, offer, now).await? {
            let delivery = leased(row, offer, &destinations)?;
            let endpoint_id = delivery.destination.endpoint_id;
            if room.take(endpoint_id) {
                claimed.deliveries.push(delivery);
            } else if !claimed.left_due.contains(&endpoint_id) {
                claimed.left_due.push(endpoint_id);
            }
        }
        lease(&mut write, &claimed.deliveries, offer).await?;
        write.commit().await?;
        Ok(claimed)
    }

    pub(super) async fn record_attempts(
        &self,
        results: &[AttemptResult],
        now: UnixMs,
    ) -> Result<Vec<Recorded>> {
        let mut write = self.write().await?;
        let standings = standings(&mut write, results).await?;
        let mut recorded = Vec::with_capacity(results.len());
        let mut written = Vec::with_capacity(results.len());
        for result in results {
            match standings.get(&(result.delivery_id.to_string(), result.lease.to_string())) {
                Some(standing) => {
                    written.push((result, standing.after(result.window_started_at, result.verdict)));
                    recorded.push(Recorded::Written);
                }
                None => recorded.push(Recorded::LeaseLost),
            }
        }
        if written.is_empty() {
            return Ok(recorded);
        }
        update_deliveries(&mut write, &written).await?;
        insert_attempts(&mut write, &written).await?;
        for (result, _) in &written {
            if result.verdict == Verdict::Abandon(AbandonedReason::Gone) {
                let endpoint = result.endpoint_id.to_string();
                query!(sql::DISABLE_GONE_ENDPOINT, endpoint, now.0).execute(&mut *write).await?;
            }
        }
        write.commit().await?;
        Ok(recorded)
    }

    pub(super) async fn prune(&self, before: UnixMs, limit: u32) -> Result<u32> {
        let cut = EventId::lowest_at(before).to_string();
        let mut write = self.write().await?;
        let ids: Vec<(String,)> =
            query_as!((String,), sql::PRUNABLE_EVENTS, cut, limit).fetch_all(&mut *write).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        for (before, after) in [
            (
                "DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id IN (",
                "))",
            ),
            ("DELETE FROM deliveries WHERE event_id IN (", ")"),
            ("DELETE FROM events WHERE id IN (", ")"),
        ] {
            let mut delete = QueryBuilder::<Sqlite>::new(before);
            let mut list = delete.separated(", ");
            for (id,) in &ids {
                list.push_bind(id.as_str());
            }
            delete.push(after);
            delete.build().execute(&mut *write).await?;
        }
        write.commit().await?;
        Ok(u32::try_from(ids.len()).unwrap_or(limit))
    }
}

/// The due rows of these endpoints with their events; of each endpoint one more than can fit, which tells whether any
/// are left.
async fn due_rows(
    write: &mut Write,
    due: &[(String, i64)],
    offer: &LeaseOffer,
    now: UnixMs,
) -> Result<Vec<LeasedRow>> {
    let widest = offer.room.lanes.values().copied().max().unwrap_or(0).max(offer.room.fresh_lane);
    let mut pick = QueryBuilder::<Sqlite>::new("WITH lane (endpoint_id) AS (");
    pick.push_values(due, |mut row, (endpoint, _)| {
        row.push_bind(endpoint.as_str());
    });
    pick.push(
        ") SELECT d.id, d.event_id, e.type AS event_type, e.body, d.webhook_endpoint_id, d.attempt_count, \
         d.ladder_failures, d.window_started_at FROM lane CROSS JOIN deliveries d ON d.id IN \
         (SELECT x.id FROM deliveries x WHERE x.status = 'pending' AND x.webhook_endpoint_id = lane.endpoint_id \
          AND x.claimable_at <= ",
    );
    pick.push_bind(now.0).push(" ORDER BY x.claimable_at LIMIT ").push_bind(limit(widest));
    pick.push(") CROSS JOIN events e ON e.id = d.event_id LIMIT ").push_bind(limit(offer.room.total));
    Ok(pick.build_query_as().fetch_all(&mut **write).await?)
}

/// One row more than there is room for.
fn limit(room: usize) -> i64 {
    i64::try_from(room).map_or(i64::MAX, |room| room.saturating_add(1))
}

async fn lease(write: &mut Write, deliveries: &[LeasedDelivery], offer: &LeaseOffer) -> Result<()> {
    let mut lease = QueryBuilder::<Sqlite>::new("UPDATE deliveries SET lease_token = ");
    lease
        .push_bind(offer.token.to_string())
        .push(", claimable_at = ")
        .push_bind(offer.until.0)
        .push(" WHERE id IN (");
    let mut ids = lease.separated(", ");
    for delivery in deliveries {
        ids.push_bind(delivery.id.to_string());
    }
    lease.push(")");
    expect_affected(&lease.build().execute(&mut **write).await?, deliveries.len())
}

async fn destinations(
    write: &mut Write,
    due: &[(String, i64)],
) -> Result<HashMap<EndpointId, Arc<Destination>>> {
    let mut lookup = QueryBuilder::<Sqlite>::new("SELECT ");
    lookup.push(DESTINATION_COLUMNS).push(
        " FROM webhook_endpoints e CROSS JOIN signing_secrets s ON s.webhook_endpoint_id = e.id WHERE e.id IN (",
    );
    let mut ids = lookup.separated(", ");
    for (endpoint, _) in due {
        ids.push_bind(endpoint.as_str());
    }
    lookup.push(") ORDER BY e.id, s.id DESC");
    let rows: Vec<DestinationRow> = lookup.build_query_as().fetch_all(&mut **write).await?;
    let known = candidates(rows)?.into_iter().map(|candidate| candidate.destination);
    Ok(known.map(|destination| (destination.endpoint_id, Arc::new(destination))).collect())
}

fn leased(
    row: LeasedRow,
    offer: &LeaseOffer,
    destinations: &HashMap<EndpointId, Arc<Destination>>,
) -> Result<LeasedDelivery> {
    let id = row.id.as_str();
    let endpoint_id: EndpointId = read(&row.webhook_endpoint_id, DELIVERIES, "webhook_endpoint_id", id)?;
    let inconsistent =
        || StoreError::Inconsistent { table: DELIVERIES, column: "webhook_endpoint_id", id: id.to_owned() };
    Ok(LeasedDelivery {
        id: read(id, DELIVERIES, "id", id)?,
        lease: offer.token,
        leased_until: offer.until,
        event_id: read(&row.event_id, DELIVERIES, "event_id", id)?,
        event_type: read(&row.event_type, "events", "type", &row.event_id)?,
        destination: destinations.get(&endpoint_id).cloned().ok_or_else(inconsistent)?,
        attempt_count: read_number(row.attempt_count, DELIVERIES, "attempt_count", id)?,
        ladder_failures: read_number(row.ladder_failures, DELIVERIES, "ladder_failures", id)?,
        window_started_at: UnixMs(row.window_started_at),
        body: Bytes::from(row.body),
    })
}

#[derive(sqlx::FromRow)]
struct StandingRow {
    id: String,
    lease_token: Option<String>,
    status: String,
    abandoned_reason: Option<String>,
    ladder_failures: i32,
    window_started_at: i64,
    next_attempt_at: Option<i64>,
}

/// How the deliveries stand now, by id and lease.
async fn standings(
    write: &mut Write,
    results: &[AttemptResult],
) -> Result<HashMap<(String, String), Standing>> {
    let mut lookup = QueryBuilder::<Sqlite>::new(
        "SELECT id, lease_token, status, abandoned_reason, ladder_failures, window_started_at, next_attempt_at \
         FROM deliveries WHERE id IN (",
    );
    let mut ids = lookup.separated(", ");
    for result in results {
        ids.push_bind(result.delivery_id.to_string());
    }
    lookup.push(")");
    let rows: Vec<StandingRow> = lookup.build_query_as().fetch_all(&mut **write).await?;
    let mut standings = HashMap::with_capacity(rows.len());
    for row in rows {
        let Some(lease) = row.lease_token else { continue };
        let standing = Standing {
            status: read(&row.status, DELIVERIES, "status", &row.id)?,
            abandoned_reason: read_optional(
                row.abandoned_reason.as_deref(),
                DELIVERIES,
                "abandoned_reason",
                &row.id,
            )?,
            ladder_failures: read_number(row.ladder_failures, DELIVERIES, "ladder_failures", &row.id)?,
            window_started_at: UnixMs(row.window_started_at),
            next_attempt_at: row.next_attempt_at.map(UnixMs),
        };
        standings.insert((row.id, lease), standing);
    }
    Ok(standings)
}

async fn update_deliveries(write: &mut Write, written: &[(&AttemptResult, Standing)]) -> Result<()> {
    let mut update = QueryBuilder::<Sqlite>::new(
        "WITH r (id, attempt_count, ladder_failures, status, abandoned_reason, next_attempt_at) AS (",
    );
    update.push_values(written, |mut row, (result, standing)| {
        row.push_bind(result.delivery_id.to_string()).push_bind(result.attempt.number);
        row.push_bind(standing.ladder_failures).push_bind(standing.status.as_str());
        row.push_bind(standing.abandoned_reason.map(AbandonedReason::as_str));
        row.push_bind(standing.next_attempt_at.map(|at| at.0));
    });
    update.push(
        ") UPDATE deliveries SET attempt_count = r.attempt_count, ladder_failures = r.ladder_failures, \
         status = r.status, abandoned_reason = r.abandoned_reason, next_attempt_at = r.next_attempt_at, \
         claimable_at = r.next_attempt_at, lease_token = NULL FROM r WHERE deliveries.id = r.id",
    );
    expect_affected(&update.build().execute(&mut **write).await?, written.len())
}

async fn insert_attempts(write: &mut Write, written: &[(&AttemptResult, Standing)]) -> Result<()> {
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO attempts (delivery_id, number, id, started_at, duration_ms, response_status, failure_code, \
         failure_message, response_body, address) ",
    );
    insert.push_values(written, |mut row, (result, _)| {
        let attempt = &result.attempt;
        row.push_bind(result.delivery_id.to_string())
            .push_bind(attempt.number)
            .push_bind(attempt.id.to_string());
        row.push_bind(attempt.started_at.0).push_bind(attempt.duration_ms);
        row.push_bind(attempt.response_status.map(i32::from))
            .push_bind(attempt.failure_code.map(crate::transport::FailureCode::as_str));
        row.push_bind(attempt.failure_message.as_deref()).push_bind(attempt.response_body.as_deref());
        row.push_bind(attempt.address.as_deref());
    });
    insert.build().execute(&mut **write).await?;
    Ok(())
}
