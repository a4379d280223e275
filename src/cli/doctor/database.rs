//! The database: whether it can be reached, whether its tables are this program's, whether its secrets open, and what time
//! it has.

use std::{fmt::Display, sync::Arc, time::Duration};

use secrecy::ExposeSecret as _;

use super::Finding;
use crate::{
    app::open_store,
    clock::{Clock, UnixMs},
    config::{Config, Engine, Mode},
    encryption,
    entropy::Entropy,
    id::IdSource,
    store::{Inspection, PostgresStore, Result, SqliteStore},
};

/// What clocks may differ by before it is worth a word, and before leases are at risk: they leave five seconds.
const SKEW_NOTED: Duration = Duration::from_secs(1);
const SKEW_MAX: Duration = Duration::from_secs(5);

/// The beginning of 2026, before which this program was not there.
const BEFORE_THIS_PROGRAM: UnixMs = UnixMs(1_767_225_600_000);

/// Connections beside those of the pool: one listens, and some are left to whoever looks after the server.
const CONNECTIONS_BESIDE: u32 = 4;

pub(super) async fn examine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let now = clock.now();
    let mut inspection = match inspect(config).await {
        Err(error) => {
            let advice = "see that the database is there, and that database.url is right";
            let unreachable = Finding::failure("database", error.to_string(), advice);
            return vec![unreachable, time(now, None)];
        }
        Ok(None) => {
            let found = "there is none yet: the first start makes it";
            return vec![Finding::good("database", found), time(now, None)];
        }
        Ok(Some(inspection)) => inspection,
    };
    if config.test_clock.enabled {
        // Events are accepted by that clock, which may be days ahead.
        inspection.newest_event_at = None;
    }
    let mut findings = vec![reached(config, &inspection), migrations(&inspection)];
    if inspection.missing.is_empty() {
        findings.push(secrets(config, now).await);
    }
    findings.push(time(now, Some(&inspection)));
    findings
}

async fn inspect(config: &Config) -> Result<Option<Inspection>> {
    let url = config.database.url.expose_secret();
    match Engine::of(url) {
        Some(Engine::Postgres) => PostgresStore::inspect(url).await.map(Some),
        _ => SqliteStore::inspect(url).await,
    }
}

fn reached(config: &Config, inspection: &Inspection) -> Finding {
    const CHECK: &str = "database";
    let wanted = config.database.max_connections.saturating_add(CONNECTIONS_BESIDE);
    match inspection.connections_max {
        Some(max) if max < wanted => Finding::warning(
            CHECK,
            format!("{}; it takes {max} connections", inspection.engine),
            format!(
                "each process may open {wanted}: raise max_connections there, or lower database.max_connections"
            ),
        ),
        _ => Finding::good(CHECK, inspection.engine.clone()),
    }
}

fn migrations(inspection: &Inspection) -> Finding {
    const CHECK: &str = "migrations";
    let list = |numbers: &[i64]| numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    if !inspection.altered.is_empty() {
        let found = format!("{} were applied in another form", list(&inspection.altered));
        return Finding::failure(CHECK, found, "the database was made by another program; restore a backup");
    }
    if !inspection.missing.is_empty() {
        let found = format!("{} are not applied", list(&inspection.missing));
        return Finding::warning(CHECK, found, "`k-webhooks migrate`, or the next start, applies them");
    }
    if !inspection.later.is_empty() {
        let found = format!("{} are of a later version, beside which this one runs", list(&inspection.later));
        return Finding::good(CHECK, found);
    }
    Finding::good(CHECK, "up to date")
}

/// Whether the configured encryption keys open what is stored.
async fn secrets(config: &Config, now: UnixMs) -> Finding {
    const CHECK: &str = "encryption key";
    let unopened = |error: &dyn Display| {
        Finding::failure(
            CHECK,
            error.to_string(),
            "give security.encryption_key the key that this database was made with, or name it in \
             security.earlier_encryption_keys",
        )
    };
    let entropy = Entropy::os();
    let store = match open_store(config, Arc::new(IdSource::new(entropy.clone()))).await {
        Ok(store) => store,
        Err(error) => {
            return Finding::failure(
                CHECK,
                format!("{error:#}"),
                "the database cannot be opened for writing",
            );
        }
    };
    let checked = encryption::check(config, store.as_ref(), &entropy, now).await;
    store.close().await;
    match checked {
        Ok(None) => Finding::good(CHECK, "nothing is sealed yet"),
        Ok(Some(opened)) if config.mode == Mode::Production => Finding::good(CHECK, opened),
        Ok(Some(opened)) => Finding::good(CHECK, format!("{opened} (development)")),
        Err(error) => unopened(&format!("{error:#}")),
    }
}

/// Whether the clock is right, as far as that can be known: by the database's, and by what was accepted.
fn time(now: UnixMs, inspection: Option<&Inspection>) -> Finding {
    const CHECK: &str = "clock";
    let advice = "run an NTP client: leases, due times and signatures go by this clock";
    if now < BEFORE_THIS_PROGRAM {
        return Finding::failure(
            CHECK,
            format!("it shows unix time {}, which has passed", now.seconds()),
            advice,
        );
    }
    let newest = inspection.and_then(|inspection| inspection.newest_event_at);
    let behind = newest.map_or(Duration::ZERO, |at| at.since(now));
    if behind > SKEW_MAX {
        let behind = humantime::format_duration(Duration::from_secs(behind.as_secs()));
        return Finding::failure(CHECK, format!("it is {behind} behind the newest event"), advice);
    }
    let Some(clock) = inspection.and_then(|inspection| inspection.clock) else {
        return Finding::good(CHECK, "plausible");
    };
    let skew = now.since(clock).max(clock.since(now));
    let found = format!("{} ms beside the database's", skew.as_millis());
    match skew {
        skew if skew > SKEW_MAX => Finding::failure(CHECK, found, advice),
        skew if skew > SKEW_NOTED => Finding::warning(CHECK, found, advice),
        _ => Finding::good(CHECK, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Outcome;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    #[test]
    fn a_clock_that_differs_from_the_databases_is_noted_and_then_refused() {
        use Outcome::{Failure, Good, Warning};
        let beside = |skew: i64| {
            let clock = Some(UnixMs(NOW.0 + skew));
            time(NOW, Some(&Inspection { clock, ..Inspection::default() })).outcome
        };
        let outcomes = [0, 900, -900, 1_500, -1_500, 6_000, -6_000].map(beside);
        assert_eq!(outcomes, [Good, Good, Good, Warning, Warning, Failure, Failure]);
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_by_what_it_accepted() {
        let newest = |ahead: i64| {
            let newest_event_at = Some(UnixMs(NOW.0 + ahead));
            time(NOW, Some(&Inspection { newest_event_at, ..Inspection::default() }))
        };
        assert_eq!(newest(-10_000).outcome, Outcome::Good);
        let set_back = newest(3_600_000);
        assert_eq!(set_back.outcome, Outcome::Failure);
        assert_eq!(set_back.found, "it is 1h behind the newest event");
        assert_eq!(time(UnixMs(0), None).outcome, Outcome::Failure);
    }
}
