//! One attempt: sign at this moment, send, and say what the outcome means for the delivery.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use crate::{
    clock::{Clock, UnixMs},
    delivery::{AbandonedReason, Attempt, AttemptResult, LeasedDelivery, Verdict},
    endpoint::{Destination, LIVING_SECRETS_MAX, Opened, SealedSecret},
    endpoint_url::EndpointUrl,
    event::EventName,
    headers::Envelope,
    id::IdSource,
    schedule::{Next, Schedule, parse_retry_after},
    signature::SigningSecret,
    trace::{TRACEPARENT, TraceContext, Tracer},
    transport::{AttemptRequest, Exchange, Failure, FailureCode, Response, Transport},
    vault::Vault,
};

/// Makes attempts.
#[derive(Clone)]
pub struct Attempter {
    transports: Transports,
    vault: Arc<Vault>,
    schedule: Schedule,
    clock: Clock,
    ids: Arc<IdSource>,
    tracer: Arc<Tracer>,
}

/// By which ways endpoints are called.
#[derive(Clone)]
pub struct Transports {
    /// Merchants' endpoints.
    pub merchants: Arc<dyn Transport>,
    /// That of those who operate the service, who may have it where no merchant's may be.
    pub operators: Arc<dyn Transport>,
}

impl Transports {
    /// The one for what carries such events.
    fn of(&self, name: EventName) -> &dyn Transport {
        match name {
            EventName::Merchants(_) => self.merchants.as_ref(),
            EventName::Operational(_) => self.operators.as_ref(),
        }
    }
}

impl Attempter {
    /// An attempter with its means and its rules.
    #[must_use]
    pub fn new(
        transports: Transports,
        vault: Arc<Vault>,
        schedule: Schedule,
        clock: Clock,
        ids: Arc<IdSource>,
        tracer: Arc<Tracer>,
    ) -> Self {
        Self { transports, vault, schedule, clock, ids, tracer }
    }

    /// Sends the event once. Whatever happens becomes an outcome to record.
    pub async fn attempt(&self, delivery: &LeasedDelivery) -> AttemptResult {
        let started_at = self.clock.now();
        let span = self.tracer.attempting(delivery);
        let exchange = match self.request(delivery, started_at, self.tracer.told(delivery, span)) {
            Ok(request) => self.transports.of(delivery.event_type).send(request).await,
            Err(message) => {
                tracing::error!(delivery = %delivery.id, "{message}");
                broken(&message)
            }
        };
        let result = self.conclude(delivery, started_at, exchange);
        self.tracer.attempted(delivery, span, &result);
        result
    }

    /// The outcome of an attempt whose code panicked: a failure like any other, so that the ladder goes on.
    #[must_use]
    pub fn panicked(&self, delivery: &LeasedDelivery) -> AttemptResult {
        let exchange = broken("the response could not be processed");
        self.conclude(delivery, self.clock.now(), exchange)
    }

    fn request(
        &self,
        delivery: &LeasedDelivery,
        now: UnixMs,
        told: Option<TraceContext>,
    ) -> Result<AttemptRequest, String> {
        let opened = delivery.destination.opened(|destination| self.opened(destination, now))?;
        let secrets: Vec<_> = living(&opened.secrets, now).collect();
        let unsendable = |error| format!("a header cannot be sent: {error}");
        let envelope = Envelope {
            event_id: &delivery.event_id.to_string(),
            event_type: delivery.event_type.as_str(),
            delivery_id: &delivery.id.to_string(),
            attempt: delivery.attempt_count + 1,
        };
        let mut headers = envelope.headers(&secrets, now.seconds(), &delivery.body).map_err(unsendable)?;
        if let Some(told) = told {
            headers.insert(TRACEPARENT, HeaderValue::try_from(told.to_string()).map_err(unsendable)?);
        }
        Ok(AttemptRequest { url: opened.url.clone(), headers, body: delivery.body.clone() })
    }

    /// Reads the address, and opens the secrets that have not ended.
    fn opened(&self, destination: &Destination, now: UnixMs) -> Result<Opened, String> {
        let url = EndpointUrl::from_stored(&destination.url)
            .map_err(|error| format!("the endpoint's address cannot be called: {error}"))?;
        let mut secrets = Vec::with_capacity(destination.secrets.len());
        for secret in destination.secrets.iter().filter(|secret| lives(secret.expires_at, now)) {
            secrets.push((open(&self.vault, secret)?, secret.expires_at));
        }
        Ok(Opened { url, secrets })
    }

