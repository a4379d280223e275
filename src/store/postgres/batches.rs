//! Statements over many rows: arrays, unnested. What a decision rests on is locked first, endpoints before deliveries and
//! each in the order of ids; where two processes still wait for each other, one of them begins again.

use sqlx::{
    FromRow as _, PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgQueryResult, PgRow},
    query::Query,
};

use super::{Write, operations::accept::Rows};
use crate::{
    clock::UnixMs,
    delivery::AbandonedReason,
    id::{DeliveryId, LeaseToken},
    merchant::Tenant,
    store::{
        LeaseOffer, Result,
        rows::{
            Change, DeliveryValues, DestinationRow, Endpoints, EventValues, FailingRow, KeyValues,
            KnownEventRow, LeasedRow, RememberedRow, StandingRow, portal::CountRow,
        },
        sql::{
            destination_columns,
            health::{failing_columns, leaves_endpoint},
            portal::count_columns,
        },
    },
    transport::ResponseHeaders,
};

/// Destination rows of endpoints that are locked, in the order of ids. `waited` says that a row was changed between the
/// statement's beginning and its lock. The version is the transaction that wrote the row: a number that comes again after
/// four billion transactions.
macro_rules! locking_destinations {
    ($which:literal) => {
        concat!(
            "SELECT ",
            destination_columns!(),
            ", e.xmin::text AS version, e.xmin <> seen.xmin AS waited FROM webhook_endpoints e JOIN webhook_endpoints seen ON seen.id = e.id \
             JOIN signing_secrets s ON s.webhook_endpoint_id = e.id ",
            $which,
            " ORDER BY e.id, s.id DESC FOR SHARE OF e"
        )
    };
}

fn affected(result: &PgQueryResult) -> usize {
    usize::try_from(result.rows_affected()).unwrap_or(usize::MAX)
}

/// A count as the column has it.
fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Lets one process at a time register endpoints for a tenant, until the transaction ends.
pub(super) async fn lock_tenant(write: &mut Write, tenant: &Tenant) -> Result<()> {
    let tenant = format!("{}/{}", tenant.merchant_id.as_str(), tenant.livemode);
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(tenant);
    lock.execute(&mut **write).await?;
    Ok(())
}

/// Keeps others from these endpoints until the transaction ends. Endpoints are locked before deliveries everywhere.
pub(super) async fn lock_endpoints(write: &mut Write, ids: &[&str]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let lock = "SELECT id FROM webhook_endpoints WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
    sqlx::query(lock).bind(ids).execute(&mut **write).await?;
    Ok(())
}

/// Whether the event is there; if so, it is not pruned before the transaction ends.
pub(super) async fn keep_event(write: &mut Write, id: &str) -> Result<bool> {
    let event: Option<(String,)> = sqlx::query_as("SELECT id FROM events WHERE id = $1 FOR KEY SHARE")
        .bind(id)
        .fetch_optional(&mut **write)
        .await?;
    Ok(event.is_some())
}

pub(super) async fn remembered(
    write: &mut Write,
    keyed: &[(&Tenant, &str)],
    now: UnixMs,
) -> Result<Vec<RememberedRow>> {
    let remembered = sqlx::query_as(
        "SELECT k.merchant_id, k.livemode, k.key, k.fingerprint, k.event_id \
         FROM unnest($1::text[], $2::boolean[], $3::text[]) AS wanted (merchant_id, livemode, key) \
         JOIN idempotency_keys k USING (merchant_id, livemode, key) WHERE k.expires_at > $4",
    )
    .bind(keyed.iter().map(|(tenant, _)| tenant.merchant_id.as_str()).collect::<Vec<_>>())
    .bind(keyed.iter().map(|(tenant, _)| tenant.livemode).collect::<Vec<_>>())
    .bind(keyed.iter().map(|(_, key)| *key).collect::<Vec<_>>())
    .bind(now.0);
    Ok(remembered.fetch_all(&mut **write).await?)
}

