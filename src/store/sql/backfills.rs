//! Statements of backfills.

use super::{PagedSql, history::stretch};

macro_rules! backfill_columns {
    () => {
        "id, merchant_id, livemode, webhook_endpoint_id, created_from, created_to, types, scope, per_second, status, \
         status_reason, matched, counted_all, sent, created_at, updated_at, finished_at"
    };
}

/// Which events of a stretch a backfill sends: of the types in the list `$7`, to the endpoint `$8`, of the scope `$9`. A
/// delivery that was abandoned did not arrive, and one that is open will be seen to. The empty text, here and below, keeps the
/// planner from the index of all of an endpoint's deliveries.
macro_rules! backfill_matches {
    () => {
        "(CAST($7 AS TEXT) IS NULL OR $7 LIKE '%\"' || e.type || '\"%') \
         AND (e.only_endpoint_id IS NULL OR e.only_endpoint_id = $8) \
         AND ($9 = 'all' OR (SELECT d.id FROM deliveries d WHERE d.event_id = e.id AND d.webhook_endpoint_id || '' = $8 \
              AND d.status <> 'abandoned' LIMIT 1) IS NULL)"
    };
}

/// The limit is twice what a look takes: with it, and the order, the planner goes by the index by date.
pub(in crate::store) const COUNT_MATCHING: &str = concat!(
    "SELECT e.type, count(*) FROM (SELECT e.id, e.type, e.only_endpoint_id FROM events e WHERE ",
    stretch!(),
    " ORDER BY e.created_at, e.id LIMIT 4000) AS e WHERE ",
    backfill_matches!(),
    " GROUP BY e.type"
);
pub(in crate::store) const MATCHING: &str = concat!(
    "SELECT e.created_at, e.id FROM events e WHERE ",
    stretch!(),
    " AND ",
    backfill_matches!(),
    " AND e.id <= $10 ORDER BY e.created_at, e.id LIMIT $11"
);

/// It ends with the event that was accepted last: later ones are delivered as they come.
pub(in crate::store) const INSERT_BACKFILL: &str = concat!(
    "INSERT INTO backfills (id, merchant_id, livemode, webhook_endpoint_id, created_from, created_to, types, scope, \
     per_second, status, matched, counted_all, sent, place_created_at, place_event_id, ends_with, second_began_at, \
     made_in_second, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'running', $10, $11, 0, $5, '', COALESCE((SELECT id FROM events \
       WHERE merchant_id = $2 AND livemode = $3 ORDER BY id DESC LIMIT 1), ''), $12, 0, $12, $12) \
     ON CONFLICT DO NOTHING RETURNING ",
    backfill_columns!()
);
pub(in crate::store) const BACKFILL: &str = concat!(
    "SELECT ",
    backfill_columns!(),
    " FROM backfills WHERE id = $1 AND merchant_id = $2 AND livemode = $3"
);
pub(in crate::store) const LIST_BACKFILLS: PagedSql = paged!(
    concat!(
        "SELECT ",
        backfill_columns!(),
        " FROM backfills WHERE merchant_id = $3 AND livemode = $4 AND webhook_endpoint_id = $5"
    ),
    "id"
);
pub(in crate::store) const BACKFILL_CURSOR: &str = "SELECT id FROM backfills WHERE id = $1 AND merchant_id = $2 AND livemode = $3 AND webhook_endpoint_id = $4";
/// Pending, held and abandoned: those that have not arrived, which are few however many a backfill has made, since it waits
/// where many are open. The held are asked for by a range, which keeps the planner from the index of all held deliveries.
pub(in crate::store) const BACKFILL_TALLY: &str = "SELECT \
       (SELECT count(*) FROM deliveries WHERE backfill_id = $1 AND status = 'pending'), \
       (SELECT count(*) FROM deliveries WHERE backfill_id = $1 AND status >= 'held' AND status <= 'held'), \
       (SELECT count(*) FROM deliveries WHERE backfill_id = $1 AND status = 'abandoned')";
pub(in crate::store) const STEER_BACKFILL: &str = concat!(
    "UPDATE backfills SET status = $3, status_reason = NULL, updated_at = $4, \
     finished_at = CASE WHEN $3 = 'canceled' THEN $4 ELSE NULL END WHERE id = $1 AND status = $2 RETURNING ",
    backfill_columns!()
);
/// Locks the endpoint's backfill that is not finished, and says how it stands.
pub(in crate::store) const TOUCH_BACKFILL: &str = "UPDATE backfills SET status = status \
     WHERE webhook_endpoint_id = $1 AND status IN ('running', 'paused') RETURNING id, status";
pub(in crate::store) const STOP_BACKFILL: &str =
    "UPDATE backfills SET status = $2, status_reason = $3, updated_at = $4, finished_at = $5 WHERE id = $1";
pub(in crate::store) const RUNNING_BACKFILLS: &str =
    "SELECT id FROM backfills WHERE status = 'running' AND id > $1 ORDER BY id LIMIT $2";
pub(in crate::store) const BACKFILL_STEP: &str = "SELECT merchant_id, livemode, webhook_endpoint_id, created_to, types, \
     scope, per_second, place_created_at, place_event_id, ends_with, second_began_at, made_in_second \
     FROM backfills WHERE id = $1 AND status = 'running'";
/// How many of a backfill's deliveries are due or under way, and how many are open.
pub(in crate::store) const BACKFILL_OPEN: &str = "SELECT COALESCE(sum(CASE WHEN next_attempt_at <= $2 THEN 1 ELSE 0 END), 0), \
     count(*) FROM deliveries WHERE backfill_id = $1 AND status = 'pending'";
/// Moves a backfill's place, unless another process has, or somebody stopped it.
pub(in crate::store) const MOVE_BACKFILL: &str = "UPDATE backfills SET place_created_at = $4, place_event_id = $5, \
     second_began_at = $6, made_in_second = $7, updated_at = $8, \
     status = CASE WHEN $9 THEN 'completed' ELSE status END, \
     finished_at = CASE WHEN $9 THEN CAST($8 AS BIGINT) ELSE NULL END \
     WHERE id = $1 AND place_created_at = $2 AND place_event_id = $3 AND status = 'running'";
pub(in crate::store) const COUNT_SENT: &str =
    "UPDATE backfills SET sent = sent + $2, made_in_second = made_in_second + $2 WHERE id = $1";
/// Unless the event has come to the endpoint in another way since it was looked at.
pub(in crate::store) const INSERT_BACKFILL_DELIVERY: &str = "INSERT INTO deliveries (id, merchant_id, livemode, event_id, \
     webhook_endpoint_id, status, attempt_count, ladder_failures, window_started_at, next_attempt_at, claimable_at, \
     created_at, backfill_id) SELECT $1, $2, $3, $4, $5, 'pending', 0, 0, $6, $6, $6, $6, $7 \
     WHERE $8 = 'all' OR (SELECT d.id FROM deliveries d WHERE d.event_id = $4 AND d.webhook_endpoint_id || '' = $5 \
       AND d.status <> 'abandoned' LIMIT 1) IS NULL";
pub(in crate::store) const PRUNE_BACKFILLS: &str =
    "DELETE FROM backfills WHERE id IN (SELECT id FROM backfills WHERE finished_at < $1 LIMIT $2)";
