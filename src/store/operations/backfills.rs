//! Backfills: counting what matches, and making deliveries of it step by step.

use async_trait::async_trait;
use sqlx::FromRow;

use super::{Database, Engine, Reach, affected, batches, query, query_as, query_scalar, reached};
use crate::{
    backfill::{
        Backfill, BackfillStatus, IN_HAND_MAX, NewBackfill, Next, OPEN_MAX, Pace, Selection, Stepped, Tally,
    },
    clock::UnixMs,
    delivery::DeliveryStatus,
    id::{BackfillId, DeliveryId, EndpointId, EventId},
    kill_point::KillPoint,
    merchant::Tenant,
    store::{
        BackfillStore, Matching, Page, Paged, Result, StoreError,
        rows::{BackfillRow, read, read_number, write_enabled_events},
        sql,
    },
};

/// What a step of a backfill goes by.
#[derive(FromRow)]
struct Place {
    merchant_id: String,
    livemode: bool,
    webhook_endpoint_id: String,
    created_from: i64,
    created_to: i64,
    types: String,
    scope: String,
    per_second: i32,
    looked_up_to: String,
    ends_with: String,
    second_began_at: i64,
    made_in_second: i32,
}

/// Looks in one step: where nothing matches for long, its place is moved that seldom.
const LOOKS_MAX: usize = 10;

/// Behind every event's id.
const ALL_EVENTS: &str = "~";

/// Binds what a look over events goes by.
macro_rules! look {
    ($row:ty, $text:expr, $place:expr, $from:expr) => {
        query_as!(
            $row,
            $text,
            $place.merchant_id.as_str(),
            $place.livemode,
            $from,
            $place.ends_with.as_str(),
            $place.created_from,
            $place.created_to,
            // No list names all types, also those that do not exist yet.
            (!$place.types.contains('*')).then_some($place.types.as_str()),
            $place.webhook_endpoint_id.as_str(),
            $place.scope.as_str(),
        )
    };
}

/// What a step will make, and where it ends.
struct Found {
    events: Vec<String>,
    looked_up_to: String,
    /// Whether no event comes after.
    all: bool,
}

impl Engine {
    /// Where the tenant's next events end, if there are more than one statement looks at.
    async fn end_of_look(&self, place: &Place, from: &str) -> Result<Option<String>> {
        let (merchant, ends_with) = (place.merchant_id.as_str(), place.ends_with.as_str());
        let end =
            query_as!((i64, Option<String>), sql::NEXT_EVENTS, merchant, place.livemode, from, ends_with);
        let (count, last) = end.fetch_one(&mut *self.read().await?).await?;
        Ok(last.filter(|_| count == sql::EVENTS_LOOKED_AT))
    }

    /// The next `most` events that match, as far as the looks of one step go.
    async fn next_matching(&self, place: &Place, most: u32) -> Result<Found> {
        let mut from = place.looked_up_to.clone();
        for _ in 0..LOOKS_MAX {
            let rows = look!((String,), sql::MATCHING, place, from.as_str()).bind(i64::from(most));
            let events: Vec<String> =
                rows.fetch_all(&mut *self.read().await?).await?.into_iter().map(|(id,)| id).collect();
            if events.len() == most as usize
                && let Some(last) = events.last().cloned()
            {
                return Ok(Found { events, looked_up_to: last, all: false });
            }
            match self.end_of_look(place, &from).await? {
                None => return Ok(Found { events, looked_up_to: place.ends_with.clone(), all: true }),
                Some(end) if events.is_empty() => from = end,
                Some(end) => return Ok(Found { events, looked_up_to: end, all: false }),
            }
        }
        Ok(Found { events: Vec::new(), looked_up_to: from, all: false })
    }

