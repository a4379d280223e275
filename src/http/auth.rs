//! Who is asking. Keys and sessions are looked up at each request, so that a revoked one ends at once.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Api, client_address::client_network, console_session, error::ApiError, portal_session};
use crate::{
    api_key::KeyKind,
    audit::{Actor, ActorId, ActorKind, Author},
    id::{KeyId, RequestId},
    merchant::Tenant,
    store::{ApiKey, KeyOwner},
};

/// A merchant's server or, in the portal, its browser; inside its rate limit.
pub(super) struct Merchant(pub(super) Tenant, pub(super) Author);

/// An internal service or, in the console, an operator's browser.
pub(super) struct Service(pub(super) Author);

impl FromRequestParts<Arc<Api>> for Merchant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        if !parts.headers.contains_key(header::AUTHORIZATION) && portal_session::is_named(parts) {
            let session = portal_session::find_allowed(api, parts).await?;
            let by = Author::portal_session(session.id, parts.extensions.get().copied());
            return Ok(Self(session.tenant, by));
        }
        let text = bearer(parts)?;
        if KeyKind::of(&text) == Some(KeyKind::Service) {
            return Err(ApiError::unauthenticated(
                "A service key is for the internal listener; use a merchant's secret key.",
            ));
        }
        let key = find(api, parts, &text).await?;
        let KeyOwner::Merchant(tenant) = key.owner else { return Err(unknown()) };
        Ok(Self(tenant, author(parts, ActorKind::MerchantKey, Some(key.id), None)))
    }
}

impl FromRequestParts<Arc<Api>> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        if !parts.headers.contains_key(header::AUTHORIZATION) && console_session::is_named(parts) {
            let session = console_session::find_named(api, parts).await?;
            let request_id = parts.extensions.get().copied();
            return Ok(Self(Author::console_session(session.id, session.service, request_id)));
        }
        Ok(Self(service(api, parts, &bearer(parts)?).await?))
    }
}

/// Whose service key this is.
pub(super) async fn service(api: &Api, parts: &Parts, text: &str) -> Result<Author, ApiError> {
    let (bootstrap, hasher) = (api.config.internal.bootstrap_key.expose_secret(), &api.foundation.hasher);
    // The hashes, because comparing the texts would tell how long the key is.
    if !bootstrap.is_empty() && bool::from(hasher.hash(bootstrap).ct_eq(&hasher.hash(text))) {
        return Ok(author(parts, ActorKind::BootstrapKey, None, None));
    }
    if matches!(KeyKind::of(text), Some(KeyKind::Secret { .. })) {
        return Err(ApiError::unauthenticated(
            "A merchant's key is for the public listener; use a service key.",
        ));
    }
    let key = find(api, parts, text).await?;
    match key.owner {
        KeyOwner::Service(name) => Ok(author(parts, ActorKind::ServiceKey, Some(key.id), Some(name))),
        KeyOwner::Merchant(_) => Err(unknown()),
    }
}

/// Who acts, by the request that the outermost layer gave its id.
fn author(parts: &Parts, kind: ActorKind, id: Option<KeyId>, name: Option<String>) -> Author {
    let actor = Actor { kind, id: id.map(ActorId::Key), name };
    Author { actor, request_id: parts.extensions.get::<RequestId>().copied() }
}

fn bearer(parts: &Parts) -> Result<Zeroizing<String>, ApiError> {
    let missing = || ApiError::unauthenticated("There is no API key: send Authorization: Bearer KEY.");
    let value =
        parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let (scheme, key) = value.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || key.trim().is_empty() {
        return Err(missing());
    }
    Ok(Zeroizing::new(key.trim().to_owned()))
}

fn unknown() -> ApiError {
    ApiError::unauthenticated("The API key is not valid.")
}

async fn find(api: &Api, parts: &Parts, text: &str) -> Result<ApiKey, ApiError> {
    let from = client_network(&parts.extensions, &parts.headers, &api.config.server.trusted_proxies);
    let (limiter, foundation) = (&api.rate_limiter, &api.foundation);
    let hash = foundation.hasher.hash(text);
    limiter.admit(from, &hash)?;
    let found = match KeyKind::of(text) {
        None => None,
        Some(KeyKind::Publishable { .. }) => {
            return Err(ApiError::unauthenticated(
                "A publishable key opens nothing here; use the secret key.",
            ));
        }
        Some(kind) => {
            if kind != KeyKind::Service {
                limiter.check(&hash)?;
            }
            foundation.store.find_api_key(&hash, foundation.clock.now()).await?
        }
    };
    if found.is_some() {
        limiter.succeeded(hash);
    } else {
        limiter.failed(from);
    }
    found.ok_or_else(unknown)
}
