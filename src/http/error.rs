//! Errors as users see them: made by constructors that read as sentences, rendered and logged in one place.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{clock::Clock, id::IdSource, id::RequestId, ingest::IngestError, store::StoreError};

/// Messages by the field they are about.
pub(super) type FieldErrors = BTreeMap<String, Vec<String>>;

/// A request that was refused or failed.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    field_errors: FieldErrors,
    retry_after: Option<Duration>,
    /// What went wrong inside; it is logged and never shown.
    cause: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, field_errors: FieldErrors::new(), retry_after: None, cause: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn validation(field_errors: FieldErrors) -> Self {
        Self { field_errors, ..Self::bad_request("Validation failed.") }
    }

    pub(super) fn bad_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::validation([(field.into(), vec![message.into()])].into())
    }

    pub(super) fn no_such(what: &str, id: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("No such {what}: {id}"))
    }

    /// The same for something that was not asked for by its id: the request cannot be met, but its object is there.
    pub(super) fn into_bad_request(self) -> Self {
        if self.status == StatusCode::NOT_FOUND {
            Self { status: StatusCode::BAD_REQUEST, ..self }
        } else {
            self
        }
    }

    pub(super) fn no_such_route(method: &impl Display, path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Unrecognized request URL ({method} {path})."))
    }

    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(super) fn rate_limited(wait: Duration) -> Self {
        let message = "Too many requests with this key; wait and try again.";
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    pub(super) fn internal(cause: impl Display) -> Self {
        let message = "Something went wrong on our side. It is safe to try again.";
        Self { cause: Some(cause.to_string()), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, message) }
    }

    pub(super) fn unavailable(cause: impl Display) -> Self {
        let message = "The service cannot do this right now. Try again.";
        Self {
            retry_after: Some(Duration::from_secs(1)),
            cause: Some(cause.to_string()),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "internal_error",
            _ => "invalid_request_error",
        }
    }

    fn details(&self) -> Option<Value> {
        (!self.field_errors.is_empty()).then(|| json!({ "fieldErrors": self.field_errors }))
    }

    fn envelope(&self, request_id: &str) -> Value {
        let mut error = json!({ "type": self.kind(), "message": self.message, "request_id": request_id });
        if let Some(details) = self.details() {
            error["details"] = details;
        }
        json!({ "error": error })
    }

    /// RFC 9457.
    fn problem(&self, request_id: &str, path: &str) -> Value {
        let mut problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.message,
            "instance": path,
            "request_id": request_id,
        });
        if let Some(details) = self.details() {
            problem["details"] = details;
        }
        problem
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.passes() { Self::unavailable(error) } else { Self::internal(error) }
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Store(error) => error.into(),
            IngestError::Overloaded => Self::unavailable(error),
            IngestError::Conflict { .. } => Self::bad_field("idempotency_key", IDEMPOTENCY_CONFLICT),
        }
    }
}

pub(super) const IDEMPOTENCY_CONFLICT: &str = "was used before for another event";

impl IntoResponse for ApiError {
    /// A bare status that carries the error to `render`, which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every response its request id, and every error its body.
pub(super) async fn render(ids: &IdSource, clock: &Clock, request: Request, next: Next) -> Response {
    let request_id: RequestId = ids.next(clock.now());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let wants_problem = request
        .headers()
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/problem+json")));
    // In a task of its own: a client that hangs up cannot stop a transaction half-way, and a panic ends here.
    let handled = tokio::spawn(async move { next.run(request).await }).await;
    let mut response = handled.unwrap_or_else(|panic| ApiError::internal(panic).into_response());
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && response.extensions().get::<ApiError>().is_none()
    {
        let error = ApiError::new(response.status(), format!("{path} does not answer {method}."));
        response.extensions_mut().insert(error);
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if let Some(cause) = &error.cause {
            tracing::error!(%request_id, %method, path, cause, status = error.status.as_u16(), "request failed");
        }
        let id = request_id.to_string();
        let (content_type, body) = if wants_problem {
            ("application/problem+json", error.problem(&id, &path))
        } else {
            ("application/json", error.envelope(&id))
        };
        *response.body_mut() = Body::from(body.to_string());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(wait) = error.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if error.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        response.headers_mut().insert("request-id", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, middleware, routing::get};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::entropy::Entropy;

    #[tokio::test]
    async fn a_panic_is_a_500_in_the_envelope_and_the_connection_lives_on() {
        let ids = Arc::new(IdSource::new(Entropy::os()));
        let boom = || async {
            assert!(std::hint::black_box(false), "a secret of the inside");
        };
        let router = Router::new().route("/boom", get(boom)).route("/fine", get(async || "fine")).layer(
            middleware::from_fn(move |request, next| {
                let ids = Arc::clone(&ids);
                async move { render(&ids, &Clock::system(), request, next).await }
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(crate::http::serve(listener, router, CancellationToken::new(), Duration::ZERO));
        let mut connection = TcpStream::connect(address).await.unwrap();
        let mut ask = async |path: &str, end: &str| {
            connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !String::from_utf8_lossy(&answer).ends_with(end) {
                assert!(connection.read_buf(&mut answer).await.unwrap() > 0, "the connection was closed");
            }
            String::from_utf8(answer).unwrap()
        };
        let failed = ask("/boom", "}}").await;
        assert!(failed.starts_with("HTTP/1.1 500 ") && failed.contains("internal_error"), "{failed}");
        assert!(!failed.contains("a secret of the inside"), "{failed}");
        let fine = ask("/fine", "fine").await;
        assert!(fine.starts_with("HTTP/1.1 200 ") && fine.contains("request-id: req_"), "{fine}");
    }
}
