//! Statements that look through events in the order of their dates.

/// A stretch of a tenant's events in the order of their dates: `$1` and `$2` say whose, `$3` and `$4` after which, `$5` and
/// `$6` up to which. The comparison with zero is always true: it admits the index by date.
macro_rules! stretch {
    () => {
        "e.merchant_id = $1 AND e.livemode = $2 AND e.created_at >= 0 \
         AND (e.created_at, e.id) > ($3, $4) AND (e.created_at, e.id) <= ($5, $6)"
    };
}
pub(super) use stretch;

/// Where a look ends that takes so many events of a stretch and one more, if there are as many. It is asked for before the
/// look: what retention removes in between makes the look shorter, and has nothing passed over. The number is part of the
/// text, because SQLite plans a statement anew for each bound `OFFSET`.
macro_rules! end_of_look {
    ($offset:literal) => {
        concat!(
            "SELECT e.created_at, e.id FROM events e WHERE ",
            stretch!(),
            " ORDER BY e.created_at, e.id LIMIT 1 OFFSET ",
            $offset
        )
    };
}

/// Of a look that reads events alone.
pub(in crate::store) const END_OF_2000: &str = end_of_look!("1999");
/// Of a look that reads their deliveries too.
pub(in crate::store) const END_OF_500: &str = end_of_look!("499");

/// The deliveries of the events of a stretch by endpoint and state: of the types in the list `$7`, to the endpoint `$8` or to
/// all. The limit is twice what a look takes: with it, and the order, the planner goes by the index by date. The empty text
/// keeps it from the index of all of an endpoint's deliveries.
pub(in crate::store) const EVENT_STATES: &str = concat!(
    "SELECT e.created_at, e.id, e.type AS event_type, d.webhook_endpoint_id, d.status, count(d.id) AS deliveries FROM \
       (SELECT e.created_at, e.id, e.type FROM events e WHERE ",
    stretch!(),
    " AND (CAST($7 AS TEXT) IS NULL OR $7 LIKE '%\"' || e.type || '\"%') \
          AND (CAST($8 AS TEXT) IS NULL OR e.only_endpoint_id IS NULL OR e.only_endpoint_id = $8) \
        ORDER BY e.created_at, e.id LIMIT 1000) AS e \
     LEFT JOIN deliveries d ON d.event_id = e.id AND (CAST($8 AS TEXT) IS NULL OR d.webhook_endpoint_id || '' = $8) \
     GROUP BY e.created_at, e.id, e.type, d.webhook_endpoint_id, d.status ORDER BY e.created_at, e.id"
);
pub(in crate::store) const EVENT_PLACE: &str =
    "SELECT created_at, id FROM events WHERE id = $1 AND merchant_id = $2 AND livemode = $3";
pub(in crate::store) const EVENTS_BY_DATE: &str = concat!(
    "SELECT e.created_at AS dated, ",
    event_columns!(),
    " WHERE ",
    stretch!(),
    " ORDER BY e.created_at, e.id LIMIT $7"
);
