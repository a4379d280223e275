//! Places at which a test can have the process die, so that every gap between two steps is hit on purpose, not by luck.
//!
//! `K_WEBHOOKS_KILL_POINT=record_before_commit:3` aborts the process as it comes there for the third time: nothing is
//! flushed, closed or answered. Only builds with debug assertions have this; a release build passes by.

use crate::words::words;

words! {
    /// A gap between two steps.
    KillPoint {
        /// Events, deliveries and idempotency records are written and not committed.
        AcceptBeforeCommit "accept_before_commit",
        /// They are committed, and the publisher has no answer.
        AcceptAfterCommit "accept_after_commit",
        /// Leases are written and not committed.
        ClaimBeforeCommit "claim_before_commit",
        /// They are committed, and nothing is sent.
        ClaimAfterCommit "claim_after_commit",
        /// A delivery has its turn and is not sent.
        BeforeSend "before_send",
        /// The receiver has answered, and nothing is recorded.
        AfterSend "after_send",
        /// Outcomes are written and, where one statement is not a transaction by itself, not committed.
        RecordBeforeCommit "record_before_commit",
        /// They are committed, and the dispatcher does not know.
        RecordAfterCommit "record_after_commit",
        /// Operators are told of abandoned deliveries, and it is not committed.
        TellBeforeCommit "tell_before_commit",
        /// It is committed, and nobody looks for the deliveries.
        TellAfterCommit "tell_after_commit",
        /// Deliveries follow their endpoint, and the next batch of them does not yet.
        SettleAfterCommit "settle_after_commit",
        /// Some secrets are sealed with the new encryption key, and the others are not yet.
        ReencryptAfterCommit "reencrypt_after_commit",
        /// A step of a backfill has made its deliveries and is not committed.
        BackfillBeforeCommit "backfill_before_commit",
        /// It is committed, and nobody looks for the deliveries.
        BackfillAfterCommit "backfill_after_commit",
    }
}

/// The variable that names the place and the pass at which to die.
pub const VARIABLE: &str = "K_WEBHOOKS_KILL_POINT";

/// The process comes to this place.
#[cfg(debug_assertions)]
pub fn reached(point: KillPoint) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static ARMED: LazyLock<Option<(KillPoint, AtomicU64)>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (point, pass) = text.split_once(':').expect("a kill point is POINT:PASS");
        let point = point.parse().expect("a kill point has one of the known names");
        Some((point, AtomicU64::new(pass.parse().expect("a pass is a number"))))
    });
    if let Some((armed, passes_left)) = ARMED.as_ref()
        && *armed == point
        && passes_left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

/// The process passes by.
#[cfg(not(debug_assertions))]
pub fn reached(_: KillPoint) {}
