//! Verified events as arguments of axum's handlers.

use axum_core::{
    body::Body,
    extract::{FromRef, FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::StatusCode;

use crate::{Event, ReceiveError, SIGNATURE_HEADER, Verifier};

/// An event whose signature holds. The router's state is a [`Verifier`], or has one ([`FromRef`]).
///
/// ```
/// # use axum::{Router, http::StatusCode, routing::post};
/// # use k_payments_webhooks::{SigningSecret, Verified, Verifier};
/// async fn receive(Verified(event): Verified) -> StatusCode {
///     println!("{} {}", event.event_type, event.id);
///     StatusCode::NO_CONTENT
/// }
///
/// # let secret = SigningSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
/// let router: Router = Router::new().route("/hooks", post(receive)).with_state(Verifier::new(secret));
/// ```
#[derive(Clone, Debug)]
pub struct Verified(pub Event);

/// A request that was not taken. As an answer: 400 with the reason's name as its text, or 413 for a body that is too large.
#[derive(Debug)]
pub enum Refused {
    /// Its signature does not hold, or it is no event.
    NotVerified(ReceiveError),
    /// Its body cannot be read.
    Unreadable(Response),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::NotVerified(reason) => (StatusCode::BAD_REQUEST, reason.code()).into_response(),
            Self::Unreadable(response) => response,
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Verified
where
    Verifier: FromRef<S>,
{
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Refused> {
        // As a proxy would join them, so that a second header is not passed over.
        let headers = request.headers().get_all(SIGNATURE_HEADER).into_iter();
        let headers: Vec<_> = headers.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let header = headers.join(",");
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| Refused::Unreadable(rejection.into_response()))?;
        let event = Verifier::from_ref(state).construct_event(&body, Some(&header));
        event.map(Self).map_err(Refused::NotVerified)
    }
}
