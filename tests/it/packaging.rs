//! What the service is shipped in: the image, the systemd unit, and the confinement that both promise.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use k_webhooks::config::{Config, Mode};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::process::Command;

use crate::support::{
    Caller, charge,
    engine::{Engine as _, Sqlite},
    process::{PROGRAM, Process},
};

const ENCRYPTION_KEY: (&str, &str) =
    ("K_WEBHOOKS__SECURITY__ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");

/// As long as production wants it.
const BOOTSTRAP_KEY: &str = "bootstrap-key-of-the-tests-of-packaging";

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The options that a text sets, in the form `K_WEBHOOKS__SECTION__KEY=value`.
fn options(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words =
        lines.flat_map(str::split_whitespace).map(|word| word.strip_prefix("Environment=").unwrap_or(word));
    let pairs = words.filter(|word| word.starts_with("K_WEBHOOKS__")).filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn load(options: Vec<(String, String)>) -> Result<Config, String> {
    load_over("/dev/null", options)
}

/// In the image: over the file that lies in it.
fn load_in_image(mut options: Vec<(String, String)>) -> Result<Config, String> {
    options.extend(self::options(&file("Dockerfile")));
    load_over("deploy/image.toml", options)
}

fn load_over(file: &str, options: Vec<(String, String)>) -> Result<Config, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    Config::load(Some(&path), options, &[]).map_err(|error| error.to_string())
}

#[test]
fn the_image_runs_in_production_and_not_without_an_encryption_key() {
    let image = file("Dockerfile");
    assert!(image.contains("COPY deploy/image.toml /etc/k-webhooks/config.toml"));
    assert!(image.contains("WORKDIR /etc/k-webhooks\n"), "where the file is read");
    assert_eq!(load_in_image(Vec::new()).unwrap_err(), "security.encryption_key: production needs one");
    let key = (ENCRYPTION_KEY.0.to_owned(), ENCRYPTION_KEY.1.to_owned());
    let config = load_in_image(vec![key]).unwrap();
    assert_eq!(config.mode, Mode::Production);
    let state = image.lines().find_map(|line| line.strip_prefix("VOLUME ")).unwrap();
    assert_eq!(config.database.url.expose_secret(), format!("sqlite://{state}/k-webhooks.db"));
    let exposed: Vec<_> = image.lines().filter_map(|line| line.strip_prefix("EXPOSE ")).collect();
    assert_eq!(exposed, [config.server.listen.port().to_string()], "never the internal listener");
    let user = image.lines().filter_map(|line| line.strip_prefix("USER ")).next_back();
    assert!(user.is_some_and(|user| user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0))));
    assert!(image.contains("cargo build --release --locked"));
}

/// The options that a file of YAML sets, in the form `K_WEBHOOKS__SECTION__KEY: value`.
fn mapped(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once(": "));
    let pairs = pairs.filter(|(name, _)| name.starts_with("K_WEBHOOKS__"));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

#[test]
fn what_compose_and_kubernetes_set_is_known_and_can_stand_beside_what_the_image_sets() {
    let secrets = tempfile::tempdir().unwrap();
    let database = "postgres://k_webhooks:password@postgres/k_webhooks";
    for (name, secret) in [("encryption-key", ENCRYPTION_KEY.1), ("database-url", database)] {
        fs::write(secrets.path().join(name), secret).unwrap();
    }
    for path in ["deploy/compose.yml", "deploy/kubernetes/options.yaml"] {
        let mut options = mapped(&file(path));
        for (_, value) in options.iter_mut().filter(|(name, _)| name.ends_with("_FILE")) {
            let name = Path::new(&*value).file_name().unwrap();
            *value = secrets.path().join(name).display().to_string();
        }
        let config = load_in_image(options).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(config.mode, Mode::Production, "{path}");
        assert_eq!(config.database.url.expose_secret(), database, "{path}");
        assert_eq!((config.server.listen.port(), config.internal.listen.port()), (8080, 8081), "{path}");
    }
}

