//! A receiver behind axum: verifies, then processes once, then answers 2xx.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::post,
};
use k_payments_webhooks::{Deduplicator as _, Event, EventType, MemoryDeduplicator, Verified, Verifier};

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) verifier: Verifier,
    /// In production, one that keeps the mark in the database of the work.
    pub(crate) deduplicator: Arc<MemoryDeduplicator>,
    /// What stands here for the work.
    pub(crate) shipped: Arc<Mutex<Vec<String>>>,
}

impl FromRef<Receiver> for Verifier {
    fn from_ref(receiver: &Receiver) -> Self {
        receiver.verifier.clone()
    }
}

pub(crate) fn router(receiver: Receiver) -> Router {
    Router::new().route("/hooks", post(receive)).with_state(receiver)
}

async fn receive(State(receiver): State<Receiver>, Verified(event): Verified) -> StatusCode {
    let Receiver { deduplicator, shipped, .. } = receiver;
    let id = event.id.clone();
    let processed = deduplicator.process_once(&id, |()| {
        Box::pin(async move {
            process(&event, &shipped);
            Ok::<_, Infallible>(())
        })
    });
    match processed.await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(never) => match never {},
    }
}

/// Passes over what it does nothing with, also what came later than this receiver.
fn process(event: &Event, shipped: &Mutex<Vec<String>>) {
    if event.event_type == EventType::ChargeSucceeded {
        shipped.lock().unwrap().push(event.data.id.clone());
    }
}
