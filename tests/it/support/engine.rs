//! The engines that the suite runs on, each with fresh databases.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
    sync::Arc,
};

use k_webhooks::{
    config,
    id::IdSource,
    store::{PostgresStore, SqliteStore, Store},
};
use sqlx::Connection as _;
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    postgres::{self, Cluster},
    printed::WATCH,
    process::{BOOTSTRAP_KEY, PROGRAM},
};

pub(crate) trait Engine: Send + 'static {
    /// A new, empty database.
    fn database() -> impl Future<Output = Database> + Send;

    /// The same on a server of its own, where the engine has servers.
    fn server() -> impl Future<Output = Server> + Send;
}

/// A database with the server that it is alone on, which can be made to fail.
pub(crate) struct Server {
    pub(crate) database: Database,
    pub(crate) cluster: Option<Cluster>,
}

pub(crate) struct Sqlite;

pub(crate) struct Postgres;

impl Engine for Sqlite {
    async fn database() -> Database {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/k.db", folder.path().display());
        Database { url, folder }
    }

    async fn server() -> Server {
        Server { database: Self::database().await, cluster: None }
    }
}

impl Engine for Postgres {
    async fn database() -> Database {
        Database::on(Cluster::shared()).await
    }

    async fn server() -> Server {
        let cluster = Cluster::start(&[]);
        Server { database: Database::on(&cluster).await, cluster: Some(cluster) }
    }
}

/// A database, and a folder for what processes on it keep beside it.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
}

impl Database {
    pub(crate) async fn on(cluster: &Cluster) -> Self {
        Self { url: cluster.new_database().await, folder: tempfile::tempdir().unwrap() }
    }

    /// The same database by another way.
    pub(crate) fn at(url: String) -> Self {
        Self { url, folder: tempfile::tempdir().unwrap() }
    }

    /// The store alone.
    pub(crate) async fn open(&self, ids: Arc<IdSource>) -> Arc<dyn Store> {
        match config::Engine::of(&self.url).unwrap() {
            config::Engine::Sqlite => Arc::new(SqliteStore::open(&self.url, ids).await.unwrap()),
            config::Engine::Postgres => {
                Arc::new(PostgresStore::open(&self.url, postgres::OPTIONS, ids).await.unwrap())
            }
        }
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, statement: &'static str) {
        self.rows(statement).await;
    }

    /// The rows of a query, whose columns must be texts or counts.
    pub(crate) async fn rows(&self, query: impl sqlx::SqlSafeStr) -> Vec<Vec<String>> {
        macro_rules! rows {
            ($connection:ty) => {{
                let mut connection = <$connection>::connect(&self.url).await.unwrap();
                let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                let text = |row: &_, column: usize| -> String {
                    let text = sqlx::Row::try_get::<String, _>(row, column);
                    text.unwrap_or_else(|_| sqlx::Row::get::<i64, _>(row, column).to_string())
                };
                let columns = |row: &_| (0..sqlx::Row::len(row)).map(|column| text(row, column)).collect();
                rows.iter().map(columns).collect()
            }};
        }
        match config::Engine::of(&self.url).unwrap() {
            config::Engine::Sqlite => rows!(sqlx::SqliteConnection),
            config::Engine::Postgres => rows!(sqlx::PgConnection),
        }
    }

    /// All that is kept, by table, each row as a text.
    pub(crate) async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        // Of SQLite, where a row is no text by itself, the columns are asked for by name.
        let tables = match config::Engine::of(&self.url).unwrap() {
            config::Engine::Sqlite => {
                "SELECT t.name, (SELECT group_concat('quote(' || c.name || ')', ' || '','' || ') \
                 FROM pragma_table_info(t.name) c) FROM sqlite_master t \
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'"
            }
            config::Engine::Postgres => {
                "SELECT tablename::text, tablename || '::text' FROM pg_tables WHERE schemaname = current_schema()"
            }
        };
        let mut dump = BTreeMap::new();
        for table in self.rows(tables).await {
            let rows = format!("SELECT {} FROM {} ORDER BY 1", table[1], table[0]);
            let rows = self.rows(sqlx::AssertSqlSafe(rows)).await;
            dump.insert(table[0].clone(), rows.into_iter().flatten().collect());
        }
        dump
    }

    /// Runs the program on this database to its end.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--config", "/dev/null"]).current_dir(self.folder.path());
        command.env("K_WEBHOOKS__DATABASE__URL", &self.url).envs(variables.iter().copied());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        WATCH.note(&String::from_utf8_lossy(&output.stderr));
        WATCH.note_answer(&String::from_utf8_lossy(&output.stdout));
        WATCH.check();
        output
    }

    /// `serve` on this database.
    pub(crate) fn serve(&self) -> Command {
        self.command(&["serve"])
    }

    /// A command on this database.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        // A write beyond a limit on file sizes then fails, as on a full disk, instead of ending the process.
        command
            .args(["--ignore-signal=XFSZ", PROGRAM])
            .args(arguments)
            .args(["--config", "/dev/null"])
            .current_dir(self.folder.path())
            .env("K_WEBHOOKS__DATABASE__URL", &self.url)
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("K_WEBHOOKS__SERVER__LISTEN", "127.0.0.1:0")
            .env("K_WEBHOOKS__INTERNAL__LISTEN", "127.0.0.1:0")
            .env("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", BOOTSTRAP_KEY)
            .env("K_WEBHOOKS__LOG__FORMAT", "json")
            // A lease lasts three times as long and five seconds: short, so that one that is lost is taken over soon.
            .env("K_WEBHOOKS__DELIVERY__TIMEOUT", "500ms")
            .env("K_WEBHOOKS__DELIVERY__CONNECT_TIMEOUT", "500ms")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}
