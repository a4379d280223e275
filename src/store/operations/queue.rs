//! The queue: claiming due deliveries fairly, recording what came of them, and pruning what is old.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Database, Engine, Write, batches, failing::Followed, query, query_as, reached};
use crate::{
    clock::UnixMs,
    delivery::{AttemptResult, LeasedDelivery, Standing},
    endpoint::Destination,
    failing::FailingRules,
    id::{AttemptId, EndpointId, EventId},
    kill_point::KillPoint,
    store::{
        Claimed, LeaseOffer, Recorded, Recording, Result, StoreError,
        rows::{Change, Endpoints, LeasedRow, candidates, expect_affected, read, read_number, read_optional},
        sql,
    },
};

const DELIVERIES: &str = "deliveries";

/// Deliveries of lapsed leases that one transaction has wait again.
const LEASES_ENDED_AT_ONCE: i64 = 5_000;

/// Deliveries leased by one claim, so that the transaction stays short and processes that share a backlog take turns.
const CLAIM_MAX: usize = 512;

/// An endpoint with due work.
struct Due {
    endpoint: String,
    id: EndpointId,
    /// How many deliveries are due, as far as that is known.
    deliveries: usize,
}

/// What waits and is due, as far as one look goes.
#[derive(Default)]
struct Soonest {
    /// By endpoint: since when, and how many.
    endpoints: Vec<(String, i64, usize)>,
    /// How many in all.
    deliveries: usize,
    /// When the next becomes due, or a lease ends.
    next_at: Option<UnixMs>,
}

/// What came of outcomes that were weighed against what had happened.
#[derive(Default)]
struct Disturbed {
    /// Those that are stored, now or before.
    written: HashSet<AttemptId>,
    /// Of these, those that did not end their delivery although they would have.
    overtaken: HashSet<AttemptId>,
    /// What followed for their endpoints.
    followed: Followed,
}

impl Engine {
    pub(super) async fn claim_due(
        &self,
        offer: &LeaseOffer,
        after: Option<EndpointId>,
        now: UnixMs,
    ) -> Result<Claimed> {
        let mut claimed = Claimed::default();
        // Read first: where nothing is due, no write lock is taken and nothing is synced.
        let due = self.look(offer, after, now, &mut claimed).await?;
        let mut shares = shares(due, offer, &mut claimed.left_due);
        if shares.is_empty() {
            return Ok(claimed);
        }
        let mut write = self.write().await?;
        let endpoints: Vec<&str> = shares.iter().map(|(due, _)| due.endpoint.as_str()).collect();
        let known = candidates(batches::destinations(&mut write, &endpoints).await?)?;
        let destinations: HashMap<_, _> =
            known.into_iter().map(|known| (known.destination.endpoint_id, known.destination)).collect();
        // Without those that are off.
        shares.retain(|(due, _)| destinations.contains_key(&due.id));
        if shares.is_empty() {
            return Ok(claimed);
        }
        let lanes: Vec<_> = shares
            .iter()
            .map(|(due, share)| (due.endpoint.clone(), i64::try_from(*share).unwrap_or(i64::MAX)))
            .collect();
        let mut found: HashMap<EndpointId, usize> = HashMap::with_capacity(lanes.len());
        for row in batches::lease_due(&mut write, &lanes, offer, now).await? {
            let delivery = leased(row, offer, &destinations)?;
            *found.entry(delivery.destination.endpoint_id).or_default() += 1;
            claimed.deliveries.push(delivery);
        }
        let left =
            shares.iter().filter(|(due, share)| found.get(&due.id) == Some(share) && due.deliveries > *share);
        claimed.left_due.extend(left.map(|(due, _)| due.id));
        reached(KillPoint::ClaimBeforeCommit);
        write.commit().await?;
        reached(KillPoint::ClaimAfterCommit);
        Ok(claimed)
    }

