//! Schemathesis: requests made of the documents, good and bad ones, against the service as it runs.

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;

use crate::support::{
    engine::{Database, Engine as _, Sqlite},
    printed::WATCH,
    process::{BOOTSTRAP_KEY, Process},
};

/// Where its programs are, installed if they were not.
async fn installed() -> PathBuf {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/install-schemathesis");
    let output = Command::new(install).stderr(Stdio::inherit()).output().await.unwrap();
    assert!(output.status.success(), "{install} fails");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// A program of it must find nothing to say against the service.
async fn finds_nothing(program: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed().await.join(program));
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    WATCH.note_answer(&said);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The service, which refuses nobody for asking often.
async fn service(database: &Database) -> Process {
    let mut serve = database.serve();
    serve
        .env("K_WEBHOOKS__TEST_CLOCK__ENABLED", "true")
        .env("K_WEBHOOKS__LIMITS__REQUESTS_PER_SECOND", "100000")
        .env("K_WEBHOOKS__LIMITS__FAILED_AUTHENTICATIONS_PER_MINUTE", "1000000")
        .env("K_WEBHOOKS__LIMITS__ENDPOINTS_PER_MERCHANT", "1000000");
    Process::start(serve).await
}

async fn run(document: String, key: &str) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/openapi/schemathesis.toml");
    let authorization = format!("Authorization: Bearer {key}");
    let arguments = ["--config-file", config, "run", &document, "--header", &authorization];
    finds_nothing("schemathesis", &arguments).await;
}

#[tokio::test]
async fn the_documents_are_openapi() {
    let docs = |name: &str| format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    let (public, internal) = (docs("openapi.json"), docs("openapi-internal.json"));
    finds_nothing("python", &["-m", "openapi_spec_validator", &public, &internal]).await;
}

#[tokio::test]
async fn requests_made_of_the_public_document_find_nothing() {
    let database = Sqlite::database().await;
    let process = service(&database).await;
    let merchant = process.merchant().await;
    run(format!("http://{}/openapi.json", process.public), merchant.key()).await;
    process.kill().await;
}

#[tokio::test]
async fn requests_made_of_the_internal_document_find_nothing() {
    let database = Sqlite::database().await;
    let process = service(&database).await;
    run(format!("http://{}/openapi.json", process.internal), BOOTSTRAP_KEY).await;
    process.kill().await;
}
