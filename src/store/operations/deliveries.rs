//! Events and deliveries as they are listed, and deliveries that are asked for: an old one again, or a new one of an old
//! event.

use super::{Database, Engine, Reach, affected, batches, query, query_as, query_scalar};
use crate::{
    clock::UnixMs,
    delivery::Delivery,
    event::Event,
    id::{DeliveryId, EventId},
    merchant::Tenant,
    store::{
        DeliveryFilter, EventFilter, NewDelivery, Page, Paged, Result,
        rows::{DeliveryRow, EventRow, read},
        sql,
    },
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

    pub(super) async fn deliveries_page(
        &self,
        tenant: &Tenant,
        filter: &DeliveryFilter,
        page: &Page<DeliveryId>,
    ) -> Result<Option<Paged<Delivery>>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let (list, found, parent, status) = match filter {
            DeliveryFilter::OfEvent(id) => {
                (&sql::LIST_DELIVERIES_OF_EVENT, sql::DELIVERY_OF_EVENT_CURSOR, id.to_string(), None)
            }
            DeliveryFilter::OfEndpoint(id, status) => {
                (&sql::LIST_DELIVERIES_OF_ENDPOINT, sql::DELIVERY_OF_ENDPOINT_CURSOR, id.to_string(), *status)
            }
        };
        let cursor = |id| query!(found, id, merchant, livemode, parent.clone());
        let reach = if status.is_none() { Reach::Page } else { Reach::Everything };
        self.list(reach, page, cursor, |bounds| {
            query_as!(
                DeliveryRow,
                list.text(bounds.newest_first),
                bounds.cursor.clone(),
                bounds.rows,
                merchant,
                livemode,
                parent.clone(),
                status.map(crate::delivery::DeliveryStatus::as_str),
            )
        })
        .await
    }

    pub(super) async fn following_events(
        &self,
        tenant: &Tenant,
        after: EventId,
        limit: u32,
    ) -> Result<Vec<Event>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let rows =
            query_as!(EventRow, sql::EVENTS_AFTER, after.to_string(), i64::from(limit), merchant, livemode);
        let rows = rows.fetch_all(&mut *self.read().await?).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(super) async fn ids_between(
        &self,
        tenant: &Tenant,
        after: EventId,
        up_to: EventId,
        limit: u32,
    ) -> Result<Vec<EventId>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let bounds = (after.to_string(), up_to.to_string());
        let text = sql::EVENT_IDS_BETWEEN;
        let ids = query_scalar!(String, text, bounds.0, bounds.1, i64::from(limit), merchant, livemode);
        let ids = ids.fetch_all(&mut *self.read().await?).await?;
        ids.iter().map(|id| read(id, "events", "id", id)).collect()
    }

    pub(super) async fn events_page(
        &self,
        tenant: &Tenant,
        filter: &EventFilter,
        page: &Page<EventId>,
    ) -> Result<Option<Paged<Event>>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let cursor = |id| query!(sql::EVENT_CURSOR, id, merchant, livemode);
        let reach = if *filter == EventFilter::default() { Reach::Page } else { Reach::Everything };
        self.list(reach, page, cursor, |bounds| {
            query_as!(
                EventRow,
                sql::LIST_EVENTS.text(bounds.newest_first),
                bounds.cursor.clone(),
                bounds.rows,
                merchant,
                livemode,
                filter.event_type.map(crate::event::EventType::as_str),
                filter.created_from.map(|at| at.0),
                filter.created_to.map(|at| at.0),
                filter.delivery_status.map(crate::delivery::DeliveryStatus::as_str),
            )
        })
        .await
    }
}
