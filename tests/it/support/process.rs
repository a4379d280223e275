//! The real program as a process of its own, to be killed.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use serde_json::{Value, json};

use super::{Caller, charge, id, printed::WATCH, receiver::Receiver};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_k-webhooks");

/// A key that the processes of the tests accept on their internal listener.
pub(crate) const BOOTSTRAP_KEY: &str = "bootstrap-key-of-the-tests-and-of-nothing-else";

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    /// What it has logged: of each line the message, and the line.
    logged: watch::Receiver<Vec<(String, String)>>,
}

impl Process {
    /// Starts the program and waits until it says where it listens.
    pub(crate) async fn start(command: Command) -> Self {
        Self::try_start(command).await.expect("the program lives until it listens")
    }

    /// The same for a program that may end before.
    pub(crate) async fn try_start(mut command: Command) -> Option<Self> {
        for name in ["K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", "K_WEBHOOKS__DATABASE__URL"] {
            let mut variables = command.as_std().get_envs();
            let value =
                variables.find(|(variable, _)| *variable == name).and_then(|(_, value)| value?.to_str());
            match value {
                Some(url) if name.ends_with("URL") => WATCH.password_of(url),
                Some(key) => WATCH.value(key),
                None => {}
            }
        }
        let mut child = command.spawn().unwrap();
        if let Some(stdout) = child.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    WATCH.note_answer(&line);
                }
            });
        }
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut messages = Vec::new();
        let (public, internal) = loop {
            let line = lines.next_line().await.unwrap()?;
            WATCH.note(&line);
            let Ok(log) = serde_json::from_str::<Value>(&line) else { panic!("{line}") };
            if log["fields"]["message"] == "listening" {
                let address = |name: &str| log["fields"][name].as_str().unwrap().parse().unwrap();
                break (address("public"), address("internal"));
            }
            messages.push((message(&line), line));
        };
        // The pipe must be read on, or the program would wait for it.
        let (sender, logged) = watch::channel(messages);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                WATCH.note(&line);
                sender.send_modify(|messages| messages.push((message(&line), line)));
            }
        });
        Some(Self { child, public, internal, logged })
    }

    pub(crate) fn internal(&self) -> Caller {
        Caller::new(self.internal, BOOTSTRAP_KEY)
    }

    /// A caller with a new test key of merchant `m_1`.
    pub(crate) async fn merchant(&self) -> Caller {
        let key = self.internal().post("/v1/merchants/m_1/api_keys", "{}").await.expect(201);
        Caller::new(self.public, key["secret_key"].as_str().unwrap())
    }

    /// Registers the receiver and publishes an event to it.
    pub(crate) async fn publish_to(&self, receiver: &Receiver) -> Value {
        let endpoint = json!({ "url": receiver.url() });
        self.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201);
        self.internal().post("/v1/events", charge()).await.expect(201)
    }

    /// The first delivery of an event, with its attempts.
    pub(crate) async fn delivery_of(&self, event: &Value) -> Value {
        let merchant = self.merchant().await;
        let list = merchant.get(&format!("/v1/events/{}/deliveries", id(event))).await.expect(200);
        merchant.get(&format!("/v1/deliveries/{}", id(&list["data"][0]))).await.expect(200)
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Returns when the program has logged this message.
    pub(crate) async fn until_logged(&self, message: &str) {
        self.until_logged_times(message, 1).await;
    }

    /// The first line with this message, once the program has logged it.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        let mut logged = self.logged.clone();
        let lines = logged.wait_for(|lines| count(lines, message) > 0).await.unwrap();
        let (_, line) = lines.iter().find(|(logged, _)| logged == message).unwrap();
        serde_json::from_str(line).unwrap()
    }

    /// Returns when the program has logged this message so often.
    pub(crate) async fn until_logged_times(&self, message: &str, times: usize) {
        self.logged.clone().wait_for(|messages| count(messages, message) >= times).await.unwrap();
    }

    /// How often a program that has ended logged this message.
    pub(crate) async fn count_logged(&self, message: &str) -> usize {
        let mut logged = self.logged.clone();
        // Its pipe is read to the end.
        while logged.changed().await.is_ok() {}
        count(&logged.borrow(), message)
    }

    /// Limits how large the process's files may grow: to it, a disk that is full.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let id = self.child.id().unwrap().to_string();
        let limited = std::process::Command::new("prlimit")
            .args(["--pid", &id, &format!("--fsize={bytes}:unlimited")])
            .status();
        assert!(limited.expect("prlimit, of util-linux, is installed").success());
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(sent.unwrap().success());
    }
}

/// However it ends, it must not have printed a secret.
impl Drop for Process {
    fn drop(&mut self) {
        WATCH.check();
    }
}

/// The message of a line of the log, or the line.
fn message(line: &str) -> String {
    let log: Value = serde_json::from_str(line).unwrap_or_default();
    log["fields"]["message"].as_str().unwrap_or(line).to_owned()
}

fn count(lines: &[(String, String)], message: &str) -> usize {
    lines.iter().filter(|(logged, _)| logged == message).count()
}
