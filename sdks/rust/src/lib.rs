//! Verifies K-Payments webhooks and reads their events.
//!
//! ```
//! use k_payments_webhooks::{EventType, SigningSecret, Verifier, sign_header};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (body, text) = (br#"{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,
//! #   "type":"charge.succeeded","data":{"object":{"id":"ch_1","object":"charge","amount":4999}}}"#,
//! #   "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
//! # let secret = SigningSecret::parse(text)?;
//! # let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
//! # let header = sign_header(&[&secret], i64::try_from(now)?, body);
//! let verifier = Verifier::new(SigningSecret::parse(text)?);
//! let event = verifier.construct_event(body, Some(&header))?; // the raw bytes, and the header as it came
//! assert_eq!(event.event_type, EventType::ChargeSucceeded);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here needs an async runtime or an HTTP library, but for two features: `axum` brings an extractor of verified
//! events, `publisher` a client for internal services that publish them.

mod deduplication;
mod event;
#[cfg(feature = "axum")]
mod extract;
#[cfg(feature = "publisher")]
pub mod publisher;
mod signature;
mod verifier;

pub use deduplication::{BoxFuture, Deduplicator, MemoryDeduplicator};
pub use event::{Event, EventData, EventError, EventType};
#[cfg(feature = "axum")]
pub use extract::{Refused, Verified};
pub use signature::{
    NotASecret, SIGNATURE_HEADER, SigningSecret, TOLERANCE, VerifyError, sign_header,
    standard_webhooks_signature, verify, verify_any,
};
pub use verifier::{ReceiveError, Verifier};
