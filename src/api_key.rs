//! API keys, and what opens sessions of the portal and the console: their formats, and the keyed hash under which they are stored.
//!
//! A key ends in a checksum of what stands before it, so that a secret scanner can tell a real key from a random text
//! without asking anyone.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::entropy::Entropy;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// About 190 bits: nobody guesses one, so a fast keyed hash is enough to store it.
const RANDOM_CHARS: usize = 32;

const CHECKSUM_CHARS: usize = 6;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A merchant's server.
    Secret {
        /// Live data, as opposed to test data.
        livemode: bool,
    },
    /// A merchant's browser code. It opens nothing here.
    Publishable {
        /// Live data, as opposed to test data.
        livemode: bool,
    },
    /// An internal service.
    Service,
    /// The link of a portal session, which opens it once.
    PortalLink,
    /// The cookie of a portal session that was opened.
    PortalCookie,
    /// The cookie of a console session.
    ConsoleCookie,
}

impl KeyKind {
    const ALL: [Self; 8] = [
        Self::Secret { livemode: false },
        Self::Secret { livemode: true },
        Self::Publishable { livemode: false },
        Self::Publishable { livemode: true },
        Self::Service,
        Self::PortalLink,
        Self::PortalCookie,
        Self::ConsoleCookie,
    ];

    fn prefix(self) -> &'static str {
        match self {
            Self::Secret { livemode: false } => "sk_test_",
            Self::Secret { livemode: true } => "sk_live_",
            Self::Publishable { livemode: false } => "pk_test_",
            Self::Publishable { livemode: true } => "pk_live_",
            Self::Service => "svc_",
            Self::PortalLink => "plink_",
            Self::PortalCookie => "pcookie_",
            Self::ConsoleCookie => "ccookie_",
        }
    }

    /// A new key of this kind.
    #[must_use]
    pub fn generate(self, entropy: &Entropy) -> SecretString {
        let length = self.prefix().len() + RANDOM_CHARS;
        // Room for all of it at once: a text that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(length + CHECKSUM_CHARS));
        text.push_str(self.prefix());
        while text.len() < length {
            let bytes = entropy.secret::<RANDOM_CHARS>();
            // Bytes from 248 on would make the first characters of the alphabet likelier than the others.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let missing = length - text.len();
            text.extend(fair.take(missing).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
        }
        let checksum = checksum(&text);
        text.push_str(&checksum);
        SecretString::from(text.as_str())
    }

    /// What kind of key a text is, by its prefix and, but for a publishable one, its checksum.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let kind = Self::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        if matches!(kind, Self::Publishable { .. }) {
            return Some(kind);
        }
        let (body, found) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARS)?)?;
        (text.len() == kind.prefix().len() + RANDOM_CHARS + CHECKSUM_CHARS && checksum(body) == found)
            .then_some(kind)
    }
}

fn checksum(body: &str) -> String {
    let digest = Sha256::digest(body);
    digest.iter().take(CHECKSUM_CHARS).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).collect()
}

/// The last four characters of a key, by which people tell their keys apart.
#[must_use]
pub fn last4(key: &str) -> String {
    key.get(key.len().saturating_sub(4)..).unwrap_or_default().to_owned()
}

/// Hashes keys for storage.
pub struct KeyHasher(Hmac<Sha256>);

impl KeyHasher {
    /// Hashes under this key, without which stored hashes cannot be tried out.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "HMAC takes a key of any length")]
    pub fn new(pepper: &Zeroizing<[u8; 32]>) -> Self {
        Self(Hmac::new_from_slice(pepper.as_slice()).expect("HMAC takes a key of any length"))
    }

    /// The hash under which a key is stored and found.
    #[must_use]
    pub fn hash(&self, key: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(…)")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn every_kind_of_key_is_told_by_its_text() {
        for kind in KeyKind::ALL {
            let key = kind.generate(&Entropy::os());
            let text = key.expose_secret();
            assert_eq!(KeyKind::of(text), Some(kind), "{text}");
            assert_eq!(text.len(), kind.prefix().len() + 38);
            assert!(text.is_ascii() && !format!("{key:?}").contains(text));
        }
    }

    #[test]
    fn no_character_is_likelier_than_another() {
        let keys = (0..1_000).map(|_| KeyKind::Service.generate(&Entropy::os()));
        let early = keys.map(|key| {
            let random = &key.expose_secret()["svc_".len()..][..RANDOM_CHARS];
            random.bytes().filter(|byte| ALPHABET[..8].contains(byte)).count()
        });
        // 8 of 62 characters make 4,129 of 32,000; a plain remainder of a byte would make 5,000. Six sigma are 360.
        assert!((3_770..4_490).contains(&early.sum::<usize>()));
    }

    #[test]
    fn a_mistyped_secret_key_fails_its_checksum() {
        let key = KeyKind::Secret { livemode: false }.generate(&Entropy::os());
        let text = key.expose_secret();
        let other = if text.as_bytes()[12] == b'x' { "y" } else { "x" };
        let mistyped = format!("{}{other}{}", &text[..12], &text[13..]);
        for bad in [
            mistyped.as_str(),
            &text[..text.len() - 1],
            "sk_test_",
            "sk_test_é",
            "",
            "Bearer",
            &format!("{text}0"),
        ] {
            assert_eq!(KeyKind::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn hashes_depend_on_the_key_and_the_pepper() {
        let hash = |pepper: u8, key: &str| KeyHasher::new(&Zeroizing::new([pepper; 32])).hash(key);
        assert_eq!(hash(1, "a"), hash(1, "a"));
        assert_ne!(hash(1, "a"), hash(2, "a"));
        assert_ne!(hash(1, "a"), hash(1, "b"));
        assert_eq!(last4("sk_test_abcdef"), "cdef");
    }
}
