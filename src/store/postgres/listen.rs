//! What processes tell each other, over `NOTIFY`: outside of every transaction that stores something, because a commit that
//! notifies takes a lock over the whole database.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Executor as _, PgConnection, PgPool, postgres::PgListener};

use crate::store::{Listen, News, Result};

const CHANNEL: &str = "k_webhooks";
const DUE: &str = "due";

/// A connection on which nothing came for so long is asked whether it still lives.
const QUIET: Duration = Duration::from_secs(60);

pub(super) async fn announce(connection: &mut PgConnection, news: &[News]) -> Result<()> {
    let payloads: Vec<String> = news.iter().map(payload).collect();
    let notify = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2) AS payload");
    notify.bind(CHANNEL).bind(payloads).execute(connection).await?;
    Ok(())
}

fn payload(news: &News) -> String {
    match news {
        News::Due => DUE.to_owned(),
        News::EndpointChanged(id) => id.to_string(),
    }
}

/// What a payload says; none where another version of the program says something new.
fn read(payload: &str) -> Option<News> {
    if payload == DUE { Some(News::Due) } else { payload.parse().ok().map(News::EndpointChanged) }
}

pub(super) struct Listener {
    listener: PgListener,
    /// How long an answer may take.
    deadline: Duration,
}

impl Listener {
    pub(super) async fn start(pool: &PgPool, deadline: Duration) -> Result<Self> {
        let start = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        Ok(Self { listener: within(deadline, start).await?, deadline })
    }
}

#[async_trait]
impl Listen for Listener {
    async fn next(&mut self) -> Result<News> {
        loop {
            match tokio::time::timeout(QUIET, self.listener.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if let Some(news) = read(notification.payload()) {
                        return Ok(news);
                    }
                }
                Ok(Ok(None)) => return Err(lost("the connection was lost").into()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    within(self.deadline, self.listener.execute("SELECT 1")).await?;
                }
            }
        }
    }
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = std::result::Result<T, sqlx::Error>>,
) -> std::result::Result<T, sqlx::Error> {
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| Err(lost("no answer in time")))
}

fn lost(why: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::UnixMs, entropy::Entropy, id::IdSource};

    #[test]
    fn what_is_announced_is_what_is_read() {
        let id = IdSource::new(Entropy::os()).next(UnixMs(0));
        for news in [News::Due, News::EndpointChanged(id)] {
            assert_eq!(read(&payload(&news)), Some(news));
        }
        assert_eq!(read("of a later version"), None);
    }
}