    fn conclude(&self, delivery: &LeasedDelivery, started_at: UnixMs, exchange: Exchange) -> AttemptResult {
        let number = delivery.attempt_count + 1;
        let (response, failure) = match exchange.result {
            Ok(response) => {
                let failure = judge(&response);
                (Some(response), failure)
            }
            Err(failure) => (None, Some(failure)),
        };
        let verdict = match (&failure, &response) {
            (None, _) => Verdict::Succeeded,
            (Some(_), Some(Response { status: 410, .. })) => Verdict::Abandon(AbandonedReason::Gone),
            (Some(_), response) => {
                let pause = response.as_ref().and_then(|response| asked_pause(response, started_at));
                let next = self.schedule.next(
                    delivery.ladder_failures + 1,
                    started_at,
                    delivery.window_started_at,
                    pause,
                    (delivery.id, number),
                );
                match next {
                    Next::At(at) => Verdict::RetryAt(at),
                    Next::WindowClosed => Verdict::Abandon(AbandonedReason::WindowClosed),
                }
            }
        };
        let response_status = response.as_ref().map(|response| response.status);
        let (response_headers, response_body) =
            response.map(|response| (response.headers, response.body)).unzip();
        AttemptResult {
            delivery_id: delivery.id,
            endpoint_id: delivery.destination.endpoint_id,
            lease: delivery.lease,
            leased_as: delivery.standing(),
            attempt: Attempt {
                id: self.ids.next(started_at),
                number,
                started_at,
                duration_ms: i64::try_from(exchange.duration.as_millis()).unwrap_or(i64::MAX),
                response_status,
                failure_code: failure.as_ref().map(|failure| failure.code),
                failure_message: failure.map(|failure| failure.message),
                response_headers,
                response_body,
                address: exchange.address.map(|address| address.to_string()),
            },
            verdict,
        }
    }
}

fn lives(expires_at: Option<UnixMs>, now: UnixMs) -> bool {
    expires_at.is_none_or(|end| end > now)
}

/// The secret in the clear, or why it cannot be read.
pub(crate) fn open(vault: &Vault, secret: &SealedSecret) -> Result<SigningSecret, String> {
    let id = secret.id.to_string();
    let unreadable =
        |error: &dyn std::fmt::Display| format!("the signing secret {id} cannot be read: {error}");
    let plaintext = vault.open(&id, &secret.sealed).map_err(|error| unreadable(&error))?;
    let text = std::str::from_utf8(&plaintext).map_err(|error| unreadable(&error))?;
    SigningSecret::parse(text).map_err(|error| unreadable(&error))
}

/// The newest of the secrets, of those that have not ended. They stand newest first.
fn living<S>(secrets: &[(S, Option<UnixMs>)], now: UnixMs) -> impl Iterator<Item = &S> {
    let living = secrets.iter().filter(move |(_, expires_at)| lives(*expires_at, now));
    living.map(|(secret, _)| secret).take(LIVING_SECRETS_MAX)
}

/// An exchange that never left this process.
fn broken(message: &str) -> Exchange {
    Exchange {
        duration: Duration::ZERO,
        address: None,
        result: Err(Failure::new(FailureCode::Protocol, message)),
    }
}

/// What is wrong with a response, if anything.
fn judge(response: &Response) -> Option<Failure> {
    let status = response.status;
    match status {
        200..=299 => None,
        300..=399 => Some(Failure::new(
            FailureCode::Redirect,
            format!("the endpoint answered with a redirect ({status}), which is never followed"),
        )),
        _ => Some(Failure::new(FailureCode::HttpStatus, format!("the endpoint answered {status}"))),
    }
}

/// The pause that an overloaded endpoint asked for.
fn asked_pause(response: &Response, now: UnixMs) -> Option<Duration> {
    let overloaded = matches!(response.status, 429 | 503);
    response.retry_after.as_deref().filter(|_| overloaded).and_then(|value| parse_retry_after(value, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_signed_with_the_five_newest_secrets_that_have_not_ended() {
        let ends =
            [None, Some(1_001), Some(1_000), Some(2_000), Some(3_000), Some(4_000), Some(5_000), Some(6_000)];
        let secrets: Vec<_> = ends.iter().enumerate().map(|(index, end)| (index, end.map(UnixMs))).collect();
        let living: Vec<_> = living(&secrets, UnixMs(1_000)).copied().collect();
        assert_eq!(living, [0, 1, 3, 4, 5]);
    }
}
