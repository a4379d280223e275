//! Statements whose text serves both engines: `$1` placeholders, portable types, no engine's own functions.

/// A list in both directions. `$1` is the cursor, `$2` the number of rows.
pub(super) struct PagedSql {
    pub(super) newest_first: &'static str,
    pub(super) oldest_first: &'static str,
}

impl PagedSql {
    pub(super) fn text(&self, newest_first: bool) -> &'static str {
        if newest_first { self.newest_first } else { self.oldest_first }
    }
}

/// Completes a `SELECT … WHERE …` to a [`PagedSql`] over the column `$id`.
macro_rules! paged {
    ($select:expr, $id:literal) => {
        PagedSql {
            newest_first: concat!($select, " AND ", $id, " < $1 ORDER BY ", $id, " DESC LIMIT $2"),
            oldest_first: concat!($select, " AND ", $id, " > $1 ORDER BY ", $id, " ASC LIMIT $2"),
        }
    };
}

macro_rules! event_columns {
    () => {
        "e.id, e.type, e.body, e.only_endpoint_id, (SELECT count(*) FROM deliveries d WHERE d.event_id = e.id \
         AND d.status IN ('pending', 'held')) AS pending_webhooks FROM events e"
    };
}

pub(super) mod backfills;
pub(super) mod console;
pub(super) mod health;
pub(super) mod history;
pub(super) mod portal;

pub(super) const SETTING: &str = "SELECT value FROM settings WHERE name = $1";
pub(super) const INSERT_SETTING: &str =
    "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
pub(super) const PUT_SETTING: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

pub(super) const REPLACE_SETTING: &str = "UPDATE settings SET value = $3 WHERE name = $1 AND value = $2";

/// Hops from key to key through the index.
pub(super) const SEALING_KEYS: &str = "WITH RECURSIVE sealing (key_id) AS ( \
       SELECT (SELECT key_id FROM signing_secrets ORDER BY key_id LIMIT 1) \
       UNION ALL \
       SELECT (SELECT s.key_id FROM signing_secrets s WHERE s.key_id > sealing.key_id ORDER BY s.key_id LIMIT 1) \
       FROM sealing WHERE sealing.key_id IS NOT NULL) \
     SELECT key_id FROM sealing WHERE key_id IS NOT NULL";
pub(super) const SECRETS_SEALED_WITH: &str = "SELECT id, key_id, ciphertext, expires_at FROM signing_secrets \
     WHERE key_id = $1 AND id > $2 AND (expires_at IS NULL OR expires_at > $3) ORDER BY id LIMIT $4";
pub(super) const RESEAL_SECRET: &str =
    "UPDATE signing_secrets SET key_id = $3, ciphertext = $4 WHERE id = $1 AND ciphertext = $2";

macro_rules! audit_columns {
    () => {
        "id, created_at, merchant_id, livemode, actor_kind, actor_id, actor_name, action, object_id, changes, request_id"
    };
}

/// The entry of something that is done in many transactions grows with them.
pub(super) const PUT_AUDIT_ENTRY: &str = concat!(
    "INSERT INTO audit_entries (",
    audit_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO UPDATE SET changes = excluded.changes"
);
macro_rules! audit_entries {
    ($($and:literal)?) => {
        paged!(
            concat!(
                "SELECT ",
                audit_columns!(),
                " FROM audit_entries WHERE (CAST($3 AS BOOLEAN) IS NULL OR livemode = $3) ",
                "AND (CAST($4 AS TEXT) IS NULL OR object_id = $4) AND (CAST($5 AS TEXT) IS NULL OR action = $5) ",
                "AND (CAST($6 AS TEXT) IS NULL OR actor_kind = $6) AND (CAST($7 AS TEXT) IS NULL OR actor_id = $7)",
                $($and)?
            ),
            "id"
        )
    };
}
pub(super) const LIST_AUDIT_ENTRIES: PagedSql = audit_entries!();
pub(super) const LIST_AUDIT_ENTRIES_OF_MERCHANT: PagedSql = audit_entries!(" AND merchant_id = $8");
pub(super) const LIST_AUDIT_ENTRIES_OF_OBJECT: PagedSql =
    audit_entries!(" AND object_id = $4 AND (CAST($8 AS TEXT) IS NULL OR merchant_id = $8)");
