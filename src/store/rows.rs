//! Rows as both engines return them, and how they become the domain's types.

pub(super) mod audit;
pub(super) mod backfills;
pub(super) mod console;
mod health;
mod operational;
pub(super) mod portal;
mod recording;

use std::{str::FromStr, sync::Arc};

use bytes::Bytes;
use sqlx::FromRow;
use subtle::ConstantTimeEq as _;

use super::{ApiKey, KeyOwner, Result, StoreError};
use crate::{
    clock::UnixMs,
    delivery::{Attempt, Delivery},
    endpoint::{Destination, EnabledEvents, Endpoint, SealedSecret},
    event::{Event, EventName},
    id::{DeliveryId, EndpointId, EventId, LeaseToken},
    merchant::{MerchantId, Tenant},
    trace::TraceContext,
    transport::ResponseHeaders,
    vault::Sealed,
};
pub(super) use health::{FailingRow, LatestRow};
pub(super) use operational::{AbandonedRow, CountedRow};
pub(super) use recording::{Change, Endpoints, StandingRow};

/// Refuses to go on where a statement touched other rows than those it was for.
pub(super) fn expect_affected(table: &'static str, affected: usize, rows: usize) -> Result<()> {
    if affected == rows {
        return Ok(());
    }
    Err(StoreError::Inconsistent { table, column: "id", id: format!("{affected} rows instead of {rows}") })
}

/// Reads a text column as what it should be.
pub(super) fn read<T: FromStr>(text: &str, table: &'static str, column: &'static str, id: &str) -> Result<T> {
    text.parse().map_err(|_| StoreError::Inconsistent { table, column, id: id.to_owned() })
}

/// The same for whose something is: a merchant's, or the operators'.
pub(super) fn read_merchant(text: &str, table: &'static str, id: &str) -> Result<MerchantId> {
    let inconsistent = |_| StoreError::Inconsistent { table, column: "merchant_id", id: id.to_owned() };
    MerchantId::from_stored(text).map_err(inconsistent)
}

/// The same for a column that may be NULL.
pub(super) fn read_optional<T: FromStr>(
    text: Option<&str>,
    table: &'static str,
    column: &'static str,
    id: &str,
) -> Result<Option<T>> {
    text.map(|text| read(text, table, column, id)).transpose()
}

/// Reads a number that must not be negative or too large.
pub(super) fn read_number<T: TryFrom<i64>>(
    number: impl Into<i64>,
    table: &'static str,
    column: &'static str,
    id: &str,
) -> Result<T> {
    T::try_from(number.into()).map_err(|_| StoreError::Inconsistent { table, column, id: id.to_owned() })
}

#[derive(FromRow)]
pub(super) struct ApiKeyRow {
    id: String,
    merchant_id: Option<String>,
    livemode: Option<bool>,
    service: Option<String>,
    publishable_key: Option<String>,
    last4: String,
    created_at: i64,
    expires_at: Option<i64>,
}

/// A key that was looked for by its hash.
#[derive(FromRow)]
pub(super) struct FoundApiKeyRow {
    #[sqlx(flatten)]
    key: ApiKeyRow,
    secret_hash: Vec<u8>,
}

impl FoundApiKeyRow {
    /// The key, if its hash is this one: compared here too, in constant time, whatever the database compares.
    pub(super) fn with_hash(self, secret_hash: &[u8; 32]) -> Option<ApiKeyRow> {
        bool::from(self.secret_hash.ct_eq(secret_hash)).then_some(self.key)
    }
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: ApiKeyRow) -> Result<Self> {
        const TABLE: &str = "api_keys";
        let owner = match (row.merchant_id, row.livemode, row.service) {
            (Some(merchant), Some(livemode), None) => {
                let merchant_id: MerchantId = read(&merchant, TABLE, "merchant_id", &row.id)?;
                KeyOwner::Merchant(Tenant { merchant_id, livemode })
            }
            (None, None, Some(service)) => KeyOwner::Service(service),
            _ => return Err(StoreError::Inconsistent { table: TABLE, column: "merchant_id", id: row.id }),
        };
        Ok(Self {
            id: read(&row.id, TABLE, "id", &row.id)?,
            owner,
            last4: row.last4,
            publishable_key: row.publishable_key,
            created_at: UnixMs(row.created_at),
            expires_at: row.expires_at.map(UnixMs),
        })
    }
}

#[derive(FromRow)]
pub(super) struct EndpointRow {
    id: String,
    merchant_id: String,
    livemode: bool,
    url: String,
    enabled_events: String,
    description: Option<String>,
    status: String,
    disabled_reason: Option<String>,
    created_at: i64,
    updated_at: i64,
}

const ENDPOINTS: &str = "webhook_endpoints";

/// How `enabled_events` is stored: a JSON list of names.
pub(super) fn write_enabled_events(events: &EnabledEvents) -> String {
    serde_json::Value::from(events.names()).to_string()
}

