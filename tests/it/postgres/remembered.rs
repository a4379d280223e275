//! A process remembers a merchant's endpoints from one event to the next; what is done to them meanwhile holds all the same.

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{races::until_one_waits, suite::database};
use crate::support::{
    charge,
    engine::Database,
    id,
    process::Process,
    receiver::{Act, Receiver},
};

async fn api(database: &Database) -> Process {
    let mut command = database.serve();
    command.args(["--role", "api"]);
    Process::start(command).await
}

/// Publishes an event; answers its deliveries.
async fn deliveries(process: &Process) -> Vec<Value> {
    let event = process.internal().post("/v1/events", charge()).await.expect(201);
    let path = format!("/v1/events/{}/deliveries", id(&event));
    let list = process.merchant().await.get(&path).await.expect(200);
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_remembered_is_not_read_again() {
    let database = database().await;
    let process = api(&database).await;
    let endpoint = json!({ "url": "http://127.0.0.1:20000/" });
    process.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201);
    deliveries(&process).await;
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    // Whoever reads an endpoint to send to reads its secrets too, and would wait here until it is answered 503.
    rival.execute("BEGIN; LOCK TABLE signing_secrets IN ACCESS EXCLUSIVE MODE").await.unwrap();
    process.internal().post("/v1/events", charge()).await.expect(201);
    rival.execute("ROLLBACK").await.unwrap();
    assert_eq!(database.rows("SELECT id FROM deliveries").await.len(), 2);
}

macro_rules! of_those_that_accepted_last {
    ($what:literal) => {
        concat!(
            "SELECT ",
            $what,
            "::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
               AND query LIKE '%INSERT INTO events%'"
        )
    };
}

/// Which process of the server accepts: the second event is accepted by one statement, the first in a transaction that
/// reads what it is for.
async fn accepting(database: &Database, process: &Process) -> String {
    for _ in 0..2 {
        process.internal().post("/v1/events", charge()).await.expect(201);
    }
    let rows = database.rows(of_those_that_accepted_last!("pid")).await;
    let [row] = rows.as_slice() else { panic!("one process accepts: {rows:?}") };
    row[0].clone()
}

#[tokio::test]
async fn events_one_after_the_other_are_accepted_by_one_process_of_the_server() {
    let database = database().await;
    let process = api(&database).await;
    let before = accepting(&database, &process).await;
    assert_eq!(accepting(&database, &process).await, before, "what is in its caches is used again");
}

#[tokio::test]
async fn a_statement_that_the_server_refuses_leaves_the_connection_that_accepts_in_use() {
    let database = database().await;
    let process = api(&database).await;
    let before = accepting(&database, &process).await;
    let mut operator = PgConnection::connect(&database.url).await.unwrap();
    operator
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused''; END'; \
             CREATE TRIGGER refused BEFORE INSERT ON events EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    process.internal().post("/v1/events", charge()).await.expect(500);
    operator.execute("DROP TRIGGER refused ON events").await.unwrap();
    assert_eq!(
        accepting(&database, &process).await,
        before,
        "the server answered, so nothing is wrong with the connection"
    );
    assert_eq!(database.rows("SELECT id FROM events").await.len(), 4, "what was refused is not stored");
}

#[tokio::test]
async fn an_event_is_accepted_on_another_connection_where_the_kept_one_was_cut() {
    let database = database().await;
    let process = api(&database).await;
    let before = accepting(&database, &process).await;
    let cut = of_those_that_accepted_last!("pg_terminate_backend(pid, 10000)");
    assert_eq!(database.rows(cut).await, [["true"]]);
    // Whoever finds it cut is refused, unless it was idle for so long that it was tried first.
    let finding = process.internal().post("/v1/events", charge()).await;
    if finding.status != 201 {
        finding.expect(503);
        process.internal().post("/v1/events", charge()).await.expect(201);
    }
    assert_ne!(accepting(&database, &process).await, before);
    assert_eq!(database.rows("SELECT id FROM events").await.len(), 5, "what was refused is not stored");
}