pub(super) const AUDIT_ENTRY_CURSOR: &str =
    "SELECT id FROM audit_entries WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR merchant_id = $2)";
pub(super) const PRUNE_AUDIT_ENTRIES: &str = "DELETE FROM audit_entries WHERE id IN \
     (SELECT id FROM audit_entries WHERE id < $1 ORDER BY id LIMIT $2)";

macro_rules! api_key_columns {
    () => {
        "id, merchant_id, livemode, service, publishable_key, last4, created_at, expires_at"
    };
}

pub(super) const INSERT_API_KEY: &str = concat!(
    "INSERT INTO api_keys (id, merchant_id, livemode, service, publishable_key, secret_hash, last4, created_at) ",
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ",
    api_key_columns!()
);
pub(super) const FIND_API_KEY: &str = concat!(
    "SELECT ",
    api_key_columns!(),
    ", secret_hash FROM api_keys WHERE secret_hash = $1 AND (expires_at IS NULL OR expires_at > $2)"
);
pub(super) const LIST_API_KEYS: PagedSql = paged!(
    concat!("SELECT ", api_key_columns!(), " FROM api_keys WHERE (expires_at IS NULL OR expires_at > $3)"),
    "id"
);
pub(super) const LIST_API_KEYS_OF_MERCHANT: PagedSql = paged!(
    concat!(
        "SELECT ",
        api_key_columns!(),
        " FROM api_keys WHERE (expires_at IS NULL OR expires_at > $3) AND merchant_id = $4"
    ),
    "id"
);
/// Whether an id is one of a list's, here and in the other cursors.
pub(super) const API_KEY_CURSOR: &str =
    "SELECT id FROM api_keys WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR merchant_id = $2)";
pub(super) const API_KEY_MODE: &str = "SELECT livemode FROM api_keys \
     WHERE id = $1 AND merchant_id = $2 AND (expires_at IS NULL OR expires_at > $3)";
/// Locks the key, and says when it ends.
pub(super) const TOUCH_API_KEY: &str = "UPDATE api_keys SET last4 = last4 \
     WHERE id = $1 AND merchant_id = $2 AND (expires_at IS NULL OR expires_at > $3) RETURNING expires_at";
pub(super) const END_API_KEY: &str = "UPDATE api_keys SET expires_at = CASE WHEN expires_at < $3 THEN expires_at ELSE $3 END \
     WHERE id = $1 AND merchant_id = $2 AND (expires_at IS NULL OR expires_at > $4) RETURNING expires_at";
pub(super) const REVOKE_API_KEY: &str = concat!(
    "DELETE FROM api_keys WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR merchant_id = $2) ",
    "AND (expires_at IS NULL OR expires_at > $3) RETURNING ",
    api_key_columns!()
);

macro_rules! endpoint_columns {
    () => {
        "id, merchant_id, livemode, url, enabled_events, description, status, disabled_reason, created_at, updated_at"
    };
}

pub(super) const COUNT_ENDPOINTS: &str =
    "SELECT count(*) FROM webhook_endpoints WHERE merchant_id = $1 AND livemode = $2 AND deleted_at IS NULL";
pub(super) const INSERT_ENDPOINT: &str = concat!(
    "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, enabled_events, description, status, ",
    "created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 'enabled', $7, $7) RETURNING ",
    endpoint_columns!()
);
pub(super) const ENDPOINT: &str = concat!(
    "SELECT ",
    endpoint_columns!(),
    " FROM webhook_endpoints WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND deleted_at IS NULL"
);
pub(super) const LIST_ENDPOINTS: PagedSql = paged!(
    concat!(
        "SELECT ",
        endpoint_columns!(),
        " FROM webhook_endpoints WHERE merchant_id = $3 AND livemode = $4 AND deleted_at IS NULL"
    ),
    "id"
);
/// Also one that was deleted, for as long as it is kept.
pub(super) const ENDPOINT_CURSOR: &str =
    "SELECT id FROM webhook_endpoints WHERE id = $1 AND merchant_id = $2 AND livemode = $3";
