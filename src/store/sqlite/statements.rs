//! Running statements with few changes of threads.
//!
//! A statement is over with its result. sqlx waits on for the end of all results, with which the connection's thread comes
//! a moment later: a second change of threads for each. And statements that need nothing of each other's results can go
//! there together, as one text. Whoever runs a text waits for the result of its last statement: what comes after the one that
//! was waited for may never run.

use futures_util::{TryStreamExt as _, stream::BoxStream};
use sqlx::{
    Either, Error, Execute, Executor as _, Sqlite, SqliteConnection,
    sqlite::{SqliteQueryResult, SqliteRow},
};

/// The results of a text's statements, one after the other.
pub(super) struct Results<'r>(BoxStream<'r, Result<Either<SqliteQueryResult, SqliteRow>, Error>>);

impl<'r> Results<'r> {
    pub(super) fn of<'q: 'r>(
        connection: &'r mut SqliteConnection,
        text: impl Execute<'q, Sqlite> + 'q,
    ) -> Self {
        Self(connection.fetch_many(text))
    }

    /// Has `each` read the next statement's rows, and answers its result.
    pub(super) async fn next(
        &mut self,
        mut each: impl FnMut(&SqliteRow) -> Result<(), Error>,
    ) -> Result<SqliteQueryResult, Error> {
        while let Some(result) = self.0.try_next().await? {
            match result {
                Either::Right(row) => each(&row)?,
                Either::Left(done) => return Ok(done),
            }
        }
        Err(Error::Protocol("a text has fewer statements than results were waited for".to_owned()))
    }
}

/// Runs a statement that answers no rows.
pub(super) async fn execute<'q>(
    connection: &mut SqliteConnection,
    statement: impl Execute<'q, Sqlite> + 'q,
) -> Result<SqliteQueryResult, Error> {
    Results::of(connection, statement).next(|_| Ok(())).await
}
