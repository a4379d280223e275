//! Portal sessions, and what their pages show, as both engines return them.

use std::collections::HashMap;

use sqlx::FromRow;

use super::{read, read_optional};
use crate::{
    clock::UnixMs,
    delivery::{DeliveryCounts, DeliveryStatus},
    id::EventId,
    merchant::Tenant,
    portal::{PortalSession, Theme},
    store::{Result, StoreError},
};

#[derive(FromRow)]
pub(in crate::store) struct PortalSessionRow {
    id: String,
    merchant_id: String,
    livemode: bool,
    access: String,
    accent: Option<String>,
    appearance: String,
    created_at: i64,
    opened_at: Option<i64>,
    expires_at: i64,
}

impl TryFrom<PortalSessionRow> for PortalSession {
    type Error = StoreError;

    fn try_from(row: PortalSessionRow) -> Result<Self> {
        const TABLE: &str = "portal_sessions";
        let id = row.id.as_str();
        Ok(Self {
            id: read(id, TABLE, "id", id)?,
            tenant: Tenant {
                merchant_id: read(&row.merchant_id, TABLE, "merchant_id", id)?,
                livemode: row.livemode,
            },
            access: read(&row.access, TABLE, "access", id)?,
            theme: Theme {
                accent: read_optional(row.accent.as_deref(), TABLE, "accent", id)?,
                appearance: read(&row.appearance, TABLE, "appearance", id)?,
            },
            created_at: UnixMs(row.created_at),
            opened_at: row.opened_at.map(UnixMs),
            expires_at: UnixMs(row.expires_at),
        })
    }
}

/// How many deliveries of an event are in one state.
#[derive(FromRow)]
pub(in crate::store) struct CountRow {
    event_id: String,
    status: String,
    attempted: i32,
    number: i64,
}

/// The rows by event.
pub(in crate::store) fn read_counts(rows: &[CountRow]) -> Result<HashMap<EventId, DeliveryCounts>> {
    const TABLE: &str = "deliveries";
    let mut counts: HashMap<EventId, DeliveryCounts> = HashMap::new();
    for row in rows {
        let id = row.event_id.as_str();
        let of_event = counts.entry(read(id, TABLE, "event_id", id)?).or_default();
        match read(&row.status, TABLE, "status", id)? {
            DeliveryStatus::Pending => {
                of_event.pending += row.number;
                of_event.retrying += i64::from(row.attempted) * row.number;
            }
            DeliveryStatus::Held => of_event.held += row.number,
            DeliveryStatus::Succeeded => of_event.succeeded += row.number,
            DeliveryStatus::Abandoned => of_event.abandoned += row.number,
        }
    }
    Ok(counts)
}