#[test]
fn the_image_is_built_from_every_file_that_the_program_is() {
    let image = file("Dockerfile");
    let copied: Vec<&str> = image
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|files| !files.starts_with("--")))
        .flat_map(str::split_whitespace)
        .map(|path| path.trim_start_matches("./"))
        .collect();
    let manifest: toml::Table = file("Cargo.toml").parse().unwrap();
    let targets = ["bench", "bin"].into_iter().filter_map(|kind| manifest.get(kind)?.as_array());
    let paths = targets.flatten().filter_map(|target| target["path"].as_str());
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members")?.as_array());
    let members = members.into_iter().flatten().filter_map(|member| member.as_str());
    let crates = manifest["dependencies"].as_table().unwrap().values();
    let crates = crates.filter_map(|dependency| dependency.get("path")?.as_str());
    let ignored: Vec<String> = file(".dockerignore").lines().map(str::to_owned).collect();
    for path in
        paths.chain(members).chain(crates).chain(["Cargo.lock", ".cargo", "config.toml", "migrations"])
    {
        let holds = |folder: &str| Path::new(path).starts_with(folder);
        assert!(copied.iter().any(|folder| holds(folder)), "{path} is not copied: {copied:?}");
        let (out, back): (Vec<_>, Vec<_>) = ignored.iter().partition(|line| !line.starts_with('!'));
        let is_back = back.iter().any(|folder| holds(&folder[1..]));
        assert!(is_back || !out.iter().any(|folder| holds(folder)), "{path} is in .dockerignore");
    }
}

#[tokio::test]
async fn the_image_is_built_from_what_is_copied_into_it() {
    let (image, ignored) = (file("Dockerfile"), file(".dockerignore"));
    assert!(image.contains("COPY sdks/rust ./sdks/rust"), "it is a member of the workspace");
    assert!(ignored.lines().any(|line| line == "!sdks/rust"), "it is in the context");
}

/// What is uploaded when it is published: the library alone, which needs nothing from beside it.
#[tokio::test]
async fn the_library_for_receivers_can_be_packaged() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["package", "--list", "--allow-dirty", "--offline", "--package", "k-payments-webhooks"]);
    let listed = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().await.unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let files = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = files.lines().collect();
    for needed in ["Cargo.toml", "README.md", "src/lib.rs", "src/signature.rs"] {
        assert!(files.contains(&needed), "{needed}: {files:?}");
    }
    assert!(!files.iter().any(|file| file.starts_with("tests/")), "{files:?}");
}

#[tokio::test]
async fn the_library_for_receivers_brings_neither_a_runtime_nor_an_http_library_unless_asked_to() {
    let brought = async |features: &str| {
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "tree",
            "--locked",
            "--offline",
            "--package",
            "k-payments-webhooks",
            "--edges",
            "normal",
        ]);
        command.args(["--prefix", "none", "--features", features]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let tree = command.output().await.unwrap();
        assert!(tree.status.success(), "{tree:?}");
        let tree = String::from_utf8(tree.stdout).unwrap();
        tree.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect::<BTreeSet<String>>()
    };
    let alone = brought("").await;
    assert!(alone.contains("hmac") && alone.contains("serde_json"), "{alone:?}");
    for heavy in ["tokio", "hyper", "http", "axum-core", "sqlx", "rustls"] {
        assert!(!alone.contains(heavy), "{heavy}: {alone:?}");
    }
    let with_axum = brought("axum").await;
    assert!(with_axum.contains("axum-core") && !with_axum.contains("tokio"), "{with_axum:?}");
    assert!(brought("publisher").await.contains("tokio"));
}

#[tokio::test]
async fn the_systemd_unit_is_well_formed_runs_in_production_and_is_confined() {
    let unit = file("deploy/k-webhooks.service");
    // A credential is a file, which is there only under systemd.
    let mut options = options(&unit);
    options.retain(|(name, _)| !name.ends_with("_FILE"));
    options.push((ENCRYPTION_KEY.0.to_owned(), ENCRYPTION_KEY.1.to_owned()));
    assert_eq!(load(options).unwrap().mode, Mode::Production);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k-webhooks.service");
    fs::write(&path, unit.replace("/usr/local/bin/k-webhooks", PROGRAM)).unwrap();
    let analyze = async |arguments: &[&str]| -> Output {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(&path).output().await.expect("systemd-analyze is installed")
    };
    let verified = analyze(&["verify", "--man=no"]).await;
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    // In tenths, of at most a hundred; a unit without any confinement has 96.
    let confined = analyze(&["security", "--offline=true", "--threshold=12", "--no-pager"]).await;
    assert!(confined.status.success(), "{}", String::from_utf8_lossy(&confined.stdout));
}

