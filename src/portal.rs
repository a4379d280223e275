//! Portal sessions: a merchant's browser, for a while, in place of an API key. The platform makes a session and gets a link
//! that opens it once; the browser then has a cookie, whose text is known to nobody else.

use std::{fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    api_key::KeyKind,
    app::Foundation,
    audit::Author,
    clock::UnixMs,
    id::{PortalSessionId, RequestId},
    merchant::Tenant,
    store::{NewPortalSession, StoreError},
    words::words,
};

/// How long a session may last, from when it was made.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a session lasts unless said otherwise.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(3600);

/// For how long a link opens its session: it is meant to be followed at once.
pub const LINK_LIFE: Duration = Duration::from_secs(10 * 60);

/// Where the portal is, on the public listener.
pub const PATH: &str = "/portal";

words! {
    /// What a session may do.
    PortalAccess {
        /// Look at everything.
        ReadOnly "read_only",
        /// All that a secret key may do.
        Full "full",
    }
}

words! {
    /// Light or dark.
    Appearance {
        /// Light.
        Light "light",
        /// Dark.
        Dark "dark",
        /// As the browser is set.
        Auto "auto",
    }
}

/// A colour, `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl FromStr for Color {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 3];
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        digits
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .map(|()| Self(bytes))
            .ok_or("must be a colour such as #3457d5")
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// How the portal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The one colour that is the platform's.
    pub accent: Option<Color>,
    /// Light or dark.
    pub appearance: Appearance,
}

/// A session as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalSession {
    /// Its id.
    pub id: PortalSessionId,
    /// Whose data it shows.
    pub tenant: Tenant,
    /// What it may do.
    pub access: PortalAccess,
    /// How it looks.
    pub theme: Theme,
    /// When it was made.
    pub created_at: UnixMs,
    /// When its link was opened, if it was.
    pub opened_at: Option<UnixMs>,
    /// When it ends.
    pub expires_at: UnixMs,
}

/// A session that somebody wants.
#[derive(Clone, Debug)]
pub struct WantedSession {
    /// Whose data it is to show.
    pub tenant: Tenant,
    /// What it may do.
    pub access: PortalAccess,
    /// How it looks.
    pub theme: Theme,
    /// How long it lasts.
    pub life: Duration,
}

/// A new session, with the token of its link for the only time.
#[derive(Debug)]
pub struct IssuedSession {
    /// The session as stored.
    pub session: PortalSession,
    token: SecretString,
}

impl IssuedSession {
    /// The link that opens the session once, for [`LINK_LIFE`]. The token is in the fragment, which browsers send to no
    /// server and name to no other site.
    #[must_use]
    pub fn link(&self, portal_url: &str) -> String {
        format!("{portal_url}{PATH}#{}", self.token.expose_secret())
    }
}

/// Makes a session.
pub async fn issue(
    foundation: &Foundation,
    wanted: WantedSession,
    by: &Author,
) -> Result<IssuedSession, StoreError> {
    let now = foundation.clock.now();
    let token = KeyKind::PortalLink.generate(&foundation.entropy);
    let new = NewPortalSession {
        id: foundation.ids.next(now),
        tenant: wanted.tenant,
        access: wanted.access,
        theme: wanted.theme,
        link_hash: foundation.hasher.hash(token.expose_secret()),
        expires_at: now.plus(wanted.life),
    };
    let session = foundation.store.insert_portal_session(&new, by, now).await?;
    Ok(IssuedSession { session, token })
}

/// Opens the session of a link, once: from then on it is found by the cookie that is answered. None where there is none
/// such, or where it was opened before.
pub async fn open(
    foundation: &Foundation,
    token: &str,
    request_id: Option<RequestId>,
) -> Result<Option<(PortalSession, SecretString)>, StoreError> {
    if KeyKind::of(token) != Some(KeyKind::PortalLink) {
        return Ok(None);
    }
    let (now, hasher) = (foundation.clock.now(), &foundation.hasher);
    let cookie = KeyKind::PortalCookie.generate(&foundation.entropy);
    let (link_hash, cookie_hash) = (hasher.hash(token), hasher.hash(cookie.expose_secret()));
    let made_after = now.minus(LINK_LIFE);
    let opened = foundation.store.open_portal_session(&link_hash, &cookie_hash, made_after, request_id, now);
    Ok(opened.await?.map(|session| (session, cookie)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_six_hexadecimal_digits() {
        assert_eq!("#3457D5".parse::<Color>().unwrap().to_string(), "#3457d5");
        for bad in ["3457d5", "#345", "#3457d5ff", "#gggggg", "red", "#34 7d5", ""] {
            assert!(bad.parse::<Color>().is_err(), "{bad}");
        }
    }
}
