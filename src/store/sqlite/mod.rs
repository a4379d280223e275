//! The embedded engine: one SQLite file, one writer whose commits are shared by many, a pool of readers.
//!
//! A commit is on disk when it returns (`synchronous = FULL`). Writes take the write lock as they begin
//! (`BEGIN IMMEDIATE`), so none fails half-way because another was first.

mod attempts;
mod batches;
mod connect;
mod inspect;
#[path = "../operations/mod.rs"]
mod operations;
mod statements;
mod values;
mod writer;

use std::{
    fs::File,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio::sync::Mutex;

use super::{LeaseOffer, Listen, News, PoolUse, Result, pool::Waiting};
use crate::{clock::UnixMs, event::NewEvent, id::IdSource, merchant::Tenant};
use operations::accept::{Endpoints, Outcomes};
use writer::{Write, Writer};

type Database = Sqlite;
type Engine = SqliteStore;

const RELEASE_ALL: &str = "UPDATE deliveries SET lease_token = NULL, claimable_at = next_attempt_at \
     WHERE status = 'pending' AND lease_token IS NOT NULL AND claimable_at >= 0";

/// How long a read may take that looks at all that a tenant has.
const LONG_READ_MAX: Duration = Duration::from_secs(5);

/// After how many steps of SQLite's machine the time is looked at: some tenths of a millisecond.
const STEPS_PER_LOOK: i32 = 10_000;

/// Has what this connection reads end with an error from then on: a client that has gone away does not stop a statement.
async fn end_reads_at(connection: &mut SqliteConnection, end: Instant) -> Result<()> {
    let mut handle = connection.lock_handle().await?;
    handle.set_progress_handler(STEPS_PER_LOOK, move || Instant::now() < end);
    Ok(())
}

/// The store on a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    /// For what may take long, so that looking up keys and endpoints never waits behind it.
    long_readers: SqlitePool,
    /// Who waits for either.
    waiting: [Waiting; 2],
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
        let _waiting = self.waiting[0].begin();
        Ok(self.readers.acquire().await?)
    }

    /// A connection for a read that may have to look at all that a tenant has. It is ended where it takes too long.
    async fn read_long(&self) -> Result<PoolConnection<Sqlite>> {
        let waiting = self.waiting[1].begin();
        let mut connection = self.long_readers.acquire().await?;
        drop(waiting);
        end_reads_at(&mut connection, Instant::now() + LONG_READ_MAX).await?;
        Ok(connection)
    }

    /// Begins a write. Dropped before its commit, it is rolled back.
    async fn write(&self) -> Result<Write> {
        self.writer.begin().await
    }

    /// Begins a short write, which may share its commit with others.
    async fn write_shared(&self) -> Result<Write> {
        self.writer.begin_shared().await
    }

    /// Begins a write of one statement.
    async fn write_once(&self) -> Result<Write> {
        self.write_shared().await
    }

    fn pools(&self) -> Vec<PoolUse> {
        let read = |name, pool: &SqlitePool, waiting: &Waiting| PoolUse {
            pool: name,
            limit: pool.options().get_max_connections() as usize,
            open: pool.size() as usize,
            idle: pool.num_idle(),
            waiting: waiting.count(),
        };
        let [reading, reading_long] = &self.waiting;
        vec![
            self.writer.in_use(),
            read("read", &self.readers, reading),
            read("long_read", &self.long_readers, reading_long),
        ]
    }

    async fn close(&self) {
        self.readers.close().await;
        self.long_readers.close().await;
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

    /// Nothing is remembered: what it saves is waiting for a server.
    #[expect(clippy::unused_async, reason = "the other engine asks its server")]
    async fn accept_as_remembered(
        &self,
        _: &[&Tenant],
        _: &[Vec<NewEvent>],
        _: Option<&LeaseOffer>,
        _: UnixMs,
        _: UnixMs,
    ) -> Result<Option<Outcomes>> {
        Ok(None)
    }

    #[expect(clippy::unused_self, reason = "the other engine remembers")]
    fn remember(&self, _: Endpoints) {}

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

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;
    use crate::{
        entropy::Entropy,
        store::{StoreError, sql},
    };

    #[tokio::test]
    async fn a_look_for_due_work_reads_its_index_and_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("k.db").display());
        let store = SqliteStore::open(&url, Arc::new(IdSource::new(Entropy::os()))).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql::DUE));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).bind(0).fetch_all(&mut *store.read().await.unwrap()).await.unwrap();
        let by_time: Vec<_> = plan.iter().filter(|step| step.3.contains("deliveries_due")).collect();
        assert_eq!(by_time.len(), 2, "{plan:?}");
        assert!(by_time.iter().all(|step| step.3.contains("USING COVERING INDEX")), "{plan:?}");
    }

    #[tokio::test]
    async fn what_a_savepoint_keeps_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("k.db").display());
        let store = SqliteStore::open(&url, Arc::new(IdSource::new(Entropy::os()))).await.unwrap();
        let mut write = store.write().await.unwrap();
        let kept_in: i64 = sqlx::query_scalar("PRAGMA temp_store").fetch_one(&mut *write).await.unwrap();
        assert_eq!(kept_in, 2, "memory");
    }

    #[tokio::test]
    async fn a_read_that_takes_too_long_is_ended_and_the_connection_serves_on() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        end_reads_at(&mut connection, Instant::now() + Duration::from_millis(20)).await.unwrap();
        let endless =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let error = StoreError::from(sqlx::query(endless).execute(&mut connection).await.unwrap_err());
        assert!(error.passes(), "{error}");
        end_reads_at(&mut connection, Instant::now() + Duration::from_secs(60)).await.unwrap();
        sqlx::query("SELECT 1").execute(&mut connection).await.unwrap();
    }
}
