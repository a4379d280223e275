//! What an event is: its types, the bytes that every attempt sends, and what a publisher may hand in.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type, schema::Schema},
};

use crate::{
    clock::UnixMs,
    delivery::DeliveryCounts,
    id::{EndpointId, EventId},
    merchant::Tenant,
    nearest::nearest,
    operational::OperationalType,
    trace::TraceContext,
};

/// The version that events carry as `api_version`.
pub const API_VERSION: &str = "v1";

macro_rules! event_types {
    ($($variant:ident $name:literal $resource:literal,)*) => {
        /// The kinds of event that exist.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType { $(#[doc = concat!("`", $name, "`")] $variant,)* }

        impl EventType {
            /// Every type, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name, such as `charge.succeeded`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What `data.object.object` must be.
            #[must_use]
            pub fn resource(self) -> &'static str {
                match self { $(Self::$variant => $resource,)* }
            }
        }
    };
}

event_types! {
    ChargeSucceeded "charge.succeeded" "charge",
    ChargeFailed "charge.failed" "charge",
    ChargeRefunded "charge.refunded" "charge",
    RefundCreated "refund.created" "refund",
    RefundUpdated "refund.updated" "refund",
    PayoutCreated "payout.created" "payout",
    PayoutPaid "payout.paid" "payout",
    PayoutFailed "payout.failed" "payout",
    DisputeCreated "dispute.created" "dispute",
    DisputeUpdated "dispute.updated" "dispute",
    DisputeClosed "dispute.closed" "dispute",
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for EventType {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The type of an event."))
            .enum_values(Some(Self::ALL.iter().map(|event_type| event_type.as_str())))
            .build()
            .into()
    }
}

impl ToSchema for EventType {}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no event type, with the nearest one that is.
#[derive(Debug, thiserror::Error)]
#[error("is not an event type{}", .nearest.map(|name| format!("; the nearest is {name}")).unwrap_or_default())]
pub struct UnknownEventType {
    nearest: Option<&'static str>,
}

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(found) = Self::ALL.iter().find(|event_type| event_type.as_str() == text) {
            return Ok(*found);
        }
        Err(UnknownEventType {
            nearest: nearest(text, Self::ALL.iter().map(|event_type| event_type.as_str())),
        })
    }
}

/// What kind of event a delivery carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventName {
    /// A merchant's event.
    Merchants(EventType),
    /// One for those who operate the service.
    Operational(OperationalType),
}

impl EventName {
    /// The name, such as `charge.succeeded`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merchants(event_type) => event_type.as_str(),
            Self::Operational(kind) => kind.as_str(),
        }
    }
}

impl From<EventType> for EventName {
    fn from(event_type: EventType) -> Self {
        Self::Merchants(event_type)
    }
}

impl FromStr for EventName {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self::Merchants)
            .or_else(|error| text.parse().map(Self::Operational).map_err(|_| error))
    }
}

/// A validated event that a publisher hands in; it has no id until it is accepted.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its type.
    pub event_type: EventType,
    /// When it happened, in unix seconds, where the publisher says so.
    pub created: Option<i64>,
    /// The bytes of `data`, exactly as they came.
    pub data: Bytes,
    /// What makes a repeated request recognisable.
    pub idempotency_key: Option<String>,
    /// Who shall get it.
    pub audience: Audience,
    /// The span in which it is accepted.
    pub trace: Option<TraceContext>,
}

/// Which endpoints an event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every endpoint of the tenant that wants its type.
    Matching,
    /// This endpoint, whatever types it wants: a test that the merchant asked for.
    Only(EndpointId),
}

impl Audience {
    /// The only endpoint, where there is one.
    #[must_use]
    pub fn only(self) -> Option<EndpointId> {
        match self {
            Self::Matching => None,
            Self::Only(endpoint) => Some(endpoint),
        }
    }
}

impl NewEvent {
    /// A digest of all that the publisher chose, so that a reused idempotency key with other content is caught.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.event_type.as_str())
            .chain_update([0])
            .chain_update(self.created.map_or_else(String::new, |created| created.to_string()))
            .chain_update([0])
            .chain_update(&self.data)
            .finalize()
            .into()
    }
}

/// An accepted event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// The bytes that every attempt at every endpoint sends.
    pub body: Bytes,
    /// How many of its deliveries are pending or held.
    pub pending_webhooks: i64,
    /// The only endpoint that it is for, where it is a test.
    pub only_endpoint: Option<EndpointId>,
}