    /// Endpoints with due work that there is room for. Where little is due, all of it is seen in the order of time.
    /// Where more is, perhaps of one endpoint, endpoints are looked at in turn: from `after` on, until some are found.
    async fn look(
        &self,
        offer: &LeaseOffer,
        after: Option<EndpointId>,
        now: UnixMs,
        claimed: &mut Claimed,
    ) -> Result<Vec<Due>> {
        let mut soonest = self.soonest(now).await?;
        while soonest.next_at.is_some_and(|at| at <= now) {
            // A lease has ended: its delivery waits again.
            self.change(|| query!(sql::END_LEASES, now.0, LEASES_ENDED_AT_ONCE)).await?;
            soonest = self.soonest(now).await?;
        }
        claimed.next_due_at = soonest.next_at;
        if soonest.deliveries < sql::LOOK {
            // The longest waiting first, so that no endpoint is passed over for ever.
            soonest.endpoints.sort_unstable_by_key(|(_, due_at, _)| *due_at);
            let seen = soonest.endpoints.into_iter().map(|(endpoint, _, deliveries)| (endpoint, deliveries));
            return with_room(seen, offer, &mut claimed.left_due);
        }
        let start = after.map_or_else(String::new, |id| id.to_string());
        let (mut from, mut wrapped) = (start.clone(), start.is_empty());
        loop {
            let lanes = query_as!((String, i64), sql::LANES, from.as_str());
            let lanes = lanes.fetch_all(&mut *self.read().await?).await?;
            let last =
                lanes.last().filter(|_| lanes.len() == sql::LOOK).map(|(endpoint, _)| endpoint.clone());
            let due = lanes.into_iter().filter(|(_, due_at)| *due_at <= now.0);
            let due =
                with_room(due.map(|(endpoint, _)| (endpoint, usize::MAX)), offer, &mut claimed.left_due)?;
            from = match last {
                Some(last) if !wrapped || start.is_empty() || last < start => last,
                None if !wrapped => {
                    wrapped = true;
                    String::new()
                }
                // All have been looked at.
                _ => return Ok(due),
            };
            if !due.is_empty() {
                (claimed.looked_up_to, claimed.unseen) = (from.parse().ok(), true);
                return Ok(due);
            }
        }
    }

    async fn soonest(&self, now: UnixMs) -> Result<Soonest> {
        let rows = query_as!((Option<String>, Option<i64>, i64), sql::DUE, now.0);
        let mut soonest = Soonest::default();
        for (endpoint, at, deliveries) in rows.fetch_all(&mut *self.read().await?).await? {
            match (endpoint, at) {
                (Some(endpoint), Some(due_at)) => {
                    let deliveries = usize::try_from(deliveries).unwrap_or_default();
                    soonest.deliveries += deliveries;
                    soonest.endpoints.push((endpoint, due_at, deliveries));
                }
                (_, Some(at)) => {
                    soonest.next_at = Some(soonest.next_at.map_or(UnixMs(at), |next| next.min(UnixMs(at))));
                }
                (_, None) => {}
            }
        }
        Ok(soonest)
    }

    pub(super) async fn record_attempts(
        &self,
        results: &[AttemptResult],
        rules: FailingRules,
        now: UnixMs,
    ) -> Result<Recording> {
        let mut written = self.record_undisturbed(results).await?;
        let (beside, rest): (Vec<_>, Vec<_>) =
            results.iter().partition(|result| written.contains(&result.attempt.id));
        let mut disturbed = Disturbed::default();
        if !rest.is_empty() {
            disturbed = self.record_disturbed(&rest, &beside, rules, now).await?;
            written.extend(&disturbed.written);
        }
        let Disturbed { overtaken, followed, .. } = disturbed;
        let recorded = |result: &AttemptResult| match result.attempt.id {
            id if !written.contains(&id) => Recorded::LeaseLost,
            id if overtaken.contains(&id) => Recorded::Overtaken,
            _ => Recorded::Written,
        };
        let outcomes = results.iter().map(recorded).collect();
        Ok(Recording { outcomes, disabled: followed.disabled, told: followed.told })
    }

    /// Records attempts whose deliveries nobody has touched since they were leased, which is nearly all, without reading
    /// first. Answers which. Those that change how their endpoint stands are not among them.
    async fn record_undisturbed(&self, results: &[AttemptResult]) -> Result<HashSet<AttemptId>> {
        let plain = results.iter().filter(|result| !result.disables_endpoint());
        let changes: Vec<_> = plain.map(|result| Change::of(result, result.leased_as)).collect();
        if changes.is_empty() {
            return Ok(HashSet::new());
        }
        let mut write = self.write_once().await?;
        let written = batches::store_attempts(&mut write, &changes, Endpoints::StayAsTheyStand).await?;
        reached(KillPoint::RecordBeforeCommit);
        write.commit().await?;
        reached(KillPoint::RecordAfterCommit);
        Ok(attempts_of(&changes, &written))
    }