/// Changing the status, either way, is the merchant's decision and replaces the service's reason.
pub(super) const UPDATE_ENDPOINT: &str = concat!(
    "UPDATE webhook_endpoints SET url = COALESCE($4, url), enabled_events = COALESCE($5, enabled_events), ",
    "description = CASE WHEN $6 THEN $7 ELSE description END, ",
    "disabled_reason = CASE WHEN $8 IS NULL OR $8 = status THEN disabled_reason ELSE NULL END, ",
    "status = COALESCE($8, status), updated_at = $9 ",
    "WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND deleted_at IS NULL RETURNING ",
    endpoint_columns!()
);
pub(super) const DELETE_ENDPOINT: &str = "UPDATE webhook_endpoints SET deleted_at = $4, updated_at = $4 \
     WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND deleted_at IS NULL";
pub(super) const TOUCH_ENDPOINT: &str = concat!(
    "UPDATE webhook_endpoints SET updated_at = $4 ",
    "WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND deleted_at IS NULL RETURNING ",
    endpoint_columns!()
);
/// Not that of `$4`.
pub(super) const DISABLE_ENDPOINT: &str = "UPDATE webhook_endpoints SET status = 'disabled', \
     disabled_reason = $2, updated_at = $3 WHERE id = $1 AND status = 'enabled' AND deleted_at IS NULL \
     AND merchant_id <> $4 RETURNING merchant_id, livemode";

pub(super) const INSERT_SECRET: &str = "INSERT INTO signing_secrets \
     (id, webhook_endpoint_id, key_id, ciphertext, created_at) VALUES ($1, $2, $3, $4, $5)";
pub(super) const END_SECRETS: &str = "UPDATE signing_secrets SET expires_at = $2 \
     WHERE webhook_endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2)";
/// Those that have ended, and of the others all but the newest.
pub(super) const DELETE_ALL_SECRETS_BUT: &str = "DELETE FROM signing_secrets WHERE webhook_endpoint_id = $1 \
     AND id NOT IN (SELECT id FROM signing_secrets \
       WHERE webhook_endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC LIMIT $3)";
pub(super) const DELETE_SECRETS: &str = "DELETE FROM signing_secrets WHERE webhook_endpoint_id = $1";

/// An endpoint's pending deliveries: those that wait, and those that are leased, which a process has few of. The empty text
/// keeps the planner from the index of all of an endpoint's deliveries.
macro_rules! pending_of_endpoint {
    () => {
        "SELECT id FROM ( \
           SELECT id FROM deliveries \
           WHERE status = 'pending' AND lease_token IS NULL AND webhook_endpoint_id = $1 AND claimable_at > -1 \
           UNION ALL SELECT id FROM deliveries \
           WHERE status = 'pending' AND lease_token IS NOT NULL AND claimable_at >= 0 AND webhook_endpoint_id || '' = $1 \
         ) AS pending LIMIT $2"
    };
}

pub(super) const COUNT_PENDING: &str =
    concat!("SELECT count(*) FROM (", pending_of_endpoint!(), ") AS counted");
pub(super) const COUNT_HELD: &str = "SELECT count(*) FROM (SELECT id FROM deliveries \
     WHERE status = 'held' AND webhook_endpoint_id = $1 AND window_started_at >= 0 LIMIT $2) AS counted";

