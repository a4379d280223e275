//! Events: what the body of a verified request says.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

macro_rules! event_types {
    ($($variant:ident $name:literal,)*) => {
        /// What kind of event it is. A receiver answers 2xx to one that it does not know, and passes over it.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventType {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// One that came later than this library.
            Other(String),
        }

        impl EventType {
            /// Every type that this library knows.
            pub const KNOWN: &[Self] = &[$(Self::$variant,)*];

            /// The name, such as `charge.succeeded`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for EventType {
            fn from(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

event_types! {
    ChargeSucceeded "charge.succeeded",
    ChargeFailed "charge.failed",
    ChargeRefunded "charge.refunded",
    RefundCreated "refund.created",
    RefundUpdated "refund.updated",
    PayoutCreated "payout.created",
    PayoutPaid "payout.paid",
    PayoutFailed "payout.failed",
    DisputeCreated "dispute.created",
    DisputeUpdated "dispute.updated",
    DisputeClosed "dispute.closed",
}

impl FromStr for EventType {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(name.into())
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.as_str().into())
    }
}

/// An event of a merchant.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id; it comes again with each delivery of the event.
    pub id: String,
    /// The version of its form.
    pub api_version: String,
    /// When it happened, in unix seconds.
    pub created: i64,
    /// Live data, as opposed to test data.
    pub livemode: bool,
    /// What kind of event it is.
    pub event_type: EventType,
    /// What it is about.
    pub data: EventData,
    /// The bytes that were signed.
    pub raw: Vec<u8>,
}

/// What an event is about.
#[derive(Clone, Debug)]
pub struct EventData {
    /// The id of the charge, refund, payout or dispute.
    pub id: String,
    /// Which of them it is.
    pub resource: String,
    /// All of it, as it was published.
    pub object: Box<RawValue>,
    /// What changed, with the values of before.
    pub previous_attributes: Option<Box<RawValue>>,
}

impl EventData {
    /// The charge, refund, payout or dispute as a type of the receiver's own.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, EventError> {
        serde_json::from_str(self.object.get()).map_err(EventError)
    }
}

/// What was signed is not an event, or its object is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the body is not an event: {0}")]
pub struct EventError(#[source] serde_json::Error);

#[derive(Deserialize)]
struct Body {
    id: String,
    api_version: String,
    created: i64,
    livemode: bool,
    r#type: EventType,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Box<RawValue>,
    previous_attributes: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Resource {
    id: String,
    object: String,
}

impl Event {
    /// Reads an event. Verify first: this trusts what it is given.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        let read: Body = serde_json::from_slice(body).map_err(EventError)?;
        let resource: Resource = serde_json::from_str(read.data.object.get()).map_err(EventError)?;
        if let Some(previous) = &read.data.previous_attributes {
            serde_json::from_str::<serde_json::Map<_, _>>(previous.get()).map_err(EventError)?;
        }
        Ok(Self {
            id: read.id,
            api_version: read.api_version,
            created: read.created,
            livemode: read.livemode,
            event_type: read.r#type,
            data: EventData {
                id: resource.id,
                resource: resource.object,
                object: read.data.object,
                previous_attributes: read.data.previous_attributes,
            },
            raw: body.to_vec(),
        })
    }
}