    /// Records attempts, weighing each against what has happened to its delivery meanwhile, and what follows for their
    /// endpoints, for which those count too that were recorded just `beside`.
    async fn record_disturbed(
        &self,
        results: &[&AttemptResult],
        beside: &[&AttemptResult],
        rules: FailingRules,
        now: UnixMs,
    ) -> Result<Disturbed> {
        let mut write = self.write().await?;
        let failing = self.lock_to_follow(&mut write, results, rules).await?;
        let standings = standings(&mut write, results).await?;
        let mut changes = Vec::with_capacity(results.len());
        let mut disturbed = Disturbed::default();
        for result in results {
            let key = (result.delivery_id.to_string(), result.lease.to_string());
            if let Some(standing) = standings.get(&key) {
                changes.push(Change::of(result, *standing));
                continue;
            }
            // A commit whose answer was lost may have written it already.
            let number = i64::from(result.attempt.number);
            let stored: Option<(String,)> =
                query_as!((String,), sql::ATTEMPT_ID, key.0, number).fetch_optional(&mut *write).await?;
            if stored.is_some_and(|(id,)| id == result.attempt.id.to_string()) {
                disturbed.written.insert(result.attempt.id);
            }
        }
        if changes.is_empty() {
            return Ok(disturbed);
        }
        let written = batches::store_attempts(&mut write, &changes, Endpoints::Follow).await?;
        expect_affected(DELIVERIES, written.len(), changes.len())?;
        let changed: Vec<_> = changes.iter().map(|change| change.result).collect();
        disturbed.followed = self.follow(&mut write, &changed, beside, &failing, rules, now).await?;
        reached(KillPoint::RecordBeforeCommit);
        write.commit().await?;
        reached(KillPoint::RecordAfterCommit);
        disturbed.written.extend(attempts_of(&changes, &written));
        let overtaken = changes.iter().filter(|change| change.is_overtaken());
        disturbed.overtaken = overtaken.map(|change| change.result.attempt.id).collect();
        Ok(disturbed)
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
        trace: read_optional(row.traceparent.as_deref(), "events", "traceparent", &row.event_id)?,
        body: Bytes::from(row.body),
    })
}

/// Of endpoints with so many due deliveries, those that there is room for; the others are left.
fn with_room(
    endpoints: impl Iterator<Item = (String, usize)>,
    offer: &LeaseOffer,
    left_due: &mut Vec<EndpointId>,
) -> Result<Vec<Due>> {
    let mut due = Vec::new();
    for (endpoint, deliveries) in endpoints {
        let id: EndpointId = read(&endpoint, DELIVERIES, "webhook_endpoint_id", &endpoint)?;
        if offer.room.of(id) > 0 {
            due.push(Due { endpoint, id, deliveries });
        } else {
            left_due.push(id);
        }
    }
    Ok(due)
}

/// How many of each endpoint to lease: an equal share of what a claim takes, and what one endpoint leaves of its share
/// goes to the others. Endpoints for which nothing remains are left.
fn shares(mut due: Vec<Due>, offer: &LeaseOffer, left_due: &mut Vec<EndpointId>) -> Vec<(Due, usize)> {
    let mut remaining = offer.room.total().min(CLAIM_MAX);
    let behind = due.split_off(due.len().min(remaining));
    left_due.extend(behind.iter().map(|due| due.id));
    let mut wants = Vec::with_capacity(due.len());
    for due in due {
        match offer.room.of(due.id).min(due.deliveries) {
            0 => left_due.push(due.id),
            want => wants.push((due, want)),
        }
    }
    wants.sort_unstable_by_key(|(_, want)| *want);
    let mut endpoints = wants.len();
    for (_, want) in &mut wants {
        *want = (*want).min(remaining / endpoints);
        remaining -= *want;
        endpoints -= 1;
    }
    wants
}

/// The attempts of these deliveries.
fn attempts_of(changes: &[Change<'_>], deliveries: &[String]) -> HashSet<AttemptId> {
    let deliveries: HashSet<&str> = deliveries.iter().map(String::as_str).collect();
    changes
        .iter()
        .filter(|change| deliveries.contains(change.result.delivery_id.to_string().as_str()))
        .map(|change| change.result.attempt.id)
        .collect()
}

/// How the deliveries stand now, by id and lease.
async fn standings(
    write: &mut Write,
    results: &[&AttemptResult],
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
