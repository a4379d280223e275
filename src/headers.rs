//! The headers of a delivery: one place for the service's attempts and for the tools that imitate them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::signature::{SigningSecret, sign_header, standard_webhooks_signature};

/// Who sends.
pub const USER_AGENT: &str = "K-Payments-Webhooks/1.0";

/// The header that receivers verify.
pub const SIGNATURE: HeaderName = HeaderName::from_static("k-payments-signature");

const EVENT_ID: HeaderName = HeaderName::from_static("k-payments-event-id");
const EVENT_TYPE: HeaderName = HeaderName::from_static("k-payments-event-type");
const DELIVERY_ID: HeaderName = HeaderName::from_static("k-payments-delivery-id");
const ATTEMPT: HeaderName = HeaderName::from_static("k-payments-attempt");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a request is, beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The event's id.
    pub event_id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The delivery's id.
    pub delivery_id: &'a str,
    /// Which attempt it is, from 1.
    pub attempt: u32,
}

impl Envelope<'_> {
    /// The headers of a request with this body, signed at this moment with each of the secrets. Without one they have no
    /// signatures.
    pub fn headers(
        &self,
        secrets: &[&SigningSecret],
        at_seconds: i64,
        body: &[u8],
    ) -> Result<HeaderMap, header::InvalidHeaderValue> {
        let mut headers = HeaderMap::with_capacity(11);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if !secrets.is_empty() {
            let standard = standard_webhooks_signature(secrets, self.event_id, at_seconds, body);
            headers.insert(SIGNATURE, HeaderValue::try_from(sign_header(secrets, at_seconds, body))?);
            headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(standard)?);
        }
        headers.insert(EVENT_ID, HeaderValue::try_from(self.event_id)?);
        headers.insert(EVENT_TYPE, HeaderValue::try_from(self.event_type)?);
        headers.insert(DELIVERY_ID, HeaderValue::try_from(self.delivery_id)?);
        headers.insert(ATTEMPT, HeaderValue::from(self.attempt));
        headers.insert(WEBHOOK_ID, HeaderValue::try_from(self.event_id)?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at_seconds));
        Ok(headers)
    }
}
