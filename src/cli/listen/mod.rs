//! `listen`: a merchant's events as they happen, forwarded to a receiver that is being built.

mod parts;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use http::{Method, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    api::{Api, CallError, query},
    fail,
    forward::Receiver,
    profile::ServiceArgs,
    say,
    sign::VARIABLE as SECRET_VARIABLE,
};
use crate::{
    clock::Clock,
    config::secret_of,
    entropy::Entropy,
    id::{DeliveryId, IdSource},
    signature::{self, SigningSecret},
};
use parts::{Part, Parts};

#[derive(Args)]
pub(super) struct ListenArgs {
    /// Where to send each event, such as <http://localhost:3000/hooks>; without it they are only printed
    #[arg(long, value_name = "URL")]
    forward_to: Option<Uri>,
    /// Only these types, with commas between them
    #[arg(long, value_name = "TYPES")]
    events: Option<String>,
    /// Prints each event whole
    #[arg(long)]
    print_json: bool,
    /// First what came after this event
    #[arg(long, value_name = "EVENT")]
    starting_after: Option<String>,
    /// Listens with a live key too: real events, sent to where you say
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// How many requests may be at the receiver at once.
const AT_ONCE: usize = 16;

/// Before the stream is asked for again: doubled each time, up to the most.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The service sends something every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Events of which it is known that they came: who resumes may get some again.
const KNOWN_MAX: usize = 10_000;

impl ListenArgs {
    pub(super) async fn run(self) -> Result<()> {
        let api = self.service.public()?;
        if api.is_live() && !self.live {
            bail!("this is a live key: use a test key, or say --live to forward real events");
        }
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut listening = Listening::new(&self)?;
        tokio::select! {
            ended = listening.follow(&api, self.events, self.starting_after) => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    }
}

struct Listening {
    forward: Option<Arc<Forward>>,
    print_json: bool,
    json: bool,
    places: Arc<Semaphore>,
    under_way: JoinSet<()>,
    known: Known,
}

/// Where events go.
struct Forward {
    receiver: Receiver,
    secret: SigningSecret,
    ids: IdSource,
    clock: Clock,
}

impl Listening {
    fn new(args: &ListenArgs) -> Result<Self> {
        let forward = args.forward_to.clone().map(|url| Forward::to(url, args.service.json)).transpose()?;
        Ok(Self {
            forward: forward.map(Arc::new),
            print_json: args.print_json,
            json: args.service.json,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            under_way: JoinSet::new(),
            known: Known::default(),
        })
    }