/// The tenants' endpoints, which do not change until the transaction ends: whoever changes one waits, and finds all
/// deliveries made here when it has its deliveries follow.
pub(super) async fn endpoints_of(write: &mut Write, tenants: &[&Tenant]) -> Result<Vec<DestinationRow>> {
    // From the tenants to their endpoints: a join may be planned the other way while there are few endpoints, and kept.
    let locked = sqlx::query(locking_destinations!(
        "WHERE e.deleted_at IS NULL AND e.id = ANY (ARRAY( \
           SELECT of_tenant.id FROM unnest($1::text[], $2::boolean[]) AS tenant (merchant_id, livemode) \
             CROSS JOIN LATERAL ( \
               SELECT w.id FROM webhook_endpoints w WHERE w.merchant_id = tenant.merchant_id \
                 AND w.livemode = tenant.livemode AND w.deleted_at IS NULL OFFSET 0) of_tenant))"
    ))
    .bind(tenants.iter().map(|tenant| tenant.merchant_id.as_str()).collect::<Vec<_>>())
    .bind(tenants.iter().map(|tenant| tenant.livemode).collect::<Vec<_>>())
    .fetch_all(&mut **write)
    .await?;
    as_locked(write, locked).await
}

/// Where to send for these endpoints, as far as they are on, and do not change until the transaction ends.
pub(super) async fn destinations(write: &mut Write, endpoints: &[&str]) -> Result<Vec<DestinationRow>> {
    let locked = sqlx::query(locking_destinations!(
        "WHERE e.id = ANY($1) AND e.status = 'enabled' AND e.deleted_at IS NULL"
    ));
    let locked = locked.bind(endpoints).fetch_all(&mut **write).await?;
    as_locked(write, locked).await
}

/// What was locked. Where a change was waited for, the secrets are those before it, and are read again by a statement
/// that begins after it.
async fn as_locked(write: &mut Write, locked: Vec<PgRow>) -> Result<Vec<DestinationRow>> {
    let mut waited = false;
    for row in &locked {
        waited |= row.try_get::<bool, _>("waited")?;
    }
    if !waited {
        return Ok(locked.iter().map(DestinationRow::from_row).collect::<std::result::Result<_, _>>()?);
    }
    let ids = locked.iter().map(|row| row.try_get::<&str, _>("id"));
    let ids = ids.collect::<std::result::Result<Vec<_>, _>>()?;
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        destination_columns!(),
        " FROM webhook_endpoints e JOIN signing_secrets s ON s.webhook_endpoint_id = e.id \
         WHERE e.id = ANY($1) ORDER BY e.id, s.id DESC"
    ));
    Ok(rows.bind(ids).fetch_all(&mut **write).await?)
}

/// Remembers keys; an earlier use whose time has ended is replaced. Answers how many it could: where another process has
/// used one meanwhile, that one is missing.
pub(super) async fn insert_keys(
    write: &mut Write,
    keys: &[KeyValues],
    ends_at: UnixMs,
    now: UnixMs,
) -> Result<usize> {
    if keys.is_empty() {
        return Ok(0);
    }
    let mut keys: Vec<&KeyValues> = keys.iter().collect();
    keys.sort_unstable_by(|one, other| (&one.tenant, &one.key).cmp(&(&other.tenant, &other.key)));
    let insert = sqlx::query(
        "INSERT INTO idempotency_keys (merchant_id, livemode, key, fingerprint, event_id, expires_at) \
         SELECT *, $6 FROM unnest($1::text[], $2::boolean[], $3::text[], $4::bytea[], $5::text[]) \
         ON CONFLICT (merchant_id, livemode, key) DO UPDATE SET fingerprint = excluded.fingerprint, \
           event_id = excluded.event_id, expires_at = excluded.expires_at \
         WHERE idempotency_keys.expires_at <= $7",
    )
    .bind(keys.iter().map(|key| key.tenant.merchant_id.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.tenant.livemode).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.event_id.to_string()).collect::<Vec<_>>())
    .bind(ends_at.0)
    .bind(now.0);
    Ok(affected(&insert.execute(&mut **write).await?))
}

