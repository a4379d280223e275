//! Endpoints that fail: since when, who is told, and their end.

use std::{sync::Arc, time::Duration};

use k_webhooks::{
    clock::UnixMs,
    delivery::{AttemptResult, LeasedDelivery, Verdict},
    endpoint::{DisabledReason, EndpointStatus},
    failing::{Failing, Step},
    id::EndpointId,
    store::{Recorded, Store},
};
use serde_json::{Value, json};

use super::{
    TestApp,
    store::{Fixture, NOW, RULES, fixture, tenant},
};
use crate::support::{
    charge, id,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";
const HOUR: Duration = Duration::from_secs(3600);

async fn failing(app: &TestApp, endpoint: &Value) -> Option<Failing> {
    app.foundation.store.failing(id(endpoint).parse().unwrap()).await.unwrap()
}

async fn shown(app: &TestApp, endpoint: &Value) -> Value {
    app.public.get(&format!("{ENDPOINTS}/{}", id(endpoint))).await.expect(200)
}

/// Publishes an event every six hours.
pub(super) async fn go_on(app: &TestApp, hours: u32) {
    for _ in 0..hours / 6 {
        app.publish(charge()).await;
        app.advance("6h").await;
    }
}

#[tokio::test]
async fn an_endpoint_fails_from_the_first_failure_after_its_last_success_until_the_next_success() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    app.advance("1h").await;
    assert_eq!(failing(&app, &endpoint).await, None);
    for _ in 0..2 {
        receiver.now(Act::status(500));
        let first = app.publish(charge()).await;
        app.advance("2h").await;
        app.publish(charge()).await;
        app.advance("30m").await;
        let since = failing(&app, &endpoint).await.unwrap().since;
        assert_eq!(app.delivery_of(&first).await["attempts"][0]["started"], since.seconds());
        receiver.now(Act::status(200));
        app.advance("1h").await;
        assert_eq!(failing(&app, &endpoint).await, None);
    }
    app.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_fails_for_too_long_is_disabled_and_its_backlog_held_until_it_is_enabled_again() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    go_on(&app, 114).await;
    assert_eq!(failing(&app, &endpoint).await.unwrap().step, Step::WarnedLast);
    assert_eq!(shown(&app, &endpoint).await["status"], "enabled");
    let last = app.publish(charge()).await;
    app.advance("12h").await;
    let disabled = shown(&app, &endpoint).await;
    assert_eq!((&disabled["status"], &disabled["disabled_reason"]), (&json!("disabled"), &json!("failing")));
    assert_eq!(app.delivery_of(&last).await["status"], "held");
    assert_eq!(app.advance("24h").await, 0, "nothing is attempted");
    let audit = app.internal.get("/v1/audit_entries?action=webhook_endpoint.disabled").await.expect(200);
    assert_eq!(audit["data"].as_array().unwrap().len(), 1, "{audit}");
    assert_eq!(audit["data"][0]["actor"]["kind"], "service");
    assert_eq!(audit["data"][0]["changes"]["disabled_reason"], json!({ "old": null, "new": "failing" }));

    receiver.now(Act::status(200));
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    let enabled = app.public.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    assert_eq!((&enabled["status"], &enabled["disabled_reason"]), (&json!("enabled"), &Value::Null));
    assert_eq!(failing(&app, &endpoint).await, None);
    app.advance("1m").await;
    assert_eq!(app.delivery_of(&last).await["status"], "succeeded");
    app.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_enabled_again_has_all_the_time_anew() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    go_on(&app, 132).await;
    assert_eq!(shown(&app, &endpoint).await["status"], "disabled");
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    go_on(&app, 96).await;
    assert_eq!(shown(&app, &endpoint).await["status"], "enabled");
    go_on(&app, 36).await;
    assert_eq!(shown(&app, &endpoint).await["status"], "disabled");
    app.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_called_or_may_fail_for_ever_is_not_disabled() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    for _ in 0..2 {
        app.publish(charge()).await;
        app.advance("400h").await;
        assert_eq!(shown(&app, &endpoint).await["status"], "enabled");
    }
    assert!(failing(&app, &endpoint).await.is_some());
    app.stop().await;
    let app = TestApp::with(&[("endpoint.disable_after_failing", "never")]).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    go_on(&app, 240).await;
    assert_eq!(shown(&app, &endpoint).await["status"], "enabled");
    app.stop().await;
}

impl Fixture {
    /// Another process on the database.
    pub(super) async fn other(&self) -> Arc<dyn Store> {
        self.database.open(Arc::clone(&self.ids)).await
    }

    /// An outcome of an attempt that was made at this time.
    fn outcome(&self, delivery: &LeasedDelivery, succeeds: bool, at: UnixMs) -> AttemptResult {
        let verdict = if succeeds { Verdict::Succeeded } else { Verdict::RetryAt(at.plus(HOUR * 1000)) };
        let mut result = self.result(delivery, verdict);
        result.attempt.started_at = at;
        result
    }

    async fn failing(&self, endpoint: EndpointId) -> Option<(UnixMs, Step)> {
        let failing = self.store.failing(endpoint).await.unwrap();
        failing.map(|failing| (failing.since, failing.step))
    }
}

