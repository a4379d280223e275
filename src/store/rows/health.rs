//! How endpoints fare, as rows.

use sqlx::FromRow;

use super::{read, read_optional};
use crate::{
    clock::UnixMs,
    failing::Failing,
    statistics::{Latest, LatestFailure},
    store::{Result, StoreError},
};

/// How an endpoint fails.
#[derive(FromRow)]
pub(in crate::store) struct FailingRow {
    pub(in crate::store) webhook_endpoint_id: String,
    failing_since: i64,
    counted_from: i64,
    step: String,
    next_step_at: Option<i64>,
}

impl TryFrom<FailingRow> for Failing {
    type Error = StoreError;

    fn try_from(row: FailingRow) -> Result<Self> {
        Ok(Self {
            since: UnixMs(row.failing_since),
            counted_from: UnixMs(row.counted_from),
            step: read(&row.step, "failing_endpoints", "step", &row.webhook_endpoint_id)?,
            next_step_at: row.next_step_at.map(UnixMs),
        })
    }
}

/// What was seen last of an endpoint.
#[derive(FromRow)]
pub(in crate::store) struct LatestRow {
    webhook_endpoint_id: String,
    last_success_at: Option<i64>,
    last_failure_at: Option<i64>,
    last_failure_code: Option<String>,
    last_failure_message: Option<String>,
}

impl TryFrom<LatestRow> for Latest {
    type Error = StoreError;

    fn try_from(row: LatestRow) -> Result<Self> {
        const TABLE: &str = "latest_outcomes";
        let code = row.last_failure_code.as_deref();
        let code = read_optional(code, TABLE, "last_failure_code", &row.webhook_endpoint_id)?;
        let failure = row.last_failure_at.zip(code).map(|(at, code)| LatestFailure {
            at: UnixMs(at),
            code,
            message: row.last_failure_message.unwrap_or_default(),
        });
        Ok(Self { success_at: row.last_success_at.map(UnixMs), failure })
    }
}
