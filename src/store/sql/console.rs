//! Statements about console sessions, processes, and looks over all merchants.

use super::PagedSql;

macro_rules! session_columns {
    () => {
        "id, service, created_at, expires_at"
    };
}

pub(in crate::store) const INSERT_SESSION: &str = concat!(
    "INSERT INTO console_sessions (id, service, key_hash, secret_hash, created_at, expires_at) ",
    "VALUES ($1, $2, $3, $4, $5, $6) RETURNING ",
    session_columns!()
);
pub(in crate::store) const FIND_SESSION: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM console_sessions WHERE secret_hash = $1 AND expires_at > $3 AND (key_hash = $2 OR EXISTS ",
    "(SELECT 1 FROM api_keys k WHERE k.secret_hash = console_sessions.key_hash AND k.service IS NOT NULL ",
    "AND (k.expires_at IS NULL OR k.expires_at > $3)))"
);
pub(in crate::store) const END_SESSION: &str =
    concat!("DELETE FROM console_sessions WHERE id = $1 AND expires_at > $2 RETURNING ", session_columns!());
pub(in crate::store) const EXPIRE_SESSIONS: &str = "DELETE FROM console_sessions WHERE id IN \
     (SELECT id FROM console_sessions WHERE expires_at <= $1 LIMIT $2)";

/// Whose something is: each answers a row of a merchant and a mode, which may be NULL.
pub(in crate::store) const OWNER_OF_EVENT: &str = "SELECT merchant_id, livemode FROM events WHERE id = $1";
pub(in crate::store) const OWNER_OF_DELIVERY: &str =
    "SELECT merchant_id, livemode FROM deliveries WHERE id = $1";
pub(in crate::store) const OWNER_OF_ENDPOINT: &str =
    "SELECT merchant_id, livemode FROM webhook_endpoints WHERE id = $1 AND deleted_at IS NULL";
pub(in crate::store) const OWNER_OF_BACKFILL: &str =
    "SELECT merchant_id, livemode FROM backfills WHERE id = $1";
pub(in crate::store) const OWNER_OF_KEY: &str = "SELECT merchant_id, livemode FROM api_keys WHERE id = $1";
pub(in crate::store) const OWNER_OF_PORTAL_SESSION: &str =
    "SELECT merchant_id, livemode FROM portal_sessions WHERE id = $1";
/// The order leads the planner to the indexes by merchant: without it, it may expect to find one soon, and read all.
pub(in crate::store) const MERCHANT: &str = "SELECT \
     COALESCE((SELECT merchant_id FROM api_keys WHERE merchant_id = $1 ORDER BY merchant_id, id LIMIT 1), \
       (SELECT merchant_id FROM webhook_endpoints WHERE merchant_id = $1 AND deleted_at IS NULL \
        ORDER BY merchant_id, livemode, id LIMIT 1), \
       (SELECT merchant_id FROM events WHERE merchant_id = $1 ORDER BY merchant_id, livemode, id LIMIT 1))";

/// `$1` is the id beside which the page lies; the first page's is no endpoint's, and sorts behind all.
macro_rules! failing {
    ($compares:literal, $order:literal) => {
        concat!(
            "SELECT e.id, e.merchant_id, e.livemode, e.url, e.enabled_events, e.description, e.status, \
               e.disabled_reason, e.created_at, e.updated_at, \
               f.webhook_endpoint_id, f.failing_since, f.counted_from, f.step, f.next_step_at, \
               l.last_success_at, l.last_failure_at, l.last_failure_code, l.last_failure_message \
             FROM failing_endpoints f \
             JOIN webhook_endpoints e ON e.id = f.webhook_endpoint_id AND e.deleted_at IS NULL \
             LEFT JOIN latest_outcomes l ON l.webhook_endpoint_id = f.webhook_endpoint_id \
             WHERE (f.failing_since, f.webhook_endpoint_id) ",
            $compares,
            " (COALESCE((SELECT c.failing_since FROM failing_endpoints c WHERE c.webhook_endpoint_id = $1), \
               9223372036854775807), $1) ORDER BY f.failing_since ",
            $order,
            ", f.webhook_endpoint_id ",
            $order,
            " LIMIT $2"
        )
    };
}
pub(in crate::store) const LIST_FAILING: PagedSql =
    PagedSql { newest_first: failing!("<", "DESC"), oldest_first: failing!(">", "ASC") };
pub(in crate::store) const FAILING_CURSOR: &str =
    "SELECT webhook_endpoint_id FROM failing_endpoints WHERE webhook_endpoint_id = $1";

pub(in crate::store) const PUT_PROCESS: &str = "INSERT INTO processes \
     (id, role, version, host, started_at, seen_at, load) VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, load = excluded.load";
pub(in crate::store) const FORGET_PROCESS: &str = "DELETE FROM processes WHERE id = $1";
pub(in crate::store) const PROCESSES: &str = "SELECT id, role, version, host, started_at, seen_at, load \
     FROM processes WHERE seen_at > $1 ORDER BY started_at, id LIMIT 1000";
pub(in crate::store) const EXPIRE_PROCESSES: &str = "DELETE FROM processes WHERE seen_at <= $1";

pub(in crate::store) const PUT_TALLY: &str = "INSERT INTO process_statistics (process_id, length_ms, starts_at, counts) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (length_ms, starts_at, process_id) DO UPDATE SET counts = excluded.counts";
/// The newest, should there be more than anybody looks at.
pub(in crate::store) const TALLIES: &str = "SELECT starts_at, counts FROM process_statistics \
     WHERE length_ms = $1 AND starts_at >= $2 AND starts_at < $3 ORDER BY starts_at DESC LIMIT 20000";
pub(in crate::store) const PRUNE_TALLIES: &str = "DELETE FROM process_statistics \
     WHERE (length_ms, starts_at, process_id) IN (SELECT length_ms, starts_at, process_id FROM process_statistics \
       WHERE length_ms = $1 AND starts_at < $2 ORDER BY starts_at LIMIT $3)";

pub(in crate::store) const UPKEEP_DONE: &str = "SELECT name, succeeded_at FROM upkeep_turns ORDER BY name";