/// The comparisons of `claimable_at` and `window_started_at` with a constant, here and below, are always true: they lead the
/// planner to the index that is meant, whatever it knows of the tables, and so does the empty text. The state is asked for
/// twice: another process may change a row after it was picked and before it is updated.
/// A lease stays with the row, so that an attempt under way can still be recorded.
pub(super) const HOLD_PENDING: &str = concat!(
    "UPDATE deliveries SET status = 'held', next_attempt_at = NULL, claimable_at = NULL \
     WHERE status = 'pending' AND id IN (",
    pending_of_endpoint!(),
    ")"
);
pub(super) const FREE_HELD: &str = "UPDATE deliveries \
     SET status = 'pending', next_attempt_at = $3, claimable_at = $3, lease_token = NULL \
     WHERE status || '' = 'held' AND id IN (SELECT id FROM deliveries \
       WHERE status = 'held' AND webhook_endpoint_id = $1 AND window_started_at > $4 LIMIT $2)";
pub(super) const ABANDON_HELD_OF_ENDPOINT: &str = "UPDATE deliveries \
     SET status = 'abandoned', abandoned_reason = 'endpoint_disabled', abandoned_at = $4 WHERE status || '' = 'held' AND id IN \
     (SELECT id FROM deliveries WHERE status = 'held' AND webhook_endpoint_id = $1 AND window_started_at <= $3 LIMIT $2)";
pub(super) const ABANDON_PENDING_DELETED: &str = concat!(
    "UPDATE deliveries \
     SET status = 'abandoned', abandoned_reason = 'endpoint_deleted', abandoned_at = $3, next_attempt_at = NULL, \
       claimable_at = NULL \
     WHERE status = 'pending' AND id IN (",
    pending_of_endpoint!(),
    ")"
);
pub(super) const ABANDON_HELD_DELETED: &str = "UPDATE deliveries \
     SET status = 'abandoned', abandoned_reason = 'endpoint_deleted', abandoned_at = $3 \
     WHERE status || '' = 'held' AND id IN (SELECT id FROM deliveries \
       WHERE status = 'held' AND webhook_endpoint_id = $1 AND window_started_at >= 0 LIMIT $2)";
/// Of the endpoints that are off, those with pending deliveries; and of those with held ones, hopping from one to the
/// next, those that are on or deleted. Here and below, the first of an order is asked for by `LIMIT 1` and not by `min` or
/// `EXISTS`, for which PostgreSQL may read all there is, where it planned while there was little.
pub(super) const UNSETTLED_ENDPOINTS: &str = "WITH RECURSIVE holding (endpoint_id) AS ( \
       SELECT (SELECT webhook_endpoint_id FROM deliveries WHERE status = 'held' ORDER BY webhook_endpoint_id LIMIT 1) \
       UNION ALL \
       SELECT (SELECT d.webhook_endpoint_id FROM deliveries d \
               WHERE d.status = 'held' AND d.webhook_endpoint_id > holding.endpoint_id \
               ORDER BY d.webhook_endpoint_id LIMIT 1) \
       FROM holding WHERE holding.endpoint_id IS NOT NULL) \
     SELECT e.id FROM webhook_endpoints e \
     WHERE (e.status = 'disabled' OR e.deleted_at IS NOT NULL) AND \
       (SELECT d.claimable_at FROM deliveries d WHERE d.status = 'pending' AND d.lease_token IS NULL \
        AND d.webhook_endpoint_id = e.id AND d.claimable_at > -1 LIMIT 1) IS NOT NULL \
     UNION SELECT e.id FROM deliveries d JOIN webhook_endpoints e ON e.id = d.webhook_endpoint_id \
     WHERE d.status = 'pending' AND d.lease_token IS NOT NULL AND d.claimable_at >= 0 \
       AND (e.status = 'disabled' OR e.deleted_at IS NOT NULL) \
     UNION SELECT e.id FROM holding JOIN webhook_endpoints e ON e.id = holding.endpoint_id \
     WHERE e.status = 'enabled' OR e.deleted_at IS NOT NULL \
     LIMIT $1";

