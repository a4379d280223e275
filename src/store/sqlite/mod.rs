//! The embedded engine: one SQLite file, one writer whose commits are shared by many, a pool of readers.
//!
//! A commit is on disk when it returns (`synchronous = FULL`). Writes take the write lock as they begin
//! (`BEGIN IMMEDIATE`), so none fails half-way because another was first.

mod batches;
mod connect;
#[path = "../operations/mod.rs"]
mod operations;
mod writer;

use std::{fs::File, path::PathBuf, sync::Arc};

use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};
use tokio::sync::Mutex;

use super::{Listen, News, Result};
use crate::id::IdSource;
use writer::{Write, Writer};

type Database = Sqlite;
type Engine = SqliteStore;

const RELEASE_ALL: &str = "UPDATE deliveries SET lease_token = NULL, claimable_at = next_attempt_at \
     WHERE status = 'pending' AND lease_token IS NOT NULL AND claimable_at >= 0";

/// The store on a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    ids: Arc<IdSource>,
    path: PathBuf,
    worker_lock: Mutex<Option<File>>,
}

impl SqliteStore {
    const ALLOWS_MANY_WORKERS: bool = false;

    /// Runs an operation. Waits are bounded by the timeouts of the pool and of the file's lock.
    async fn run<T, F: Future<Output = Result<T>>>(&self, operation: impl Fn() -> F) -> Result<T> {
        operation().await
    }

    /// A connection that only reads.
    async fn read(&self) -> Result<PoolConnection<Sqlite>> {
        Ok(self.readers.acquire().await?)
    }

    /// Begins a write. Dropped before its commit, it is rolled back.
    async fn write(&self) -> Result<Write> {
        self.writer.begin().await
    }

    /// Begins a write of one statement.
    async fn write_once(&self) -> Result<Write> {
        self.write().await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// One worker at a time, so that its leases are all there are.
    async fn become_worker(&self) -> Result<u64> {
        self.lock_as_worker().await?;
        let mut write = self.write().await?;
        let freed = sqlx::query(RELEASE_ALL).execute(&mut *write).await?.rows_affected();
        write.commit().await?;
        Ok(freed)
    }

    /// A file tells nobody: other processes on it look for themselves.
    #[expect(clippy::unused_async, reason = "the other engine asks its server")]
    async fn announce(&self, _: &[News]) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "the other engine asks its server")]
    async fn listen(&self) -> Result<Option<Box<dyn Listen>>> {
        Ok(None)
    }
}
