//! What holds on either engine. `super::Engine` says which one it is.

mod abandoned;
mod api;
mod audit;
mod backfills;
mod browser;
mod chaos;
mod console;
mod crash;
mod delivery;
pub(crate) mod doctor;
mod encryption;
mod export;
mod failing;
mod hostile;
mod ingest;
mod keys;
mod limits;
mod metrics;
mod operational;
mod portal;
mod reconciliation;
mod secrets;
mod statistics;
mod store;
mod stream;
mod tenancy;
mod timeline;
mod traces;

use super::Engine;
use crate::support::engine::Database;

type TestApp = crate::support::TestApp<Engine>;

/// A database of its own.
pub(super) async fn database() -> Database {
    <Engine as crate::support::engine::Engine>::database().await
}
