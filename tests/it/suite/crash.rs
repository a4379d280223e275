//! Faults: the process killed at bad moments.

use std::time::Duration;

use serde_json::json;

use super::database;
use crate::support::{
    charge, id,
    process::Process,
    receiver::{Act, Receiver},
};

#[tokio::test]
async fn an_event_accepted_before_a_kill_and_never_sent_is_delivered_by_the_next_process() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    // An API without a worker accepts and does not send: the kill falls between the two.
    let mut command = database.serve();
    command.args(["--role", "api"]);
    let process = Process::start(command).await;
    let event = process.publish_to(&receiver).await;
    process.kill().await;
    assert!(receiver.received().is_empty());
    let next = Process::start(database.serve()).await;
    assert_eq!(receiver.until(1).await[0].header("k-payments-event-id"), id(&event));
    next.kill().await;
}

#[tokio::test]
async fn an_attempt_under_way_at_a_kill_is_made_again_by_the_next_process() {
    let database = database().await;
    let receiver = Receiver::start(Act::Hang).await;
    let mut command = database.serve();
    // Longer than the kill takes to come, also on a busy machine.
    command.env("K_WEBHOOKS__DELIVERY__TIMEOUT", "3s");
    let process = Process::start(command).await;
    let event = process.publish_to(&receiver).await;
    // The request has arrived and its outcome is not recorded: the kill falls between send and record.
    receiver.until(1).await;
    process.kill().await;
    receiver.now(Act::status(200));
    let next = Process::start(database.serve()).await;
    let requests = receiver.until(2).await;
    assert_eq!(requests[1].header("k-payments-event-id"), id(&event));
    assert_eq!(requests[0].body, requests[1].body);
    next.terminate();
    let mut next = next;
    assert_eq!(next.child.wait().await.unwrap().code(), Some(0));
    let last = Process::start(database.serve()).await;
    assert_eq!(last.delivery_of(&event).await["status"], "succeeded");
    last.kill().await;
}

#[tokio::test]
async fn a_sigterm_lets_an_attempt_under_way_finish_and_be_recorded() {
    let database = database().await;
    let receiver = Receiver::start(Act::Drip).await;
    let mut process = Process::start(database.serve()).await;
    let event = process.publish_to(&receiver).await;
    receiver.until(1).await;
    process.terminate();
    assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
    let next = Process::start(database.serve()).await;
    let delivery = next.delivery_of(&event).await;
    assert_eq!(
        (&delivery["attempt_count"], &delivery["attempts"][0]["failure_code"]),
        (&json!(1), &json!("timeout"))
    );
    next.kill().await;
}

#[tokio::test]
async fn thirty_two_publishers_lose_nothing_to_a_kill() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let process = Process::start(database.serve()).await;
    process
        .merchant()
        .await
        .post("/v1/webhook_endpoints", json!({ "url": receiver.url() }))
        .await
        .expect(201);
    let mut publishers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let internal = process.internal();
        publishers.spawn(async move {
            let mut accepted = Vec::new();
            for _ in 0..10 {
                accepted.push(id(&internal.post("/v1/events", charge()).await.expect(201)).to_owned());
            }
            accepted
        });
    }
    let accepted: Vec<String> = publishers.join_all().await.concat();
    process.kill().await;
    let next = Process::start(database.serve()).await;
    let arrived = async {
        for count in accepted.len().. {
            let received = receiver.until(count).await;
            let ids: std::collections::BTreeSet<_> =
                received.iter().map(|request| request.header("k-payments-event-id").to_owned()).collect();
            if accepted.iter().all(|event| ids.contains(event)) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.expect("every accepted event arrives");
    next.kill().await;
}
