//! Secrets at rest: XChaCha20-Poly1305, with the id of the key that sealed them, each bound to its row. One key seals;
//! earlier ones still open what they sealed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::entropy::Entropy;

const NONCE_BYTES: usize = 24;

const KEY_BYTES: usize = 32;

/// An encryption key, wiped from memory.
pub type EncryptionKey = Zeroizing<[u8; KEY_BYTES]>;

/// Something sealed, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which encryption key sealed it.
    pub key_id: String,
    /// The nonce and the ciphertext.
    pub ciphertext: Vec<u8>,
}

/// Seals and opens.
pub struct Vault {
    current: Key,
    earlier: Vec<Key>,
    entropy: Entropy,
}

struct Key {
    id: String,
    /// It wipes its copy of the key.
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(key: &EncryptionKey) -> Self {
        let digest = Sha256::new().chain_update("k-webhooks key id").chain_update(**key).finalize();
        Self { id: hex::encode(&digest[..4]), cipher: XChaCha20Poly1305::new((&**key).into()) }
    }
}

/// Why something sealed does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Another key sealed it.
    #[error("sealed with the encryption key {sealed_with}, but configured is {configured}")]
    OtherKey {
        /// The id of the key that sealed it.
        sealed_with: String,
        /// The ids of the keys at hand, the current one first.
        configured: String,
    },
    /// It was altered, or belongs to another row.
    #[error("damaged, or moved from another row")]
    Damaged,
    /// A configured key is no key.
    #[error("an encryption key is the base64 of 32 bytes")]
    NotAKey,
}

impl Vault {
    /// A vault that seals with `current`, and opens what it or an `earlier` key sealed.
    #[must_use]
    pub fn new(current: &EncryptionKey, earlier: &[EncryptionKey], entropy: Entropy) -> Self {
        Self { current: Key::new(current), earlier: earlier.iter().map(Key::new).collect(), entropy }
    }

    /// Reads a key as it is configured.
    pub fn key_from_base64(text: &str) -> Result<EncryptionKey, VaultError> {
        // As long as the decoder asks for.
        let mut bytes = Zeroizing::new([0; KEY_BYTES + 4]);
        let length = BASE64.decode_slice(text, &mut *bytes).map_err(|_| VaultError::NotAKey)?;
        let mut key = EncryptionKey::default();
        key.copy_from_slice(
            bytes.get(..length).filter(|key| key.len() == KEY_BYTES).ok_or(VaultError::NotAKey)?,
        );
        Ok(key)
    }

    /// A new key, as it is configured.
    #[must_use]
    pub fn generate_key(entropy: &Entropy) -> Zeroizing<String> {
        // Room for all of it at once: a text that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(64));
        BASE64.encode_string(*entropy.secret::<KEY_BYTES>(), &mut text);
        text
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn current_key(&self) -> &str {
        &self.current.id
    }

    /// Whether what the key with this id sealed can be opened.
    #[must_use]
    pub fn knows(&self, key_id: &str) -> bool {
        self.keys().any(|key| key.id == key_id)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.earlier)
    }

    /// Seals `plaintext` for the row with this id: it opens for no other.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "no secret is anywhere near the cipher's limit")]
    pub fn seal(&self, row: &str, plaintext: &[u8]) -> Sealed {
        let nonce = self.entropy.bytes::<NONCE_BYTES>();
        let payload = Payload { msg: plaintext, aad: row.as_bytes() };
        let sealed = self.current.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("encryption fails only for more than 256 GiB");
        Sealed { key_id: self.current.id.clone(), ciphertext: [nonce.as_slice(), &sealed].concat() }
    }

    /// Opens what was sealed for the row with this id.
    pub fn open(&self, row: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let Some(key) = self.keys().find(|key| key.id == sealed.key_id) else {
            return Err(self.other_key(&sealed.key_id));
        };
        let (nonce, ciphertext) =
            sealed.ciphertext.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Damaged)?;
        let payload = Payload { msg: ciphertext, aad: row.as_bytes() };
        let opened = key.cipher.decrypt(&XNonce::from(*nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| VaultError::Damaged)
    }

    /// That a key which is not at hand sealed something.
    #[must_use]
    pub fn other_key(&self, sealed_with: &str) -> VaultError {
        let configured = self.keys().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
        VaultError::OtherKey { sealed_with: sealed_with.to_owned(), configured }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.current.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&key(byte), &[], Entropy::os())
    }

    fn key(byte: u8) -> EncryptionKey {
        Zeroizing::new([byte; 32])
    }

    #[test]
    fn what_is_sealed_opens_for_its_row_and_no_other() {
        let sealed = vault(1).seal("sec_1", b"whsec_abc");
        assert_eq!(vault(1).open("sec_1", &sealed).unwrap().as_slice(), b"whsec_abc");
        assert_eq!(vault(1).open("sec_2", &sealed), Err(VaultError::Damaged));
        assert_ne!(sealed, vault(1).seal("sec_1", b"whsec_abc"), "every seal has a nonce of its own");
        assert!(!sealed.ciphertext.windows(5).any(|window| window == b"whsec"));
    }

    #[test]
    fn damage_and_other_keys_are_told_apart() {
        let sealed = vault(1).seal("sec_1", b"whsec_abc");
        assert!(matches!(vault(2).open("sec_1", &sealed), Err(VaultError::OtherKey { .. })));
        for index in 0..sealed.ciphertext.len() {
            let mut damaged = sealed.clone();
            damaged.ciphertext[index] ^= 1;
            assert_eq!(vault(1).open("sec_1", &damaged), Err(VaultError::Damaged));
        }
        let short = Sealed { ciphertext: vec![0; 3], ..sealed };
        assert_eq!(vault(1).open("sec_1", &short), Err(VaultError::Damaged));
    }

    #[test]
    fn earlier_keys_open_and_the_current_one_seals() {
        let sealed = vault(1).seal("sec_1", b"whsec_abc");
        let moving = Vault::new(&key(2), &[key(3), key(1)], Entropy::os());
        assert_eq!(moving.open("sec_1", &sealed).unwrap().as_slice(), b"whsec_abc");
        assert!(moving.knows(&sealed.key_id) && !vault(2).knows(&sealed.key_id));
        let resealed = moving.seal("sec_1", b"whsec_abc");
        assert_eq!(resealed.key_id, moving.current_key());
        assert_eq!(vault(2).open("sec_1", &resealed).unwrap().as_slice(), b"whsec_abc");
        assert!(matches!(vault(1).open("sec_1", &resealed), Err(VaultError::OtherKey { .. })));
    }

    #[test]
    fn a_key_is_the_base64_of_32_bytes() {
        assert!(Vault::key_from_base64(&Vault::generate_key(&Entropy::os())).is_ok());
        assert_eq!(Vault::key_from_base64("c2hvcnQ="), Err(VaultError::NotAKey));
        for long in [BASE64.encode([1; 33]), BASE64.encode([1; 36]), BASE64.encode([1; 64])] {
            assert_eq!(Vault::key_from_base64(&long), Err(VaultError::NotAKey));
        }
        assert_eq!(Vault::key_from_base64("not base64"), Err(VaultError::NotAKey));
        assert!(!format!("{:?}", vault(7)).contains("[7"));
    }
}
