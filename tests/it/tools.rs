//! The developers' commands, as processes, against a running service.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use k_webhooks::signature::{SigningSecret, TOLERANCE, verify};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::support::{
    Caller, charge,
    engine::{Database, Engine as _, Sqlite},
    id,
    process::{BOOTSTRAP_KEY, PROGRAM, Process},
    proxy::Proxy,
    receiver::{Act, Receiver},
};

/// A service, and how the commands find it.
struct World {
    /// With the folder of what is kept beside it.
    _database: Database,
    process: Process,
    merchant: Caller,
    variables: Vec<(&'static str, String)>,
}

impl World {
    async fn start() -> Self {
        let database = Sqlite::database().await;
        let process = Process::start(database.serve()).await;
        let merchant = process.merchant().await;
        let variables = vec![
            ("K_WEBHOOKS_URL", format!("http://{}", process.public)),
            ("K_WEBHOOKS_INTERNAL_URL", format!("http://{}/", process.internal)),
            ("K_WEBHOOKS_KEY", merchant.key().to_owned()),
            ("K_WEBHOOKS_SERVICE_KEY", BOOTSTRAP_KEY.to_owned()),
            // Not where the service keeps the keys that it makes.
            ("XDG_CONFIG_HOME", database.folder.path().join("commands").display().to_string()),
        ];
        Self { _database: database, process, merchant, variables }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    async fn said(&self, arguments: &[&str]) -> String {
        said(&self.run(arguments).await)
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.said(&arguments).await).unwrap()
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that fails says, in one line.
#[track_caller]
fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    message
}

/// `listen` while it runs.
struct Listener {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

impl Listener {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let errors = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { _child: child, lines, errors }
    }

