//! The encryption keys of a database: where they come from, what they seal, and moving that to a new one.
//!
//! Sealed are the signing secrets, a row each, and the pepper of the API keys' hashes, a setting. A key is replaced while
//! the service runs: all processes learn the new one as an earlier one, then seal with it, then [`Reencryption`] moves what
//! the old one sealed, and then the old one can go.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::{
    api_key::KeyHasher,
    audit::{Action, AuditEntry, Author, Changes},
    clock::{Clock, UnixMs},
    config::{Config, Engine, Mode},
    counted::counted,
    endpoint::SealedSecret,
    entropy::Entropy,
    id::{IdSource, SecretId},
    store::{Resealed, SqliteStore, Store},
    vault::{EncryptionKey, Sealed, Vault, VaultError},
};

/// The setting with the sealed key of the API keys' hashes.
const PEPPER: &str = "api_key_pepper";

/// The setting with the encryption key that development made, where several processes share a database.
const DEVELOPMENT_KEY: &str = "development_encryption_key";

/// Secrets that one transaction moves: few, so that no request notices the wait.
const BATCH: u32 = 100;

/// The vault with the configured keys; in development, with one that is made at first start: beside the file, or in the
/// database that several processes share.
pub async fn open_vault(config: &Config, store: &dyn Store, entropy: &Entropy) -> Result<Vault> {
    let current = encryption_key(config, store, entropy).await?;
    let earlier = config.security.earlier_encryption_keys.iter();
    let earlier = earlier.map(|key| Vault::key_from_base64(key.expose_secret()));
    let earlier = earlier.collect::<std::result::Result<Vec<_>, _>>();
    let earlier = earlier.context("security.earlier_encryption_keys")?;
    Ok(Vault::new(&current, &earlier, entropy.clone()))
}

async fn encryption_key(config: &Config, store: &dyn Store, entropy: &Entropy) -> Result<EncryptionKey> {
    let configured = config.security.encryption_key.expose_secret();
    if !configured.is_empty() {
        return Ok(Vault::key_from_base64(configured)?);
    }
    if config.mode == Mode::Production {
        bail!("security.encryption_key: production needs one");
    }
    let url = config.database.url.expose_secret();
    if Engine::of(url) == Some(Engine::Postgres) {
        let fresh = Vault::generate_key(entropy);
        let kept = Zeroizing::new(store.setting_or_insert(DEVELOPMENT_KEY, &fresh).await?);
        return Ok(Vault::key_from_base64(&kept)?);
    }
    let path = development_key_path(url)?;
    development_key(&path, entropy)
        .with_context(|| format!("cannot read or make the development encryption key {}", path.display()))
}

/// Whether there is a key, configured or made before.
async fn has_key(config: &Config, store: &dyn Store) -> Result<bool> {
    let url = config.database.url.expose_secret();
    Ok(if !config.security.encryption_key.expose_secret().is_empty() {
        true
    } else if Engine::of(url) == Some(Engine::Postgres) {
        store.setting(DEVELOPMENT_KEY).await?.is_some()
    } else {
        development_key_path(url)?.exists()
    })
}

fn development_key_path(url: &str) -> Result<PathBuf> {
    Ok(SqliteStore::path(url)?.with_extension("encryption-key"))
}

/// The key in the file, which is made where there is none. Of several processes that make it, one does.
fn development_key(path: &Path, entropy: &Entropy) -> Result<EncryptionKey> {
    let read = || fs::read_to_string(path).map(Zeroizing::new);
    let text = match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_private(path, &Vault::generate_key(entropy), entropy)?;
            read()?
        }
        text => text?,
    };
    Ok(Vault::key_from_base64(text.trim())?)
}

/// Writes a file that only its owner may read, whole or not at all: under another name first. One that is there already
/// stays as it is.
fn write_private(path: &Path, text: &str, entropy: &Entropy) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let unfinished = path.with_extension(format!("{}.unfinished", hex::encode(entropy.bytes::<8>())));
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // Unlike a rename, a link replaces nothing.
    let named = written.and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The name too is on disk before anything is sealed with the key.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Hashes under the key of the API keys' hashes. It is random and kept sealed in the database, so opening it also proves