    async fn step(&self, id: BackfillId, now: UnixMs) -> Result<Stepped> {
        let stepped = |made, next| Ok(Stepped { made, next });
        let name = id.to_string();
        let place = query_as!(Place, sql::BACKFILL_PLACE, &name);
        let Some(place) = place.fetch_optional(&mut *self.read().await?).await? else {
            return stepped(0, Next::Never);
        };
        let number = |number, column| read_number::<u32>(number, "backfills", column, &name);
        let per_second = number(place.per_second, "per_second")?;
        let pace = Pace {
            second_began_at: UnixMs(place.second_began_at),
            made: number(place.made_in_second, "made_in_second")?,
        };
        let pace = pace.at(now);
        let open = query_as!((i64, i64), sql::BACKFILL_OPEN, &name, now.0);
        let (in_hand, open) = open.fetch_one(&mut *self.read().await?).await?;
        let room = |most: u32, taken: i64| most.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        let room = room(IN_HAND_MAX, in_hand).min(room(OPEN_MAX, open));
        if pace.left(per_second) == 0 {
            return stepped(0, Next::At(pace.next_second()));
        }
        if room == 0 {
            return stepped(0, Next::WhenAnswered);
        }
        let found = self.next_matching(&place, room.min(pace.left(per_second))).await?;
        self.make(id, &place, &found, pace, now).await
    }

    /// Moves the place of a backfill past what was found and makes the deliveries, all or nothing.
    async fn make(
        &self,
        id: BackfillId,
        place: &Place,
        found: &Found,
        pace: Pace,
        now: UnixMs,
    ) -> Result<Stepped> {
        let (name, endpoint) = (id.to_string(), place.webhook_endpoint_id.as_str());
        let nothing = Stepped { made: 0, next: Next::Never };
        let mut write = self.write().await?;
        let ended = match batches::endpoint_state(&mut write, endpoint).await? {
            Some((status, None)) if status == "enabled" => None,
            Some((_, None)) => Some(query!(sql::PAUSE_BACKFILL, &name, now.0)),
            _ => Some(query!(sql::CANCEL_BACKFILLS, endpoint, now.0)),
        };
        if let Some(end) = ended {
            end.execute(&mut *write).await?;
            write.commit().await?;
            return Ok(nothing);
        }
        let (began, made) = (pace.second_began_at.0, i64::from(pace.made));
        let (from, to) = (place.looked_up_to.as_str(), found.looked_up_to.as_str());
        let moved = query!(sql::MOVE_BACKFILL, &name, from, to, began, made, now.0, found.all);
        if affected(&moved.execute(&mut *write).await?) == 0 {
            // Another process was first, or it was paused or canceled.
            return Ok(Stepped { made: 0, next: Next::AtOnce });
        }
        let mut made = 0;
        for event in &found.events {
            // One that was removed meanwhile is passed over.
            if !batches::keep_event(&mut write, event).await? {
                continue;
            }
            let delivery: DeliveryId = self.ids.next(now);
            let insert = query!(
                sql::INSERT_BACKFILL_DELIVERY,
                delivery.to_string(),
                place.merchant_id.as_str(),
                place.livemode,
                event.as_str(),
                endpoint,
                now.0,
                &name,
                place.scope.as_str(),
            );
            made += affected(&insert.execute(&mut *write).await?);
        }
        query!(sql::COUNT_SENT, &name, i64::from(made)).execute(&mut *write).await?;
        reached(KillPoint::BackfillBeforeCommit);
        write.commit().await?;
        reached(KillPoint::BackfillAfterCommit);
        Ok(Stepped { made, next: if found.all { Next::Never } else { Next::AtOnce } })
    }
}

#[async_trait]
impl BackfillStore for Engine {
    async fn count_matching(&self, selection: &Selection, after: Option<EventId>) -> Result<Matching> {
        let Selection { tenant, endpoint_id, created_from, created_to, types, scope } = selection;
        let place = Place {
            merchant_id: tenant.merchant_id.as_str().to_owned(),
            livemode: tenant.livemode,
            webhook_endpoint_id: endpoint_id.to_string(),
            created_from: created_from.0,
            created_to: created_to.0,
            types: write_enabled_events(types),
            scope: scope.as_str().to_owned(),
            per_second: 0,
            looked_up_to: after.map_or_else(String::new, |id| id.to_string()),
            ends_with: ALL_EVENTS.to_owned(),
            second_began_at: 0,
            made_in_second: 0,
        };
        self.run(|| async {
            let rows = look!((String, i64), sql::COUNT_MATCHING, place, place.looked_up_to.as_str());
            let rows = rows.fetch_all(&mut *self.read().await?).await?;
            let by_type = rows.into_iter().map(|(event_type, count)| {
                let count = read_number(count, "events", "type", &event_type)?;
                Ok((read(&event_type, "events", "type", &event_type)?, count))
            });
            let by_type = by_type.collect::<Result<Vec<_>>>()?;
            let end = self.end_of_look(&place, &place.looked_up_to).await?;
            let looked_up_to = end.map(|end| read(&end, "events", "id", &end)).transpose()?;
            Ok(Matching { by_type, looked_up_to })
        })
        .await
    }

