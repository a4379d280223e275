//! Backfills where several processes deliver.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::Engine;
use crate::support::{
    charge,
    engine::Engine as _,
    id,
    process::Process,
    receiver::{Act, Receiver},
};

#[tokio::test]
async fn a_backfill_goes_on_when_one_of_two_processes_dies_and_makes_each_delivery_once() {
    let database = Engine::database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let (dies, stays) = (Process::start(database.serve()).await, Process::start(database.serve()).await);
    let events = json!({ "events": vec![charge(); 100] });
    stays.internal().post("/v1/events/batch", events).await.expect(201);
    let merchant = stays.merchant().await;
    let endpoint = merchant.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
    let path = format!("/v1/webhook_endpoints/{}", id(&endpoint));
    let body = json!({
        "created_gte": 0, "created_lte": 253_402_300_799_i64, "only": "undelivered", "per_second": 40,
    });
    let begun = merchant.post(&format!("{path}/backfills"), body).await.expect(201);
    receiver.until(20).await;
    dies.kill().await;

    let mut polls = tokio::time::interval(Duration::from_millis(50));
    let done = loop {
        polls.tick().await;
        let shown = merchant.get(&format!("/v1/backfills/{}", id(&begun))).await.expect(200);
        if shown["deliveries"]["succeeded"] == 100 {
            break shown;
        }
    };
    assert_eq!((&done["status"], &done["sent"]), (&json!("completed"), &json!(100)));
    let list = merchant.get(&format!("{path}/deliveries?limit=100")).await.expect(200);
    let mut by_event: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in list["data"].as_array().unwrap() {
        *by_event.entry(delivery["event"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!((by_event.len(), &list["has_more"]), (100, &Value::Bool(false)));
    stays.kill().await;
}
