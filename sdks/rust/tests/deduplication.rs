//! Each event is processed once, in memory and in a database.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use k_payments_webhooks::{Deduplicator as _, MemoryDeduplicator};
use sqlx::sqlite::SqlitePoolOptions;

#[path = "../recipes/sqlx_deduplicator.rs"]
mod sqlx_deduplicator;

use sqlx_deduplicator::{CREATE_TABLE, SqlDeduplicator};

#[derive(Debug, PartialEq)]
enum Failure {
    OfTheWork,
    OfTheDatabase,
}

impl From<Infallible> for Failure {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<sqlx::Error> for Failure {
    fn from(_: sqlx::Error) -> Self {
        Self::OfTheDatabase
    }
}

#[tokio::test]
async fn in_memory_an_event_is_processed_once_and_again_after_work_that_failed() {
    let memory = MemoryDeduplicator::default();
    let process = async |succeeds: bool| {
        let outcome = if succeeds { Ok(()) } else { Err(Failure::OfTheWork) };
        memory.process_once("evt_1", |()| Box::pin(std::future::ready(outcome))).await
    };
    assert_eq!(process(false).await, Err(Failure::OfTheWork));
    assert_eq!(process(true).await, Ok(true));
    assert_eq!(process(true).await, Ok(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deliveries_at_the_same_time_do_not_both_run_the_work() {
    let (memory, runs) = (Arc::new(MemoryDeduplicator::default()), Arc::new(AtomicUsize::new(0)));
    let deliveries: Vec<_> = (0..50)
        .map(|_| {
            let (memory, runs) = (Arc::clone(&memory), Arc::clone(&runs));
            tokio::spawn(async move {
                let ran = memory.process_once("evt_1", |()| {
                    Box::pin(async move {
                        tokio::task::yield_now().await;
                        runs.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(())
                    })
                });
                ran.await.unwrap()
            })
        })
        .collect();
    let mut ran = 0;
    for delivery in deliveries {
        ran += usize::from(delivery.await.unwrap());
    }
    assert_eq!((ran, runs.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn in_memory_the_oldest_events_are_forgotten_first() {
    let memory = MemoryDeduplicator::new(2);
    let process = async |id: &str| {
        memory.process_once(id, |()| Box::pin(std::future::ready(Ok::<_, Infallible>(())))).await.unwrap()
    };
    assert!(process("evt_1").await && process("evt_2").await && process("evt_3").await);
    assert!(!process("evt_3").await && !process("evt_2").await);
    assert!(process("evt_1").await);
}

#[tokio::test]
async fn in_a_database_the_mark_and_the_work_are_kept_or_lost_together() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/receiver.db?mode=rwc", folder.path().display());
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    sqlx::query(CREATE_TABLE).execute(&pool).await.unwrap();
    sqlx::query("CREATE TABLE shipped (charge TEXT)").execute(&pool).await.unwrap();
    let database = SqlDeduplicator { pool: pool.clone() };
    let process = async |succeeds: bool| {
        let processed = database.process_once("evt_1", |transaction| {
            Box::pin(async move {
                sqlx::query("INSERT INTO shipped VALUES ('ch_1')").execute(&mut **transaction).await?;
                if succeeds { Ok(()) } else { Err(Failure::OfTheWork) }
            })
        });
        processed.await
    };
    assert_eq!(process(false).await, Err(Failure::OfTheWork));
    assert_eq!(process(true).await, Ok(true));
    assert_eq!(process(true).await, Ok(false));
    let shipped: i64 = sqlx::query_scalar("SELECT count(*) FROM shipped").fetch_one(&pool).await.unwrap();
    assert_eq!(shipped, 1);
}