pub(super) const EVENT: &str =
    concat!("SELECT ", event_columns!(), " WHERE e.id = $1 AND e.merchant_id = $2 AND e.livemode = $3");
pub(super) const EVENT_CURSOR: &str =
    "SELECT id FROM events WHERE id = $1 AND merchant_id = $2 AND livemode = $3";
pub(super) const LIST_EVENTS: PagedSql = paged!(
    concat!(
        "SELECT ",
        event_columns!(),
        " WHERE e.merchant_id = $3 AND e.livemode = $4 AND (CAST($5 AS TEXT) IS NULL OR e.type = $5) ",
        "AND (CAST($6 AS BIGINT) IS NULL OR e.created_at >= $6) AND (CAST($7 AS BIGINT) IS NULL OR e.created_at <= $7) ",
        "AND (CAST($8 AS TEXT) IS NULL OR EXISTS ",
        "(SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.status = $8))"
    ),
    "e.id"
);

pub(super) const EVENTS_AFTER: &str = concat!(
    "SELECT ",
    event_columns!(),
    " WHERE e.id > $1 AND e.merchant_id = $3 AND e.livemode = $4 ORDER BY e.id LIMIT $2"
);
pub(super) const EVENT_IDS_BETWEEN: &str = "SELECT id FROM events \
     WHERE merchant_id = $4 AND livemode = $5 AND id > $1 AND id <= $2 ORDER BY id LIMIT $3";

macro_rules! delivery_columns {
    () => {
        "d.id, d.event_id, e.type AS event_type, d.webhook_endpoint_id, d.livemode, d.status, d.abandoned_reason, \
         d.attempt_count, d.next_attempt_at, d.created_at, d.backfill_id FROM deliveries d JOIN events e ON e.id = d.event_id"
    };
}

pub(super) mod operational;

pub(super) const DELIVERY: &str =
    concat!("SELECT ", delivery_columns!(), " WHERE d.id = $1 AND d.merchant_id = $2 AND d.livemode = $3");
pub(super) const DELIVERY_OF_EVENT_CURSOR: &str =
    "SELECT id FROM deliveries WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND event_id = $4";
pub(super) const DELIVERY_OF_ENDPOINT_CURSOR: &str = "SELECT id FROM deliveries WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND webhook_endpoint_id = $4";
pub(super) const LIST_DELIVERIES_OF_EVENT: PagedSql = paged!(
    concat!(
        "SELECT ",
        delivery_columns!(),
        " WHERE d.merchant_id = $3 AND d.livemode = $4 AND d.event_id = $5 AND (CAST($6 AS TEXT) IS NULL OR d.status = $6)"
    ),
    "d.id"
);
pub(super) const LIST_DELIVERIES_OF_ENDPOINT: PagedSql = paged!(
    concat!(
        "SELECT ",
        delivery_columns!(),
        " WHERE d.merchant_id = $3 AND d.livemode = $4 AND d.webhook_endpoint_id = $5 ",
        "AND (CAST($6 AS TEXT) IS NULL OR d.status = $6)"
    ),
    "d.id"
);
macro_rules! attempts {
    ($which:literal) => {
        concat!(
            "SELECT id, number, started_at, duration_ms, response_status, failure_code, failure_message, ",
            "response_headers, response_body, address FROM attempts WHERE delivery_id = $1 ",
            $which
        )
    };
}
pub(super) const ATTEMPTS: &str = attempts!("ORDER BY number");
pub(super) const ATTEMPT: &str = attempts!("AND number = $2");
pub(super) const ATTEMPT_ID: &str = "SELECT id FROM attempts WHERE delivery_id = $1 AND number = $2";
/// While an attempt is under way its lease stands: `claimable_at` is then later than `next_attempt_at`.
pub(super) const RETRY_DELIVERY: &str = "UPDATE deliveries SET abandoned_reason = NULL, abandoned_at = NULL, \
     abandoned_position = NULL, ladder_failures = 0, \
     window_started_at = $4, next_attempt_at = $4, \
     claimable_at = CASE WHEN status = 'pending' AND lease_token IS NOT NULL AND claimable_at > $4 \
       THEN claimable_at ELSE $4 END, \
     lease_token = CASE WHEN status = 'pending' AND lease_token IS NOT NULL AND claimable_at > $4 \
       THEN lease_token ELSE NULL END, \
     status = 'pending' \
     WHERE id = $1 AND merchant_id = $2 AND livemode = $3";
