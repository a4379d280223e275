//! The suite on PostgreSQL, and what is particular to it: many processes, and a server that can fail.

#[path = "../suite/mod.rs"]
mod suite;

mod abandoned;
mod backfills;
mod connecting;
mod faults;
mod races;
mod remembered;
mod replicas;
mod stream;

use crate::support::engine::Postgres as Engine;
