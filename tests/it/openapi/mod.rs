//! The documents of the APIs: they say what the service does, all of it and nothing else.

mod browser;
mod schemathesis;

use std::collections::{BTreeMap, BTreeSet};

use k_webhooks::{
    event::EventType,
    http::{Route, internal, public},
    operational::OperationalType,
};
use serde_json::{Value, json};

use crate::support::{
    Answer, Caller, TestApp, charge,
    document::{Document, INTERNAL, Operation, PUBLIC, undocumented},
    engine::Sqlite,
    id,
    receiver::{Act, Received, Receiver},
};

/// Routes that are no part of an API: pages and what belongs to them, and what is for Prometheus.
fn is_page(route: &Route) -> bool {
    ["/console", "/docs", "/metrics", "/openapi.json", "/portal"]
        .iter()
        .any(|page| route.path.starts_with(page))
}

#[test]
fn every_route_of_an_api_is_in_its_document_and_nothing_else_is() {
    for (document, routes) in [(&*PUBLIC, public::routes()), (&*INTERNAL, internal::routes())] {
        let routes = routes.iter().filter(|route| !is_page(route));
        let routes: BTreeSet<_> = routes.map(|route| format!("{} {}", route.method, route.path)).collect();
        let operations: BTreeSet<_> = document
            .operations()
            .map(|operation| format!("{} {}", operation.method, operation.path))
            .collect();
        assert_eq!(routes, operations);
        assert!(routes.len() > 10);
    }
}

/// Compares with what is committed, so that a change of an API is seen where it is reviewed.
#[test]
fn the_documents_are_as_they_are_committed() {
    for (name, document) in
        [("openapi.json", public::document()), ("openapi-internal.json", internal::document())]
    {
        let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut made = serde_json::to_string_pretty(&document).unwrap();
        made.push('\n');
        if std::env::var_os("K_WEBHOOKS_RENEW_DOCUMENTS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(
            made == committed,
            "docs/{name} is not as the code has it. Where that is meant, renew it: \
             K_WEBHOOKS_RENEW_DOCUMENTS=1 cargo test --locked --test it documents_are_as_they_are_committed"
        );
    }
}

#[test]
fn every_operation_says_what_it_does_and_what_it_takes() {
    for document in [&*PUBLIC, &*INTERNAL] {
        let tags: Vec<_> =
            document.json["tags"].as_array().unwrap().iter().map(|tag| tag["name"].clone()).collect();
        let mut ids = BTreeSet::new();
        for operation in document.operations() {
            let Operation { path, json, .. } = operation;
            assert!(ids.insert(json["operationId"].as_str().unwrap()), "{path}: {json}");
            assert!(json["summary"].is_string() && tags.contains(&json["tags"][0]), "{path}: {json}");
            let in_path: BTreeSet<_> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let described: BTreeSet<_> = operation
                .parameters()
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            assert_eq!(in_path, described, "{path}");
            assert!(operation.parameters().all(|parameter| parameter["description"].is_string()), "{path}");
        }
        let schemas: BTreeSet<_> =
            document.json["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
        let for_generators = ["WebhookEvent".to_owned()].into();
        assert_eq!(
            schemas.difference(&for_generators).cloned().collect::<BTreeSet<_>>(),
            document.referred()
        );
    }
}

#[test]
fn every_example_is_as_its_schema_says() {
    for document in [&*PUBLIC, &*INTERNAL] {
        let mut seen = 0;
        let mut open = vec![&document.json];
        while let Some(value) = open.pop() {
            if let Some(example) = value.get("example").filter(|_| value.get("schema").is_some()) {
                assert_eq!(document.violations(&value["schema"], example), [""; 0], "{example}");
                seen += 1;
            } else if value.get("type").is_some() || value.get("$ref").is_some() {
                let examples = value.get("examples").and_then(Value::as_array).into_iter().flatten();
                for example in examples.chain(value.get("example")) {
                    assert_eq!(document.violations(value, example), [""; 0], "{example}");
                    seen += 1;
                }
            }
            match value {
                Value::Object(members) => open.extend(members.values()),
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(seen > 25, "{seen}");
    }
}

#[tokio::test]
async fn each_listener_serves_its_document() {
    let app = TestApp::<Sqlite>::start().await;
    for (address, document) in [(app.public_addr, &*PUBLIC), (app.internal_addr, &*INTERNAL)] {
        let answer = Caller::new(address, "").get("/openapi.json").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.expect(200), document.json);
    }
    app.stop().await;
    let without = TestApp::<Sqlite>::with(&[("test_clock.enabled", "false")]).await;
    let served = Caller::new(without.internal_addr, "").get("/openapi.json").await.expect(200);
    assert_eq!(served["paths"].get("/v1/test_clock"), None);
    without.stop().await;
}

/// A merchant who has one object of each kind, and these by the prefixes of their ids.
async fn merchant(
    app: &TestApp<Sqlite>,
    receiver: &Receiver,
    name: &str,
) -> (Caller, BTreeMap<&'static str, String>) {
    let merchant = app.merchant(name, false).await;
    let register =
        async || merchant.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
    let mut event = charge();
    event["merchant_id"] = name.into();
    let endpoint = register().await;
    app.publish(event.clone()).await;
    let event = app.publish(event).await;
    // Its first attempt is recorded then.
    app.advance("1ms").await;
    let deliveries =
        merchant.get(&format!("/v1/webhook_endpoints/{}/deliveries", id(&endpoint))).await.expect(200);
    let key = app.internal.post(&format!("/v1/merchants/{name}/api_keys"), "").await.expect(201);
    let session = app.portal_session(name, "full").await;
    // On a clock that stands still a backfill of two events is not finished after the first.
    let wanted =
        json!({ "created_gte": 0, "created_lte": 253_402_300_799_i64, "only": "all", "per_second": 1 });
    let other = register().await;
    let backfill =
        merchant.post(&format!("/v1/webhook_endpoints/{}/backfills", id(&other)), wanted).await.expect(201);
    let id = |object: &Value| id(object).to_owned();
    let objects = [
        ("m", name.to_owned()),
        ("we", id(&endpoint)),
        ("evt", id(&event)),
        ("dlv", id(&deliveries["data"][0])),
        ("key", id(&key)),
        ("bf", id(&backfill)),
        ("ps", id(&session)),
    ];
    (merchant, objects.into())
}

/// The request of an operation as its examples have it, with ids of what there is.
fn request(
    document: &Document,
    operation: Operation<'_>,
    objects: &BTreeMap<&str, String>,
) -> (String, String) {
    let living = |text: &str| match text.split_once('_').and_then(|(prefix, _)| objects.get(prefix)) {
        Some(id) => id.clone(),
        None => text.to_owned(),
    };
    let mut path = operation.path.to_owned();
    for parameter in operation.parameters().filter(|parameter| parameter["in"] == "path") {
        let schema = document.resolve(&parameter["schema"]);
        // Of numbers the first one.
        let example = schema["examples"][0].as_str().map_or_else(|| schema["minimum"].to_string(), living);
        path = path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), &example);
    }
    let body = operation.body().map(|(schema, _)| {
        let mut example = document.resolve(schema)["example"].clone();
        for member in example.as_object_mut().unwrap().values_mut() {
            if let Some(text) = member.as_str() {
                *member = living(text).into();
            }
        }
        example.to_string()
    });
    (path, body.unwrap_or_default())
}

