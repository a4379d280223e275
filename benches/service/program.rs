//! The service under measurement.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Engine, load::Client, storage::Storage};

pub(crate) const KEY: &str = "bootstrap-key-of-the-benchmark";

pub(crate) struct Program {
    process: Child,
    pub(crate) public: String,
    pub(crate) internal: String,
    pub(crate) storage: Storage,
}

/// What the program has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Of one core, in seconds.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_memory_mib: u64,
}

impl Program {
    /// Starts it on a new database, with these settings besides.
    pub(crate) async fn start(engine: Engine, settings: &[(&str, &str)]) -> Self {
        let storage = Storage::new(engine).await;
        let (process, public, internal) = start(&storage, settings);
        Self { process, public, internal, storage }
    }

    /// Starts the program again on the same database, once it was ended.
    pub(crate) fn start_again(&mut self, settings: &[(&str, &str)]) {
        (self.process, self.public, self.internal) = start(&self.storage, settings);
    }

    /// Registers endpoints for a merchant at these addresses; answers their secrets.
    pub(crate) async fn register(&self, merchant: &str, urls: &[String]) -> Vec<String> {
        let client = Client::new();
        let key =
            client.post(&self.internal, &format!("/v1/merchants/{merchant}/api_keys"), KEY, &json!({})).await;
        let key = key["secret_key"].as_str().expect("a key").to_owned();
        let mut secrets = Vec::new();
        for url in urls {
            let made = client.post(&self.public, "/v1/webhook_endpoints", &key, &json!({ "url": url })).await;
            secrets.push(made["signing_secret"].as_str().expect("a secret").to_owned());
        }
        secrets
    }

    pub(crate) fn usage(&self) -> Usage {
        let of = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("the program runs")
        };
        // Behind the name, which is in parentheses: the 12th and 13th are the ticks in user and system mode.
        let stat = of("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: &str| field.parse::<f64>().expect("ticks");
        let status = of("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let peak: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        Usage { cpu_seconds: (ticks(fields[11]) + ticks(fields[12])) / 100.0, peak_memory_mib: peak / 1024 }
    }

    /// Ends the program in order; answers how many bytes the database takes.
    pub(crate) async fn stop(mut self) -> u64 {
        self.terminate();
        self.storage.bytes().await
    }

    /// Ends the program in order.
    pub(crate) fn terminate(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the program and waits until it listens; answers its public and its internal address too.
fn start(storage: &Storage, settings: &[(&str, &str)]) -> (Child, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k-webhooks"));
    command
        .args(["serve", "--config", "/dev/null"])
        .current_dir(storage.folder.path())
        .env("K_WEBHOOKS__DATABASE__URL", &storage.url)
        .env("XDG_CONFIG_HOME", storage.folder.path())
        .env("K_WEBHOOKS__SERVER__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", KEY)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let always = [
        ("log.format", "json"),
        ("log.filter", "info"),
        ("limits.requests_per_second", "1000000"),
        ("limits.endpoints_per_merchant", "100"),
    ];
    for (key, value) in always.iter().chain(settings) {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let mut process = command.spawn().expect("the program starts");
    let (public, internal) = listening(&mut process);
    (process, public, internal)
}

/// Waits until the program says where it listens.
fn listening(process: &mut Child) -> (String, String) {
    let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
    let addresses = loop {
        let line = lines.next().expect("the program listens").expect("its log is text");
        let log: Value = serde_json::from_str(&line).expect("its log is JSON");
        if log["fields"]["message"] == "listening" {
            let address = |name: &str| log["fields"][name].as_str().expect("an address").to_owned();
            break (address("public"), address("internal"));
        }
    };
    // The pipe must be read on, or the program would wait for it.
    std::thread::spawn(move || lines.for_each(drop));
    addresses
}
