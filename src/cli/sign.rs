//! `sign` and `verify`: the signature of a body on standard input.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncReadExt as _;

use super::{fail, say};
use crate::{
    clock::Clock,
    config::secret_of,
    signature::{SigningSecret, sign_header, verify},
};

#[derive(Args)]
struct SecretArgs {
    /// The endpoint's signing secret; else `K_WEBHOOKS_SIGNING_SECRET`, or the file that `K_WEBHOOKS_SIGNING_SECRET_FILE` names
    // Read as a secret later: a value that is refused here would be printed.
    #[arg(long)]
    secret: Option<String>,
}

#[derive(Args)]
pub(super) struct SignArgs {
    #[command(flatten)]
    secret: SecretArgs,
    /// Unix seconds to sign for; now, if not given
    #[arg(long)]
    timestamp: Option<i64>,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    secret: SecretArgs,
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

/// What gives a signing secret to the commands that sign and verify.
pub(super) const VARIABLE: &str = "K_WEBHOOKS_SIGNING_SECRET";

impl SecretArgs {
    fn secret(self) -> Result<SigningSecret> {
        let variable = |name: &str| std::env::var(name).ok();
        let given = secret_of(self.secret.map(SecretString::from), VARIABLE, variable)?;
        let given = given.with_context(|| format!("give --secret, {VARIABLE} or {VARIABLE}_FILE"))?;
        SigningSecret::parse(given.expose_secret()).context("the secret")
    }
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
        let secret = self.secret.secret()?;
        say(&sign_header(&[&secret], self.timestamp.unwrap_or_else(now), &body().await?));
        Ok(())
    }
}

impl VerifyArgs {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let (now, secret) = (self.now.unwrap_or_else(now), self.secret.secret()?);
        match verify(&self.header, &body().await?, &secret, now, self.tolerance) {
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
