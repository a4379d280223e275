//! The one connection that writes, and a transaction on it.
//!
//! Not a pool of one: a pool asks a connection whether it still lives before it hands it on, which for the writer is a
//! wait between every two commits, and its own count of transactions is wrong after a commit that the disk had no room
//! for.
//!
//! Short writes share a commit, because a commit waits for the disk: whoever is done lets those write too who wait
//! meanwhile, and what they have written is committed together. Nobody waits for somebody to come.

use std::{
    io,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection as _, Execute, Executor as _, FromRow, Sqlite, SqliteConnection,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteQueryResult, SqliteRow},
};
use tokio::sync::{Mutex, OwnedMutexGuard, SetOnce};

use super::statements::{Results, execute};
use crate::store::{PoolUse, Result, pool::Waiting};

/// How long an operation waits for its turn before the database counts as unavailable.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Writer {
    turns: Turns,
    waiting: Waiting,
}

/// Fair: who asks for a turn gets it after all who have asked before.
type Turns = Arc<Mutex<Turn>>;

/// What whoever has the turn works with.
#[derive(Debug)]
struct Turn {
    /// None once it is closed.
    connection: Option<SqliteConnection>,
    /// A transaction that waits for its commit, and that others may join until then.
    open: Option<Arc<Outcome>>,
    /// Whether a write has begun that has neither ended nor been taken back, as where its runtime ended.
    unfinished: bool,
}

/// What became of a transaction.
type Outcome = SetOnce<Result<()>>;

impl Writer {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        let turn = Turn { connection: Some(connection), open: None, unfinished: false };
        Self { turns: Arc::new(Mutex::new(turn)), waiting: Waiting::default() }
    }

    /// Takes the write lock at once, so that nothing fails half-way because another process was first.
    pub(super) async fn begin(&self) -> Result<Write> {
        let mut turn = self.turn().await?;
        turn.commit_open().await;
        let begun = Begun::Perhaps;
        let mut write = Write { turns: Arc::clone(&self.turns), turn: Some(turn), shared: None, begun };
        execute(write.turn_mut().connection(), BEGIN).await?;
        write.begun = Begun::Alone;
        Ok(write)
    }

    /// The same for a short write, which shares its commit with others. It takes the lock with its first statement.
    pub(super) async fn begin_shared(&self) -> Result<Write> {
        let mut turn = self.turn().await?;
        let begun = Begun::No(if turn.open.is_some() { SAVEPOINT } else { BEGIN });
        let shared = Some(Arc::clone(turn.open.get_or_insert_default()));
        Ok(Write { turns: Arc::clone(&self.turns), turn: Some(turn), shared, begun })
    }

    async fn turn(&self) -> Result<OwnedMutexGuard<Turn>> {
        let waiting = self.waiting.begin();
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turns).lock_owned()).await;
        drop(waiting);
        let mut turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if turn.connection.is_none() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        if turn.unfinished {
            turn.roll_back(Begun::Perhaps).await;
        }
        Ok(turn)
    }

    pub(super) fn in_use(&self) -> PoolUse {
        let (idle, waiting) = (usize::from(self.turns.try_lock().is_ok()), self.waiting.count());
        PoolUse { pool: "write", limit: 1, open: 1, idle, waiting }
    }

    pub(super) async fn close(&self) {
        let mut turn = self.turns.lock().await;
        turn.commit_open().await;
        if let Some(connection) = turn.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the writer was not closed in order");
        }
    }
}

impl Turn {
    fn connection(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("nobody has a turn once it is closed")
    }

    /// Commits what waits for it, and tells those who have written it.
    async fn commit_open(&mut self) {
        if self.open.is_none() {
            return;
        }
        if self.unfinished {
            return self.roll_back(Begun::Perhaps).await;
        }
        let committed = execute(self.connection(), "COMMIT").await;
        if committed.is_err() {
            // It fails where SQLite has rolled back itself.
            let _ = self.connection().execute("ROLLBACK").await;
        }
        self.end_open(committed.map(drop).map_err(Into::into));
    }

    fn end_open(&mut self, outcome: Result<()>) {
        if let Some(open) = self.open.take() {
            // Only who has the turn sets it, once.
            let _ = open.set(outcome);
        }
    }

