//! `check`: puts a receiver through good and hostile requests, and says which of them it did not handle as it should.

mod cases;
mod report;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use http::{HeaderMap, HeaderValue, Uri};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    forward::{Answer, Receiver},
    sign::VARIABLE,
};
use crate::{
    clock::Clock,
    config::secret_of,
    entropy::Entropy,
    headers::{Envelope, SIGNATURE},
    id::{DeliveryId, IdSource},
    samples::Samples,
    signature::SigningSecret,
};
use cases::{Case, Sent, Should};
use report::Report;

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The receiver, such as <http://localhost:3000/hooks>
    url: Uri,
    /// The signing secret that the receiver verifies with; else `K_WEBHOOKS_SIGNING_SECRET`, or the file that …`_FILE` names
    // Read as a secret later: a value that is refused here would be printed.
    #[arg(long)]
    secret: Option<String>,
    /// Only cases whose names contain this
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

impl CheckArgs {
    /// Fails if the receiver does.
    pub(super) async fn run(self) -> Result<ExitCode> {
        let given =
            secret_of(self.secret.map(SecretString::from), VARIABLE, |name| std::env::var(name).ok())?;
        let given = given.with_context(|| format!("give --secret, {VARIABLE} or {VARIABLE}_FILE"))?;
        let entropy = Entropy::os();
        let run = Run {
            receiver: Receiver::at(self.url)?,
            secret: SigningSecret::parse(given.expose_secret()).context("the secret")?,
            samples: Samples::new(entropy.bytes(), Clock::system().now().seconds()),
            ids: IdSource::new(entropy.clone()),
            clock: Clock::system(),
            entropy,
        };
        let mut report = Report::default();
        for case in cases::ALL.iter().filter(|case| case.name.contains(&self.only)) {
            report.add(case, &run.judge(case).await, self.json);
            // Whatever is not there fails every case alike.
            if report.is_unreachable() {
                break;
            }
        }
        Ok(if report.finish(self.json) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What a case's requests are made of and sent with.
struct Run {
    receiver: Receiver,
    secret: SigningSecret,
    samples: Samples,
    ids: IdSource,
    clock: Clock,
    entropy: Entropy,
}

/// How a receiver did.
#[derive(Debug)]
struct Judged {
    verdict: Verdict,
    /// What it answered, in words.
    answer: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// It is safe, and could be better.
    Noted(&'static str),
    Failed,
    /// There was no answer at all.
    Unreached,
}

/// Longer than this, and a busy day makes it longer than the service waits.
const SLOW_MS: u128 = 5_000;

impl Run {
    /// Sends the case's requests, one after another; the first answer that is not as it should be decides.
    async fn judge(&self, case: &Case) -> Judged {
        let mut judged = Judged { verdict: Verdict::Passed, answer: String::new() };
        for sent in (case.requests)(self) {
            let started = Instant::now();
            let answer = self.send(&sent).await;
            let took_ms = started.elapsed().as_millis();
            judged = Judged {
                verdict: verdict(case.should, answer.as_ref(), took_ms),
                answer: match &answer {
                    Ok(answer) => in_words(answer, took_ms),
                    Err(error) => error.clone(),
                },
            };
            if judged.verdict != Verdict::Passed {
                break;
            }
        }
        judged
    }

    async fn send(&self, sent: &Sent) -> Result<Answer, String> {
        let delivery: DeliveryId = self.ids.next(self.clock.now());
        let envelope = Envelope {
            event_id: &sent.event_id,
            event_type: sent.event_type,
            delivery_id: &delivery.to_string(),
            attempt: sent.attempt,
        };
        let headers = envelope.headers(&[&self.secret], sent.at, &sent.signed);
        let mut headers: HeaderMap = headers.map_err(|error| error.to_string())?;
        match &sent.header {
            Some(header) => {
                headers.insert(SIGNATURE, HeaderValue::try_from(header).map_err(|error| error.to_string())?)
            }
            None => headers.remove(SIGNATURE),
        };
        if !sent.has_standard_headers {
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
                headers.remove(name);
            }
        }
        self.receiver.send(headers, sent.body.clone().into()).await
    }
}

fn verdict(should: Should, answer: Result<&Answer, &String>, took_ms: u128) -> Verdict {
    let Ok(answer) = answer else {
        return Verdict::Unreached;
    };
    match (should, answer.status) {
        (Should::Take, 200..=299) if took_ms > SLOW_MS => {
            Verdict::Noted("it is slow: verify, keep the event, answer, and do the work afterwards")
        }
        (Should::Take, 200..=299) | (Should::Refuse, 400..=499) => Verdict::Passed,
        (Should::Refuse, 500..) => Verdict::Noted("it refused by an error of its own: answer 400"),
        _ => Verdict::Failed,
    }
}

fn in_words(answer: &Answer, took_ms: u128) -> String {
    let said: String = answer.text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let said = if said.trim().is_empty() { String::new() } else { format!(" ({})", said.trim()) };
    format!("{}{said} in {took_ms} ms", answer.status)
}
