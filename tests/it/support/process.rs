//! The real program as a process of its own, to be killed.

use std::{net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use super::Caller;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_k-webhooks");

/// A key that the processes of the tests accept on their internal listener.
pub(crate) const BOOTSTRAP_KEY: &str = "bootstrap-key-of-the-tests";

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    logged: watch::Receiver<Vec<String>>,
}

/// `serve` with its files in `folder`.
pub(crate) fn serve_command(folder: &Path) -> Command {
    let mut command = Command::new("env");
    // A write beyond a limit on file sizes then fails, as on a full disk, instead of ending the process.
    command
        .args(["--ignore-signal=XFSZ", PROGRAM, "serve", "--config", "/dev/null"])
        .current_dir(folder)
        .env("K_WEBHOOKS__DATABASE__URL", "sqlite://data/k.db")
        .env("K_WEBHOOKS__SERVER__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", BOOTSTRAP_KEY)
        .env("K_WEBHOOKS__LOG__FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Process {
    /// Starts the program and waits until it says where it listens.
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (public, internal) = loop {
            let line = lines.next_line().await.unwrap().expect("the program ended before it listened");
            let Ok(log) = serde_json::from_str::<serde_json::Value>(&line) else { panic!("{line}") };
            if log["fields"]["message"] == "listening" {
                let address = |name: &str| log["fields"][name].as_str().unwrap().parse().unwrap();
                break (address("public"), address("internal"));
            }
        };
        // The pipe must be read on, or the program would wait for it.
        let (sender, logged) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let log: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let message = log["fields"]["message"].as_str().unwrap_or(&line).to_owned();
                sender.send_modify(|messages| messages.push(message));
            }
        });
        Self { child, public, internal, logged }
    }

    pub(crate) fn internal(&self) -> Caller {
        Caller::new(self.internal, BOOTSTRAP_KEY)
    }

    /// A caller with a new test key of merchant `m_1`.
    pub(crate) async fn merchant(&self) -> Caller {
        let key = self.internal().post("/v1/merchants/m_1/api_keys", "{}").await.expect(201);
        Caller::new(self.public, key["secret_key"].as_str().unwrap())
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Returns when the program has logged this message.
    pub(crate) async fn until_logged(&self, message: &str) {
        self.logged
            .clone()
            .wait_for(|messages| messages.iter().any(|logged| logged == message))
            .await
            .unwrap();
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
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}
