//! Looking at the server's database before it is opened.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{PostgresStore, connect::connect_options, within};
use crate::{
    clock::UnixMs,
    id::EventId,
    store::{
        Inspection, Result, StoreError,
        inspect::{APPLIED_MIGRATIONS, NEWEST_EVENT},
    },
};

/// How long the server may take to answer all questions.
const DEADLINE: Duration = Duration::from_secs(10);

const SERVER: &str = "SELECT current_setting('server_version'), current_setting('max_connections')::int, \
     pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
     to_regclass('_sqlx_migrations') IS NOT NULL, to_regclass('events') IS NOT NULL";

impl PostgresStore {
    /// How the database that `url` names stands. It is read and not changed.
    pub async fn inspect(url: &str) -> Result<Inspection> {
        within(DEADLINE, look(url)).await
    }
}

async fn look(url: &str) -> Result<Inspection> {
    let options = connect_options(url)?.statement_cache_capacity(0);
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let setup = |what: &str| StoreError::Setup(format!("the database at {place} {what}"));
    let mut connection = PgConnection::connect_with(&options)
        .await
        .map_err(|error| setup(&format!("cannot be connected to: {error}")))?;
    let (version, connections_max, standby, clock, migrated, has_events) =
        sqlx::query_as::<_, (String, i32, bool, i64, bool, bool)>(SERVER).fetch_one(&mut connection).await?;
    if standby {
        return Err(setup("is a standby, which takes no writes"));
    }
    let mut applied = Vec::new();
    if migrated {
        applied = sqlx::query_as(APPLIED_MIGRATIONS).fetch_all(&mut connection).await?;
    }
    let mut newest: Option<(String,)> = None;
    if has_events {
        newest = sqlx::query_as(NEWEST_EVENT).fetch_optional(&mut connection).await?;
    }
    connection.close().await?;
    let mut inspection =
        Inspection::of(format!("PostgreSQL {version}"), &sqlx::migrate!("migrations/postgres"), applied);
    inspection.clock = Some(UnixMs(clock));
    inspection.connections_max = u32::try_from(connections_max).ok();
    inspection.newest_event_at = newest.and_then(|(id,)| id.parse().ok()).map(EventId::made_at);
    Ok(inspection)
}