    async fn insert_backfill(&self, new: &NewBackfill, now: UnixMs) -> Result<Option<Backfill>> {
        let Selection { tenant, endpoint_id, created_from, created_to, types, scope } = &new.selection;
        let inconsistent =
            |_| StoreError::Inconsistent { table: "backfills", column: "matched", id: new.id.to_string() };
        let matched = i64::try_from(new.matched).map_err(inconsistent)?;
        self.run(|| async {
            let mut write = self.write().await?;
            let row = query_as!(
                BackfillRow,
                sql::INSERT_BACKFILL,
                new.id.to_string(),
                tenant.merchant_id.as_str(),
                tenant.livemode,
                endpoint_id.to_string(),
                created_from.0,
                created_to.0,
                write_enabled_events(types),
                scope.as_str(),
                i64::from(new.per_second),
                matched,
                now.0,
            );
            let row = row.fetch_optional(&mut *write).await?;
            write.commit().await?;
            row.map(TryInto::try_into).transpose()
        })
        .await
    }

    async fn backfill(&self, tenant: &Tenant, id: BackfillId) -> Result<Option<Backfill>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        self.find(|| query_as!(BackfillRow, sql::BACKFILL, id.to_string(), merchant, livemode)).await
    }

    async fn backfill_tally(&self, id: BackfillId) -> Result<Tally> {
        self.run(|| async {
            let rows = query_as!((String, i64), sql::BACKFILL_TALLY, id.to_string());
            let mut tally = Tally::default();
            for (status, count) in rows.fetch_all(&mut *self.read().await?).await? {
                let place = match read(&status, "deliveries", "status", &status)? {
                    DeliveryStatus::Pending => &mut tally.pending,
                    DeliveryStatus::Held => &mut tally.held,
                    DeliveryStatus::Succeeded => &mut tally.succeeded,
                    DeliveryStatus::Abandoned => &mut tally.abandoned,
                };
                *place = read_number(count, "deliveries", "status", &status)?;
            }
            Ok(tally)
        })
        .await
    }

    async fn list_backfills(
        &self,
        tenant: &Tenant,
        endpoint: EndpointId,
        page: &Page<BackfillId>,
    ) -> Result<Option<Paged<Backfill>>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let cursor = |id| query!(sql::BACKFILL_CURSOR, id, merchant, livemode, endpoint.to_string());
        self.list(Reach::Page, page, cursor, |bounds| {
            query_as!(
                BackfillRow,
                sql::LIST_BACKFILLS.text(bounds.newest_first),
                bounds.cursor.clone(),
                bounds.rows,
                merchant,
                livemode,
                endpoint.to_string(),
            )
        })
        .await
    }

    async fn steer_backfill(
        &self,
        id: BackfillId,
        from: BackfillStatus,
        to: BackfillStatus,
        now: UnixMs,
    ) -> Result<Option<Backfill>> {
        self.run(|| async {
            let mut write = self.write().await?;
            let row = query_as!(
                BackfillRow,
                sql::STEER_BACKFILL,
                id.to_string(),
                from.as_str(),
                to.as_str(),
                now.0,
            );
            let row = row.fetch_optional(&mut *write).await?;
            write.commit().await?;
            row.map(TryInto::try_into).transpose()
        })
        .await
    }

    async fn running_backfills(&self, after: Option<BackfillId>, limit: u32) -> Result<Vec<BackfillId>> {
        self.run(|| async {
            let after = after.map_or_else(String::new, |id| id.to_string());
            let ids = query_scalar!(String, sql::RUNNING_BACKFILLS, after, i64::from(limit));
            let ids = ids.fetch_all(&mut *self.read().await?).await?;
            ids.iter().map(|id| read(id, "backfills", "id", id)).collect()
        })
        .await
    }

    async fn step_backfill(&self, id: BackfillId, now: UnixMs) -> Result<Stepped> {
        self.run(|| self.step(id, now)).await
    }

    async fn prune_backfills(&self, before: UnixMs, limit: u32) -> Result<u32> {
        self.change(|| query!(sql::PRUNE_BACKFILLS, before.0, i64::from(limit))).await
    }
}
