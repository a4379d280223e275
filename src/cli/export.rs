//! `export`: a merchant's events and deliveries as JSON lines on standard output.
//!
//! Events come in the order of their dates, each followed by its deliveries, newest first, with all their attempts. What is
//! read is written before more is read, so that memory does not grow with what there is. The last line says how many there
//! were: without it, and with an exit code that is not 0, the export was cut short.

use std::io::{self, BufWriter, Write};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use super::{ConfigArgs, Mode, parse_merchant, parse_seconds};
use crate::{
    app::Foundation,
    clock::UnixMs,
    event::Event,
    http::view,
    merchant::{MerchantId, Tenant},
    store::{DeliveryFilter, Page, Position},
};

/// Events that are read at once: with bodies of the largest size, some MiB.
const EVENTS: u32 = 50;

/// Deliveries of an event that are read at once.
const DELIVERIES: u32 = 100;

#[derive(Args)]
pub(super) struct ExportArgs {
    /// Whose events
    #[arg(long, value_parser = parse_merchant)]
    merchant: MerchantId,
    /// Which of the merchant's data
    #[arg(long, value_enum)]
    mode: Mode,
    /// Events dated at this instant or later: 2026-01-31T22:00:00Z, or unix seconds. From the first on, if not given
    #[arg(long, value_name = "INSTANT", value_parser = parse_seconds)]
    since: Option<i64>,
    /// Events dated at this instant or before. To the last, if not given
    #[arg(long, value_name = "INSTANT", value_parser = parse_seconds)]
    until: Option<i64>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl ExportArgs {
    pub(super) async fn run(self) -> Result<()> {
        let (since, until) = (self.since.unwrap_or(0), self.until.unwrap_or(i64::MAX / 1000 - 1));
        if since > until {
            bail!("--until must not be before --since");
        }
        let foundation = self.config.open().await?;
        let range = (UnixMs(since * 1000), UnixMs(until * 1000 + 999));
        let tenant = self.mode.of(self.merchant);
        let mut output = BufWriter::new(io::stdout().lock());
        let outcome = export(&foundation, &tenant, range, &mut output).await;
        foundation.store.close().await;
        outcome.and_then(|()| Ok(output.flush()?)).context("the export was cut short")
    }
}

/// Writes the events of the range.
async fn export(
    foundation: &Foundation,
    tenant: &Tenant,
    range: (UnixMs, UnixMs),
    output: &mut impl Write,
) -> Result<()> {
    let (mut events, mut deliveries, mut after) = (0_u64, 0, None);
    loop {
        let found = foundation.store.events_by_date(tenant, range, after, EVENTS).await?;
        for (_, event) in &found {
            writeln!(output, "{}", on_one_line(event))?;
            deliveries += export_deliveries(foundation, tenant, event, output).await?;
        }
        events += found.len() as u64;
        match found.last() {
            Some((place, _)) => after = Some(*place),
            None => break,
        }
    }
    writeln!(output, "{}", json!({ "object": "export", "events": events, "deliveries": deliveries }))?;
    Ok(())
}

/// The event as the API shows it. Its `data` is as the publisher sent it, perhaps over several lines: in JSON a line breaks
/// only where there might be a space.
fn on_one_line(event: &Event) -> String {
    event.to_json().get().replace(['\n', '\r'], " ")
}

/// Writes the deliveries of an event; answers how many.
async fn export_deliveries(
    foundation: &Foundation,
    tenant: &Tenant,
    event: &Event,
    output: &mut impl Write,
) -> Result<u64> {
    let (store, filter) = (&foundation.store, DeliveryFilter::OfEvent(event.id));
    let (mut count, mut page) = (0, Page { limit: DELIVERIES, position: Position::First });
    loop {
        // A page is beside nothing where retention has removed the event meanwhile: what it had is written.
        let Some(list) = store.list_deliveries(tenant, &filter, &page).await? else { return Ok(count) };
        for delivery in &list.items {
            let attempts = store.attempts(delivery.id).await?;
            writeln!(output, "{}", json!(view::delivery_with_attempts(delivery, &attempts)))?;
        }
        count += list.items.len() as u64;
        match list.items.last() {
            Some(last) if list.has_more => page.position = Position::After(last.id),
            _ => return Ok(count),
        }
    }
}
