//! Console sessions, processes, and looks over all merchants.

use async_trait::async_trait;

use super::{Database, Engine, Reach, audit::Note, endpoints::locked, query, query_as, query_scalar};
use crate::{
    audit::{Action, Author, Changes},
    clock::UnixMs,
    console::ConsoleSession,
    endpoint::{DisabledReason, Endpoint},
    id::{ConsoleSessionId, EndpointId, ProcessId},
    merchant::Tenant,
    pulse::{ProcessReport, Tally, TallyLength},
    store::{
        ConsoleStore, FailingEndpoint, NewConsoleSession, ObjectId, Owner, Page, Paged, Result, UpkeepDone,
        rows::console::{
            ConsoleSessionRow, FailingEndpointRow, OwnerRow, ProcessRow, TallyRow, UpkeepRow, read_tallies,
        },
        sql::console as sql,
    },
};

fn note(action: Action, object_id: &str, changes: Changes) -> Note<'_> {
    Note { tenant: None, action, object_id, changes }
}

impl Engine {
    async fn keep_console_session(
        &self,
        new: &NewConsoleSession,
        by: &Author,
        now: UnixMs,
    ) -> Result<ConsoleSession> {
        let id = new.id.to_string();
        let mut write = self.write().await?;
        let row = query_as!(
            ConsoleSessionRow,
            sql::INSERT_SESSION,
            &id,
            new.service.as_deref(),
            new.key_hash.as_slice(),
            new.cookie_hash.as_slice(),
            now.0,
            new.expires_at.0,
        );
        let session: ConsoleSession = row.fetch_one(&mut *write).await?.try_into()?;
        let changes = Changes::default().with("expires_at", None::<i64>, session.expires_at.seconds());
        self.note(&mut write, note(Action::ConsoleSessionOpened, &id, changes), by, now).await?;
        write.commit().await?;
        Ok(session)
    }

    async fn finish_console_session(&self, id: ConsoleSessionId, by: &Author, now: UnixMs) -> Result<bool> {
        let id = id.to_string();
        let mut write = self.write().await?;
        let row = query_as!(ConsoleSessionRow, sql::END_SESSION, &id, now.0);
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(false) };
        let session: ConsoleSession = row.try_into()?;
        let changes = Changes::default().with("expires_at", session.expires_at.seconds(), now.seconds());
        self.note(&mut write, note(Action::ConsoleSessionEnded, &id, changes), by, now).await?;
        write.commit().await?;
        Ok(true)
    }

    async fn hold(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        reason: &str,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let text = id.to_string();
        let mut write = self.write().await?;
        if locked(&mut write, tenant, &text).await?.is_none()
            || !self.disable(&mut write, id, DisabledReason::Operator, Some(reason), by, now).await?
        {
            return Ok(None);
        }
        let held = locked(&mut write, tenant, &text).await?;
        write.commit().await?;
        Ok(held)
    }

    async fn put_report(
        &self,
        report: &ProcessReport,
        counted: &[(TallyLength, UnixMs, Tally)],
    ) -> Result<()> {
        let id = report.id.to_string();
        let mut write = self.write().await?;
        let process = query!(
            sql::PUT_PROCESS,
            &id,
            report.role.as_str(),
            &report.version,
            &report.host,
            report.started_at.0,
            report.seen_at.0,
            json(&report.load),
        );
        process.execute(&mut *write).await?;
        for (length, starts_at, counts) in counted {
            let tally = query!(sql::PUT_TALLY, &id, length.length().ms(), starts_at.0, json(counts));
            tally.execute(&mut *write).await?;
        }
        write.commit().await
    }
}

/// Numbers by name, which are always JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[async_trait]
impl ConsoleStore for Engine {
    async fn insert_console_session(
        &self,
        session: &NewConsoleSession,
        by: &Author,
        now: UnixMs,
    ) -> Result<ConsoleSession> {
        self.run(|| self.keep_console_session(session, by, now)).await
    }

    async fn find_console_session(
        &self,
        cookie_hash: &[u8; 32],
        bootstrap_hash: Option<&[u8; 32]>,
        now: UnixMs,
    ) -> Result<Option<ConsoleSession>> {
        let bootstrap = bootstrap_hash.map(<[u8; 32]>::as_slice);
        self.find(|| {
            query_as!(ConsoleSessionRow, sql::FIND_SESSION, cookie_hash.as_slice(), bootstrap, now.0)
        })
        .await
    }

