//! Console sessions: an operator's browser, for a while, in place of the service key that opened it. A session ends with its
//! time, when the operator leaves, and when its key does.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    api_key::KeyKind,
    app::Foundation,
    audit::Author,
    clock::UnixMs,
    id::ConsoleSessionId,
    store::{NewConsoleSession, StoreError},
};

/// Where the console is, on the internal listener.
pub const PATH: &str = "/console";

/// A session as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSession {
    /// Its id.
    pub id: ConsoleSessionId,
    /// What the service is called whose key opened it; none for the bootstrap key.
    pub service: Option<String>,
    /// When it was opened.
    pub created_at: UnixMs,
    /// When it ends.
    pub expires_at: UnixMs,
}

/// Opens a session for whoever has this service key, and answers it with its cookie.
pub async fn open(
    foundation: &Foundation,
    key: &str,
    by: &Author,
    life: std::time::Duration,
) -> Result<(ConsoleSession, SecretString), StoreError> {
    let (now, hasher) = (foundation.clock.now(), &foundation.hasher);
    let cookie = KeyKind::ConsoleCookie.generate(&foundation.entropy);
    let new = NewConsoleSession {
        id: foundation.ids.next(now),
        service: by.actor.name.clone(),
        key_hash: hasher.hash(key),
        cookie_hash: hasher.hash(cookie.expose_secret()),
        expires_at: now.plus(life),
    };
    let session = foundation.store.insert_console_session(&new, by, now).await?;
    Ok((session, cookie))
}
