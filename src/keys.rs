//! Issuing, rotating and revoking API keys: what the API and the command line share.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    api_key::{KeyHasher, KeyKind, last4},
    audit::Author,
    clock::Clock,
    entropy::Entropy,
    id::{IdSource, KeyId},
    merchant::{MerchantId, Tenant},
    store::{ApiKey, KeyOwner, NewApiKey, Store, StoreError},
};

/// How long a rotated key still works.
pub const ROTATION_OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Makes API keys.
#[derive(Clone)]
pub struct KeyIssuer {
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// Their ids.
    pub ids: Arc<IdSource>,
    /// Their randomness.
    pub entropy: Entropy,
    /// Their hashes.
    pub hasher: Arc<KeyHasher>,
    /// Their time.
    pub clock: Clock,
    /// Who makes them.
    pub by: Author,
}

/// A new key, with its secret for the only time.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key as stored.
    pub key: ApiKey,
    /// The secret to show.
    pub secret: SecretString,
}

impl KeyIssuer {
    /// A key for a merchant's server, with its publishable sibling.
    pub async fn issue_merchant_key(&self, tenant: Tenant) -> Result<IssuedKey, StoreError> {
        let (new, secret) = self.merchant_key(tenant);
        Ok(IssuedKey { key: self.store.insert_api_key(&new, &self.by, self.clock.now()).await?, secret })
    }

    /// A key for an internal service.
    pub async fn issue_service_key(&self, name: &str) -> Result<IssuedKey, StoreError> {
        let secret = KeyKind::Service.generate(&self.entropy);
        let new = self.new_key(KeyOwner::Service(name.to_owned()), &secret, None);
        Ok(IssuedKey { key: self.store.insert_api_key(&new, &self.by, self.clock.now()).await?, secret })
    }

    /// A key that takes the place of `old`, which works [`ROTATION_OVERLAP`] more. None where the merchant has no such key.
    pub async fn rotate(&self, merchant_id: MerchantId, old: KeyId) -> Result<Option<IssuedKey>, StoreError> {
        let now = self.clock.now();
        let Some(livemode) = self.store.api_key_mode(merchant_id.as_str(), old, now).await? else {
            return Ok(None);
        };
        let merchant = merchant_id.as_str().to_owned();
        let (new, secret) = self.merchant_key(Tenant { merchant_id, livemode });
        let old_ends_at = now.plus(ROTATION_OVERLAP);
        let key = self.store.rotate_api_key(&merchant, old, &new, old_ends_at, &self.by, now).await?;
        Ok(key.map(|key| IssuedKey { key, secret }))
    }

    fn merchant_key(&self, tenant: Tenant) -> (NewApiKey, SecretString) {
        let livemode = tenant.livemode;
        let secret = KeyKind::Secret { livemode }.generate(&self.entropy);
        let publishable = KeyKind::Publishable { livemode }.generate(&self.entropy);
        let publishable = Some(publishable.expose_secret().to_owned());
        (self.new_key(KeyOwner::Merchant(tenant), &secret, publishable), secret)
    }

    fn new_key(&self, owner: KeyOwner, secret: &SecretString, publishable_key: Option<String>) -> NewApiKey {
        let text = secret.expose_secret();
        let id = self.ids.next(self.clock.now());
        NewApiKey { id, owner, secret_hash: self.hasher.hash(text), last4: last4(text), publishable_key }
    }
}
