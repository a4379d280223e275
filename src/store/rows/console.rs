//! Console sessions, processes, and what is looked up over all merchants, as both engines return it.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::{EndpointRow, FailingRow, LatestRow, read, read_merchant};
use crate::{
    clock::UnixMs,
    console::ConsoleSession,
    merchant::Tenant,
    pulse::{ProcessReport, Tally},
    store::{FailingEndpoint, Owner, Result, StoreError, UpkeepDone},
};

#[derive(FromRow)]
pub(in crate::store) struct ConsoleSessionRow {
    id: String,
    service: Option<String>,
    created_at: i64,
    expires_at: i64,
}

impl TryFrom<ConsoleSessionRow> for ConsoleSession {
    type Error = StoreError;

    fn try_from(row: ConsoleSessionRow) -> Result<Self> {
        Ok(Self {
            id: read(&row.id, "console_sessions", "id", &row.id)?,
            service: row.service,
            created_at: UnixMs(row.created_at),
            expires_at: UnixMs(row.expires_at),
        })
    }
}

#[derive(FromRow)]
pub(in crate::store) struct OwnerRow {
    merchant_id: Option<String>,
    livemode: Option<bool>,
}

impl OwnerRow {
    /// Whose it is, of the object with this id; none where it is for those who operate the service.
    pub(in crate::store) fn read(self, table: &'static str, id: &str) -> Result<Option<Owner>> {
        let Some((merchant, livemode)) = self.merchant_id.zip(self.livemode) else {
            return Ok(Some(Owner::Nobody));
        };
        let tenant = Tenant { merchant_id: read_merchant(&merchant, table, id)?, livemode };
        Ok((!tenant.is_operators()).then_some(Owner::Tenant(tenant)))
    }
}

#[derive(FromRow)]
pub(in crate::store) struct FailingEndpointRow {
    #[sqlx(flatten)]
    endpoint: EndpointRow,
    #[sqlx(flatten)]
    failing: FailingRow,
    #[sqlx(flatten)]
    latest: LatestRow,
}

impl TryFrom<FailingEndpointRow> for FailingEndpoint {
    type Error = StoreError;

    fn try_from(row: FailingEndpointRow) -> Result<Self> {
        Ok(Self {
            endpoint: row.endpoint.try_into()?,
            failing: row.failing.try_into()?,
            latest: row.latest.try_into()?,
        })
    }
}

#[derive(FromRow)]
pub(in crate::store) struct ProcessRow {
    id: String,
    role: String,
    version: String,
    host: String,
    started_at: i64,
    seen_at: i64,
    load: String,
}

impl TryFrom<ProcessRow> for ProcessReport {
    type Error = StoreError;

    fn try_from(row: ProcessRow) -> Result<Self> {
        const TABLE: &str = "processes";
        let inconsistent = |_| StoreError::Inconsistent { table: TABLE, column: "load", id: row.id.clone() };
        Ok(Self {
            load: serde_json::from_str(&row.load).map_err(inconsistent)?,
            id: read(&row.id, TABLE, "id", &row.id)?,
            role: read(&row.role, TABLE, "role", &row.id)?,
            version: row.version,
            host: row.host,
            started_at: UnixMs(row.started_at),
            seen_at: UnixMs(row.seen_at),
        })
    }
}

#[derive(FromRow)]
pub(in crate::store) struct TallyRow {
    starts_at: i64,
    counts: String,
}

/// What all processes counted, by the beginnings of the buckets.
pub(in crate::store) fn read_tallies(rows: &[TallyRow]) -> Result<Vec<(UnixMs, Tally)>> {
    let mut sums: BTreeMap<UnixMs, Tally> = BTreeMap::new();
    for row in rows {
        let counts = serde_json::from_str(&row.counts).map_err(|_| StoreError::Inconsistent {
            table: "process_statistics",
            column: "counts",
            id: row.starts_at.to_string(),
        })?;
        sums.entry(UnixMs(row.starts_at)).or_default().add(&counts);
    }
    Ok(sums.into_iter().collect())
}

#[derive(FromRow)]
pub(in crate::store) struct UpkeepRow {
    name: String,
    succeeded_at: Option<i64>,
}

impl From<UpkeepRow> for UpkeepDone {
    fn from(row: UpkeepRow) -> Self {
        Self { name: row.name, succeeded_at: row.succeeded_at.map(UnixMs) }
    }
}
