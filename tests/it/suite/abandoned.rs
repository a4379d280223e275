//! The feed of abandoned deliveries: in order, for all or for one merchant, and complete whoever abandons.

use std::{collections::BTreeSet, sync::Arc};

use k_webhooks::{
    clock::UnixMs,
    delivery::{AbandonedReason, Verdict},
    id::DeliveryId,
    store::{AbandonedFilter, Store},
};
use serde_json::{Value, json};

use super::{
    TestApp,
    store::{NOW, RULES, fixture},
};
use crate::support::{
    charge, id,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";

async fn feed(app: &TestApp, query: &str) -> Value {
    app.internal.get(&format!("/v1/abandoned_deliveries?{query}")).await.expect(200)
}

fn events(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_feed_lists_what_was_abandoned_in_order_for_all_or_for_one_merchant_and_mode() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(410)).await;
    let mut expected = Vec::new();
    for (merchant, livemode) in [("m_1", false), ("m_2", true), ("m_1", true), ("m_3", false), ("m_2", false)]
    {
        let caller = app.merchant(merchant, livemode).await;
        caller.post(ENDPOINTS, json!({ "url": receiver.url() })).await.expect(201);
        let mut charge = charge();
        (charge["merchant_id"], charge["livemode"]) = (merchant.into(), livemode.into());
        let event = app.publish(charge).await;
        app.advance("1s").await;
        expected.push((merchant, livemode, id(&event).to_owned()));
    }
    let all = feed(&app, "").await;
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!(events(&all), expected.iter().map(|(.., event)| event).collect::<Vec<_>>());
    let first = &all["data"][0];
    assert_eq!((&first["merchant_id"], &first["abandoned_reason"]), (&json!("m_1"), &json!("gone")));
    assert!(first["abandoned_at"].as_i64().unwrap() >= first["created"].as_i64().unwrap());
    for (query, merchant, livemode) in [
        ("merchant_id=m_1", Some("m_1"), None),
        ("livemode=true", None, Some(true)),
        ("merchant_id=m_2&livemode=false", Some("m_2"), Some(false)),
        ("merchant_id=m_4", Some("m_4"), None),
    ] {
        let passes = |one: &&(&str, bool, String)| {
            merchant.is_none_or(|merchant| merchant == one.0) && livemode.is_none_or(|mode| mode == one.1)
        };
        let passing: Vec<&String> = expected.iter().filter(passes).map(|(.., event)| event).collect();
        assert_eq!(events(&feed(&app, query).await), passing, "{query}");
    }
    let (mut after, mut polled) = (0, Vec::new());
    loop {
        let page = feed(&app, &format!("limit=2&starting_after={after}")).await;
        polled.extend(events(&page).into_iter().map(str::to_owned));
        after = page["data"].as_array().unwrap().last().unwrap()["position"].as_i64().unwrap();
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(polled, events(&all));
    for (query, field) in [
        ("limit=101", "limit"),
        ("starting_after=dlv_1", "starting_after"),
        ("starting_after=-1", "starting_after"),
        ("ending_before=1", "ending_before"),
    ] {
        app.internal.get(&format!("/v1/abandoned_deliveries?{query}")).await.refuses(field);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_retried_leaves_the_feed_and_comes_again_behind_all_where_it_is_given_up_again() {
    let app = TestApp::with(&[("endpoint.disable_after_failing", "never")]).await;
    let receiver = Receiver::start(Act::status(500)).await;
    app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    app.publish(charge()).await;
    app.advance("72h").await;
    let all = feed(&app, "").await;
    let [first, second] = all["data"].as_array().unwrap().as_slice() else { panic!("{all}") };
    let after = second["position"].as_i64().unwrap();
    app.public.post(&format!("/v1/deliveries/{}/retry", id(first)), "").await.expect(200);
    assert_eq!(events(&feed(&app, "").await), [second["event"].as_str().unwrap()]);
    let behind = format!("starting_after={after}");
    assert!(events(&feed(&app, &behind).await).is_empty());
    app.advance("36h").await;
    assert!(events(&feed(&app, &behind).await).is_empty(), "it is tried again");
    app.advance("36h").await;
    let again = feed(&app, &behind).await;
    assert_eq!(events(&again), [first["event"].as_str().unwrap()]);
    assert!(again["data"][0]["abandoned_at"].as_i64() > first["abandoned_at"].as_i64());
    app.stop().await;
}

#[tokio::test]
async fn whoever_polls_while_processes_abandon_misses_nothing() {
    let fixture = fixture().await;
    let other = fixture.other().await;
    fixture.endpoint().await;
    fixture.accept(200).await;
    let leased = fixture.claim(NOW, 200, 200).await;
    let mut processes = tokio::task::JoinSet::new();
    for (index, share) in leased.chunks(100).enumerate() {
        let process = Arc::clone(if index == 0 { &fixture.store } else { &other });
        let verdict = Verdict::Abandon(AbandonedReason::WindowClosed);
        let results: Vec<_> = share.iter().map(|delivery| fixture.result(delivery, verdict)).collect();
        processes.spawn(async move {
            for results in results.chunks(3) {
                process.record(results, RULES, NOW).await.unwrap();
            }
        });
    }
    let poll = async |store: &Arc<dyn Store>, seen: &mut Vec<(i64, DeliveryId)>| {
        let after = seen.last().map_or(0, |(position, _)| *position);
        let page = store.list_abandoned_deliveries(&AbandonedFilter::default(), after, 7).await.unwrap();
        seen.extend(page.items.iter().map(|one| (one.position, one.delivery.id)));
        page.has_more
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    while !processes.is_empty() {
        tokio::join!(poll(&fixture.store, &mut one), poll(&other, &mut two));
        while processes.try_join_next().is_some() {}
    }
    for (store, seen) in [(&fixture.store, &mut one), (&other, &mut two)] {
        while poll(store, seen).await {}
        let ids: BTreeSet<DeliveryId> = seen.iter().map(|(_, id)| *id).collect();
        assert_eq!((ids.len(), seen.len()), (200, 200), "each once");
        assert!(seen.is_sorted());
    }
    let listed = fixture.store.list_abandoned_deliveries(&AbandonedFilter::default(), 0, 1).await.unwrap();
    assert_eq!(listed.items[0].abandoned_at, Some(UnixMs(NOW.0 + 5)));
}
