//! The shared engine: PostgreSQL, on which many processes share the work.
//!
//! Processes are kept apart by row locks that no one waits for (`SKIP LOCKED`) where work is shared out, and by row locks
//! that are waited for where one row is changed. `READ COMMITTED` is enough for that: each statement sees what was
//! committed before it began, and what is about to be changed is locked first. A transaction that loses a race (a
//! deadlock, or an idempotency key that another process was first with) is begun again.

mod batches;
mod connect;
mod inspect;
mod kept;
mod known;
mod listen;
#[path = "../operations/mod.rs"]
mod operations;
mod session;

use std::{io, sync::Arc, time::Duration};

use sqlx::{PgPool, Postgres, postgres::PgConnectOptions};
use tokio::sync::Semaphore;

use super::{Listen, News, PoolUse, Result, StoreError, pool::Waiting};
use crate::id::{IdSource, ProcessId};

pub use connect::PostgresOptions;
use kept::Kept;
use known::KnownEndpoints;
use session::{Connection, Session};

type Database = Postgres;
type Engine = PostgresStore;
type Write = Session;

/// How often a transaction that loses a race is begun again before the caller hears of it.
const TRIES: usize = 10;

/// The store on a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    waiting: Waiting,
    /// On which writes of one statement are made.
    kept: Kept,
    /// How the connection that listens is made.
    connect: PgConnectOptions,
    ids: Arc<IdSource>,
    known: KnownEndpoints,
    /// How this process signs what it tells the others.
    process: ProcessId,
    begin: Begin,
    deadline: Duration,
    /// Places for reads that may take long: few of the connections, so that accepting, claiming and looking up keys never
    /// wait behind them.
    long_reads: Arc<Semaphore>,
    /// How many places there are, and who waits for one.
    long_reads_max: usize,
    waiting_long: Waiting,
}

/// What begins a transaction.
#[derive(Debug)]
enum Begin {
    Plain,
    /// Through a pooler that gives a session of the server to one transaction at a time, each brings its settings.
    Pooled(String),
}

impl Begin {
    fn statement(&self) -> &str {
        match self {
            Self::Plain => "BEGIN",
            Self::Pooled(statement) => statement,
        }
    }
}

impl PostgresStore {
    const ALLOWS_MANY_WORKERS: bool = true;

    /// Runs an operation to its end within the deadline, and again where it lost a race. A server that hangs, or a network
    /// that swallows all, thus fails an operation and does not hold it for ever.
    async fn run<T, F: Future<Output = Result<T>>>(&self, operation: impl Fn() -> F) -> Result<T> {
        let tries = async {
            let mut tries = 1;
            loop {
                match operation().await {
                    Err(StoreError::Contended) if tries < TRIES => tries += 1,
                    outcome => return outcome,
                }
            }
        };
        within(self.deadline, tries).await
    }

    /// A connection that only reads.
    async fn read(&self) -> Result<Session> {
        self.for_one_statement(self.session().await?).await
    }

    /// A connection for a read that may have to look at all that a tenant has: the server ends it where it takes too long.
    async fn read_long(&self) -> Result<Session> {
        let waiting = self.waiting_long.begin();
        let place = Arc::clone(&self.long_reads).acquire_owned().await;
        drop(waiting);
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(self.read().await?.in_place(place))
    }

    /// Begins a write. Dropped before its commit, it is rolled back.
    async fn write(&self) -> Result<Session> {
        self.session().await?.begin(&self.begin).await
    }

    /// Begins a short write. The server shares commits by itself.
    async fn write_shared(&self) -> Result<Session> {
        self.write().await
    }

    /// Begins a write of one statement, which is a transaction by itself.
    async fn write_once(&self) -> Result<Session> {
        let connection = Connection::Kept(self.kept.take().await?);
        self.for_one_statement(Session::new(connection, self.deadline)).await
    }

    async fn for_one_statement(&self, session: Session) -> Result<Session> {
        // A pooler may give each statement another session of the server, but for those of one transaction.
        if self.transaction_pooling() { session.begin(&self.begin).await } else { Ok(session) }
    }

    fn transaction_pooling(&self) -> bool {
        matches!(self.begin, Begin::Pooled(_))
    }

    async fn session(&self) -> Result<Session> {
        let _waiting = self.waiting.begin();
        Ok(Session::new(Connection::Pooled(self.pool.acquire().await?), self.deadline))
    }

    /// Long reads have places in the pool.
    fn pools(&self) -> Vec<PoolUse> {
        let (pool, places) = (&self.pool, self.long_reads_max);
        let limit = pool.options().get_max_connections() as usize;
        let (open, idle, waiting) = (pool.size() as usize, pool.num_idle(), self.waiting.count());
        let (free, waiting_long) = (self.long_reads.available_permits(), self.waiting_long.count());
        vec![
            self.kept.in_use(),
            PoolUse { pool: "other", limit, open, idle, waiting },
            PoolUse { pool: "long_read", limit: places, open: places, idle: free, waiting: waiting_long },
        ]
    }

    async fn close(&self) {
        self.kept.close().await;
        self.pool.close().await;
    }

    /// Any number of workers share the database; the leases of one that died lapse.
    #[expect(clippy::unused_async, reason = "the other engine asks its file")]
    async fn become_worker(&self) -> Result<u64> {
        Ok(0)
    }

    async fn announce(&self, news: &[News]) -> Result<()> {
        let mut write = self.write().await?;
        listen::announce(&mut write, self.process, news).await?;
        write.commit().await
    }

    /// A pooler hands notifications to whoever has the session just then, so through one nothing can be heard.
    async fn listen(&self) -> Result<Option<Box<dyn Listen>>> {
        if self.transaction_pooling() {
            return Ok(None);
        }
        Ok(Some(Box::new(listen::Listener::start(&self.connect, self.process, self.deadline).await?)))
    }
}

/// Gives up on what takes longer: a server that hangs, or a network that swallows all.
async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(lost("the database did not answer in time")))
}

fn lost(why: &str) -> StoreError {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why)).into()
}
