//! A connection in use, perhaps inside a transaction, that leaves nothing behind however it is dropped.

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Postgres, pool::PoolConnection};
use tokio::sync::OwnedSemaphorePermit;

use super::Begin;
use crate::store::Result;

/// Given back to the pool when dropped, after a rollback where a transaction is open. One that was held so long that its
/// server may hang is closed instead, which the server takes for a rollback.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    in_transaction: bool,
    taken_at: Instant,
    /// How long an answer may take before the connection counts as dead.
    patience: Duration,
    /// The place of a long read.
    place: Option<OwnedSemaphorePermit>,
}

impl Session {
    pub(super) fn new(connection: PoolConnection<Postgres>, deadline: Duration) -> Self {
        // Less than the deadline, which began before the connection was taken.
        let (taken_at, patience) = (Instant::now(), deadline / 2);
        Self { connection: Some(connection), in_transaction: false, taken_at, patience, place: None }
    }

    /// The same for a long read, which frees its place as it ends.
    pub(super) fn in_place(mut self, place: OwnedSemaphorePermit) -> Self {
        self.place = Some(place);
        self
    }

    pub(super) async fn begin(mut self, begin: &Begin) -> Result<Self> {
        // From now on, and not once it is answered: an unanswered `BEGIN` must be rolled back too.
        self.in_transaction = true;
        self.execute(AssertSqlSafe(begin.statement())).await?;
        Ok(self)
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        if self.in_transaction {
            self.execute("COMMIT").await?;
            self.in_transaction = false;
        }
        // It has answered: however long all took, it does not hang.
        self.taken_at = Instant::now();
        Ok(())
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("the connection is there until the drop")
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("the connection is there until the drop")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let place = self.place.take();
        let patience = self.patience;
        if self.taken_at.elapsed() >= patience {
            connection.close_on_drop();
        } else if self.in_transaction {
            tokio::spawn(async move {
                let _place = place;
                let rollback = tokio::time::timeout(patience, connection.execute("ROLLBACK")).await;
                if !matches!(rollback, Ok(Ok(_))) {
                    connection.close_on_drop();
                }
            });
        }
    }
}
