//! Transactions that meet, and a schema that must be that of the other engine.

use std::{collections::BTreeSet, sync::Arc};

use k_webhooks::{
    clock::UnixMs,
    entropy::Entropy,
    id::IdSource,
    store::{LeaseOffer, Room},
};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{Engine, suite::database};
use crate::support::{
    TestApp, charge,
    engine::{Database, Engine as _, Sqlite},
    process::Process,
    receiver::{Act, Receiver},
};

const NOW: UnixMs = UnixMs(4_000_000_000_000);

#[tokio::test]
async fn the_tables_and_columns_are_those_of_the_embedded_engine() {
    let ids = || Arc::new(IdSource::new(Entropy::os()));
    let (postgres, sqlite) = (Engine::database().await, Sqlite::database().await);
    postgres.open(ids()).await.close().await;
    sqlite.open(ids()).await.close().await;
    let set = |rows: Vec<Vec<String>>| rows.into_iter().collect::<BTreeSet<_>>();
    let of_postgres = "SELECT table_name::text, column_name::text, is_nullable::text FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'";
    let of_sqlite = "SELECT m.name, c.name, CASE WHEN c.\"notnull\" THEN 'NO' ELSE 'YES' END \
         FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT IN ('_sqlx_migrations', 'sqlite_stat1', 'sqlite_stat4')";
    assert_eq!(set(postgres.rows(of_postgres).await), set(sqlite.rows(of_sqlite).await));
    let indexes = "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%key' \
         AND indexname NOT LIKE '%pkey' AND tablename <> '_sqlx_migrations'";
    let of_sqlite = "SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_%'";
    assert_eq!(set(postgres.rows(indexes).await), set(sqlite.rows(of_sqlite).await));
    let ids = "SELECT table_name::text, column_name::text FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' AND collation_name IS NULL \
         AND (column_name = 'id' OR column_name LIKE '%\\_id')";
    let unordered: Vec<Vec<String>> = postgres.rows(ids).await;
    // The ids of encryption keys are compared with each other alone.
    assert_eq!(
        unordered,
        [["signing_secrets", "key_id"]],
        "ids sort bytewise, whatever the database's locale"
    );
}

#[tokio::test]
async fn a_transaction_that_is_the_victim_of_a_deadlock_is_begun_again() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let mut command = database.serve();
    command.args(["--role", "api"]);
    let api = Process::start(command).await;
    for _ in 0..2 {
        api.publish_to(&receiver).await;
    }
    api.kill().await;
    let ids = Arc::new(IdSource::new(Entropy::os()));
    let store = database.open(Arc::clone(&ids)).await;
    let room = Room::new(10, Arc::new(10));
    let offer = LeaseOffer { token: ids.next(NOW), until: NOW, room };
    let mut leases: Vec<_> = store
        .claim(&offer, None, NOW)
        .await
        .unwrap()
        .deliveries
        .iter()
        .map(|one| (one.id, one.lease))
        .collect();
    assert_eq!(leases.len(), 3, "the first event to one endpoint, the second to two");
    leases.sort_unstable_by_key(|(id, _)| id.to_string());

    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    let take = |index: usize| {
        let update = format!("UPDATE deliveries SET attempt_count = 0 WHERE id = '{}'", leases[index].0);
        sqlx::AssertSqlSafe(update)
    };
    // The rival does not become the victim.
    rival.execute("SET deadlock_timeout = '1min'").await.unwrap();
    rival.execute("BEGIN").await.unwrap();
    rival.execute(take(2)).await.unwrap();
    // The store locks the first and the second, and waits for the third.
    let release = tokio::spawn({
        let (store, leases) = (Arc::clone(&store), leases.clone());
        async move { store.release(&leases).await }
    });
    until_one_waits(&database).await;
    // Each now waits for the other; the server ends the store's transaction, which is begun again.
    rival.execute(take(0)).await.unwrap();
    rival.execute("COMMIT").await.unwrap();
    release.await.unwrap().unwrap();
    let leased = "SELECT id FROM deliveries WHERE lease_token IS NOT NULL";
    assert!(database.rows(leased).await.is_empty());
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    // There are two where the store, begun again, was at the first row before the rival had woken.
    while database.rows(deadlocks).await == [["0"]] {
        // Statistics are written a moment after the fact.
        tokio::task::yield_now().await;
    }
}

