//! `/v1/portal_sessions`

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde_json::Value;
use utoipa_axum::routes;

use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{PageOf, Query, beside},
        routes::Routes,
        shapes::CreatePortalSession,
        view::{self, DeletedPortalSession, IsPortalSession, PortalSessionList, PortalSessionWithLink},
    },
    id::{PortalSessionId, PortalSessionKind},
    merchant::{MerchantId, Tenant},
    portal::{self, Appearance, LIFE_DEFAULT, LIFE_MAX, PortalAccess, Theme, WantedSession},
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(list)).route(routes!(create)).route(routes!(revoke))
}

const NAME: &str = "portal session";

/// Make a portal session
///
/// The answer has `url`, for the only time: send the merchant's browser there.
#[utoipa::path(
    post, path = "/v1/portal_sessions", operation_id = "createPortalSession", tag = "Portal sessions",
    request_body = CreatePortalSession,
    responses((status = 201, description = "The session, with its link.", body = PortalSessionWithLink)),
)]
async fn create(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let wanted = read_wanted(&bytes)?;
    let portal_url = api.portal_url.as_ref().ok_or_else(|| {
        ApiError::bad_request("There is no portal: the service is not told at which address (portal.url).")
    })?;
    let issued = portal::issue(&api.foundation, wanted, &by).await?;
    let (session, url) = (view::portal_session(&issued.session), issued.link(portal_url));
    Ok((StatusCode::CREATED, Json(PortalSessionWithLink { session, url })))
}

fn read_wanted(bytes: &[u8]) -> Result<WantedSession, ApiError> {
    let mut fields = Fields::parse(bytes)?;
    let merchant_id = fields.required::<String>("merchant_id", "a string");
    let merchant_id = merchant_id.and_then(|id| fields.check("merchant_id", id.parse::<MerchantId>()));
    let livemode = fields.required("livemode", "true or false");
    let access = match fields.optional::<String>("access", "a string") {
        None => Some(PortalAccess::Full),
        Some(access) => fields.check("access", access.parse()),
    };
    let life = match fields.optional::<Value>("expires_in", "a duration") {
        None => Some(LIFE_DEFAULT),
        Some(value) => fields.check("expires_in", life(&value)),
    };
    let theme = theme(&mut fields);
    let wanted = merchant_id.zip(livemode).zip(access.zip(life)).zip(theme);
    let wanted = wanted.map(|(((merchant_id, livemode), (access, life)), theme)| WantedSession {
        tenant: Tenant { merchant_id, livemode },
        access,
        theme,
        life,
    });
    fields.finish(wanted)
}

/// A duration such as `1h`, or whole seconds.
fn life(value: &Value) -> Result<Duration, &'static str> {
    let duration = match value {
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) => humantime::parse_duration(text).ok(),
        _ => None,
    };
    let bounds = Duration::from_secs(60)..=LIFE_MAX;
    duration.filter(|life| bounds.contains(life)).ok_or("must be a duration from 1m to 24h, such as 1h")
}

fn theme(fields: &mut Fields<'_>) -> Option<Theme> {
    let mut theme = Theme { accent: None, appearance: Appearance::Auto };
    let Some(raw) = fields.raw("theme") else { return Some(theme) };
    let mut inner = fields.object("theme", raw)?;
    if let Some(accent) = inner.optional::<String>("accent", "a string") {
        theme.accent = inner.check("accent", accent.parse());
    }
    if let Some(appearance) = inner.optional::<String>("appearance", "a string") {
        theme.appearance = inner.check("appearance", appearance.parse()).unwrap_or(theme.appearance);
    }
    fields.absorb(inner);
    Some(theme)
}

/// List portal sessions
///
/// Newest first; those that have ended are not in it.
#[utoipa::path(
    get, path = "/v1/portal_sessions", operation_id = "listPortalSessions", tag = "Portal sessions",
    params(
        ("merchant_id" = Option<MerchantId>, Query, description = "Of this merchant, in both modes."),
        PageOf<PortalSessionKind>,
    ),
    responses((status = 200, description = "A page of sessions.", body = PortalSessionList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<PortalSessionList>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    let merchant: Option<MerchantId> = query.optional("merchant_id");
    query.finish()?;
    let now = api.foundation.clock.now();
    let merchant = merchant.as_ref().map(MerchantId::as_str);
    let sessions = api.foundation.store.list_portal_sessions(merchant, &page, now).await?;
    let sessions = beside(NAME, &page, sessions)?;
    Ok(Json(view::list("/v1/portal_sessions", &sessions, view::portal_session)))
}

/// End a portal session
///
/// At once, in whatever browser it is open.
#[utoipa::path(
    delete, path = "/v1/portal_sessions/{id}", operation_id = "revokePortalSession", tag = "Portal sessions",
    params(("id" = PortalSessionId, Path, description = "The session.")),
    responses((status = 200, description = "The session has ended.", body = DeletedPortalSession)),
)]
async fn revoke(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<DeletedPortalSession>, ApiError> {
    let no_such = || ApiError::no_such(NAME, &id);
    let session: PortalSessionId = id.parse().map_err(|_| no_such())?;
    if !api.foundation.store.revoke_portal_session(session, &by, api.foundation.clock.now()).await? {
        return Err(no_such());
    }
    Ok(Json(DeletedPortalSession { id: session, object: IsPortalSession, deleted: true }))
}