/// that the encryption key is the right one.
pub async fn open_hasher(store: &dyn Store, vault: &Vault, entropy: &Entropy) -> Result<KeyHasher> {
    let fresh = write_sealed(&vault.seal(PEPPER, entropy.secret::<32>().as_slice()));
    let kept = read_sealed(&store.setting_or_insert(PEPPER, &fresh).await?)?;
    let opened =
        vault.open(PEPPER, &kept).context("security.encryption_key is not the one of this database")?;
    let mut pepper = Zeroizing::new([0; 32]);
    ensure!(opened.len() == pepper.len(), "settings.{PEPPER} is damaged");
    pepper.copy_from_slice(&opened);
    Ok(KeyHasher::new(&pepper))
}

fn write_sealed(sealed: &Sealed) -> String {
    format!("{}:{}", sealed.key_id, hex::encode(&sealed.ciphertext))
}

fn read_sealed(text: &str) -> Result<Sealed> {
    let sealed = text.split_once(':').and_then(|(key_id, ciphertext)| {
        Some(Sealed { key_id: key_id.to_owned(), ciphertext: hex::decode(ciphertext).ok()? })
    });
    sealed.with_context(|| format!("settings.{PEPPER} is damaged"))
}

/// Refuses to start where living secrets are sealed with a key that is not configured: their deliveries would all fail.
pub async fn expect_readable(store: &dyn Store, vault: &Vault, now: UnixMs) -> Result<()> {
    for key_id in store.sealing_keys().await?.iter().filter(|key_id| !vault.knows(key_id)) {
        if !store.secrets_sealed_with(key_id, None, 1, now).await?.is_empty() {
            return Err(vault.other_key(key_id)).context(
                "there are signing secrets that do not open; security.earlier_encryption_keys must have their key \
                 until `k-webhooks keys reencrypt` has moved them",
            );
        }
    }
    Ok(())
}

/// Whether the configured keys open what is stored, in words; none where nothing is sealed yet. It makes nothing.
pub async fn check(
    config: &Config,
    store: &dyn Store,
    entropy: &Entropy,
    now: UnixMs,
) -> Result<Option<String>> {
    let Some(pepper) = store.setting(PEPPER).await? else { return Ok(None) };
    ensure!(
        has_key(config, store).await?,
        "something is sealed here, and the encryption key that development made is gone"
    );
    let vault = open_vault(config, store, entropy).await?;
    vault.open(PEPPER, &read_sealed(&pepper)?).context("the key of the API keys' hashes does not open")?;
    expect_readable(store, &vault, now).await?;
    let mut secrets = 0;
    // Of each key some: one that opens these opens all that it sealed.
    for key_id in store.sealing_keys().await? {
        for SealedSecret { id, sealed, .. } in store.secrets_sealed_with(&key_id, None, BATCH, now).await? {
            vault
                .open(&id.to_string(), &sealed)
                .with_context(|| format!("the signing secret {id} does not open"))?;
            secrets += 1;
        }
    }
    let tried = counted(secrets, "signing secret");
    Ok(Some(format!("{} opens what is stored, tried on {tried}", vault.current_key())))
}

/// What one run of `keys reencrypt` has done, or what it would have to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reencrypted {
    /// Signing secrets.
    pub secrets: u64,
    /// Whether the key of the API keys' hashes was among it.
    pub pepper: bool,
}

/// Moves what earlier keys sealed to the current one. It can be ended at any moment, and repeated.
pub struct Reencryption<'a> {
    /// Where it is kept.
    pub store: &'a dyn Store,
    /// The keys.
    pub vault: &'a Vault,
    /// The service's clock.
    pub clock: &'a Clock,
    /// Where the id of the audit log's entry comes from.
    pub ids: &'a IdSource,
    /// Who does it.
    pub by: Author,
}

