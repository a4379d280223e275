//! `doctor`: looks at everything that the service needs here, and says what is wrong and what to do about it. It changes
//! nothing, so it can be run beside a service, and before its first start.

mod database;
mod host;
mod outbound;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{ConfigArgs, say};
use crate::{
    clock::Clock,
    config::{Config, Mode},
};

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// An endpoint's address: would it be called, and does it answer? It gets a HEAD request
    #[arg(long)]
    url: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What a check came to, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Outcome {
    /// As it should be.
    #[serde(rename = "ok")]
    Good,
    /// The service runs, and something is not as it should be.
    #[serde(rename = "warning")]
    Warning,
    /// The service does not run, or not for long.
    #[serde(rename = "failure")]
    Failure,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What a check found.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    outcome: Outcome,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Good, found: found.into(), advice: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn failure(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Failure, found: found.into(), advice: Some(advice.into()) }
    }
}

impl DoctorArgs {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let findings = match self.config.load() {
            Ok(config) => examine(&config, self.url.as_deref()).await,
            Err(error) => {
                vec![Finding::failure("configuration", format!("{error:#}"), "mend the option that is named")]
            }
        };
        let worst = findings.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Good);
        if self.json {
            say(&json!({ "outcome": worst, "checks": findings }).to_string());
        } else {
            findings.iter().for_each(show);
            say(match worst {
                Outcome::Good => "All is as it should be.",
                Outcome::Warning => "The service runs here; see the warnings.",
                Outcome::Failure => "The service cannot do its work here as it stands.",
            });
        }
        Ok(if worst == Outcome::Failure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

async fn examine(config: &Config, url: Option<&str>) -> Vec<Finding> {
    let clock = Clock::system();
    let mut findings = vec![configuration(config)];
    findings.extend(database::examine(config, &clock).await);
    findings.extend(host::examine(config).await);
    findings.extend(outbound::examine(config, url).await);
    findings
}

fn configuration(config: &Config) -> Finding {
    const CHECK: &str = "configuration";
    match config.mode {
        Mode::Production => Finding::good(CHECK, "production"),
        Mode::Development if config.test_clock.enabled => {
            Finding::good(CHECK, "development, on the test clock")
        }
        Mode::Development => Finding::good(CHECK, "development: http and this machine may be called"),
    }
}

fn show(finding: &Finding) {
    say(&format!("{:<8} {:<18} {}", finding.outcome.word(), finding.check, finding.found));
    if let Some(advice) = &finding.advice {
        say(&format!("{:<27} -> {advice}", ""));
    }
}
