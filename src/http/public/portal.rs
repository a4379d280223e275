//! The portal: its page and the files of that, built from `portal/` and part of the binary, and the session of whoever opens
//! it. All else that the page shows or does goes through the API.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{
    audit::Author,
    http::{
        Api, built,
        client_address::client_network,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        portal_session::{self, find, forget_cookies, set_cookie},
        routes::Routes,
        view::{self, DeletedPortalSession, IsPortalSession, OpenedPortalSession},
    },
    id::RequestId,
    portal::{self, PortalSession},
};

pub(super) fn router() -> Routes {
    Routes::new()
        .get("/portal", page)
        .get("/portal/{*page}", page)
        .get("/portal/assets/{file}", asset)
        .get("/portal/session", retrieve)
        .post("/portal/session", open)
        .delete("/portal/session", end)
}

/// A session whose cookie the request has, and who asks by it.
struct Opened(PortalSession, Author);

impl FromRequestParts<Arc<Api>> for Opened {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let session = find(api, parts).await?;
        let by = Author::portal_session(session.id, parts.extensions.get().copied());
        Ok(Self(session, by))
    }
}

/// The one page, whatever it shows. Which sites may frame it is known only at run time.
async fn page(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let framed_by = match api.config.portal.origins.as_slice() {
        [] => "'none'".to_owned(),
        origins => origins.join(" "),
    };
    built::page("index.html", &headers, &framed_by)
}

async fn asset(headers: HeaderMap, Path(name): Path<String>) -> Result<Response, ApiError> {
    built::asset(&name, &headers)
}

/// The session as its page sees it, with the service's time, by which the page counts.
fn shown(api: &Api, session: &PortalSession) -> OpenedPortalSession {
    let now_ms = api.foundation.clock.now().0;
    OpenedPortalSession { session: view::portal_session(session), now_ms }
}

async fn retrieve(State(api): State<Arc<Api>>, Opened(session, _): Opened) -> Json<OpenedPortalSession> {
    Json(shown(&api, &session))
}

/// Opens a session by the token of its link, which is then worth nothing.
async fn open(
    State(api): State<Arc<Api>>,
    caller: Caller,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(&bytes)?;
    let token = fields.required::<String>("token", "a string");
    let embedded =
        if fields.has("embedded") { fields.required("embedded", "true or false") } else { Some(false) };
    if embedded == Some(true) && api.config.portal.origins.is_empty() {
        fields.error("embedded", "must be false: no site may show the portal in a frame");
    }
    let (token, embedded) = fields.finish(token.zip(embedded))?;
    let limiter = &api.rate_limiter;
    limiter.admit(caller.network, &api.foundation.hasher.hash(&token))?;
    let Some((session, cookie)) = portal::open(&api.foundation, &token, caller.request_id).await? else {
        limiter.failed(caller.network);
        return Err(ApiError::unauthenticated("This link was used before, or its time has passed."));
    };
    let now = api.foundation.clock.now();
    let cookie = set_cookie(&api, &cookie, &session, embedded, now)?;
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(shown(&api, &session))))
}

/// A page of the portal that has no session yet.
struct Caller {
    network: Option<std::net::IpAddr>,
    request_id: Option<RequestId>,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        portal_session::expect_own_page(api, &parts.method, &parts.headers)?;
        let trusted = &api.config.server.trusted_proxies;
        let network = client_network(&parts.extensions, &parts.headers, trusted);
        Ok(Self { network, request_id: parts.extensions.get().copied() })
    }
}

async fn end(
    State(api): State<Arc<Api>>,
    Opened(session, by): Opened,
) -> Result<impl IntoResponse, ApiError> {
    api.foundation.store.revoke_portal_session(session.id, &by, api.foundation.clock.now()).await?;
    let gone = DeletedPortalSession { id: session.id, object: IsPortalSession, deleted: true };
    let mut response = Json(gone).into_response();
    for cookie in forget_cookies(&api)? {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