impl Reencryption<'_> {
    /// What is sealed with another key than the current one.
    pub async fn check(&self) -> Result<Reencrypted> {
        let mut found = Reencrypted { pepper: self.pepper_elsewhere().await?.is_some(), secrets: 0 };
        for key_id in self.other_keys().await? {
            let mut after = None;
            while let Some(secrets) = self.page(&key_id, &mut after).await? {
                found.secrets += secrets.len() as u64;
            }
        }
        Ok(found)
    }

    /// Moves all of it, in rounds until one finds nothing: a process that still seals with the old key may do so meanwhile.
    pub async fn run(&self) -> Result<Reencrypted> {
        let mut moved = Reencrypted::default();
        let entry = self.entry();
        loop {
            let (mut round, mut unreadable) = (0, Vec::new());
            for key_id in self.other_keys().await? {
                let mut after = None;
                while let Some(secrets) = self.page(&key_id, &mut after).await? {
                    round += self.reseal(secrets, &entry, moved.secrets + round, &mut unreadable).await?;
                }
            }
            moved.secrets += round;
            match unreadable.first() {
                _ if round > 0 => {}
                None => break,
                Some((id, error)) => {
                    let count = unreadable.len();
                    bail!("{count} signing secrets cannot be opened; the first is {id}: {error}");
                }
            }
        }
        if let Some((before, sealed)) = self.pepper_elsewhere().await? {
            let opened = self.vault.open(PEPPER, &sealed)?;
            let after = write_sealed(&self.vault.seal(PEPPER, &opened));
            let changes = Changes::default().with("signing_secrets", 0, moved.secrets).with(
                "key_of_api_key_hashes",
                sealed.key_id,
                self.vault.current_key(),
            );
            let entry = AuditEntry { changes, ..entry };
            moved.pepper = self.store.replace_setting(PEPPER, &before, &after, &entry).await?;
        }
        Ok(moved)
    }

    /// The one entry of this run in the audit log, which grows with each transaction.
    fn entry(&self) -> AuditEntry {
        let now = self.clock.now();
        AuditEntry {
            id: self.ids.next(now),
            created_at: now,
            merchant_id: None,
            livemode: None,
            by: self.by.clone(),
            action: Action::Reencrypted,
            object_id: self.vault.current_key().to_owned(),
            changes: Changes::default(),
        }
    }

    async fn other_keys(&self) -> Result<Vec<String>> {
        let mut keys = self.store.sealing_keys().await?;
        keys.retain(|key_id| key_id != self.vault.current_key());
        Ok(keys)
    }

    /// The next secrets of a key. None behind the last.
    async fn page(&self, key_id: &str, after: &mut Option<SecretId>) -> Result<Option<Vec<SealedSecret>>> {
        let secrets = self.store.secrets_sealed_with(key_id, *after, BATCH, self.clock.now()).await?;
        *after = secrets.last().map(|secret| secret.id);
        Ok((!secrets.is_empty()).then_some(secrets))
    }

    /// Moves the secrets as far as they can be opened; answers how many.
    async fn reseal(
        &self,
        secrets: Vec<SealedSecret>,
        entry: &AuditEntry,
        earlier: u64,
        unreadable: &mut Vec<(SecretId, VaultError)>,
    ) -> Result<u64> {
        let mut resealed = Vec::with_capacity(secrets.len());
        for SealedSecret { id, sealed: before, .. } in secrets {
            let row = id.to_string();
            match self.vault.open(&row, &before) {
                Ok(opened) => resealed.push(Resealed { id, before, after: self.vault.seal(&row, &opened) }),
                Err(error) => unreadable.push((id, error)),
            }
        }
        Ok(u64::from(self.store.reseal_secrets(&resealed, entry, earlier).await?))
    }

    /// The key of the API keys' hashes, as it is stored and as it reads, where another key than the current one sealed it.
    async fn pepper_elsewhere(&self) -> Result<Option<(String, Sealed)>> {
        let Some(text) = self.store.setting(PEPPER).await? else { return Ok(None) };
        let sealed = read_sealed(&text)?;
        Ok((sealed.key_id != self.vault.current_key()).then_some((text, sealed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_key_is_made_once_and_found_by_whoever_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        let (path, entropy) = (folder.path().join("k.encryption-key"), Entropy::os());
        let made = development_key(&path, &entropy).unwrap();
        assert_eq!(development_key(&path, &entropy).unwrap(), made);
        // Another process was about to make one too.
        write_private(&path, &Vault::generate_key(&entropy), &entropy).unwrap();
        assert_eq!(development_key(&path, &entropy).unwrap(), made);
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["k.encryption-key"], "nothing unfinished is left behind");
        fs::write(&path, "").unwrap();
        assert!(development_key(&path, &entropy).is_err(), "what is there is never replaced");
    }
}
