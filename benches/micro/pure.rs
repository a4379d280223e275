//! The rules that every event or attempt passes through, each with inputs as they come in service.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use k_webhooks::{
    clock::UnixMs,
    endpoint::EnabledEvents,
    event::{EventType, render},
    http::internal::parse_event,
    id::{DeliveryId, EventId},
    schedule::Schedule,
    signature::{SigningSecret, TOLERANCE, sign_header, verify},
};

use crate::Case;

const NOW: UnixMs = UnixMs(1_749_651_729_000);

const BODY_BYTES: usize = 1024;

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    [signing(), vec![matching(), schedule()], events()].into_iter().flatten().collect()
}

/// A case that does this so many times. What `work` reads it must take from a [`black_box`], or a result might be
/// computed once for all times.
fn case<T>(name: &'static str, times: u64, work: impl Fn() -> T + 'static) -> Case {
    let run = move |times| {
        for _ in 0..times {
            black_box(work());
        }
    };
    Case { name, times, run: Box::new(run) }
}

fn signing() -> Vec<Case> {
    let secret = |text| SigningSecret::parse(text).expect("a secret");
    let newer = secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let older = secret("whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=");
    let body = vec![b'x'; BODY_BYTES];
    let header = sign_header(&[&newer], NOW.seconds(), &body);
    let altered = [&body[1..], b"y"].concat();
    let sign = |name, secrets: Vec<SigningSecret>, body: Vec<u8>| {
        case(name, 500, move || {
            let secrets: Vec<&SigningSecret> = black_box(&secrets).iter().collect();
            sign_header(&secrets, NOW.seconds(), black_box(&body))
        })
    };
    let check = |name, header: String, body: Vec<u8>, holds: bool| {
        let secret = newer.clone();
        case(name, 500, move || {
            let verified =
                verify(black_box(&header), black_box(&body), black_box(&secret), NOW.seconds(), TOLERANCE);
            assert_eq!(verified.is_ok(), holds);
        })
    };
    vec![
        sign("sign 1 KiB, one secret", vec![newer.clone()], body.clone()),
        sign("sign 1 KiB, two secrets", vec![newer.clone(), older], body.clone()),
        check("verify 1 KiB, good", header.clone(), body, true),
        check("verify 1 KiB, refused", header, altered, false),
    ]
}

/// An event type against ten endpoints: those that want everything, the type among others, or others only.
fn matching() -> Case {
    use EventType::{ChargeFailed, ChargeRefunded, ChargeSucceeded, PayoutFailed, PayoutPaid, RefundCreated};
    let kinds = [
        EnabledEvents::All,
        EnabledEvents::Only(vec![ChargeSucceeded]),
        EnabledEvents::Only(vec![ChargeFailed, ChargeRefunded, ChargeSucceeded, RefundCreated]),
        EnabledEvents::Only(vec![PayoutPaid, PayoutFailed]),
        EnabledEvents::Only(vec![ChargeFailed]),
    ];
    let endpoints = [kinds.clone(), kinds].concat();
    case("match a type against 10 endpoints", 50_000, move || {
        let event_type = black_box(ChargeSucceeded);
        black_box(&endpoints).iter().filter(|enabled| enabled.matches(event_type)).count()
    })
}

/// What follows a third failure in a row, on the ladder of the default configuration.
fn schedule() -> Case {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;
    let ladder = [MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR];
    let schedule =
        Schedule::new(ladder.map(Duration::from_secs).to_vec(), Duration::from_secs(72 * HOUR), 0.1);
    let delivery: DeliveryId = "dlv_01h455vb4pex5vsknk084sn02q".parse().expect("an id");
    let started_at = NOW.plus(Duration::from_secs(6 * MINUTE));
    case("schedule the next attempt", 5_000, move || {
        black_box(&schedule).next(3, black_box(started_at), NOW, None, (black_box(delivery), 3))
    })
}

/// A publisher's request read into an event, and the event written as every attempt sends it.
fn events() -> Vec<Case> {
    let metadata: Vec<String> =
        (10..40).map(|number| format!(r#""key_{number}":"value {number}""#)).collect();
    let request = format!(
        r#"{{"merchant_id":"m_1","livemode":false,"type":"charge.succeeded","idempotency_key":"order-1024","data":{{"object":{{"id":"ch_1","object":"charge","amount":4999,"amount_refunded":0,"currency":"USD","status":"succeeded","description":"Order #1024","metadata":{{{}}},"created":1749651729}}}}}}"#,
        metadata.join(",")
    );
    let request = Bytes::from(request);
    let event = parse_event(&request, None).expect("an event");
    let id: EventId = "evt_01h455vb4pex5vsknk084sn02q".parse().expect("an id");
    vec![
        case("parse an event of 1 KiB", 1_000, move || {
            parse_event(black_box(&request), None).expect("an event")
        }),
        case("render an event of 1 KiB", 5_000, move || render(black_box(id), black_box(&event), NOW)),
    ]
}
