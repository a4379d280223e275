//! What must hold once everything has come to its end.

use std::collections::{BTreeSet, HashMap};

use super::Promised;
use crate::support::{engine::Server, receiver::Receiver};

/// Checks that everything adds up; answers what there was.
pub(super) async fn verify(
    server: &Server,
    promised: &Promised,
    endpoints: &HashMap<&str, String>,
    receivers: &[(&str, Receiver)],
) -> String {
    let database = &server.database;
    // No event twice for one key, and every promise is kept.
    let stored = database.rows("SELECT id FROM events").await;
    let stored: BTreeSet<&str> = stored.iter().map(|row| row[0].as_str()).collect();
    for event in promised.keyed.values().chain(&promised.tests) {
        assert!(stored.contains(event.as_str()), "{event} was accepted and is lost");
    }
    let keys = database.rows("SELECT key, event_id FROM idempotency_keys").await;
    assert_eq!(keys.len(), promised.keyed.len(), "one record for each key");
    for key in keys {
        assert_eq!(promised.keyed[&key[0]], key[1], "the key's event is the one that was promised");
    }
    let twice = "SELECT event_id, webhook_endpoint_id FROM deliveries \
                 GROUP BY event_id, webhook_endpoint_id HAVING count(*) > 1";
    assert_eq!(database.rows(twice).await, Vec::<Vec<String>>::new());

    // Every event has a delivery to each endpoint that was there, and each ended with a reason.
    let deliveries = database
        .rows("SELECT event_id, webhook_endpoint_id, status, COALESCE(abandoned_reason, ''), id FROM deliveries")
        .await;
    let mut of_event: HashMap<&str, HashMap<&str, (&str, &str)>> = HashMap::new();
    for row in &deliveries {
        of_event.entry(&row[0]).or_default().insert(&row[1], (&row[2], &row[3]));
    }
    for event in promised.keyed.values() {
        let of_event = &of_event[event.as_str()];
        let of = |name: &str| of_event.get(endpoints[name].as_str()).copied();
        assert_eq!(of("healthy"), Some(("succeeded", "")), "{event}");
        assert_eq!(of("failing"), Some(("abandoned", "window_closed")), "{event}");
        for name in ["flaky", "switched"] {
            let ended = of(name);
            let ok = [("succeeded", ""), ("abandoned", "window_closed"), ("abandoned", "endpoint_disabled")];
            assert!(ended.is_some_and(|ended| ok.contains(&ended)), "{event} to {name}: {ended:?}");
        }
        let ended = of("deleted");
        let ok = [None, Some(("succeeded", "")), Some(("abandoned", "endpoint_deleted"))];
        assert!(ok.contains(&ended), "{event}: {ended:?}");
    }

    // What is recorded as delivered was received.
    let mut repeated = 0;
    for (name, receiver) in receivers {
        let mut times: HashMap<String, usize> = HashMap::new();
        for request in receiver.received() {
            *times.entry(request.header("k-payments-event-id").to_owned()).or_default() += 1;
        }
        if ["healthy", "switched", "deleted"].contains(name) {
            repeated += times.values().filter(|times| **times > 1).count();
        }
        let endpoint = &endpoints[name];
        for row in deliveries.iter().filter(|row| row[1] == *endpoint && row[2] == "succeeded") {
            assert!(times.contains_key(&row[0]), "{} was not received by {name}", row[0]);
        }
    }

    // Attempts are numbered without a gap, none follows a success, and no two overlap: each was within its lease.
    let attempts = database
        .rows(
            "SELECT a.delivery_id, CAST(a.number AS TEXT), CAST(a.started_at AS TEXT), CAST(a.duration_ms AS TEXT), \
             COALESCE(a.failure_code, '') FROM attempts a ORDER BY a.delivery_id, a.number",
        )
        .await;
    let number = |text: &str| text.parse::<i64>().unwrap();
    let mut last: Option<&Vec<String>> = None;
    for row in &attempts {
        let before = last.filter(|before| before[0] == row[0]);
        assert_eq!(number(&row[1]), before.map_or(1, |before| number(&before[1]) + 1), "{row:?}");
        if let Some(before) = before {
            assert_ne!(before[4], "", "no attempt after a success: {row:?}");
            assert!(
                number(&row[2]) >= number(&before[2]) + number(&before[3]),
                "{before:?} overlaps {row:?}"
            );
        }
        last = Some(row);
    }
    let miscounted = "SELECT d.id FROM deliveries d WHERE d.attempt_count <> \
                      (SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id)";
    assert_eq!(database.rows(miscounted).await, Vec::<Vec<String>>::new());
    format!("{} deliveries, {} attempts, {repeated} received twice", deliveries.len(), attempts.len())
}
