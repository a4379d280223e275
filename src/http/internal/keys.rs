//! `/v1/merchants/:merchant/api_keys`

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::merchant_id;
use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{Query, beside},
        routes::Routes,
        view,
    },
    id::KeyId,
    keys::IssuedKey,
    merchant::Tenant,
};

pub(super) fn router() -> Routes {
    Routes::new()
        .get("/v1/merchants/{merchant}/api_keys", list)
        .post("/v1/merchants/{merchant}/api_keys", create)
        .delete("/v1/merchants/{merchant}/api_keys/{key}", revoke)
        .post("/v1/merchants/{merchant}/api_keys/{key}/rotate", rotate)
}

const NAME: &str = "API key";

fn no_such(id: &str) -> ApiError {
    ApiError::no_such(NAME, id)
}

fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|_| no_such(text))
}

/// The key with its secret, for the only time.
fn with_secret(issued: &IssuedKey) -> Json<Value> {
    let mut shown = view::api_key(&issued.key);
    shown["secret_key"] = issued.secret.expose_secret().into();
    Json(shown)
}

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

async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(merchant): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let now = api.foundation.clock.now();
    let keys = api.foundation.store.list_api_keys(Some(merchant_id.as_str()), &page, now).await?;
    let keys = beside(NAME, &page, keys)?;
    Ok(Json(view::list(&format!("/v1/merchants/{merchant}/api_keys"), &keys, view::api_key)))
}

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

async fn revoke(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path((merchant, key)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (merchant_id, id) = (merchant_id(&merchant)?, key_id(&key)?);
    let now = api.foundation.clock.now();
    if !api.foundation.store.revoke_api_key(Some(merchant_id.as_str()), id, &by, now).await? {
        return Err(no_such(&key));
    }
    Ok(Json(json!({ "id": id, "object": "api_key", "deleted": true })))
}
