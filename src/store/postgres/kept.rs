//! The connections on which events are accepted and outcomes recorded, statement after statement.
//!
//! They are not the pool's. It asks a connection whether it still lives whenever it is given back, which is an answer of the
//! server for each statement, and hands out the one that was idle longest, so that the statements go round among processes of
//! the server.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{ACQUIRE_TIMEOUT, TRUSTED_IDLE, refuse_standby};
use crate::store::{PoolUse, Result, StoreError, pool::Waiting};

/// One accepts and one records.
pub(super) const KEPT_MAX: usize = 2;

/// After so long a connection makes place for a new one, so that none stays with a server that was replaced.
const LIFE: Duration = Duration::from_secs(30 * 60);

const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Kept {
    connect: PgConnectOptions,
    /// How many there may be.
    limit: usize,
    places: Arc<Semaphore>,
    waiting: Waiting,
    /// The one that was used last is used next.
    idle: Arc<Mutex<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made_at: Instant,
    since: Instant,
}

/// A kept connection in use. It is kept on where [`KeptConnection::keep`] says so, and closed otherwise.
pub(super) struct KeptConnection {
    connection: PgConnection,
    made_at: Instant,
    idle: Arc<Mutex<Vec<Idle>>>,
    place: OwnedSemaphorePermit,
}

impl Kept {
    pub(super) fn new(connect: PgConnectOptions, limit: usize) -> Self {
        let places = Arc::new(Semaphore::new(limit));
        Self { connect, limit, places, waiting: Waiting::default(), idle: Arc::default() }
    }

    /// Takes a connection that is there, or makes one, for which it tries as long as the server may come back.
    pub(super) async fn take(&self) -> Result<KeptConnection> {
        let until = Instant::now() + ACQUIRE_TIMEOUT;
        let taken = tokio::time::timeout_at(until.into(), async {
            let waiting = self.waiting.begin();
            let place = Arc::clone(&self.places).acquire_owned().await;
            drop(waiting);
            let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
            let (connection, made_at) = match self.living().await {
                Some(living) => living,
                None => (self.connect(until).await?, Instant::now()),
            };
            Ok(KeptConnection { connection, made_at, idle: Arc::clone(&self.idle), place })
        });
        taken.await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
    }

    /// An idle connection, tried if it was idle for long.
    async fn living(&self) -> Option<(PgConnection, Instant)> {
        loop {
            let Idle { mut connection, made_at, since } = locked(&self.idle).pop()?;
            if made_at.elapsed() < LIFE && (since.elapsed() < TRUSTED_IDLE || connection.ping().await.is_ok())
            {
                return Some((connection, made_at));
            }
        }
    }

    async fn connect(&self, until: Instant) -> Result<PgConnection> {
        loop {
            let made = self.try_to_connect().await.map_err(StoreError::from);
            match made {
                Err(error) if error.passes() && Instant::now() + PAUSE_BETWEEN_TRIES < until => {
                    tokio::time::sleep(PAUSE_BETWEEN_TRIES).await;
                }
                made => return made,
            }
        }
    }

    async fn try_to_connect(&self) -> std::result::Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.connect).await?;
        refuse_standby(&mut connection).await?;
        Ok(connection)
    }

    pub(super) fn in_use(&self) -> PoolUse {
        let (idle, busy) = (locked(&self.idle).len(), self.limit - self.places.available_permits());
        PoolUse { pool: "commit", limit: self.limit, open: idle + busy, idle, waiting: self.waiting.count() }
    }

    /// Ends all use; what is in use ends when it is dropped.
    pub(super) async fn close(&self) {
        self.places.close();
        let idle = std::mem::take(&mut *locked(&self.idle));
        for Idle { connection, .. } in idle {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a connection was not closed in order");
            }
        }
    }
}

fn locked(idle: &Mutex<Vec<Idle>>) -> std::sync::MutexGuard<'_, Vec<Idle>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KeptConnection {
    /// Keeps it for the next statement: it has answered all that it was asked.
    pub(super) fn keep(self) {
        let Self { connection, made_at, idle, place } = self;
        if !place.semaphore().is_closed() {
            locked(&idle).push(Idle { connection, made_at, since: Instant::now() });
        }
    }
}

impl Deref for KeptConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for KeptConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