/// Of an event and an endpoint that are both the tenant's, whatever was looked up before.
pub(super) const INSERT_DELIVERY: &str = "INSERT INTO deliveries (id, merchant_id, livemode, event_id, \
     webhook_endpoint_id, status, attempt_count, ladder_failures, window_started_at, next_attempt_at, claimable_at, \
     created_at) \
     SELECT $1, e.merchant_id, e.livemode, e.id, w.id, 'pending', 0, 0, $6, $6, $6, $6 \
     FROM events e JOIN webhook_endpoints w ON w.merchant_id = e.merchant_id AND w.livemode = e.livemode \
     WHERE e.id = $4 AND w.id = $5 AND e.merchant_id = $2 AND e.livemode = $3";

/// How far one look for due work goes: deliveries in the order of time, or endpoints where more than that is due. Part of
/// the text, because SQLite plans a statement anew for each bound `LIMIT`.
macro_rules! look {
    () => {
        256
    };
}
pub(super) const LOOK: usize = look!();

/// What waits and is due, as far as one look goes, by endpoint; and without one, when the next becomes due and when the
/// next lease ends.
pub(super) const DUE: &str = concat!(
    "SELECT endpoint_id, min(due_at) AS due_at, count(*) AS deliveries FROM ( \
       SELECT webhook_endpoint_id AS endpoint_id, claimable_at AS due_at FROM deliveries \
       WHERE status = 'pending' AND lease_token IS NULL AND claimable_at >= 0 AND claimable_at <= $1 \
       ORDER BY claimable_at LIMIT ",
    look!(),
    ") AS due GROUP BY endpoint_id \
     UNION ALL SELECT NULL, (SELECT claimable_at FROM deliveries \
       WHERE status = 'pending' AND lease_token IS NULL AND claimable_at >= 0 AND claimable_at > $1 \
       ORDER BY claimable_at LIMIT 1), 0 \
     UNION ALL SELECT NULL, (SELECT claimable_at FROM deliveries \
       WHERE status = 'pending' AND lease_token IS NOT NULL AND claimable_at >= 0 ORDER BY claimable_at LIMIT 1), 0"
);

/// Leases that have ended: their deliveries wait again.
pub(super) const END_LEASES: &str = "UPDATE deliveries SET lease_token = NULL \
     WHERE status = 'pending' AND lease_token IS NOT NULL AND claimable_at <= $1 AND id IN \
     (SELECT id FROM deliveries WHERE status = 'pending' AND lease_token IS NOT NULL \
        AND claimable_at >= 0 AND claimable_at <= $1 LIMIT $2)";

/// Hops from endpoint to endpoint after `$1` through the index of waiting deliveries, as far as one look goes and whatever
/// their backlogs, and says when the first delivery of each is due.
pub(super) const LANES: &str = concat!(
    "WITH RECURSIVE lane (endpoint_id, hop) AS ( \
       SELECT (SELECT webhook_endpoint_id FROM deliveries \
               WHERE status = 'pending' AND lease_token IS NULL AND webhook_endpoint_id > $1 \
               ORDER BY webhook_endpoint_id LIMIT 1), 1 \
       UNION ALL \
       SELECT (SELECT d.webhook_endpoint_id FROM deliveries d \
               WHERE d.status = 'pending' AND d.lease_token IS NULL AND d.webhook_endpoint_id > lane.endpoint_id \
               ORDER BY d.webhook_endpoint_id LIMIT 1), lane.hop + 1 \
       FROM lane WHERE lane.endpoint_id IS NOT NULL AND lane.hop < ",
    look!(),
    ") \
     SELECT lane.endpoint_id, (SELECT d.claimable_at FROM deliveries d \
       WHERE d.status = 'pending' AND d.lease_token IS NULL AND d.webhook_endpoint_id = lane.endpoint_id \
         AND d.claimable_at > -1 ORDER BY d.claimable_at LIMIT 1) AS due_at \
     FROM lane WHERE lane.endpoint_id IS NOT NULL"
);

