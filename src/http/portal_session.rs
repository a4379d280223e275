//! A portal session as a request shows it: by a cookie, which no script can read, and by its id in a header of its own,
//! which no other site can send. The id is there too so that a page of one session never acts for another that was opened
//! in the same browser later.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, request::Parts};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Api,
    browser::{self, cookie, is_from_own_page},
    client_address::client_network,
    error::ApiError,
};
use crate::{
    api_key::KeyKind,
    clock::UnixMs,
    merchant::Tenant,
    portal::{PortalAccess, PortalSession},
};

/// The header with the session's id.
pub(super) const SESSION: HeaderName = HeaderName::from_static("k-webhooks-portal");

/// Whether a request says that it comes from a page of the portal.
pub(super) fn is_named(parts: &Parts) -> bool {
    parts.headers.contains_key(SESSION)
}

/// The session of a request to the API, inside its merchant's rate limit and allowed to do what it asks for.
pub(super) async fn find_allowed(api: &Api, parts: &Parts) -> Result<PortalSession, ApiError> {
    let session = find(api, parts).await?;
    if parts.headers.get(SESSION).is_none_or(|named| named.as_bytes() != session.id.to_string().as_bytes()) {
        return Err(ApiError::unauthenticated("Another portal session was opened in this browser."));
    }
    if !parts.method.is_safe() && session.access == PortalAccess::ReadOnly {
        return Err(ApiError::forbidden("This portal session is for reading only."));
    }
    Ok(session)
}

/// The session whose cookie a request brings, inside its merchant's rate limit. What changes something must come from a page
/// of the portal itself.
pub(super) async fn find(api: &Api, parts: &Parts) -> Result<PortalSession, ApiError> {
    let ended = || ApiError::unauthenticated("There is no portal session, or it has ended.");
    let cookie = cookie(&parts.headers, cookie_name(api)).ok_or_else(ended)?;
    let (limiter, foundation) = (&api.rate_limiter, &api.foundation);
    let from = client_network(&parts.extensions, &parts.headers, &api.config.server.trusted_proxies);
    let hash = foundation.hasher.hash(&cookie);
    limiter.admit(from, &hash)?;
    let found = if KeyKind::of(&cookie) == Some(KeyKind::PortalCookie) {
        limiter.check(&hash)?;
        foundation.store.find_portal_session(&hash, foundation.clock.now()).await?
    } else {
        None
    };
    let Some(session) = found else {
        limiter.failed(from);
        return Err(ended());
    };
    limiter.succeeded(hash);
    expect_own_page(api, &parts.method, &parts.headers)?;
    limiter.check(&foundation.hasher.hash(&quota_of(&session.tenant)))?;
    Ok(session)
}

/// What the sessions of one merchant share a rate limit under. No key has this form.
fn quota_of(tenant: &Tenant) -> String {
    format!("portal sessions of {} {}", tenant.merchant_id, tenant.livemode)
}

/// Refuses a request that another site's page has a browser make: what changes something needs the browser's word, or the
/// `Origin` of browsers that do not say it.
pub(super) fn expect_own_page(api: &Api, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let own = is_from_own_page(method, headers, |origin| {
        api.portal_url.as_ref().is_some_and(|own| own.as_bytes() == origin)
    });
    if own { Ok(()) } else { Err(ApiError::forbidden("This is for pages of the portal itself.")) }
}

/// A prefix binds the cookie to this host, to https and to no path; http has none of these.
fn cookie_name(api: &Api) -> &'static str {
    if is_secure(api) { "__Host-k-webhooks-portal" } else { "k-webhooks-portal" }
}

/// Whether browsers reach the portal by https.
fn is_secure(api: &Api) -> bool {
    api.portal_url.as_ref().is_some_and(|url| url.starts_with("https://"))
}

/// The cookie of a session that was opened. In a frame of another site's page it is a cookie of its own for each such site.
pub(super) fn set_cookie(
    api: &Api,
    cookie: &SecretString,
    session: &PortalSession,
    embedded: bool,
    now: UnixMs,
) -> Result<HeaderValue, ApiError> {
    let left = session.expires_at.seconds() - now.seconds();
    with_attributes(api, cookie.expose_secret(), left, embedded)
}

/// What makes a browser forget the cookie, in a frame and out of it.
pub(super) fn forget_cookies(api: &Api) -> Result<[HeaderValue; 2], ApiError> {
    Ok([with_attributes(api, "", 0, false)?, with_attributes(api, "", 0, true)?])
}

fn with_attributes(api: &Api, value: &str, max_age: i64, embedded: bool) -> Result<HeaderValue, ApiError> {
    let (name, secure) = (cookie_name(api), is_secure(api));
    let site = match (embedded, secure) {
        (true, _) => "; SameSite=None; Partitioned; Secure",
        (false, true) => "; SameSite=Lax; Secure",
        (false, false) => "; SameSite=Lax",
    };
    browser::set_cookie(name, value, max_age, site)
}
