//! Live streams where several processes accept events.

use std::time::Duration;

use k_webhooks::{
    entropy::Entropy,
    id::{EventId, IdSource},
};
use sqlx::Connection as _;

use super::suite::database;
use crate::support::{TestApp, charge, engine::Postgres, id, process::Process, stream::Stream};

#[tokio::test]
async fn what_one_process_accepts_comes_in_the_streams_of_another() {
    let database = database().await;
    let (one, other) = (Process::start(database.serve()).await, Process::start(database.serve()).await);
    let mut stream = Stream::open(&other.merchant().await, "").await;
    for process in [&one, &other, &one] {
        let event = process.internal().post("/v1/events", charge()).await.expect(201);
        assert_eq!(stream.ids(1).await, [id(&event)]);
    }
}

#[tokio::test]
async fn an_event_that_is_committed_after_a_later_one_is_told_once_and_found_again_by_who_resumes() {
    let app = TestApp::<Postgres>::start().await;
    let mut stream = Stream::open(&app.public, "").await;
    let before = app.publish(charge()).await;
    assert_eq!(stream.ids(1).await, [id(&before)]);

    // Made by a process whose clock is behind, and whose commit takes its time.
    let now = app.foundation.clock.now();
    let late: EventId = IdSource::new(Entropy::os()).next(now.minus(Duration::from_secs(1)));
    let mut connection = sqlx::PgConnection::connect(&app.database.url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let body = format!(r#"{{"id":"{late}","data":{{}}}}"#);
    sqlx::query("INSERT INTO events VALUES ($1, 'm_1', false, 'charge.succeeded', $2, $3)")
        .bind(late.to_string())
        .bind(now.0)
        .bind(body.as_bytes())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let after = app.publish(charge()).await;
    let told = stream.next().await.unwrap();
    assert_eq!(told.id.as_deref(), Some(id(&after)));
    transaction.commit().await.unwrap();
    let told = stream.next().await.unwrap();
    assert_eq!(
        (id(&told.data), told.id),
        (late.to_string().as_str(), None),
        "who resumes goes on behind the last"
    );

    let last = app.publish(charge()).await;
    assert_eq!(stream.ids(1).await, [id(&last)], "nothing is told twice");
    let mut resumed = Stream::open(&app.public, &format!("?starting_after={}", id(&after))).await;
    assert_eq!(resumed.ids(3).await, [late.to_string().as_str(), id(&before), id(&last)]);
    app.stop().await;
}
