//! What a webhook endpoint is: an address a merchant registered, the events it wants, and whether it is on.

use std::sync::OnceLock;

use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Type, schema::Schema},
};

use crate::{
    clock::UnixMs, endpoint_url::EndpointUrl, event::EventType, id::EndpointId, id::SecretId,
    merchant::Tenant, signature::SigningSecret, vault::Sealed, words::words,
};

/// A registered endpoint, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The address exactly as the merchant gave it.
    pub url: String,
    /// The events it wants.
    pub enabled_events: EnabledEvents,
    /// The merchant's note, at most [`DESCRIPTION_CHARS_MAX`] characters.
    pub description: Option<String>,
    /// Whether deliveries are attempted or held.
    pub status: EndpointStatus,
    /// Why it was disabled, where its merchant did not do it.
    pub disabled_reason: Option<DisabledReason>,
    /// When it was registered.
    pub created_at: UnixMs,
    /// When it was last changed.
    pub updated_at: UnixMs,
}

/// The longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 200;

/// The most secrets of an endpoint that live at a time: every event that is accepted reads them, and every attempt signs
/// with each.
pub const LIVING_SECRETS_MAX: usize = 5;

/// The most event types an endpoint may name, counted before duplicates fold.
pub const ENABLED_EVENTS_MAX: usize = 50;

words! {
    /// Whether an endpoint's deliveries are attempted.
    EndpointStatus {
        /// Deliveries are attempted.
        Enabled "enabled",
        /// Deliveries are held.
        Disabled "disabled",
    }
}

words! {
    /// Why an endpoint is disabled, where it was not its merchant.
    DisabledReason {
        /// It answered 410.
        Gone "gone",
        /// No attempt succeeded for longer than may be.
        Failing "failing",
        /// Those who operate the service hold it.
        Operator "operator",
    }
}

/// The events an endpoint wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnabledEvents {
    /// All of them, also types that do not exist yet.
    All,
    /// These, in the order the merchant named them, each once.
    Only(Vec<EventType>),
}

impl EnabledEvents {
    /// Whether the endpoint wants events of this type.
    #[must_use]
    pub fn matches(&self, event_type: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.contains(&event_type),
        }
    }

    /// The names as the API and the database show them: `["*"]` for all.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(types) => types.iter().map(|event_type| event_type.as_str()).collect(),
        }
    }

    /// Reads a list of names, folding duplicates. `Err` has one message for each bad name, by its index,
    /// or one without an index where the list as a whole is wrong.
    pub fn parse(names: &[String]) -> Result<Self, Vec<(Option<usize>, String)>> {
        if names.is_empty() || names.len() > ENABLED_EVENTS_MAX {
            return Err(vec![(
                None,
                format!("must name 1 to {ENABLED_EVENTS_MAX} event types, or [\"*\"] for all"),
            )]);
        }
        if names.iter().all(|name| name == "*") {
            return Ok(Self::All);
        }
        let mut types = Vec::new();
        let mut errors = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match name.parse::<EventType>() {
                Ok(event_type) if types.contains(&event_type) => {}
                Ok(event_type) => types.push(event_type),
                Err(_) if name == "*" => {
                    errors.push((Some(index), "\"*\" stands alone, or not at all".to_owned()));
                }
                Err(error) => errors.push((Some(index), error.to_string())),
            }
        }
        if errors.is_empty() { Ok(Self::Only(types)) } else { Err(errors) }
    }
}

impl Serialize for EnabledEvents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

impl PartialSchema for EnabledEvents {
    fn schema() -> RefOr<Schema> {
        let names = EventType::ALL.iter().map(|event_type| event_type.as_str()).chain(["*"]);
        let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
        ArrayBuilder::new()
            .items(name)
            .min_items(Some(1))
            .max_items(Some(ENABLED_EVENTS_MAX))
            .description(Some(
                "The types of events; `*` stands alone, for all of them and those that do not exist yet.",
            ))
            .examples([["charge.succeeded", "refund.created"]])
            .build()
            .into()
    }
}

impl ToSchema for EnabledEvents {}

/// A signing secret as it is stored: sealed, and perhaps with an end.
#[derive(Clone, Debug)]
pub struct SealedSecret {
    /// Its id, to which the seal is bound.
    pub id: SecretId,
    /// The encrypted secret.
    pub sealed: Sealed,
    /// When it stops signing; the newest secret has no end.
    pub expires_at: Option<UnixMs>,
}

/// What an attempt needs to know of its endpoint.
#[derive(Debug)]
pub struct Destination {
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// Where to send.
    pub url: String,
    /// The secrets to sign with, newest first; expired ones are left out when signing.
    pub secrets: Vec<SealedSecret>,
    opened: OnceLock<Result<Opened, String>>,
}

/// A destination, read: the deliveries that were leased together share it, and the first of them has it made.
#[derive(Debug)]
pub struct Opened {
    /// Where to send.
    pub url: EndpointUrl,
    /// The secrets to sign with, newest first, and when each stops signing.
    pub secrets: Vec<(SigningSecret, Option<UnixMs>)>,
}

impl Destination {
    /// Where an endpoint's deliveries go, as the store has it.
    #[must_use]
    pub fn new(endpoint_id: EndpointId, url: String, secrets: Vec<SealedSecret>) -> Self {
        Self { endpoint_id, url, secrets, opened: OnceLock::new() }
    }

    /// What `open` makes of it, or why it cannot; asked once.
    pub fn opened(&self, open: impl FnOnce(&Self) -> Result<Opened, String>) -> Result<&Opened, String> {
        self.opened.get_or_init(|| open(self)).as_ref().map_err(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn duplicate_event_types_fold_and_keep_their_order() {
        let events =
            EnabledEvents::parse(&names(&["refund.created", "charge.failed", "refund.created"])).unwrap();
        assert_eq!(events.names(), ["refund.created", "charge.failed"]);
        assert!(events.matches(EventType::ChargeFailed) && !events.matches(EventType::PayoutPaid));
    }

    #[test]
    fn every_bad_event_type_is_named_by_its_index() {
        let errors = EnabledEvents::parse(&names(&["charge.suceeded", "charge.failed", "*"])).unwrap_err();
        assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [Some(0), Some(2)]);
        assert!(errors[0].1.contains("charge.succeeded"), "{errors:?}");
    }

    #[test]
    fn the_list_has_1_to_50_names_and_a_star_means_all() {
        assert!(EnabledEvents::parse(&[]).is_err());
        assert!(EnabledEvents::parse(&vec!["charge.failed".to_owned(); 51]).is_err());
        assert!(EnabledEvents::parse(&vec!["charge.failed".to_owned(); 50]).is_ok());
        assert_eq!(EnabledEvents::parse(&names(&["*"])), Ok(EnabledEvents::All));
    }
}
