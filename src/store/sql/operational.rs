//! Statements about what those who operate the service are told, and the order in which deliveries were abandoned.

pub(in crate::store) const LOCK_SETTING: &str =
    "UPDATE settings SET value = value WHERE name = $1 RETURNING value";
pub(in crate::store) const DELETE_SETTING: &str = "DELETE FROM settings WHERE name = $1";

pub(in crate::store) const ENDPOINT_TO_TELL_OF: &str =
    concat!("SELECT ", endpoint_columns!(), " FROM webhook_endpoints WHERE id = $1 AND deleted_at IS NULL");
pub(in crate::store) const ENDPOINT_OF_OPERATORS: &str =
    "SELECT id FROM webhook_endpoints WHERE merchant_id = $1 AND livemode = $2 AND deleted_at IS NULL";

pub(in crate::store) const ABANDONED_ANEW: &str = "SELECT id FROM deliveries \
     WHERE status = 'abandoned' AND abandoned_position IS NULL LIMIT 1";
/// The state is asked for twice: another process may change a row after it was picked and before it is updated.
pub(in crate::store) const GIVE_POSITIONS: &str = "UPDATE deliveries \
     SET abandoned_position = CAST($1 AS BIGINT) + anew.place FROM ( \
       SELECT id, row_number() OVER (ORDER BY abandoned_at, id) AS place FROM ( \
         SELECT id, abandoned_at FROM deliveries \
         WHERE status = 'abandoned' AND abandoned_position IS NULL ORDER BY abandoned_at LIMIT $2) AS picked) AS anew \
     WHERE deliveries.id = anew.id AND deliveries.status || '' = 'abandoned' AND deliveries.abandoned_position IS NULL \
     RETURNING abandoned_position";

/// Behind the position `$1`, `$2` of them.
macro_rules! abandoned {
    ($columns:expr, $which:literal) => {
        concat!(
            "SELECT d.merchant_id, d.abandoned_at, d.abandoned_position, ",
            $columns,
            " WHERE d.status = 'abandoned' AND d.abandoned_position IS NOT NULL AND d.abandoned_position > $1 AND ",
            $which,
            " ORDER BY d.abandoned_position LIMIT $2"
        )
    };
}
/// Of all merchants, which is of all but `$3`.
pub(in crate::store) const LIST_ABANDONED: &str = abandoned!(
    delivery_columns!(),
    "d.merchant_id <> $3 AND (CAST($4 AS BOOLEAN) IS NULL OR d.livemode = $4)"
);
pub(in crate::store) const LIST_ABANDONED_OF_TENANT: &str =
    abandoned!(delivery_columns!(), "d.merchant_id = $3 AND d.livemode = $4");
/// Of all but `$3`, no more than is counted.
pub(in crate::store) const COUNT_ABANDONED: &str = abandoned!(
    "d.id, d.webhook_endpoint_id, d.livemode, d.abandoned_reason FROM deliveries d",
    "d.merchant_id <> $3"
);
