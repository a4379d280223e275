//! How much is open, for whoever watches.

use super::{Database, Engine, query_as};
use crate::{
    clock::UnixMs,
    store::{QueueDepth, Result, rows::read_number, sql},
};

impl Engine {
    pub(super) async fn open_deliveries(&self, now: UnixMs) -> Result<QueueDepth> {
        let counts = query_as!((i64, i64, i64, i64, Option<i64>), sql::QUEUE_DEPTH, now.0);
        let (waiting, leased, due, held, oldest_due_at) =
            counts.fetch_one(&mut *self.read_long().await?).await?;
        let number = |count: i64| read_number::<u64>(count, "deliveries", "status", "count");
        Ok(QueueDepth {
            pending: number(waiting + leased)?.min(QueueDepth::COUNTED_MAX),
            leased: number(leased)?,
            due: number(due)?,
            held: number(held)?,
            oldest_due_at: oldest_due_at.map(UnixMs),
        })
    }
}
