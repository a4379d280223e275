//! Running one statement without waiting for its end twice.
//!
//! A statement is over with its result. sqlx waits on for the end of all results, with which the connection's thread comes
//! a moment later: a second change of threads for each statement. A text of several statements would end here after its
//! first; such a text is for sqlx's own `execute`.

use futures_util::TryStreamExt as _;
use sqlx::{
    Either, Execute, Executor as _, FromRow, Sqlite, SqliteConnection,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteQueryResult, SqliteRow},
};

/// Runs a statement that answers no rows.
pub(super) async fn execute<'q>(
    connection: &mut SqliteConnection,
    statement: impl Execute<'q, Sqlite> + 'q,
) -> Result<SqliteQueryResult, sqlx::Error> {
    let mut results = connection.fetch_many(statement);
    while let Some(result) = results.try_next().await? {
        if let Either::Left(done) = result {
            return Ok(done);
        }
    }
    Ok(SqliteQueryResult::default())
}

/// Runs a statement and reads all its rows.
pub(super) async fn fetch_all<T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin>(
    connection: &mut SqliteConnection,
    statement: QueryAs<'_, Sqlite, T, SqliteArguments>,
) -> Result<Vec<T>, sqlx::Error> {
    let mut results = connection.fetch_many(statement);
    let mut rows = Vec::new();
    while let Some(Either::Right(row)) = results.try_next().await? {
        rows.push(T::from_row(&row)?);
    }
    Ok(rows)
}
