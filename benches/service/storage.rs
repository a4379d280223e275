//! The database under the service, and data that stands in it before.

use std::sync::Arc;

use k_webhooks::{
    clock::UnixMs,
    entropy::Entropy,
    id::{EventId, IdSource},
    store::{PostgresStore, SqliteStore, Store},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::{
    Engine,
    postgres::{self, Cluster},
};

pub(crate) struct Storage {
    pub(crate) engine: Engine,
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    _cluster: Option<Cluster>,
}

/// Endpoints of the data that stands before: ten for each of a hundred merchants.
pub(crate) const ENDPOINTS: usize = 1000;

impl Storage {
    /// A new database with durable commits.
    pub(crate) async fn new(engine: Engine) -> Self {
        // Not in the system's folder for temporary files, which may be in memory.
        let folder = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
        let cluster = (engine == Engine::Postgres).then(|| Cluster::start(&[]));
        let url = match &cluster {
            Some(cluster) => cluster.new_database().await,
            None => format!("sqlite://{}/k.db", folder.path().canonicalize().expect("its path").display()),
        };
        Self { engine, folder, url, _cluster: cluster }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        let ids = Arc::new(IdSource::new(Entropy::os()));
        match self.engine {
            Engine::Sqlite => Arc::new(SqliteStore::open(&self.url, ids).await.expect("a store")),
            Engine::Postgres => {
                Arc::new(PostgresStore::open(&self.url, postgres::OPTIONS, ids).await.expect("a store"))
            }
        }
    }

    pub(crate) async fn execute(&self, statement: String) {
        match self.engine {
            Engine::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.expect("a connection");
                connection.execute(AssertSqlSafe(statement)).await.expect("a statement");
                connection.close().await.expect("it closes");
            }
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.expect("a connection");
                connection.execute(AssertSqlSafe(statement)).await.expect("a statement");
            }
        }
    }

    /// How many rows a table has.
    pub(crate) async fn rows(&self, table: &str) -> usize {
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows: i64 = match self.engine {
            Engine::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.expect("a connection");
                sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("a count")
            }
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.expect("a connection");
                sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("a count")
            }
        };
        usize::try_from(rows).expect("a count")
    }

    /// How many bytes the database takes.
    pub(crate) async fn bytes(&self) -> u64 {
        match self.engine {
            Engine::Sqlite => std::fs::metadata(self.folder.path().join("k.db")).expect("the file").len(),
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.expect("a connection");
                let size = "SELECT pg_database_size(current_database())";
                let size: i64 = sqlx::query_scalar(size).fetch_one(&mut connection).await.expect("a size");
                u64::try_from(size).expect("a size")
            }
        }
    }

    /// Fills the database with [`ENDPOINTS`] endpoints, so many finished deliveries, ten to an event accepted at this
    /// instant and each with its attempt, and so many that are due: half of them of one endpoint, the others of all in turn.
    /// Like the service's own, the ids of all of them are lower than those that come later.
    /// Their secrets name the key of one that is there, if any is: the program does not start with one that it lacks.
    pub(crate) async fn fill(&self, finished: usize, due: usize, accepted_at: UnixMs) {
        // The first ten characters behind the prefix are the time.
        let time = &EventId::lowest_at(accepted_at).to_string()[.."evt_".len() + 10];
        let event_id = |number: &str| format!("'{time}' || substr({}, 11)", self.number(number));
        let events = finished / 10;
        self.execute(self.over(
            ENDPOINTS,
            "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, enabled_events, status, created_at, updated_at) \
             SELECT 'we_' || {i}, 'm_' || (i / 10), FALSE, 'http://127.0.0.1:9/', '[\"*\"]', 'enabled', 0, 0 FROM n",
        ))
        .await;
        self.execute(self.over(
            ENDPOINTS,
            "INSERT INTO signing_secrets (id, webhook_endpoint_id, key_id, ciphertext, created_at) \
             SELECT 'sec_' || {i}, 'we_' || {i}, COALESCE((SELECT key_id FROM signing_secrets LIMIT 1), 'none'), {bytes}, 0 FROM n",
        ))
        .await;
        let event_rows = format!(
            "INSERT INTO events (id, merchant_id, livemode, type, created_at, body) \
             SELECT {}, 'm_' || (i % 100), FALSE, 'charge.succeeded', 0, {{bytes}} FROM n",
            event_id("i"),
        );
        self.execute(self.over(events + due, &event_rows)).await;
        let finished_rows = format!(
            "INSERT INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, attempt_count, \
               ladder_failures, window_started_at, created_at) \
             SELECT 'dlv_' || {{i}}, 'm_' || (i / 10 % 100), FALSE, {}, 'we_' || {{endpoint}}, 'succeeded', 1, 0, 0, 0 FROM n",
            event_id("(i / 10)"),
        );
        self.execute(self.over(finished, &finished_rows)).await;
        self.execute(self.over(
            finished,
            "INSERT INTO attempts (delivery_id, number, id, started_at, duration_ms, response_status, address) \
             SELECT 'dlv_' || {i}, 1, 'att_' || {i}, 0, 5, 204, '127.0.0.1:9' FROM n",
        ))
        .await;
        let due_rows = format!(
            "INSERT INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, attempt_count, \
               ladder_failures, window_started_at, next_attempt_at, claimable_at, created_at) \
             SELECT 'dlv_' || {}, 'm_0', FALSE, {}, 'we_' || {}, 'pending', 0, 0, i, i, i, 0 FROM n",
            self.number(&format!("(i + {finished})")),
            event_id(&format!("(i + {events})")),
            self.number(&format!("(CASE WHEN i % 2 = 0 THEN 0 ELSE i / 2 % {ENDPOINTS} END)")),
        );
        self.execute(self.over(due, &due_rows)).await;
        // As the service would find it once the database has had time for itself, and the disk what it was told.
        let rest: &[&str] = match self.engine {
            Engine::Sqlite => &["ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"],
            Engine::Postgres => &["VACUUM ANALYZE", "CHECKPOINT"],
        };
        for statement in rest {
            self.execute((*statement).to_owned()).await;
        }
        assert!(std::process::Command::new("sync").status().expect("sync").success());
    }

    /// A statement over the numbers below `count`, called `i`. `{i}` stands for one as an id's 26 characters.
    fn over(&self, count: usize, statement: &str) -> String {
        let numbers = match self.engine {
            Engine::Sqlite => format!(
                "WITH RECURSIVE n (i) AS (SELECT 0 WHERE {count} > 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})"
            ),
            Engine::Postgres => format!("WITH n (i) AS (SELECT generate_series(0, {count} - 1))"),
        };
        let bytes = match self.engine {
            Engine::Sqlite => "zeroblob(400)",
            Engine::Postgres => "decode(repeat('00', 400), 'hex')",
        };
        let statement = statement
            .replace("{i}", &self.number("i"))
            .replace("{endpoint}", &self.number("(i / 10 % 100 * 10 + i % 10)"))
            .replace("{bytes}", bytes);
        format!("{numbers} {statement}")
    }

    /// A number as the 26 characters of an id.
    fn number(&self, expression: &str) -> String {
        match self.engine {
            Engine::Sqlite => format!("printf('%026d', {expression})"),
            Engine::Postgres => format!("lpad({expression}::text, 26, '0')"),
        }
    }
}
