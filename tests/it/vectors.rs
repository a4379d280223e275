//! The file of signatures that the service and every library for receivers must agree on.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use k_webhooks::event::EventType;
use k_webhooks::signature::{SigningSecret, VerifyError, sign_header, verify};
use serde_json::Value;

const VECTORS: &str = include_str!("../../sdks/vectors.json");

fn secret(value: &Value) -> SigningSecret {
    SigningSecret::parse(value.as_str().unwrap()).unwrap()
}

fn body(case: &Value) -> Vec<u8> {
    BASE64.decode(case["body"].as_str().unwrap()).unwrap()
}

#[test]
fn the_service_judges_every_case_of_the_libraries_as_they_do() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 80);
    for case in cases {
        let tolerance = Duration::from_secs(case["tolerance"].as_u64().unwrap());
        let header = case["header"].as_str().unwrap_or_default();
        let judged =
            verify(header, &body(case), &secret(&case["secret"]), case["time"].as_i64().unwrap(), tolerance);
        assert_eq!(judged.err().map(VerifyError::code), case["reason"].as_str(), "{}", case["name"]);
        assert_eq!(case["verdict"] == "valid", case["reason"].is_null(), "{}", case["name"]);
    }
}

#[test]
fn the_library_knows_every_event_type_of_the_service_and_no_other() {
    let known: Vec<&str> =
        k_payments_webhooks::EventType::KNOWN.iter().map(k_payments_webhooks::EventType::as_str).collect();
    let types: Vec<&str> = EventType::ALL.iter().map(|event_type| event_type.as_str()).collect();
    assert_eq!(known, types);
}

#[test]
fn the_service_signs_as_the_libraries_expect() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for case in vectors["signing"].as_array().unwrap() {
        let secrets: Vec<SigningSecret> = case["secrets"].as_array().unwrap().iter().map(secret).collect();
        let secrets: Vec<&SigningSecret> = secrets.iter().collect();
        let header = sign_header(&secrets, case["time"].as_i64().unwrap(), &body(case));
        assert_eq!(header, case["header"].as_str().unwrap(), "{}", case["name"]);
    }
}
