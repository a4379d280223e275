//! The console: its page and the files of that, and the session of whoever opens it. All else that the page shows or does goes
//! through the API.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    audit::Author,
    console::{self, ConsoleSession},
    http::{
        Api, auth, built,
        console_session::{expect_own_page, find, forget_cookies, is_secure, set_cookie},
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        routes::Routes,
        view::IsConsoleSession,
    },
    id::ConsoleSessionId,
};

pub(super) fn router() -> Routes {
    Routes::new()
        .get("/console", page)
        .get("/console/{*page}", page)
        .get("/console/assets/{file}", asset)
        .get("/console/session", retrieve)
        .post("/console/session", open)
        .delete("/console/session", end)
}

/// A session as its page sees it.
#[derive(Serialize)]
struct OpenedConsoleSession {
    id: ConsoleSessionId,
    object: IsConsoleSession,
    /// What the service is called whose key opened it; null for the bootstrap key.
    service: Option<String>,
    created: i64,
    expires_at: i64,
    /// The service's time, by which the page counts, in unix milliseconds.
    now_ms: i64,
}

/// A session that has ended.
#[derive(Serialize)]
struct EndedConsoleSession {
    id: ConsoleSessionId,
    object: IsConsoleSession,
    deleted: bool,
}

fn shown(api: &Api, session: ConsoleSession) -> Json<OpenedConsoleSession> {
    Json(OpenedConsoleSession {
        id: session.id,
        object: IsConsoleSession,
        service: session.service,
        created: session.created_at.seconds(),
        expires_at: session.expires_at.seconds(),
        now_ms: api.foundation.clock.now().0,
    })
}

/// The one page, whatever it shows; no site frames it.
async fn page(headers: HeaderMap) -> Result<Response, ApiError> {
    built::page("console.html", &headers, "'none'")
}

async fn asset(headers: HeaderMap, Path(name): Path<String>) -> Result<Response, ApiError> {
    built::asset(&name, &headers)
}

/// A session whose cookie the request has.
struct Opened(ConsoleSession, Parts);

impl FromRequestParts<Arc<Api>> for Opened {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        Ok(Self(find(api, parts).await?, parts.clone()))
    }
}

async fn retrieve(State(api): State<Arc<Api>>, Opened(session, _): Opened) -> Json<OpenedConsoleSession> {
    shown(&api, session)
}

/// Opens a session for whoever has a service key.
async fn open(
    State(api): State<Arc<Api>>,
    parts: Parts,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    expect_own_page(&parts)?;
    let mut fields = Fields::parse(&bytes)?;
    let key = fields.required::<String>("key", "a string").map(Zeroizing::new);
    let key = fields.finish(key)?;
    let by = auth::service(&api, &parts, key.trim()).await?;
    let life = api.config.console.session;
    let (session, cookie) = console::open(&api.foundation, key.trim(), &by, life).await?;
    let now = api.foundation.clock.now();
    let cookie = set_cookie(&cookie, &session, is_secure(&parts.headers), now)?;
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], shown(&api, session)))
}

async fn end(
    State(api): State<Arc<Api>>,
    Opened(session, parts): Opened,
) -> Result<impl IntoResponse, ApiError> {
    let by = Author::console_session(session.id, session.service, parts.extensions.get().copied());
    api.foundation.store.end_console_session(session.id, &by, api.foundation.clock.now()).await?;
    let gone = EndedConsoleSession { id: session.id, object: IsConsoleSession, deleted: true };
    let mut response = Json(gone).into_response();
    for cookie in forget_cookies()? {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
