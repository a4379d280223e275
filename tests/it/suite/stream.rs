//! Events and deliveries as they happen, over server-sent events.

use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    charge, id,
    metrics::Scrape,
    receiver::{Act, Receiver},
    stream::Stream,
};

const PATH: &str = "/v1/events/stream";

fn of_type(event_type: &str, object: &str) -> Value {
    let mut event = charge();
    event["type"] = event_type.into();
    event["data"]["object"]["object"] = object.into();
    event
}

#[tokio::test]
async fn what_is_accepted_comes_at_once_as_it_is_delivered_and_to_nobody_else() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    let (mut stream, live) = (Stream::open(&app.public, "").await, app.merchant("m_1", true).await);
    let (mut of_live, mut of_other) =
        (Stream::open(&live, "").await, Stream::open(&app.merchant("m_2", false).await, "").await);
    for (merchant, livemode) in [("m_1", false), ("m_1", true), ("m_2", false)] {
        let mut event = charge();
        (event["merchant_id"], event["livemode"]) = (merchant.into(), livemode.into());
        let published = app.publish(event).await;
        let stream = match (merchant, livemode) {
            ("m_1", false) => &mut stream,
            ("m_1", _) => &mut of_live,
            _ => &mut of_other,
        };
        let part = stream.next().await.unwrap();
        assert_eq!((part.kind.as_str(), part.id.as_deref()), ("event", Some(id(&published))));
        assert_eq!(id(&part.data), id(&published));
        if (merchant, livemode) == ("m_1", false) {
            let delivered: Value = serde_json::from_slice(&receiver.until(2).await[1].body).unwrap();
            assert_eq!(part.data, delivered, "without pending_webhooks");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_stream_has_the_types_that_were_asked_for_and_all_if_none_were() {
    let app = TestApp::start().await;
    let mut some = Stream::open(&app.public, "?types=payout.paid,refund.created").await;
    let mut all = Stream::open(&app.public, "").await;
    let published = [
        app.publish(charge()).await,
        app.publish(of_type("payout.paid", "payout")).await,
        app.publish(of_type("payout.created", "payout")).await,
        app.publish(of_type("refund.created", "refund")).await,
    ];
    assert_eq!(some.ids(2).await, [id(&published[1]), id(&published[3])]);
    assert_eq!(all.ids(4).await, published.each_ref().map(id));
    app.public.get(&format!("{PATH}?types=payout.done")).await.refuses("types");
    app.public.get(&format!("{PATH}?types=")).await.refuses("types");
    app.public.get(&format!("{PATH}?deliveries=1&since=0")).await.refuses("deliveries");
    app.stop().await;
}

#[tokio::test]
async fn a_stream_is_resumed_behind_an_event_and_brings_all_that_came_after_it_in_order() {
    let app = TestApp::start().await;
    let mut published = Vec::new();
    for _ in 0..50 {
        published.push(id(&app.publish(charge()).await).to_owned());
    }
    // What came shortly before may come again where others may have been committed late.
    let behind = async |mut stream: Stream| {
        let mut ids = Vec::new();
        while ids.last() != published.last() {
            ids.extend(stream.ids(1).await);
        }
        assert!(ids.ends_with(&published[10..]), "{ids:?}");
        let again = ids.len() - 40;
        assert!(again <= if app.foundation.store.allows_many_workers() { 9 } else { 0 }, "{again}");
    };
    behind(Stream::open(&app.public, &format!("?starting_after={}", published[9])).await).await;
    let place = [("last-event-id", published[9].as_str())];
    behind(Stream::resume(&app.public, "", &place).await).await;
    let query = format!("?starting_after={}", published[0]);
    behind(Stream::resume(&app.public, &query, &place).await).await;

    let mut later = Stream::resume(&app.public, "", &[("last-event-id", published[49].as_str())]).await;
    let event = app.publish(charge()).await;
    let mut ids = later.ids(1).await;
    while ids.last().unwrap() != id(&event) {
        ids.extend(later.ids(1).await);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_stream_begins_with_its_place_so_that_nothing_is_missed_by_who_is_cut_off_before_anything_comes() {
    let app = TestApp::start().await;
    assert_eq!(app.public.get(PATH).await.text, "retry: 1000\n\n", "nothing has come yet");
    let event = app.publish(charge()).await;
    assert_eq!(app.public.get(PATH).await.text, format!("retry: 1000\nid: {}\n\n", id(&event)));
    app.stop().await;
}

#[tokio::test]
async fn a_place_that_is_anothers_is_not_found_and_one_that_is_no_id_is_refused() {
    let app = TestApp::start().await;
    let mut event = charge();
    event["merchant_id"] = "m_2".into();
    let foreign = app.publish(event).await;
    let nowhere = "evt_01h455vb4pex5vsknk084sn02q";
    for place in [id(&foreign), nowhere] {
        let header = [("last-event-id", place)];
        let answer = app.public.send("GET", PATH, &header, "").await.expect(404);
        assert_eq!(answer["error"]["message"], format!("No such event: {place}"));
    }
    app.public.send("GET", PATH, &[("last-event-id", "7")], "").await.refuses("Last-Event-ID");
    app.stop().await;
}

#[tokio::test]
async fn deliveries_come_as_they_are_recorded_where_they_are_asked_for() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    app.endpoint(&receiver.url()).await;
    let other = app.merchant("m_2", false).await;
    other.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
    let mut stream = Stream::open(&app.public, "?deliveries=true").await;
    let mut of_other = charge();
    of_other["merchant_id"] = "m_2".into();
    app.publish(of_other).await;
    let event = app.publish(charge()).await;
    assert_eq!(stream.ids(1).await, [id(&event)]);
    let mut delivery = async |status: &str, attempts: u64| {
        let part = stream.next().await.unwrap();
        assert_eq!((part.kind.as_str(), part.id), ("delivery", None));
        assert_eq!(part.data["event"], event["id"]);
        assert_eq!((&part.data["status"], &part.data["attempt_count"]), (&status.into(), &attempts.into()));
    };
    delivery("pending", 1).await;
    receiver.now(Act::status(200));
    app.advance("1m").await;
    delivery("succeeded", 2).await;
    app.stop().await;
}

#[tokio::test]
async fn a_merchant_has_so_many_streams_and_one_that_is_left_makes_room() {
    let app = TestApp::with(&[("limits.streams_per_merchant", "2")]).await;
    let streams = [Stream::open(&app.public, "").await, Stream::open(&app.public, "").await];
    let refused = app.public.get(PATH).await;
    assert_eq!(refused.expect(429)["error"]["type"], "rate_limit_error");
    assert!(refused.header("retry-after").is_some());
    let _other = Stream::open(&app.merchant("m_2", false).await, "").await;
    let open = Scrape::of(app.internal_addr).await.count("k_webhooks_streams", &[]);
    assert_eq!(open, 3);
    drop(streams);
    // The service learns that they are gone when it next looks at their connections.
    while app.public.get(PATH).await.status == 429 {}
    app.stop().await;
}

#[tokio::test]
async fn a_key_that_has_ended_learns_nothing_more() {
    let app = TestApp::start().await;
    let keys = "/v1/merchants/m_1/api_keys";
    let key = app.internal.post(keys, "{}").await.expect(201);
    let caller = crate::support::Caller::new(app.public_addr, key["secret_key"].as_str().unwrap());
    let mut stream = Stream::open(&caller, "").await;
    app.publish(charge()).await;
    stream.ids(1).await;
    app.internal.delete(&format!("{keys}/{}", id(&key))).await.expect(200);
    app.publish(charge()).await;
    assert!(stream.next().await.is_none());
    app.stop().await;
}

#[tokio::test]
async fn a_stream_ends_in_order_when_the_service_stops_and_does_not_hold_it_up() {
    let app = TestApp::with(&[("shutdown.grace", "10m")]).await;
    let mut stream = Stream::open(&app.public, "").await;
    let event = app.publish(charge()).await;
    assert_eq!(stream.ids(1).await, [id(&event)]);
    app.stop().await;
    assert!(stream.next().await.is_none());
}
