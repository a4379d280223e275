//! Accepting events: idempotency, matching, and every row of every event in one transaction.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{SqliteStore, query_as};
use crate::{
    clock::UnixMs,
    delivery::LeasedDelivery,
    endpoint::Destination,
    event::{Audience, Event, NewEvent, render},
    id::{DeliveryId, EndpointId, EventId},
    merchant::Tenant,
    store::{
        Accepted, IdempotencyConflict, LeaseOffer, Result, Room, StoreError,
        rows::{Candidate, DestinationRow, EventRow, candidates, read},
        sql,
    },
};

type Write = Transaction<'static, Sqlite>;

/// An idempotency key with its scope.
type ScopedKey = (Tenant, String);

/// What an idempotency key was used for.
#[derive(Clone, Copy)]
struct Remembered {
    event_id: EventId,
    fingerprint: [u8; 32],
}

/// Columns of a delivery to insert.
struct DeliveryValues {
    id: DeliveryId,
    tenant: Tenant,
    event_id: EventId,
    endpoint_id: EndpointId,
    held: bool,
    leased: bool,
}

/// The rows of all groups, written by one statement for each table.
#[derive(Default)]
struct Rows {
    events: Vec<(EventId, Tenant, &'static str, i64, Bytes)>,
    deliveries: Vec<DeliveryValues>,
    keys: Vec<(ScopedKey, Remembered)>,
}

/// Rows of one `VALUES` list: a few hundred keep a statement's text and its bound values small.
const ROWS_PER_STATEMENT: usize = 256;

impl SqliteStore {
    pub(super) async fn accept_groups(
        &self,
        groups: &[Vec<NewEvent>],
        offer: Option<&LeaseOffer>,
        idempotency_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Vec<std::result::Result<Vec<Accepted>, IdempotencyConflict>>> {
        let mut write = self.write().await?;
        let mut remembered = remembered(&mut write, groups, now).await?;
        let endpoints = endpoints(&mut write, groups).await?;
        let mut room = offer.map(|offer| offer.room.clone());
        let mut rows = Rows::default();
        let mut outcomes = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some(index) = conflict(group, &remembered) {
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
                    let entry = Remembered { event_id: id, fingerprint: event.fingerprint() };
                    remembered.insert(key.clone(), entry);
                    rows.keys.push((key, entry));
                }
                accepted.push(self.make_deliveries(id, event, &endpoints, offer, &mut room, now, &mut rows));
            }
            outcomes.push(Ok(accepted));
        }
        insert(&mut write, &rows, offer, idempotency_ends_at, now).await?;
        for (group, outcome) in groups.iter().zip(&mut outcomes) {
            for (event, accepted) in
                group.iter().zip(outcome.iter_mut().flatten()).filter(|(_, made)| made.replayed)
            {
                let (id, tenant) = (accepted.event.id.to_string(), &event.tenant);
                let row = query_as!(EventRow, sql::EVENT, id, tenant.merchant_id.as_str(), tenant.livemode);
                accepted.event = row.fetch_one(&mut *write).await?.try_into()?;
            }
        }
        write.commit().await?;
        Ok(outcomes)
    }

    /// Renders the event and makes a delivery for each endpoint that gets it.
    #[expect(clippy::too_many_arguments, reason = "what a transaction gathers, passed on once")]
    fn make_deliveries(
        &self,
        id: EventId,
        event: &NewEvent,
        endpoints: &HashMap<Tenant, Vec<(Candidate, Arc<Destination>)>>,
        offer: Option<&LeaseOffer>,
        room: &mut Option<Room>,
        now: UnixMs,
        rows: &mut Rows,
    ) -> Accepted {
        let body = Bytes::from(render(id, event, now));
        let (mut leased, mut left_due, mut pending_webhooks) = (Vec::new(), Vec::new(), 0);
        for (candidate, destination) in endpoints.get(&event.tenant).into_iter().flatten() {
            let endpoint_id = destination.endpoint_id;
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
                leased: lease.is_some(),
            });
            if let Some(offer) = lease {
                leased.push(LeasedDelivery {
                    id: delivery_id,
                    lease: offer.token,
                    leased_until: offer.until,
                    event_id: id,
                    event_type: event.event_type,
                    body: body.clone(),
                    destination: Arc::clone(destination),
                    attempt_count: 0,
                    ladder_failures: 0,
                    window_started_at: now,
                });
            } else if !held {
                left_due.push(endpoint_id);
            }
        }
        let created_ms = event.created.map_or(now.0, |seconds| seconds.saturating_mul(1000));
        rows.events.push((id, event.tenant.clone(), event.event_type.as_str(), created_ms, body.clone()));
        let event = Event { id, event_type: event.event_type, body, pending_webhooks };
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
    let event = Event { id: original, event_type: event.event_type, body: Bytes::new(), pending_webhooks: 0 };
    Accepted { event, replayed: true, leased: Vec::new(), left_due: Vec::new() }
}

