//! What a request says of the browser that makes it: which cookies it has, and whether a page of this service has it ask.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use zeroize::Zeroizing;

use super::error::ApiError;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The value of a cookie.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<Zeroizing<String>> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then(|| Zeroizing::new(value.to_owned()))
    })
}

/// What sets a cookie that no script can read.
pub(super) fn set_cookie(
    name: &str,
    value: &str,
    max_age: i64,
    attributes: &str,
) -> Result<HeaderValue, ApiError> {
    let text = Zeroizing::new(format!("{name}={value}; Path=/; HttpOnly; Max-Age={max_age}{attributes}"));
    let mut header = HeaderValue::try_from(text.as_str()).map_err(ApiError::internal)?;
    header.set_sensitive(true);
    Ok(header)
}

/// Whether no other site's page has a browser make this request: what changes something needs the browser's word, or the
/// `Origin` of browsers that do not say it.
pub(super) fn is_from_own_page(
    method: &Method,
    headers: &HeaderMap,
    is_own_origin: impl FnOnce(&[u8]) -> bool,
) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    match (text(&SEC_FETCH_SITE), text(&header::ORIGIN)) {
        (Some(site), _) => site == b"same-origin",
        (None, Some(origin)) => is_own_origin(origin),
        (None, None) => method.is_safe(),
    }
}

impl ApiError {
    /// The session is known, and may not do this.
    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }
}