/// Returns when a statement of this database waits for a lock.
pub(super) async fn until_one_waits(database: &Database) {
    let waiting = "SELECT pid::text FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while database.rows(waiting).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_idempotency_key_that_is_used_anew_while_it_expires_is_remembered() {
    let database = database().await;
    let process = Process::start(database.serve()).await;
    let mut event = charge();
    event["idempotency_key"] = json!("order-1");
    process.internal().post("/v1/events", event).await.expect(201);
    process.kill().await;
    database.execute("UPDATE idempotency_keys SET expires_at = 1").await;
    let store = database.open(Arc::new(IdSource::new(Entropy::os()))).await;
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    // As another process does that accepts an event with this key.
    rival.execute("BEGIN; UPDATE idempotency_keys SET expires_at = 5000000000000").await.unwrap();
    let expire = tokio::spawn(async move { store.expire_idempotency_keys(10, NOW).await });
    until_one_waits(&database).await;
    rival.execute("COMMIT").await.unwrap();
    assert_eq!(expire.await.unwrap().unwrap(), 0);
    assert_eq!(database.rows("SELECT key FROM idempotency_keys").await, [["order-1"]]);
}

#[tokio::test]
async fn what_a_vanished_process_has_locked_is_free_again_soon() {
    let database = database().await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__DATABASE__STATEMENT_TIMEOUT", "500ms");
    let process = Process::start(command).await;
    process.internal().post("/v1/events", charge()).await.expect(201);
    let timeout = "SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'";
    assert_eq!(database.rows(timeout).await, [["0"]], "the server's own default");
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'";
    assert_ne!(database.rows(idle).await, [["0"]]);
    // Frozen in the middle of a commit, its session is ended by the server.
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    rival.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let publishing = tokio::spawn({
        let internal = process.internal();
        async move {
            internal
                .try_send("POST", "/v1/events", &[("content-type", "application/json")], charge().to_string())
                .await
        }
    });
    until_one_waits(&database).await;
    process.signal("STOP");
    rival.execute("ROLLBACK").await.unwrap();
    let in_transaction = "SELECT pid::text FROM pg_stat_activity \
                          WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    while !database.rows(in_transaction).await.is_empty() {
        tokio::task::yield_now().await;
    }
    process.signal("CONT");
    let _ = publishing.await.unwrap();
    process.internal().post("/v1/events", charge()).await.expect(201);
}

#[tokio::test]
async fn payloads_that_wait_beyond_the_bound_are_refused_at_once_and_the_others_are_stored() {
    let database = database().await;
    let mut command = database.serve();
    command
        .env("K_WEBHOOKS__LIMITS__BATCH_BODY_MAX", "256KiB")
        .env("K_WEBHOOKS__LIMITS__ACCEPT_QUEUE_BYTES_MAX", "256KiB");
    let process = Process::start(command).await;
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    rival.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut publishers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut event = charge();
        event["data"]["object"]["note"] = json!("x".repeat(120 * 1024));
        let internal = process.internal();
        publishers.spawn(async move { internal.post("/v1/events", event).await.status });
    }
    assert_eq!(publishers.join_next().await.unwrap().unwrap(), 503);
    rival.execute("ROLLBACK").await.unwrap();
    assert_eq!(publishers.join_all().await, [201, 201]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_answered_503() {
    let database = database().await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__DATABASE__STATEMENT_TIMEOUT", "2s");
    let process = Process::start(command).await;
    process.internal().post("/v1/events", charge()).await.expect(201);
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    rival.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let refused = process.internal().post("/v1/events", charge()).await;
    assert_eq!(refused.expect(503)["error"]["type"], "internal_error");
    rival.execute("ROLLBACK").await.unwrap();
    process.internal().post("/v1/events", charge()).await.expect(201);
    assert_eq!(database.rows("SELECT count(*) FROM events").await, [["2"]]);
}

#[tokio::test]
async fn lists_that_take_long_leave_the_connections_to_what_must_not_wait() {
    let app = TestApp::<Engine>::start().await;
    let mut locker = PgConnection::connect(&app.database.url).await.unwrap();
    locker.execute("BEGIN; LOCK TABLE audit_entries IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let lists: Vec<_> = (0..8)
        .map(|_| {
            let internal = app.internal.clone();
            tokio::spawn(async move { internal.get("/v1/audit_entries").await })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while app.database.rows(waiting).await[0][0] == "0" {}
    // With four connections, all of which the lists would have taken.
    app.publish(charge()).await;
    locker.execute("ROLLBACK").await.unwrap();
    for list in lists {
        list.await.unwrap().expect(200);
    }
    app.stop().await;
}
