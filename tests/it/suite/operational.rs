//! What the operators are told: of which steps, how often, and that neither a fault nor their own endpoint changes it.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use k_payments_webhooks::{SigningSecret, Verifier};
use k_webhooks::{
    app::{App, Role},
    kill_point::{self, KillPoint},
    transport::Resolve,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{TestApp, database, failing::go_on};
use crate::support::{
    charge, config,
    engine::Database,
    id,
    printed::WATCH,
    process::Process,
    receiver::{Act, Received, Receiver},
};

const SECRET: &str = "whsec_b3BlcmF0aW9ucyBvZiB0aGUgdGVzdHMsIDMyIGJ5dGU=";
const OTHER_SECRET: &str = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3RzLCAzMiA=";
const ENDPOINTS: &str = "/v1/webhook_endpoints";

/// The service, and the receiver of its operators, which are told of these types.
async fn told(types: &str, act: Act) -> (TestApp, Receiver) {
    WATCH.value(SECRET);
    let operators = Receiver::start(act).await;
    let url = operators.url();
    let settings = [
        ("operations.url", url.as_str()),
        ("operations.signing_secret", SECRET),
        ("operations.types", types),
    ];
    (TestApp::with(&settings).await, operators)
}

fn event(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn types(requests: &[Received]) -> Vec<String> {
    requests.iter().map(|request| request.header("k-payments-event-type").to_owned()).collect()
}

/// The event, if the library for receivers takes it as signed with this secret as it was made.
fn verified(request: &Received, secret: &str) -> k_payments_webhooks::Event {
    let verifier = Verifier::new(SigningSecret::parse(secret).unwrap());
    let signature = request.header("k-payments-signature");
    let at = event(request)["created"].as_i64().unwrap();
    verifier.construct_event_at(&request.body, Some(signature), at).unwrap()
}

/// What a receiver of the operators' makes of an endpoint that it is told of.
#[derive(Deserialize)]
struct Endpoint {
    merchant_id: String,
    status: String,
    failing_since: i64,
    disables_at: Option<i64>,
}

#[tokio::test]
async fn the_operators_are_told_of_each_step_of_an_endpoint_that_fails_signed_with_their_secret() {
    let (app, operators) = told(r#"["*"]"#, Act::status(200)).await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    app.advance("1m").await;
    assert!(operators.received().is_empty(), "a failure now and again is nothing to speak of");
    app.advance("5m").await;
    let request = operators.until(1).await.remove(0);
    let first = verified(&request, SECRET);
    assert_eq!(first.event_type.as_str(), "webhook_endpoint.failing");
    assert_eq!(request.header("k-payments-event-id"), first.id);
    assert_eq!((first.livemode, first.data.resource.as_str()), (false, "webhook_endpoint"));
    let read: Endpoint = first.data.decode().unwrap();
    assert_eq!((read.merchant_id.as_str(), read.status.as_str()), ("m_1", "enabled"));
    assert_eq!(read.disables_at, Some(read.failing_since + 120 * 3600));
    assert_eq!(read.failing_since, first.created - 360);
    let object = event(&request)["data"]["object"].clone();
    assert_eq!((&object["id"], &object["url"]), (&endpoint["id"], &json!(receiver.url())));
    go_on(&app, 132).await;
    let told = operators.received();
    let steps: Vec<String> =
        types(&told).into_iter().filter(|name| name.starts_with("webhook_endpoint.")).collect();
    let expected = ["failing", "disabling_soon", "disabling_soon", "disabled"];
    assert_eq!(steps, expected.map(|step| format!("webhook_endpoint.{step}")));
    let last = told.iter().map(event).find(|event| event["type"] == "webhook_endpoint.disabled").unwrap();
    let object = &last["data"]["object"];
    assert_eq!((&object["status"], &object["disabled_reason"]), (&json!("disabled"), &json!("failing")));
    assert_eq!(
        (&object["failing_since"], &object["disables_at"]),
        (&json!(read.failing_since), &Value::Null)
    );
    app.stop().await;
}

#[tokio::test]
async fn the_operators_hear_of_a_recovery_where_they_heard_of_the_failure_and_of_a_410_at_once() {
    let (app, operators) = told(r#"["*"]"#, Act::status(200)).await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    app.advance("30s").await;
    receiver.now(Act::status(200));
    app.advance("10m").await;
    assert!(operators.received().is_empty(), "it failed for a minute");
    receiver.now(Act::status(500));
    app.publish(charge()).await;
    app.advance("10m").await;
    receiver.now(Act::status(200));
    app.advance("1h").await;
    receiver.now(Act::status(410));
    app.publish(charge()).await;
    app.advance("1m").await;
    let received = operators.received();
    assert_eq!(
        types(&received),
        [
            "webhook_endpoint.failing",
            "webhook_endpoint.recovered",
            "webhook_endpoint.disabled",
            "delivery.abandoned"
        ]
    );
    let object = |place: usize| event(&received[place])["data"]["object"].clone();
    assert_eq!(object(1)["failing_since"], object(0)["failing_since"]);
    assert_eq!(object(1)["disables_at"], Value::Null);
    assert_eq!((&object(2)["id"], &object(2)["disabled_reason"]), (&endpoint["id"], &json!("gone")));
    assert_eq!((&object(3)["id"], &object(3)["reasons"]), (&endpoint["id"], &json!({ "gone": 1 })));
    app.stop().await;
}

#[tokio::test]
async fn hundreds_of_abandonments_of_one_endpoint_are_one_event() {
    let (app, operators) = told(r#"["delivery.abandoned"]"#, Act::status(200)).await;
    let receiver = Receiver::start(Act::status(500)).await;
    let (dead, other) = (app.endpoint(&receiver.url()).await, app.endpoint(&receiver.url()).await);
    let batch: Vec<Value> = (0..750).map(|_| charge()).collect();
    for endpoint in [&dead, &other] {
        let path = format!("{ENDPOINTS}/{}", id(endpoint));
        app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    }
    // More than one look counts.
    for _ in 0..2 {
        app.internal.post("/v1/events/batch", json!({ "events": batch })).await.expect(201);
    }
    app.public.delete(&format!("{ENDPOINTS}/{}", id(&dead))).await.expect(200);
    app.advance("1m").await;
    let told = operators.until(1).await;
    assert_eq!(told.len(), 1);
    let object = event(&told[0])["data"]["object"].clone();
    assert_eq!((&object["id"], &object["count"]), (&dead["id"], &json!(1500)));
    assert_eq!((&object["merchant_id"], &object["livemode"]), (&json!("m_1"), &json!(false)));
    assert_eq!(object["reasons"], json!({ "endpoint_deleted": 1500 }));
    assert_eq!(object["starting_after"], 0);
    let feed = app.internal.get("/v1/abandoned_deliveries?limit=10").await.expect(200);
    let first: Vec<&str> = feed["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(object["deliveries"], json!(first));
    app.advance("1m").await;
    assert_eq!(operators.received().len(), 1, "each is told of once");
    app.advance("72h").await;
    let told = operators.received();
    assert_eq!(told.len(), 2);
    let object = event(&told[1])["data"]["object"].clone();
    assert_eq!((&object["id"], &object["count"]), (&other["id"], &json!(1500)));
    assert_eq!(object["reasons"], json!({ "endpoint_disabled": 1500 }));
    app.stop().await;
}

#[tokio::test]
async fn operators_that_cannot_be_told_are_told_later_and_never_of_themselves() {
    let (app, operators) = told(r#"["*"]"#, Act::status(500)).await;
    let receiver = Receiver::start(Act::status(500)).await;
    app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    app.advance("6m").await;
    let refused = operators.until(1).await.len();
    operators.now(Act::status(410));
    app.advance("1h").await;
    assert!(operators.received().len() > refused);
    operators.now(Act::status(500));
    go_on(&app, 132).await;
    let before = operators.received().len();
    operators.now(Act::status(200));
    app.advance("24h").await;
    let received = operators.received();
    let told = types(&received[before..]);
    assert!(told.contains(&"webhook_endpoint.disabled".to_owned()), "{told:?}");
    let about: BTreeSet<String> = received
        .iter()
        .map(|request| event(request)["data"]["object"]["merchant_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(about, BTreeSet::from(["m_1".to_owned()]));
    let abandoned = app.internal.get("/v1/abandoned_deliveries?limit=100").await.expect(200);
    let of_operators = |abandoned: &&Value| abandoned["merchant_id"] != "m_1";
    assert_eq!(abandoned["data"].as_array().unwrap().iter().find(of_operators), None);
    app.stop().await;
}

#[tokio::test]
async fn nobody_can_name_the_operators_and_only_what_they_asked_for_is_told() {
    let (app, operators) = told(r#"["webhook_endpoint.disabled"]"#, Act::status(200)).await;
    let receiver = Receiver::start(Act::status(500)).await;
    app.endpoint(&receiver.url()).await;
    go_on(&app, 132).await;
    assert_eq!(types(&operators.received()), ["webhook_endpoint.disabled"]);
    let mut event = charge();
    event["merchant_id"] = "@operations".into();
    app.internal.post("/v1/events", event).await.refuses("merchant_id");
    app.internal.post("/v1/merchants/@operations/api_keys", "{}").await.refuses("merchant");
    app.internal.get("/v1/abandoned_deliveries?merchant_id=@operations").await.refuses("merchant_id");
    let listed = app.public.get(ENDPOINTS).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let types = json!({ "url": "https://example.com", "enabled_events": ["webhook_endpoint.disabled"] });
    app.public.post(ENDPOINTS, types).await.refuses("enabled_events[0]");
    // That there is such an endpoint is in the audit log, as nobody's.
    let audit = app.internal.get("/v1/audit_entries?action=webhook_endpoint.created").await.expect(200);
    let nobodys: Vec<_> =
        audit["data"].as_array().unwrap().iter().filter(|entry| entry["merchant_id"].is_null()).collect();
    assert_eq!(nobodys.len(), 1, "{audit}");
    assert_eq!(nobodys[0]["changes"]["url"]["new"], operators.url());
    app.stop().await;
}

/// `serve` that tells these operators of these types.
async fn serve(
    database: &Database,
    operators: Option<(&Receiver, &str)>,
    types: &str,
    variables: &[(&str, &str)],
) -> Process {
    let mut command = database.serve();
    if let Some((operators, secret)) = operators {
        command.env("K_WEBHOOKS__OPERATIONS__URL", operators.url());
        command.env("K_WEBHOOKS__OPERATIONS__SIGNING_SECRET", secret);
        command.env("K_WEBHOOKS__OPERATIONS__TYPES", types);
    }
    command.envs(variables.iter().copied());
    Process::start(command).await
}

#[tokio::test]
async fn the_operators_address_and_secret_are_those_of_the_configuration() {
    WATCH.value(SECRET);
    WATCH.value(OTHER_SECRET);
    let database = database().await;
    let (one, two) = (Receiver::start(Act::status(200)).await, Receiver::start(Act::status(200)).await);
    let gone = Receiver::start(Act::status(410)).await;
    let types = r#"["webhook_endpoint.disabled"]"#;
    for (operators, secret, secrets) in [(&one, SECRET, 1), (&two, OTHER_SECRET, 2)] {
        let mut process = serve(&database, Some((operators, secret)), types, &[]).await;
        process.publish_to(&gone).await;
        let request = operators.until(1).await.remove(0);
        let signatures = request.header("k-payments-signature").matches("v1=").count();
        assert_eq!(signatures, secrets, "the one before signs too");
        assert_eq!(verified(&request, secret).event_type.as_str(), "webhook_endpoint.disabled");
        process.terminate();
        process.child.wait().await.unwrap();
    }
    assert_eq!(one.received().len(), 1);
    let nobody = serve(&database, None, types, &[]).await;
    nobody.publish_to(&gone).await;
    nobody.until_logged("the endpoint is disabled").await;
    let left = "SELECT id FROM webhook_endpoints WHERE merchant_id = '@operations' AND deleted_at IS NULL";
    assert!(database.rows(left).await.is_empty());
}

#[tokio::test]
async fn a_process_killed_as_it_tells_leaves_nothing_untold_and_nothing_told_as_two_events() {
    WATCH.value(SECRET);
    for point in [
        KillPoint::RecordBeforeCommit,
        KillPoint::RecordAfterCommit,
        KillPoint::TellBeforeCommit,
        KillPoint::TellAfterCommit,
    ] {
        let database = database().await;
        let operators = Receiver::start(Act::status(200)).await;
        let gone = Receiver::start(Act::status(410)).await;
        let armed = format!("{}:1", point.as_str());
        let on_test_clock = ("K_WEBHOOKS__TEST_CLOCK__ENABLED", "true");
        let variables = [on_test_clock, (kill_point::VARIABLE, armed.as_str())];
        let mut doomed = serve(&database, Some((&operators, SECRET)), r#"["*"]"#, &variables).await;
        let endpoint = json!({ "url": gone.url() });
        doomed.merchant().await.post(ENDPOINTS, endpoint).await.expect(201);
        let (internal, json) = (doomed.internal(), [("content-type", "application/json")]);
        // It may be dead before it has answered.
        internal.try_send("POST", "/v1/events", &json, charge().to_string()).await;
        internal.try_send("POST", "/v1/test_clock/advance", &json, r#"{"by":"1m"}"#).await;
        assert!(!doomed.child.wait().await.unwrap().success(), "{point:?}");
        let next = serve(&database, Some((&operators, SECRET)), r#"["*"]"#, &[on_test_clock]).await;
        for _ in 0..2 {
            next.internal().post("/v1/test_clock/advance", json!({ "by": "1m" })).await.expect(200);
        }
        let kept = "SELECT type FROM events WHERE merchant_id = '@operations' ORDER BY type";
        let expected = ["delivery.abandoned", "webhook_endpoint.disabled"];
        assert_eq!(database.rows(kept).await, expected.map(|name| [name]), "{point:?}");
        let open = "SELECT id FROM deliveries WHERE merchant_id = '@operations' AND status <> 'succeeded'";
        assert!(database.rows(open).await.is_empty(), "{point:?}");
        let told: BTreeSet<String> = types(&operators.received()).into_iter().collect();
        assert_eq!(told, BTreeSet::from(expected.map(str::to_owned)), "{point:?}");
    }
}

/// Finds every name at this machine.
struct Here;

#[async_trait]
impl Resolve for Here {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

#[tokio::test]
async fn the_operators_address_alone_may_be_a_local_name_where_that_is_allowed() {
    WATCH.value(SECRET);
    let operators = Receiver::start(Act::status(200)).await;
    let url = format!("http://alerts.internal:{}/hooks", operators.address.port());
    let mut settings = vec![("operations.url", url.as_str()), ("operations.signing_secret", SECRET)];
    let database = database().await;
    let refused = config(&database, &settings);
    let refused = App::build_with_resolver(refused, Role::All, Arc::new(Here)).await.err().unwrap();
    let local = "operations.url: must not point to alerts.internal, which is a local name (.internal)";
    assert_eq!(refused.to_string(), local);
    settings.push(("operations.allow_private", "true"));
    let app = TestApp::resolving(&settings, Arc::new(Here)).await;
    app.public.post(ENDPOINTS, json!({ "url": url })).await.refuses("url");
    let gone = Receiver::start(Act::status(410)).await;
    app.endpoint(&gone.url()).await;
    app.publish(charge()).await;
    app.advance("1s").await;
    assert_eq!(types(&operators.received()), ["webhook_endpoint.disabled", "delivery.abandoned"]);
    app.stop().await;
}
