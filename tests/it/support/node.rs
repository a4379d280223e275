//! Node, for what is tested in a browser: the packages of `portal/package-lock.json`, and scripts against a running service.

use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::LazyLock,
};

use tokio::{process::Command, sync::Mutex};

use super::process::{BOOTSTRAP_KEY, Process};

/// The portal's folder, its packages installed as its lock file says.
pub(crate) static PORTAL: LazyLock<PathBuf> = LazyLock::new(|| {
    let portal = Path::new(env!("CARGO_MANIFEST_DIR")).join("portal");
    // What was installed from this lock file need not be installed again.
    let (lock, installed) =
        (portal.join("package-lock.json"), portal.join("node_modules/.installed-lock.json"));
    let read = |path: &Path| std::fs::read(path).ok();
    if read(&lock) != read(&installed) {
        let mut install = std::process::Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund"]).current_dir(&portal);
        let output = install.output().expect("npm is installed (tests/install-browser installs it)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::copy(&lock, &installed).unwrap();
    }
    portal
});

/// A browser or a build takes all that two cores have: they wait for each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// Runs a command in the portal's folder to its end.
pub(crate) async fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let _turn = TURN.lock().await;
    let portal = tokio::task::spawn_blocking(|| PORTAL.as_path()).await.unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(portal).envs(variables.iter().copied()).kill_on_drop(true);
    command.output().await.expect("Node is installed (tests/install-browser installs it)")
}

/// Runs a script of `portal/tests` against the service. It must succeed.
pub(crate) async fn browse(script: &str, service: &Process, variables: &[(&str, &str)]) -> String {
    let (public, internal) = (format!("http://{}", service.public), format!("http://{}", service.internal));
    let addresses = [
        ("K_WEBHOOKS_PUBLIC", public.as_str()),
        ("K_WEBHOOKS_INTERNAL", internal.as_str()),
        ("K_WEBHOOKS_SERVICE_KEY", BOOTSTRAP_KEY),
    ];
    let output = run("node", &[&format!("tests/{script}")], &[&addresses, variables].concat()).await;
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{told}\n{error}");
    told.into_owned()
}
