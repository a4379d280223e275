//! The crash harness: publishers at work while processes are killed, at random and at chosen gaps between two steps, the
//! database crashes, and receivers misbehave; then everything must add up.
//!
//! A run is told by its seed. `make crash` makes a long one: `K_WEBHOOKS_CRASH_EVENTS`, `_KILLS` and `_SEED` say how long.

mod verify;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::Duration,
};

use k_webhooks::{
    entropy::Entropy,
    kill_point::{self, KillPoint},
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use super::Engine;
use crate::support::{
    Caller,
    engine::{Engine as _, Server},
    id,
    process::{BOOTSTRAP_KEY, Process},
    receiver::{Act, Receiver},
};
use verify::verify;

const PUBLISHERS: u64 = 8;

/// How long all that is open may take to end once nothing fails any more: a lost lease, the ladder, and the sweep that
/// runs every minute.
const DRAIN: Duration = Duration::from_secs(180);

/// `SplitMix64`: enough to choose by, and the same for the same seed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(format!("K_WEBHOOKS_CRASH_{name}"));
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The listeners of the processes that run now; publishers choose among them.
type Listeners = Arc<Mutex<BTreeMap<usize, (SocketAddr, SocketAddr)>>>;

/// A place for a process, which is started again whenever it has ended.
struct Slot {
    number: usize,
    role: &'static str,
    process: Option<Process>,
}

/// What happened, for the report.
#[derive(Default, Debug)]
struct Tally {
    killed: BTreeMap<&'static str, usize>,
    at_kill_points: BTreeMap<&'static str, usize>,
    terminated: usize,
    database_crashes: usize,
}

impl Tally {
    fn kills(&self) -> usize {
        self.killed.values().chain(self.at_kill_points.values()).sum::<usize>() + self.database_crashes
    }
}

struct Chaos {
    server: Server,
    slots: Vec<Slot>,
    listeners: Listeners,
    merchant: String,
    /// The endpoint that is switched off and on.
    switched: String,
    choice: Choice,
    tally: Tally,
}

impl Chaos {
    async fn start_slot(&mut self, number: usize, kill_point: Option<(KillPoint, u64)>) -> bool {
        let slot = &mut self.slots[number];
        let mut command = self.server.database.serve();
        command.args(["--role", slot.role]);
        for (name, value) in [
            ("RETRY__LADDER", r#"["2s", "10s"]"#),
            ("RETRY__WINDOW", "15s"),
            ("DATABASE__POLL", "2s"),
            ("LIMITS__REQUESTS_PER_SECOND", "100000"),
            ("SHUTDOWN__GRACE", "5s"),
        ] {
            command.env(format!("K_WEBHOOKS__{name}"), value);
        }
        // What a process says of itself as it starts is information.
        command.env("K_WEBHOOKS__LOG__FILTER", "error,k_webhooks::app=info");
        if let Some((point, pass)) = kill_point {
            command.env(kill_point::VARIABLE, format!("{}:{pass}", point.as_str()));
        }
        let Some(process) = Process::try_start(command).await else { return false };
        if slot.role != "worker" {
            self.listeners.lock().unwrap().insert(number, (process.public, process.internal));
        }
        slot.process = Some(process);
        true
    }

    /// The process of a slot has ended, or is about to.
    fn vacate(&mut self, number: usize) -> Process {
        self.listeners.lock().unwrap().remove(&number);
        self.slots[number].process.take().unwrap()
    }

    async fn restart(&mut self, number: usize) {
        assert!(self.start_slot(number, None).await, "a process without a kill point starts");
    }

    /// One fault, and the recovery from it.
    async fn strike(&mut self) {
        let number = usize::try_from(self.choice.below(self.slots.len() as u64)).unwrap();
        match self.choice.below(8) {
            0..=1 => {
                self.vacate(number).kill().await;
                *self.tally.killed.entry(self.slots[number].role).or_default() += 1;
                self.restart(number).await;
            }
            2 => {
                let mut process = self.vacate(number);
                process.terminate();
                assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
                self.tally.terminated += 1;
                self.restart(number).await;
            }
            3 if self.server.cluster.is_some() => {
                let cluster = self.server.cluster.take().unwrap();
                // These block, and the publishers must go on.
                let crash = tokio::task::spawn_blocking(move || {
                    cluster.kill();
                    cluster.up();
                    cluster
                });
                self.server.cluster = Some(crash.await.unwrap());
                self.tally.database_crashes += 1;
            }
            _ => self.die_at_a_kill_point(number).await,
        }
    }

    /// Has the process of a slot end in one gap between two steps.
    async fn die_at_a_kill_point(&mut self, number: usize) {
        use KillPoint::{
            AcceptAfterCommit, AcceptBeforeCommit, AfterSend, BeforeSend, ClaimAfterCommit,
            ClaimBeforeCommit, RecordAfterCommit, RecordBeforeCommit, SettleAfterCommit,
        };
        let accepting = [AcceptBeforeCommit, AcceptAfterCommit, SettleAfterCommit];
        let working = [
            ClaimBeforeCommit,
            ClaimAfterCommit,
            BeforeSend,
            AfterSend,
            RecordBeforeCommit,
            RecordAfterCommit,
        ];
        let points = match self.slots[number].role {
            "api" => accepting.to_vec(),
            "worker" => working.to_vec(),
            _ => [accepting.as_slice(), working.as_slice()].concat(),
        };
        let (point, pass) = (*self.choice.of(&points), 1 + self.choice.below(20));
        let pass = if point == SettleAfterCommit { 1 } else { pass };
        self.vacate(number).kill().await;
        if self.start_slot(number, Some((point, pass))).await {
            let public = self.slots[number].process.as_ref().unwrap().public;
            if point == SettleAfterCommit {
                self.switch(public, "disabled").await;
            }
            let mut process = self.slots[number].process.take().unwrap();
            let ended = process.child.wait().await.unwrap();
            assert!(!ended.success(), "{point:?}: {ended}");
            self.listeners.lock().unwrap().remove(&number);
        }
        *self.tally.at_kill_points.entry(point.as_str()).or_default() += 1;
        self.restart(number).await;
        self.switch_on().await;
    }

    /// Switches the endpoint, if the process lives long enough.
    async fn switch(&self, public: SocketAddr, status: &str) -> bool {
        let path = format!("/v1/webhook_endpoints/{}", self.switched);
        let body = json!({ "status": status }).to_string();
        let headers = [("content-type", "application/json")];
        let answer = Caller::new(public, &self.merchant).try_send("PATCH", &path, &headers, body).await;
        answer.is_some_and(|answer| answer.status == 200)
    }

    async fn switch_on(&self) {
        loop {
            let first = self.listeners.lock().unwrap().values().next().copied();
            if let Some((public, _)) = first
                && self.switch(public, "enabled").await
            {
                return;
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

/// How long a publisher waits before it tries again what was not accepted.
const BACK_OFF: Duration = Duration::from_millis(20);

/// One publisher: keeps at each event until it is accepted, and sometimes publishes it once more.
struct Publisher {
    number: u64,
    choice: Choice,
    listeners: Listeners,
    merchant: String,
    /// The endpoint whose test events come in by the public listener.
    tested: String,
}

/// What one publisher was promised.
#[derive(Default)]
struct Promised {
    /// Event ids by idempotency key.
    keyed: HashMap<String, String>,
    tests: Vec<String>,
    replays: usize,
    refusals: usize,
}

impl Publisher {
    fn event(key: &str) -> Value {
        json!({
            "merchant_id": "m_1", "livemode": false, "type": "charge.succeeded", "idempotency_key": key,
            "data": { "object": { "id": key, "object": "charge", "amount": 4999 } },
        })
    }

    async fn call(&mut self, public: bool, path: &str, body: &Value) -> Option<Value> {
        let running: Vec<_> = self.listeners.lock().unwrap().values().copied().collect();
        if running.is_empty() {
            return None;
        }
        let (public_addr, internal_addr) = *self.choice.of(&running);
        let caller = if public {
            Caller::new(public_addr, &self.merchant)
        } else {
            Caller::new(internal_addr, BOOTSTRAP_KEY)
        };
        let headers = [("content-type", "application/json")];
        let answer = caller.try_send("POST", path, &headers, body.to_string()).await?;
        if answer.status == 201 {
            return Some(answer.json());
        }
        assert_eq!(answer.status, 503, "{}", answer.text);
        None
    }

    /// The same request until it is accepted.
    async fn insist(&mut self, path: &str, body: &Value, promised: &mut Promised) -> Value {
        loop {
            if let Some(answer) = self.call(false, path, body).await {
                return answer;
            }
            promised.refusals += 1;
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    async fn run(mut self, accepted: Arc<watch::Sender<u64>>, enough: watch::Receiver<bool>) -> Promised {
        let mut promised = Promised::default();
        let mut made = 0;
        while !*enough.borrow() {
            let mut key = || {
                made += 1;
                format!("p{}-{made}", self.number)
            };
            match self.choice.below(20) {
                0 => {
                    // Not repeated when it fails: it has no idempotency key.
                    let path = format!("/v1/webhook_endpoints/{}/test", self.tested);
                    let answer = self.call(true, &path, &json!({ "type": "charge.succeeded" })).await;
                    promised.tests.extend(answer.map(|event| id(&event).to_owned()));
                }
                1..=3 => {
                    let keys: Vec<String> = (0..5).map(|_| key()).collect();
                    let events: Vec<Value> = keys.iter().map(|key| Self::event(key)).collect();
                    let body = json!({ "events": events });
                    let list = self.insist("/v1/events/batch", &body, &mut promised).await;
                    for (key, event) in keys.into_iter().zip(list["data"].as_array().unwrap()) {
                        promised.keyed.insert(key, id(event).to_owned());
                    }
                    accepted.send_modify(|count| *count += 5);
                }
                _ => {
                    let key = key();
                    let body = Self::event(&key);
                    let event = self.insist("/v1/events", &body, &mut promised).await;
                    if self.choice.below(5) == 0 {
                        let again = self.insist("/v1/events", &body, &mut promised).await;
                        assert_eq!(id(&again), id(&event), "a replay is the same event");
                        promised.replays += 1;
                    }
                    promised.keyed.insert(key, id(&event).to_owned());
                    accepted.send_modify(|count| *count += 1);
                }
            }
        }
        promised
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost_whatever_is_killed() {
    let (events, kills) = (setting("EVENTS", 400), setting("KILLS", 6));
    let seed = setting("SEED", u64::from_le_bytes(Entropy::os().bytes()));
    let server = Engine::server().await;
    let roles: &[&str] = if server.cluster.is_some() { &["all", "all", "worker"] } else { &["all", "api"] };
    let slots = roles.iter().enumerate().map(|(number, role)| Slot { number, role, process: None });
    let mut chaos = Chaos {
        slots: slots.collect(),
        server,
        listeners: Listeners::default(),
        merchant: String::new(),
        switched: String::new(),
        choice: Choice(seed),
        tally: Tally::default(),
    };
    for slot in 0..chaos.slots.len() {
        chaos.restart(slot).await;
    }

    let good = Act::status(200);
    // Few hang: each of those narrows its lane for a while.
    let mut acts = vec![good.clone(); 36];
    acts.extend([Act::status(500), Act::Close, Act::status(429), Act::Hang]);
    let flaky = Act::Rotate(Arc::new(AtomicUsize::new(0)), acts);
    let receivers = [
        ("healthy", Receiver::start(good.clone()).await),
        ("flaky", Receiver::start(flaky).await),
        ("failing", Receiver::start(Act::status(500)).await),
        ("switched", Receiver::start(good.clone()).await),
        ("deleted", Receiver::start(good).await),
    ];
    let first = chaos.slots[0].process.as_ref().unwrap();
    let key = first.internal().post("/v1/merchants/m_1/api_keys", "{}").await.expect(201);
    chaos.merchant = key["secret_key"].as_str().unwrap().to_owned();
    let merchant = Caller::new(first.public, &chaos.merchant);
    let mut endpoints = HashMap::new();
    for (name, receiver) in &receivers {
        let made = merchant.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
        endpoints.insert(*name, id(&made).to_owned());
    }
    chaos.switched = endpoints["switched"].clone();

    let (accepted, progress) = watch::channel(0_u64);
    let (accepted, (enough, is_enough)) = (Arc::new(accepted), watch::channel(false));
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        let publisher = Publisher {
            number,
            choice: Choice(seed ^ (number + 1)),
            listeners: Arc::clone(&chaos.listeners),
            merchant: chaos.merchant.clone(),
            tested: endpoints["healthy"].clone(),
        };
        publishers.spawn(publisher.run(Arc::clone(&accepted), is_enough.clone()));
    }
    // Faults are spread over the run: the next strikes when its share of the events is accepted.
    let mut deleted = false;
    let mut strikes = 0;
    while chaos.tally.kills() < usize::try_from(kills).unwrap() {
        strikes += 1;
        let share = (events * strikes / (kills + 1)).min(events);
        progress.clone().wait_for(|count| *count >= share).await.unwrap();
        chaos.strike().await;
        if !deleted {
            let path = format!("/v1/webhook_endpoints/{}", endpoints["deleted"]);
            let (public, _) = *chaos.listeners.lock().unwrap().values().next().unwrap();
            let answer = Caller::new(public, &chaos.merchant).try_send("DELETE", &path, &[], "").await;
            deleted = answer.is_some_and(|answer| answer.status == 200);
        }
    }
    progress.clone().wait_for(|count| *count >= events).await.unwrap();
    enough.send_replace(true);
    let mut promised = Promised::default();
    for one in publishers.join_all().await {
        promised.keyed.extend(one.keyed);
        promised.tests.extend(one.tests);
        promised.replays += one.replays;
        promised.refusals += one.refusals;
    }
    chaos.switch_on().await;
    drain(&chaos.server).await;
    for slot in 0..chaos.slots.len() {
        let mut process = chaos.vacate(chaos.slots[slot].number);
        process.terminate();
        assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
    }
    let report = verify(&chaos.server, &promised, &endpoints, &receivers).await;
    #[expect(clippy::print_stdout, reason = "the harness reports")]
    {
        println!(
            "seed {seed}: {} events accepted ({} of them test events), {} replays, {} refusals retried\n  \
             {} kills: SIGKILL {:?}, at kill points {:?}, database {}; SIGTERM {}\n  {report}, lost 0",
            promised.keyed.len() + promised.tests.len(),
            promised.tests.len(),
            promised.replays,
            promised.refusals,
            chaos.tally.kills(),
            chaos.tally.killed,
            chaos.tally.at_kill_points,
            chaos.tally.database_crashes,
            chaos.tally.terminated,
        );
    }
}

/// Returns when no delivery is open. Every open one has a due time meanwhile.
async fn drain(server: &Server) {
    let drained = async {
        loop {
            let undated = "SELECT id FROM deliveries WHERE status = 'pending' \
                           AND (next_attempt_at IS NULL OR claimable_at IS NULL)";
            assert_eq!(server.database.rows(undated).await, Vec::<Vec<String>>::new());
            let open = "SELECT status FROM deliveries WHERE status IN ('pending', 'held') LIMIT 1";
            if server.database.rows(open).await.is_empty() {
                return;
            }
            // Other processes end what is open, and a database tells nobody.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        let open = "SELECT status, count(*) FROM deliveries GROUP BY status";
        panic!("deliveries stay open: {:?}", server.database.rows(open).await);
    }
}
