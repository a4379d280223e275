//! What a receiver keeps: its secrets and its tolerance.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    event::{Event, EventError},
    signature::{SigningSecret, TOLERANCE, VerifyError, verify_any},
};

/// Verifies requests and reads their events. Clones share the secrets.
#[derive(Clone, Debug)]
pub struct Verifier {
    secrets: Arc<[SigningSecret]>,
    tolerance: Duration,
}

/// Why a request is not taken: answer 400.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// What was signed is not an event.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl ReceiveError {
    /// A stable name of the reason: that of the [`VerifyError`], or `malformed_event`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature(reason) => reason.code(),
            Self::Event(_) => "malformed_event",
        }
    }
}

impl Verifier {
    /// For an endpoint with this secret; a signature may be 300 seconds old or ahead.
    #[must_use]
    pub fn new(secret: SigningSecret) -> Self {
        Self { secrets: Arc::new([secret]), tolerance: TOLERANCE }
    }

    /// Takes signatures of this secret too: while a receiver moves to a new secret, or where it serves two endpoints.
    #[must_use]
    pub fn or(self, secret: SigningSecret) -> Self {
        let secrets = self.secrets.iter().cloned().chain([secret]).collect();
        Self { secrets, ..self }
    }

    /// Another tolerance.
    #[must_use]
    pub fn tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }

    /// Checks the raw bytes of the body against the value of the header, if there is one.
    pub fn verify(&self, body: &[u8], header: Option<&str>) -> Result<(), VerifyError> {
        self.verify_at(body, header, unix_now())
    }

    /// The same at another time, in unix seconds.
    pub fn verify_at(&self, body: &[u8], header: Option<&str>, now_seconds: i64) -> Result<(), VerifyError> {
        let secrets: Vec<&SigningSecret> = self.secrets.iter().collect();
        verify_any(header.unwrap_or_default(), body, &secrets, now_seconds, self.tolerance)
    }

    /// Verifies and reads the event.
    pub fn construct_event(&self, body: &[u8], header: Option<&str>) -> Result<Event, ReceiveError> {
        self.construct_event_at(body, header, unix_now())
    }

    /// The same at another time, in unix seconds.
    pub fn construct_event_at(
        &self,
        body: &[u8],
        header: Option<&str>,
        now_seconds: i64,
    ) -> Result<Event, ReceiveError> {
        self.verify_at(body, header, now_seconds)?;
        Ok(Event::parse(body)?)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a receiver that does not say which time it is means the present"
)]
fn unix_now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
