//! `k-webhooks doctor`: what it says of this machine and of the way out, by what is wrong there.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command};

use crate::{
    sqlite::suite::doctor::{ANY_PORTS, finding, report},
    support::{
        engine::{Database, Engine as _, Sqlite},
        postgres::Volume,
        printed::WATCH,
        process::PROGRAM,
        receiver::{Act, Receiver},
    },
};

/// The program, run by another one.
async fn by(program: &[&str], database: &Database) -> Output {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args([PROGRAM, "doctor", "--json", "--config", "/dev/null"]);
    command
        .envs(ANY_PORTS)
        .env("K_WEBHOOKS__DATABASE__URL", &database.url)
        .current_dir(database.folder.path());
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    WATCH.note_answer(&String::from_utf8_lossy(&output.stdout));
    output
}

async fn doctor(database: &Database, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, Value) {
    let variables = [&ANY_PORTS[..], variables].concat();
    report(&database.run(&[&["doctor", "--json"], arguments].concat(), &variables).await)
}

#[track_caller]
fn expect(report: &Value, check: &str, outcome: &str, found: &str) {
    let finding = finding(report, check);
    assert_eq!(finding["outcome"], outcome, "{report}");
    assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
    assert_eq!(finding["advice"].is_null(), outcome == "ok", "{finding}");
}