async fn remembered(
    write: &mut Write,
    groups: &[Vec<NewEvent>],
    now: UnixMs,
) -> Result<HashMap<ScopedKey, Remembered>> {
    let keyed: Vec<_> = groups
        .iter()
        .flatten()
        .filter_map(|event| event.idempotency_key.as_ref().map(|key| (&event.tenant, key.as_str())))
        .collect();
    let mut remembered = HashMap::new();
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
        let rows: Vec<(String, bool, String, Vec<u8>, String)> =
            lookup.build_query_as().fetch_all(&mut **write).await?;
        for (merchant, livemode, key, fingerprint, event_id) in rows {
            const TABLE: &str = "idempotency_keys";
            let tenant = Tenant { merchant_id: read(&merchant, TABLE, "merchant_id", &key)?, livemode };
            let inconsistent =
                |_| StoreError::Inconsistent { table: TABLE, column: "fingerprint", id: key.clone() };
            let entry = Remembered {
                fingerprint: fingerprint.try_into().map_err(inconsistent)?,
                event_id: read(&event_id, TABLE, "event_id", &key)?,
            };
            remembered.insert((tenant, key), entry);
        }
    }
    Ok(remembered)
}

/// The endpoints of every tenant concerned, as they are inside this transaction.
async fn endpoints(
    write: &mut Write,
    groups: &[Vec<NewEvent>],
) -> Result<HashMap<Tenant, Vec<(Candidate, Arc<Destination>)>>> {
    let tenants: Vec<&Tenant> =
        groups.iter().flatten().map(|event| &event.tenant).collect::<BTreeSet<_>>().into_iter().collect();
    let mut endpoints: HashMap<Tenant, Vec<(Candidate, Arc<Destination>)>> = HashMap::new();
    for tenants in tenants.chunks(ROWS_PER_STATEMENT) {
        let mut lookup = QueryBuilder::<Sqlite>::new("WITH tenant (merchant_id, livemode) AS (");
        lookup.push_values(tenants, |mut row, tenant| {
            row.push_bind(tenant.merchant_id.as_str()).push_bind(tenant.livemode);
        });
        lookup.push(") SELECT ").push(DESTINATION_COLUMNS).push(
            " FROM tenant CROSS JOIN webhook_endpoints e ON e.merchant_id = tenant.merchant_id \
             AND e.livemode = tenant.livemode AND e.deleted_at IS NULL \
             CROSS JOIN signing_secrets s ON s.webhook_endpoint_id = e.id ORDER BY e.id, s.id DESC",
        );
        let rows: Vec<DestinationRow> = lookup.build_query_as().fetch_all(&mut **write).await?;
        for candidate in candidates(rows)? {
            let destination = Arc::new(candidate.destination.clone());
            endpoints.entry(candidate.tenant.clone()).or_default().push((candidate, destination));
        }
    }
    Ok(endpoints)
}

/// What a [`DestinationRow`] reads.
pub(super) const DESTINATION_COLUMNS: &str = "e.id, e.merchant_id, e.livemode, e.url, e.enabled_events, e.status, \
     s.id AS secret_id, s.key_id, s.ciphertext, s.expires_at";

async fn insert(
    write: &mut Write,
    rows: &Rows,
    offer: Option<&LeaseOffer>,
    idempotency_ends_at: UnixMs,
    now: UnixMs,
) -> Result<()> {
    for events in rows.events.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO events (id, merchant_id, livemode, type, created_at, body) ",
        );
        insert.push_values(events, |mut row, (id, tenant, event_type, created_at, body)| {
            row.push_bind(id.to_string()).push_bind(tenant.merchant_id.as_str()).push_bind(tenant.livemode);
            row.push_bind(*event_type).push_bind(*created_at).push_bind(body.as_ref());
        });
        insert.build().execute(&mut **write).await?;
    }
    for deliveries in rows.deliveries.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, attempt_count, \
             ladder_failures, window_started_at, next_attempt_at, claimable_at, lease_token, created_at) ",
        );
        insert.push_values(deliveries, |mut row, delivery| {
            let lease = offer.filter(|_| delivery.leased);
            row.push_bind(delivery.id.to_string()).push_bind(delivery.tenant.merchant_id.as_str());
            row.push_bind(delivery.tenant.livemode).push_bind(delivery.event_id.to_string());
            row.push_bind(delivery.endpoint_id.to_string()).push_bind(if delivery.held {
                "held"
            } else {
                "pending"
            });
            row.push("0, 0").push_bind(now.0).push_bind((!delivery.held).then_some(now.0));
            row.push_bind((!delivery.held).then(|| lease.map_or(now.0, |offer| offer.until.0)));
            row.push_bind(lease.map(|offer| offer.token.to_string())).push_bind(now.0);
        });
        insert.build().execute(&mut **write).await?;
    }
    for keys in rows.keys.chunks(ROWS_PER_STATEMENT) {
        // An earlier use whose time has ended is replaced.
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR REPLACE INTO idempotency_keys (merchant_id, livemode, key, fingerprint, event_id, expires_at) ",
        );
        insert.push_values(keys, |mut row, ((tenant, key), entry)| {
            row.push_bind(tenant.merchant_id.as_str()).push_bind(tenant.livemode).push_bind(key.as_str());
            row.push_bind(entry.fingerprint.to_vec()).push_bind(entry.event_id.to_string());
            row.push_bind(idempotency_ends_at.0);
        });
        insert.build().execute(&mut **write).await?;
    }
    Ok(())
}
