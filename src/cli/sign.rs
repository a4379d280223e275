//! `sign` and `verify`: the signature of a body on standard input.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::io::AsyncReadExt as _;

use super::{fail, say};
use crate::{
    clock::Clock,
    signature::{NotASecret, SigningSecret, k_payments_signature, verify},
};

#[derive(Args)]
pub(super) struct SignArgs {
    /// The endpoint's signing secret
    #[arg(long, env = "K_WEBHOOKS_SIGNING_SECRET", hide_env_values = true, value_parser = parse_secret)]
    secret: SigningSecret,
    /// Unix seconds to sign for; now, if not given
    #[arg(long)]
    timestamp: Option<i64>,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The endpoint's signing secret
    #[arg(long, env = "K_WEBHOOKS_SIGNING_SECRET", hide_env_values = true, value_parser = parse_secret)]
    secret: SigningSecret,
    /// The value of the K-Payments-Signature header
    #[arg(long, default_value = "")]
    header: String,
    /// How far from now the signature may have been made
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    tolerance: Duration,
    /// Unix seconds to take for now
    #[arg(long)]
    now: Option<i64>,
}

fn parse_secret(text: &str) -> Result<SigningSecret, NotASecret> {
    SigningSecret::parse(text)
}

fn now() -> i64 {
    Clock::system().now().seconds()
}

async fn body() -> Result<Vec<u8>> {
    let mut body = Vec::new();
    tokio::io::stdin().read_to_end(&mut body).await.context("standard input cannot be read")?;
    Ok(body)
}

impl SignArgs {
    pub(super) async fn run(self) -> Result<()> {
        say(&k_payments_signature(&[&self.secret], self.timestamp.unwrap_or_else(now), &body().await?));
        Ok(())
    }
}

impl VerifyArgs {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let now = self.now.unwrap_or_else(now);
        match verify(&self.header, &body().await?, &self.secret, now, self.tolerance) {
            Ok(()) => {
                say("valid");
                Ok(ExitCode::SUCCESS)
            }
            Err(reason) => {
                fail(&format!("{}: {reason}", reason.code()));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
