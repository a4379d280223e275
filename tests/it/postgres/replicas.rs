//! Several processes on one database.

use std::collections::BTreeSet;

use k_webhooks::kill_point::{self, KillPoint};
use serde_json::{Value, json};
use tokio::process::Command;

use super::suite::database;
use crate::support::{
    charge,
    engine::Database,
    id,
    metrics::Scrape,
    process::Process,
    receiver::{Act, Receiver},
};

/// `serve` that looks for work by itself so rarely that it must be told, and says what it delivers.
fn told(database: &Database) -> Command {
    let mut command = database.serve();
    command.env("K_WEBHOOKS__DATABASE__POLL", "1h").env("K_WEBHOOKS__LOG__FILTER", "info,k_webhooks=debug");
    command
}

/// The same with attempts, and so leases, that outlast the test.
fn patient(database: &Database) -> Command {
    let mut command = told(database);
    command.env("K_WEBHOOKS__DELIVERY__TIMEOUT", "10m").env("K_WEBHOOKS__DELIVERY__CONNECT_TIMEOUT", "10s");
    command
}

async fn listening(mut command: Command, role: &str) -> Process {
    command.args(["--role", role]);
    let process = Process::start(command).await;
    process.until_logged("listening to the other processes on the database").await;
    process
}

async fn endpoint(process: &Process, receiver: &Receiver) -> Value {
    let endpoint = json!({ "url": receiver.url() });
    process.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201)
}

#[tokio::test]
async fn what_one_process_accepts_another_is_told_of_and_delivers() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let worker = listening(told(&database), "worker").await;
    let mut api = told(&database);
    api.args(["--role", "api"]);
    let api = Process::start(api).await;
    let event = api.publish_to(&receiver).await;
    assert_eq!(receiver.until(1).await[0].header("k-payments-event-id"), id(&event));
    worker.until_logged("delivered").await;
    // So is a delivery that is asked for anew.
    let delivery = api.delivery_of(&event).await;
    api.merchant().await.post(&format!("/v1/deliveries/{}/retry", id(&delivery)), "").await.expect(200);
    receiver.until(2).await;
}

#[tokio::test]
async fn deliveries_that_wait_elsewhere_follow_their_endpoint_to_its_new_address() {
    let database = database().await;
    let answers = Act::status(200);
    let (old, new) = (Receiver::start(answers.clone()).await, Receiver::start(answers).await);
    let start = async || {
        let mut command = told(&database);
        command.env("K_WEBHOOKS__DELIVERY__TIMEOUT", "3s");
        listening(command, "all").await
    };
    let (sender, other) = (start().await, start().await);
    let endpoint = endpoint(&sender, &old).await;
    sender.internal().post("/v1/events", charge()).await.expect(201);
    // Before the first answer nothing would wait.
    sender.until_logged("delivered").await;
    old.now(Act::Hang);
    let mut events = BTreeSet::new();
    for _ in 0..13 {
        let event = sender.internal().post("/v1/events", charge()).await.expect(201);
        events.insert(id(&event).to_owned());
    }
    // After it the lane is five wide: the others wait behind them, leased by the sender.
    let stuck = old.until(6).await.split_off(1);
    let path = format!("/v1/webhook_endpoints/{}", id(&endpoint));
    other.merchant().await.patch(&path, json!({ "url": new.url() })).await.expect(200);
    let sent = new.until(8).await;
    let arrived: BTreeSet<String> =
        stuck.iter().chain(&sent).map(|request| request.header("k-payments-event-id").to_owned()).collect();
    assert_eq!(arrived, events);
    assert_eq!(old.received().len(), 6, "nothing more went to the old address");
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_gives_its_leases_back_and_another_goes_on_at_once() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let mut command = patient(&database);
    command.env("K_WEBHOOKS__SHUTDOWN__GRACE", "100ms");
    let mut leaving = listening(command, "all").await;
    endpoint(&leaving, &receiver).await;
    leaving.internal().post("/v1/events", charge()).await.expect(201);
    leaving.until_logged("delivered").await;
    receiver.now(Act::Hang);
    for _ in 0..10 {
        leaving.internal().post("/v1/events", charge()).await.expect(201);
    }
    // It has leased all of them: five are under way, and five wait in the lane of an endpoint that has answered.
    receiver.until(6).await;
    let staying = listening(patient(&database), "all").await;
    receiver.now(Act::status(200));
    leaving.terminate();
    assert_eq!(leaving.child.wait().await.unwrap().code(), Some(0));
    // The leases would have lasted half an hour.
    receiver.until(16).await;
    staying.terminate();
}

#[tokio::test]
async fn a_killed_process_is_taken_over_within_one_lease_by_one_that_was_running() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let mut command = told(&database);
    // It dies with its first attempt made and not recorded, however busy the machine is.
    command.env(kill_point::VARIABLE, format!("{}:1", KillPoint::AfterSend.as_str()));
    let mut doomed = listening(command, "all").await;
    let mut command = told(&database);
    // It hears of nothing; that the lease ends is in the database, where it looks now and again.
    command.env("K_WEBHOOKS__DATABASE__POLL", "1s");
    let heir = listening(command, "all").await;
    endpoint(&doomed, &receiver).await;
    let json = [("content-type", "application/json")];
    // It may be dead before it has answered.
    doomed.internal().try_send("POST", "/v1/events", &json, charge().to_string()).await;
    assert!(!doomed.child.wait().await.unwrap().success());
    let requests = receiver.until(2).await;
    assert_eq!(requests[1].header("k-payments-attempt"), "1", "the first was never recorded");
    heir.until_logged("delivered").await;
    let event = heir.merchant().await.get("/v1/events").await.expect(200)["data"][0].clone();
    assert_eq!(heir.delivery_of(&event).await["status"], "succeeded");
}