/// Inserts events and their deliveries, as far as the guard holds: one statement is one wait for the server instead of two.
macro_rules! insert_events {
    ($with:expr, $guard:literal) => {
        concat!(
            $with,
            " event AS ( \
               INSERT INTO events (id, merchant_id, livemode, type, created_at, body, only_endpoint_id, traceparent) \
               SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::bigint[], $6::bytea[], \
                 $17::text[], $18::text[])",
            $guard,
            "), delivery AS ( \
               INSERT INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, next_attempt_at, \
                 claimable_at, lease_token, attempt_count, ladder_failures, window_started_at, created_at) \
               SELECT *, 0, 0, $16::bigint, $16 FROM unnest($7::text[], $8::text[], $9::boolean[], $10::text[], $11::text[], \
                 $12::text[], $13::bigint[], $14::bigint[], $15::text[])",
            $guard,
            ") "
        )
    };
}

/// Inserts events and their deliveries.
pub(super) async fn insert_events(
    write: &mut Write,
    events: &[EventValues],
    deliveries: &[DeliveryValues],
    now: UnixMs,
) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query(concat!(insert_events!("WITH", ""), "SELECT TRUE"));
    bind_events(insert, events, deliveries, now).execute(&mut **write).await?;
    Ok(())
}

/// Inserts events, their deliveries and keys that nobody has used, where the tenants have these endpoints and no others, in
/// these versions; answers whether they have. The endpoints do not change until the transaction ends.
pub(super) async fn insert_where_unchanged(
    write: &mut Write,
    rows: &Rows,
    tenants: &[&Tenant],
    versions: &[(String, &str)],
    idempotency_ends_at: UnixMs,
    now: UnixMs,
) -> Result<bool> {
    let insert = sqlx::query(concat!(
        insert_events!(
            "WITH standing AS MATERIALIZED ( \
               SELECT e.id, e.version FROM unnest($19::text[], $20::boolean[]) AS tenant (merchant_id, livemode) \
                 CROSS JOIN LATERAL ( \
                   SELECT id, xmin::text AS version FROM webhook_endpoints WHERE merchant_id = tenant.merchant_id \
                     AND livemode = tenant.livemode AND deleted_at IS NULL ORDER BY id FOR SHARE) e), \
             wanted AS MATERIALIZED ( \
               SELECT * FROM unnest($23::text[], $24::boolean[], $25::text[], $26::bytea[], $27::text[]) \
                 AS key (merchant_id, livemode, key, fingerprint, event_id)), \
             unchanged AS MATERIALIZED ( \
               SELECT (SELECT count(*) FROM standing) = cardinality($21::text[]) \
                 AND NOT EXISTS (SELECT id, version FROM standing EXCEPT SELECT * FROM unnest($21::text[], $22::text[])) \
                 AND NOT EXISTS (SELECT FROM wanted JOIN idempotency_keys USING (merchant_id, livemode, key)) AS yes), \
             key AS ( \
               INSERT INTO idempotency_keys (merchant_id, livemode, key, fingerprint, event_id, expires_at) \
               SELECT *, $28::bigint FROM wanted WHERE (SELECT yes FROM unchanged)),",
            " WHERE (SELECT yes FROM unchanged)"
        ),
        "SELECT yes FROM unchanged"
    ));
    let mut keys: Vec<&KeyValues> = rows.keys.iter().collect();
    keys.sort_unstable_by(|one, other| (&one.tenant, &one.key).cmp(&(&other.tenant, &other.key)));
    let insert = bind_events(insert, &rows.events, &rows.deliveries, now)
        .bind(tenants.iter().map(|tenant| tenant.merchant_id.as_str()).collect::<Vec<_>>())
        .bind(tenants.iter().map(|tenant| tenant.livemode).collect::<Vec<_>>())
        .bind(versions.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
        .bind(versions.iter().map(|(_, version)| *version).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.tenant.merchant_id.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.tenant.livemode).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.fingerprint.as_slice()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.event_id.to_string()).collect::<Vec<_>>())
        .bind(idempotency_ends_at.0);
    Ok(insert.fetch_one(&mut **write).await?.try_get(0)?)
}

