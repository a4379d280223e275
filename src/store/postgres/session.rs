//! A connection in use, perhaps inside a transaction, that leaves nothing behind however it is dropped.

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Postgres, pool::PoolConnection};
use tokio::sync::OwnedSemaphorePermit;

use super::{Begin, kept::KeptConnection};
use crate::store::Result;

/// Given back when dropped, after a rollback where a transaction is open. One that was held so long that its server may
/// hang is closed instead, which the server takes for a rollback of what is not committed: a statement that is a transaction
/// by itself it may yet finish.
pub(super) struct Session {
    connection: Option<Connection>,
    in_transaction: bool,
    /// Whether all that was asked is answered.
    answered: bool,
    taken_at: Instant,
    /// How long an answer may take before the connection counts as dead.
    patience: Duration,
    /// The place of a long read.
    place: Option<OwnedSemaphorePermit>,
}

/// A connection, and whose it is.
pub(super) enum Connection {
    Pooled(PoolConnection<Postgres>),
    Kept(KeptConnection),
}

impl Connection {
    async fn roll_back(&mut self, patience: Duration) -> bool {
        let rollback = tokio::time::timeout(patience, self.execute("ROLLBACK")).await;
        matches!(rollback, Ok(Ok(_)))
    }

    /// Whether it answers, also where a statement was given up before its answer.
    async fn answers(&mut self, patience: Duration) -> bool {
        matches!(tokio::time::timeout(patience, self.ping()).await, Ok(Ok(())))
    }

    fn give_back(self) {
        match self {
            // The pool does so.
            Self::Pooled(_) => {}
            Self::Kept(connection) => connection.keep(),
        }
    }

    fn close(self) {
        match self {
            Self::Pooled(mut connection) => connection.close_on_drop(),
            Self::Kept(connection) => drop(connection),
        }
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Kept(connection) => connection,
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Kept(connection) => connection,
        }
    }
}

impl Session {
    pub(super) fn new(connection: Connection, deadline: Duration) -> Self {
        // Less than the deadline, which began before the connection was taken.
        let (taken_at, patience) = (Instant::now(), deadline / 2);
        let (in_transaction, answered) = (false, false);
        Self { connection: Some(connection), in_transaction, answered, taken_at, patience, place: None }
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
        // However long all took, it does not hang.
        self.answered = true;
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
        let (place, patience, in_transaction) = (self.place.take(), self.patience, self.in_transaction);
        if self.answered {
            connection.give_back();
        } else if self.taken_at.elapsed() >= patience {
            connection.close();
        } else if in_transaction || matches!(connection, Connection::Kept(_)) {
            tokio::spawn(async move {
                let _place = place;
                let fit = if in_transaction {
                    connection.roll_back(patience).await
                } else {
                    connection.answers(patience).await
                };
                if fit { connection.give_back() } else { connection.close() }
            });
        }
    }
}
