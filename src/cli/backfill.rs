//! `backfill`: begins or watches a backfill, straight on the database.
//!
//! Like `keys`, and for whoever operates the service: it needs no merchant's key. What it begins is a row, which the
//! worker on that database finds; ended, it only stops watching.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{ConfigArgs, Mode, author, parse_merchant, parse_seconds, say};
use crate::{
    app::Foundation,
    backfill::{
        Backfill, BackfillReason, BackfillStatus, NewBackfill, PER_SECOND_DEFAULT, PER_SECOND_MAX, Scope,
        Selection, count,
    },
    clock::UnixMs,
    counted::counted,
    endpoint::{EnabledEvents, EndpointStatus},
    id::{BackfillId, EndpointId},
    merchant::{MerchantId, Tenant},
    store::News,
};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Characters of the bar.
const WIDTH: u64 = 30;

#[derive(Args)]
pub(super) struct BackfillArgs {
    /// The merchant whose endpoint it is
    #[arg(long, value_parser = parse_merchant)]
    merchant: MerchantId,
    /// Which of the merchant's data
    #[arg(long, value_enum)]
    mode: Mode,
    /// The endpoint to send to
    #[arg(long, required_unless_present = "watch")]
    endpoint: Option<EndpointId>,
    /// Events dated at this instant or later: 2026-01-31T22:00:00Z, or unix seconds
    #[arg(long, value_name = "INSTANT", value_parser = parse_seconds, required_unless_present = "watch")]
    from: Option<i64>,
    /// Events dated at this instant or before
    #[arg(long, value_name = "INSTANT", value_parser = parse_seconds, required_unless_present = "watch")]
    to: Option<i64>,
    /// Only events of this type, whether the endpoint lists it or not; may be repeated. All that it lists, if not given
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Also events that have arrived or are on their way
    #[arg(long)]
    all: bool,
    /// Deliveries a second
    #[arg(long, default_value_t = PER_SECOND_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(PER_SECOND_MAX)))]
    per_second: u32,
    /// Only counts
    #[arg(long)]
    dry_run: bool,
    /// Begins nothing and watches this backfill
    #[arg(long, value_name = "ID", conflicts_with_all = ["endpoint", "from", "to", "types", "all", "dry_run"])]
    watch: Option<BackfillId>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl BackfillArgs {
    pub(super) async fn run(self) -> Result<()> {
        let foundation = self.config.open().await?;
        let outcome = self.go(&foundation).await;
        foundation.store.close().await;
        outcome
    }

    async fn go(&self, foundation: &Foundation) -> Result<()> {
        let tenant = self.mode.of(self.merchant.clone());
        if let Some(id) = self.watch {
            return watch(foundation, &tenant, id).await;
        }
        let store = &foundation.store;
        let (selection, status) = self.selection(foundation, tenant.clone()).await?;
        let found = count(store.as_ref(), &selection, None).await?;
        let matched = counted(found.total(), "event");
        if self.dry_run {
            say(&format!("{matched} to send."));
            return Ok(());
        }
        if status == EndpointStatus::Disabled {
            bail!("the webhook endpoint {} is disabled; enable it first", selection.endpoint_id);
        }
        let now = foundation.clock.now();
        let new = NewBackfill {
            id: foundation.ids.next(now),
            selection,
            per_second: self.per_second,
            counted: found,
        };
        let begun = store.insert_backfill(&new, &author(), now).await?;
        let begun = begun.context("the webhook endpoint has a backfill that is not finished; wait for it")?;
        // A hint: a worker that does not hear it finds the backfill by itself.
        let _ = store.announce(&[News::Backfill]).await;
        say(&format!("{} has begun; {matched} to send.", begun.id));
        watch(foundation, &tenant, begun.id).await
    }

    async fn selection(
        &self,
        foundation: &Foundation,
        tenant: Tenant,
    ) -> Result<(Selection, EndpointStatus)> {
        let (Some(endpoint_id), Some(from), Some(to)) = (self.endpoint, self.from, self.to) else {
            bail!("name an endpoint and a range");
        };
        if from > to {
            bail!("--to must not be before --from");
        }
        let endpoint = foundation.store.endpoint(&tenant, endpoint_id).await?;
        let endpoint = endpoint.with_context(|| format!("no such webhook endpoint: {endpoint_id}"))?;
        let types = if self.types.is_empty() {
            endpoint.enabled_events
        } else {
            let bad = |errors: Vec<(Option<usize>, String)>| {
                let errors = errors.into_iter().map(|(_, message)| message).collect::<Vec<_>>();
                anyhow::anyhow!("--type {}", errors.join("; "))
            };
            EnabledEvents::parse(&self.types).map_err(bad)?
        };
        let selection = Selection {
            tenant,
            endpoint_id,
            created_from: UnixMs(from * 1000),
            created_to: UnixMs(to * 1000 + 999),
            types,
            scope: if self.all { Scope::All } else { Scope::Undelivered },
        };
        Ok((selection, endpoint.status))
    }
}

/// Shows how a backfill goes on, until it does no longer.
async fn watch(foundation: &Foundation, tenant: &Tenant, id: BackfillId) -> Result<()> {
    let live = std::io::stdout().is_terminal();
    let mut said = None;
    let backfill = loop {
        let backfill = foundation.store.backfill(tenant, id).await?;
        let backfill = backfill.with_context(|| format!("no such backfill: {id}"))?;
        let running = backfill.status == BackfillStatus::Running;
        // Where nobody watches, a line for each tenth and one for the end.
        let tenth = (backfill.sent * 10 / backfill.matched.max(1), running);
        if live {
            show(&bar(&backfill), running);
        } else if said.replace(tenth) != Some(tenth) {
            say(&bar(&backfill));
        }
        if !running {
            break backfill;
        }
        tokio::time::sleep(LOOK).await;
    };
    let tally = foundation.store.backfill_tally(id).await?;
    say(&format!(
        "Of its deliveries {} succeeded, {} are pending, {} held, {} abandoned.",
        tally.succeeded(backfill.sent),
        tally.pending,
        tally.held,
        tally.abandoned
    ));
    Ok(())
}

fn bar(backfill: &Backfill) -> String {
    let Backfill { sent, matched, status, .. } = backfill;
    let filled = match status {
        BackfillStatus::Completed => WIDTH,
        _ => (sent * WIDTH / (*matched).max(1)).min(WIDTH),
    };
    let bar: String = (0..WIDTH).map(|place| if place < filled { '#' } else { '.' }).collect();
    let reason = backfill.reason.map(BackfillReason::as_str);
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("[{bar}] {sent} of {matched} {}{reason}", status.as_str())
}

/// Writes a line over the one before.
#[expect(clippy::print_stdout, reason = "the command line's answers go to standard output")]
fn show(line: &str, more: bool) {
    use std::io::Write as _;
    print!("\r\x1b[K{line}{}", if more { "" } else { "\n" });
    // A terminal that is gone is seen at the next line.
    let _ = std::io::stdout().flush();
}
