//! `check` against a receiver that does all as it should, and against one for each mistake.

use std::{
    collections::{BTreeSet, HashSet},
    process::Output,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use k_webhooks::{
    clock::Clock,
    event::EventType,
    http::{Serving, serve},
};
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    net::{TcpListener, TcpSocket},
    process::Command,
};
use tokio_util::sync::CancellationToken;

use crate::support::process::PROGRAM;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What a receiver does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    VerifiesNothing,
    WantsNoHeader,
    WritesTheBodyAgain,
    ReadsTheBodyAsAscii,
    TakesTheFirstSignatureOnly,
    ComparesTexts,
    ComparesBeginnings,
    KnowsEveryScheme,
    TakesAnyScheme,
    TakesTheTimeFromTheBody,
    AnyTime,
    AnyTimeToCome,
    DecodesTheKey,
    KnownTypesOnly,
    ChargesOnly,
    RefusesDuplicates,
    InOrderOnly,
    SmallBodies,
    Redirects,
    FailsInsteadOfRefusing,
    KeepsOutWhomItRefused,
}

/// A receiver in the way that one is written by hand.
struct Receiver {
    mistake: Mistake,
    seen: HashSet<String>,
    newest: i64,
    refused: usize,
}

impl Receiver {
    fn receive(&mut self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let header = headers.get("k-payments-signature").map(|value| value.to_str().unwrap());
        let verified = match (self.mistake, header) {
            (Mistake::VerifiesNothing, _) | (Mistake::WantsNoHeader, None) => true,
            (_, None) => false,
            (_, Some(header)) => self.verifies(header, body).is_some(),
        };
        if self.mistake == Mistake::SmallBodies && body.len() > 100 * 1024 {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        if self.mistake == Mistake::KeepsOutWhomItRefused && self.refused > 3 {
            return StatusCode::TOO_MANY_REQUESTS;
        }
        if !verified {
            self.refused += 1;
            let fails = self.mistake == Mistake::FailsInsteadOfRefusing;
            return if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
        }
        self.process(body)
    }

    fn process(&mut self, body: &[u8]) -> StatusCode {
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let (event_type, created) = (event["type"].as_str().unwrap_or_default(), event["created"].as_i64());
        let is_new = self.seen.insert(event["id"].as_str().unwrap_or_default().to_owned());
        let is_late = created.unwrap_or_default() < self.newest - 60;
        self.newest = self.newest.max(created.unwrap_or_default());
        let refuses = match self.mistake {
            Mistake::KnownTypesOnly => event_type.parse::<EventType>().is_err(),
            Mistake::ChargesOnly => !event_type.starts_with("charge."),
            Mistake::RefusesDuplicates => !is_new,
            Mistake::InOrderOnly => is_late,
            _ => false,
        };
        match self.mistake {
            Mistake::Redirects => StatusCode::TEMPORARY_REDIRECT,
            _ if refuses => StatusCode::CONFLICT,
            _ => StatusCode::NO_CONTENT,
        }
    }

    fn verifies(&self, header: &str, body: &[u8]) -> Option<()> {
        let mistake = self.mistake;
        let parts: Vec<_> = header.split(',').map(|part| part.split_once('=')).collect::<Option<_>>()?;
        let known = |scheme: &str| scheme == "t" || scheme == "v1";
        if mistake == Mistake::KnowsEveryScheme && !parts.iter().all(|(scheme, _)| known(scheme)) {
            return None;
        }
        let mut t = parts.iter().find(|(scheme, _)| *scheme == "t")?.1.to_owned();
        let seconds: i64 = t.parse().ok()?;
        if mistake == Mistake::TakesTheTimeFromTheBody {
            t = serde_json::from_slice::<Value>(body).ok()?["created"].to_string();
        }
        let is_ours = |scheme: &str| scheme == "v1" || (mistake == Mistake::TakesAnyScheme && scheme != "t");
        let mut given: Vec<&str> =
            parts.iter().filter(|(scheme, _)| is_ours(scheme)).map(|(_, value)| *value).collect();
        if mistake == Mistake::TakesTheFirstSignatureOnly {
            given.truncate(1);
        }
        let key = match mistake {
            Mistake::DecodesTheKey => BASE64.decode(&SECRET["whsec_".len()..]).unwrap(),
            _ => SECRET.as_bytes().to_vec(),
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(t.as_bytes());
        mac.update(b".");
        mac.update(&match mistake {
            Mistake::WritesTheBodyAgain => without_spaces(body),
            Mistake::ReadsTheBodyAsAscii => {
                body.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect()
            }
            _ => body.to_vec(),
        });
        let expected = hex::encode(mac.finalize().into_bytes());
        let fits = |value: &&str| match mistake {
            Mistake::ComparesTexts => expected == *value,
            Mistake::ComparesBeginnings => expected.starts_with(&value.to_lowercase()),
            _ => expected == value.to_lowercase(),
        };
        let age = Clock::system().now().seconds() - seconds;
        let in_time = match mistake {
            Mistake::AnyTime => true,
            Mistake::AnyTimeToCome => age <= 300,
            _ => age.abs() <= 300,
        };
        (in_time && given.iter().any(fits)).then_some(())
    }
}

/// What many a parser makes of JSON that it writes again.
fn without_spaces(body: &[u8]) -> Vec<u8> {
    let mut in_text = false;
    let mut last = 0;
    let kept = body.iter().filter(|byte| {
        if **byte == b'"' && last != b'\\' {
            in_text = !in_text;
        }
        last = **byte;
        in_text || !byte.is_ascii_whitespace()
    });
    kept.copied().collect()
}

/// Runs `check` against a receiver with this mistake.
async fn check(mistake: Mistake, arguments: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let receiver = Receiver { mistake, seen: HashSet::new(), newest: 0, refused: 0 };
    let receiver = Arc::new(Mutex::new(receiver));
    let router = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
        receiver.lock().unwrap().receive(&headers, &body)
    });
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(listener, router, stop.clone(), Serving::default()));
    let output = run(&url, arguments).await;
    stop.cancel();
    served.await.unwrap();
    output
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["check", url]).args(arguments).env("K_WEBHOOKS_SIGNING_SECRET", SECRET);
    command.kill_on_drop(true).output().await.unwrap()
}

