//! The portal and the console in a real browser. What is done there is in `portal/tests`.

use super::database;
use crate::support::{node::browse, process::Process};

#[tokio::test]
async fn a_merchant_goes_the_whole_way_in_a_browser() {
    let database = database().await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__RETRY__LADDER", r#"["3s"]"#).env("K_WEBHOOKS__RETRY__JITTER", "0.0");
    let process = Process::start(command).await;
    let told = browse("journey.mjs", &process, &[]).await;
    assert!(told.ends_with("the journey is complete\n"), "{told}");
    process.kill().await;
}

#[tokio::test]
async fn an_operator_finds_what_is_wrong_and_holds_it_in_a_browser() {
    let database = database().await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__RETRY__LADDER", r#"["3s"]"#).env("K_WEBHOOKS__RETRY__JITTER", "0.0");
    let process = Process::start(command).await;
    let told = browse("console.mjs", &process, &[]).await;
    assert!(told.ends_with("the shift is over\n"), "{told}");
    process.kill().await;
}