/// Binds the first eighteen values.
fn bind_events<'q>(
    insert: Query<'q, Postgres, PgArguments>,
    events: &'q [EventValues],
    deliveries: &'q [DeliveryValues],
    now: UnixMs,
) -> Query<'q, Postgres, PgArguments> {
    insert
        .bind(events.iter().map(|event| event.id.to_string()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.tenant.merchant_id.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.tenant.livemode).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.created_at.0).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.body.as_ref()).collect::<Vec<&[u8]>>())
        .bind(deliveries.iter().map(|delivery| delivery.id.to_string()).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| delivery.tenant.merchant_id.as_str()).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| delivery.tenant.livemode).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| delivery.event_id.to_string()).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| delivery.endpoint_id.to_string()).collect::<Vec<_>>())
        .bind(deliveries.iter().map(DeliveryValues::status).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| delivery.next_attempt_at(now)).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| delivery.claimable_at(now)).collect::<Vec<_>>())
        .bind(deliveries.iter().map(DeliveryValues::lease_token).collect::<Vec<_>>())
        .bind(now.0)
        .bind(
            events
                .iter()
                .map(|event| event.only_endpoint.map(|endpoint| endpoint.to_string()))
                .collect::<Vec<_>>(),
        )
        .bind(events.iter().map(|event| event.trace.map(|trace| trace.to_string())).collect::<Vec<_>>())
}

/// Those of the ids that are events of the tenant's. The empty text keeps the planner from the index of all of a tenant's
/// events.
pub(super) async fn events_among(
    connection: &mut PgConnection,
    tenant: &Tenant,
    ids: &[String],
) -> Result<Vec<KnownEventRow>> {
    let known = sqlx::query_as(
        "SELECT id, type AS event_type, created_at, only_endpoint_id FROM events \
         WHERE id = ANY($1) AND merchant_id || '' = $2 AND livemode = $3",
    );
    let known = known.bind(ids).bind(tenant.merchant_id.as_str()).bind(tenant.livemode);
    Ok(known.fetch_all(connection).await?)
}

/// An endpoint's status, and when it was deleted; neither changes until the transaction ends.
pub(super) async fn endpoint_state(write: &mut Write, id: &str) -> Result<Option<(String, Option<i64>)>> {
    let state = sqlx::query_as("SELECT status, deleted_at FROM webhook_endpoints WHERE id = $1 FOR SHARE");
    Ok(state.bind(id).fetch_optional(&mut **write).await?)
}

/// Leases due deliveries of these endpoints, of each as many as its number says. Rows that another process is claiming
/// are passed over.
pub(super) async fn lease_due(
    write: &mut Write,
    lanes: &[(String, i64)],
    offer: &LeaseOffer,
    now: UnixMs,
) -> Result<Vec<LeasedRow>> {
    let lease = sqlx::query_as(
        "WITH due AS MATERIALIZED ( \
           SELECT d.id FROM unnest($1::text[], $2::bigint[]) AS lane (endpoint_id, room) CROSS JOIN LATERAL ( \
             SELECT x.id FROM deliveries x WHERE x.status = 'pending' AND x.lease_token IS NULL \
               AND x.webhook_endpoint_id = lane.endpoint_id AND x.claimable_at <= $3 ORDER BY x.claimable_at LIMIT lane.room FOR UPDATE SKIP LOCKED) d), \
         leased AS ( \
           UPDATE deliveries d SET lease_token = $4, claimable_at = $5 FROM due WHERE d.id = due.id \
           RETURNING d.id, d.event_id, d.webhook_endpoint_id, d.attempt_count, d.ladder_failures, d.window_started_at) \
         SELECT leased.*, e.type AS event_type, e.body, e.traceparent FROM leased JOIN events e ON e.id = leased.event_id",
    )
    .bind(lanes.iter().map(|(endpoint, _)| endpoint.as_str()).collect::<Vec<_>>())
    .bind(lanes.iter().map(|(_, room)| *room).collect::<Vec<_>>())
    .bind(now.0)
    .bind(offer.token.to_string())
    .bind(offer.until.0);
    Ok(lease.fetch_all(&mut **write).await?)
}

