//! The suite on the embedded engine, and what is particular to it: its file, and that one process at a time delivers.

#[path = "../suite/mod.rs"]
pub(crate) mod suite;

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use serde_json::json;

use crate::support::{
    charge,
    engine::{Engine as _, Sqlite as Engine},
    process::{PROGRAM, Process},
    receiver::{Act, Receiver},
};

#[tokio::test]
async fn a_full_disk_answers_503_and_all_goes_on_once_there_is_room() {
    let database = Engine::database().await;
    let process = Process::start(database.serve()).await;
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
    let database = Engine::database().await;
    let receiver = Receiver::start(Act::Drip).await;
    let process = Process::start(database.serve()).await;
    let event = process.publish_to(&receiver).await;
    receiver.until(1).await;
    process.limit_files("4096");
    process.until_logged("outcomes wait for the database").await;
    process.limit_files("unlimited");
    process.until_logged("attempt failed").await;
    let delivery = process.delivery_of(&event).await;
    assert_eq!((&delivery["attempt_count"], &delivery["status"]), (&json!(1), &json!("pending")));
    assert_eq!(receiver.received().len(), 1, "nothing was sent twice");
    process.kill().await;
}

#[tokio::test]
async fn what_is_stored_is_readable_by_its_owner_alone_whatever_the_umask() {
    let database = Engine::database().await;
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", r#"umask 000; exec "$0" serve --config /dev/null"#, PROGRAM]);
    let serve = database.serve();
    command.envs(serve.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("K_WEBHOOKS__DATABASE__URL", "sqlite://made/deep/k.db").current_dir(database.folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let process = Process::start(command).await;
    process.internal().post("/v1/events", charge()).await.expect(201);
    let folder = database.folder.path().join("made/deep");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(folder.parent().unwrap())), (0o700, 0o700));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["k.db", "k.db-shm", "k.db-wal", "k.encryption-key", "k.worker"]);
    process.kill().await;
}

#[tokio::test]
async fn a_second_worker_on_one_file_is_refused_and_sigterm_ends_the_first_with_0() {
    let database = Engine::database().await;
    let mut first = Process::start(database.serve()).await;
    let second = database.serve().output().await.unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains("another process is the worker of this database"), "{message}");
    first.terminate();
    assert_eq!(first.child.wait().await.unwrap().code(), Some(0));
}
