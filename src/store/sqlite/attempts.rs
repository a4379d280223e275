//! Storing attempts and where they leave their deliveries.

use std::{collections::HashSet, sync::LazyLock};

use super::{
    Write,
    batches::{Statement, affected, bind_nulls},
    values::{OverRows, ROWS_MAX, room},
};
use crate::{
    delivery::AbandonedReason,
    store::{
        Result,
        rows::{Change, Endpoints, expect_affected},
        sql::health::leaves_endpoint,
    },
    transport::{FailureCode, ResponseHeaders},
};

const UPDATE_COLUMNS: usize = 12;

macro_rules! update_attempted {
    ($and:expr) => {
        LazyLock::new(|| {
            OverRows::new(
                "UPDATE OR FAIL deliveries AS d SET attempt_count = column5, ladder_failures = column6, \
                   status = column7, abandoned_reason = column8, abandoned_at = COALESCE(column10, d.abandoned_at), \
                   next_attempt_at = column9, claimable_at = column9, lease_token = NULL FROM",
                UPDATE_COLUMNS,
                concat!(
                    "WHERE d.id = column1 AND d.lease_token = column2 AND d.status = column3 \
                     AND d.window_started_at = column4",
                    $and
                ),
            )
        })
    };
}
static UPDATE_ATTEMPTED: LazyLock<OverRows> = update_attempted!("");
/// The same of those that leave their endpoint as it stands.
static UPDATE_ATTEMPTED_ALONE: LazyLock<OverRows> =
    update_attempted!(leaves_endpoint!("column11", "column12"));
/// Of deliveries and numbers of attempts, those deliveries that are updated after that attempt, which is not stored yet.
static UPDATED: LazyLock<OverRows> = LazyLock::new(|| {
    OverRows::new(
        "SELECT d.id FROM",
        2,
        "CROSS JOIN deliveries d ON d.id = column1 AND d.attempt_count = column2 \
         WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.delivery_id = column1 AND a.number = column2)",
    )
});
macro_rules! insert_attempts {
    ($insert:literal) => {
        LazyLock::new(|| {
            OverRows::new(
                concat!(
                    $insert,
                    " INTO attempts (delivery_id, number, id, started_at, duration_ms, response_status, failure_code, \
                       failure_message, response_headers, response_body, address) SELECT * FROM"
                ),
                11,
                "WHERE column1 IS NOT NULL",
            )
        })
    };
}
static INSERT_ATTEMPTS: LazyLock<OverRows> = insert_attempts!("INSERT OR FAIL");
static INSERT_NEW_ATTEMPTS: LazyLock<OverRows> = insert_attempts!("INSERT OR IGNORE");
/// Both, for deliveries that are all as expected. An attempt that is there already is passed over, and so counted.
static STORE_UNDISTURBED: LazyLock<OverRows> =
    LazyLock::new(|| OverRows::both("SAVEPOINT attempts; ", &UPDATE_ATTEMPTED_ALONE, &INSERT_NEW_ATTEMPTS));

/// Brings deliveries to where they stand after their attempts, and keeps those, as far as they still have their lease and
/// stand as expected, and, where that is asked for, leave their endpoint as it stands. Answers which.
pub(super) async fn store_attempts(
    write: &mut Write,
    changes: &[Change<'_>],
    endpoints: Endpoints,
) -> Result<Vec<String>> {
    let mut stored = Vec::with_capacity(changes.len());
    for changes in changes.chunks(ROWS_MAX) {
        stored.extend(match endpoints {
            Endpoints::StayAsTheyStand => store_undisturbed(write, changes).await?,
            Endpoints::Follow => store_as_far_as_expected(write, changes, &UPDATE_ATTEMPTED).await?,
        });
    }
    Ok(stored)
}

/// Stores all at once, which nearly always can be, or takes it back and looks which.
async fn store_undisturbed(write: &mut Write, changes: &[Change<'_>]) -> Result<Vec<String>> {
    let count = changes.len();
    let store = bind_updates(sqlx::query(STORE_UNDISTURBED.text(count)), changes);
    let store = bind_nulls(store, (room(count) - count) * UPDATE_COLUMNS);
    let [_, updated, inserted] = write.execute_all(bind_attempts(store, changes)).await?;
    if affected(&updated) == count && affected(&inserted) == count {
        return Ok(changes.iter().map(|change| change.result.delivery_id.to_string()).collect());
    }
    // To the one that was made just now: that of an earlier write lies outside of it.
    write.execute("ROLLBACK TO attempts").await?;
    store_as_far_as_expected(write, changes, &UPDATE_ATTEMPTED_ALONE).await
}

/// Updates, looks which were, and stores the attempts of those.
async fn store_as_far_as_expected(
    write: &mut Write,
    changes: &[Change<'_>],
    update: &OverRows,
) -> Result<Vec<String>> {
    let update = bind_updates(sqlx::query(update.text(changes.len())), changes);
    let updated = affected(&write.execute(update).await?);
    let mut changes: Vec<_> =
        changes.iter().map(|change| (change.result.delivery_id.to_string(), change)).collect();
    // Asked only where some are missing: each row that a statement answers wakes whoever reads it.
    if updated < changes.len() {
        let mut lookup = sqlx::query_as::<_, (String,)>(UPDATED.text(changes.len()));
        for (id, change) in &changes {
            lookup = lookup.bind(id.as_str()).bind(change.result.attempt.number);
        }
        let ids: Vec<(String,)> = write.fetch_all(lookup).await?;
        let ids: HashSet<String> = ids.into_iter().map(|(id,)| id).collect();
        expect_affected("deliveries", ids.len(), updated)?;
        changes.retain(|(id, _)| ids.contains(id));
    }
    if !changes.is_empty() {
        let insert = sqlx::query(INSERT_ATTEMPTS.text(changes.len()));
        write.execute(bind_attempts(insert, changes.iter().map(|(_, change)| *change))).await?;
    }
    Ok(changes.into_iter().map(|(id, _)| id).collect())
}

fn bind_updates(mut update: Statement, changes: &[Change<'_>]) -> Statement {
    for change in changes {
        let Change { result, before, after } = change;
        update = update.bind(result.delivery_id.to_string()).bind(result.lease.to_string());
        update = update.bind(before.status.as_str()).bind(before.window_started_at.0);
        update = update.bind(result.attempt.number).bind(after.ladder_failures).bind(after.status.as_str());
        update = update.bind(after.abandoned_reason.map(AbandonedReason::as_str));
        update = update.bind(after.next_attempt_at.map(|at| at.0));
        update = update.bind(change.abandoned_at().map(|at| at.0)).bind(result.failed());
        update = update.bind(result.attempt.started_at.0);
    }
    update
}

fn bind_attempts<'c>(mut insert: Statement, changes: impl IntoIterator<Item = &'c Change<'c>>) -> Statement {
    for change in changes {
        let attempt = &change.result.attempt;
        insert = insert.bind(change.result.delivery_id.to_string()).bind(attempt.number);
        insert = insert.bind(attempt.id.to_string()).bind(attempt.started_at.0).bind(attempt.duration_ms);
        insert = insert.bind(attempt.response_status.map(i32::from));
        insert = insert.bind(attempt.failure_code.map(FailureCode::as_str));
        insert = insert.bind(attempt.failure_message.as_deref());
        insert = insert.bind(attempt.response_headers.as_ref().map(ResponseHeaders::as_str));
        insert = insert.bind(attempt.response_body.as_deref()).bind(attempt.address.as_deref());
    }
    insert
}
