//! What recording outcomes reads and writes.

use sqlx::FromRow;

use crate::{
    clock::UnixMs,
    delivery::{AttemptResult, DeliveryStatus, Standing, Verdict},
};

/// An outcome to write, where its delivery still stands as `before`.
pub(in crate::store) struct Change<'a> {
    pub(in crate::store) result: &'a AttemptResult,
    pub(in crate::store) before: Standing,
    pub(in crate::store) after: Standing,
}

impl<'a> Change<'a> {
    pub(in crate::store) fn of(result: &'a AttemptResult, before: Standing) -> Self {
        Self { result, before, after: before.after(result.leased_as.window_started_at, result.verdict) }
    }

    /// Whether the outcome would end the delivery, and does not: it had ended by then, or begun anew.
    pub(in crate::store) fn is_overtaken(&self) -> bool {
        !matches!(self.result.verdict, Verdict::RetryAt(_)) && self.after.status == self.before.status
    }

    /// When the delivery was abandoned, where this outcome does that.
    pub(in crate::store) fn abandoned_at(&self) -> Option<UnixMs> {
        let abandons =
            self.after.status == DeliveryStatus::Abandoned && self.before.status != self.after.status;
        abandons.then(|| self.result.ended_at())
    }
}

/// How a delivery stands when an outcome is to be recorded.
#[derive(FromRow)]
pub(in crate::store) struct StandingRow {
    pub(in crate::store) id: String,
    pub(in crate::store) lease_token: Option<String>,
    pub(in crate::store) status: String,
    pub(in crate::store) abandoned_reason: Option<String>,
    pub(in crate::store) ladder_failures: i32,
    pub(in crate::store) window_started_at: i64,
    pub(in crate::store) next_attempt_at: Option<i64>,
}

/// What may become of the endpoints whose outcomes are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Endpoints {
    /// Only outcomes are written that change nothing about them.
    StayAsTheyStand,
    /// What follows for them is written beside.
    Follow,
}
