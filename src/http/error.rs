//! Errors as users see them: made by constructors that read as sentences, rendered and logged in one place.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{id::RequestId, ingest::IngestError, metrics::Refusal, store::StoreError, words::words};

/// Messages by the field they are about: enough of them to mend a request, and no more than that, whatever somebody sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct FieldErrors(BTreeMap<String, Vec<String>>);

impl FieldErrors {
    /// How many fields are named at most.
    const FIELDS_MAX: usize = 50;

    /// How many characters of a name are shown: no field's own name is longer.
    const NAME_CHARS_MAX: usize = 100;

    /// Adds what is wrong with a field.
    pub(super) fn add(&mut self, name: &str, message: impl Into<String>) {
        let mut shown: String = name.chars().take(Self::NAME_CHARS_MAX).collect();
        if shown.len() < name.len() {
            shown.push('…');
        }
        if self.0.len() < Self::FIELDS_MAX || self.0.contains_key(&shown) {
            let messages = self.0.entry(shown).or_default();
            if messages.len() < Self::FIELDS_MAX {
                messages.push(message.into());
            }
        }
    }

    /// Takes over what is wrong with other fields.
    pub(super) fn absorb(&mut self, other: Self) {
        for (name, messages) in other.0 {
            for message in messages {
                self.add(&name, message);
            }
        }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

words! {
    /// What kind of error it is.
    ErrorType {
        /// The request must be changed.
        InvalidRequest "invalid_request_error",
        /// The key is missing, or opens nothing here.
        Authentication "authentication_error",
        /// There is no such thing, or it is another's.
        NotFound "not_found",
        /// Too many requests; `Retry-After` says when to try again.
        RateLimit "rate_limit_error",
        /// Something went wrong on our side; it is safe to try again.
        Internal "internal_error",
    }
}

/// The one form of errors.
#[derive(Serialize, ToSchema)]
pub(super) struct Error<'a> {
    error: ErrorBody<'a>,
}

/// What was refused or failed.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody<'a> {
    #[serde(rename = "type")]
    kind: ErrorType,
    /// What is wrong, for people.
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    details: Option<Details<'a>>,
    request_id: RequestId,
}

/// Every bad field at once.
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorDetails)]
pub(super) struct Details<'a> {
    /// What is wrong with each, by the path of the field in the body, or by the name of the parameter.
    #[serde(rename = "fieldErrors")]
    #[schema(value_type = std::collections::HashMap<String, Vec<String>>)]
    field_errors: &'a FieldErrors,
}

/// An error as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// Always `about:blank`: the status says all.
    #[serde(rename = "type")]
    #[schema(examples("about:blank"))]
    kind: &'static str,
    /// The status in words.
    #[schema(examples("Bad Request"))]
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599, examples(400))]
    status: u16,
    /// What is wrong, for people.
    detail: &'a str,
    /// The path that was asked for.
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    details: Option<Details<'a>>,
    request_id: RequestId,
}

/// A request that was refused or failed.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    field_errors: FieldErrors,
    retry_after: Option<Duration>,
    /// Why it is to come back later.
    refusal: Option<Refusal>,
    /// What went wrong inside; it is logged and never shown.
    cause: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            message,
            field_errors: FieldErrors::default(),
            retry_after: None,
            refusal: None,
            cause: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn validation(field_errors: FieldErrors) -> Self {
        Self { field_errors, ..Self::bad_request("Validation failed.") }
    }

    pub(super) fn bad_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut errors = FieldErrors::default();
        errors.add(&field.into(), message);
        Self::validation(errors)
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

    pub(super) fn rate_limited(message: &str, wait: Duration) -> Self {
        let refusal = Some(Refusal::OtherRate);
        Self { retry_after: Some(wait), refusal, ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// Says more precisely why it is to come back later.
    pub(super) fn because(self, refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..self }
    }

    pub(super) fn internal(cause: impl Display) -> Self {
        let message = "Something went wrong on our side. It is safe to try again.";
        Self { cause: Some(cause.to_string()), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, message) }
    }

    pub(super) fn unavailable(cause: impl Display) -> Self {
        let message = "The service cannot do this right now. Try again.";
        Self {
            retry_after: Some(Duration::from_secs(1)),
            refusal: Some(Refusal::Other),
            cause: Some(cause.to_string()),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    fn kind(&self) -> ErrorType {
        match self.status {
            StatusCode::UNAUTHORIZED => ErrorType::Authentication,
            StatusCode::NOT_FOUND => ErrorType::NotFound,
            StatusCode::TOO_MANY_REQUESTS => ErrorType::RateLimit,
            status if status.is_server_error() => ErrorType::Internal,
            _ => ErrorType::InvalidRequest,
        }
    }

    fn details(&self) -> Option<Details<'_>> {
        (!self.field_errors.is_empty()).then_some(Details { field_errors: &self.field_errors })
    }

    fn envelope(&self, request_id: RequestId) -> Error<'_> {
        let (kind, details) = (self.kind(), self.details());
        Error { error: ErrorBody { kind, message: &self.message, details, request_id } }
    }

    fn problem<'a>(&'a self, request_id: RequestId, path: &'a str) -> Problem<'a> {
        Problem {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.message,
            instance: path,
            details: self.details(),
            request_id,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.passes() {
            Self::unavailable(error).because(Refusal::Database)
        } else {
            Self::internal(error)
        }
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Store(error) => error.into(),
            IngestError::Overloaded => Self::unavailable(error).because(Refusal::AcceptQueue),
            IngestError::Conflict { .. } => Self::bad_field("idempotency_key", IDEMPOTENCY_CONFLICT),
        }
    }
}

pub(super) const IDEMPOTENCY_CONFLICT: &str = "was used before for another event";

impl IntoResponse for ApiError {
    /// A bare status that carries the error to the outermost layer, which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl ApiError {
    /// What is logged, where something went wrong inside.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What is counted, where it is to come back later.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// The response as it is sent.
    pub(super) fn render(&self, request_id: RequestId, path: &str, wants_problem: bool) -> Response {
        let (content_type, body) = if wants_problem {
            ("application/problem+json", serde_json::to_vec(&self.problem(request_id, path)))
        } else {
            ("application/json", serde_json::to_vec(&self.envelope(request_id)))
        };
        // Texts and numbers are always JSON.
        let mut response = Response::new(Body::from(body.unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
