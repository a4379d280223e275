//! Backfills: counting what matches, and making deliveries of it step by step.

use async_trait::async_trait;
use sqlx::{FromRow, query::QueryAs};

use super::{
    Arguments, Database, Engine, Reach, Write, affected,
    audit::Note,
    batches, query, query_as, query_scalar, reached,
    stretch::{Connection, Place, Stretch},
};
use crate::{
    audit::{Action, Author, Changes},
    backfill::{
        Backfill, BackfillReason, BackfillStatus, IN_HAND_MAX, NewBackfill, Next, OPEN_MAX, Pace, Selection,
        Stepped, Tally,
    },
    clock::UnixMs,
    endpoint::EnabledEvents,
    event::EventPlace,
    id::{BackfillId, DeliveryId, EndpointId},
    kill_point::KillPoint,
    merchant::Tenant,
    store::{
        BackfillStore, Matching, Page, Paged, Result, StoreError,
        rows::{backfills::BackfillRow, read, read_number, write_enabled_events},
        sql::{backfills as sql, history::END_OF_2000},
    },
};

/// Looks in one step: where nothing matches for long, its place is moved that seldom.
const LOOKS_MAX: usize = 10;

/// What a step of a backfill goes by.
#[derive(FromRow)]
struct StepRow {
    merchant_id: String,
    livemode: bool,
    webhook_endpoint_id: String,
    created_to: i64,
    types: String,
    scope: String,
    per_second: i32,
    place_created_at: i64,
    place_event_id: String,
    ends_with: String,
    second_began_at: i64,
    made_in_second: i32,
}

/// Which events of a stretch are sent.
struct Filter {
    /// A JSON list, or none where all types are, also those that do not exist yet.
    types: Option<String>,
    endpoint: String,
    scope: String,
}

impl Filter {
    /// Binds a stretch and itself to the first nine arguments of a query.
    fn bind<'q, R>(
        &'q self,
        stretch: &'q Stretch,
        query: QueryAs<'q, Database, R, Arguments>,
    ) -> QueryAs<'q, Database, R, Arguments> {
        stretch.bind(query).bind(self.types.as_deref()).bind(self.endpoint.as_str()).bind(self.scope.as_str())
    }
}

/// A step that can do something.
struct Step {
    stretch: Stretch,
    filter: Filter,
    ends_with: String,
    pace: Pace,
    /// Deliveries that it may make.
    most: u32,
}

/// What a step will make, and where it ends.
struct Found {
    events: Vec<String>,
    to: Place,
    /// Whether no event comes after.
    all: bool,
}

impl Step {
    /// The next events that match, as far as the looks of one step go.
    async fn find(&self, connection: &mut Connection) -> Result<Found> {
        let mut left = self.stretch.clone();
        for _ in 0..LOOKS_MAX {
            let (piece, more) = left.piece(connection, END_OF_2000).await?;
            let rows = self.filter.bind(&piece, query_as!(Place, sql::MATCHING));
            let rows = rows.bind(self.ends_with.as_str()).bind(i64::from(self.most));
            let found = rows.fetch_all(&mut *connection).await?;
            let full = found.last().cloned().filter(|_| found.len() == self.most as usize);
            let events: Vec<String> = found.into_iter().map(|place| place.id).collect();
            if full.is_some() || !more || !events.is_empty() {
                let all = full.is_none() && !more;
                return Ok(Found { events, to: full.unwrap_or(piece.to), all });
            }
            left = left.behind(&piece);
        }
        Ok(Found { events: Vec::new(), to: left.after, all: false })
    }
}

impl Engine {
    async fn step(&self, id: BackfillId, now: UnixMs) -> Result<Stepped> {
        let (step, found) = {
            // One connection for all that is looked at, and none while the writer is waited for.
            let mut connection = self.read().await?;
            let step = match plan(&mut connection, id, now).await? {
                Ok(step) => step,
                Err(next) => return Ok(Stepped { made: 0, next }),
            };
            let found = step.find(&mut connection).await?;
            (step, found)
        };
        self.make(id, &step, &found, now).await
    }

