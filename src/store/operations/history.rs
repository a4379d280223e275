//! Looking through a tenant's events in the order of their dates, for reconciliations and exports.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::FromRow;

use super::{
    Database, Engine, batches, query_as,
    stretch::{Place, Stretch},
};
use crate::{
    clock::UnixMs,
    endpoint::EnabledEvents,
    event::{Event, EventPlace, EventType},
    id::EventId,
    merchant::Tenant,
    reconciliation::{Deliveries, EventState, EventStates, Scope},
    store::{
        HistoryStore, Result,
        rows::{EventRow, read, read_number, write_enabled_events},
        sql::history as sql,
    },
};

const EVENTS: &str = "events";

/// An event, and how many of its deliveries to one endpoint are in one state; without an endpoint, that it has none.
#[derive(FromRow)]
struct StateRow {
    created_at: i64,
    id: String,
    event_type: String,
    webhook_endpoint_id: Option<String>,
    status: Option<String>,
    deliveries: i64,
}

impl StateRow {
    fn deliveries(&self) -> Result<Option<Deliveries>> {
        const TABLE: &str = "deliveries";
        let (Some(endpoint), Some(status)) = (&self.webhook_endpoint_id, &self.status) else {
            return Ok(None);
        };
        Ok(Some(Deliveries {
            endpoint_id: read(endpoint, TABLE, "webhook_endpoint_id", &self.id)?,
            status: read(status, TABLE, "status", &self.id)?,
            count: read_number(self.deliveries, TABLE, "status", &self.id)?,
        }))
    }
}

/// Rows of one event are adjacent.
fn events_of(rows: &[StateRow]) -> Result<Vec<EventState>> {
    let events = rows.chunk_by(|one, next| one.id == next.id).map(|rows| {
        let first = &rows[0];
        let id = read(&first.id, EVENTS, "id", &first.id)?;
        let deliveries = rows.iter().filter_map(|row| row.deliveries().transpose());
        Ok(EventState {
            place: EventPlace { created_at: UnixMs(first.created_at), id },
            event_type: read(&first.event_type, EVENTS, "type", &first.id)?,
            deliveries: deliveries.collect::<Result<_>>()?,
        })
    });
    events.collect()
}

#[derive(FromRow)]
struct DatedRow {
    dated: i64,
    #[sqlx(flatten)]
    event: EventRow,
}

#[async_trait]
impl HistoryStore for Engine {
    async fn event_states(&self, scope: &Scope, after: Option<EventPlace>) -> Result<EventStates> {
        let Scope { tenant, endpoint_id, created_from, created_to, types } = scope;
        let stretch = Stretch::of(tenant, (*created_from, *created_to), after);
        let types = (*types != EnabledEvents::All).then(|| write_enabled_events(types));
        let endpoint = endpoint_id.map(|id| id.to_string());
        self.run(|| async {
            let mut connection = self.read_long().await?;
            let (piece, more) = stretch.piece(&mut connection, sql::END_OF_500).await?;
            let rows = piece.bind(query_as!(StateRow, sql::EVENT_STATES));
            let rows = rows.bind(types.as_deref()).bind(endpoint.as_deref());
            let rows = rows.fetch_all(&mut *connection).await?;
            let looked_up_to = if more { Some(piece.to.event()?) } else { None };
            Ok(EventStates { events: events_of(&rows)?, looked_up_to })
        })
        .await
    }

    async fn events_among(&self, scope: &Scope, ids: &[EventId]) -> Result<HashMap<EventId, bool>> {
        let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
        self.run(|| async {
            let mut connection = self.read_long().await?;
            let rows = batches::events_among(&mut connection, &scope.tenant, &ids).await?;
            let among = rows.into_iter().map(|row| {
                let event_type: EventType = read(&row.event_type, EVENTS, "type", &row.id)?;
                let only = row.only_endpoint_id.as_deref();
                let only = only.map(|only| read(only, EVENTS, "only_endpoint_id", &row.id)).transpose()?;
                let covered = scope.covers(UnixMs(row.created_at), event_type, only);
                Ok((read(&row.id, EVENTS, "id", &row.id)?, covered))
            });
            among.collect()
        })
        .await
    }

    async fn event_place(&self, tenant: &Tenant, id: EventId) -> Result<Option<EventPlace>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let place = self.run(|| async {
            let place = query_as!(Place, sql::EVENT_PLACE, id.to_string(), merchant, livemode);
            Ok(place.fetch_optional(&mut *self.read().await?).await?)
        });
        place.await?.map(|place| place.event()).transpose()
    }

    async fn events_by_date(
        &self,
        tenant: &Tenant,
        range: (UnixMs, UnixMs),
        after: Option<EventPlace>,
        limit: u32,
    ) -> Result<Vec<(EventPlace, Event)>> {
        let stretch = Stretch::of(tenant, range, after);
        self.run(|| async {
            let rows = stretch.bind(query_as!(DatedRow, sql::EVENTS_BY_DATE)).bind(i64::from(limit));
            let rows = rows.fetch_all(&mut *self.read_long().await?).await?;
            let events = rows.into_iter().map(|row| {
                let event: Event = row.event.try_into()?;
                Ok((EventPlace { created_at: UnixMs(row.dated), id: event.id }, event))
            });
            events.collect()
        })
        .await
    }
}