    /// Takes back what a write has done that was dropped before its commit.
    async fn roll_back(&mut self, begun: Begun) {
        self.unfinished = false;
        match begun {
            // The transaction was not begun, so nobody has joined it.
            Begun::No(BEGIN) => return self.open = None,
            Begun::No(_) => return,
            Begun::Joined => {
                let back = self.connection().execute("ROLLBACK TO joined; RELEASE joined").await;
                if back.is_ok() {
                    return;
                }
            }
            Begun::Perhaps | Begun::Alone => {}
        }
        // It fails where there is nothing to roll back: `BEGIN` was refused, or SQLite has rolled back itself, with all
        // that others had written before.
        let _ = self.connection().execute("ROLLBACK").await;
        self.end_open(Err(
            sqlx::Error::Io(io::Error::other("a write that failed took others with it")).into()
        ));
    }
}

const BEGIN: &str = "BEGIN IMMEDIATE";
/// For a part of a transaction that others have begun. It is not released: the commit does that, and what follows has a
/// savepoint of its own behind it.
const SAVEPOINT: &str = "SAVEPOINT joined";

/// How far a write is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// Its first statement is to run behind this one.
    No(&'static str),
    /// That is under way, or was when the write was dropped or failed.
    Perhaps,
    /// With what nobody else has written in.
    Alone,
    /// Behind a savepoint.
    Joined,
}

/// A transaction, or a part of one that is shared. Dropped before its commit, it is rolled back before anything else
/// happens.
pub(super) struct Write {
    turns: Turns,
    /// None once there is nothing more to do.
    turn: Option<OwnedMutexGuard<Turn>>,
    /// The outcome of the transaction that this is a part of.
    shared: Option<Arc<Outcome>>,
    begun: Begun,
}

impl Write {
    /// Runs a statement that answers no rows.
    pub(super) async fn execute<'q>(
        &mut self,
        statement: impl Execute<'q, Sqlite> + 'q,
    ) -> std::result::Result<SqliteQueryResult, sqlx::Error> {
        let [result] = self.execute_all(statement).await?;
        Ok(result)
    }

    /// Runs a text of so many statements that answer no rows.
    pub(super) async fn execute_all<'q, const N: usize>(
        &mut self,
        text: impl Execute<'q, Sqlite> + 'q,
    ) -> std::result::Result<[SqliteQueryResult; N], sqlx::Error> {
        self.run(text, |_| Ok(())).await
    }

    /// Runs a statement and reads all its rows.
    pub(super) async fn fetch_all<T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin>(
        &mut self,
        statement: QueryAs<'_, Sqlite, T, SqliteArguments>,
    ) -> std::result::Result<Vec<T>, sqlx::Error> {
        let mut rows = Vec::new();
        let read = |row: &SqliteRow| {
            rows.push(T::from_row(row)?);
            Ok(())
        };
        let [_] = self.run(statement, read).await?;
        Ok(rows)
    }

    /// Runs a text, the first one behind what begins this write.
    async fn run<'q, const N: usize>(
        &mut self,
        mut text: impl Execute<'q, Sqlite> + 'q,
        mut each: impl FnMut(&SqliteRow) -> std::result::Result<(), sqlx::Error>,
    ) -> std::result::Result<[SqliteQueryResult; N], sqlx::Error> {
        let Self { turn, begun, .. } = self;
        let turn = turn.as_mut().expect("the turn is there until the drop");
        turn.unfinished = true;
        let connection = turn.connection();
        let mut results = if let Begun::No(opening) = *begun {
            let arguments = text.take_arguments().map_err(sqlx::Error::Encode)?.unwrap_or_default();
            let persistent = text.persistent();
            let text = AssertSqlSafe(format!("{opening}; {}", text.sql().as_str()));
            *begun = Begun::Perhaps;
            let mut results =
                Results::of(connection, sqlx::query_with(text, arguments).persistent(persistent));
            results.next(|_| Ok(())).await?;
            *begun = if opening == BEGIN { Begun::Alone } else { Begun::Joined };
            results
        } else {
            Results::of(connection, text)
        };
        let mut done = std::array::from_fn(|_| SqliteQueryResult::default());
        for result in &mut done {
            *result = results.next(&mut each).await?;
        }
        Ok(done)
    }

    fn turn_mut(&mut self) -> &mut Turn {
        self.turn.as_mut().expect("the turn is there until the drop")
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        let Some(outcome) = self.shared.clone() else {
            self.execute("COMMIT").await?;
            self.turn_mut().unfinished = false;
            self.turn = None;
            return Ok(());
        };
        if matches!(self.begun, Begun::No(_)) {
            return Ok(());
        }
        self.turn_mut().unfinished = false;
        // Those who wait have their turns now; without any, this one has it again at once.
        self.turn = None;
        if let Ok(mut turn) = self.turns.try_lock() {
            turn.commit_open().await;
        } else {
            // In a task of its own: it is the commit of others too, whatever becomes of this operation.
            let (turns, outcome) = (Arc::clone(&self.turns), Arc::clone(&outcome));
            tokio::spawn(async move {
                let mut turn = turns.lock().await;
                if outcome.get().is_none() {
                    turn.commit_open().await;
                }
            });
        }
        outcome.wait().await.clone()
    }
}

