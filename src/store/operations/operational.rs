//! What those who operate the service are told, and the order in which deliveries were abandoned.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Database, Engine, Write, affected, batches, query, query_as, query_scalar, reached};
use crate::{
    clock::UnixMs,
    event::{EventName, render_named},
    id::EndpointId,
    kill_point::KillPoint,
    merchant::Tenant,
    operational::{AbandonedDeliveries, Data, OperationalType, Report},
    store::{
        AbandonedDelivery, AbandonedFilter, OperationalStore, Paged, Result, Store as _,
        rows::{AbandonedRow, CountedRow, DeliveryValues, EventValues, read},
        sql::{self, operational as own_sql},
    },
};

/// The last position that was given to an abandoned delivery.
const POSITION: &str = "abandoned_position";

/// The position of the last abandoned delivery that the operators were told of.
const TOLD_OF: &str = "operations_told_of_abandoned";

/// Abandoned deliveries that one transaction gives their positions, or one look counts.
const ABANDONED_AT_ONCE: i64 = 1_000;

/// Abandoned deliveries that are told of together, so that a look at them ends: the rest follows.
const TOLD_TOGETHER: usize = 100_000;

/// Something to tell the operators, about live data or test data.
pub(super) struct Notice {
    pub(super) kind: OperationalType,
    pub(super) livemode: bool,
    pub(super) report: Report,
}

impl Engine {
    /// Makes operational events, due at once, if there is somewhere to tell them. Answers whether there is.
    pub(super) async fn tell(&self, write: &mut Write, all: Vec<Notice>, now: UnixMs) -> Result<bool> {
        let tenant = Tenant::operators();
        let endpoint = query_scalar!(
            String,
            own_sql::ENDPOINT_OF_OPERATORS,
            tenant.merchant_id.as_str(),
            tenant.livemode
        );
        let Some(endpoint) = endpoint.fetch_optional(&mut **write).await? else { return Ok(false) };
        // It stays until the transaction ends, unless it is gone by now.
        let state = batches::endpoint_state(write, &endpoint).await?;
        if state.is_none_or(|(_, deleted_at)| deleted_at.is_some()) {
            return Ok(false);
        }
        let endpoint_id: EndpointId = read(&endpoint, "webhook_endpoints", "id", &endpoint)?;
        let (mut events, mut deliveries) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
        for Notice { kind, livemode, report } in all {
            let (id, event_type) = (self.ids.next(now), EventName::Operational(kind));
            let data = serde_json::to_vec(&Data { object: report }).expect("texts and numbers are JSON");
            events.push(EventValues {
                id,
                tenant: tenant.clone(),
                event_type,
                created_at: now,
                body: Bytes::from(render_named(id, event_type, now.seconds(), livemode, &data)),
                only_endpoint: None,
                trace: None,
            });
            deliveries.push(DeliveryValues {
                id: self.ids.next(now),
                tenant: tenant.clone(),
                event_id: id,
                endpoint_id,
                held: false,
                lease: None,
            });
        }
        batches::insert_events(write, &events, &deliveries, now).await?;
        Ok(true)
    }

    /// Gives deliveries that were abandoned their place in the order, one process at a time: a place is seen only after all
    /// before it, whenever their transactions ended. Answers how many got one, perhaps fewer than there are.
    async fn give_positions(&self) -> Result<usize> {
        // Read first: where there is nothing, no write lock is taken.
        let anew = query_scalar!(String, own_sql::ABANDONED_ANEW);
        if anew.fetch_optional(&mut *self.read().await?).await?.is_none() {
            return Ok(0);
        }
        let mut write = self.write().await?;
        query!(sql::INSERT_SETTING, POSITION, "0").execute(&mut *write).await?;
        let last = query_scalar!(String, own_sql::LOCK_SETTING, POSITION).fetch_one(&mut *write).await?;
        let last: i64 = read(&last, "settings", "value", POSITION)?;
        let given = query_scalar!(i64, own_sql::GIVE_POSITIONS, last, ABANDONED_AT_ONCE);
        let given = given.fetch_all(&mut *write).await?;
        if let Some(last) = given.iter().max() {
            query!(sql::PUT_SETTING, POSITION, last.to_string()).execute(&mut *write).await?;
        }
        write.commit().await?;
        Ok(given.len())
    }

