//! What processes tell each other, over `NOTIFY`: outside of every transaction that stores something, because a commit that
//! notifies takes a lock over the whole database.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{
    Executor as _, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use super::{lost, within};
use crate::{
    id::ProcessId,
    store::{Listen, News, Result},
};

const CHANNEL: &str = "k_webhooks";
const DUE: &str = "due";
const BACKFILL: &str = "backfill";

/// A connection on which nothing came for so long is asked whether it still lives.
const QUIET: Duration = Duration::from_secs(60);

pub(super) async fn announce(connection: &mut PgConnection, sender: ProcessId, news: &[News]) -> Result<()> {
    let payloads: Vec<String> = news.iter().map(|news| payload(sender, news)).collect();
    let notify = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2) AS payload");
    notify.bind(CHANNEL).bind(payloads).execute(connection).await?;
    Ok(())
}

fn payload(sender: ProcessId, news: &News) -> String {
    match news {
        News::Due => format!("{sender} {DUE}"),
        News::Backfill => format!("{sender} {BACKFILL}"),
        News::EndpointChanged(id) => format!("{sender} {id}"),
    }
}

/// What a payload says; none where it is this process's own, or another version of the program says something new.
fn read(payload: &str, listener: ProcessId) -> Option<News> {
    let (sender, news) = payload.split_once(' ')?;
    if sender.parse() == Ok(listener) {
        return None;
    }
    match news {
        DUE => Some(News::Due),
        BACKFILL => Some(News::Backfill),
        id => id.parse().ok().map(News::EndpointChanged),
    }
}

pub(super) struct Listener {
    connection: PgListener,
    /// Whose news are not news.
    own: ProcessId,
    /// How long an answer may take.
    deadline: Duration,
}

impl Listener {
    pub(super) async fn start(
        options: &PgConnectOptions,
        own: ProcessId,
        deadline: Duration,
    ) -> Result<Self> {
        // A pool of its own each time: a connection that hangs as it is given back keeps its place.
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
        let start = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        Ok(Self { connection: within(deadline, start).await?, own, deadline })
    }
}

#[async_trait]
impl Listen for Listener {
    async fn next(&mut self) -> Result<News> {
        loop {
            match tokio::time::timeout(QUIET, self.connection.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if let Some(news) = read(notification.payload(), self.own) {
                        return Ok(news);
                    }
                }
                Ok(Ok(None)) => return Err(lost("the connection was lost")),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    let alive = async { Ok(self.connection.execute("SELECT 1").await?) };
                    within(self.deadline, alive).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::UnixMs, entropy::Entropy, id::IdSource};

    #[test]
    fn what_is_announced_is_what_others_read() {
        let ids = IdSource::new(Entropy::os());
        let (own, other) = (ids.next(UnixMs(0)), ids.next(UnixMs(0)));
        for news in [News::Due, News::Backfill, News::EndpointChanged(ids.next(UnixMs(0)))] {
            assert_eq!(read(&payload(other, &news), own), Some(news));
            assert_eq!(read(&payload(own, &news), own), None);
        }
        assert_eq!(read(&format!("{other} of a later version"), own), None);
    }
}
