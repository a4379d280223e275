//! Signatures: what stands in the headers of a delivery, and how a receiver checks it. Pure functions.
//!
//! `K-Payments-Signature: t=<unix seconds>,v1=<hex>` where `v1 = hex(HMAC-SHA256(signing_secret, "{t}.{raw body}"))` and
//! the key is the whole text of the secret. Beside it stand the headers of Standard Webhooks, whose key is the bytes
//! behind `whsec_`.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "k-payments-signature";

const PREFIX: &str = "whsec_";

const KEY_BYTES: usize = 32;

/// How far from now a receiver lets `t` be.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// An endpoint's signing secret: `whsec_` and the base64 of 32 random bytes. Wiped from memory, and never printed.
#[derive(Clone)]
pub struct SigningSecret {
    text: Zeroizing<String>,
    /// What signs our own header: the HMAC that has taken in the key, the whole text.
    own: Hmac<Sha256>,
    /// What signs that of Standard Webhooks: the key is the bytes behind the prefix.
    standard: Hmac<Sha256>,
}

impl SigningSecret {
    /// The secret with this key.
    #[must_use]
    pub fn from_key(key: &[u8; KEY_BYTES]) -> Self {
        // Room for all of it at once: a text that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(PREFIX);
        BASE64.encode_string(key, &mut text);
        Self::new(text, key)
    }

    fn new(text: Zeroizing<String>, key: &[u8]) -> Self {
        Self { own: keyed(text.as_bytes()), standard: keyed(key), text }
    }

    /// Reads a secret as it was shown.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let key = Zeroizing::new(BASE64.decode(encoded).map_err(|_| NotASecret)?);
        if key.len() != KEY_BYTES {
            return Err(NotASecret);
        }
        Ok(Self::new(Zeroizing::new(text.to_owned()), &key))
    }

    /// The secret itself, to show it once or to seal it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// A text that is no signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a signing secret (whsec_ and the base64 of 32 bytes)")]
pub struct NotASecret;

/// The value of `K-Payments-Signature`: one `v1` for each secret, in the order given. For the tests of receivers too.
#[must_use]
pub fn sign_header(secrets: &[&SigningSecret], at_seconds: i64, body: &[u8]) -> String {
    let seconds = at_seconds.to_string();
    let mut header = format!("t={seconds}");
    for secret in secrets {
        let mac = mac(&secret.own, &[seconds.as_bytes(), b".", body]);
        header.push_str(",v1=");
        header.push_str(&hex::encode(mac.finalize().into_bytes()));
    }
    header
}

/// The value of `webhook-signature`: one `v1,` for each secret, in the order given, separated by spaces.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
#[must_use]
pub fn standard_webhooks_signature(
    secrets: &[&SigningSecret],
    id: &str,
    at_seconds: i64,
    body: &[u8],
) -> String {
    let seconds = at_seconds.to_string();
    let sign = |secret: &&SigningSecret| {
        let mac = mac(&secret.standard, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is no header, or an empty one.
    #[error("there is no K-Payments-Signature header")]
    MissingHeader,
    /// The header is not `t=<seconds>,v1=<hex>`.
    #[error("the header is not of the form t=<unix seconds>,v1=<hex>")]
    MalformedHeader,
    /// No `v1` fits the body and the secret.
    #[error(
        "no v1 fits: the secret is another endpoint's or an older one, or these are not the raw bytes of the body"
    )]
    NoMatchingSignature,
    /// The signature fits, but it was made too long ago.
    #[error("the signature fits but was made too long ago; a replay, or this machine's clock is ahead")]
    TimestampTooOld,
    /// The signature fits, but it was made in the future.
    #[error("the signature fits but was made in the future; this machine's clock is behind")]
    TimestampTooNew,
}

impl VerifyError {
    /// A stable name of the reason.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::MalformedHeader => "malformed_header",
            Self::NoMatchingSignature => "no_matching_signature",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::TimestampTooNew => "timestamp_too_new",
        }
    }
}

/// Drops what every library for receivers takes for white space, whatever its language thinks of Unicode.
fn trimmed(text: &str) -> &str {
    text.trim_matches(['\t', '\n', '\u{b}', '\u{c}', '\r', ' '])
}

/// Checks the value of `K-Payments-Signature` against the raw body, as a receiver does: in constant time, with any of
/// several `v1`, unknown schemes passed over, and `t` within `tolerance` of now.
pub fn verify(
    header: &str,
    body: &[u8],
    secret: &SigningSecret,
    now_seconds: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    verify_any(header, body, &[secret], now_seconds, tolerance)
}

