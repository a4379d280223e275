//! The one connection that writes, and a transaction on it.
//!
//! Not a pool of one: a pool asks a connection whether it still lives before it hands it on, which for the writer is a
//! wait between every two commits, and its own count of transactions is wrong after a commit that the disk had no room
//! for.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::store::{PoolUse, Result, pool::Waiting};

/// How long an operation waits for its turn before the database counts as unavailable.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Writer {
    connection: Arc<Mutex<Option<SqliteConnection>>>,
    waiting: Waiting,
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self { connection: Arc::new(Mutex::new(Some(connection))), waiting: Waiting::default() }
    }

    /// Takes the write lock at once, so that nothing fails half-way because another process was first.
    pub(super) async fn begin(&self) -> Result<Write> {
        let waiting = self.waiting.begin();
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.connection).lock_owned()).await;
        drop(waiting);
        let connection = turn.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if connection.is_none() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        let mut write = Write { connection: Some(connection), open: true };
        write.execute("BEGIN IMMEDIATE").await?;
        Ok(write)
    }

    pub(super) fn in_use(&self) -> PoolUse {
        let (idle, waiting) = (usize::from(self.connection.try_lock().is_ok()), self.waiting.count());
        PoolUse { pool: "write", limit: 1, open: 1, idle, waiting }
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the writer was not closed in order");
        }
    }
}

/// A transaction. Dropped before its commit, it is rolled back before the next one begins.
pub(super) struct Write {
    connection: Option<OwnedMutexGuard<Option<SqliteConnection>>>,
    open: bool,
}

impl Write {
    pub(super) async fn commit(mut self) -> std::result::Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        self.open = false;
        Ok(())
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        let connection = self.connection.as_ref().and_then(|connection| connection.as_ref());
        connection.expect("the connection is there until the drop")
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        let connection = self.connection.as_mut().and_then(|connection| connection.as_mut());
        connection.expect("the connection is there until the drop")
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if let Some(mut connection) = self.connection.take() {
            tokio::spawn(async move {
                if let Some(connection) = connection.as_mut() {
                    // It fails where there is nothing to roll back: `BEGIN` was refused, or SQLite has rolled back itself.
                    let _ = connection.execute("ROLLBACK").await;
                }
            });
        }
    }
}
