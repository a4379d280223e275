//! Who owns what: a merchant in one mode. Test and live data never mix, so every lookup names both.

use std::{fmt, str::FromStr};

use serde::Serialize;
use utoipa::ToSchema;

/// The platform's opaque name for a merchant, `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", examples("m_1"))]
pub struct MerchantId(String);

/// In the place of a merchant, those who operate the service. No text from outside is read as this.
const OPERATORS: &str = "@operations";

impl MerchantId {
    /// Reads an id from the database, where those who operate the service may stand too.
    pub fn from_stored(text: &str) -> Result<Self, &'static str> {
        if text == OPERATORS { Ok(Self(text.to_owned())) } else { text.parse() }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MerchantId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 64 of the characters A-Z a-z 0-9 _ -")
        }
    }
}

impl fmt::Display for MerchantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A merchant's test data or its live data: the boundary that no request crosses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant {
    /// The merchant.
    pub merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    pub livemode: bool,
}

impl Tenant {
    /// Those who operate the service: what happens to merchants' endpoints and deliveries is their events.
    #[must_use]
    pub fn operators() -> Self {
        Self { merchant_id: MerchantId(OPERATORS.to_owned()), livemode: true }
    }

    /// Whether these are they.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.merchant_id.0 == OPERATORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_operate_the_service_are_no_merchant_that_can_be_named() {
        let operators = Tenant::operators();
        assert!(operators.merchant_id.as_str().parse::<MerchantId>().is_err());
        assert_eq!(MerchantId::from_stored(operators.merchant_id.as_str()), Ok(operators.merchant_id));
        assert!(MerchantId::from_stored("@other").is_err());
    }

    #[test]
    fn a_merchant_id_is_1_to_64_url_safe_characters() {
        assert!("m_1-A".parse::<MerchantId>().is_ok());
        assert!("x".repeat(64).parse::<MerchantId>().is_ok());
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<MerchantId>().is_err(), "{bad:?}");
        }
    }
}