    async fn end_console_session(&self, id: ConsoleSessionId, by: &Author, now: UnixMs) -> Result<bool> {
        self.run(|| self.finish_console_session(id, by, now)).await
    }

    async fn owner_of(&self, object: &ObjectId) -> Result<Option<Owner>> {
        let (text, table, id) = match object {
            ObjectId::Event(id) => (sql::OWNER_OF_EVENT, "events", id.to_string()),
            ObjectId::Delivery(id) => (sql::OWNER_OF_DELIVERY, "deliveries", id.to_string()),
            ObjectId::Endpoint(id) => (sql::OWNER_OF_ENDPOINT, "webhook_endpoints", id.to_string()),
            ObjectId::Backfill(id) => (sql::OWNER_OF_BACKFILL, "backfills", id.to_string()),
            ObjectId::Key(id) => (sql::OWNER_OF_KEY, "api_keys", id.to_string()),
            ObjectId::PortalSession(id) => (sql::OWNER_OF_PORTAL_SESSION, "portal_sessions", id.to_string()),
            ObjectId::Merchant(id) => {
                let found = self.run(|| async {
                    let found = query_scalar!(Option<String>, sql::MERCHANT, id.as_str());
                    Ok(found.fetch_one(&mut *self.read().await?).await?)
                });
                return Ok(found.await?.map(|_| Owner::Merchant));
            }
        };
        let row = self.run(|| async {
            Ok(query_as!(OwnerRow, text, &id).fetch_optional(&mut *self.read().await?).await?)
        });
        row.await?.map_or(Ok(None), |row| row.read(table, &id))
    }

    async fn list_failing(&self, page: &Page<EndpointId>) -> Result<Option<Paged<FailingEndpoint>>> {
        let cursor = |id| query!(sql::FAILING_CURSOR, id);
        self.list(Reach::Page, page, cursor, |bounds| {
            let text = sql::LIST_FAILING.text(bounds.newest_first);
            query_as!(FailingEndpointRow, text, bounds.cursor.clone(), bounds.rows)
        })
        .await
    }

    async fn hold_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        reason: &str,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        self.run(|| self.hold(tenant, id, reason, by, now)).await
    }

    async fn report(&self, report: &ProcessReport, counted: &[(TallyLength, UnixMs, Tally)]) -> Result<()> {
        self.run(|| self.put_report(report, counted)).await
    }

    async fn forget_process(&self, id: ProcessId) -> Result<()> {
        self.change(|| query!(sql::FORGET_PROCESS, id.to_string())).await.map(drop)
    }

    async fn processes(&self, seen_after: UnixMs) -> Result<Vec<ProcessReport>> {
        let rows = self.run(|| async {
            let rows = query_as!(ProcessRow, sql::PROCESSES, seen_after.0);
            Ok(rows.fetch_all(&mut *self.read().await?).await?)
        });
        rows.await?.into_iter().map(TryInto::try_into).collect()
    }

    async fn tallies(&self, length: TallyLength, from: UnixMs, to: UnixMs) -> Result<Vec<(UnixMs, Tally)>> {
        let rows = self.run(|| async {
            let rows = query_as!(TallyRow, sql::TALLIES, length.length().ms(), from.0, to.0);
            Ok(rows.fetch_all(&mut *self.read_long().await?).await?)
        });
        read_tallies(&rows.await?)
    }

    async fn upkeep_done(&self) -> Result<Vec<UpkeepDone>> {
        self.run(|| async {
            let rows = query_as!(UpkeepRow, sql::UPKEEP_DONE);
            let rows = rows.fetch_all(&mut *self.read().await?).await?;
            Ok(rows.into_iter().map(UpkeepDone::from).collect())
        })
        .await
    }

    async fn expire_console_sessions(&self, limit: u32, now: UnixMs) -> Result<u32> {
        self.change(|| query!(sql::EXPIRE_SESSIONS, now.0, i64::from(limit))).await
    }

    async fn expire_processes(&self, seen_before: UnixMs) -> Result<u32> {
        self.change(|| query!(sql::EXPIRE_PROCESSES, seen_before.0)).await
    }

    async fn prune_tallies(&self, length: TallyLength, before: UnixMs, limit: u32) -> Result<u32> {
        self.change(|| query!(sql::PRUNE_TALLIES, length.length().ms(), before.0, i64::from(limit))).await
    }
}