#[tokio::test]
async fn a_result_that_comes_after_its_lease_was_lost_is_reported_and_not_written() {
    let database = database().await;
    let receiver = Receiver::start(Act::Hang).await;
    let frozen = listening(told(&database), "all").await;
    let event = frozen.publish_to(&receiver).await;
    receiver.until(1).await;
    frozen.signal("STOP");
    receiver.now(Act::status(200));
    let other = listening(told(&database), "all").await;
    receiver.until(2).await;
    other.until_logged("delivered").await;
    let delivered = other.delivery_of(&event).await;
    assert_eq!(delivered["status"], "succeeded");
    frozen.signal("CONT");
    frozen.until_logged("an outcome came after its lease was lost").await;
    assert_eq!(Scrape::of(frozen.internal).await.count("k_webhooks_leases_lost_total", &[]), 1);
    assert_eq!(other.delivery_of(&event).await, delivered);
}

#[tokio::test]
async fn one_idempotency_key_at_two_processes_at_once_makes_one_event() {
    let database = database().await;
    let (one, two) = (Process::start(database.serve()).await, Process::start(database.serve()).await);
    let mut publishers = tokio::task::JoinSet::new();
    for number in 0..40 {
        for internal in [one.internal(), two.internal()] {
            let mut event = charge();
            event["idempotency_key"] = json!(format!("order-{number}"));
            publishers.spawn(async move {
                let answer = internal.post("/v1/events", event).await;
                let replayed = answer.header("idempotent-replayed").is_some();
                (number, id(&answer.expect(201)).to_owned(), replayed)
            });
        }
    }
    let answers = publishers.join_all().await;
    for number in 0..40 {
        let of_key: Vec<_> = answers.iter().filter(|(key, ..)| *key == number).collect();
        assert_eq!(of_key[0].1, of_key[1].1, "the same event");
        assert_ne!(of_key[0].2, of_key[1].2, "one of them is the replay");
    }
    let events: BTreeSet<_> = answers.iter().map(|(_, id, _)| id).collect();
    assert_eq!(events.len(), 40);
}

#[tokio::test]
async fn the_limit_on_endpoints_holds_over_all_processes() {
    let database = database().await;
    let (one, two) = (Process::start(database.serve()).await, Process::start(database.serve()).await);
    let mut callers = tokio::task::JoinSet::new();
    for caller in [one.merchant().await, two.merchant().await] {
        for _ in 0..12 {
            let caller = caller.clone();
            callers.spawn(async move {
                caller.post("/v1/webhook_endpoints", json!({ "url": "https://example.com/" })).await.status
            });
        }
    }
    let statuses = callers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 16);
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 8);
}

#[tokio::test]
async fn two_replicas_share_a_backlog_fairly() {
    share_a_backlog(2).await;
}

#[tokio::test]
async fn four_replicas_share_a_backlog_fairly() {
    share_a_backlog(4).await;
}

/// A backlog that becomes due for all replicas at once is delivered by all of them, each doing its part.
async fn share_a_backlog(replicas: usize) {
    const ENDPOINTS: usize = 8;
    const EVENTS: usize = 250;
    let database = database().await;
    let mut command = told(&database);
    command.args(["--role", "api"]).env("K_WEBHOOKS__LIMITS__REQUESTS_PER_SECOND", "1000");
    let api = Process::start(command).await;
    let receiver = Receiver::start(Act::status(200)).await;
    let merchant = api.merchant().await;
    let mut endpoints = Vec::new();
    for _ in 0..ENDPOINTS {
        endpoints.push(id(&endpoint(&api, &receiver).await).to_owned());
    }
    let switch = async |status: &str| {
        for endpoint in &endpoints {
            let path = format!("/v1/webhook_endpoints/{endpoint}");
            merchant.patch(&path, json!({ "status": status })).await.expect(200);
        }
    };
    switch("disabled").await;
    let batch: Vec<Value> = (0..EVENTS).map(|_| charge()).collect();
    api.internal().post("/v1/events/batch", json!({ "events": batch })).await.expect(201);
    let mut workers = Vec::new();
    for _ in 0..replicas {
        let mut command = told(&database);
        // No attempt fails because the machine is busy.
        command.env("K_WEBHOOKS__DELIVERY__TIMEOUT", "30s");
        workers.push(listening(command, "worker").await);
    }
    switch("enabled").await;
    receiver.until(ENDPOINTS * EVENTS).await;
    let mut parts = Vec::new();
    for worker in &mut workers {
        worker.terminate();
        assert_eq!(worker.child.wait().await.unwrap().code(), Some(0));
        parts.push(worker.count_logged("delivered").await);
    }
    #[expect(clippy::print_stdout, reason = "the figures of docs/reliability.md")]
    {
        println!("{replicas} replicas delivered {parts:?}");
    }
    assert_eq!(parts.iter().sum::<usize>(), ENDPOINTS * EVENTS, "each delivery was made once");
    let fair = ENDPOINTS * EVENTS / replicas;
    assert!(parts.iter().all(|part| *part >= fair / 10), "{parts:?}");
}
