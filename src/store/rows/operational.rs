//! Abandoned deliveries, as rows.

use sqlx::FromRow;

use super::{DeliveryRow, read};
use crate::{
    clock::UnixMs,
    delivery::AbandonedReason,
    id::{DeliveryId, EndpointId},
    merchant::Tenant,
    store::{AbandonedDelivery, Result, StoreError},
};

const DELIVERIES: &str = "deliveries";

/// One with its place in the order.
#[derive(FromRow)]
pub(in crate::store) struct AbandonedRow {
    merchant_id: String,
    abandoned_at: Option<i64>,
    pub(in crate::store) abandoned_position: i64,
    #[sqlx(flatten)]
    delivery: DeliveryRow,
}

impl TryFrom<AbandonedRow> for AbandonedDelivery {
    type Error = StoreError;

    fn try_from(row: AbandonedRow) -> Result<Self> {
        Ok(Self {
            merchant_id: read(&row.merchant_id, DELIVERIES, "merchant_id", &row.delivery.id)?,
            abandoned_at: row.abandoned_at.map(UnixMs),
            position: row.abandoned_position,
            delivery: row.delivery.try_into()?,
        })
    }
}

/// One to be counted.
#[derive(FromRow)]
pub(in crate::store) struct CountedRow {
    id: String,
    merchant_id: String,
    livemode: bool,
    webhook_endpoint_id: String,
    abandoned_reason: String,
    pub(in crate::store) abandoned_position: i64,
}

impl CountedRow {
    pub(in crate::store) fn id(&self) -> Result<DeliveryId> {
        read(&self.id, DELIVERIES, "id", &self.id)
    }

    pub(in crate::store) fn endpoint(&self) -> Result<EndpointId> {
        read(&self.webhook_endpoint_id, DELIVERIES, "webhook_endpoint_id", &self.id)
    }

    pub(in crate::store) fn tenant(&self) -> Result<Tenant> {
        let merchant_id = read(&self.merchant_id, DELIVERIES, "merchant_id", &self.id)?;
        Ok(Tenant { merchant_id, livemode: self.livemode })
    }

    pub(in crate::store) fn reason(&self) -> Result<AbandonedReason> {
        read(&self.abandoned_reason, DELIVERIES, "abandoned_reason", &self.id)
    }
}
