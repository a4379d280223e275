//! Signatures: the library for receivers has what they are, so that both sides are one text. Here is where secrets come from.

pub use k_payments_webhooks::{
    NotASecret, SigningSecret, TOLERANCE, VerifyError, sign_header, standard_webhooks_signature, verify,
};

use crate::entropy::Entropy;

/// A new signing secret.
#[must_use]
pub fn new_secret(entropy: &Entropy) -> SigningSecret {
    SigningSecret::from_key(&entropy.secret())
}
