//! Processing once with sqlx: the mark and the work's changes are one transaction of the receiver's own database.

use k_payments_webhooks::{BoxFuture, Deduplicator};
use sqlx::{Sqlite, SqlitePool, Transaction};

/// `processed_webhook_events` is a table of the receiver's own. On PostgreSQL this is the same with `PgPool` and `Postgres`.
pub(crate) struct SqlDeduplicator {
    pub(crate) pool: SqlitePool,
}

pub(crate) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS processed_webhook_events \
     (event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)";

impl Deduplicator for SqlDeduplicator {
    type Context = Transaction<'static, Sqlite>;
    type Error = sqlx::Error;

    async fn process_once<W, E>(&self, event_id: &str, work: W) -> Result<bool, E>
    where
        W: for<'a> FnOnce(&'a mut Self::Context) -> BoxFuture<'a, Result<(), E>> + Send,
        E: From<sqlx::Error> + Send,
    {
        let mut transaction = self.pool.begin().await?;
        // A second delivery waits here until the first transaction has ended.
        let inserted = sqlx::query(
            "INSERT INTO processed_webhook_events (event_id, processed_at) VALUES ($1, unixepoch()) \
             ON CONFLICT (event_id) DO NOTHING",
        );
        let first = inserted.bind(event_id).execute(&mut *transaction).await?.rows_affected() == 1;
        if first {
            work(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(first)
    }
}