#[tokio::test]
async fn before_the_first_start_it_says_what_will_be_and_makes_nothing() {
    let database = Sqlite::database().await;
    let output = database.run(&["doctor"], &ANY_PORTS).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("ok       database           there is none yet"), "{text}");
    assert!(fs::read_dir(database.folder.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn a_bad_option_is_named_and_ends_it_with_1() {
    let database = Sqlite::database().await;
    let (code, report) = doctor(&database, &[], &[("K_WEBHOOKS__RETRY__JITER", "0")]).await;
    assert_eq!((code, &report["outcome"]), (1, &json!("failure")));
    expect(&report, "configuration", "failure", "the nearest is retry.jitter");
}

#[tokio::test]
async fn a_database_that_is_none_or_not_there_is_a_failure() {
    let database = Sqlite::database().await;
    fs::write(database.folder.path().join("k.db"), "this is no database, however long it is read").unwrap();
    let (code, report) = doctor(&database, &[], &[]).await;
    assert_eq!(code, 1);
    expect(&report, "database", "failure", "not a database");

    let nowhere = Database::at("postgres://nobody@127.0.0.1:1/nothing".to_owned());
    let (code, report) = doctor(&nowhere, &[], &[]).await;
    assert_eq!(code, 1);
    expect(&report, "database", "failure", "the database at 127.0.0.1:1 cannot be connected to");
}

#[tokio::test]
async fn what_others_may_read_is_a_warning_and_what_they_may_change_or_use_a_failure() {
    let database = Sqlite::database().await;
    assert!(database.run(&["keys", "create", "--service", "billing"], &[]).await.status.success());
    let (file, key) = (database.folder.path().join("k.db"), database.folder.path().join("k.encryption-key"));
    let mode = |path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let (_, report) = doctor(&database, &[], &[]).await;
    expect(&report, "file permissions", "ok", "the owner's alone");
    mode(&file, 0o644);
    let (code, report) = doctor(&database, &[], &[]).await;
    assert_eq!(code, 0);
    expect(&report, "file permissions", "warning", "k.db has mode 644: others may read it");
    for (path, bits) in [(&file, 0o660), (&key, 0o640)] {
        mode(path, bits);
        let (code, report) = doctor(&database, &[], &[]).await;
        assert_eq!(code, 1);
        expect(&report, "file permissions", "failure", "others may change or use it");
        mode(path, 0o600);
    }
}

#[tokio::test]
async fn an_encryption_key_that_is_gone_is_a_failure_and_not_made_anew() {
    let database = Sqlite::database().await;
    assert!(database.run(&["keys", "create", "--service", "billing"], &[]).await.status.success());
    let key = database.folder.path().join("k.encryption-key");
    fs::remove_file(&key).unwrap();
    let (code, report) = doctor(&database, &[], &[]).await;
    assert_eq!(code, 1);
    expect(&report, "encryption key", "failure", "the encryption key that development made is gone");
    assert!(!key.exists());
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::mount(&folder.path().join("small"), "8m");
    let database = Database::at(format!("sqlite://{}/k.db", volume.path().display()));
    let (code, report) = doctor(&database, &[], &[]).await;
    assert_eq!(code, 1);
    expect(&report, "disk space", "failure", "8.0 MiB free");
}

#[tokio::test]
async fn too_few_file_descriptors_for_the_attempts_are_a_failure() {
    let database = Sqlite::database().await;
    let (code, few) = report(&by(&["prlimit", "--nofile=200"], &database).await);
    assert_eq!(code, 1);
    expect(&few, "file descriptors", "failure", "delivery.max_in_flight alone needs 1088");
    let (code, some) = report(&by(&["prlimit", "--nofile=2000"], &database).await);
    assert_eq!(code, 0);
    expect(&some, "file descriptors", "warning", "the limits come to 17472");
}

#[tokio::test]
async fn a_port_that_something_else_holds_is_a_failure() {
    let database = Sqlite::database().await;
    let receiver = Receiver::start(Act::with_header(200, "server: other")).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (taken, held) = (receiver.address.to_string(), silent.local_addr().unwrap().to_string());
    let listeners =
        [("K_WEBHOOKS__SERVER__LISTEN", taken.as_str()), ("K_WEBHOOKS__INTERNAL__LISTEN", held.as_str())];
    let (code, report) = doctor(&database, &[], &listeners).await;
    assert_eq!(code, 1);
    expect(&report, "public listener", "failure", "is taken by something else");
    expect(&report, "internal listener", "failure", "is taken by something else");
    let elsewhere = [("K_WEBHOOKS__SERVER__LISTEN", "192.0.2.1:8080")];
    let (code, report) = doctor(&database, &[], &elsewhere).await;
    assert_eq!(code, 1);
    expect(&report, "public listener", "failure", "cannot be listened on");
}

#[tokio::test]
async fn a_machine_without_name_servers_is_a_failure() {
    let database = Sqlite::database().await;
    let script = r#"mount --bind /dev/null /etc/resolv.conf && exec "$0" "$@""#;
    let (code, without) = report(&by(&["unshare", "--mount", "sh", "-c", script], &database).await);
    assert_eq!(code, 1);
    expect(&without, "dns", "failure", "name servers are not known");
}

#[tokio::test]
async fn an_endpoints_address_is_tried_by_the_way_that_attempts_go() {
    let database = Sqlite::database().await;
    let receiver = Receiver::start(Act::with_header(204, "server: ours")).await;
    let (code, report) = doctor(&database, &["--url", &receiver.url()], &[]).await;
    assert_eq!(code, 0, "{report}");
    expect(&report, "outbound", "ok", &format!("answers 204 at {}", receiver.address));
    let asked = receiver.received().remove(0);
    assert!(asked.head.starts_with("HEAD /hooks HTTP/1.1\r\n") && asked.body.is_empty(), "{}", asked.head);

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (url, found) in [
        ("http://10.0.0.5/".to_owned(), "could not be registered"),
        ("ftp://example.com/".to_owned(), "could not be registered"),
        (format!("http://{closed}/"), "(connection)"),
        ("http://nothing.invalid/".to_owned(), "could not be registered"),
    ] {
        let (code, report) = doctor(&database, &["--url", &url], &[]).await;
        assert_eq!(code, 1, "{url}");
        expect(&report, "outbound", "failure", found);
    }
}

#[tokio::test]
async fn an_address_of_the_operators_that_the_rules_refuse_is_a_failure() {
    let database = Sqlite::database().await;
    let variables = [
        ("K_WEBHOOKS__OPERATIONS__URL", "https://10.0.0.5/alerts"),
        ("K_WEBHOOKS__OPERATIONS__SIGNING_SECRET", "whsec_b3BlcmF0aW9ucyBvZiB0aGUgdGVzdHMsIDMyIGJ5dGU="),
        ("K_WEBHOOKS__OPERATIONS__ALLOW_PRIVATE", "true"),
    ];
    let (code, report) = doctor(&database, &[], &variables[..2]).await;
    assert_eq!(code, 1);
    expect(&report, "operations", "failure", "operations.url: must not point to 10.0.0.5");
    let (_, report) = doctor(&database, &[], &variables).await;
    expect(&report, "operations", "ok", "operational events go to operations.url");
}