fn read_enabled_events(text: &str, id: &str) -> Result<EnabledEvents> {
    let names: Option<Vec<String>> = serde_json::from_str(text).ok();
    names.and_then(|names| EnabledEvents::parse(&names).ok()).ok_or_else(|| StoreError::Inconsistent {
        table: ENDPOINTS,
        column: "enabled_events",
        id: id.to_owned(),
    })
}

impl TryFrom<EndpointRow> for Endpoint {
    type Error = StoreError;

    fn try_from(row: EndpointRow) -> Result<Self> {
        Ok(Self {
            id: read(&row.id, ENDPOINTS, "id", &row.id)?,
            tenant: Tenant {
                merchant_id: read_merchant(&row.merchant_id, ENDPOINTS, &row.id)?,
                livemode: row.livemode,
            },
            enabled_events: read_enabled_events(&row.enabled_events, &row.id)?,
            status: read(&row.status, ENDPOINTS, "status", &row.id)?,
            disabled_reason: read_optional(
                row.disabled_reason.as_deref(),
                ENDPOINTS,
                "disabled_reason",
                &row.id,
            )?,
            url: row.url,
            description: row.description,
            created_at: UnixMs(row.created_at),
            updated_at: UnixMs(row.updated_at),
        })
    }
}

#[derive(FromRow)]
pub(super) struct SealedSecretRow {
    id: String,
    key_id: String,
    ciphertext: Vec<u8>,
    expires_at: Option<i64>,
}

impl TryFrom<SealedSecretRow> for SealedSecret {
    type Error = StoreError;

    fn try_from(row: SealedSecretRow) -> Result<Self> {
        Ok(Self {
            id: read(&row.id, "signing_secrets", "id", &row.id)?,
            sealed: Sealed { key_id: row.key_id, ciphertext: row.ciphertext },
            expires_at: row.expires_at.map(UnixMs),
        })
    }
}

/// An endpoint joined with one of its secrets; rows of one endpoint are adjacent, its newest secret first.
#[derive(FromRow)]
pub(super) struct DestinationRow {
    id: String,
    merchant_id: String,
    livemode: bool,
    url: String,
    enabled_events: String,
    status: String,
    secret_id: String,
    key_id: String,
    ciphertext: Vec<u8>,
    expires_at: Option<i64>,
    #[sqlx(default)]
    version: Option<String>,
}

impl DestinationRow {
    fn secret(&self) -> Result<SealedSecret> {
        Ok(SealedSecret {
            id: read(&self.secret_id, "signing_secrets", "id", &self.secret_id)?,
            sealed: Sealed { key_id: self.key_id.clone(), ciphertext: self.ciphertext.clone() },
            expires_at: self.expires_at.map(UnixMs),
        })
    }
}

/// A candidate endpoint for new events: what to match and where to send.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) tenant: Tenant,
    pub(super) enabled_events: EnabledEvents,
    pub(super) enabled: bool,
    pub(super) destination: Arc<Destination>,
    /// What tells the endpoint as it was read from any later state of it, where the engine says so.
    pub(super) version: Option<String>,
}

/// Folds adjacent rows of one endpoint into one candidate.
pub(super) fn candidates(rows: Vec<DestinationRow>) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(row) = rows.next() {
        let mut secrets = vec![row.secret()?];
        while let Some(other) = rows.next_if(|next| next.id == row.id) {
            secrets.push(other.secret()?);
        }
        candidates.push(Candidate {
            tenant: Tenant {
                merchant_id: read_merchant(&row.merchant_id, ENDPOINTS, &row.id)?,
                livemode: row.livemode,
            },
            enabled_events: read_enabled_events(&row.enabled_events, &row.id)?,
            enabled: row.status == "enabled",
            destination: Arc::new(Destination::new(
                read(&row.id, ENDPOINTS, "id", &row.id)?,
                row.url,
                secrets,
            )),
            version: row.version,
        });
    }
    Ok(candidates)
}

#[derive(FromRow)]
pub(super) struct EventRow {
    id: String,
    r#type: String,
    pub(super) body: Vec<u8>,
    pending_webhooks: i64,
    only_endpoint_id: Option<String>,
}

