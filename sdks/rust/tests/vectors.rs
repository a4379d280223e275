//! The cases that every library and the server agree on.

use std::{collections::HashMap, io::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use k_payments_webhooks::{SigningSecret, Verifier, VerifyError, sign_header, standard_webhooks_signature};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
    signing: Vec<Signing>,
    standard_webhooks: Vec<Standard>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    secret: String,
    time: i64,
    tolerance: u64,
    header: Option<String>,
    body: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Signing {
    name: String,
    secrets: Vec<String>,
    time: i64,
    body: String,
    header: String,
}

#[derive(Deserialize)]
struct Standard {
    name: String,
    secrets: Vec<String>,
    id: String,
    time: i64,
    body: String,
    signature: String,
}

fn secrets(texts: &[String]) -> Vec<SigningSecret> {
    texts.iter().map(|text| SigningSecret::parse(text).unwrap()).collect()
}

#[test]
fn every_case_comes_out_as_in_every_other_library() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
    assert!(
        vectors.cases.len() >= 80 && !vectors.signing.is_empty() && !vectors.standard_webhooks.is_empty()
    );
    let mut passed: HashMap<&str, usize> = HashMap::new();
    for case in &vectors.cases {
        let verifier = Verifier::new(SigningSecret::parse(&case.secret).unwrap())
            .tolerance(Duration::from_secs(case.tolerance));
        let body = BASE64.decode(&case.body).unwrap();
        let judged = verifier.verify_at(&body, case.header.as_deref(), case.time);
        assert_eq!(judged.err().map(VerifyError::code), case.reason.as_deref(), "{}", case.name);
        *passed.entry("cases").or_default() += 1;
    }
    for case in &vectors.signing {
        let secrets = secrets(&case.secrets);
        let secrets: Vec<_> = secrets.iter().collect();
        let header = sign_header(&secrets, case.time, &BASE64.decode(&case.body).unwrap());
        assert_eq!(header, case.header, "{}", case.name);
        *passed.entry("signing").or_default() += 1;
    }
    for case in &vectors.standard_webhooks {
        let secrets = secrets(&case.secrets);
        let secrets: Vec<_> = secrets.iter().collect();
        let body = BASE64.decode(&case.body).unwrap();
        let signature = standard_webhooks_signature(&secrets, &case.id, case.time, &body);
        assert_eq!(signature, case.signature, "{}", case.name);
    }
    // For the table that `sdks/run-tests` prints.
    if let Some(path) = std::env::var_os("K_WEBHOOKS_VECTORS_REPORT") {
        let mut report = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let version = std::process::Command::new("rustc").arg("--version").output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap();
        let version = version.split_whitespace().nth(1).unwrap();
        writeln!(report, "Rust|{version}|{}|{}", passed["cases"], passed["signing"]).unwrap();
    }
}
