//! What is kept of backfills: one method is one transaction here too, but for [`BackfillStore::step_backfill`], which looks
//! before it writes.

use async_trait::async_trait;

use super::{Page, Paged, Result};
use crate::{
    audit::Author,
    backfill::{Backfill, BackfillStatus, NewBackfill, Selection, Stepped, Tally},
    clock::UnixMs,
    event::{EventPlace, EventType},
    id::{BackfillId, EndpointId},
    merchant::Tenant,
};

/// What a look over some events found.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// How many match, by type.
    pub by_type: Vec<(EventType, u64)>,
    /// After which event the next look begins; none where all were looked at.
    pub looked_up_to: Option<EventPlace>,
}

/// The service's memory of backfills.
#[async_trait]
pub trait BackfillStore: Send + Sync {
    /// Counts what the selection matches among the next 2,000 events of its range, those after `after`.
    async fn count_matching(&self, selection: &Selection, after: Option<EventPlace>) -> Result<Matching>;

    /// Begins a backfill over the events accepted so far. None where the endpoint has one that is not finished.
    async fn insert_backfill(&self, new: &NewBackfill, by: &Author, now: UnixMs) -> Result<Option<Backfill>>;

    /// The backfill.
    async fn backfill(&self, tenant: &Tenant, id: BackfillId) -> Result<Option<Backfill>>;

    /// How those of its deliveries stand that have not arrived.
    async fn backfill_tally(&self, id: BackfillId) -> Result<Tally>;

    /// The endpoint's backfills, newest first.
    async fn list_backfills(
        &self,
        tenant: &Tenant,
        endpoint: EndpointId,
        page: &Page<BackfillId>,
    ) -> Result<Option<Paged<Backfill>>>;

    /// Brings the backfill from one state to another. None where it is not, or no longer, in the first.
    async fn steer_backfill(
        &self,
        id: BackfillId,
        from: BackfillStatus,
        to: BackfillStatus,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Backfill>>;

    /// At most `limit` backfills that run, from `after` on in the order of ids.
    async fn running_backfills(&self, after: Option<BackfillId>, limit: u32) -> Result<Vec<BackfillId>>;

    /// Looks at the next events of a backfill, in the order of their dates, makes deliveries of those that match, as many as
    /// its pace and what is open of it allow, and moves its place past them. Of processes that step it at the same time one
    /// does, and the others do nothing. A backfill whose endpoint is disabled is paused instead.
    async fn step_backfill(&self, id: BackfillId, now: UnixMs) -> Result<Stepped>;

    /// Removes at most `limit` backfills that were finished before `before`; answers how many.
    async fn prune_backfills(&self, before: UnixMs, limit: u32) -> Result<u32>;
}