/// For statements whose writes are begun.
impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        let connection = self.turn.as_ref().and_then(|turn| turn.connection.as_ref());
        connection.expect("the connection is there until the drop")
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        assert!(
            !matches!(self.begun, Begun::No(_)),
            "the first statement is run by `execute` or `fetch_all`"
        );
        self.turn_mut().connection()
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let begun = self.begun;
        if let Some(mut turn) = self.turn.take() {
            tokio::spawn(async move { turn.roll_back(begun).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A writer on an empty table, and how many transactions were committed on it.
    async fn writer() -> (Arc<Writer>, Arc<AtomicUsize>) {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        connection.execute("CREATE TABLE t (n INTEGER NOT NULL UNIQUE)").await.unwrap();
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&commits);
        connection.lock_handle().await.unwrap().set_commit_hook(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            true
        });
        (Arc::new(Writer::new(connection)), commits)
    }

    /// Has so many writes begin while another one is under way, each of which inserts its number.
    async fn together(writer: &Arc<Writer>, numbers: &'static [i64]) -> Vec<Result<()>> {
        let first = writer.begin_shared().await.unwrap();
        let waiting: Vec<_> =
            numbers.iter().map(|number| tokio::spawn(insert(Arc::clone(writer), *number))).collect();
        // All of them have asked for their turn once each has been polled.
        tokio::task::yield_now().await;
        first.commit().await.unwrap();
        let mut outcomes = Vec::new();
        for write in waiting {
            outcomes.push(write.await.unwrap());
        }
        outcomes
    }

    async fn insert(writer: Arc<Writer>, number: i64) -> Result<()> {
        let mut write = writer.begin_shared().await?;
        write.execute(sqlx::query("INSERT INTO t VALUES ($1)").bind(number)).await?;
        write.commit().await
    }

    async fn stored(writer: &Writer) -> Vec<i64> {
        let mut write = writer.begin().await.unwrap();
        let numbers = sqlx::query_scalar("SELECT n FROM t ORDER BY n").fetch_all(&mut *write).await.unwrap();
        write.commit().await.unwrap();
        numbers
    }

    #[tokio::test]
    async fn writes_that_wait_for_one_another_share_a_commit() {
        let (writer, commits) = writer().await;
        assert!(together(&writer, &[1, 2, 3]).await.iter().all(Result::is_ok));
        assert_eq!(commits.load(Ordering::SeqCst), 1);
        assert_eq!(stored(&writer).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_those_that_share_its_commit_alone() {
        let (writer, commits) = writer().await;
        let outcomes = together(&writer, &[1, 1, 2]).await;
        assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(commits.load(Ordering::SeqCst), 1);
        assert_eq!(stored(&writer).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_write_that_takes_the_transaction_with_it_fails_those_that_shared_it() {
        let (writer, _) = writer().await;
        let mut first = writer.begin_shared().await.unwrap();
        first.execute("INSERT INTO t VALUES (1)").await.unwrap();
        let other = Arc::clone(&writer);
        let second = tokio::spawn(async move {
            let mut write = other.begin_shared().await?;
            // As SQLite does by itself where the disk is full.
            write.execute("ROLLBACK").await?;
            write.execute("no statement").await?;
            write.commit().await
        });
        tokio::task::yield_now().await;
        assert!(first.commit().await.unwrap_err().passes());
        second.await.unwrap().unwrap_err();
        insert(Arc::clone(&writer), 2).await.unwrap();
        assert_eq!(stored(&writer).await, [2]);
    }

    #[tokio::test]
    async fn a_write_that_was_dropped_before_its_first_statement_leaves_nothing_and_takes_nothing() {
        let (writer, commits) = writer().await;
        drop(writer.begin_shared().await.unwrap());
        let mut first = writer.begin_shared().await.unwrap();
        first.execute("INSERT INTO t VALUES (1)").await.unwrap();
        let other = Arc::clone(&writer);
        let joined = tokio::spawn(async move {
            drop(other.begin_shared().await?);
            other.begin_shared().await?.commit().await
        });
        tokio::task::yield_now().await;
        first.commit().await.unwrap();
        joined.await.unwrap().unwrap();
        assert_eq!(commits.load(Ordering::SeqCst), 1, "who writes nothing commits nothing");
        assert_eq!(stored(&writer).await, [1]);
    }

    #[tokio::test]
    async fn a_write_that_was_forgotten_half_way_is_not_committed_by_who_comes_next() {
        let (writer, _) = writer().await;
        let mut write = writer.begin_shared().await.unwrap();
        write.execute("INSERT INTO t VALUES (1)").await.unwrap();
        // As where the runtime ends that was to roll it back.
        drop(write.turn.take());
        insert(Arc::clone(&writer), 2).await.unwrap();
        assert_eq!(stored(&writer).await, [2]);
    }

    #[tokio::test]
    async fn a_savepoint_of_an_earlier_write_is_not_what_a_later_one_goes_back_to() {
        let (writer, _) = writer().await;
        let mut first = writer.begin_shared().await.unwrap();
        first.execute_all::<2>("SAVEPOINT attempts; INSERT INTO t VALUES (1)").await.unwrap();
        let other = Arc::clone(&writer);
        let second = tokio::spawn(async move {
            let mut write = other.begin_shared().await?;
            write.execute_all::<2>("SAVEPOINT attempts; INSERT INTO t VALUES (2)").await?;
            write.execute("ROLLBACK TO attempts").await?;
            write.execute("INSERT INTO t VALUES (3)").await?;
            write.commit().await
        });
        tokio::task::yield_now().await;
        first.commit().await.unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(stored(&writer).await, [1, 3]);
    }

    #[tokio::test]
    async fn a_text_of_several_statements_answers_each_behind_what_begins_the_write() {
        let (writer, _) = writer().await;
        let mut write = writer.begin_shared().await.unwrap();
        let text = "INSERT INTO t VALUES (1), (2), (3); UPDATE t SET n = -n WHERE n > 1";
        let results = write.execute_all::<2>(text).await.unwrap();
        assert_eq!(results.map(|result| result.rows_affected()), [3, 2]);
        write.commit().await.unwrap();
        assert_eq!(stored(&writer).await, [-3, -2, 1]);
    }

    #[tokio::test]
    async fn a_write_of_its_own_commits_what_waits_before_it_begins() {
        let (writer, commits) = writer().await;
        let mut first = writer.begin_shared().await.unwrap();
        first.execute("INSERT INTO t VALUES (1)").await.unwrap();
        let other = Arc::clone(&writer);
        let own = tokio::spawn(async move {
            let mut write = other.begin().await?;
            write.execute("INSERT INTO t VALUES (2)").await?;
            drop(write);
            Ok::<_, crate::store::StoreError>(())
        });
        tokio::task::yield_now().await;
        first.commit().await.unwrap();
        own.await.unwrap().unwrap();
        assert_eq!(commits.load(Ordering::SeqCst), 1);
        assert_eq!(stored(&writer).await, [1], "what was dropped is rolled back alone");
    }
}
