//! The queue: claiming due deliveries fairly, recording what came of them, and pruning what is old.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Database, Engine, Write, batches, query, query_as, reached};
use crate::{
    clock::UnixMs,
    delivery::{AbandonedReason, AttemptResult, LeasedDelivery, Standing, Verdict},
    endpoint::Destination,
    id::{EndpointId, EventId},
    kill_point::KillPoint,
    store::{
        Claimed, LeaseOffer, Recorded, Result, StoreError,
        rows::{LeasedRow, candidates, read, read_number, read_optional},
        sql,
    },
};

const DELIVERIES: &str = "deliveries";

/// Endpoints served by one claim, so that the transaction stays short however many have due work.
const LANES_PER_CLAIM: usize = 256;

/// Refuses to commit where a statement touched other rows than those it was for.
fn expect_affected(affected: usize, rows: usize) -> Result<()> {
    if affected == rows {
        return Ok(());
    }
    let id = format!("{affected} rows instead of {rows}");
    Err(StoreError::Inconsistent { table: DELIVERIES, column: "id", id })
}

impl Engine {
    pub(super) async fn claim_due(&self, offer: &LeaseOffer, now: UnixMs) -> Result<Claimed> {
        // Read first: where nothing is due, no write lock is taken and nothing is synced.
        let lanes = query_as!((String, i64), sql::LANES).fetch_all(&mut *self.read().await?).await?;
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
        let behind = due.split_off(due.len().min(offer.room.total).min(LANES_PER_CLAIM));
        for (endpoint, _) in &behind {
            claimed.left_due.push(read(endpoint, DELIVERIES, "webhook_endpoint_id", endpoint)?);
        }
        // Of each endpoint as much as it has room for, but of all no more than twice what is taken: what long backlogs
        // leave free, short ones may fill.
        let share = (2 * offer.room.total / due.len()).max(1);
        let mut lanes = Vec::with_capacity(due.len());
        for (endpoint, _) in due {
            let id: EndpointId = read(&endpoint, DELIVERIES, "webhook_endpoint_id", &endpoint)?;
            // One row more tells whether any are left.
            let limit = offer.room.of(id).min(share) + 1;
            lanes.push((endpoint, i64::try_from(limit).unwrap_or(i64::MAX)));
        }

        let mut write = self.write().await?;
        let endpoints: Vec<&str> = lanes.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
        let known = candidates(batches::destinations(&mut write, &endpoints).await?)?;
        let destinations: HashMap<_, _> =
            known.into_iter().map(|known| (known.destination.endpoint_id, known.destination)).collect();
        // Without those that were switched off since they were looked up.
        lanes.retain(|(endpoint, _)| endpoint.parse().is_ok_and(|id| destinations.contains_key(&id)));
        if lanes.is_empty() {
            return Ok(claimed);
        }
        let mut room = offer.room.clone();
        let mut found: HashMap<String, i64> = HashMap::with_capacity(lanes.len());
        let mut left_due = BTreeSet::new();
        for row in batches::due_rows(&mut write, &lanes, now).await? {
            *found.entry(row.webhook_endpoint_id.clone()).or_default() += 1;
            let delivery = leased(row, offer, &destinations)?;
            if room.take(delivery.destination.endpoint_id) {
                claimed.deliveries.push(delivery);
            } else {
                left_due.insert(delivery.destination.endpoint_id);
            }
        }
        for (endpoint, limit) in &lanes {
            if found.get(endpoint) == Some(limit) {
                left_due.insert(read(endpoint, DELIVERIES, "webhook_endpoint_id", endpoint)?);
            }
        }
        claimed.left_due.extend(left_due);
        let ids: Vec<String> = claimed.deliveries.iter().map(|delivery| delivery.id.to_string()).collect();
        expect_affected(batches::lease(&mut write, &ids, offer).await?, ids.len())?;
        reached(KillPoint::ClaimBeforeCommit);
        write.commit().await?;
        reached(KillPoint::ClaimAfterCommit);
        Ok(claimed)
    }

    pub(super) async fn record_attempts(
        &self,
        results: &[AttemptResult],
        now: UnixMs,
    ) -> Result<Vec<Recorded>> {
        let mut write = self.write().await?;
        let gone = |result: &&AttemptResult| result.verdict == Verdict::Abandon(AbandonedReason::Gone);
        let gone: BTreeSet<_> =
            results.iter().filter(gone).map(|result| result.endpoint_id.to_string()).collect();
        batches::lock_endpoints(&mut write, &gone.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let standings = standings(&mut write, results).await?;
        let stored = stored(&mut write, results, &standings).await?;
        let mut recorded = Vec::with_capacity(results.len());
        let mut written = Vec::with_capacity(results.len());
        for result in results {
            match standings.get(&(result.delivery_id.to_string(), result.lease.to_string())) {
                Some(standing) => {
                    written.push((result, standing.after(result.window_started_at, result.verdict)));
                    recorded.push(Recorded::Written);
                }
                // A commit whose answer was lost has written it already.
                None if stored.contains(&result.attempt.id.to_string()) => recorded.push(Recorded::Written),
                None => recorded.push(Recorded::LeaseLost),
            }
        }
        if written.is_empty() {
            return Ok(recorded);
        }
        expect_affected(batches::store_attempts(&mut write, &written).await?, written.len())?;
        for (result, _) in &written {
            if result.verdict == Verdict::Abandon(AbandonedReason::Gone) {
                let endpoint = result.endpoint_id.to_string();
                query!(sql::DISABLE_GONE_ENDPOINT, endpoint, now.0).execute(&mut *write).await?;
            }
        }
        reached(KillPoint::RecordBeforeCommit);
        write.commit().await?;
        reached(KillPoint::RecordAfterCommit);
        Ok(recorded)
    }

    pub(super) async fn prune(&self, before: UnixMs, limit: u32) -> Result<u32> {
        let cut = EventId::lowest_at(before).to_string();
        let mut write = self.write().await?;
        let pruned = batches::prune(&mut write, &cut, i64::from(limit)).await?;
        write.commit().await?;
        Ok(u32::try_from(pruned).unwrap_or(limit))
    }
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

/// How the deliveries stand now, by id and lease.
async fn standings(
    write: &mut Write,
    results: &[AttemptResult],
) -> Result<HashMap<(String, String), Standing>> {
    let ids: Vec<String> = results.iter().map(|result| result.delivery_id.to_string()).collect();
    let rows = batches::standings(write, &ids).await?;
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

/// Which of the attempts whose lease is gone are stored already.
async fn stored(
    write: &mut Write,
    results: &[AttemptResult],
    standings: &HashMap<(String, String), Standing>,
) -> Result<HashSet<String>> {
    let mut stored = HashSet::new();
    for result in results {
        let (delivery, lease) = (result.delivery_id.to_string(), result.lease.to_string());
        if !standings.contains_key(&(delivery.clone(), lease)) {
            let number = i64::from(result.attempt.number);
            let id =
                query_as!((String,), sql::ATTEMPT_ID, delivery, number).fetch_optional(&mut **write).await?;
            stored.extend(id.map(|(id,)| id));
        }
    }
    Ok(stored)
}
