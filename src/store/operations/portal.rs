//! Portal sessions: keeping, opening, finding and ending them; and what their pages show beside the lists.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Database, Engine, Reach, audit::Note, batches, query, query_as};
use crate::{
    audit::{Action, Author, Changes},
    clock::UnixMs,
    delivery::{Attempt, DeliveryCounts},
    endpoint::{LIVING_SECRETS_MAX, SealedSecret},
    id::{DeliveryId, EndpointId, EventId, PortalSessionId, RequestId},
    portal::PortalSession,
    store::{
        NewPortalSession, Page, Paged, PortalStore, Result,
        rows::{
            AttemptRow, SealedSecretRow,
            portal::{PortalSessionRow, read_counts},
        },
        sql::{ATTEMPT, portal as sql},
    },
};

fn note<'a>(session: &'a PortalSession, action: Action, id: &'a str, changes: Changes) -> Note<'a> {
    Note { tenant: Some(&session.tenant), action, object_id: id, changes }
}

impl Engine {
    async fn keep_session(&self, new: &NewPortalSession, by: &Author, now: UnixMs) -> Result<PortalSession> {
        let id = new.id.to_string();
        let mut write = self.write().await?;
        let row = query_as!(
            PortalSessionRow,
            sql::INSERT,
            &id,
            new.tenant.merchant_id.as_str(),
            new.tenant.livemode,
            new.access.as_str(),
            new.theme.accent.map(|accent| accent.to_string()),
            new.theme.appearance.as_str(),
            new.link_hash.as_slice(),
            now.0,
            new.expires_at.0,
        );
        let session: PortalSession = row.fetch_one(&mut *write).await?.try_into()?;
        let changes = Changes::default().with("access", None::<&str>, session.access.as_str()).with(
            "expires_at",
            None::<i64>,
            session.expires_at.seconds(),
        );
        self.note(&mut write, note(&session, Action::PortalSessionCreated, &id, changes), by, now).await?;
        write.commit().await?;
        Ok(session)
    }

    async fn open_session(
        &self,
        link_hash: &[u8; 32],
        cookie_hash: &[u8; 32],
        made_after: UnixMs,
        request_id: Option<RequestId>,
        now: UnixMs,
    ) -> Result<Option<PortalSession>> {
        let mut write = self.write().await?;
        let row = query_as!(
            PortalSessionRow,
            sql::OPEN,
            link_hash.as_slice(),
            cookie_hash.as_slice(),
            made_after.0,
            now.0,
        );
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(None) };
        let session: PortalSession = row.try_into()?;
        let (id, by) = (session.id.to_string(), Author::portal_session(session.id, request_id));
        let opened = note(&session, Action::PortalSessionOpened, &id, Changes::default());
        self.note(&mut write, opened, &by, now).await?;
        write.commit().await?;
        Ok(Some(session))
    }

    async fn end_session(&self, id: PortalSessionId, by: &Author, now: UnixMs) -> Result<bool> {
        let id = id.to_string();
        let mut write = self.write().await?;
        let row = query_as!(PortalSessionRow, sql::REVOKE, &id, now.0);
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(false) };
        let session: PortalSession = row.try_into()?;
        let changes = Changes::default().with("expires_at", session.expires_at.seconds(), now.seconds());
        self.note(&mut write, note(&session, Action::PortalSessionRevoked, &id, changes), by, now).await?;
        write.commit().await?;
        Ok(true)
    }
}

#[async_trait]
impl PortalStore for Engine {
    async fn insert_portal_session(
        &self,
        session: &NewPortalSession,
        by: &Author,
        now: UnixMs,
    ) -> Result<PortalSession> {
        self.run(|| self.keep_session(session, by, now)).await
    }

    async fn open_portal_session(
        &self,
        link_hash: &[u8; 32],
        cookie_hash: &[u8; 32],
        made_after: UnixMs,
        request_id: Option<RequestId>,
        now: UnixMs,
    ) -> Result<Option<PortalSession>> {
        self.run(|| self.open_session(link_hash, cookie_hash, made_after, request_id, now)).await
    }

    async fn find_portal_session(
        &self,
        cookie_hash: &[u8; 32],
        now: UnixMs,
    ) -> Result<Option<PortalSession>> {
        self.find(|| query_as!(PortalSessionRow, sql::FIND, cookie_hash.as_slice(), now.0)).await
    }

    async fn list_portal_sessions(
        &self,
        merchant: Option<&str>,
        page: &Page<PortalSessionId>,
        now: UnixMs,
    ) -> Result<Option<Paged<PortalSession>>> {
        let list = if merchant.is_some() { &sql::LIST_OF_MERCHANT } else { &sql::LIST };
        let cursor = |id| query!(sql::CURSOR, id, merchant.map(str::to_owned));
        self.list(Reach::Page, page, cursor, |bounds| {
            let text = list.text(bounds.newest_first);
            let rows = query_as!(PortalSessionRow, text, bounds.cursor.clone(), bounds.rows, now.0);
            if let Some(merchant) = merchant { rows.bind(merchant) } else { rows }
        })
        .await
    }

    async fn revoke_portal_session(&self, id: PortalSessionId, by: &Author, now: UnixMs) -> Result<bool> {
        self.run(|| self.end_session(id, by, now)).await
    }

    async fn portal_session_lives(&self, id: PortalSessionId, now: UnixMs) -> Result<bool> {
        let lives = || async {
            let id = query!(sql::LIVES, id.to_string(), now.0);
            Ok(id.fetch_optional(&mut *self.read().await?).await?.is_some())
        };
        self.run(lives).await
    }

    async fn delivery_counts(&self, events: &[EventId]) -> Result<HashMap<EventId, DeliveryCounts>> {
        let events: Vec<String> = events.iter().map(ToString::to_string).collect();
        let counts = || async {
            let rows = batches::counts_of_events(&mut *self.read().await?, &events).await?;
            read_counts(&rows)
        };
        self.run(counts).await
    }

    async fn attempt(&self, delivery: DeliveryId, number: u32) -> Result<Option<Attempt>> {
        self.find(|| query_as!(AttemptRow, ATTEMPT, delivery.to_string(), i64::from(number))).await
    }

    async fn signing_secrets_at(&self, endpoint: EndpointId, at: UnixMs) -> Result<Vec<SealedSecret>> {
        let limit = i64::try_from(LIVING_SECRETS_MAX).unwrap_or(i64::MAX);
        let secrets = || async {
            let rows = query_as!(SealedSecretRow, sql::SECRETS_AT, endpoint.to_string(), at.0, limit);
            let rows = rows.fetch_all(&mut *self.read().await?).await?;
            rows.into_iter().map(TryInto::try_into).collect()
        };
        self.run(secrets).await
    }

    async fn expire_portal_sessions(&self, limit: u32, now: UnixMs) -> Result<u32> {
        self.change(|| query!(sql::EXPIRE, now.0, i64::from(limit))).await
    }
}
