//! The audit log: who did what to endpoints, backfills and keys. An entry is written in the transaction of its change, so that there
//! is no change without an entry and no entry without a change.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value, json};

use crate::{
    clock::UnixMs,
    id::{AuditEntryId, ConsoleSessionId, KeyId, NotAnId, PortalSessionId, RequestId},
    merchant::MerchantId,
    words::words,
};

words! {
    /// What kind of someone acts.
    ActorKind {
        /// A merchant's server, by its secret key.
        MerchantKey "merchant_key",
        /// A merchant's browser in the portal, by its session.
        PortalSession "portal_session",
        /// An internal service, by its key.
        ServiceKey "service_key",
        /// Whoever has the configured bootstrap key.
        BootstrapKey "bootstrap_key",
        /// An operator's browser in the console, by its session.
        ConsoleSession "console_session",
        /// Someone at the command line, with the database's URL.
        CommandLine "command_line",
        /// The service itself.
        Service "service",
    }
}

words! {
    /// What was done.
    Action {
        /// A key was made.
        ApiKeyCreated "api_key.created",
        /// A key was replaced by a new one.
        ApiKeyRotated "api_key.rotated",
        /// A key was ended.
        ApiKeyRevoked "api_key.revoked",
        /// A portal session was made.
        PortalSessionCreated "portal_session.created",
        /// The link of a portal session was opened.
        PortalSessionOpened "portal_session.opened",
        /// A portal session was ended.
        PortalSessionRevoked "portal_session.revoked",
        /// A console session was opened.
        ConsoleSessionOpened "console_session.opened",
        /// A console session was ended.
        ConsoleSessionEnded "console_session.ended",
        /// An endpoint was registered.
        EndpointCreated "webhook_endpoint.created",
        /// An endpoint was changed.
        EndpointUpdated "webhook_endpoint.updated",
        /// An endpoint was deleted.
        EndpointDeleted "webhook_endpoint.deleted",
        /// An endpoint got a new signing secret.
        SecretRotated "webhook_endpoint.secret_rotated",
        /// The service disabled an endpoint, or an operator held it.
        EndpointDisabled "webhook_endpoint.disabled",
        /// A backfill was begun.
        BackfillCreated "backfill.created",
        /// A backfill was paused, set to run again, or canceled.
        BackfillUpdated "backfill.updated",
        /// What earlier encryption keys sealed was moved to the present one.
        Reencrypted "encryption_key.reencrypted",
    }
}

/// By what somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorId {
    /// An API key.
    Key(KeyId),
    /// A portal session.
    PortalSession(PortalSessionId),
    /// A console session.
    ConsoleSession(ConsoleSessionId),
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::PortalSession(id) => id.fmt(f),
            Self::ConsoleSession(id) => id.fmt(f),
        }
    }
}

impl FromStr for ActorId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let session = text.parse().map(Self::PortalSession);
        session.or_else(|_| text.parse().map(Self::ConsoleSession)).or_else(|_| text.parse().map(Self::Key))
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of someone.
    pub kind: ActorKind,
    /// The API key or the session that was used.
    pub id: Option<ActorId>,
    /// What the internal service, or at the command line the user, is called.
    pub name: Option<String>,
}

/// Who makes a change, and by which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Who.
    pub actor: Actor,
    /// By which request, if by one.
    pub request_id: Option<RequestId>,
}

impl Author {
    /// The service itself.
    #[must_use]
    pub fn service() -> Self {
        Self { actor: Actor { kind: ActorKind::Service, id: None, name: None }, request_id: None }
    }

    /// A merchant's browser, by its portal session.
    #[must_use]
    pub fn portal_session(id: PortalSessionId, request_id: Option<RequestId>) -> Self {
        let id = Some(ActorId::PortalSession(id));
        Self { actor: Actor { kind: ActorKind::PortalSession, id, name: None }, request_id }
    }

    /// An operator's browser, by its console session, which a key of this service opened.
    #[must_use]
    pub fn console_session(
        id: ConsoleSessionId,
        service: Option<String>,
        request_id: Option<RequestId>,
    ) -> Self {
        let actor =
            Actor { kind: ActorKind::ConsoleSession, id: Some(ActorId::ConsoleSession(id)), name: service };
        Self { actor, request_id }
    }

    /// The user at the command line, if it is known who that is.
    #[must_use]
    pub fn command_line(user: Option<String>) -> Self {
        Self { actor: Actor { kind: ActorKind::CommandLine, id: None, name: user }, request_id: None }
    }
}

/// What changed: old and new values by name. Never secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Map<String, Value>);

impl Changes {
    /// Adds a value, if it is another one than before.
    #[must_use]
    pub fn with(mut self, name: &str, old: impl Into<Value>, new: impl Into<Value>) -> Self {
        let (old, new) = (old.into(), new.into());
        if old != new {
            self.0.insert(name.to_owned(), json!({ "old": old, "new": new }));
        }
        self
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they are shown and stored.
    #[must_use]
    pub fn into_json(self) -> Value {
        Value::Object(self.0)
    }

    /// Reads them as they are stored.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditEntryId,
    /// When it was done.
    pub created_at: UnixMs,
    /// The merchant whose object it is, if it is a merchant's.
    pub merchant_id: Option<MerchantId>,
    /// For a merchant's object, whether it belongs to live data.
    pub livemode: Option<bool>,
    /// Who did it.
    pub by: Author,
    /// What was done.
    pub action: Action,
    /// To what.
    pub object_id: String,
    /// What changed.
    pub changes: Changes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_another_value_than_before_is_a_change() {
        assert!(
            Changes::default().with("url", "a", "a").with("description", Value::Null, Value::Null).is_empty()
        );
        let changes = Changes::default().with("url", "a", "b").with("status", "enabled", "enabled");
        let json = changes.clone().into_json();
        assert_eq!(json, json!({ "url": { "old": "a", "new": "b" } }));
        assert_eq!(Changes::from_json(&json.to_string()), Some(changes));
        assert_eq!(Changes::from_json("[]"), None);
    }
}
