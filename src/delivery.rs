//! What a delivery is: one event on its way to one endpoint, by attempts, to a final state.
//!
//! ```text
//!            accept                 2xx
//!   (event) ───────► pending ────────────────► succeeded
//!                    │ ▲  │  window closed, 410, endpoint deleted
//!   endpoint disabled│ │  └───────────────────► abandoned
//!                    ▼ │ enabled in the window    ▲
//!                    held ────────────────────────┘ enabled too late, endpoint deleted
//! ```

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    clock::UnixMs,
    endpoint::Destination,
    event::{EventName, EventType},
    id::{AttemptId, BackfillId, DeliveryId, EndpointId, EventId, LeaseToken},
    trace::TraceContext,
    transport::{FailureCode, ResponseHeaders},
    words::words,
};

words! {
    /// Where a delivery stands.
    DeliveryStatus {
        /// An attempt is due at `next_attempt_at`, or under way.
        Pending "pending",
        /// Its endpoint is disabled; nothing is attempted.
        Held "held",
        /// An attempt was answered with a 2xx.
        Succeeded "succeeded",
        /// No further attempt is made by itself; the reason says why.
        Abandoned "abandoned",
    }
}

words! {
    /// Why a delivery was given up.
    AbandonedReason {
        /// The next attempt would have fallen outside the window.
        WindowClosed "window_closed",
        /// The endpoint answered 410.
        Gone "gone",
        /// The endpoint was deleted.
        EndpointDeleted "endpoint_deleted",
        /// The endpoint stayed disabled until the window had closed.
        EndpointDisabled "endpoint_disabled",
    }
}

/// A delivery as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event it carries.
    pub event_id: EventId,
    /// The type of that event.
    pub event_type: EventType,
    /// Where it goes.
    pub endpoint_id: EndpointId,
    /// Live data, as opposed to test data.
    pub livemode: bool,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Why it was given up, where it was.
    pub abandoned_reason: Option<AbandonedReason>,
    /// Attempts made so far, over all ladders.
    pub attempt_count: u32,
    /// When the next attempt is due, while pending.
    pub next_attempt_at: Option<UnixMs>,
    /// When it was made.
    pub created_at: UnixMs,
    /// The backfill that made it.
    pub backfill_id: Option<BackfillId>,
}

/// How the deliveries of an event stand: how many in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Waiting for an attempt, the first or another.
    pub pending: i64,
    /// Those of the pending that were attempted before.
    pub retrying: i64,
    /// Held, because their endpoint is disabled.
    pub held: i64,
    /// Succeeded.
    pub succeeded: i64,
    /// Given up.
    pub abandoned: i64,
}

/// One HTTP request, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// 1 for the first of the delivery, and so on over all ladders.
    pub number: u32,
    /// When it started.
    pub started_at: UnixMs,
    /// How long it took, from connect to the last byte read, in milliseconds.
    pub duration_ms: i64,
    /// The response's status, where there was one.
    pub response_status: Option<u16>,
    /// What failed; none for a success.
    pub failure_code: Option<FailureCode>,
    /// What failed, in words.
    pub failure_message: Option<String>,
    /// The response's headers, as far as they are kept; none of attempts that were recorded before these were.
    pub response_headers: Option<ResponseHeaders>,
    /// The beginning of the response's body.
    pub response_body: Option<Bytes>,
    /// The socket address that was called.
    pub address: Option<String>,
}

/// A delivery that this process holds a lease on, with all that an attempt needs.
#[derive(Clone, Debug)]
pub struct LeasedDelivery {
    /// The delivery.
    pub id: DeliveryId,
    /// What proves the lease when the outcome is recorded.
    pub lease: LeaseToken,
    /// When the lease ends: no attempt may outlive it.
    pub leased_until: UnixMs,
    /// The event.
    pub event_id: EventId,
    /// What kind of event it is.
    pub event_type: EventName,
    /// The bytes to send.
    pub body: Bytes,
    /// Where to send them.
    pub destination: Arc<Destination>,
    /// Attempts made before this one.
    pub attempt_count: u32,
    /// Failures on the present ladder.
    pub ladder_failures: u32,
    /// When the present ladder's window began.
    pub window_started_at: UnixMs,
    /// The span that accepted the event.
    pub trace: Option<TraceContext>,
}

impl LeasedDelivery {
    /// How it stands unless something has happened to it since.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            status: DeliveryStatus::Pending,
            abandoned_reason: None,
            ladder_failures: self.ladder_failures,
            window_started_at: self.window_started_at,
            next_attempt_at: None,
        }
    }
}

/// What an attempt means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Succeeded,
    /// Try again at this instant.
    RetryAt(UnixMs),
    /// Give up.
    Abandon(AbandonedReason),
}