    /// The next line that contains this.
    async fn until(&mut self, text: &str) -> String {
        loop {
            let line =
                self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn listen_forwards_events_as_the_service_delivers_them_signed_with_the_secret_that_it_prints() {
    let world = World::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let mut listener = Listener::start(world.command(&["listen", "--forward-to", &receiver.url()]));
    let secret = SigningSecret::parse(listener.until("whsec_").await.trim()).unwrap();
    listener.until("Listening").await;
    let event = world.process.internal().post("/v1/events", charge()).await.expect(201);
    let forwarded = receiver.until(1).await.remove(0);
    let line = listener.until(id(&event)).await;
    assert!(line.starts_with("charge.succeeded") && line.contains("answered 200 in "), "{line}");

    let now = k_webhooks::clock::Clock::system().now().seconds();
    let header = forwarded.header("k-payments-signature");
    assert_eq!(verify(header, &forwarded.body, &secret, now, TOLERANCE), Ok(()));
    assert_eq!(forwarded.header("k-payments-event-id"), id(&event));
    assert_eq!(forwarded.header("k-payments-attempt"), "1");
    let mut expected = event.clone();
    expected.as_object_mut().unwrap().remove("pending_webhooks");
    assert_eq!(serde_json::from_slice::<Value>(&forwarded.body).unwrap(), expected);

    receiver.now(Act::Close);
    let event = world.process.internal().post("/v1/events", charge()).await.expect(201);
    let line = listener.until(id(&event)).await;
    assert!(line.contains("no answer: "), "{line}");
}

#[tokio::test]
async fn listen_goes_on_where_it_was_when_the_service_was_away() {
    let world = World::start().await;
    let proxy = Proxy::start(world.process.public.port()).await;
    let mut command = world.command(&["listen", "--json", "--events", "charge.succeeded"]);
    command.env("K_WEBHOOKS_URL", format!("http://{}", proxy.address));
    let mut listener = Listener::start(command);
    let publish = async |event: Value| world.process.internal().post("/v1/events", event).await.expect(201);
    listener.until("listening").await;
    let event = publish(charge()).await;
    let line: Value = serde_json::from_str(&listener.until(id(&event)).await).unwrap();
    assert_eq!(line["event"]["type"], "charge.succeeded");
    proxy.switch(None);
    let message = listener.errors.next_line().await.unwrap().unwrap();
    assert!(message.contains("Trying again until events come."), "{message}");
    let mut payout = charge();
    (payout["type"], payout["data"]["object"]["object"]) = ("payout.paid".into(), "payout".into());
    publish(payout).await;
    let missed = [publish(charge()).await, publish(charge()).await];
    proxy.switch(Some(world.process.public.port()));
    for event in &missed {
        let line: Value = serde_json::from_str(&listener.until(id(event)).await).unwrap();
        assert_eq!(line["event"]["type"], "charge.succeeded");
    }
}

#[tokio::test]
async fn listen_says_what_is_wrong_with_a_key_and_does_not_forward_live_events_unasked() {
    let world = World::start().await;
    let listen = async |key: &str| {
        let mut command = world.command(&["listen"]);
        refused(&command.env("K_WEBHOOKS_KEY", key).output().await.unwrap())
    };
    let live = world.process.internal().post("/v1/merchants/m_1/api_keys", json!({ "livemode": true })).await;
    let message = listen(live.expect(201)["secret_key"].as_str().unwrap()).await;
    assert!(message.contains("--live"), "{message}");
    let message = listen("sk_test_wrong").await;
    assert!(message.contains("The API key is not valid. The key comes from K_WEBHOOKS_KEY"), "{message}");
    let message = refused(&world.run(&["listen", "--events", "charge.done"]).await);
    assert!(message.contains("\"charge.done\" is not an event type"), "{message}");
    let message = refused(&world.run(&["listen", "--forward-to", "localhost:3000"]).await);
    assert!(message.contains("--forward-to: must be a URL"), "{message}");
}

#[tokio::test]
async fn trigger_publishes_a_sample_with_what_was_changed_in_it() {
    let world = World::start().await;
    let stored = world
        .json(&[
            "trigger",
            "charge.refunded",
            "--merchant",
            "m_1",
            "--override",
            "data.object.amount=100",
            "--override",
            "data.object.metadata.order_id=1025",
        ])
        .await;
    let event = world.merchant.get(&format!("/v1/events/{}", id(&stored))).await.expect(200);
    assert_eq!((&event["type"], &event["livemode"]), (&json!("charge.refunded"), &json!(false)));
    let charge = &event["data"]["object"];
    assert_eq!((&charge["amount"], &charge["metadata"]["order_id"]), (&json!(100), &json!(1025)));
    assert_eq!(event["data"]["previous_attributes"]["amount_refunded"], 0);
    let line = world.said(&["trigger", "payout.paid", "--merchant", "m_1"]).await;
    assert!(line.starts_with("payout.paid       evt_") && line.ends_with("for 0 endpoints\n"), "{line}");

    let message = refused(&world.run(&["trigger", "payout.paid"]).await);
    assert!(message.contains("Give --merchant"), "{message}");
    let mut command = world.command(&["trigger", "payout.paid", "--merchant", "m_1"]);
    let message = refused(&command.env_remove("K_WEBHOOKS_SERVICE_KEY").output().await.unwrap());
    assert!(message.contains("set K_WEBHOOKS_SERVICE_KEY, or `service_key` of a profile in "), "{message}");
    let message = refused(&world.run(&["trigger", "payout.paid", "--merchant", "m 1"]).await);
    assert!(message.contains("Validation failed. merchant_id: must be "), "{message}");
    let unknown = world.run(&["trigger", "payout.pay"]).await;
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("the nearest is payout.paid"));
}

#[tokio::test]
async fn endpoints_events_and_deliveries_are_managed_from_the_command_line() {
    let world = World::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let (none, url) = (world.said(&["endpoints", "list"]).await, receiver.url());
    assert_eq!(none, "There are none.\n");
    let made = world
        .json(&[
            "endpoints",
            "create",
            &url,
            "--events",
            "charge.succeeded,payout.paid",
            "--description",
            "mine",
        ])
        .await;
    assert!(made["signing_secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(made["enabled_events"], json!(["charge.succeeded", "payout.paid"]));
    let endpoint = id(&made);
    let listed = world.said(&["endpoints", "list"]).await;
    assert!(listed.contains(endpoint) && listed.contains("charge.succeeded,payout.paid"), "{listed}");
    assert!(world.said(&["endpoints", "get", endpoint]).await.contains(&url));

    let event = world.json(&["endpoints", "test", endpoint, "--type", "payout.paid"]).await;
    receiver.until_event(id(&event)).await;
    let events = world.said(&["events", "list", "--type", "payout.paid"]).await;
    assert!(events.lines().nth(1).unwrap().contains(id(&event)), "{events}");
    assert_eq!(world.json(&["events", "get", id(&event)]).await["id"], event["id"]);
    let resent = world.json(&["events", "resend", id(&event), "--endpoint", endpoint]).await;
    receiver.until(2).await;
    let deliveries = world.json(&["deliveries", "list", "--event", id(&event)]).await;
    assert_eq!(deliveries["data"][0]["id"], resent["id"]);
    let first = world.json(&["deliveries", "list", "--endpoint", endpoint, "--limit", "1"]).await;
    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (1, &json!(true)));
    let more = world.said(&["deliveries", "list", "--endpoint", endpoint, "--limit", "1"]).await;
    assert!(more.ends_with(&format!("There are more: --after {}\n", id(&first["data"][0]))), "{more}");
    world.said(&["deliveries", "retry", id(&resent)]).await;
    receiver.until(3).await;
    assert!(world.said(&["deliveries", "get", id(&resent)]).await.contains("response_status"));

    let off =
        world.json(&["endpoints", "update", endpoint, "--status", "disabled", "--description", "off"]).await;
    assert_eq!((&off["status"], &off["description"]), (&json!("disabled"), &json!("off")));
    let rotated = world.json(&["endpoints", "rotate-secret", endpoint, "--expire-previous-in", "0s"]).await;
    assert_ne!(rotated["signing_secret"], made["signing_secret"]);
    assert_eq!(world.json(&["endpoints", "delete", endpoint]).await["deleted"], true);
    let message = refused(&world.run(&["endpoints", "get", endpoint]).await);
    assert!(message.contains("No such webhook endpoint"), "{message}");
    let message = refused(&world.run(&["events", "get", "../../healthz"]).await);
    assert!(message.contains("No such event: ../../healthz"), "{message}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["events", "list", "--url", "http://127.0.0.1:1"]).env("K_WEBHOOKS_KEY", "sk_test_1");
    let output = command.env("XDG_CONFIG_HOME", folder.path()).output().await.unwrap();
    let message = refused(&output);
    assert!(
        message.contains("http://127.0.0.1:1 does not answer (") && message.contains("k-webhooks serve"),
        "{message}"
    );
}

#[tokio::test]
async fn the_first_start_in_development_keeps_its_keys_for_the_commands_and_for_nobody_else() {
    let database = Sqlite::database().await;
    let process = Process::start(database.serve()).await;
    let folder = database.folder.path();
    let path = folder.join("k-webhooks/development.toml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("XDG_CONFIG_HOME", folder).output().await.unwrap()
    };
    let event = said(&run(&["trigger", "charge.succeeded"]).await);
    assert!(said(&run(&["events", "list"]).await).contains(event.split_whitespace().nth(1).unwrap()));
    process.terminate();
    // Another start makes no keys, and leaves the file as it is.
    let before = std::fs::read(&path).unwrap();
    drop(Process::start(database.serve()).await);
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let message = refused(&run(&["events", "list"]).await);
    assert!(message.contains("run: chmod 600 "), "{message}");
}

#[tokio::test]
async fn completions_know_every_command() {
    let run =
        async |shell: &str| said(&Command::new(PROGRAM).args(["completions", shell]).output().await.unwrap());
    for shell in ["bash", "zsh", "fish"] {
        let script = run(shell).await;
        for command in ["listen", "trigger", "check", "endpoints", "rotate-secret"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k-webhooks.bash");
    std::fs::write(&path, run("bash").await).unwrap();
    let offered = complete(&path, "k-webhooks endpoints ro").await;
    assert_eq!(offered.trim(), "rotate-secret");
}

/// What bash offers for the last word of a line.
async fn complete(script: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let last = words.len() - 1;
    let asked = format!(
        "source {}; COMP_WORDS=({line}); COMP_CWORD={last}; _k-webhooks k-webhooks {} {}; echo \"${{COMPREPLY[@]}}\"",
        script.display(),
        words[last],
        words[last - 1]
    );
    said(&Command::new("bash").args(["-c", &asked]).output().await.unwrap())
}
