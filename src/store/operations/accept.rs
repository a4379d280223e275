//! Accepting events: idempotency, matching, and every row of every event in one transaction.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::{Database, Engine, Write, batches, query_as, reached};
use crate::{
    clock::UnixMs,
    delivery::LeasedDelivery,
    event::{Audience, Event, NewEvent, render},
    id::{DeliveryId, EventId},
    kill_point::KillPoint,
    merchant::Tenant,
    store::{
        Accepted, IdempotencyConflict, LeaseOffer, Result, Room, StoreError,
        rows::{Candidate, DeliveryValues, EventRow, EventValues, KeyValues, candidates, read},
        sql,
    },
};

/// An idempotency key with its scope.
pub(in crate::store) type ScopedKey = (Tenant, String);

/// What an idempotency key was used for.
#[derive(Clone, Copy)]
pub(in crate::store) struct Remembered {
    event_id: EventId,
    fingerprint: [u8; 32],
}

/// The rows of all groups, written by one statement for each table.
#[derive(Default)]
pub(in crate::store) struct Rows {
    pub(in crate::store) events: Vec<EventValues>,
    pub(in crate::store) deliveries: Vec<DeliveryValues>,
    pub(in crate::store) keys: Vec<KeyValues>,
}

/// The endpoints of tenants.
pub(in crate::store) type Endpoints = HashMap<Tenant, Arc<[Candidate]>>;

/// What became of each group.
pub(in crate::store) type Outcomes = Vec<std::result::Result<Vec<Accepted>, IdempotencyConflict>>;

impl Engine {
    pub(super) async fn accept_groups(
        &self,
        groups: &[Vec<NewEvent>],
        offer: Option<&LeaseOffer>,
        idempotency_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Outcomes> {
        let tenants = tenants(groups);
        if let Some(accepted) =
            self.accept_as_remembered(&tenants, groups, offer, idempotency_ends_at, now).await?
        {
            return Ok(accepted);
        }
        let mut write = self.write_shared().await?;
        let mut remembered = remembered(&mut write, groups, now).await?;
        let endpoints = endpoints(&mut write, &tenants).await?;
        let (rows, mut outcomes) = self.make_rows(groups, &mut remembered, &endpoints, offer, now);
        // The keys first: where another process was first with one of them, all is looked at anew.
        if batches::insert_keys(&mut write, &rows.keys, idempotency_ends_at, now).await? < rows.keys.len() {
            return Err(StoreError::Contended);
        }
        batches::insert_events(&mut write, &rows.events, &rows.deliveries, now).await?;
        for (group, outcome) in groups.iter().zip(&mut outcomes) {
            for (event, accepted) in
                group.iter().zip(outcome.iter_mut().flatten()).filter(|(_, made)| made.replayed)
            {
                let (id, tenant) = (accepted.event.id.to_string(), &event.tenant);
                let row = query_as!(EventRow, sql::EVENT, id, tenant.merchant_id.as_str(), tenant.livemode);
                accepted.event = row.fetch_one(&mut *write).await?.try_into()?;
            }
        }
        reached(KillPoint::AcceptBeforeCommit);
        write.commit().await?;
        reached(KillPoint::AcceptAfterCommit);
        self.remember(endpoints);
        Ok(outcomes)
    }

    /// Makes the rows of all groups but those in conflict, and says what becomes of each group. The keys that are used are
    /// added to those `remembered`.
    pub(in crate::store) fn make_rows(
        &self,
        groups: &[Vec<NewEvent>],
        remembered: &mut HashMap<ScopedKey, Remembered>,
        endpoints: &Endpoints,
        offer: Option<&LeaseOffer>,
        now: UnixMs,
    ) -> (Rows, Outcomes) {
        let mut room = offer.map(|offer| offer.room.clone());
        let mut rows = Rows::default();
        let mut outcomes = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some(index) = conflict(group, remembered) {
                outcomes.push(Err(IdempotencyConflict { index }));
                continue;
            }
            let mut accepted = Vec::with_capacity(group.len());
            for event in group {
                let key = event.idempotency_key.as_ref().map(|key| (event.tenant.clone(), key.clone()));
                if let Some(original) = key.as_ref().and_then(|key| remembered.get(key)) {
                    accepted.push(replay(original.event_id, event));
                    continue;
                }
                let id: EventId = self.ids.next(now);
                if let Some(key) = key {
                    let fingerprint = event.fingerprint();
                    remembered.insert(key.clone(), Remembered { event_id: id, fingerprint });
                    let (tenant, key) = key;
                    rows.keys.push(KeyValues { tenant, key, fingerprint, event_id: id });
                }
                accepted.push(self.make_deliveries(id, event, endpoints, offer, &mut room, now, &mut rows));
            }
            outcomes.push(Ok(accepted));
        }
        (rows, outcomes)
    }

