//! A throwaway PostgreSQL: real server programs on a folder of its own, which ends with this process, however it ends.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use k_webhooks::store::PostgresOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// How a store is opened on it.
pub(crate) const OPTIONS: PostgresOptions = PostgresOptions {
    max_connections: 4,
    statement_timeout: Duration::from_secs(5),
    transaction_pooling: false,
};

/// The superuser of the throwaway clusters.
const USER: &str = "k_webhooks";

/// Where the server's programs are: on the path, or where Debian has them.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut debian: Vec<PathBuf> = debian.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = debian.into_iter().rev().chain(std::env::split_paths(&path));
    let found = folders.find(|folder| folder.join("pg_ctl").exists());
    found.expect("PostgreSQL's server programs are installed (tests/install-engines installs them)")
});

/// A command as a user that the server's programs accept: they refuse to run as root.
pub(crate) fn unprivileged(program: impl AsRef<Path>) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program.as_ref());
        command.current_dir("/");
        command
    } else {
        Command::new(program.as_ref())
    }
}

fn is_root() -> bool {
    static ROOT: LazyLock<bool> = LazyLock::new(|| {
        let id = Command::new("id").arg("-u").output().unwrap().stdout;
        String::from_utf8(id).unwrap().trim() == "0"
    });
    *ROOT
}

/// Hands a file or folder to the user of [`unprivileged`].
pub(crate) fn hand_over(path: &Path) {
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(path));
    }
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A port that nobody uses, below those that the system gives to connections: one of those could be taken by any
/// connection before the server listens.
pub(crate) fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let share = u16::try_from(std::process::id() % 200).unwrap();
        AtomicU16::new(12_000 + share * 100)
    });
    loop {
        let port = NEXT.fetch_add(1, Ordering::SeqCst);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) struct Cluster {
    folder: PathBuf,
    pub(crate) port: u16,
    databases: AtomicUsize,
    /// Ends the server and removes the folder once its standard input is closed, be it by a kill of this process.
    _warden: Child,
}

impl Cluster {
    /// The one that tests share, each with a database of its own. It does not wait for the disk.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Cluster> =
            LazyLock::new(|| Cluster::start(&["fsync = off", "max_connections = 300"]));
        &SHARED
    }

    /// A new cluster with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let cluster = Self::prepare();
        // Letters sort otherwise than bytes in this locale: ids must not depend on it.
        run(unprivileged(PROGRAMS.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--locale-provider=icu", "--icu-locale=en-US", "--username", USER, "--pgdata"])
            .arg(cluster.data()));
        cluster.configure(settings);
        cluster.up();
        cluster
    }

    /// A standby that follows this cluster by streaming replication.
    pub(crate) fn standby(&self, settings: &[&str]) -> Self {
        let standby = Self::prepare();
        run(unprivileged(PROGRAMS.join("pg_basebackup"))
            .args(["--host=127.0.0.1", "--username", USER, "--checkpoint=fast", "--no-sync"])
            .args([
                "--write-recovery-conf",
                "--wal-method=stream",
                "--port",
                &self.port.to_string(),
                "--pgdata",
            ])
            .arg(standby.data()));
        standby.configure(settings);
        standby.up();
        standby
    }

    fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        hand_over(&folder);
        let script = r#"trap "" INT TERM HUP; cat > /dev/null; "$@" > /dev/null 2>&1; rm -rf "$FOLDER""#;
        let mut stop = unprivileged(PROGRAMS.join("pg_ctl"));
        stop.args(["stop", "--mode=immediate", "--pgdata"]).arg(folder.join("data"));
        let warden = Command::new("sh")
            .args(["-c", script, "warden"])
            .arg(stop.get_program())
            .args(stop.get_args())
            .env("FOLDER", &folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { folder, port: free_port(), databases: AtomicUsize::new(0), _warden: warden }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn configure(&self, settings: &[&str]) {
        let own = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nlog_min_messages = fatal\n",
            self.port,
            self.folder.display()
        );
        let path = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&path).unwrap() + &own + &settings.join("\n") + "\n";
        std::fs::write(path, text).unwrap();
    }

    fn control(&self, arguments: &[&str]) {
        run(unprivileged(PROGRAMS.join("pg_ctl"))
            .args(arguments)
            .args(["--wait", "--log"])
            .arg(self.folder.join("log"))
            .arg("--pgdata")
            .arg(self.data()));
    }

    /// Starts the server; after a crash it recovers first.
    pub(crate) fn up(&self) {
        self.control(&["start"]);
    }

    /// Stops the server in order: transactions are rolled back and connections closed.
    pub(crate) fn stop(&self) {
        self.control(&["stop", "--mode=fast"]);
    }

    /// Kills every process of the server at once.
    pub(crate) fn kill(&self) {
        let postmaster = self.postmaster();
        self.signal("STOP");
        let _ = Command::new("pkill").args(["-KILL", "-P", &postmaster]).status();
        // As long as one of them lives, the shared memory is in use and the next start would be refused; and once their
        // parent is dead, they are no longer found.
        let living = ["-P", &postmaster, "--runstates", "R,S,D,T,t"];
        while Command::new("pgrep").args(living).stdout(Stdio::null()).status().unwrap().success() {
            std::thread::yield_now();
        }
        run(Command::new("kill").args(["-KILL", &postmaster]));
        let lives = ["-0", &postmaster];
        while Command::new("kill").args(lives).stderr(Stdio::null()).status().unwrap().success() {
            std::thread::yield_now();
        }
        std::fs::remove_file(self.data().join("postmaster.pid")).unwrap();
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        self.control(&["promote"]);
    }

    /// Stops (`STOP`) or continues (`CONT`) every process of the server: to its clients, it hangs. The postmaster comes
    /// first: a process that it had made in between for a new connection would work on, and nothing would hang.
    pub(crate) fn signal(&self, signal: &str) {
        let postmaster = self.postmaster();
        run(Command::new("kill").args([&format!("-{signal}"), &postmaster]));
        let _ = Command::new("pkill").args([&format!("-{signal}"), "-P", &postmaster]).status();
    }

    fn postmaster(&self) -> String {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.url_by(self.port, database)
    }

    /// The address of a database behind another port.
    #[expect(clippy::unused_self, reason = "every cluster has the same user")]
    pub(crate) fn url_by(&self, port: u16, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{database}")
    }

    /// Makes a database; answers its address.
    pub(crate) async fn new_database(&self) -> String {
        let name = format!("k_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.execute("postgres", format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    pub(crate) async fn execute(&self, database: &str, statement: String) {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A small file system in memory, which can be full.
pub(crate) struct Volume(PathBuf);

impl Volume {
    pub(crate) fn mount(path: &Path, size: &str) -> Self {
        assert!(is_root(), "only root can mount the small file system of this test");
        std::fs::create_dir(path).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path));
        hand_over(path);
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: the server may still have files open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
