//! The feed of abandoned deliveries, where processes abandon at once and transactions end in another order than they began.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::suite::database;
use crate::support::{
    Caller, charge, id,
    process::Process,
    receiver::{Act, Receiver},
};

async fn behind(internal: &Caller, position: i64) -> Vec<Value> {
    let path = format!("/v1/abandoned_deliveries?limit=100&starting_after={position}");
    internal.get(&path).await.expect(200)["data"].as_array().unwrap().clone()
}

fn position(abandoned: &Value) -> i64 {
    abandoned["position"].as_i64().unwrap()
}

#[tokio::test]
async fn what_two_processes_abandon_at_once_is_seen_once_and_in_one_order_by_whoever_polls_either() {
    const EVENTS: usize = 60;
    let database = database().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let start = async || {
        let mut command = database.serve();
        // The first failure closes the window.
        command.env("K_WEBHOOKS__RETRY__WINDOW", "1s");
        Process::start(command).await
    };
    let (one, two) = (start().await, start().await);
    one.publish_to(&receiver).await;
    let mut publishers = tokio::task::JoinSet::new();
    for internal in [one.internal(), two.internal()] {
        publishers.spawn(async move {
            for _ in 0..EVENTS {
                internal.post("/v1/events", charge()).await.expect(201);
            }
        });
    }
    let mut pollers = tokio::task::JoinSet::new();
    for internal in [one.internal(), two.internal()] {
        pollers.spawn(async move {
            let mut seen: Vec<(i64, String)> = Vec::new();
            while seen.len() < 2 * EVENTS + 1 {
                let after = seen.last().map_or(0, |(position, _)| *position);
                let page = behind(&internal, after).await;
                seen.extend(page.iter().map(|one| (position(one), id(one).to_owned())));
            }
            seen
        });
    }
    publishers.join_all().await;
    let seen = pollers.join_all().await;
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].is_sorted_by(|one, next| one.0 < next.0));
    let ids: BTreeSet<&String> = seen[0].iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 2 * EVENTS + 1, "each once");
    assert_eq!(behind(&two.internal(), seen[0].last().unwrap().0).await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_was_abandoned_first_and_committed_last_comes_behind_what_was_listed_before() {
    const ABANDON: &str = "UPDATE deliveries SET status = 'abandoned', abandoned_reason = 'gone', abandoned_at = $2, \
         next_attempt_at = NULL, claimable_at = NULL, lease_token = NULL WHERE id = $1";
    let database = database().await;
    let mut command = database.serve();
    // Nobody delivers.
    command.args(["--role", "api"]);
    let process = Process::start(command).await;
    let merchant = process.merchant().await;
    merchant.post("/v1/webhook_endpoints", json!({ "url": "https://example.com/" })).await.expect(201);
    let mut deliveries = Vec::new();
    for _ in 0..2 {
        let event = process.internal().post("/v1/events", charge()).await.expect(201);
        deliveries.push(id(&process.delivery_of(&event).await).to_owned());
    }
    let mut slow = PgConnection::connect(&database.url).await.unwrap();
    let mut quick = PgConnection::connect(&database.url).await.unwrap();
    let mut late = slow.begin().await.unwrap();
    sqlx::query(ABANDON).bind(&deliveries[0]).bind(1_000_i64).execute(&mut *late).await.unwrap();
    sqlx::query(ABANDON).bind(&deliveries[1]).bind(2_000_i64).execute(&mut quick).await.unwrap();
    let internal = process.internal();
    let first = behind(&internal, 0).await;
    assert_eq!(first.iter().map(id).collect::<Vec<_>>(), [deliveries[1].as_str()]);
    late.commit().await.unwrap();
    let then = behind(&internal, position(&first[0])).await;
    assert_eq!(then.iter().map(id).collect::<Vec<_>>(), [deliveries[0].as_str()]);
    assert_eq!(then[0]["abandoned_at"], 1);
}
