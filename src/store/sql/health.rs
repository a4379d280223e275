//! Statements about how endpoints fare.

macro_rules! failing_columns {
    () => {
        "webhook_endpoint_id, failing_since, counted_from, step, next_step_at"
    };
}
pub(in crate::store) use failing_columns;

pub(in crate::store) const FAILING: &str =
    concat!("SELECT ", failing_columns!(), " FROM failing_endpoints WHERE webhook_endpoint_id = $1");
/// Not of an endpoint that was deleted, whose row nobody would remove, and not of that of `$6`.
pub(in crate::store) const INSERT_FAILING: &str = concat!(
    "INSERT INTO failing_endpoints (",
    failing_columns!(),
    ") SELECT id, $2, $3, $4, CAST($5 AS BIGINT) FROM webhook_endpoints ",
    "WHERE id = $1 AND deleted_at IS NULL AND merchant_id <> $6 ",
    "ON CONFLICT (webhook_endpoint_id) DO NOTHING"
);
pub(in crate::store) const UPDATE_FAILING: &str = "UPDATE failing_endpoints \
     SET failing_since = $2, counted_from = $3, step = $4, next_step_at = $5 WHERE webhook_endpoint_id = $1";
pub(in crate::store) const DELETE_FAILING: &str =
    "DELETE FROM failing_endpoints WHERE webhook_endpoint_id = $1";
pub(in crate::store) const PURGE_FAILING: &str = "DELETE FROM failing_endpoints WHERE webhook_endpoint_id IN \
     (SELECT id FROM webhook_endpoints WHERE deleted_at IS NOT NULL)";

pub(in crate::store) const TENANT_OF_ENDPOINT: &str =
    "SELECT merchant_id, livemode FROM webhook_endpoints WHERE id = $1";
/// The end of the parenthesis is the caller's, and what is returned.
pub(in crate::store) const TAKE_STATISTICS_OF: &str = "DELETE FROM statistics \
     WHERE (merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms) IN ( \
       SELECT merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms FROM statistics WHERE length_ms = ";
pub(in crate::store) const PRUNE_STATISTICS: &str = "DELETE FROM statistics \
     WHERE (merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms) IN ( \
       SELECT merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms FROM statistics \
       WHERE length_ms = $1 AND starts_at < $2 ORDER BY starts_at LIMIT $3)";

pub(in crate::store) const LATEST: &str = "SELECT webhook_endpoint_id, last_success_at, last_failure_at, \
     last_failure_code, last_failure_message FROM latest_outcomes WHERE webhook_endpoint_id = $1";
/// Of several processes, whatever is later stays.
pub(in crate::store) const PUT_LATEST: &str = "INSERT INTO latest_outcomes AS l (webhook_endpoint_id, last_success_at, \
       last_failure_at, last_failure_code, last_failure_message) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (webhook_endpoint_id) DO UPDATE SET \
       last_success_at = CASE WHEN l.last_success_at > excluded.last_success_at THEN l.last_success_at \
         ELSE COALESCE(excluded.last_success_at, l.last_success_at) END, \
       last_failure_code = CASE WHEN l.last_failure_at > COALESCE(excluded.last_failure_at, 0) \
         THEN l.last_failure_code ELSE COALESCE(excluded.last_failure_code, l.last_failure_code) END, \
       last_failure_message = CASE WHEN l.last_failure_at > COALESCE(excluded.last_failure_at, 0) \
         THEN l.last_failure_message ELSE COALESCE(excluded.last_failure_message, l.last_failure_message) END, \
       last_failure_at = CASE WHEN l.last_failure_at > COALESCE(excluded.last_failure_at, 0) \
         THEN l.last_failure_at ELSE COALESCE(excluded.last_failure_at, l.last_failure_at) END";
pub(in crate::store) const PURGE_LATEST: &str = "DELETE FROM latest_outcomes WHERE webhook_endpoint_id IN \
     (SELECT id FROM webhook_endpoints WHERE deleted_at IS NOT NULL)";

/// Whether an outcome of a delivery `d`, which failed or not and whose attempt was made then, leaves its endpoint as it
/// stands: one that fails goes on failing without a step that is due, and one that does not fail does not begin to.
macro_rules! leaves_endpoint {
    ($failed:literal, $started_at:literal) => {
        concat!(
            " AND CASE WHEN ",
            $failed,
            " THEN EXISTS (SELECT 1 FROM failing_endpoints f WHERE f.webhook_endpoint_id = d.webhook_endpoint_id \
               AND (f.next_step_at IS NULL OR f.next_step_at > ",
            $started_at,
            ")) ELSE NOT EXISTS (SELECT 1 FROM failing_endpoints f \
               WHERE f.webhook_endpoint_id = d.webhook_endpoint_id) END"
        )
    };
}
pub(in crate::store) use leaves_endpoint;
