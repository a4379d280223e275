//! `k-webhooks doctor`: what it says of a database, by what is wrong with it.

use std::process::Output;

use serde_json::{Value, json};

use super::database;
use crate::support::{engine::Database, process::Process};

const OTHER_KEY: (&str, &str) =
    ("K_WEBHOOKS__SECURITY__ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");

/// Ports that the system chooses, so that no other process is in the way.
pub(crate) const ANY_PORTS: [(&str, &str); 2] =
    [("K_WEBHOOKS__SERVER__LISTEN", "127.0.0.1:0"), ("K_WEBHOOKS__INTERNAL__LISTEN", "127.0.0.1:0")];

/// What it reports, and with which code it ends.
pub(crate) fn report(output: &Output) -> (i32, Value) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), report)
}

/// The finding of one check.
#[track_caller]
pub(crate) fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["checks"].as_array().unwrap().iter();
    findings
        .into_iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no {check}: {report}"))
}

async fn doctor(database: &Database, variables: &[(&str, &str)]) -> (i32, Value) {
    let variables = [&ANY_PORTS[..], variables].concat();
    report(&database.run(&["doctor", "--json"], &variables).await)
}

#[tokio::test]
async fn beside_a_running_service_all_is_as_it_should_be_and_nothing_is_changed() {
    let database = database().await;
    let process = Process::start(database.serve()).await;
    process
        .merchant()
        .await
        .post("/v1/webhook_endpoints", json!({ "url": "https://example.com" }))
        .await
        .expect(201);
    let dump = async || {
        let mut dump = database.dump().await;
        // The upkeep of the service goes on, and the service says that it lives.
        for table in ["upkeep_turns", "processes", "process_statistics"] {
            dump.remove(table).expect("there is such a table");
        }
        dump
    };
    let before = dump().await;
    let (public, internal) = (process.public.to_string(), process.internal.to_string());
    let listeners = [
        ("K_WEBHOOKS__SERVER__LISTEN", public.as_str()),
        ("K_WEBHOOKS__INTERNAL__LISTEN", internal.as_str()),
    ];
    let (code, report) = doctor(&database, &listeners).await;
    assert_eq!(code, 0, "{report}");
    for (check, found) in [
        ("migrations", "up to date"),
        ("encryption key", "tried on 1 signing secret"),
        ("public listener", "a k-webhooks service answers"),
        ("internal listener", "a k-webhooks service answers"),
    ] {
        let finding = finding(&report, check);
        assert_eq!(finding["outcome"], "ok", "{report}");
        assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
    }
    assert_eq!(finding(&report, "clock")["outcome"], "ok");
    assert_eq!(dump().await, before);
    process.kill().await;
}

#[tokio::test]
async fn migrations_that_are_missing_or_another_programs_are_told_apart() {
    let database = database().await;
    assert!(database.run(&["migrate"], &[]).await.status.success());
    database.execute("DELETE FROM _sqlx_migrations WHERE version = 4").await;
    let (code, report) = doctor(&database, &[]).await;
    assert_eq!((code, &finding(&report, "migrations")["outcome"]), (0, &json!("warning")), "{report}");
    assert_eq!(finding(&report, "migrations")["found"], "4 are not applied");

    database.execute("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 3").await;
    database.execute("UPDATE _sqlx_migrations SET checksum = (SELECT checksum FROM _sqlx_migrations WHERE version = 1) WHERE version = 2").await;
    let (code, report) = doctor(&database, &[]).await;
    assert_eq!((code, &finding(&report, "migrations")["outcome"]), (1, &json!("failure")), "{report}");
    assert_eq!(finding(&report, "migrations")["found"], "2 were applied in another form");
}

#[tokio::test]
async fn an_encryption_key_that_does_not_open_what_is_stored_is_a_failure() {
    let database = database().await;
    assert!(database.run(&["keys", "create", "--service", "billing"], &[]).await.status.success());
    let (code, report) = doctor(&database, &[]).await;
    assert_eq!((code, &finding(&report, "encryption key")["outcome"]), (0, &json!("ok")), "{report}");
    let (code, report) = doctor(&database, &[OTHER_KEY]).await;
    assert_eq!((code, &finding(&report, "encryption key")["outcome"]), (1, &json!("failure")), "{report}");
}

#[tokio::test]
async fn a_clock_that_is_behind_what_was_accepted_is_a_failure() {
    let database = database().await;
    assert!(database.run(&["migrate"], &[]).await.status.success());
    database
        .execute(
            "INSERT INTO events (id, merchant_id, livemode, type, created_at, body) \
             VALUES ('evt_7zzzzzzzzzzzzzzzzzzzzzzzzz', 'm_1', false, 'charge.succeeded', 0, '')",
        )
        .await;
    let (code, report) = doctor(&database, &[]).await;
    assert_eq!((code, &finding(&report, "clock")["outcome"]), (1, &json!("failure")), "{report}");
    assert!(finding(&report, "clock")["advice"].as_str().unwrap().contains("NTP"), "{report}");
}
