//! What operators watch, for Prometheus to read. Without a key, like the health checks: it tells of no merchant, and belongs
//! to a listener that only the operator's own network reaches.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use tokio::sync::Mutex;

use super::{Api, error::ApiError, routes::Routes};
use crate::metrics::{self, OPEN_METRICS, PLAIN};

/// How long the database may take to say how much is open.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// How long what was seen holds: several that scrape, or one that does so too often, ask the database no more than this.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn router() -> Routes {
    Routes::new().get("/metrics", metrics)
}

async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<impl IntoResponse, ApiError> {
    api.metrics.show(&api.watch.look(&api).await);
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let open_metrics = accepted.into_iter().any(|accept| accept.contains("application/openmetrics-text"));
    let content_type = if open_metrics { OPEN_METRICS } else { PLAIN };
    let text = api.metrics.text(open_metrics).map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, content_type)], text))
}

/// How things stood when was last looked, and when that was.
#[derive(Default)]
pub(super) struct Watch(Mutex<Option<(Instant, metrics::State)>>);

impl Watch {
    /// How things stand, or did a moment ago.
    pub(super) async fn look(&self, api: &Api) -> metrics::State {
        let mut seen = self.0.lock().await;
        // On the test clock nothing happens by itself: whoever asks has just changed something.
        if api.test_clock.is_none()
            && let Some((at, state)) = &*seen
            && at.elapsed() < LOOK_INTERVAL
        {
            return state.clone();
        }
        let (store, now) = (&api.foundation.store, api.foundation.clock.now());
        let queue = tokio::time::timeout(LOOK_DEADLINE, store.queue_depth(now)).await;
        let state = metrics::State {
            now,
            queue: queue.ok().and_then(Result::ok),
            pools: store.pools(),
            lanes: api.dispatcher.lane_use(),
            hears_others: api.dispatcher.is_hearing(),
            accept_queue: api.ingest.waiting(),
            streams: api.dispatcher.feed().streams(),
        };
        *seen = Some((Instant::now(), state.clone()));
        state
    }
}
