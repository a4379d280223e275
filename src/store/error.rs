//! What can fail in a store, and which of it passes.

use std::sync::Arc;

use sqlx::postgres::PgDatabaseError;

/// Why a store operation failed. That something is absent is no error but a `None`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, locked, full or read-only, or did not answer in time. It is worth trying again. Where the
    /// connection broke during a commit, that commit may have happened.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Another process was in the way, time and again. Nothing was stored, and it is worth trying again.
    #[error("other processes were in the way")]
    Contended,
    /// The database refused a statement: a defect of this program.
    #[error("the database refused a statement: {0}")]
    Refused(#[source] Arc<sqlx::Error>),
    /// A stored value does not read as what it should be.
    #[error("inconsistent row: {table}.{column} of {id}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        id: String,
    },
    /// The database cannot be opened as configured.
    #[error("{0}")]
    Setup(String),
}

impl StoreError {
    /// Whether it is worth trying again as it is.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contended)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(refusal) => {
                let postgres = refusal.try_downcast_ref::<PgDatabaseError>().is_some();
                refusal.code().map(|code| if postgres { postgres_code(&code) } else { sqlite_code(&code) })
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // What a server that dies in the middle of an answer leaves.
            | sqlx::Error::Protocol(_) => Some(Meaning::Passing),
            _ => None,
        };
        match code {
            Some(Meaning::Passing) => Self::Unavailable(Arc::new(error)),
            Some(Meaning::Contended) => Self::Contended,
            Some(Meaning::Lasting) | None => Self::Refused(Arc::new(error)),
        }
    }
}

/// What a database's code says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Passing,
    Contended,
    Lasting,
}

/// The primary result codes that pass: busy, locked, no memory, read-only, interrupted, I/O error, full, cannot open. <https://www.sqlite.org/rescode.html>
fn sqlite_code(code: &str) -> Meaning {
    const PASSING: [i64; 8] = [5, 6, 7, 8, 9, 10, 13, 14];
    if code.parse::<i64>().is_ok_and(|code| PASSING.contains(&(code & 0xff))) {
        Meaning::Passing
    } else {
        Meaning::Lasting
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres_code(code: &str) -> Meaning {
    match code {
        // A serialization failure, and a deadlock.
        "40001" | "40P01" => Meaning::Contended,
        // Read-only (a standby), a transaction that was left idle for too long, a lock not to be had.
        "25006" | "25P03" | "55P03" => Meaning::Passing,
        // Connection lost; out of memory, disk or connections; operator intervention, which is a shutdown, a crash, a
        // start-up or a statement that took too long; an I/O error.
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Meaning::Passing,
        _ => Meaning::Lasting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_lasts_on_both_engines() {
        for code in ["5", "517", "13", "522"] {
            assert_eq!(sqlite_code(code), Meaning::Passing, "{code}");
        }
        assert_eq!(sqlite_code("1"), Meaning::Lasting);
        for code in ["08006", "53100", "53300", "57P01", "57P03", "57014", "58030", "25006", "25P03"] {
            assert_eq!(postgres_code(code), Meaning::Passing, "{code}");
        }
        for code in ["40001", "40P01"] {
            assert_eq!(postgres_code(code), Meaning::Contended, "{code}");
        }
        for code in ["23505", "42P01", "22021"] {
            assert_eq!(postgres_code(code), Meaning::Lasting, "{code}");
        }
    }
}
