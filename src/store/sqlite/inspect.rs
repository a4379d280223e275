//! Looking at the file before it is opened.

use sqlx::{Connection as _, SqliteConnection};

use super::{SqliteStore, connect::options};
use crate::{
    id::EventId,
    store::{
        Inspection, Result, StoreError,
        inspect::{APPLIED_MIGRATIONS, NEWEST_EVENT},
    },
};

const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table'";

impl SqliteStore {
    /// How the file that `url` names stands; none where there is none yet. It is read and not changed.
    pub async fn inspect(url: &str) -> Result<Option<Inspection>> {
        let path = Self::path(url)?;
        if !path.exists() {
            return Ok(None);
        }
        let unreadable =
            |error: sqlx::Error| StoreError::Setup(format!("cannot read {}: {error}", path.display()));
        let options = options(url)?.read_only(true);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(unreadable)?;
        let tables: Vec<(String,)> =
            sqlx::query_as(TABLES).fetch_all(&mut connection).await.map_err(unreadable)?;
        let has = |name: &str| tables.iter().any(|(table,)| table == name);
        let mut applied = Vec::new();
        if has("_sqlx_migrations") {
            applied =
                sqlx::query_as(APPLIED_MIGRATIONS).fetch_all(&mut connection).await.map_err(unreadable)?;
        }
        let mut newest: Option<(String,)> = None;
        if has("events") {
            newest =
                sqlx::query_as(NEWEST_EVENT).fetch_optional(&mut connection).await.map_err(unreadable)?;
        }
        connection.close().await.map_err(unreadable)?;
        let mut inspection =
            Inspection::of("SQLite".to_owned(), &sqlx::migrate!("migrations/sqlite"), applied);
        inspection.newest_event_at = newest.and_then(|(id,)| id.parse().ok()).map(EventId::made_at);
        Ok(Some(inspection))
    }
}
