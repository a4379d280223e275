//! Faults: the process killed at bad moments, and a disk that is full.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    charge, id,
    process::{Process, serve_command},
    receiver::{Act, Receiver},
};

async fn delivery_of(process: &Process, event: &Value) -> Value {
    let merchant = process.merchant().await;
    let list = merchant.get(&format!("/v1/events/{}/deliveries", id(event))).await.expect(200);
    merchant.get(&format!("/v1/deliveries/{}", id(&list["data"][0]))).await.expect(200)
}

/// Registers the receiver and publishes an event to it.
async fn publish_to(process: &Process, receiver: &Receiver) -> Value {
    let endpoint = json!({ "url": receiver.url() });
    process.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201);
    process.internal().post("/v1/events", charge()).await.expect(201)
}

#[tokio::test]
async fn an_event_accepted_before_a_kill_and_never_sent_is_delivered_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Act::status(200)).await;
    // An API without a worker accepts and does not send: the kill falls between the two.
    let mut command = serve_command(folder.path());
    command.args(["--role", "api"]);
    let process = Process::start(command).await;
    let event = publish_to(&process, &receiver).await;
    process.kill().await;
    assert!(receiver.received().is_empty());
    let next = Process::start(serve_command(folder.path())).await;
    assert_eq!(receiver.until(1).await[0].header("k-payments-event-id"), id(&event));
    next.kill().await;
}

#[tokio::test]
async fn an_attempt_under_way_at_a_kill_is_made_again_at_once_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Act::Hang).await;
    let process = Process::start(serve_command(folder.path())).await;
    let event = publish_to(&process, &receiver).await;
    // The request has arrived and its outcome is not recorded: the kill falls between send and record.
    receiver.until(1).await;
    process.kill().await;
    receiver.now(Act::status(200));
    let next = Process::start(serve_command(folder.path())).await;
    let requests = receiver.until(2).await;
    assert_eq!(requests[1].header("k-payments-event-id"), id(&event));
    assert_eq!(requests[0].body, requests[1].body);
    next.terminate();
    let mut next = next;
    assert_eq!(next.child.wait().await.unwrap().code(), Some(0));
    let last = Process::start(serve_command(folder.path())).await;
    assert_eq!(delivery_of(&last, &event).await["status"], "succeeded");
    last.kill().await;
}

#[tokio::test]
async fn a_sigterm_lets_an_attempt_under_way_finish_and_be_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Act::Drip).await;
    let mut command = serve_command(folder.path());
    command.env("K_WEBHOOKS__DELIVERY__TIMEOUT", "1s").env("K_WEBHOOKS__DELIVERY__CONNECT_TIMEOUT", "1s");
    let mut process = Process::start(command).await;
    let event = publish_to(&process, &receiver).await;
    receiver.until(1).await;
    process.terminate();
    assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
    let next = Process::start(serve_command(folder.path())).await;
    let delivery = delivery_of(&next, &event).await;
    assert_eq!(
        (&delivery["attempt_count"], &delivery["attempts"][0]["failure_code"]),
        (&json!(1), &json!("timeout"))
    );
    next.kill().await;
}

#[tokio::test]
async fn a_full_disk_answers_503_and_all_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(serve_command(folder.path())).await;
    process.internal().post("/v1/events", charge()).await.expect(201);
    process.limit_files("4096");
    let refused = process.internal().post("/v1/events", charge()).await;
    assert_eq!(refused.expect(503)["error"]["type"], "internal_error");
    assert!(refused.header("retry-after").is_some());
    process.limit_files("unlimited");
    process.internal().post("/v1/events", charge()).await.expect(201);
    let events = process.merchant().await.get("/v1/events").await.expect(200);
    assert_eq!(events["data"].as_array().unwrap().len(), 2, "the refused one left nothing behind");
    process.kill().await;
}

#[tokio::test]
async fn an_outcome_that_the_full_disk_cannot_take_waits_and_is_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Act::Drip).await;
    let mut command = serve_command(folder.path());
    command.env("K_WEBHOOKS__DELIVERY__TIMEOUT", "1s").env("K_WEBHOOKS__DELIVERY__CONNECT_TIMEOUT", "1s");
    let process = Process::start(command).await;
    let event = publish_to(&process, &receiver).await;
    receiver.until(1).await;
    process.limit_files("4096");
    process.until_logged("outcomes wait for the database").await;
    process.limit_files("unlimited");
    process.until_logged("attempt failed").await;
    let delivery = delivery_of(&process, &event).await;
    assert_eq!((&delivery["attempt_count"], &delivery["status"]), (&json!(1), &json!("pending")));
    assert_eq!(receiver.received().len(), 1, "nothing was sent twice");
    process.kill().await;
}

#[tokio::test]
async fn thirty_two_publishers_lose_nothing_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Act::status(200)).await;
    let process = Process::start(serve_command(folder.path())).await;
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
    let next = Process::start(serve_command(folder.path())).await;
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
