//! What can go wrong with every operation: by its method, its parameters, and whether it asks for a key.

use serde_json::json;
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
        header::Header, path::Operation, schema::Schema,
    },
};

use super::{REQUEST_ID, header};
use crate::http::error::{Error, Problem};

pub(super) const RETRY_AFTER: &str = "Retry-After";

/// An error: its status, its name among the components, what it means, and an example of what it says.
struct Known(u16, &'static str, &'static str, &'static str, &'static str);

const KNOWN: &[Known] = &[
    Known(
        400,
        "BadRequest",
        "The request cannot be met as it is; `details.fieldErrors` names every bad field.",
        "invalid_request_error",
        "Validation failed.",
    ),
    Known(
        401,
        "Unauthorized",
        "There is no key, or it opens nothing here.",
        "authentication_error",
        "The API key is not valid.",
    ),
    Known(
        403,
        "Forbidden",
        "A page asks with a session: one of the portal that is for reading only, or the page is another site's.",
        "invalid_request_error",
        "This portal session is for reading only.",
    ),
    Known(
        404,
        "NotFound",
        "There is no such thing, or it is another's.",
        "not_found",
        "No such event: evt_01jxf6z2zre4rr3h5t8y5j0v6q",
    ),
    Known(
        408,
        "Timeout",
        "The body did not arrive in time.",
        "invalid_request_error",
        "The body did not arrive in time.",
    ),
    Known(
        413,
        "TooLarge",
        "The body is too large.",
        "invalid_request_error",
        "The body is larger than 65536 bytes.",
    ),
    Known(
        415,
        "NotJson",
        "The body is not called JSON.",
        "invalid_request_error",
        "The body must be JSON, with Content-Type: application/json.",
    ),
    Known(
        429,
        "TooManyRequests",
        "Too many requests with this key, or too many failed authentications from this address.",
        "rate_limit_error",
        "Too many requests with this key.",
    ),
    Known(
        500,
        "InternalError",
        "Something went wrong on our side. It is safe to try again.",
        "internal_error",
        "Something went wrong on our side. It is safe to try again.",
    ),
    Known(
        503,
        "Unavailable",
        "The service cannot do this right now. Try again.",
        "internal_error",
        "The service cannot do this right now. Try again.",
    ),
];

/// Whether an operation can fail so.
fn can(status: u16, path: &str, method: &str, operation: &Operation) -> bool {
    let takes_body = matches!(method, "post" | "patch");
    let has = |wanted: &str| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == wanted))
    };
    let open = operation.security.is_some();
    match status {
        400 => takes_body || path.contains('{') || operation.parameters.is_some(),
        401 | 403 | 429 => !open,
        // Those that name something in their body say so themselves.
        404 => {
            let says_so = operation.responses.responses.contains_key("404");
            says_so || has("id") || has("key") || has("starting_after") || has("webhook_endpoint")
        }
        408 | 413 | 415 => takes_body,
        _ => true,
    }
}

/// Adds the errors that every such operation has.
pub(super) fn add(path: &str, method: &str, operation: &mut Operation) {
    for Known(status, name, ..) in KNOWN {
        if can(*status, path, method, operation) {
            let reference = RefOr::Ref(Ref::from_response_name(*name));
            operation.responses.responses.insert(status.to_string(), reference);
        }
    }
}

pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![
        (Error::name().into_owned(), Error::schema()),
        (Problem::name().into_owned(), Problem::schema()),
    ];
    Error::schemas(&mut schemas);
    Problem::schemas(&mut schemas);
    schemas
}

/// The errors, by their names among the components.
pub(super) fn responses() -> impl Iterator<Item = (&'static str, Response)> {
    KNOWN.iter().map(|known| (known.1, response(known)))
}

fn response(Known(status, _, description, kind, message): &Known) -> Response {
    let id = "req_01jxf6z2zre4rr3h5t8y5j0v6q";
    let mut error = json!({ "error": { "type": kind, "message": message, "request_id": id } });
    if *status == 400 {
        error["error"]["details"] = json!({ "fieldErrors": { "limit": ["must be from 1 to 100"] } });
    }
    let content = |schema: &str| ContentBuilder::new().schema(Some(Ref::from_schema_name(schema)));
    let response = ResponseBuilder::new()
        .description(*description)
        .content("application/json", content(&Error::name()).example(Some(error)).build())
        .content("application/problem+json", content(&Problem::name()).build())
        .header_ref(REQUEST_ID, header(REQUEST_ID));
    match status {
        429 | 503 => response.header_ref(RETRY_AFTER, header(RETRY_AFTER)).build(),
        _ => response.build(),
    }
}

pub(super) fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let description = "When to try again, in seconds.";
    HeaderBuilder::new().schema(Some(seconds)).description(Some(description)).build()
}
