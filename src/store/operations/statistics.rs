//! Statistics: buckets that processes add to, that are rolled up as they age, and what was seen last of each endpoint.

use std::collections::BTreeMap;

use sqlx::{QueryBuilder, Row as _};

use super::{Database, Engine, Row, affected, query, query_as, query_scalar};
use crate::{
    clock::UnixMs,
    id::EndpointId,
    statistics::{Bucket, Counts, Latest, Length, MEASURES, StatisticsFilter, columns},
    store::{
        Result,
        rows::{LatestRow, read},
        sql,
    },
};

const TABLE: &str = "statistics";

/// Rows of one `VALUES` list.
const ROWS_PER_STATEMENT: usize = 50;

/// The key of a row: merchant, mode, endpoint and beginning; rows of one length are written together.
type Key = (String, bool, String, i64);

impl Engine {
    pub(super) async fn add_to_statistics(
        &self,
        buckets: &[Bucket],
        latest: &[(EndpointId, Latest)],
    ) -> Result<()> {
        let mut write = self.write().await?;
        let mut tenants = BTreeMap::new();
        let mut rows = BTreeMap::new();
        for bucket in buckets {
            let id = bucket.endpoint_id.to_string();
            if !tenants.contains_key(&id) {
                let tenant = query_as!((String, bool), sql::health::TENANT_OF_ENDPOINT, &id);
                tenants.insert(id.clone(), tenant.fetch_optional(&mut *write).await?);
            }
            // One that was removed meanwhile has no statistics any more.
            let Some(Some((merchant, livemode))) = tenants.get(&id) else { continue };
            rows.insert((merchant.clone(), *livemode, id, bucket.starts_at.0), bucket.counts);
        }
        add(&mut write, Length::FiveMinutes, &rows).await?;
        for (endpoint, latest) in latest {
            let failure = latest.failure.as_ref();
            query!(
                sql::health::PUT_LATEST,
                endpoint.to_string(),
                latest.success_at.map(|at| at.0),
                failure.map(|failure| failure.at.0),
                failure.map(|failure| failure.code.as_str()),
                failure.map(|failure| failure.message.as_str()),
            )
            .execute(&mut *write)
            .await?;
        }
        write.commit().await
    }

    pub(super) async fn sum_statistics(
        &self,
        filter: &StatisticsFilter,
        length: Length,
    ) -> Result<Vec<Bucket>> {
        let mut sum = QueryBuilder::<Database>::new("SELECT webhook_endpoint_id, starts_at - starts_at % ");
        sum.push_bind(length.ms()).push(" AS begins_at");
        for column in columns() {
            sum.push(format_args!(", CAST(sum({column}) AS BIGINT)"));
        }
        sum.push(" FROM statistics WHERE merchant_id = ").push_bind(filter.tenant.merchant_id.as_str());
        sum.push(" AND livemode = ").push_bind(filter.tenant.livemode);
        if let Some(endpoint) = filter.endpoint_id {
            sum.push(" AND webhook_endpoint_id = ").push_bind(endpoint.to_string());
        }
        sum.push(" AND starts_at >= ").push_bind(filter.from.0);
        sum.push(" AND starts_at < ").push_bind(filter.to.0);
        sum.push(" GROUP BY webhook_endpoint_id, begins_at ORDER BY webhook_endpoint_id, begins_at");
        let rows = sum.build().fetch_all(&mut *self.read_long().await?).await?;
        let bucket = |row: &Row| {
            let id: String = row.try_get(0)?;
            Ok(Bucket {
                endpoint_id: read(&id, TABLE, "webhook_endpoint_id", &id)?,
                starts_at: UnixMs(row.try_get(1)?),
                counts: counts(row, 2)?,
            })
        };
        rows.iter().map(bucket).collect()
    }