#[tokio::test]
async fn every_example_of_a_request_does_what_its_operation_says() {
    let app = TestApp::<Sqlite>::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    for (document, public) in [(&*PUBLIC, true), (&*INTERNAL, false)] {
        for operation in document.operations() {
            // A merchant for each, because some operations end what they are about.
            let name = operation.json["operationId"].as_str().unwrap();
            let (merchant, objects) = merchant(&app, &receiver, name).await;
            let caller = if public { &merchant } else { &app.internal };
            let (path, body) = request(document, operation, &objects);
            let json = [("content-type", "application/json")];
            let answer = caller.send(operation.method, &path, &json, body.clone()).await;
            let (first, _) = operation.json["responses"].as_object().unwrap().iter().next().unwrap();
            assert_eq!(&answer.status.to_string(), first, "{} {path} {body}: {answer:?}", operation.method);
            if operation.body().is_some_and(|(_, required)| !required) {
                let answer = caller.send(operation.method, &path, &[], "").await;
                assert_eq!(&answer.status.to_string(), first, "{} {path}: {answer:?}", operation.method);
            }
        }
    }
    app.stop().await;
}

/// The messages about a field of a refused request, or nothing.
fn about(answer: &Answer, field: &str) -> String {
    answer.json()["error"]["details"]["fieldErrors"].get(field).map(Value::to_string).unwrap_or_default()
}

#[tokio::test]
async fn every_field_and_every_parameter_of_a_document_is_read_and_no_other_is_taken() {
    let app = TestApp::<Sqlite>::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let (merchant, objects) = merchant(&app, &receiver, "m_2").await;
    let json = [("content-type", "application/json")];
    for (document, caller) in [(&*PUBLIC, &merchant), (&*INTERNAL, &app.internal)] {
        for operation in document.operations() {
            let Operation { method, .. } = operation;
            let (path, _) = request(document, operation, &objects);
            let queried = |parameter: &&Value| parameter["in"] == "query";
            for parameter in operation.parameters().filter(queried) {
                let name = parameter["name"].as_str().unwrap();
                let answer =
                    caller.send(method, &format!("{path}?{name}=%00&{name}=%00&not_known=1"), &[], "").await;
                assert_eq!(answer.status, 400, "{method} {path} {name}: {answer:?}");
                assert!(about(&answer, name).contains("is given twice"), "{name}: {answer:?}");
                assert!(about(&answer, "not_known").contains("is not a known parameter"), "{answer:?}");
            }
            let Some((schema, _)) = operation.body() else { continue };
            let schema = document.resolve(schema);
            assert_eq!(schema["additionalProperties"], false, "{path}");
            let names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
            let mut body: serde_json::Map<_, _> =
                names.iter().map(|name| ((*name).clone(), json!(true))).collect();
            // What `true` is right for.
            body.extend(
                names
                    .iter()
                    .filter(|name| schema["properties"][**name]["type"] == "boolean")
                    .map(|name| ((*name).clone(), json!(1))),
            );
            body.insert("not_known".to_owned(), json!(1));
            let answer = caller.send(method, &path, &json, Value::Object(body).to_string()).await;
            assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
            assert!(about(&answer, "not_known").contains("is not a known field"), "{answer:?}");
            for name in names {
                let message = about(&answer, name);
                assert!(
                    !message.is_empty() && !message.contains("is not a known"),
                    "{path} {name}: {answer:?}"
                );
            }
        }
    }
    app.stop().await;
}

