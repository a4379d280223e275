//! Abandoned deliveries in the order in which they were abandoned, for who polls them, and what those who operate the
//! service are told of them.

use async_trait::async_trait;

use super::{Paged, Result};
use crate::{clock::UnixMs, delivery::Delivery, merchant::MerchantId};

/// Which abandoned deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct AbandonedFilter {
    /// Of this merchant.
    pub merchant_id: Option<MerchantId>,
    /// Of live data, or of test data.
    pub livemode: Option<bool>,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbandonedDelivery {
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// When it was given up; none where that was before it was kept.
    pub abandoned_at: Option<UnixMs>,
    /// Its place in the order in which deliveries were given up, from one on and with gaps. One that is retried and given
    /// up again gets another.
    pub position: i64,
    /// The delivery.
    pub delivery: Delivery,
}

/// The service's memory of what was given up. What is the operators' own is not among it.
#[async_trait]
pub trait OperationalStore: Send + Sync {
    /// At most `limit` abandoned deliveries behind this position, in the order in which they were abandoned. Nothing comes
    /// up later before what was listed once, however late a transaction ends.
    async fn list_abandoned_deliveries(
        &self,
        filter: &AbandonedFilter,
        after: i64,
        limit: u32,
    ) -> Result<Paged<AbandonedDelivery>>;

    /// Has operators told of what is abandoned from now on; where they are already, goes on.
    async fn begin_telling_of_abandoned(&self) -> Result<()>;

    /// Has nobody told of what is abandoned, also not later.
    async fn end_telling_of_abandoned(&self) -> Result<()>;

    /// Makes an operational event for each endpoint of which deliveries were abandoned since the last time, together with
    /// the mark of how far was told. Answers how many it made.
    async fn tell_of_abandoned(&self, now: UnixMs) -> Result<usize>;
}