/// Where an event stands among those of its tenant in the order of their dates, which is the order of their ids where dates
/// are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// Its date, as the publisher gave it; otherwise when it was accepted.
    pub created_at: UnixMs,
    /// Its id.
    pub id: EventId,
}

/// Writes the bytes of an event, `data` byte for byte. They are made once and stored.
#[must_use]
pub fn render(id: EventId, event: &NewEvent, accepted_at: UnixMs) -> Vec<u8> {
    let created = event.created.unwrap_or_else(|| accepted_at.seconds());
    render_named(id, event.event_type.into(), created, event.tenant.livemode, &event.data)
}

/// The same of an event of any kind, dated in unix seconds.
#[must_use]
pub fn render_named(id: EventId, name: EventName, created: i64, livemode: bool, data: &[u8]) -> Vec<u8> {
    let name = name.as_str();
    let mut body = format!(
        r#"{{"id":"{id}","object":"event","api_version":"{API_VERSION}","created":{created},"livemode":{livemode},"type":"{name}","data":"#
    )
    .into_bytes();
    body.extend_from_slice(data);
    body.push(b'}');
    body
}

impl Event {
    /// The event as the API shows it: the delivered bytes with `pending_webhooks` added, nothing re-serialised.
    #[must_use]
    pub fn to_json(&self) -> Box<RawValue> {
        self.to_json_with("")
    }

    /// The same with how its deliveries stand.
    #[must_use]
    pub fn to_json_with_counts(&self, counts: &DeliveryCounts) -> Box<RawValue> {
        let DeliveryCounts { pending, retrying, held, succeeded, abandoned } = counts;
        self.to_json_with(&format!(
            ",\"delivery_counts\":{{\"pending\":{pending},\"retrying\":{retrying},\"held\":{held},\
             \"succeeded\":{succeeded},\"abandoned\":{abandoned}}}"
        ))
    }

    fn to_json_with(&self, more: &str) -> Box<RawValue> {
        let (open, pending) = (self.body.strip_suffix(b"}").unwrap_or(&self.body), self.pending_webhooks);
        let text = format!("{},\"pending_webhooks\":{pending}{more}}}", String::from_utf8_lossy(open));
        // The body was rendered around a `data` that had parsed as JSON.
        RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, id::IdSource};

    fn event(data: &'static str) -> NewEvent {
        NewEvent {
            tenant: Tenant { merchant_id: "m_1".parse().unwrap(), livemode: false },
            event_type: EventType::ChargeSucceeded,
            created: Some(1_749_651_729),
            data: Bytes::from_static(data.as_bytes()),
            idempotency_key: None,
            audience: Audience::Matching,
            trace: None,
        }
    }

    #[test]
    fn data_reaches_the_body_byte_for_byte() {
        let data = "{ \"object\": {\"id\":\"ch_1\", \"amount\":1.10, \"big\":12345678901234567890123, \"z\":1,\"a\":2} }";
        let id = IdSource::new(Entropy::os()).next(UnixMs(0));
        let body = String::from_utf8(render(id, &event(data), UnixMs(0))).unwrap();
        assert!(body.ends_with(&format!("\"data\":{data}}}")), "{body}");
        let shown = Event {
            id,
            event_type: EventType::ChargeSucceeded,
            body: body.into(),
            pending_webhooks: 2,
            only_endpoint: None,
        };
        assert!(shown.to_json().get().ends_with(&format!("\"data\":{data},\"pending_webhooks\":2}}")));
    }

    #[test]
    fn the_fingerprint_tells_contents_apart() {
        let one = event("{}").fingerprint();
        assert_eq!(one, event("{}").fingerprint());
        assert_ne!(one, event("{ }").fingerprint());
        assert_ne!(one, NewEvent { created: None, ..event("{}") }.fingerprint());
    }

    #[test]
    fn every_type_is_found_by_its_name() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.as_str().parse::<EventType>().unwrap(), *event_type);
            assert_eq!(event_type.as_str().parse::<EventName>().unwrap(), EventName::Merchants(*event_type));
        }
        for kind in OperationalType::ALL {
            assert_eq!(kind.as_str().parse::<EventName>().unwrap(), EventName::Operational(*kind));
            assert!(kind.as_str().parse::<EventType>().is_err(), "no publisher can name it");
        }
    }
}
