//! Statements about portal sessions.

use super::PagedSql;

macro_rules! columns {
    () => {
        "id, merchant_id, livemode, access, accent, appearance, created_at, opened_at, expires_at"
    };
}

pub(in crate::store) const INSERT: &str = concat!(
    "INSERT INTO portal_sessions (id, merchant_id, livemode, access, accent, appearance, secret_hash, created_at, expires_at) ",
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ",
    columns!()
);
pub(in crate::store) const OPEN: &str = concat!(
    "UPDATE portal_sessions SET secret_hash = $2, opened_at = $4 ",
    "WHERE secret_hash = $1 AND opened_at IS NULL AND created_at > $3 AND expires_at > $4 RETURNING ",
    columns!()
);
pub(in crate::store) const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM portal_sessions WHERE secret_hash = $1 AND opened_at IS NOT NULL AND expires_at > $2"
);
pub(in crate::store) const LIVES: &str = "SELECT id FROM portal_sessions WHERE id = $1 AND expires_at > $2";
pub(in crate::store) const LIST: PagedSql =
    paged!(concat!("SELECT ", columns!(), " FROM portal_sessions WHERE expires_at > $3"), "id");
pub(in crate::store) const LIST_OF_MERCHANT: PagedSql = paged!(
    concat!("SELECT ", columns!(), " FROM portal_sessions WHERE expires_at > $3 AND merchant_id = $4"),
    "id"
);
pub(in crate::store) const CURSOR: &str =
    "SELECT id FROM portal_sessions WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR merchant_id = $2)";
pub(in crate::store) const REVOKE: &str =
    concat!("DELETE FROM portal_sessions WHERE id = $1 AND expires_at > $2 RETURNING ", columns!());
pub(in crate::store) const EXPIRE: &str = "DELETE FROM portal_sessions WHERE id IN \
     (SELECT id FROM portal_sessions WHERE expires_at <= $1 LIMIT $2)";

/// What a row of counts reads, of the deliveries `d` of events.
macro_rules! count_columns {
    () => {
        "d.event_id, d.status, CASE WHEN d.attempt_count > 0 THEN 1 ELSE 0 END AS attempted, count(*) AS number"
    };
}
pub(in crate::store) use count_columns;

pub(in crate::store) const SECRETS_AT: &str = "SELECT id, key_id, ciphertext, expires_at FROM signing_secrets \
     WHERE webhook_endpoint_id = $1 AND created_at <= $2 AND (expires_at IS NULL OR expires_at > $2) \
     ORDER BY id DESC LIMIT $3";