    /// Moves the place of a backfill past what was found and makes the deliveries, all or nothing.
    async fn make(&self, id: BackfillId, step: &Step, found: &Found, now: UnixMs) -> Result<Stepped> {
        let (name, endpoint) = (id.to_string(), step.filter.endpoint.as_str());
        let (merchant, livemode) = (step.stretch.merchant_id.as_str(), step.stretch.livemode);
        let mut write = self.write().await?;
        let state = batches::endpoint_state(&mut write, endpoint).await?;
        if !matches!(&state, Some((status, None)) if status == "enabled") {
            let merchant_id = read(merchant, "backfills", "merchant_id", &name)?;
            let (tenant, by) = (Tenant { merchant_id, livemode }, Author::service());
            let (to, reason) = match state {
                Some((_, None)) => (BackfillStatus::Paused, BackfillReason::EndpointDisabled),
                _ => (BackfillStatus::Canceled, BackfillReason::EndpointDeleted),
            };
            self.stop_backfill(&mut write, &tenant, endpoint, (to, reason), &by, now).await?;
            write.commit().await?;
            return Ok(Stepped { made: 0, next: Next::Never });
        }
        let (after, to) = (&step.stretch.after, &found.to);
        let moved = query!(
            sql::MOVE_BACKFILL,
            &name,
            after.created_at,
            after.id.as_str(),
            to.created_at,
            to.id.as_str(),
            step.pace.second_began_at.0,
            i64::from(step.pace.made),
            now.0,
            found.all,
        );
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
                merchant,
                livemode,
                event.as_str(),
                endpoint,
                now.0,
                &name,
                step.filter.scope.as_str(),
            );
            made += affected(&insert.execute(&mut *write).await?);
        }
        query!(sql::COUNT_SENT, &name, i64::from(made)).execute(&mut *write).await?;
        reached(KillPoint::BackfillBeforeCommit);
        write.commit().await?;
        reached(KillPoint::BackfillAfterCommit);
        Ok(Stepped { made, next: if found.all { Next::Never } else { Next::AtOnce } })
    }

    /// Stops the endpoint's backfill, if it has one that is not finished.
    pub(super) async fn stop_backfill(
        &self,
        write: &mut Write,
        tenant: &Tenant,
        endpoint: &str,
        (to, reason): (BackfillStatus, BackfillReason),
        by: &Author,
        now: UnixMs,
    ) -> Result<()> {
        let found = query_as!((String, String), sql::TOUCH_BACKFILL, endpoint);
        let Some((name, from)) = found.fetch_optional(&mut **write).await? else { return Ok(()) };
        let from: BackfillStatus = read(&from, "backfills", "status", &name)?;
        if from == to {
            return Ok(());
        }
        let finished_at = to.is_final().then_some(now.0);
        let stop = query!(sql::STOP_BACKFILL, &name, to.as_str(), reason.as_str(), now.0, finished_at);
        stop.execute(&mut **write).await?;
        let changes = steered(from, to).with("status_reason", None::<&str>, reason.as_str());
        let (tenant, action) = (Some(tenant), Action::BackfillUpdated);
        self.note(write, Note { tenant, action, object_id: &name, changes }, by, now).await
    }

    async fn keep_backfill(&self, new: &NewBackfill, by: &Author, now: UnixMs) -> Result<Option<Backfill>> {
        let Selection { tenant, endpoint_id, created_from, created_to, types, scope } = &new.selection;
        let (name, endpoint) = (new.id.to_string(), endpoint_id.to_string());
        let inconsistent =
            |_| StoreError::Inconsistent { table: "backfills", column: "matched", id: new.id.to_string() };
        let matched = i64::try_from(new.counted.total()).map_err(inconsistent)?;
        let mut write = self.write().await?;
        let row = query_as!(
            BackfillRow,
            sql::INSERT_BACKFILL,
            &name,
            tenant.merchant_id.as_str(),
            tenant.livemode,
            &endpoint,
            created_from.0,
            created_to.0,
            write_enabled_events(types),
            scope.as_str(),
            i64::from(new.per_second),
            matched,
            new.counted.all,
            now.0,
        );
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(None) };
        let changes = Changes::default()
            .with("webhook_endpoint", None::<&str>, endpoint)
            .with("created_gte", None::<i64>, created_from.seconds())
            .with("created_lte", None::<i64>, created_to.seconds())
            .with("types", None::<&str>, types.names())
            .with("only", None::<&str>, scope.as_str())
            .with("per_second", None::<u32>, new.per_second);
        let (tenant, action) = (Some(tenant), Action::BackfillCreated);
        self.note(&mut write, Note { tenant, action, object_id: &name, changes }, by, now).await?;
        write.commit().await?;
        Ok(Some(row.try_into()?))
    }

    async fn steer(
        &self,
        id: BackfillId,
        from: BackfillStatus,
        to: BackfillStatus,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Backfill>> {
        let name = id.to_string();
        let mut write = self.write().await?;
        let row = query_as!(BackfillRow, sql::STEER_BACKFILL, &name, from.as_str(), to.as_str(), now.0);
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(None) };
        let steered_to: Backfill = row.try_into()?;
        let tenant = Some(&steered_to.selection.tenant);
        let (action, changes) = (Action::BackfillUpdated, steered(from, to));
        self.note(&mut write, Note { tenant, action, object_id: &name, changes }, by, now).await?;
        write.commit().await?;
        Ok(Some(steered_to))
    }
}

