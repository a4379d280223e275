//! The command line: a file for each subcommand.

mod api;
mod backfill;
mod check;
mod demo;
mod doctor;
mod export;
mod forward;
mod healthcheck;
mod http;
mod keys;
mod listen;
mod portal;
mod profile;
mod resources;
mod serve;
mod sign;
mod trigger;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{
    app::{Foundation, Role},
    audit::Author,
    config::{Config, LogFormat},
    merchant::{MerchantId, Tenant},
};

/// Webhook delivery and signing: accepts events durably, signs, delivers and retries them.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service (the default).
    Serve(ServeArgs),
    /// Brings the database up to date and exits.
    Migrate(ConfigArgs),
    /// A live tour on embedded storage.
    Demo,
    /// Asks the service that runs here with the same options whether it lives.
    Healthcheck(ConfigArgs),
    /// Sends past events to an endpoint, and shows how far it is.
    Backfill(backfill::BackfillArgs),
    /// Writes a merchant's events and deliveries to standard output, as JSON lines.
    Export(export::ExportArgs),
    /// Looks at everything that the service needs here, and says what is wrong and what to do.
    Doctor(doctor::DoctorArgs),
    /// API keys without the HTTP API.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Makes a link that opens a merchant's portal, and prints it.
    Portal(portal::PortalArgs),
    /// Makes a K-Payments-Signature for the body on standard input.
    Sign(sign::SignArgs),
    /// Checks a K-Payments-Signature against the body on standard input, and says why it fails.
    Verify(sign::VerifyArgs),
    /// Forwards a merchant's events to a receiver as they happen.
    Listen(listen::ListenArgs),
    /// Publishes a realistic sample of an event.
    Trigger(trigger::TriggerArgs),
    /// Puts a receiver through good and hostile requests, and says what it must change.
    Check(check::CheckArgs),
    /// Events of a running service.
    #[command(subcommand)]
    Events(resources::Events),
    /// Endpoints of a running service.
    #[command(subcommand)]
    Endpoints(resources::Endpoints),
    /// Deliveries of a running service.
    #[command(subcommand)]
    Deliveries(resources::Deliveries),
    /// Completions for a shell, such as: k-webhooks completions bash > /etc/bash_completion.d/k-webhooks
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Where the configuration comes from.
#[derive(Args, Clone, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration file; config.toml in this folder, if it is there
    #[arg(long, env = "K_WEBHOOKS_CONFIG")]
    config: Option<PathBuf>,
    /// An option over all others, such as --set retry.jitter=0
    // Taken apart later: a value that is refused here would be printed, and may be a secret.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args, Clone, Default)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Which parts of the service this process runs
    #[arg(long, value_enum, default_value_t)]
    role: Role,
}

/// Which of a merchant's data.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Test,
    Live,
}

impl Mode {
    fn of(self, merchant_id: MerchantId) -> Tenant {
        Tenant { merchant_id, livemode: self == Self::Live }
    }
}

fn parse_merchant(text: &str) -> Result<MerchantId, &'static str> {
    text.parse()
}

fn parse_seconds(text: &str) -> Result<i64, &'static str> {
    let wrong = "must be like 2026-01-31T22:00:00Z, or unix seconds";
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(seconds.into());
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|_| wrong)?;
    let since_epoch = at.duration_since(std::time::UNIX_EPOCH).map_err(|_| wrong)?;
    i64::try_from(since_epoch.as_secs()).map_err(|_| wrong)
}

/// The user, as the environment has the name.
fn author() -> Author {
    Author::command_line(std::env::var("USER").ok().filter(|name| !name.is_empty()))
}

fn key_value(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').context("--set: must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The variables that are text. Of the others, one that is an option is an error, which does not show it.
fn environment() -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) if name.starts_with("K_WEBHOOKS_") => bail!("{name}: is not UTF-8"),
            Err(_) => {}
        }
    }
    Ok(variables)
}

impl ConfigArgs {
    fn load(&self) -> Result<Config> {
        let set = self.set.iter().map(|text| key_value(text)).collect::<Result<Vec<_>>>()?;
        Ok(Config::load(self.config.as_deref(), environment()?, &set)?)
    }

    async fn open(&self) -> Result<Foundation> {
        Foundation::open(&self.load()?).await
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime");
    let outcome = runtime.and_then(|runtime| runtime.block_on(run(cli)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            fail(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => {
            let config = args.config.load()?;
            start_tracing(&config)?;
            serve::serve(config, args.role).await?;
        }
        Command::Migrate(args) => {
            args.open().await?.store.close().await;
            say("The database is up to date.");
        }
        Command::Demo => demo::demo().await?,
        Command::Healthcheck(args) => args.check_health().await?,
        Command::Backfill(args) => args.run().await?,
        Command::Export(args) => args.run().await?,
        Command::Doctor(args) => return args.run().await,
        Command::Keys(command) => command.run().await?,
        Command::Portal(args) => args.run().await?,
        Command::Sign(args) => args.run().await?,
        Command::Verify(args) => return args.run().await,
        Command::Listen(args) => args.run().await?,
        Command::Trigger(args) => args.run().await?,
        Command::Check(args) => return args.run().await,
        Command::Events(command) => command.run().await?,
        Command::Endpoints(command) => command.run().await?,
        Command::Deliveries(command) => command.run().await?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "k-webhooks", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start_tracing(config: &Config) -> Result<()> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.log.filter).context("log.filter")?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// The filter of the log. Naming one of these targets in `log.filter` brings it back.
fn filter(directives: &str) -> Result<EnvFilter> {
    const QUIET: [&str; 2] = [
        // A receiver whose certificate is not trusted is the merchant's concern, who is told by the attempt.
        "rustls_platform_verifier=off",
        // How it is put together concerns nobody.
        "tokio_cron_scheduler=warn",
    ];
    let mut filter = EnvFilter::try_new(directives)?;
    for directive in QUIET {
        let target = directive.split('=').next().unwrap_or_default();
        if !directives.contains(target) {
            filter = filter.add_directive(directive.parse()?);
        }
    }
    Ok(filter)
}

/// Writes a line of the program's answer. Who reads only its beginning, such as `head`, is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "the command line's errors go to standard error")]
fn fail(line: &str) {
    eprintln!("k-webhooks: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_and_their_arguments_are_in_order() {
        Cli::command().debug_assert();
    }

    #[test]
    fn untrusted_receivers_are_not_errors_of_the_service_unless_asked_for() {
        assert!(filter("info").unwrap().to_string().contains("rustls_platform_verifier=off"));
        assert!(filter("").unwrap().to_string().contains("rustls_platform_verifier=off"));
        let asked = filter("info,rustls_platform_verifier=debug").unwrap().to_string();
        assert!(asked.contains("rustls_platform_verifier=debug") && !asked.contains("=off"), "{asked}");
        assert!(filter("k_webhooks=loud").is_err());
    }

    #[test]
    fn an_instant_is_a_date_with_a_time_or_unix_seconds() {
        assert_eq!(parse_seconds("1749651729"), Ok(1_749_651_729));
        assert_eq!(parse_seconds("2025-06-11T14:22:09Z"), Ok(1_749_651_729));
        assert_eq!(parse_seconds("2025-06-11 14:22:09"), Ok(1_749_651_729));
        for bad in ["", "yesterday", "-1", "1749651729000"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