/// Fenced by the lease, so that a lease given back late frees nobody else's.
pub(super) async fn release(write: &mut Write, leases: &[(DeliveryId, LeaseToken)]) -> Result<()> {
    sqlx::query(
        "UPDATE deliveries d SET lease_token = NULL, claimable_at = d.next_attempt_at \
         FROM unnest($1::text[], $2::text[]) AS given (id, lease) \
         WHERE d.id = given.id AND d.lease_token = given.lease AND d.status = 'pending'",
    )
    .bind(leases.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>())
    .bind(leases.iter().map(|(_, lease)| lease.to_string()).collect::<Vec<_>>())
    .execute(&mut **write)
    .await?;
    Ok(())
}

pub(super) async fn standings(write: &mut Write, ids: &[String]) -> Result<Vec<StandingRow>> {
    let standings = sqlx::query_as(
        "SELECT id, lease_token, status, abandoned_reason, ladder_failures, window_started_at, next_attempt_at \
         FROM deliveries WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    );
    Ok(standings.bind(ids).fetch_all(&mut **write).await?)
}

/// How these endpoints fail, as far as they do; none of those changes until the transaction ends.
pub(super) async fn lock_failing(write: &mut Write, endpoints: &[&str]) -> Result<Vec<FailingRow>> {
    let failing = sqlx::query_as(concat!(
        "SELECT ",
        failing_columns!(),
        " FROM failing_endpoints WHERE webhook_endpoint_id = ANY($1) ORDER BY webhook_endpoint_id FOR UPDATE"
    ));
    Ok(failing.bind(endpoints).fetch_all(&mut **write).await?)
}

/// Writes outcomes `r` of deliveries `d`, where `and` holds.
macro_rules! store_attempts {
    ($and:expr) => {
        concat!("WITH written AS ( \
           UPDATE deliveries d SET attempt_count = r.number, ladder_failures = r.ladder_failures, status = r.status, \
             abandoned_reason = r.abandoned_reason, abandoned_at = COALESCE(r.abandoned_at, d.abandoned_at), \
             next_attempt_at = r.next_attempt_at, claimable_at = r.next_attempt_at, lease_token = NULL \
           FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[], \
             $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::int[], $14::text[], $15::text[], $16::bytea[], \
             $17::text[], $18::bigint[], $19::boolean[], $20::text[]) AS r (delivery_id, lease, was, window_started_at, \
             number, ladder_failures, status, abandoned_reason, next_attempt_at, id, started_at, duration_ms, \
             response_status, failure_code, failure_message, response_body, address, abandoned_at, failed, \
             response_headers) \
           WHERE d.id = r.delivery_id AND d.lease_token = r.lease AND d.status = r.was \
             AND d.window_started_at = r.window_started_at", $and, " \
           RETURNING r.delivery_id, r.number, r.id, r.started_at, r.duration_ms, r.response_status, r.failure_code, \
             r.failure_message, r.response_headers, r.response_body, r.address) \
         INSERT INTO attempts (delivery_id, number, id, started_at, duration_ms, response_status, failure_code, \
           failure_message, response_headers, response_body, address) SELECT * FROM written RETURNING delivery_id")
    };
}

/// Brings deliveries to where they stand after their attempts, and keeps those, as far as they still have their lease and
/// stand as expected, and, where that is asked for, leave their endpoint as it stands: by one statement, which needs no
/// transaction around it. Answers which.
pub(super) async fn store_attempts(
    write: &mut Write,
    changes: &[Change<'_>],
    endpoints: Endpoints,
) -> Result<Vec<String>> {
    let attempts = || changes.iter().map(|change| &change.result.attempt);
    let text = match endpoints {
        Endpoints::StayAsTheyStand => store_attempts!(leaves_endpoint!("r.failed", "r.started_at")),
        Endpoints::Follow => store_attempts!(""),
    };
    let store = sqlx::query_as(text)
        .bind(changes.iter().map(|change| change.result.delivery_id.to_string()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.result.lease.to_string()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.before.status.as_str()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.before.window_started_at.0).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| number(attempt.number)).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| number(change.after.ladder_failures)).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.after.status.as_str()).collect::<Vec<_>>())
        .bind(
            changes
                .iter()
                .map(|change| change.after.abandoned_reason.map(AbandonedReason::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(changes.iter().map(|change| change.after.next_attempt_at.map(|at| at.0)).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| attempt.id.to_string()).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| attempt.started_at.0).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| attempt.duration_ms).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| attempt.response_status.map(i32::from)).collect::<Vec<_>>())
        .bind(
            attempts()
                .map(|attempt| attempt.failure_code.map(crate::transport::FailureCode::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(attempts().map(|attempt| attempt.failure_message.as_deref()).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| attempt.response_body.as_deref()).collect::<Vec<_>>())
        .bind(attempts().map(|attempt| attempt.address.as_deref()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.abandoned_at().map(|at| at.0)).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.result.failed()).collect::<Vec<_>>())
        .bind(
            attempts()
                .map(|attempt| attempt.response_headers.as_ref().map(ResponseHeaders::as_str))
                .collect::<Vec<_>>(),
        );
    let written: Vec<(String,)> = store.fetch_all(&mut **write).await?;
    Ok(written.into_iter().map(|(id,)| id).collect())
}