fn steered(from: BackfillStatus, to: BackfillStatus) -> Changes {
    Changes::default().with("status", from.as_str(), to.as_str())
}

/// What the next step is to do; otherwise when there is one.
async fn plan(
    connection: &mut Connection,
    id: BackfillId,
    now: UnixMs,
) -> Result<std::result::Result<Step, Next>> {
    let name = id.to_string();
    let row = query_as!(StepRow, sql::BACKFILL_STEP, &name).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(Err(Next::Never)) };
    let number = |number, column| read_number::<u32>(number, "backfills", column, &name);
    let per_second = number(row.per_second, "per_second")?;
    let made = number(row.made_in_second, "made_in_second")?;
    let pace = Pace { second_began_at: UnixMs(row.second_began_at), made }.at(now);
    if pace.left(per_second) == 0 {
        return Ok(Err(Next::At(pace.next_second())));
    }
    let open = query_as!((i64, i64), sql::BACKFILL_OPEN, &name, now.0);
    let (in_hand, open) = open.fetch_one(connection).await?;
    let room = |most: u32, taken: i64| most.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
    let room = room(IN_HAND_MAX, in_hand).min(room(OPEN_MAX, open));
    if room == 0 {
        return Ok(Err(Next::WhenAnswered));
    }
    let stretch = Stretch {
        merchant_id: row.merchant_id,
        livemode: row.livemode,
        after: Place { created_at: row.place_created_at, id: row.place_event_id },
        to: Place::behind(UnixMs(row.created_to)),
    };
    let types = Some(row.types).filter(|types| !types.contains('*'));
    let filter = Filter { types, endpoint: row.webhook_endpoint_id, scope: row.scope };
    let most = room.min(pace.left(per_second));
    Ok(Ok(Step { stretch, filter, ends_with: row.ends_with, pace, most }))
}

#[async_trait]
impl BackfillStore for Engine {
    async fn count_matching(&self, selection: &Selection, after: Option<EventPlace>) -> Result<Matching> {
        let Selection { tenant, endpoint_id, created_from, created_to, types, scope } = selection;
        let stretch = Stretch::of(tenant, (*created_from, *created_to), after);
        let filter = Filter {
            types: (*types != EnabledEvents::All).then(|| write_enabled_events(types)),
            endpoint: endpoint_id.to_string(),
            scope: scope.as_str().to_owned(),
        };
        self.run(|| async {
            let mut connection = self.read_long().await?;
            let (piece, more) = stretch.piece(&mut connection, END_OF_2000).await?;
            let rows = filter.bind(&piece, query_as!((String, i64), sql::COUNT_MATCHING));
            let rows = rows.fetch_all(&mut *connection).await?;
            let by_type = rows.into_iter().map(|(event_type, count)| {
                let count = read_number(count, "events", "type", &event_type)?;
                Ok((read(&event_type, "events", "type", &event_type)?, count))
            });
            let looked_up_to = if more { Some(piece.to.event()?) } else { None };
            Ok(Matching { by_type: by_type.collect::<Result<Vec<_>>>()?, looked_up_to })
        })
        .await
    }

    async fn insert_backfill(&self, new: &NewBackfill, by: &Author, now: UnixMs) -> Result<Option<Backfill>> {
        self.run(|| self.keep_backfill(new, by, now)).await
    }

    async fn backfill(&self, tenant: &Tenant, id: BackfillId) -> Result<Option<Backfill>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        self.find(|| query_as!(BackfillRow, sql::BACKFILL, id.to_string(), merchant, livemode)).await
    }

    async fn backfill_tally(&self, id: BackfillId) -> Result<Tally> {
        self.run(|| async {
            let name = id.to_string();
            let row = query_as!((i64, i64, i64), sql::BACKFILL_TALLY, &name);
            let (pending, held, abandoned) = row.fetch_one(&mut *self.read().await?).await?;
            let number = |count| read_number(count, "deliveries", "backfill_id", &name);
            Ok(Tally { pending: number(pending)?, held: number(held)?, abandoned: number(abandoned)? })
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
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Backfill>> {
        self.run(|| self.steer(id, from, to, by, now)).await
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