/// Without it, receivers that look at nothing would pass.
#[test]
fn a_request_that_is_not_as_a_webhook_of_its_type_is_noticed() {
    let id = "01jxf6z2zre4rr3h5t8y5j0v6q";
    let head = |event_type: &str| {
        format!(
            "POST /hooks HTTP/1.1\r\nk-payments-signature: t=1749651729,v1={}\r\nk-payments-event-id: evt_{id}\r\n\
             k-payments-event-type: {event_type}\r\nk-payments-delivery-id: dlv_{id}\r\nk-payments-attempt: 1\r\n\
             webhook-id: evt_{id}\r\nwebhook-timestamp: 1749651729\r\nwebhook-signature: v1,{}=\r\n\r\n",
            "0".repeat(64),
            "A".repeat(43)
        )
    };
    let body = |event_type: &str, object: Value| {
        json!({
            "id": format!("evt_{id}"), "object": "event", "api_version": "v1", "created": 1_749_651_729, "livemode": false,
            "type": event_type, "data": { "object": object },
        })
    };
    let wrong = |head: String, body: &Value| {
        undocumented(&Received { head, body: body.to_string().into_bytes() }).join("; ")
    };
    let charge = json!({ "id": "ch_1", "object": "charge" });
    let good = body("charge.succeeded", charge.clone());
    assert_eq!(wrong(head("charge.succeeded"), &good), "");
    let without_id = head("charge.succeeded").replace("webhook-id", "x");
    assert_eq!(wrong(without_id, &good), "webhook-id: is missing");
    let uncounted = head("charge.succeeded").replace("attempt: 1", "attempt: x");
    assert!(wrong(uncounted, &good).starts_with("K-Payments-Attempt: "));
    assert_eq!(wrong(head("charge.gone"), &good), "charge.gone is no webhook's");
    for bad in [
        body("charge.failed", charge),
        body("charge.succeeded", json!({ "object": "charge" })),
        body("charge.succeeded", json!({ "id": "ch_1", "object": "charge", "amount": "4999" })),
    ] {
        assert_ne!(wrong(head("charge.succeeded"), &bad), "", "{bad}");
    }
}

#[tokio::test]
async fn every_webhook_is_as_the_document_says() {
    let app = TestApp::<Sqlite>::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let webhooks = PUBLIC.json["webhooks"].as_object().unwrap();
    let names: BTreeSet<_> = webhooks.keys().map(String::as_str).collect();
    assert_eq!(names, EventType::ALL.iter().map(|event_type| event_type.as_str()).collect());
    let operational: BTreeSet<_> = OperationalType::ALL.iter().map(|kind| kind.as_str()).collect();
    let internal = INTERNAL.json["webhooks"].as_object().unwrap();
    assert_eq!(internal.keys().map(String::as_str).collect::<BTreeSet<_>>(), operational);
    let any = json!({ "$ref": "#/components/schemas/WebhookEvent" });
    for (name, webhook) in webhooks {
        let sent = app
            .public
            .post(&format!("/v1/webhook_endpoints/{}/test", id(&endpoint)), json!({ "type": name }))
            .await;
        let sent = sent.expect(201);
        receiver.until_event(id(&sent)).await;
        let received = receiver.received();
        let request =
            received.iter().find(|request| request.header("k-payments-event-id") == id(&sent)).unwrap();
        // All else about it is looked at by the receiver, as in every test.
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let schema = &webhook["post"]["requestBody"]["content"]["application/json"]["schema"];
        let mut closed = PUBLIC.resolve(schema).clone();
        closed["additionalProperties"] = false.into();
        closed["properties"]["data"]["additionalProperties"] = false.into();
        assert_eq!(PUBLIC.violations(&closed, &body), [""; 0], "{body}");
        assert_eq!(PUBLIC.violations(&any, &body), [""; 0], "{body}");
        // All that the samples have is described.
        let resource = PUBLIC.resolve(&closed["properties"]["data"]["properties"]["object"]);
        let described: BTreeSet<_> = resource["properties"].as_object().unwrap().keys().collect();
        assert_eq!(body["data"]["object"].as_object().unwrap().keys().collect::<BTreeSet<_>>(), described);
    }
    app.stop().await;
}
