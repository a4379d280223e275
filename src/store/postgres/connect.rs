//! Connecting, and bringing the tables up to date.

use std::{io, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection as _, Executor as _, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Semaphore;

use super::{
    Begin, KnownEndpoints, PostgresStore,
    kept::{KEPT_MAX, Kept},
};
use crate::{
    clock::UnixMs,
    id::IdSource,
    store::{Result, StoreError, pool::Waiting},
};

/// How long an operation waits for a connection before the database counts as unavailable.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Beyond a statement's own timeout: a server that works tells of the timeout itself.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

/// A connection that was idle for longer is tried before it is used: its server may have gone meanwhile.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Migrations may rebuild a large table.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(600);

/// Every statement that is frequent goes by an index. A plan that was made while a table was small, and scans or hashes
/// all of it, would be kept when it is large.
const BY_INDEX: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// What accepts and records is planned once: for lists of rows, of which there are more or fewer each time, the server would
/// plan anew each time.
const PLANNED_ONCE: [(&str, &str); 1] = [("plan_cache_mode", "force_generic_plan")];

/// Names the lock under which one process at a time migrates: "k-webhooks" in hexadecimal, as far as it fits.
const MIGRATION_LOCK: i64 = 0x6b2d_7765_6268_6f6b;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct PostgresOptions {
    /// Connections at most, besides the one that listens.
    pub max_connections: u32,
    /// The longest that one statement may take.
    pub statement_timeout: Duration,
    /// Whether a pooler stands between that gives a session of the server to one transaction at a time.
    pub transaction_pooling: bool,
}

/// One in so many connections may be busy with reads that may take long.
const LONG_READS_SHARE: usize = 4;

impl PostgresStore {
    /// Connects to the database that `url` names (`postgres://…`, with `sslmode` and the other parameters of libpq) and
    /// brings its tables up to date.
    pub async fn open(url: &str, options: PostgresOptions, ids: Arc<IdSource>) -> Result<Self> {
        let PostgresOptions { max_connections, statement_timeout, transaction_pooling } = options;
        let deadline = statement_timeout + DEADLINE_MARGIN;
        // What a process that vanished has locked, the server frees as soon as the process would have given up.
        let (timeout_ms, deadline_ms) = (statement_timeout.as_millis(), deadline.as_millis());
        // A pooler refuses start-up parameters that it does not know.
        let mut connect = connect_options(url)?.extra_float_digits(None);
        let begin = if transaction_pooling {
            // What earlier transactions prepared in the server's session would be in the way of this one's names.
            let begin = format!(
                "BEGIN; DEALLOCATE ALL; SET LOCAL statement_timeout = {timeout_ms}; \
                 SET LOCAL idle_in_transaction_session_timeout = {deadline_ms}; {}",
                BY_INDEX.map(|(setting, value)| format!("SET LOCAL {setting} = {value}")).join("; ")
            );
            connect = connect.statement_cache_capacity(0);
            Begin::Pooled(begin)
        } else {
            connect = connect.options([
                ("statement_timeout", timeout_ms.to_string()),
                ("idle_in_transaction_session_timeout", deadline_ms.to_string()),
            ]);
            connect = connect.options(BY_INDEX);
            Begin::Plain
        };
        migrate(connect.clone()).await?;
        let keeping =
            if transaction_pooling { connect.clone() } else { connect.clone().options(PLANNED_ONCE) };
        // At least one of each.
        let kept = KEPT_MAX.min(max_connections.saturating_sub(1) as usize);
        let pooled = max_connections - u32::try_from(kept).unwrap_or(0);
        let pool = PgPoolOptions::new()
            .max_connections(pooled)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(|connection, _| Box::pin(refuse_standby(connection)))
            .connect_lazy_with(connect.clone());
        let process = ids.next(UnixMs(0));
        let long_reads_max = (pooled as usize / LONG_READS_SHARE).max(1);
        Ok(Self {
            pool,
            waiting: Waiting::default(),
            kept: Kept::new(keeping, kept),
            connect,
            ids,
            known: KnownEndpoints::default(),
            process,
            begin,
            deadline,
            long_reads: Arc::new(Semaphore::new(long_reads_max)),
            long_reads_max,
            waiting_long: Waiting::default(),
        })
    }
}

/// After a failover, the old primary may come back behind the same address as a standby before the address moves.
pub(super) async fn refuse_standby(connection: &mut PgConnection) -> std::result::Result<(), sqlx::Error> {
    // Text over the simple protocol: nothing is prepared, which a pooler might get wrong.
    let answer = connection.fetch_one("SELECT pg_is_in_recovery()::int").await?;
    match sqlx::Row::try_get_unchecked::<String, _>(&answer, 0)?.as_str() {
        "0" => Ok(()),
        _ => Err(sqlx::Error::Io(io::Error::other("the server is a standby, which takes no writes"))),
    }
}

pub(super) fn connect_options(url: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Setup(format!("database.url: {error}")))?;
    Ok(options.application_name("k-webhooks"))
}

/// One transaction under an advisory lock, so that processes that start together do not migrate together, and a failed
/// migration leaves nothing behind. The lock is the transaction's, not the session's: a pooler would lose the latter.
async fn migrate(options: PgConnectOptions) -> Result<()> {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let setup = |what: &str, error: &dyn std::fmt::Display| {
        StoreError::Setup(format!("cannot {what} the database at {place}: {error}"))
    };
    let migration = async {
        let mut connection =
            PgConnection::connect_with(&options).await.map_err(|error| setup("connect to", &error))?;
        let refused = |error: sqlx::Error| setup("migrate", &error);
        let mut migrator = sqlx::migrate!("migrations/postgres");
        migrator.set_locking(false);
        // Migrations expand first and contract later, so this version runs on tables of the next.
        migrator.set_ignore_missing(true);
        let mut transaction = connection.begin().await.map_err(refused)?;
        // Through a pooler, an earlier transaction may have left its prepared statements in the server's session.
        transaction.execute("DEALLOCATE ALL; SET LOCAL statement_timeout = 0").await.map_err(refused)?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await
            .map_err(refused)?;
        migrator.run(&mut *transaction).await.map_err(|error| setup("migrate", &error))?;
        transaction.commit().await.map_err(refused)?;
        connection.close().await.map_err(refused)
    };
    tokio::time::timeout(MIGRATION_DEADLINE, migration)
        .await
        .unwrap_or_else(|_| Err(setup("migrate", &"it took longer than ten minutes")))
}