    async fn abandoned_page(
        &self,
        filter: &AbandonedFilter,
        after: i64,
        limit: u32,
    ) -> Result<Paged<AbandonedDelivery>> {
        self.give_positions().await?;
        let (rows, operators) = (i64::from(limit) + 1, Tenant::operators().merchant_id);
        let mut connection = self.read_long().await?;
        let mut found: Vec<AbandonedRow> = Vec::new();
        match &filter.merchant_id {
            None => {
                let (text, all_but) = (own_sql::LIST_ABANDONED, operators.as_str());
                let list = query_as!(AbandonedRow, text, after, rows, all_but, filter.livemode);
                found = list.fetch_all(&mut *connection).await?;
            }
            Some(merchant) => {
                // One mode after the other, each in the order of an index.
                for mode in
                    [false, true].into_iter().filter(|mode| filter.livemode.is_none_or(|one| one == *mode))
                {
                    let text = own_sql::LIST_ABANDONED_OF_TENANT;
                    let list = query_as!(AbandonedRow, text, after, rows, merchant.as_str(), mode);
                    found.extend(list.fetch_all(&mut *connection).await?);
                }
                found.sort_unstable_by_key(|row| row.abandoned_position);
            }
        }
        let limit = limit as usize;
        let has_more = found.len() > limit;
        let items = found.into_iter().take(limit).map(TryInto::try_into).collect::<Result<_>>()?;
        Ok(Paged { items, has_more })
    }

    /// What was abandoned behind this position, by endpoint, and up to which position.
    async fn count_abandoned(&self, after: i64) -> Result<(BTreeMap<EndpointId, AbandonedDeliveries>, i64)> {
        let (mut counted, mut last, mut looked_at) = (BTreeMap::new(), after, 0);
        let operators = Tenant::operators().merchant_id;
        while looked_at < TOLD_TOGETHER {
            self.give_positions().await?;
            let (text, all_but) = (own_sql::COUNT_ABANDONED, operators.as_str());
            let rows = query_as!(CountedRow, text, last, ABANDONED_AT_ONCE, all_but);
            let rows = rows.fetch_all(&mut *self.read_long().await?).await?;
            if rows.is_empty() {
                break;
            }
            looked_at += rows.len();
            for row in rows {
                last = row.abandoned_position;
                let (endpoint, tenant) = (row.endpoint()?, row.tenant()?);
                counted
                    .entry(endpoint)
                    .or_insert_with(|| AbandonedDeliveries::to(endpoint, tenant, last))
                    .add(row.id()?, row.reason()?);
            }
        }
        Ok((counted, last))
    }

    async fn tell_of_what_was_abandoned(&self, now: UnixMs) -> Result<usize> {
        let told_of = query_scalar!(String, sql::SETTING, TOLD_OF);
        let Some(told_of) = told_of.fetch_optional(&mut *self.read().await?).await? else { return Ok(0) };
        let after = read(&told_of, "settings", "value", TOLD_OF)?;
        let (counted, last) = self.count_abandoned(after).await?;
        let count = counted.len();
        if count == 0 {
            return Ok(0);
        }
        let kind = OperationalType::DeliveryAbandoned;
        let notices = counted.into_values().map(|abandoned| Notice {
            kind,
            livemode: abandoned.livemode,
            report: Report::Abandoned(abandoned),
        });
        let mut write = self.write().await?;
        // First, so that of several processes one tells: the others find another mark.
        let marked = query!(sql::REPLACE_SETTING, TOLD_OF, told_of, last.to_string());
        if affected(&marked.execute(&mut *write).await?) == 0
            || !self.tell(&mut write, notices.collect(), now).await?
        {
            return Ok(0);
        }
        reached(KillPoint::TellBeforeCommit);
        write.commit().await?;
        reached(KillPoint::TellAfterCommit);
        Ok(count)
    }
}

#[async_trait]
impl OperationalStore for Engine {
    async fn list_abandoned_deliveries(
        &self,
        filter: &AbandonedFilter,
        after: i64,
        limit: u32,
    ) -> Result<Paged<AbandonedDelivery>> {
        self.run(|| self.abandoned_page(filter, after, limit)).await
    }

    async fn begin_telling_of_abandoned(&self) -> Result<()> {
        self.run(|| async {
            let begun = query_scalar!(String, sql::SETTING, TOLD_OF);
            if begun.fetch_optional(&mut *self.read().await?).await?.is_some() {
                return Ok(());
            }
            // What was abandoned before has its place before the mark.
            while self.give_positions().await? > 0 {}
            let mut write = self.write().await?;
            query!(sql::INSERT_SETTING, POSITION, "0").execute(&mut *write).await?;
            let last = query_scalar!(String, sql::SETTING, POSITION).fetch_one(&mut *write).await?;
            query!(sql::INSERT_SETTING, TOLD_OF, last).execute(&mut *write).await?;
            write.commit().await
        })
        .await
    }

    async fn end_telling_of_abandoned(&self) -> Result<()> {
        // Read first: most processes begin with nothing to end.
        if self.setting(TOLD_OF).await?.is_some() {
            self.change(|| query!(own_sql::DELETE_SETTING, TOLD_OF)).await?;
        }
        Ok(())
    }

    async fn tell_of_abandoned(&self, now: UnixMs) -> Result<usize> {
        self.run(|| self.tell_of_what_was_abandoned(now)).await
    }
}
