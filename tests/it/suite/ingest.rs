//! Ingest: what is accepted, refused, replayed, and stored byte for byte.

use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    Caller, charge, id,
    receiver::{Act, Receiver},
};

#[tokio::test]
async fn every_bad_field_of_an_event_is_named_and_nothing_is_stored() {
    let app = TestApp::start().await;
    let with = |pointer: &str, value: Value| {
        let mut event = charge();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    let also = |name: &str, value: Value| {
        let mut event = charge();
        event[name] = value;
        event
    };
    let without = |name: &str| {
        let mut event = charge();
        event.as_object_mut().unwrap().remove(name);
        event
    };
    for (event, field) in [
        (without("merchant_id"), "merchant_id"),
        (with("/merchant_id", json!("a b")), "merchant_id"),
        (without("livemode"), "livemode"),
        (with("/livemode", json!("no")), "livemode"),
        (without("type"), "type"),
        (with("/type", json!("charge.succeded")), "type"),
        (without("data"), "data"),
        (with("/data", json!([])), "data"),
        (with("/data", json!({})), "data.object"),
        (with("/data/object", json!(1)), "data.object"),
        (with("/data/object", json!({ "object": "charge" })), "data.object.id"),
        (with("/data/object/id", json!(5)), "data.object.id"),
        (with("/data/object/id", json!("")), "data.object.id"),
        (with("/data/object/object", json!("refund")), "data.object.object"),
        (with("/data", json!({ "object": { "id": "x", "object": "charge" }, "more": 1 })), "data.more"),
        (
            with("/data", json!({ "object": { "id": "x", "object": "charge" }, "previous_attributes": 1 })),
            "data.previous_attributes",
        ),
        (also("created", json!(-1)), "created"),
        (also("created", json!("now")), "created"),
        (also("idempotency_key", json!("")), "idempotency_key"),
        (also("idempotency_key", json!("x".repeat(256))), "idempotency_key"),
        (also("colour", json!("red")), "colour"),
    ] {
        app.internal.post("/v1/events", &event).await.refuses(field);
        let batch = app.internal.post("/v1/events/batch", json!({ "events": [charge(), event] })).await;
        batch.refuses(&format!("events[1].{field}"));
    }
    for (batch, field) in [
        (json!({}), "events"),
        (json!({ "events": [] }), "events"),
        (json!({ "events": 1 }), "events"),
        (json!({ "events": [1] }), "events[0]"),
        (json!({ "events": [charge()], "more": 1 }), "more"),
        (json!({ "events": vec![charge(); 1001] }), "events"),
    ] {
        app.internal.post("/v1/events/batch", batch).await.refuses(field);
    }
    let two = app.internal.post("/v1/events", json!({ "livemode": 1 })).await;
    two.refuses("livemode");
    two.refuses("merchant_id");
    let large = json!({ "object": { "id": "x".repeat(300_000), "object": "charge" } });
    app.internal.post("/v1/events", with("/data", large)).await.expect(413);
    assert_eq!(app.public.get("/v1/events").await.expect(200)["data"], json!([]));
    app.stop().await;
}

#[tokio::test]
async fn data_is_passed_through_byte_for_byte() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    let data = r#"{ "object" : {"object":"charge","id":"ch_1","amount":1100,"rate":1.10,"big":123456789012345678901234567890,"text":"é\u00e9\/","z":1,"a":[ ]} , "previous_attributes":{"b":1e2}}"#;
    let event = format!(
        r#"{{"merchant_id":"m_1","livemode":false,"type":"charge.succeeded","created":1749651729,"data":{data}}}"#
    );
    let answer = app.internal.post("/v1/events", event).await;
    answer.expect(201);
    assert!(answer.text.contains(data), "{}", answer.text);
    let body = receiver.until(1).await.remove(0).body;
    assert!(String::from_utf8(body).unwrap().ends_with(&format!(r#""data":{data}}}"#)));
    app.stop().await;
}

#[tokio::test]
async fn a_replayed_key_answers_with_the_original_event() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let send =
        async |event: Value| app.internal.send("POST", "/v1/events", &headers, event.to_string()).await;
    let first = send(charge()).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let replay = send(charge()).await;
    assert_eq!(
        (id(&replay.expect(201)), replay.header("idempotent-replayed")),
        (id(&first.expect(201)), Some("true"))
    );
    let mut other = charge();
    other["data"]["object"]["amount"] = json!(1);
    send(other.clone()).await.refuses("idempotency_key");
    let mut elsewhere = charge();
    elsewhere["merchant_id"] = json!("m_2");
    assert_ne!(id(&send(elsewhere).await.expect(201)), id(&first.json()), "a key is the merchant's own");
    let mut in_body = charge();
    in_body["idempotency_key"] = json!("k1");
    assert_eq!(
        id(&app.publish(in_body.clone()).await),
        id(&first.json()),
        "the header and the field are one"
    );
    in_body["idempotency_key"] = json!("k2");
    send(in_body).await.refuses("idempotency_key");
    assert_eq!(app.public.get("/v1/events").await.expect(200)["data"].as_array().unwrap().len(), 1);
    app.advance("25h").await;
    assert_ne!(id(&send(other).await.expect(201)), id(&first.json()), "a key is forgotten after 24 hours");
    app.stop().await;
}

#[tokio::test]
async fn requests_with_one_key_at_once_make_one_event() {
    let app = TestApp::start().await;
    let mut event = charge();
    event["idempotency_key"] = json!("at-once");
    let sends = (0..32).map(|_| {
        let (internal, event) = (app.internal.clone(), event.to_string());
        tokio::spawn(async move { internal.post("/v1/events", event).await })
    });
    let (mut ids, mut replays) = (std::collections::BTreeSet::new(), 0);
    for send in sends.collect::<Vec<_>>() {
        let answer = send.await.unwrap();
        ids.insert(id(&answer.expect(201)).to_owned());
        replays += usize::from(answer.header("idempotent-replayed").is_some());
    }
    assert_eq!((ids.len(), replays), (1, 31));
    app.stop().await;
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_answers_in_order() {
    let app = TestApp::start().await;
    let keyed = |key: &str, amount: u32| {
        let mut event = charge();
        event["idempotency_key"] = json!(key);
        event["data"]["object"]["amount"] = json!(amount);
        event
    };
    let list = json!({ "events": [keyed("a", 1), keyed("b", 2), keyed("a", 1)] });
    let made = app.internal.post("/v1/events/batch", list).await.expect(201);
    assert_eq!(
        (&made["object"], &made["url"], &made["has_more"]),
        (&json!("list"), &json!("/v1/events"), &json!(false))
    );
    let data = made["data"].as_array().unwrap();
    assert_eq!((data.len(), &data[0]["id"]), (3, &data[2]["id"]));
    assert_eq!(data[1]["data"]["object"]["amount"], 2);
    let conflict = json!({ "events": [keyed("c", 3), keyed("b", 9)] });
    app.internal.post("/v1/events/batch", conflict).await.refuses("events[1].idempotency_key");
    assert_eq!(app.public.get("/v1/events").await.expect(200)["data"].as_array().unwrap().len(), 2);
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let body = json!({ "events": [charge()] }).to_string();
    app.internal.send("POST", "/v1/events/batch", &headers, body).await.refuses("Idempotency-Key");
    app.stop().await;
}

#[tokio::test]
async fn a_merchants_key_never_publishes() {
    let app = TestApp::start().await;
    app.public.post("/v1/events", charge()).await.expect(405);
    let key = app.internal.post("/v1/merchants/m_1/api_keys", "{}").await.expect(201);
    let caller = Caller::new(app.internal_addr, key["secret_key"].as_str().unwrap());
    assert_eq!(
        caller.post("/v1/events", charge()).await.expect(401)["error"]["type"],
        "authentication_error"
    );
    app.stop().await;
}

#[tokio::test]
async fn events_are_kept_for_their_retention_and_no_longer() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("29d").await;
    let path = format!("/v1/events/{}", id(&event));
    let delivery = app.delivery_of(&event).await;
    app.public.get(&path).await.expect(200);
    app.advance("2d").await;
    app.public.get(&path).await.expect(404);
    app.public.get(&format!("/v1/deliveries/{}", id(&delivery))).await.expect(404);
    app.stop().await;
}