    pub(super) async fn roll_up(&self, length: Length, before: UnixMs, limit: u32) -> Result<u32> {
        let Some((longer, _)) = length.rolled_up() else { return Ok(0) };
        let mut write = self.write().await?;
        let mut take = QueryBuilder::<Database>::new(sql::health::TAKE_STATISTICS_OF);
        take.push_bind(length.ms()).push(" AND starts_at < ").push_bind(before.0);
        take.push(" ORDER BY starts_at LIMIT ").push_bind(i64::from(limit));
        take.push(") RETURNING merchant_id, livemode, webhook_endpoint_id, starts_at");
        for column in columns() {
            take.push(", ").push(column);
        }
        let taken = take.build().fetch_all(&mut *write).await?;
        let mut rows: BTreeMap<Key, Counts> = BTreeMap::new();
        for row in &taken {
            let begins_at = longer.floor(UnixMs(row.try_get(3)?));
            let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, begins_at.0);
            rows.entry(key).or_default().add(&counts(row, 4)?);
        }
        add(&mut write, longer, &rows).await?;
        write.commit().await?;
        Ok(u32::try_from(taken.len()).unwrap_or(limit))
    }

    /// How many deliveries of the endpoint are pending, and how many held, counted up to `limit` of each.
    pub(super) async fn count_open(&self, endpoint: EndpointId, limit: u32) -> Result<(u32, u32)> {
        let (id, limit) = (endpoint.to_string(), i64::from(limit));
        let mut connection = self.read_long().await?;
        let mut counts = [0; 2];
        for (count, text) in counts.iter_mut().zip([sql::COUNT_PENDING, sql::COUNT_HELD]) {
            let counted = query_scalar!(i64, text, &id, limit).fetch_one(&mut *connection).await?;
            *count = u32::try_from(counted).unwrap_or(u32::MAX);
        }
        Ok((counts[0], counts[1]))
    }

    pub(super) async fn latest(&self, endpoint: EndpointId) -> Result<Latest> {
        let row = query_as!(LatestRow, sql::health::LATEST, endpoint.to_string());
        let row = row.fetch_optional(&mut *self.read().await?).await?;
        row.map_or_else(|| Ok(Latest::default()), TryInto::try_into)
    }

    pub(super) async fn prune_old_statistics(&self, before: UnixMs, limit: u32) -> Result<u32> {
        let mut write = self.write().await?;
        let mut pruned = 0;
        for length in Length::ALL {
            let left = i64::from(limit - pruned);
            let prune = query!(sql::health::PRUNE_STATISTICS, length.ms(), before.0, left);
            pruned += affected(&prune.execute(&mut *write).await?);
        }
        write.commit().await?;
        Ok(pruned)
    }
}

/// The numbers of a row, from this column on.
fn counts(row: &Row, first: usize) -> Result<Counts> {
    let mut counts = [0; MEASURES];
    for (index, count) in counts.iter_mut().enumerate() {
        *count = row.try_get(first + index)?;
    }
    Ok(Counts::from_array(counts))
}

/// Adds numbers to what is there, in the order of keys, so that processes that add do not wait for each other in a circle.
async fn add(write: &mut super::Write, length: Length, rows: &BTreeMap<Key, Counts>) -> Result<()> {
    let rows: Vec<_> = rows.iter().collect();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Database>::new(
            "INSERT INTO statistics (merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms",
        );
        for column in columns() {
            insert.push(", ").push(column);
        }
        insert.push(") ");
        insert.push_values(rows, |mut row, ((merchant, livemode, endpoint, starts_at), counts)| {
            row.push_bind(merchant.as_str()).push_bind(*livemode).push_bind(endpoint.as_str());
            row.push_bind(*starts_at).push_bind(length.ms());
            for count in counts.as_array() {
                row.push_bind(*count);
            }
        });
        insert.push(
            " ON CONFLICT (merchant_id, livemode, webhook_endpoint_id, starts_at, length_ms) DO UPDATE SET ",
        );
        let mut sums = insert.separated(", ");
        for column in columns() {
            sums.push(format_args!("{column} = statistics.{column} + excluded.{column}"));
        }
        // A text for each number of rows would crowd those out that are prepared once.
        insert.build().persistent(false).execute(&mut **write).await?;
    }
    Ok(())
}
