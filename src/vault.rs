//! Secrets at rest: XChaCha20-Poly1305, with the id of the key that sealed them, each bound to its row.

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
    cipher: XChaCha20Poly1305,
    key_id: String,
    entropy: Entropy,
}

/// Why something sealed does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Another key sealed it.
    #[error("sealed with the encryption key {sealed_with}, but the configured one is {configured}")]
    OtherKey {
        /// The id of the key that sealed it.
        sealed_with: String,
        /// The id of the key at hand.
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
    /// A vault whose key is these 32 bytes.
    #[must_use]
    pub fn new(key: [u8; 32], entropy: Entropy) -> Self {
        let key = Zeroizing::new(key);
        let digest = Sha256::new().chain_update("k-webhooks key id").chain_update(*key).finalize();
        let cipher = XChaCha20Poly1305::new((&*key).into());
        Self { cipher, key_id: hex::encode(&digest[..4]), entropy }
    }

    /// Reads a key as it is configured.
    pub fn key_from_base64(text: &str) -> Result<[u8; 32], VaultError> {
        let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| VaultError::NotAKey)?);
        bytes.as_slice().try_into().map_err(|_| VaultError::NotAKey)
    }

    /// A new key, as it is configured.
    #[must_use]
    pub fn generate_key(entropy: &Entropy) -> String {
        BASE64.encode(entropy.bytes::<32>())
    }

    /// Seals `plaintext` for the row with this id: it opens for no other.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "no secret is anywhere near the cipher's limit")]
    pub fn seal(&self, row: &str, plaintext: &[u8]) -> Sealed {
        let nonce = self.entropy.bytes::<NONCE_BYTES>();
        let payload = Payload { msg: plaintext, aad: row.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("encryption fails only for more than 256 GiB");
        Sealed { key_id: self.key_id.clone(), ciphertext: [nonce.as_slice(), &sealed].concat() }
    }

    /// Opens what was sealed for the row with this id.
    pub fn open(&self, row: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        if sealed.key_id != self.key_id {
            let (sealed_with, configured) = (sealed.key_id.clone(), self.key_id.clone());
            return Err(VaultError::OtherKey { sealed_with, configured });
        }
        let (nonce, ciphertext) =
            sealed.ciphertext.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Damaged)?;
        let payload = Payload { msg: ciphertext, aad: row.as_bytes() };
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| VaultError::Damaged)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new([byte; 32], Entropy::os())
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
    fn a_key_is_the_base64_of_32_bytes() {
        assert!(Vault::key_from_base64(&Vault::generate_key(&Entropy::os())).is_ok());
        assert_eq!(Vault::key_from_base64("c2hvcnQ="), Err(VaultError::NotAKey));
        assert_eq!(Vault::key_from_base64("not base64"), Err(VaultError::NotAKey));
        assert!(!format!("{:?}", vault(7)).contains("[7"));
    }
}
