//! The parameters of a path, which may be no text at all.

use axum::{
    extract::{FromRequestParts, Path as AnyPath},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// What stands in the path, percent-decoded.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = AnyPath::<T>::from_request_parts(parts, state).await;
        path.map(|AnyPath(value)| Self(value)).map_err(|rejection| {
            // What is left are routes whose handlers ask for other parameters than there are.
            if rejection.status().is_server_error() {
                ApiError::internal(rejection)
            } else {
                ApiError::bad_request("The path must be percent-encoded UTF-8.")
            }
        })
    }
}
