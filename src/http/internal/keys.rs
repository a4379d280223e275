//! `/v1/merchants/:merchant/api_keys`, and `/v1/api_keys` of all.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use secrecy::ExposeSecret as _;
use utoipa_axum::routes;

use super::merchant_id;
use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{PageOf, Query, beside},
        routes::Routes,
        shapes::CreateApiKey,
        view::{self, ApiKeyList, ApiKeyWithSecret, DeletedApiKey, IsApiKey},
    },
    id::{KeyId, KeyKind},
    keys::IssuedKey,
    merchant::{MerchantId, Tenant},
};

pub(super) fn router() -> Routes {
    Routes::new()
        .route(routes!(create))
        .route(routes!(list))
        .route(routes!(rotate))
        .route(routes!(revoke))
        .route(routes!(list_all))
        .route(routes!(revoke_any))
}

const NAME: &str = "API key";

fn no_such(id: &str) -> ApiError {
    ApiError::no_such(NAME, id)
}

fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|_| no_such(text))
}

/// The key with its secret, for the only time.
fn with_secret(issued: &IssuedKey) -> Json<ApiKeyWithSecret> {
    let secret_key = issued.secret.expose_secret().to_owned();
    Json(ApiKeyWithSecret { key: view::api_key(&issued.key), secret_key })
}

/// Make a key for a merchant
///
/// The answer has `secret_key`, for the only time.
#[utoipa::path(
    post, path = "/v1/merchants/{merchant}/api_keys", operation_id = "createApiKey", tag = "API keys",
    params(("merchant" = MerchantId, Path, description = "The merchant.")),
    request_body = Option<CreateApiKey>,
    responses((status = 201, description = "The key, with its secret.", body = ApiKeyWithSecret)),
)]
async fn create(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(merchant): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    let mut fields = Fields::parse(&bytes)?;
    let livemode =
        if fields.has("livemode") { fields.required("livemode", "true or false") } else { Some(false) };
    let livemode = fields.finish(livemode)?;
    let issued = api.foundation.key_issuer(by).issue_merchant_key(Tenant { merchant_id, livemode }).await?;
    Ok((StatusCode::CREATED, with_secret(&issued)))
}

/// List a merchant's keys
///
/// Of both modes, newest first, with the last four characters of each; those that have ended are not in it.
#[utoipa::path(
    get, path = "/v1/merchants/{merchant}/api_keys", operation_id = "listApiKeys", tag = "API keys",
    params(("merchant" = MerchantId, Path, description = "The merchant."), PageOf<KeyKind>),
    responses((status = 200, description = "A page of keys.", body = ApiKeyList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(merchant): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<ApiKeyList>, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let now = api.foundation.clock.now();
    let keys = api.foundation.store.list_api_keys(Some(merchant_id.as_str()), &page, now).await?;
    let keys = beside(NAME, &page, keys)?;
    Ok(Json(view::list(&format!("/v1/merchants/{merchant}/api_keys"), &keys, view::api_key)))
}

/// Replace a key by a new one
///
/// The answer has the new `secret_key`, for the only time. The old key works 24 hours more.
#[utoipa::path(
    post, path = "/v1/merchants/{merchant}/api_keys/{key}/rotate", operation_id = "rotateApiKey", tag = "API keys",
    params(
        ("merchant" = MerchantId, Path, description = "The merchant."),
        ("key" = KeyId, Path, description = "The old key."),
    ),
    responses((status = 201, description = "The new key, with its secret.", body = ApiKeyWithSecret)),
)]
async fn rotate(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path((merchant, key)): Path<(String, String)>,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    Fields::parse(&bytes)?.finish(Some(()))?;
    let issued = api.foundation.key_issuer(by).rotate(merchant_id, key_id(&key)?).await?;
    Ok((StatusCode::CREATED, with_secret(&issued.ok_or_else(|| no_such(&key))?)))
}

/// End a key
///
/// At once.
#[utoipa::path(
    delete, path = "/v1/merchants/{merchant}/api_keys/{key}", operation_id = "revokeApiKey", tag = "API keys",
    params(
        ("merchant" = MerchantId, Path, description = "The merchant."),
        ("key" = KeyId, Path, description = "The key."),
    ),
    responses((status = 200, description = "It has ended.", body = DeletedApiKey)),
)]
async fn revoke(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path((merchant, key)): Path<(String, String)>,
) -> Result<Json<DeletedApiKey>, ApiError> {
    let (merchant_id, id) = (merchant_id(&merchant)?, key_id(&key)?);
    let now = api.foundation.clock.now();
    if !api.foundation.store.revoke_api_key(Some(merchant_id.as_str()), id, &by, now).await? {
        return Err(no_such(&key));
    }
    Ok(Json(DeletedApiKey { id, object: IsApiKey, deleted: true }))
}

/// List all keys
///
/// Of all merchants and internal services, newest first; those that have ended are not in it.
#[utoipa::path(
    get, path = "/v1/api_keys", operation_id = "listAllApiKeys", tag = "API keys", params(PageOf<KeyKind>),
    responses((status = 200, description = "A page of keys.", body = ApiKeyList)),
)]
async fn list_all(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<ApiKeyList>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let keys = api.foundation.store.list_api_keys(None, &page, api.foundation.clock.now()).await?;
    let keys = beside(NAME, &page, keys)?;
    Ok(Json(view::list("/v1/api_keys", &keys, view::api_key)))
}

/// End any key
///
/// A merchant's or an internal service's, at once; console sessions that it opened end with it.
#[utoipa::path(
    delete, path = "/v1/api_keys/{id}", operation_id = "revokeAnyApiKey", tag = "API keys",
    params(("id" = KeyId, Path, description = "The key.")),
    responses((status = 200, description = "It has ended.", body = DeletedApiKey)),
)]
async fn revoke_any(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<DeletedApiKey>, ApiError> {
    let key = key_id(&id)?;
    if !api.foundation.store.revoke_api_key(None, key, &by, api.foundation.clock.now()).await? {
        return Err(no_such(&id));
    }
    Ok(Json(DeletedApiKey { id: key, object: IsApiKey, deleted: true }))
}