/// Removes events below `cut` that have no open delivery, with all that belongs to them; answers how many events.
pub(super) async fn prune(write: &mut Write, cut: &str, limit: i64) -> Result<usize> {
    // Locked first and looked at again: a retry asked for in between locks its event too. With `NOT EXISTS`, or without
    // the `LIMIT`, the planner would join, and read all deliveries there are: 60 ms for 16 events of 50,000.
    let locked: Vec<(String,)> = sqlx::query_as(
        "SELECT e.id FROM events e WHERE e.id < $1 AND \
         (SELECT d.id FROM deliveries d WHERE d.event_id = e.id AND d.status IN ('pending', 'held') LIMIT 1) IS NULL \
         ORDER BY e.id LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(cut)
    .bind(limit)
    .fetch_all(&mut **write)
    .await?;
    if locked.is_empty() {
        return Ok(0);
    }
    let locked: Vec<&str> = locked.iter().map(|(id,)| id.as_str()).collect();
    let removed: Vec<(String,)> = sqlx::query_as(
        "DELETE FROM events e WHERE e.id = ANY($1) AND \
         (SELECT d.id FROM deliveries d WHERE d.event_id = e.id AND d.status IN ('pending', 'held') LIMIT 1) IS NULL \
         RETURNING e.id",
    )
    .bind(locked)
    .fetch_all(&mut **write)
    .await?;
    let removed: Vec<&str> = removed.iter().map(|(id,)| id.as_str()).collect();
    // Deliveries before their attempts: an outcome that is being recorded is waited for, and its attempt found.
    let deliveries: Vec<(String,)> =
        sqlx::query_as("DELETE FROM deliveries WHERE event_id = ANY($1) RETURNING id")
            .bind(&removed)
            .fetch_all(&mut **write)
            .await?;
    let deliveries: Vec<&str> = deliveries.iter().map(|(id,)| id.as_str()).collect();
    let attempts = sqlx::query("DELETE FROM attempts WHERE delivery_id = ANY($1)").bind(deliveries);
    attempts.execute(&mut **write).await?;
    Ok(removed.len())
}

/// How the deliveries of these events stand.
pub(super) async fn counts_of_events(
    connection: &mut PgConnection,
    events: &[String],
) -> Result<Vec<CountRow>> {
    let counts = concat!(
        "SELECT ",
        count_columns!(),
        " FROM deliveries d WHERE d.event_id = ANY($1) GROUP BY d.event_id, d.status, attempted"
    );
    Ok(sqlx::query_as(counts).bind(events).fetch_all(connection).await?)
}