#[tokio::test]
async fn processes_agree_on_how_an_endpoint_fails_whichever_of_them_sees_what() {
    let fixture = fixture().await;
    let other = fixture.other().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(40).await;
    let leased = fixture.claim(NOW, 40, 40).await;
    let mut expected = None;
    // Each process sees outcomes of either kind after some of either kind that the other saw.
    for (hour, delivery) in (0..).zip(&leased) {
        let at = NOW.plus(HOUR * hour);
        let succeeds = [true, false, false, true, true, false, true, true][hour as usize % 8];
        let process = if (hour / 3).is_multiple_of(2) { &fixture.store } else { &other };
        let recorded = process.record(&[fixture.outcome(delivery, succeeds, at)], RULES, at).await.unwrap();
        assert_eq!(recorded.outcomes, [Recorded::Written]);
        expected = if succeeds { None } else { expected.or(Some(at)) };
        assert_eq!(fixture.failing(endpoint).await.map(|(since, _)| since), expected, "hour {hour}");
    }
}

#[tokio::test]
async fn of_outcomes_recorded_together_the_order_in_which_they_ended_counts() {
    let fixture = fixture().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(6).await;
    let leased = fixture.claim(NOW, 6, 6).await;
    let at = |minute: u32| NOW.plus(Duration::from_secs(60) * minute);
    let of =
        |index: usize, succeeds: bool, minute: u32| fixture.outcome(&leased[index], succeeds, at(minute));
    let record = async |results: &[AttemptResult]| {
        let recorded = fixture.store.record(results, RULES, at(9)).await.unwrap();
        assert!(recorded.outcomes.iter().all(|recorded| *recorded == Recorded::Written));
    };
    record(&[of(0, false, 3), of(1, true, 2), of(2, false, 1)]).await;
    assert_eq!(fixture.failing(endpoint).await, Some((at(3), Step::Quiet)));
    record(&[of(3, false, 4), of(4, false, 6), of(5, true, 5)]).await;
    assert_eq!(fixture.failing(endpoint).await, Some((at(6), Step::Quiet)));
}

#[tokio::test]
async fn processes_that_see_the_last_failure_at_once_disable_the_endpoint_once() {
    let fixture = fixture().await;
    let other = fixture.other().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(40).await;
    let leased = fixture.claim(NOW, 40, 40).await;
    let (early, late) = leased.split_at(10);
    for (delivery, hours) in early.iter().zip([0, 1, 61, 97]) {
        let at = NOW.plus(HOUR * hours);
        fixture.store.record(&[fixture.outcome(delivery, false, at)], RULES, at).await.unwrap();
    }
    assert_eq!(fixture.failing(endpoint).await, Some((NOW, Step::WarnedLast)));
    let at = NOW.plus(HOUR * 122);
    let mut processes = tokio::task::JoinSet::new();
    for (index, delivery) in late.iter().enumerate() {
        let process = Arc::clone(if index % 2 == 0 { &fixture.store } else { &other });
        let outcome = fixture.outcome(delivery, false, at);
        processes.spawn(async move { process.record(&[outcome], RULES, at).await.unwrap() });
    }
    let recorded = processes.join_all().await;
    let disabled: Vec<_> = recorded.iter().flat_map(|one| &one.disabled).collect();
    assert_eq!(disabled, [(&endpoint, &DisabledReason::Failing)], "{recorded:?}");
    assert!(recorded.iter().all(|one| one.outcomes != [Recorded::LeaseLost]), "{recorded:?}");
    let shown = fixture.store.endpoint(&tenant(), endpoint).await.unwrap().unwrap();
    assert_eq!(
        (shown.status, shown.disabled_reason),
        (EndpointStatus::Disabled, Some(DisabledReason::Failing))
    );
    let entries = "SELECT object_id FROM audit_entries WHERE action = 'webhook_endpoint.disabled'";
    assert_eq!(fixture.database.rows(entries).await, [[endpoint.to_string()]]);
}

#[tokio::test]
async fn outcomes_of_either_kind_that_meet_leave_one_state_that_the_next_outcome_changes() {
    let fixture = fixture().await;
    let other = fixture.other().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(90).await;
    let leased = fixture.claim(NOW, 90, 90).await;
    let (meeting, last) = leased.split_at(88);
    for (round, pair) in (0..).zip(meeting.chunks_exact(2)) {
        let at = NOW.plus(Duration::from_secs(round));
        let (failed, succeeded) = (fixture.outcome(&pair[0], false, at), fixture.outcome(&pair[1], true, at));
        let (one, two) = (std::slice::from_ref(&failed), std::slice::from_ref(&succeeded));
        let (one, two) = tokio::join!(fixture.store.record(one, RULES, at), other.record(two, RULES, at));
        let outcomes = (one.unwrap().outcomes, two.unwrap().outcomes);
        assert_eq!(outcomes, (vec![Recorded::Written], vec![Recorded::Written]));
        if let Some((since, _)) = fixture.failing(endpoint).await {
            assert_eq!(since, at, "the success of the round before ended what was there");
        }
    }
    let at = NOW.plus(HOUR);
    for (delivery, succeeds) in last.iter().zip([false, true]) {
        other.record(&[fixture.outcome(delivery, succeeds, at)], RULES, at).await.unwrap();
        assert_eq!(fixture.failing(endpoint).await.is_some(), !succeeds);
    }
}