/// The same with several secrets, of which any may fit.
pub fn verify_any(
    header: &str,
    body: &[u8],
    secrets: &[&SigningSecret],
    now_seconds: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    if trimmed(header).is_empty() {
        return Err(VerifyError::MissingHeader);
    }
    let (mut timestamp, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        let (scheme, value) = trimmed(part).split_once('=').ok_or(VerifyError::MalformedHeader)?;
        match scheme {
            "t" if timestamp.is_none() => timestamp = Some(value),
            "t" => return Err(VerifyError::MalformedHeader),
            "v1" => signatures.push(hex::decode(value).map_err(|_| VerifyError::MalformedHeader)?),
            _ => {}
        }
    }
    let timestamp =
        timestamp.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let timestamp = timestamp.ok_or(VerifyError::MalformedHeader)?;
    let seconds: i64 = timestamp.parse().map_err(|_| VerifyError::MalformedHeader)?;
    if signatures.is_empty() {
        return Err(VerifyError::MalformedHeader);
    }
    let fits = |secret: &&SigningSecret| {
        let expected = mac(&secret.own, &[timestamp.as_bytes(), b".", body]);
        signatures.iter().any(|signature| expected.clone().verify_slice(signature).is_ok())
    };
    if !secrets.iter().any(fits) {
        return Err(VerifyError::NoMatchingSignature);
    }
    let tolerance = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    match now_seconds.saturating_sub(seconds) {
        age if age > tolerance => Err(VerifyError::TimestampTooOld),
        age if age < -tolerance => Err(VerifyError::TimestampTooNew),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    const NOW: i64 = 1_749_651_729;
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn secret() -> SigningSecret {
        SigningSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
    }

    #[test]
    fn the_signature_is_the_hmac_of_time_and_body_under_the_whole_text_of_the_secret() {
        // printf '1749651729.{"id":"evt_1"}' | openssl dgst -sha256 -hmac "$SECRET"
        let header = sign_header(&[&secret()], NOW, BODY);
        assert_eq!(
            header,
            "t=1749651729,v1=421a677cd99b9302c86e411a52282105516df7fe1441ac5f14f5c04662d58d61"
        );
        assert_eq!(verify(&header, BODY, &secret(), NOW, TOLERANCE), Ok(()));
    }

    #[test]
    fn every_secret_gets_its_own_v1_in_order_and_either_one_verifies() {
        let (newer, older) = (SigningSecret::from_key(&[7; 32]), secret());
        let header = sign_header(&[&newer, &older], NOW, BODY);
        assert_eq!(header.matches("v1=").count(), 2);
        let alone = sign_header(&[&newer], NOW, BODY);
        assert!(header.starts_with(&alone));
        for secret in [&newer, &older] {
            assert_eq!(verify(&header, BODY, secret, NOW, TOLERANCE), Ok(()));
        }
    }

    #[test]
    fn each_way_to_fail_has_its_reason() {
        use VerifyError::{
            MalformedHeader, MissingHeader, NoMatchingSignature, TimestampTooNew, TimestampTooOld,
        };
        let good = sign_header(&[&secret()], NOW, BODY);
        let v1 = good.split_once(',').unwrap().1;
        let check = |header: &str, now| verify(header, BODY, &secret(), now, TOLERANCE);
        assert_eq!(check(&good, NOW + 300), Ok(()));
        assert_eq!(check(&good, NOW - 300), Ok(()));
        assert_eq!(check(&good, NOW + 301), Err(TimestampTooOld));
        assert_eq!(check(&good, NOW - 301), Err(TimestampTooNew));
        assert_eq!(
            check(&format!(" t={NOW} , v0=zz, {v1}, v2=x"), NOW),
            Ok(()),
            "unknown schemes and spaces"
        );
        assert_eq!(check(&format!("{v1},t={NOW}"), NOW), Ok(()), "any order");
        assert_eq!(
            check(&good.to_uppercase().replace("T=", "t=").replace("V1=", "v1="), NOW),
            Ok(()),
            "upper case hex"
        );
        for missing in ["", "  "] {
            assert_eq!(check(missing, NOW), Err(MissingHeader));
        }
        let far = "9".repeat(30);
        for malformed in [
            "nonsense".to_owned(),
            format!("t={NOW}"),
            v1.to_owned(),
            format!("t=,{v1}"),
            format!("t=+{NOW},{v1}"),
            format!("t=-1,{v1}"),
            format!("t={far},{v1}"),
            format!("t={NOW},t={NOW},{v1}"),
            format!("t={NOW},v1=xyz"),
        ] {
            assert_eq!(check(&malformed, NOW), Err(MalformedHeader), "{malformed}");
        }
        assert_eq!(check(&format!("t={},{v1}", NOW + 1), NOW), Err(NoMatchingSignature));
        assert_eq!(
            check(&format!("t=0{NOW},{v1}"), NOW),
            Err(NoMatchingSignature),
            "the text of t is what was signed"
        );
        assert_eq!(check(&good[..good.len() - 2], NOW), Err(NoMatchingSignature));
        assert_eq!(verify(&good, b"{}", &secret(), NOW, TOLERANCE), Err(NoMatchingSignature));
        let other = SigningSecret::from_key(&[7; 32]);
        assert_eq!(verify(&good, BODY, &other, NOW, TOLERANCE), Err(NoMatchingSignature));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the other library asks the system for the time")]
    fn the_standard_webhooks_library_accepts_our_headers() {
        let secret = SigningSecret::from_key(&[7; 32]);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let signature = standard_webhooks_signature(&[&self::secret(), &secret], "evt_1", seconds, BODY);
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        headers.insert("webhook-timestamp", seconds.into());
        headers.insert("webhook-signature", signature.parse().unwrap());
        let library = standardwebhooks::Webhook::new(secret.expose()).unwrap();
        library.verify(BODY, &headers).unwrap();
        assert!(library.verify(b"{}", &headers).is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = SigningSecret::from_key(&[7; 32]);
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
        assert!(secret.expose().starts_with("whsec_") && secret.expose().len() == 50);
    }

    #[test]
    fn a_secret_parses_as_it_was_shown_and_nothing_else_does() {
        let secret = SigningSecret::from_key(&[7; 32]);
        let parsed = SigningSecret::parse(secret.expose()).unwrap();
        assert_eq!(parsed.expose(), secret.expose());
        let sign = |secret| standard_webhooks_signature(&[secret], "evt_1", NOW, BODY);
        assert_eq!(sign(&parsed), sign(&secret));
        let bare = &secret.expose()[PREFIX.len()..];
        for bad in ["", "abc", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", bare] {
            assert!(SigningSecret::parse(bad).is_err(), "{bad}");
        }
    }
}