#[tokio::test]
async fn an_event_goes_to_the_endpoints_as_another_process_left_them() {
    let database = database().await;
    let (remembering, changing) = (api(&database).await, api(&database).await);
    let merchant = changing.merchant().await;
    assert_eq!(deliveries(&remembering).await.len(), 0);
    let mut endpoints = Vec::new();
    for number in 0..2 {
        let endpoint = json!({ "url": format!("http://127.0.0.1:20000/{number}") });
        endpoints.push(merchant.post("/v1/webhook_endpoints", endpoint).await.expect(201));
        assert_eq!(deliveries(&remembering).await.len(), number + 1, "one was added");
    }
    let path = |number: usize| format!("/v1/webhook_endpoints/{}", id(&endpoints[number]));
    merchant.patch(&path(0), json!({ "enabled_events": ["payout.paid"] })).await.expect(200);
    let left = deliveries(&remembering).await;
    assert_eq!(left.len(), 1, "one takes other types");
    assert_eq!(left[0]["webhook_endpoint"], endpoints[1]["id"]);
    merchant.patch(&path(1), json!({ "status": "disabled" })).await.expect(200);
    assert_eq!(deliveries(&remembering).await[0]["status"], "held", "the other is switched off");
    merchant.delete(&path(1)).await.expect(200);
    assert_eq!(deliveries(&remembering).await.len(), 0, "and deleted");
}

#[tokio::test]
async fn an_event_is_signed_with_the_secret_that_another_process_made() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let (sending, changing) =
        (Process::start(database.serve()).await, Process::start(database.serve()).await);
    let merchant = changing.merchant().await;
    let endpoint = merchant.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
    sending.internal().post("/v1/events", charge()).await.expect(201);
    let signatures = |header: &str| header.matches("v1=").count();
    assert_eq!(signatures(receiver.until(1).await[0].header("k-payments-signature")), 1);
    let rotate = format!("/v1/webhook_endpoints/{}/rotate_secret", id(&endpoint));
    merchant.post(&rotate, "").await.expect(200);
    sending.internal().post("/v1/events", charge()).await.expect(201);
    assert_eq!(signatures(receiver.until(2).await[1].header("k-payments-signature")), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_switched_off_while_an_event_is_accepted_gets_none() {
    let database = database().await;
    let process = api(&database).await;
    let endpoint = json!({ "url": "http://127.0.0.1:20000/" });
    process.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201);
    assert_eq!(deliveries(&process).await[0]["status"], "pending");
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    rival.execute("BEGIN; UPDATE webhook_endpoints SET status = 'disabled'").await.unwrap();
    let accepting = tokio::spawn(async move { deliveries(&process).await });
    until_one_waits(&database).await;
    rival.execute("COMMIT").await.unwrap();
    assert_eq!(accepting.await.unwrap()[0]["status"], "held");
}

#[tokio::test]
async fn a_key_that_another_process_is_using_makes_one_event() {
    let database = database().await;
    let process = api(&database).await;
    let keyed = || {
        let mut event = charge();
        event["idempotency_key"] = json!("order-1");
        event
    };
    deliveries(&process).await;
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    let original = process.internal().post("/v1/events", keyed()).await.expect(201);
    rival
        .execute(
            "BEGIN; CREATE TEMPORARY TABLE used AS SELECT * FROM idempotency_keys; DELETE FROM idempotency_keys; \
             COMMIT; BEGIN; INSERT INTO idempotency_keys SELECT * FROM used",
        )
        .await
        .unwrap();
    let accepting = tokio::spawn(async move { process.internal().post("/v1/events", keyed()).await });
    until_one_waits(&database).await;
    rival.execute("COMMIT").await.unwrap();
    let replayed = accepting.await.unwrap().expect(201);
    assert_eq!(replayed["id"], original["id"]);
    assert_eq!(database.rows("SELECT id FROM events").await.len(), 2);
}
