//! API keys: keeping, finding, replacing and ending them.

use super::{Database, Engine, Reach, Write, audit::Note, query, query_as, query_scalar};
use crate::{
    audit::{Action, Author, Changes},
    clock::UnixMs,
    id::KeyId,
    merchant::Tenant,
    store::{
        ApiKey, KeyOwner, NewApiKey, Page, Paged, Result,
        rows::{ApiKeyRow, FoundApiKeyRow},
        sql,
    },
};

fn tenant(owner: &KeyOwner) -> Option<&Tenant> {
    match owner {
        KeyOwner::Merchant(tenant) => Some(tenant),
        KeyOwner::Service(_) => None,
    }
}

fn service(owner: &KeyOwner) -> Option<&str> {
    match owner {
        KeyOwner::Merchant(_) => None,
        KeyOwner::Service(name) => Some(name),
    }
}

impl Engine {
    pub(super) async fn keep_key(&self, key: &NewApiKey, by: &Author, now: UnixMs) -> Result<ApiKey> {
        let mut write = self.write().await?;
        let kept = insert(&mut write, key, now).await?;
        let changes = Changes::default().with("last4", None::<&str>, &*kept.last4).with(
            "service",
            None::<&str>,
            service(&kept.owner),
        );
        let (id, action) = (kept.id.to_string(), Action::ApiKeyCreated);
        let note = Note { tenant: tenant(&kept.owner), action, object_id: &id, changes };
        self.note(&mut write, note, by, now).await?;
        write.commit().await?;
        Ok(kept)
    }

    pub(super) async fn key_with_hash(&self, secret_hash: &[u8; 32], now: UnixMs) -> Result<Option<ApiKey>> {
        let row = query_as!(FoundApiKeyRow, sql::FIND_API_KEY, secret_hash.as_slice(), now.0);
        let found = row.fetch_optional(&mut *self.read().await?).await?;
        found.and_then(|row| row.with_hash(secret_hash)).map(TryInto::try_into).transpose()
    }

    pub(super) async fn keys_page(
        &self,
        merchant: Option<&str>,
        page: &Page<KeyId>,
        now: UnixMs,
    ) -> Result<Option<Paged<ApiKey>>> {
        let list = if merchant.is_some() { &sql::LIST_API_KEYS_OF_MERCHANT } else { &sql::LIST_API_KEYS };
        let cursor = |id| query!(sql::API_KEY_CURSOR, id, merchant.map(str::to_owned));
        self.list(Reach::Page, page, cursor, |bounds| {
            let text = list.text(bounds.newest_first);
            let rows = query_as!(ApiKeyRow, text, bounds.cursor.clone(), bounds.rows, now.0);
            if let Some(merchant) = merchant { rows.bind(merchant) } else { rows }
        })
        .await
    }

    pub(super) async fn replace_key(
        &self,
        merchant: &str,
        old: KeyId,
        replacement: &NewApiKey,
        old_ends_at: UnixMs,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<ApiKey>> {
        let old = old.to_string();
        let mut write = self.write().await?;
        let ended = query_scalar!(Option<i64>, sql::TOUCH_API_KEY, &old, merchant, now.0);
        let Some(would_end) = ended.fetch_optional(&mut *write).await? else { return Ok(None) };
        let ends = query_scalar!(Option<i64>, sql::END_API_KEY, &old, merchant, old_ends_at.0, now.0);
        let ends = ends.fetch_one(&mut *write).await?;
        let kept = insert(&mut write, replacement, now).await?;
        let seconds = |at: Option<i64>| at.map(|at| UnixMs(at).seconds());
        let changes = Changes::default().with("expires_at", seconds(would_end), seconds(ends)).with(
            "replaced_by",
            None::<&str>,
            kept.id.to_string(),
        );
        let note =
            Note { tenant: tenant(&kept.owner), action: Action::ApiKeyRotated, object_id: &old, changes };
        self.note(&mut write, note, by, now).await?;
        write.commit().await?;
        Ok(Some(kept))
    }

    pub(super) async fn end_key(
        &self,
        merchant: Option<&str>,
        id: KeyId,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool> {
        let id = id.to_string();
        let mut write = self.write().await?;
        let row = query_as!(ApiKeyRow, sql::REVOKE_API_KEY, &id, merchant, now.0);
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(false) };
        let key: ApiKey = row.try_into()?;
        let changes = Changes::default().with("last4", &*key.last4, None::<&str>).with(
            "service",
            service(&key.owner),
            None::<&str>,
        );
        let note =
            Note { tenant: tenant(&key.owner), action: Action::ApiKeyRevoked, object_id: &id, changes };
        self.note(&mut write, note, by, now).await?;
        write.commit().await?;
        Ok(true)
    }
}

async fn insert(write: &mut Write, key: &NewApiKey, now: UnixMs) -> Result<ApiKey> {
    let owner = tenant(&key.owner);
    let row = query_as!(
        ApiKeyRow,
        sql::INSERT_API_KEY,
        key.id.to_string(),
        owner.map(|tenant| tenant.merchant_id.as_str()),
        owner.map(|tenant| tenant.livemode),
        service(&key.owner),
        key.publishable_key.as_deref(),
        key.secret_hash.as_slice(),
        key.last4.as_str(),
        now.0,
    );
    row.fetch_one(&mut **write).await?.try_into()
}