    /// Until the service refuses.
    async fn follow(&mut self, api: &Api, types: Option<String>, mut place: Option<String>) -> Result<()> {
        // What was said last: nothing yet, that events come, or that they do not.
        let (mut pause, mut listening) = (PAUSE, None);
        let path = query("/v1/events/stream", [("types", types)]);
        loop {
            let resume: Vec<_> = place.iter().map(|id| ("last-event-id", id.as_str())).collect();
            let why = match api.begin(Method::GET, &path, &resume, None).await {
                Ok(answer) => {
                    if listening != Some(true) {
                        self.say_listening();
                    }
                    (pause, listening) = (PAUSE, Some(true));
                    let Some(why) = self.read(answer.into_body(), &mut place).await else {
                        // In order: after an hour, or for another process to take over.
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    };
                    why
                }
                Err(CallError::Refused(why)) => bail!(why),
                Err(CallError::Passes(why)) => why,
            };
            if listening != Some(false) {
                fail(&format!("{why}. Trying again until events come."));
                listening = Some(false);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn say_listening(&self) {
        if self.json {
            say(&json!({ "listening": true }).to_string());
        } else {
            say("Listening; events come as they are published. Ctrl-C ends it.");
        }
    }

    /// Until the stream ends; answers why, if that was not in order.
    async fn read(&mut self, mut body: Incoming, place: &mut Option<String>) -> Option<String> {
        let mut parts = Parts::default();
        loop {
            let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Some(format!("the stream broke off ({})", super::http::cause(&error)));
                }
                Ok(None) => return None,
                Err(_) => return Some("the stream is silent".to_owned()),
            };
            let Some(data) = frame.data_ref() else { continue };
            let Some(whole) = parts.push(data) else {
                return Some("what answers is not k-webhooks".to_owned());
            };
            for part in whole {
                if part.id.is_some() {
                    place.clone_from(&part.id);
                }
                self.came(part).await;
            }
        }
    }

    async fn came(&mut self, part: Part) {
        let event: Value = serde_json::from_str(&part.data).unwrap_or_default();
        let (Some(id), Some(event_type)) = (event["id"].as_str(), event["type"].as_str()) else { return };
        if part.kind != "event" || !self.known.is_new(id) {
            return;
        }
        let line = Line {
            id: id.to_owned(),
            event_type: event_type.to_owned(),
            json: self.json,
            event: (self.print_json || self.json).then(|| event.clone()),
        };
        let Some(forward) = &self.forward else { return line.print(None) };
        // The place is given back when the answer has come, so a slow receiver holds up the stream and not the memory.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
        let forward = Arc::clone(forward);
        self.under_way.spawn(async move {
            line.print(Some(forward.send(&line, part.data).await));
            drop(place);
        });
        while self.under_way.try_join_next().is_some() {}
    }
}

impl Forward {
    fn to(url: Uri, json: bool) -> Result<Self> {
        let given = secret_of(None, SECRET_VARIABLE, |name| std::env::var(name).ok())?;
        let entropy = Entropy::os();
        let secret = match &given {
            Some(text) => SigningSecret::parse(text.expose_secret()).context(SECRET_VARIABLE)?,
            None => signature::new_secret(&entropy),
        };
        let receiver = Receiver::at(url).context("--forward-to")?;
        if json {
            say(&json!({ "forward_to": receiver.url(), "signing_secret": secret.expose() }).to_string());
        } else {
            say(&format!(
                "Events go to {}, signed with this secret, which your receiver verifies with:",
                receiver.url()
            ));
            say(&format!("  {}", secret.expose()));
            if given.is_none() {
                say(&format!("It is new each time; {SECRET_VARIABLE} gives one that stays."));
            }
        }
        Ok(Self { receiver, secret, ids: IdSource::new(entropy), clock: Clock::system() })
    }

    async fn send(&self, line: &Line, body: String) -> Outcome {
        let now = self.clock.now();
        let delivery: DeliveryId = self.ids.next(now);
        let envelope = crate::headers::Envelope {
            event_id: &line.id,
            event_type: &line.event_type,
            delivery_id: &delivery.to_string(),
            attempt: 1,
        };
        let started = Instant::now();
        let answer = match envelope.headers(&[&self.secret], now.seconds(), body.as_bytes()) {
            Ok(headers) => self.receiver.send(headers, body.into()).await.map(|answer| answer.status),
            Err(error) => Err(error.to_string()),
        };
        Outcome { answer, took: started.elapsed() }
    }
}

/// What the receiver answered.
struct Outcome {
    answer: Result<u16, String>,
    took: Duration,
}

/// What is printed of an event.
struct Line {
    id: String,
    event_type: String,
    json: bool,
    event: Option<Value>,
}

impl Line {
    fn print(&self, outcome: Option<Outcome>) {
        let took_ms = |outcome: &Outcome| u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX);
        if self.json {
            let mut line = json!({ "event": self.event });
            if let Some(outcome) = &outcome {
                line["status"] = outcome.answer.as_ref().ok().copied().into();
                line["error"] = outcome.answer.as_ref().err().cloned().into();
                line["took_ms"] = took_ms(outcome).into();
            }
            return say(&line.to_string());
        }
        let answer = outcome.map_or_else(String::new, |outcome| {
            let took = took_ms(&outcome);
            match outcome.answer {
                Ok(status) => format!("  answered {status} in {took} ms"),
                Err(error) => format!("  no answer: {error}"),
            }
        });
        say(&format!("{:<17} {}{answer}", self.event_type, self.id));
        if let Some(event) = &self.event {
            say(&format!("{event:#}"));
        }
    }
}

/// The newest ids that came.
#[derive(Default)]
struct Known {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Known {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
