//! What the encryption keys have sealed, and sealing it anew.

use super::{Database, Engine, affected, audit, query, query_as, query_scalar, reached};
use crate::{
    audit::{AuditEntry, Changes},
    clock::UnixMs,
    endpoint::SealedSecret,
    id::SecretId,
    kill_point::KillPoint,
    store::{Resealed, Result, rows::SealedSecretRow, sql},
};

impl Engine {
    pub(super) async fn keys_that_seal(&self) -> Result<Vec<String>> {
        Ok(query_scalar!(String, sql::SEALING_KEYS).fetch_all(&mut *self.read().await?).await?)
    }

    pub(super) async fn secrets_of_key(
        &self,
        key_id: &str,
        after: Option<SecretId>,
        limit: u32,
        now: UnixMs,
    ) -> Result<Vec<SealedSecret>> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        let (text, limit) = (sql::SECRETS_SEALED_WITH, i64::from(limit));
        let rows = query_as!(SealedSecretRow, text, key_id, after, now.0, limit);
        let rows = rows.fetch_all(&mut *self.read().await?).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(super) async fn reseal(&self, secrets: &[Resealed], entry: &AuditEntry, earlier: u64) -> Result<u32> {
        let mut write = self.write().await?;
        let mut resealed = 0;
        for Resealed { id, before, after } in secrets {
            let (was, is) = (before.ciphertext.as_slice(), after.ciphertext.as_slice());
            let update = query!(sql::RESEAL_SECRET, id.to_string(), was, after.key_id.as_str(), is);
            resealed += affected(&update.execute(&mut *write).await?);
        }
        if resealed == 0 {
            return Ok(0);
        }
        let changes = Changes::default().with("signing_secrets", 0, earlier + u64::from(resealed));
        audit::put(&mut write, &AuditEntry { changes, ..entry.clone() }).await?;
        write.commit().await?;
        reached(KillPoint::ReencryptAfterCommit);
        Ok(resealed)
    }
}
