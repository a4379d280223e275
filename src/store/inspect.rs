//! How a database stands before it is opened: opening makes and migrates what is not there.

use std::collections::BTreeMap;

use sqlx::migrate::Migrator;

use crate::clock::UnixMs;

pub(super) const APPLIED_MIGRATIONS: &str =
    "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
pub(super) const NEWEST_EVENT: &str = "SELECT id FROM events ORDER BY id DESC LIMIT 1";

/// A database, as it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What it is, such as the server's version.
    pub engine: String,
    /// Migrations of this program that it lacks, by number.
    pub missing: Vec<i64>,
    /// Migrations of a later program that it has.
    pub later: Vec<i64>,
    /// Migrations that were applied in another form than this program's.
    pub altered: Vec<i64>,
    /// What its clock shows, where it has one of its own.
    pub clock: Option<UnixMs>,
    /// When the newest event was accepted.
    pub newest_event_at: Option<UnixMs>,
    /// How many connections it takes, where it says so.
    pub connections_max: Option<u32>,
}

impl Inspection {
    /// Compares what was applied, by number with its checksum, with what this program brings.
    pub(super) fn of(engine: String, migrator: &Migrator, applied: Vec<(i64, Vec<u8>)>) -> Self {
        let mut applied: BTreeMap<_, _> = applied.into_iter().collect();
        let mut inspection = Self { engine, ..Self::default() };
        for own in migrator.iter() {
            match applied.remove(&own.version) {
                None => inspection.missing.push(own.version),
                Some(checksum) if checksum != *own.checksum => inspection.altered.push(own.version),
                Some(_) => {}
            }
        }
        inspection.later = applied.into_keys().collect();
        inspection
    }
}
