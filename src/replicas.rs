//! What processes on one database tell each other, so that none has to ask the database all the time.
//!
//! These are hints. Work and its state are in the database, every process looks there by itself from time to time, and a
//! hint that is lost costs that time and nothing else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use crate::{
    backfill::Backfills,
    dispatcher::Dispatcher,
    store::{News, Store},
};

/// After telling: what gathers meanwhile is told at once, so that a busy process tells a few times a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Before listening again after the connection was lost.
const PAUSE_BEFORE_LISTENING: Duration = Duration::from_millis(500);

/// Tells the others what `news` brings, for as long as the process lives. The first of a quiet time is told at once.
pub async fn tell(store: Arc<dyn Store>, mut news: mpsc::UnboundedReceiver<News>) {
    while let Some(first) = news.recv().await {
        let mut gathered = BTreeSet::from([first]);
        while let Ok(more) = news.try_recv() {
            gathered.insert(more);
        }
        let gathered: Vec<News> = gathered.into_iter().collect();
        if let Err(error) = store.announce(&gathered).await {
            tracing::debug!(%error, "the other processes were not told; they find out by themselves");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes on what others tell. While they cannot be heard, due work and backfills are looked for more often.
pub async fn listen(store: Arc<dyn Store>, dispatcher: Dispatcher, backfills: Backfills) {
    let hears_others = |hears| {
        dispatcher.hears_others(hears);
        backfills.hears_others(hears);
    };
    let mut told = false;
    loop {
        let error = match store.listen().await {
            Ok(None) => {
                hears_others(false);
                return;
            }
            Ok(Some(mut listener)) => {
                hears_others(true);
                tracing::info!("listening to the other processes on the database");
                told = false;
                loop {
                    match listener.next().await {
                        Ok(News::Due) => {
                            dispatcher.feed().others_may_have_accepted();
                            dispatcher.wake();
                        }
                        Ok(News::Backfill) => backfills.wake(),
                        Ok(News::EndpointChanged(id)) => dispatcher.withdraw(id),
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        hears_others(false);
        if !told {
            tracing::warn!(%error, "the other processes cannot be heard; due work is looked for every second");
            told = true;
        }
        tokio::time::sleep(PAUSE_BEFORE_LISTENING).await;
    }
}