impl TryFrom<EventRow> for Event {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self> {
        Ok(Self {
            id: read(&row.id, "events", "id", &row.id)?,
            event_type: read(&row.r#type, "events", "type", &row.id)?,
            only_endpoint: read_optional(
                row.only_endpoint_id.as_deref(),
                "events",
                "only_endpoint_id",
                &row.id,
            )?,
            body: Bytes::from(row.body),
            pending_webhooks: row.pending_webhooks,
        })
    }
}

#[derive(FromRow)]
pub(super) struct DeliveryRow {
    id: String,
    pub(super) event_id: String,
    event_type: String,
    webhook_endpoint_id: String,
    livemode: bool,
    status: String,
    abandoned_reason: Option<String>,
    attempt_count: i32,
    next_attempt_at: Option<i64>,
    created_at: i64,
    backfill_id: Option<String>,
}

const DELIVERIES: &str = "deliveries";

impl TryFrom<DeliveryRow> for Delivery {
    type Error = StoreError;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: read(id, DELIVERIES, "id", id)?,
            event_id: read(&row.event_id, DELIVERIES, "event_id", id)?,
            event_type: read(&row.event_type, "events", "type", &row.event_id)?,
            endpoint_id: read(&row.webhook_endpoint_id, DELIVERIES, "webhook_endpoint_id", id)?,
            livemode: row.livemode,
            status: read(&row.status, DELIVERIES, "status", id)?,
            abandoned_reason: read_optional(
                row.abandoned_reason.as_deref(),
                DELIVERIES,
                "abandoned_reason",
                id,
            )?,
            attempt_count: read_number(row.attempt_count, DELIVERIES, "attempt_count", id)?,
            next_attempt_at: row.next_attempt_at.map(UnixMs),
            created_at: UnixMs(row.created_at),
            backfill_id: read_optional(row.backfill_id.as_deref(), DELIVERIES, "backfill_id", id)?,
        })
    }
}

#[derive(FromRow)]
pub(super) struct AttemptRow {
    id: String,
    number: i32,
    started_at: i64,
    duration_ms: i64,
    response_status: Option<i32>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    response_headers: Option<String>,
    response_body: Option<Vec<u8>>,
    address: Option<String>,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = StoreError;

    fn try_from(row: AttemptRow) -> Result<Self> {
        const TABLE: &str = "attempts";
        let id = row.id.as_str();
        let status = row.response_status.map(|status| read_number(status, TABLE, "response_status", id));
        Ok(Self {
            id: read(id, TABLE, "id", id)?,
            number: read_number(row.number, TABLE, "number", id)?,
            started_at: UnixMs(row.started_at),
            duration_ms: row.duration_ms,
            response_status: status.transpose()?,
            failure_code: read_optional(row.failure_code.as_deref(), TABLE, "failure_code", id)?,
            failure_message: row.failure_message,
            response_headers: row.response_headers.map(ResponseHeaders::from_stored),
            response_body: row.response_body.map(Bytes::from),
            address: row.address,
        })
    }
}

/// A delivery just leased, with its event.
#[derive(FromRow)]
pub(super) struct LeasedRow {
    pub(super) id: String,
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) body: Vec<u8>,
    pub(super) webhook_endpoint_id: String,
    pub(super) attempt_count: i32,
    pub(super) ladder_failures: i32,
    pub(super) window_started_at: i64,
    pub(super) traceparent: Option<String>,
}

/// An event, without what is in it.
#[derive(FromRow)]
pub(super) struct KnownEventRow {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) created_at: i64,
    pub(super) only_endpoint_id: Option<String>,
}

/// An idempotency key that is remembered.
#[derive(FromRow)]
pub(super) struct RememberedRow {
    pub(super) merchant_id: String,
    pub(super) livemode: bool,
    pub(super) key: String,
    pub(super) fingerprint: Vec<u8>,
    pub(super) event_id: String,
}

/// An event to insert.
pub(super) struct EventValues {
    pub(super) id: EventId,
    pub(super) tenant: Tenant,
    pub(super) event_type: EventName,
    pub(super) created_at: UnixMs,
    pub(super) body: Bytes,
    /// The only endpoint it is for, where it is a test.
    pub(super) only_endpoint: Option<EndpointId>,
    /// The span in which it is accepted.
    pub(super) trace: Option<TraceContext>,
}

/// A new delivery to insert.
pub(super) struct DeliveryValues {
    pub(super) id: DeliveryId,
    pub(super) tenant: Tenant,
    pub(super) event_id: EventId,
    pub(super) endpoint_id: EndpointId,
    pub(super) held: bool,
    /// The lease that it begins with, and when that ends.
    pub(super) lease: Option<(LeaseToken, UnixMs)>,
}

impl DeliveryValues {
    pub(super) fn status(&self) -> &'static str {
        if self.held { "held" } else { "pending" }
    }

    pub(super) fn next_attempt_at(&self, now: UnixMs) -> Option<i64> {
        (!self.held).then_some(now.0)
    }

    pub(super) fn claimable_at(&self, now: UnixMs) -> Option<i64> {
        (!self.held).then(|| self.lease.map_or(now.0, |(_, until)| until.0))
    }

    pub(super) fn lease_token(&self) -> Option<String> {
        self.lease.map(|(token, _)| token.to_string())
    }
}

/// An idempotency key to remember.
pub(super) struct KeyValues {
    pub(super) tenant: Tenant,
    pub(super) key: String,
    pub(super) fingerprint: [u8; 32],
    pub(super) event_id: EventId,
}