/// The names of the cases with this verdict.
fn with_verdict(report: &Value, verdict: &str) -> BTreeSet<String> {
    let cases = report["cases"].as_array().unwrap().iter().filter(|case| case["verdict"] == verdict);
    cases.map(|case| case["name"].as_str().unwrap().to_owned()).collect()
}

async fn judged(mistake: Mistake) -> (Value, Option<i32>) {
    let output = check(mistake, &["--json"]).await;
    (serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")), output.status.code())
}

#[tokio::test]
async fn a_receiver_that_does_all_as_it_should_passes_every_case() {
    let output = check(Mistake::None, &[]).await;
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    assert!(report.ends_with("22 of 22 as they should be.\n"), "{report}");
    assert!(!report.contains("FAILED") && !report.contains("note") && !report.contains("whsec_"), "{report}");
}

#[tokio::test]
async fn each_mistake_fails_the_cases_that_it_is_about_and_no_other() {
    use Mistake::{
        AnyTime, AnyTimeToCome, ChargesOnly, ComparesBeginnings, ComparesTexts, InOrderOnly,
        KeepsOutWhomItRefused, KnownTypesOnly, KnowsEveryScheme, ReadsTheBodyAsAscii, RefusesDuplicates,
        SmallBodies, TakesAnyScheme, TakesTheFirstSignatureOnly, TakesTheTimeFromTheBody, WantsNoHeader,
        WritesTheBodyAgain,
    };
    let (old, ahead) = ("a signature of ten minutes ago", "a signature of ten minutes ahead");
    let (unknown, order) = ("an unknown event type", "events out of order");
    let mistakes: &[(Mistake, &[&str])] = &[
        (WantsNoHeader, &["no signature header"]),
        (WritesTheBodyAgain, &["a body that is written otherwise"]),
        (ReadsTheBodyAsAscii, &["a body that is not ASCII"]),
        (TakesTheFirstSignatureOnly, &["two signatures, ours second"]),
        (ComparesTexts, &["a signature in upper case"]),
        (ComparesBeginnings, &["an empty signature", "half a signature"]),
        (KnowsEveryScheme, &["other schemes beside ours"]),
        (TakesAnyScheme, &["only a scheme that does not exist"]),
        (TakesTheTimeFromTheBody, &[order, "a time that was not signed"]),
        (AnyTime, &[old, ahead]),
        (AnyTimeToCome, &[ahead]),
        (KnownTypesOnly, &[unknown]),
        (ChargesOnly, &["every event type", order]),
        (RefusesDuplicates, &["the same event twice"]),
        (InOrderOnly, &[order]),
        (SmallBodies, &["a large body"]),
        (KeepsOutWhomItRefused, &["a valid request after all this"]),
    ];
    for (mistake, expected) in mistakes {
        let (report, code) = judged(*mistake).await;
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(with_verdict(&report, "failed"), expected, "{mistake:?}");
        assert_eq!((code, report["failed"].as_u64()), (Some(1), Some(expected.len() as u64)), "{mistake:?}");
        let advised = report["cases"].as_array().unwrap().iter().filter(|case| !case["advice"].is_null());
        let documented =
            |case: &Value| case["documentation"].as_str().unwrap().starts_with("docs/receiving.md#");
        assert_eq!(advised.filter(|case| documented(case)).count(), expected.len(), "{mistake:?}");
    }
}

#[tokio::test]
async fn one_that_takes_everything_fails_every_hostile_case_and_one_that_takes_nothing_every_good_one() {
    let (report, _) = judged(Mistake::None).await;
    let should = |what: &str| -> BTreeSet<String> {
        let cases = report["cases"].as_array().unwrap().iter().filter(|case| case["should"] == what);
        cases.map(|case| case["name"].as_str().unwrap().to_owned()).collect()
    };
    let (good, hostile) = (should("answer 2xx"), should("answer 400"));
    assert_eq!(with_verdict(&judged(Mistake::VerifiesNothing).await.0, "failed"), hostile);
    assert_eq!(with_verdict(&judged(Mistake::DecodesTheKey).await.0, "failed"), good);
    assert_eq!(with_verdict(&judged(Mistake::Redirects).await.0, "failed"), good);
    let (report, code) = judged(Mistake::FailsInsteadOfRefusing).await;
    assert_eq!((with_verdict(&report, "note"), code), (hostile, Some(0)), "safe, and told");
}

#[tokio::test]
async fn the_report_says_what_was_answered_and_what_to_change_and_may_be_of_some_cases() {
    let output = check(Mistake::ComparesTexts, &["--only", "upper case"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = report.lines().collect();
    assert!(
        lines[0].starts_with("FAILED  a signature in upper case") && lines[0].contains("400 in "),
        "{report}"
    );
    assert_eq!(
        lines[1..4],
        [
            "        It should answer 2xx.",
            "        Compare bytes, not texts: decode the hex first, in either case.",
            "        docs/receiving.md#every-language",
        ]
    );
    assert_eq!(lines[5], "0 of 1 as they should be.");
}

#[tokio::test]
async fn a_receiver_that_is_not_there_and_a_secret_that_is_none_are_said_to_be() {
    // Bound, so that nobody else listens there meanwhile either.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let output = run(&url, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("refused") && report.contains("The receiver does not answer"), "{report}");
    assert_eq!(report.matches("FAILED").count(), 1, "the others are not tried");
    let output = run(&url, &["--secret", "whsec_AAEC"]).await;
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && message.contains("is not a signing secret"), "{message}");
    assert!(!message.contains("AAEC"), "{message}");
    assert!(!run("localhost:3000", &[]).await.status.success());
}
