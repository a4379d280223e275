//! What is kept of portal sessions, and what their pages show beside the lists: one method is one transaction here too.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Page, Paged, Result};
use crate::{
    audit::Author,
    clock::UnixMs,
    delivery::{Attempt, DeliveryCounts},
    endpoint::SealedSecret,
    id::{DeliveryId, EndpointId, EventId, PortalSessionId, RequestId},
    merchant::Tenant,
    portal::{PortalAccess, PortalSession, Theme},
};

/// A portal session to keep. The token of its link itself is never stored.
#[derive(Clone, Debug)]
pub struct NewPortalSession {
    /// Its id.
    pub id: PortalSessionId,
    /// Whose data it is to show.
    pub tenant: Tenant,
    /// What it may do.
    pub access: PortalAccess,
    /// How it looks.
    pub theme: Theme,
    /// The keyed hash of the link's token.
    pub link_hash: [u8; 32],
    /// When it ends.
    pub expires_at: UnixMs,
}

/// The service's memory of portal sessions, and of what their pages show.
#[async_trait]
pub trait PortalStore: Send + Sync {
    /// Keeps a new session, which its link can open.
    async fn insert_portal_session(
        &self,
        session: &NewPortalSession,
        by: &Author,
        now: UnixMs,
    ) -> Result<PortalSession>;

    /// Opens the session whose link has this hash: from now on it is found by that of its cookie. None where there is none
    /// such that is unopened, made after `made_after` and not ended.
    async fn open_portal_session(
        &self,
        link_hash: &[u8; 32],
        cookie_hash: &[u8; 32],
        made_after: UnixMs,
        request_id: Option<RequestId>,
        now: UnixMs,
    ) -> Result<Option<PortalSession>>;

    /// The session whose cookie has this hash, unless it has ended.
    async fn find_portal_session(&self, cookie_hash: &[u8; 32], now: UnixMs)
    -> Result<Option<PortalSession>>;

    /// Sessions that have not ended, opened or not: of one merchant in both modes, or all, newest first.
    async fn list_portal_sessions(
        &self,
        merchant: Option<&str>,
        page: &Page<PortalSessionId>,
        now: UnixMs,
    ) -> Result<Option<Paged<PortalSession>>>;

    /// Ends a session at once; answers whether there was one.
    async fn revoke_portal_session(&self, id: PortalSessionId, by: &Author, now: UnixMs) -> Result<bool>;

    /// Whether the session has not ended.
    async fn portal_session_lives(&self, id: PortalSessionId, now: UnixMs) -> Result<bool>;

    /// How the deliveries of these events stand. Events without any are left out.
    async fn delivery_counts(&self, events: &[EventId]) -> Result<HashMap<EventId, DeliveryCounts>>;

    /// One attempt of a delivery, by its number.
    async fn attempt(&self, delivery: DeliveryId, number: u32) -> Result<Option<Attempt>>;

    /// The endpoint's signing secrets that lived at this instant, newest first, as far as they are still kept.
    async fn signing_secrets_at(&self, endpoint: EndpointId, at: UnixMs) -> Result<Vec<SealedSecret>>;

    /// Removes at most `limit` sessions that have ended; answers how many.
    async fn expire_portal_sessions(&self, limit: u32, now: UnixMs) -> Result<u32>;
}
