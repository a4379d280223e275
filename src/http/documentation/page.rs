//! The page that shows the document, and the document itself. It works offline: all that it loads comes from here.
//! `redoc/README.md` says what the script is and where it comes from.

use axum::{
    http::{HeaderValue, header},
    response::{Html, IntoResponse},
};
use bytes::Bytes;

use crate::http::routes::Routes;

/// As compressed as it is kept: what takes no gzip is no browser.
const SCRIPT: &[u8] = include_bytes!("redoc/redoc.standalone.js.gz");

/// With its version in it, so that browsers can keep it.
const SCRIPT_PATH: &str = "/docs/redoc-2.5.4.js";

/// Redoc makes its styles in the page, and searches in a worker that it makes of a text.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
     worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The document, and the page with what belongs to it.
pub(crate) fn pages(document: Bytes) -> Routes {
    Routes::new()
        .get("/openapi.json", async move || ([(header::CONTENT_TYPE, "application/json")], document.clone()))
        .get("/docs", page)
        .get(SCRIPT_PATH, script)
}

async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("page.html")))
}

async fn script() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CONTENT_ENCODING, "gzip"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, SCRIPT)
}
