//! `k-webhooks export`: complete, in order, a JSON document on each line, without secrets, and never cut short unnoticed.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    charge, id,
    process::Process,
    receiver::{Act, Receiver},
};

const EXPORT: [&str; 5] = ["export", "--merchant", "m_1", "--mode", "test"];

#[tokio::test]
async fn an_export_has_every_event_with_its_deliveries_and_attempts_and_says_how_many() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let data = "{\n  \"object\": {\"id\": \"ch_1\", \"object\": \"charge\", \"note\": \"a\\nb\"}\r\n}";
    let text = format!(
        "{{\"merchant_id\":\"m_1\",\"livemode\":false,\"type\":\"charge.succeeded\",\"created\":2000,\"data\":{data}}}"
    );
    let second = app.internal.post("/v1/events", text).await.expect(201);
    let mut event = charge();
    event["created"] = json!(1000);
    let first = app.publish(event.clone()).await;
    app.advance("1m").await;
    event["merchant_id"] = json!("m_2");
    app.publish(event.clone()).await;
    (event["merchant_id"], event["livemode"]) = (json!("m_1"), json!(true));
    app.publish(event).await;

    let output = app.database.run(&EXPORT, &[]).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(endpoint["signing_secret"].as_str().unwrap()) && !text.contains("whsec_"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["object"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["event", "delivery", "event", "delivery", "export"]);
    assert_eq!((id(&lines[0]), id(&lines[2])), (id(&first), id(&second)), "in the order of their dates");
    assert_eq!(lines[2]["data"], second["data"]);
    assert_eq!((&lines[1]["event"], &lines[1]["webhook_endpoint"]), (&first["id"], &endpoint["id"]));
    assert_eq!(lines[1], app.delivery_of(&first).await);
    assert_eq!(lines[1]["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(lines[4], json!({ "object": "export", "events": 2, "deliveries": 2 }));

    let part = app.database.run(&[&EXPORT[..], &["--since", "1001", "--until", "2000"]].concat(), &[]).await;
    let part = String::from_utf8(part.stdout).unwrap();
    assert!(part.contains(id(&second)) && !part.contains(id(&first)), "{part}");
    let turned = app.database.run(&[&EXPORT[..], &["--since", "2", "--until", "1"]].concat(), &[]).await;
    assert!(!turned.status.success() && turned.stdout.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn an_export_of_more_than_is_read_at_once_is_whole_and_one_that_nobody_reads_to_its_end_fails() {
    let database = database().await;
    let process = Process::start(database.serve()).await;
    process
        .merchant()
        .await
        .post("/v1/webhook_endpoints", json!({ "url": "https://example.com/" }))
        .await
        .expect(201);
    let events = json!({ "events": vec![charge(); 120] });
    process.internal().post("/v1/events/batch", events).await.expect(201);
    let output = database.run(&EXPORT, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({ "object": "export", "events": 120, "deliveries": 120 }));
    assert_eq!(text.lines().count(), 241);

    let mut command = database.command(&EXPORT);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.starts_with("k-webhooks: the export was cut short"), "{said}");
    process.kill().await;
}
