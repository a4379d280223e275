//! The library as a receiver uses it, alone and behind axum.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use k_payments_webhooks::{
    Event, EventType, MemoryDeduplicator, ReceiveError, SigningSecret, Verifier, VerifyError, sign_header,
};
use tower::ServiceExt as _;

#[path = "../recipes/axum_receiver.rs"]
mod axum_receiver;

const NOW: i64 = 1_749_651_729;

const TEXT: &str = r#"{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,"type":"charge.refunded","data":{"object":{"id":"ch_1","object":"charge","amount":4999},"previous_attributes":{"amount_refunded":0}}}"#;

fn secret(key: u8) -> SigningSecret {
    SigningSecret::from_key(&[key; 32])
}

#[test]
fn a_verified_body_comes_out_as_an_event() {
    #[derive(serde::Deserialize)]
    struct Charge {
        amount: i64,
    }
    let header = sign_header(&[&secret(1)], NOW, TEXT.as_bytes());
    let verifier = Verifier::new(secret(1));
    let event = verifier.construct_event_at(TEXT.as_bytes(), Some(&header), NOW).unwrap();
    assert_eq!((event.id.as_str(), event.created, event.livemode), ("evt_1", NOW, false));
    assert_eq!((event.api_version.as_str(), event.event_type), ("v1", EventType::ChargeRefunded));
    assert_eq!((event.data.id.as_str(), event.data.resource.as_str()), ("ch_1", "charge"));
    assert_eq!(event.data.decode::<Charge>().unwrap().amount, 4999);
    assert_eq!(event.data.previous_attributes.unwrap().get(), r#"{"amount_refunded":0}"#);
    assert_eq!(event.raw, TEXT.as_bytes());
}

#[test]
fn either_secret_of_a_receiver_that_moves_from_one_to_another_will_do() {
    let verifier = Verifier::new(secret(2)).or(secret(1));
    for key in [1, 2] {
        let header = sign_header(&[&secret(key)], NOW, TEXT.as_bytes());
        assert_eq!(verifier.verify_at(TEXT.as_bytes(), Some(&header), NOW), Ok(()));
    }
    let header = sign_header(&[&secret(3)], NOW, TEXT.as_bytes());
    let refused = verifier.verify_at(TEXT.as_bytes(), Some(&header), NOW);
    assert_eq!(refused, Err(VerifyError::NoMatchingSignature));
}

#[test]
fn the_tolerance_is_300_seconds_unless_another_is_given() {
    let header = sign_header(&[&secret(1)], NOW, b"");
    let verifier = Verifier::new(secret(1));
    let at =
        |verifier: &Verifier, now| verifier.verify_at(b"", Some(&header), now).map_err(VerifyError::code);
    assert_eq!(at(&verifier, NOW + 300), Ok(()));
    assert_eq!(at(&verifier, NOW + 301), Err("timestamp_too_old"));
    assert_eq!(at(&verifier, NOW - 301), Err("timestamp_too_new"));
    assert_eq!(at(&verifier.clone().tolerance(Duration::from_secs(301)), NOW + 301), Ok(()));
    assert_eq!(verifier.verify(b"", None), Err(VerifyError::MissingHeader));
}

#[test]
fn every_known_type_is_read_and_one_that_is_not_known_yet_comes_out_all_the_same() {
    assert_eq!(EventType::KNOWN.len(), 11);
    for known in EventType::KNOWN {
        let text = TEXT.replace("charge.refunded", known.as_str());
        assert_eq!(&Event::parse(text.as_bytes()).unwrap().event_type, known);
    }
    let event = Event::parse(TEXT.replace("charge.refunded", "charge.captured").as_bytes()).unwrap();
    assert_eq!(event.event_type, EventType::Other("charge.captured".to_owned()));
    assert_eq!(event.event_type.to_string(), "charge.captured");
}

#[test]
fn what_was_signed_and_is_no_event_is_refused_as_such() {
    for body in [
        String::new(),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        TEXT.replace(r#""id":"ch_1","#, ""),
        TEXT.replace(r#""livemode":false"#, r#""livemode":null"#),
        TEXT.replace(r#"{"amount_refunded":0}"#, "1"),
    ] {
        let header = sign_header(&[&secret(1)], NOW, body.as_bytes());
        let refused = Verifier::new(secret(1)).construct_event_at(body.as_bytes(), Some(&header), NOW);
        let Err(error @ ReceiveError::Event(_)) = refused else { panic!("{body}: {refused:?}") };
        assert_eq!(error.code(), "malformed_event");
    }
}

async fn post(router: &Router, headers: &[&str], body: &str) -> (u16, String) {
    let mut request = Request::post("/hooks");
    for header in headers {
        request = request.header("K-Payments-Signature", *header);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a receiver compares with the system's time")]
async fn behind_axum_a_request_is_verified_before_the_handler_and_refused_with_its_reason() {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = since_epoch.as_secs().cast_signed();
    let receiver = axum_receiver::Receiver {
        verifier: Verifier::new(secret(1)),
        deduplicator: Arc::new(MemoryDeduplicator::default()),
        shipped: Arc::default(),
    };
    let shipped = Arc::clone(&receiver.shipped);
    let router = axum_receiver::router(receiver);
    let refused = |reason: &str| (400, reason.to_owned());
    let text = TEXT.replace("charge.refunded", "charge.succeeded");
    let header = sign_header(&[&secret(1)], now, text.as_bytes());
    assert_eq!(post(&router, &[&header], &text).await, (204, String::new()));
    assert_eq!(post(&router, &[&header], &text).await.0, 204, "a duplicate is fine too");
    assert_eq!(*shipped.lock().unwrap(), ["ch_1"]);
    assert_eq!(post(&router, &[], TEXT).await, refused("missing_header"));
    assert_eq!(post(&router, &[&header, &header], TEXT).await, refused("malformed_header"));
    assert_eq!(post(&router, &[&header], "{}").await, refused("no_matching_signature"));
    let old = sign_header(&[&secret(1)], now - 600, TEXT.as_bytes());
    assert_eq!(post(&router, &[&old], TEXT).await, refused("timestamp_too_old"));
    let empty = sign_header(&[&secret(1)], now, b"{}");
    assert_eq!(post(&router, &[&empty], "{}").await, refused("malformed_event"));
    assert_eq!(post(&router, &[&header], &"x".repeat(3 << 20)).await.0, 413);
}
