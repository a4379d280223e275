//! A console session as a request shows it: by a cookie, which no script can read, and by its id in a header of its own,
//! which no other site can send, and which keeps a page of one session from acting for another.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{
    Api,
    browser::{self, is_from_own_page},
    client_address::client_network,
    error::ApiError,
};
use crate::{api_key::KeyKind, clock::UnixMs, console::ConsoleSession};

/// The header with the session's id.
const SESSION: HeaderName = HeaderName::from_static("k-webhooks-console");

/// Where a page asks by https, the prefix binds the cookie to this host and to no path.
const SECURE_COOKIE: &str = "__Host-k-webhooks-console";
const COOKIE: &str = "k-webhooks-console";

/// Whether a request says that it comes from a page of the console.
pub(super) fn is_named(parts: &Parts) -> bool {
    parts.headers.contains_key(SESSION)
}

/// The session of a request to the API.
pub(super) async fn find_named(api: &Api, parts: &Parts) -> Result<ConsoleSession, ApiError> {
    let session = find(api, parts).await?;
    if parts.headers.get(SESSION).is_none_or(|named| named.as_bytes() != session.id.to_string().as_bytes()) {
        return Err(ApiError::unauthenticated("Another console session was opened in this browser."));
    }
    Ok(session)
}

/// The session whose cookie a request brings. What changes something must come from a page of the console itself.
pub(super) async fn find(api: &Api, parts: &Parts) -> Result<ConsoleSession, ApiError> {
    let ended = || ApiError::unauthenticated("There is no console session, or it has ended.");
    let cookie = cookie(&parts.headers).filter(|_| api.config.console.enabled).ok_or_else(ended)?;
    let (limiter, foundation) = (&api.rate_limiter, &api.foundation);
    let from = client_network(&parts.extensions, &parts.headers, &api.config.server.trusted_proxies);
    let hash = foundation.hasher.hash(&cookie);
    limiter.admit(from, &hash)?;
    let found = if KeyKind::of(&cookie) == Some(KeyKind::ConsoleCookie) {
        let bootstrap = api.config.internal.bootstrap_key.expose_secret();
        let bootstrap = (!bootstrap.is_empty()).then(|| foundation.hasher.hash(bootstrap));
        foundation.store.find_console_session(&hash, bootstrap.as_ref(), foundation.clock.now()).await?
    } else {
        None
    };
    let Some(session) = found else {
        limiter.failed(from);
        return Err(ended());
    };
    limiter.succeeded(hash);
    expect_own_page(parts)?;
    Ok(session)
}

/// Refuses a request that another site's page has a browser make. The console has no configured address: its own origin is
/// that of the host which the request is for.
pub(super) fn expect_own_page(parts: &Parts) -> Result<(), ApiError> {
    let host = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| parts.headers.get(header::HOST).map(HeaderValue::as_bytes));
    let is_own = |origin: &[u8]| {
        let asking =
            [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
        asking.is_some() && asking == host
    };
    if is_from_own_page(&parts.method, &parts.headers, is_own) {
        Ok(())
    } else {
        Err(ApiError::forbidden("This is for pages of the console itself."))
    }
}

fn cookie(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    [SECURE_COOKIE, COOKIE].into_iter().find_map(|name| browser::cookie(headers, name))
}

/// Whether the page that asks came by https, from here or from a proxy in front.
pub(super) fn is_secure(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// The cookie of a session that was opened.
pub(super) fn set_cookie(
    cookie: &SecretString,
    session: &ConsoleSession,
    secure: bool,
    now: UnixMs,
) -> Result<HeaderValue, ApiError> {
    let left = session.expires_at.seconds() - now.seconds();
    with_attributes(cookie.expose_secret(), left, secure)
}

/// What makes a browser forget the cookie, whichever it is.
pub(super) fn forget_cookies() -> Result<[HeaderValue; 2], ApiError> {
    Ok([with_attributes("", 0, false)?, with_attributes("", 0, true)?])
}

fn with_attributes(value: &str, max_age: i64, secure: bool) -> Result<HeaderValue, ApiError> {
    let (name, attributes) =
        if secure { (SECURE_COOKIE, "; SameSite=Strict; Secure") } else { (COOKIE, "; SameSite=Strict") };
    browser::set_cookie(name, value, max_age, attributes)
}
