//! Statements over a list of rows, in few texts.
//!
//! A statement over a `VALUES` list has another text for each number of rows, and SQLite parses and plans each text anew
//! unless it is among those that are kept. So a list has room for the next power of two of rows. What is bound to fewer
//! leaves the others NULL, and a statement passes over rows whose first column is NULL. Inserting 40 events takes 175 µs of
//! CPU so, 150 where the text has room for them alone, and 300 where it is planned anew.

use std::{iter, sync::Arc};

use sqlx::AssertSqlSafe;

/// Rows of the longest list: a few hundred keep a statement's text and its bound values small.
pub(super) const ROWS_MAX: usize = 256;

/// A statement's texts: for 1 row, for 2, for 4 and so on.
pub(super) struct OverRows(Vec<Arc<str>>);

impl OverRows {
    /// `before (VALUES (…), …) after`, from constants and placeholders only. SQLite calls the columns `column1` and so on.
    pub(super) fn new(before: &str, columns: usize, after: &str) -> Self {
        let list =
            |placeholder: &str, count| iter::repeat_n(placeholder, count).collect::<Vec<_>>().join(", ");
        let row = format!("({})", list("?", columns));
        let lengths = (0..=ROWS_MAX.ilog2()).map(|power| 1 << power);
        Self(lengths.map(|rows| format!("{before} (VALUES {}) {after}", list(&row, rows)).into()).collect())
    }

    /// Texts of two statements, each over a list with room for as many rows.
    pub(super) fn both(opening: &str, first: &Self, second: &Self) -> Self {
        let texts = first.0.iter().zip(&second.0);
        Self(texts.map(|(first, second)| format!("{opening}{first}; {second}").into()).collect())
    }

    /// The text for at least so many rows, of which there are at most [`ROWS_MAX`].
    pub(super) fn text(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        let power = room(rows).ilog2() as usize;
        AssertSqlSafe(Arc::clone(&self.0[power]))
    }
}

/// How many rows the list has room for that is used for so many.
pub(super) fn room(rows: usize) -> usize {
    rows.next_power_of_two()
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn any_number_of_rows_goes_in_whole_and_few_texts_serve_all() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let insert = OverRows::new("INSERT INTO t SELECT * FROM", 2, "WHERE column1 IS NOT NULL");
        sqlx::query("CREATE TABLE t (n INTEGER NOT NULL, square INTEGER)")
            .execute(&mut connection)
            .await
            .unwrap();
        for rows in 1..=ROWS_MAX {
            let mut query = sqlx::query(insert.text(rows));
            for n in 0..i64::try_from(rows).unwrap() {
                query = query.bind(n).bind(n * n);
            }
            assert_eq!(query.execute(&mut connection).await.unwrap().rows_affected(), rows as u64);
        }
        assert!(connection.cached_statements_size() <= 1 + insert.0.len());
    }
}