/// How far open deliveries are counted.
macro_rules! counted_max {
    () => {
        10_000
    };
}
pub(super) const COUNTED_MAX: u64 = counted_max!();
macro_rules! counted {
    ($that:literal) => {
        concat!(
            "(SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE ",
            $that,
            " LIMIT ",
            counted_max!(),
            ") AS counted)"
        )
    };
}

/// How many deliveries wait, how many are leased, how many of the waiting are due, how many are held, and since when the
/// oldest is due.
pub(super) const QUEUE_DEPTH: &str = concat!(
    "SELECT ",
    counted!("status = 'pending' AND lease_token IS NULL AND claimable_at >= 0"),
    ", ",
    counted!("status = 'pending' AND lease_token IS NOT NULL AND claimable_at >= 0"),
    ", ",
    counted!("status = 'pending' AND lease_token IS NULL AND claimable_at >= 0 AND claimable_at <= $1"),
    ", ",
    counted!("status = 'held' AND window_started_at >= 0"),
    ", (SELECT claimable_at FROM deliveries WHERE status = 'pending' AND lease_token IS NULL \
       AND claimable_at >= 0 AND claimable_at <= $1 ORDER BY claimable_at LIMIT 1)"
);

pub(super) const TAKE_UPKEEP_TURN: &str = "INSERT INTO upkeep_turns (name, free_at) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET free_at = excluded.free_at WHERE upkeep_turns.free_at <= $3";
pub(super) const END_UPKEEP_TURN: &str =
    "UPDATE upkeep_turns SET free_at = $2, succeeded_at = $3 WHERE name = $1";

/// What a destination row reads, of an endpoint `e` and a secret `s`.
macro_rules! destination_columns {
    () => {
        "e.id, e.merchant_id, e.livemode, e.url, e.enabled_events, e.status, \
         s.id AS secret_id, s.key_id, s.ciphertext, s.expires_at"
    };
}
pub(super) use destination_columns;

/// The end is asked for twice: a key may be used anew after it was picked and before it is removed.
pub(super) const EXPIRE_IDEMPOTENCY_KEYS: &str = "DELETE FROM idempotency_keys \
     WHERE expires_at <= $1 AND (merchant_id, livemode, key) IN (SELECT merchant_id, livemode, key FROM idempotency_keys WHERE expires_at <= $1 LIMIT $2)";
pub(super) const EXPIRE_SIGNING_SECRETS: &str = "DELETE FROM signing_secrets WHERE id IN \
     (SELECT id FROM signing_secrets WHERE expires_at <= $1 LIMIT $2)";
pub(super) const EXPIRE_API_KEYS: &str =
    "DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys WHERE expires_at <= $1 LIMIT $2)";
pub(super) const ABANDON_HELD: &str = "UPDATE deliveries \
     SET status = 'abandoned', abandoned_reason = 'endpoint_disabled', abandoned_at = $3 \
     WHERE status || '' = 'held' AND id IN \
     (SELECT id FROM deliveries WHERE status = 'held' AND window_started_at <= $1 LIMIT $2)";
pub(super) const PURGE_DELETED_ENDPOINTS: &str = "DELETE FROM webhook_endpoints WHERE id IN \
     (SELECT e.id FROM webhook_endpoints e WHERE e.deleted_at IS NOT NULL AND NOT EXISTS \
       (SELECT 1 FROM deliveries d WHERE d.webhook_endpoint_id = e.id) LIMIT $1)";
