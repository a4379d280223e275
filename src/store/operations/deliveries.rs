//! Deliveries that are asked for: an old one again, or a new one of an old event.

use super::{Database, Engine, affected, batches, query, query_as};
use crate::{
    clock::UnixMs,
    delivery::Delivery,
    id::DeliveryId,
    merchant::Tenant,
    store::{NewDelivery, Result, rows::DeliveryRow, sql},
};

impl Engine {
    pub(super) async fn begin_anew(
        &self,
        tenant: &Tenant,
        id: DeliveryId,
        now: UnixMs,
    ) -> Result<Option<Delivery>> {
        let (id, merchant) = (id.to_string(), tenant.merchant_id.as_str());
        let mut write = self.write().await?;
        let row = query_as!(DeliveryRow, sql::DELIVERY, &id, merchant, tenant.livemode);
        let Some(found) = row.fetch_optional(&mut *write).await? else { return Ok(None) };
        if !batches::keep_event(&mut write, &found.event_id).await? {
            return Ok(None);
        }
        query!(sql::RETRY_DELIVERY, &id, merchant, tenant.livemode, now.0).execute(&mut *write).await?;
        let row = query_as!(DeliveryRow, sql::DELIVERY, &id, merchant, tenant.livemode);
        let row = row.fetch_optional(&mut *write).await?;
        write.commit().await?;
        row.map(TryInto::try_into).transpose()
    }

    pub(super) async fn make_delivery(
        &self,
        delivery: &NewDelivery,
        now: UnixMs,
    ) -> Result<Option<Delivery>> {
        let id: DeliveryId = self.ids.next(now);
        let (merchant, livemode) = (delivery.tenant.merchant_id.as_str(), delivery.tenant.livemode);
        let (event, endpoint) = (delivery.event_id.to_string(), delivery.endpoint_id.to_string());
        let mut write = self.write().await?;
        let state = batches::endpoint_state(&mut write, &endpoint).await?;
        let on = state.is_some_and(|(status, deleted_at)| status == "enabled" && deleted_at.is_none());
        if !on || !batches::keep_event(&mut write, &event).await? {
            return Ok(None);
        }
        let inserted =
            query!(sql::INSERT_DELIVERY, id.to_string(), merchant, livemode, event, endpoint, now.0)
                .execute(&mut *write)
                .await?;
        if affected(&inserted) == 0 {
            return Ok(None);
        }
        let row = query_as!(DeliveryRow, sql::DELIVERY, id.to_string(), merchant, livemode);
        let row = row.fetch_one(&mut *write).await?;
        write.commit().await?;
        Ok(Some(row.try_into()?))
    }
}