    /// Renders the event and makes a delivery for each endpoint that gets it.
    #[expect(clippy::too_many_arguments, reason = "what a transaction gathers, passed on once")]
    fn make_deliveries(
        &self,
        id: EventId,
        event: &NewEvent,
        endpoints: &Endpoints,
        offer: Option<&LeaseOffer>,
        room: &mut Option<Room>,
        now: UnixMs,
        rows: &mut Rows,
    ) -> Accepted {
        let body = Bytes::from(render(id, event, now));
        let (mut leased, mut left_due, mut pending_webhooks) = (Vec::new(), Vec::new(), 0);
        for candidate in endpoints.get(&event.tenant).into_iter().flat_map(|found| found.iter()) {
            let endpoint_id = candidate.destination.endpoint_id;
            let wanted = match event.audience {
                Audience::Matching => candidate.enabled_events.matches(event.event_type),
                Audience::Only(only) => only == endpoint_id,
            };
            if !wanted {
                continue;
            }
            pending_webhooks += 1;
            let delivery_id: DeliveryId = self.ids.next(now);
            let held = !candidate.enabled;
            let lease = offer.filter(|_| !held && room.as_mut().is_some_and(|room| room.take(endpoint_id)));
            rows.deliveries.push(DeliveryValues {
                id: delivery_id,
                tenant: event.tenant.clone(),
                event_id: id,
                endpoint_id,
                held,
                lease: lease.map(|offer| (offer.token, offer.until)),
            });
            if let Some(offer) = lease {
                leased.push(LeasedDelivery {
                    id: delivery_id,
                    lease: offer.token,
                    leased_until: offer.until,
                    event_id: id,
                    event_type: event.event_type.into(),
                    body: body.clone(),
                    destination: Arc::clone(&candidate.destination),
                    attempt_count: 0,
                    ladder_failures: 0,
                    window_started_at: now,
                    trace: event.trace,
                });
            } else if !held {
                left_due.push(endpoint_id);
            }
        }
        let created_ms = event.created.map_or(now.0, |seconds| seconds.saturating_mul(1000));
        rows.events.push(EventValues {
            id,
            tenant: event.tenant.clone(),
            event_type: event.event_type.into(),
            created_at: UnixMs(created_ms),
            body: body.clone(),
            only_endpoint: event.audience.only(),
            trace: event.trace,
        });
        let (event_type, only_endpoint) = (event.event_type, event.audience.only());
        let event = Event { id, event_type, body, pending_webhooks, only_endpoint };
        Accepted { event, replayed: false, leased, left_due }
    }
}

/// The first event of the group whose key stands for other content, also for other content of the same group.
fn conflict(group: &[NewEvent], remembered: &HashMap<ScopedKey, Remembered>) -> Option<usize> {
    let mut own: HashMap<ScopedKey, [u8; 32]> = HashMap::new();
    group.iter().position(|event| {
        let Some(key) = event.idempotency_key.as_ref().map(|key| (event.tenant.clone(), key.clone())) else {
            return false;
        };
        let fingerprint = event.fingerprint();
        let known = remembered
            .get(&key)
            .map_or_else(|| *own.entry(key).or_insert(fingerprint), |entry| entry.fingerprint);
        known != fingerprint
    })
}

/// A placeholder for the original event, which is read once the new rows are written: it may be one of them.
fn replay(original: EventId, event: &NewEvent) -> Accepted {
    let event = Event {
        id: original,
        event_type: event.event_type,
        body: Bytes::new(),
        pending_webhooks: 0,
        only_endpoint: None,
    };
    Accepted { event, replayed: true, leased: Vec::new(), left_due: Vec::new() }
}

/// What the groups' idempotency keys were used for before.
async fn remembered(
    write: &mut Write,
    groups: &[Vec<NewEvent>],
    now: UnixMs,
) -> Result<HashMap<ScopedKey, Remembered>> {
    const TABLE: &str = "idempotency_keys";
    let keyed: Vec<_> = groups
        .iter()
        .flatten()
        .filter_map(|event| event.idempotency_key.as_ref().map(|key| (&event.tenant, key.as_str())))
        .collect();
    let mut remembered = HashMap::new();
    if keyed.is_empty() {
        return Ok(remembered);
    }
    for row in batches::remembered(write, &keyed, now).await? {
        let merchant_id = read(&row.merchant_id, TABLE, "merchant_id", &row.key)?;
        let tenant = Tenant { merchant_id, livemode: row.livemode };
        let inconsistent =
            |_| StoreError::Inconsistent { table: TABLE, column: "fingerprint", id: row.key.clone() };
        let entry = Remembered {
            fingerprint: row.fingerprint.try_into().map_err(inconsistent)?,
            event_id: read(&row.event_id, TABLE, "event_id", &row.key)?,
        };
        remembered.insert((tenant, row.key), entry);
    }
    Ok(remembered)
}

/// The tenants whose events these are, each once.
fn tenants(groups: &[Vec<NewEvent>]) -> Vec<&Tenant> {
    groups.iter().flatten().map(|event| &event.tenant).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The tenants' endpoints, as they are inside this transaction and stay until it ends.
async fn endpoints(write: &mut Write, tenants: &[&Tenant]) -> Result<Endpoints> {
    let mut found: HashMap<&Tenant, Vec<Candidate>> =
        tenants.iter().map(|tenant| (*tenant, Vec::new())).collect();
    for candidate in candidates(batches::endpoints_of(write, tenants).await?)? {
        if let Some(of_tenant) = found.get_mut(&candidate.tenant) {
            of_tenant.push(candidate);
        }
    }
    Ok(found.into_iter().map(|(tenant, candidates)| (tenant.clone(), candidates.into())).collect())
}