#[tokio::test]
async fn healthcheck_says_whether_the_service_beside_it_lives() {
    let database = Sqlite::database().await;
    let process = Process::start(database.serve()).await;
    let check = async |listen: String| {
        let mut command = Command::new(PROGRAM);
        command.args(["healthcheck", "--config", "/dev/null", "--set", &format!("internal.listen={listen}")]);
        command.output().await.unwrap()
    };
    for host in ["127.0.0.1", "0.0.0.0"] {
        let ready = check(format!("{host}:{}", process.internal.port())).await;
        assert!(ready.status.success() && ready.stdout == b"healthy\n", "{ready:?}");
    }
    let port = process.internal.port();
    process.kill().await;
    let gone = check(format!("0.0.0.0:{port}")).await;
    assert_eq!(gone.status.code(), Some(1));
    let message = String::from_utf8(gone.stderr).unwrap();
    assert!(message.contains(&format!("127.0.0.1:{port} does not answer")), "{message}");
}

#[tokio::test]
async fn healthcheck_speaks_tls_where_the_listener_does() {
    let database = Sqlite::database().await;
    let file = |name: &str| database.folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["service.test".to_owned()]).unwrap();
    fs::write(file("chain.pem"), made.cert.pem()).unwrap();
    fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let tls = [
        ("K_WEBHOOKS__INTERNAL__TLS_CERTIFICATE", file("chain.pem")),
        ("K_WEBHOOKS__INTERNAL__TLS_KEY", file("key.pem")),
    ];
    let mut serve = database.serve();
    serve.envs(tls.clone());
    let process = Process::start(serve).await;
    let mut check = Command::new(PROGRAM);
    check.args(["healthcheck", "--config", "/dev/null"]).envs(tls);
    check.args(["--set", &format!("internal.listen={}", process.internal)]);
    let healthy = check.output().await.unwrap();
    assert!(healthy.status.success() && healthy.stdout == b"healthy\n", "{healthy:?}");
    process.kill().await;
}

/// Makes the root file system read-only for the program and what it starts, but for a memory file system at `$STATE`, and
/// gives up root with all that belongs to it.
const CONFINE: &str = r#"
set -eu
mount -t tmpfs -o mode=0700,uid=10001,gid=10001 tmpfs "$STATE"
mount -o remount,bind,ro /
if touch "$STATE/../proof" 2> /dev/null; then exit 1; fi
cd "$STATE"
exec setpriv --reuid 10001 --regid 10001 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
"#;

#[tokio::test]
async fn the_service_needs_neither_root_nor_capabilities_nor_a_file_system_to_write_to_beside_its_state() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    // Where anybody may run it, wherever it was built.
    let (program, state) = (folder.path().join("k-webhooks"), folder.path().join("state"));
    fs::copy(PROGRAM, &program).unwrap();
    fs::create_dir(&state).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", CONFINE, "sh"])
        .args([program.as_os_str(), "serve".as_ref(), "--config".as_ref(), "/dev/null".as_ref()])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("STATE", &state)
        .envs(options(&file("Dockerfile")))
        .envs([ENCRYPTION_KEY])
        .env("K_WEBHOOKS__DATABASE__URL", format!("sqlite://{}/k.db", state.display()))
        .env("K_WEBHOOKS__SERVER__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", BOOTSTRAP_KEY)
        .env("K_WEBHOOKS__LOG__FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut process = Process::start(command).await;

    let status = fs::read_to_string(format!("/proc/{}/status", process.child.id().unwrap())).unwrap();
    for (name, value) in [("Uid", "10001"), ("Gid", "10001"), ("NoNewPrivs", "1")] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.split_whitespace().skip(1).all(|field| field == value), "{line}");
    }
    for line in status.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    let internal = Caller::new(process.internal, BOOTSTRAP_KEY);
    let key = internal.post("/v1/merchants/m_1/api_keys", "{}").await.expect(201);
    let merchant = Caller::new(process.public, key["secret_key"].as_str().unwrap());
    let endpoint = json!({ "url": "https://example.com/hooks", "enabled_events": ["payout.paid"] });
    merchant.post("/v1/webhook_endpoints", endpoint).await.expect(201);
    internal.post("/v1/events", charge()).await.expect(201);
    assert_eq!(merchant.get("/v1/events").await.expect(200)["data"].as_array().unwrap().len(), 1);
    assert!(fs::read_dir(&state).unwrap().next().is_none(), "what it wrote is in a mount of its own");
    process.terminate();
    assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
}
