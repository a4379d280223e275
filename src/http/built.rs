//! The pages that are part of the binary: their files, built from `portal/`, as browsers take them.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;

use super::error::ApiError;

include!(concat!(env!("OUT_DIR"), "/portal.rs"));

/// A built file has a name of its own content.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A page, which runs its own scripts and nothing else. `frame_ancestors` may frame it.
pub(super) fn page(name: &str, headers: &HeaderMap, frame_ancestors: &str) -> Result<Response, ApiError> {
    let mut response =
        file(name, headers).ok_or_else(|| ApiError::internal(format!("{name} was not built")))?;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {frame_ancestors}"
    );
    let policy = HeaderValue::try_from(policy).map_err(ApiError::internal)?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// A script, a style or a picture of a page.
pub(super) fn asset(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let name = format!("assets/{name}");
    let mut response = file(&name, headers).ok_or_else(|| ApiError::no_such("file", &name))?;
    response.headers_mut().insert(header::CACHE_CONTROL, FOR_EVER);
    Ok(response)
}

/// A built file, in the smallest form that the browser takes.
fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    let find = |name: &str| FILES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes);
    let content_type = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let accepted: Vec<&str> = accepted
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let mut forms =
        [("br", "br"), ("gz", "gzip")].into_iter().filter(|(_, coding)| accepted.contains(coding));
    let compressed = forms.find_map(|(suffix, coding)| Some((find(&format!("{name}.{suffix}"))?, coding)));
    let (bytes, coding) = match compressed {
        Some((bytes, coding)) => (bytes, Some(coding)),
        None => (find(name)?, None),
    };
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    Some(response)
}