/// The outcome of an attempt on its way into the store.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// The delivery it was made for.
    pub delivery_id: DeliveryId,
    /// The endpoint it went to.
    pub endpoint_id: EndpointId,
    /// The lease it was made under.
    pub lease: LeaseToken,
    /// How the delivery stood when it was leased; a retry asked for meanwhile begins another window.
    pub leased_as: Standing,
    /// The attempt.
    pub attempt: Attempt,
    /// What follows from it.
    pub verdict: Verdict,
}

impl AttemptResult {
    /// Whether the attempt failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.verdict != Verdict::Succeeded
    }

    /// When the attempt was over.
    #[must_use]
    pub fn ended_at(&self) -> UnixMs {
        UnixMs(self.attempt.started_at.0.saturating_add(self.attempt.duration_ms))
    }

    /// Whether it says that the endpoint is gone.
    #[must_use]
    pub fn disables_endpoint(&self) -> bool {
        self.verdict == Verdict::Abandon(AbandonedReason::Gone)
    }
}

/// What an attempt's outcome is weighed against: the delivery as it stands when the outcome is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where the delivery stands.
    pub status: DeliveryStatus,
    /// Why it was given up.
    pub abandoned_reason: Option<AbandonedReason>,
    /// Failures on the present ladder.
    pub ladder_failures: u32,
    /// When the present ladder's window began.
    pub window_started_at: UnixMs,
    /// When the next attempt is due.
    pub next_attempt_at: Option<UnixMs>,
}

impl Standing {
    /// How the delivery stands after an attempt that was scheduled in the window that began at `window`.
    ///
    /// What happened while the attempt was under way counts: a final state stays, a held delivery waits for its
    /// endpoint unless the attempt settled it, and a retry that was asked for is still made after a failure.
    #[must_use]
    pub fn after(self, window: UnixMs, verdict: Verdict) -> Self {
        let open = matches!(self.status, DeliveryStatus::Pending | DeliveryStatus::Held);
        let same_ladder = self.window_started_at == window;
        let closed = Self { next_attempt_at: None, ..self };
        match verdict {
            _ if !open => self,
            Verdict::Succeeded => Self { status: DeliveryStatus::Succeeded, ..closed },
            Verdict::Abandon(reason) if same_ladder || reason != AbandonedReason::WindowClosed => {
                Self { status: DeliveryStatus::Abandoned, abandoned_reason: Some(reason), ..closed }
            }
            Verdict::RetryAt(at) if same_ladder => Self {
                ladder_failures: self.ladder_failures + 1,
                next_attempt_at: (self.status == DeliveryStatus::Pending).then_some(at),
                ..self
            },
            Verdict::Abandon(_) | Verdict::RetryAt(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: Standing = Standing {
        status: DeliveryStatus::Pending,
        abandoned_reason: None,
        ladder_failures: 2,
        window_started_at: UnixMs(100),
        next_attempt_at: Some(UnixMs(500)),
    };

    #[test]
    fn a_failure_climbs_the_ladder() {
        let after = PENDING.after(UnixMs(100), Verdict::RetryAt(UnixMs(900)));
        assert_eq!(after, Standing { ladder_failures: 3, next_attempt_at: Some(UnixMs(900)), ..PENDING });
    }

    #[test]
    fn a_final_state_is_never_left() {
        for status in [DeliveryStatus::Succeeded, DeliveryStatus::Abandoned] {
            let last = Standing { status, next_attempt_at: None, ..PENDING };
            for verdict in
                [Verdict::Succeeded, Verdict::RetryAt(UnixMs(900)), Verdict::Abandon(AbandonedReason::Gone)]
            {
                assert_eq!(last.after(UnixMs(100), verdict), last);
            }
        }
    }

    #[test]
    fn a_retry_asked_for_during_an_attempt_is_made_when_that_attempt_fails() {
        let restarted = Standing { ladder_failures: 0, window_started_at: UnixMs(800), ..PENDING };
        for verdict in [Verdict::RetryAt(UnixMs(900)), Verdict::Abandon(AbandonedReason::WindowClosed)] {
            assert_eq!(restarted.after(UnixMs(100), verdict), restarted);
        }
        assert_eq!(restarted.after(UnixMs(100), Verdict::Succeeded).status, DeliveryStatus::Succeeded);
    }

    #[test]
    fn a_delivery_held_during_an_attempt_stays_held_unless_it_was_settled() {
        let held = Standing { status: DeliveryStatus::Held, next_attempt_at: None, ..PENDING };
        let after = held.after(UnixMs(100), Verdict::RetryAt(UnixMs(900)));
        assert_eq!((after.status, after.next_attempt_at), (DeliveryStatus::Held, None));
        assert_eq!(held.after(UnixMs(100), Verdict::Succeeded).status, DeliveryStatus::Succeeded);
        let gone = held.after(UnixMs(100), Verdict::Abandon(AbandonedReason::Gone));
        assert_eq!(gone.abandoned_reason, Some(AbandonedReason::Gone));
    }
}
