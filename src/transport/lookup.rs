//! Asking for names before every attempt, and for how long an answer serves where the name servers do not answer.
//!
//! An answer from before is used only where no other has come: for a bounded time, judged again by the rules, and while the
//! question goes on. Whoever makes their own name server hang can have an address called for so long that might have been
//! called all the same; another one can be called only once it has been told, and judged.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{Failure, FailureCode, Resolve};

/// How long an attempt waits for an answer where there is one from before.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers that are remembered.
const ANSWERS_MAX: usize = 10_000;

/// Asks for names.
pub(super) struct Lookups {
    resolver: Arc<dyn Resolve>,
    timeout: Duration,
    answers: Arc<Answers>,
}

struct Answers {
    /// How old an answer may be.
    age: Duration,
    known: Mutex<HashMap<String, Answer>>,
}

#[derive(Clone)]
struct Answer {
    addresses: Vec<IpAddr>,
    at: Instant,
    /// Whether an attempt has waited since then in vain: the next ones do not wait.
    overdue: bool,
    /// Whether the question goes on for all: nobody else asks.
    asked: bool,
}

type Lookup = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send>>;

impl Lookups {
    /// Questions that may take `timeout`, and answers that may be as old as `age`.
    pub(super) fn new(resolver: Arc<dyn Resolve>, timeout: Duration, age: Duration) -> Self {
        Self { resolver, timeout, answers: Arc::new(Answers { age, known: Mutex::default() }) }
    }

    /// The addresses of `host`, or why there are none.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let before = self.answers.recent(host, Instant::now());
        if let Some(answer) = before.as_ref().filter(|answer| answer.asked) {
            return Ok(answer.addresses.clone());
        }
        let patience = match &before {
            None => self.timeout,
            Some(answer) if answer.overdue => Duration::ZERO,
            Some(_) => PATIENCE.min(self.timeout),
        };
        let mut lookup = self.lookup(host.to_owned());
        match (timeout(patience, &mut lookup).await, before) {
            (Ok(Ok(addresses)), _) if addresses.is_empty() => {
                Err(Failure::new(FailureCode::Dns, format!("{host} has no address")))
            }
            (Ok(Ok(addresses)), _) => Ok(addresses),
            (Ok(Err(error)), _) => {
                Err(Failure::new(FailureCode::Dns, format!("{host} does not resolve: {error}")))
            }
            (Err(_), Some(answer)) => {
                if self.answers.mark(host, true, true) {
                    self.ask_on(host.to_owned(), lookup);
                }
                Ok(answer.addresses)
            }
            (Err(_), None) => {
                Err(Failure::timeout(&format!("the name {host} was not resolved"), self.timeout))
            }
        }
    }

    /// Has a question go on, for the next attempts.
    fn ask_on(&self, host: String, lookup: Lookup) {
        let (limit, answers) = (self.timeout, Arc::clone(&self.answers));
        tokio::spawn(async move {
            let overdue = timeout(limit, lookup).await.is_err();
            answers.mark(&host, overdue, false);
        });
    }

    /// A question whose answer is remembered. That there is none is not: it may be the name servers that fail.
    fn lookup(&self, host: String) -> Lookup {
        let (resolver, answers) = (Arc::clone(&self.resolver), Arc::clone(&self.answers));
        Box::pin(async move {
            let addresses = resolver.resolve(&host).await?;
            answers.remember(host, &addresses, Instant::now());
            Ok(addresses)
        })
    }
}

impl Answers {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self, host: &str, now: Instant) -> Option<Answer> {
        self.known().get(host).filter(|answer| now.saturating_duration_since(answer.at) < self.age).cloned()
    }

    fn remember(&self, host: String, addresses: &[IpAddr], at: Instant) {
        let mut known = self.known();
        if addresses.is_empty() {
            known.remove(&host);
            return;
        }
        if known.len() >= ANSWERS_MAX && !known.contains_key(&host) {
            known.retain(|_, answer| at.saturating_duration_since(answer.at) < self.age);
            if known.len() >= ANSWERS_MAX {
                return;
            }
        }
        known.insert(host, Answer { addresses: addresses.to_vec(), at, overdue: false, asked: false });
    }

    /// Notes how it stands with the question. Answers whether it has only now begun, or ceased, to go on.
    fn mark(&self, host: &str, overdue: bool, asked: bool) -> bool {
        self.known().get_mut(host).is_some_and(|answer| {
            answer.overdue = overdue;
            std::mem::replace(&mut answer.asked, asked) != asked
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(300);

    #[test]
    fn an_answer_is_remembered_until_it_is_too_old_or_the_name_has_no_address() {
        let answers = Answers { age: AGE, known: Mutex::default() };
        let (now, address) = (Instant::now(), [IpAddr::from([8, 8, 8, 8])]);
        answers.remember("a.test".to_owned(), &address, now);
        assert!(answers.recent("a.test", now + AGE / 2).is_some());
        assert!(answers.recent("a.test", now + AGE).is_none());
        answers.remember("a.test".to_owned(), &[], now);
        assert!(answers.recent("a.test", now).is_none());
    }

    #[test]
    fn no_more_answers_are_remembered_than_there_may_be() {
        let answers = Answers { age: AGE, known: Mutex::default() };
        let (now, address) = (Instant::now(), [IpAddr::from([8, 8, 8, 8])]);
        for number in 0..=ANSWERS_MAX {
            answers.remember(format!("{number}.test"), &address, now);
        }
        assert_eq!(answers.known().len(), ANSWERS_MAX);
        answers.remember("late.test".to_owned(), &address, now + AGE);
        assert_eq!(answers.known().len(), 1, "the others are too old to be used");
    }
}
