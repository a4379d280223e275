//! What is read for reconciliations and exports: events in the order of their dates, piece by piece.

use std::collections::HashMap;

use async_trait::async_trait;

use super::Result;
use crate::{
    clock::UnixMs,
    event::{Event, EventPlace},
    id::EventId,
    merchant::Tenant,
    reconciliation::{EventStates, Scope},
};

/// The service's memory, looked through from one end of a range to the other. Its reads may take long, and have few
/// connections.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// How the next 500 events of the scope's range stand, those after `after`.
    async fn event_states(&self, scope: &Scope, after: Option<EventPlace>) -> Result<EventStates>;

    /// Which of these are events of the tenant's, and whether they are of the scope.
    async fn events_among(&self, scope: &Scope, ids: &[EventId]) -> Result<HashMap<EventId, bool>>;

    /// Where the event stands.
    async fn event_place(&self, tenant: &Tenant, id: EventId) -> Result<Option<EventPlace>>;

    /// At most `limit` events dated from `from` to `to`, those after `after`.
    async fn events_by_date(
        &self,
        tenant: &Tenant,
        range: (UnixMs, UnixMs),
        after: Option<EventPlace>,
        limit: u32,
    ) -> Result<Vec<(EventPlace, Event)>>;
}
