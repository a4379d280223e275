//! A database that stops, crashes, hangs, fills up, cuts connections, or is taken over by its standby: what was accepted
//! is delivered, nothing else was acknowledged, and all goes on by itself.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::support::{
    charge,
    engine::Database,
    id,
    postgres::{Cluster, Volume},
    process::Process,
    proxy::Proxy,
    receiver::{Act, Receiver},
};

/// Publishers that go on whatever they are answered.
struct Publishers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<String>>>,
    /// How many were accepted and how many refused so far.
    answers: watch::Receiver<(usize, usize)>,
}

impl Publishers {
    fn start(process: &Process) -> Self {
        let (counts, answers) = watch::channel((0, 0));
        let counts = Arc::new(counts);
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (stop, accepted, counts) = (Arc::clone(&stop), Arc::clone(&accepted), Arc::clone(&counts));
            let internal = process.internal();
            tasks.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let answer = internal.post("/v1/events", charge()).await;
                    if answer.status == 201 {
                        accepted.lock().unwrap().push(id(&answer.json()).to_owned());
                    } else {
                        assert_eq!(answer.expect(503)["error"]["type"], "internal_error");
                        assert!(answer.header("retry-after").is_some());
                    }
                    counts.send_modify(
                        |(accepted, refused)| {
                            if answer.status == 201 { *accepted += 1 } else { *refused += 1 }
                        },
                    );
                }
            });
        }
        Self { tasks, stop, accepted, answers }
    }

    /// Returns when so many more were accepted.
    async fn until_accepted(&self, more: usize) {
        let mut answers = self.answers.clone();
        let wanted = answers.borrow().0 + more;
        answers.wait_for(|(accepted, _)| *accepted >= wanted).await.unwrap();
    }

    /// Returns when so many more were refused.
    async fn until_refused(&self, more: usize) {
        let mut answers = self.answers.clone();
        let wanted = answers.borrow().1 + more;
        answers.wait_for(|(_, refused)| *refused >= wanted).await.unwrap();
    }

    /// Stops; answers the ids of all events that were accepted.
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        Arc::try_unwrap(self.accepted).unwrap().into_inner().unwrap()
    }
}

/// A process on the database, its receiver, and publishers at work.
struct Work {
    process: Process,
    receiver: Receiver,
    publishers: Publishers,
}

impl Work {
    async fn begin(database: &Database) -> Self {
        let receiver = Receiver::start(Act::status(200)).await;
        let mut command = database.serve();
        command
            .env("K_WEBHOOKS__DATABASE__STATEMENT_TIMEOUT", "2s")
            .env("K_WEBHOOKS__LOG__FILTER", "warn,k_webhooks=info");
        let process = Process::start(command).await;
        let endpoint = json!({ "url": receiver.url() });
        process.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201);
        let publishers = Publishers::start(&process);
        publishers.until_accepted(20).await;
        Self { process, receiver, publishers }
    }

    /// Publishers are refused while a fault lasts, and accepted once it is over.
    async fn through(&self, fault: impl FnOnce(), recovery: impl FnOnce()) {
        fault();
        self.publishers.until_refused(5).await;
        recovery();
        self.publishers.until_accepted(20).await;
    }

    /// All that was accepted arrives, through the process that saw the fault.
    async fn arrives(self) {
        for event in self.publishers.finish().await {
            self.receiver.until_event(&event).await;
        }
        self.process.kill().await;
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_and_started() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster).await;
    let work = Work::begin(&database).await;
    work.through(|| cluster.stop(), || cluster.up()).await;
    work.arrives().await;
}

#[tokio::test]
async fn a_server_that_crashes_and_recovers() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster).await;
    let work = Work::begin(&database).await;
    work.through(|| cluster.kill(), || cluster.up()).await;
    work.arrives().await;
}

#[tokio::test]
async fn connections_that_are_cut() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster).await;
    let work = Work::begin(&database).await;
    for _ in 0..5 {
        let cut =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'k-webhooks'";
        cluster.execute("postgres", cut.to_owned()).await;
        work.publishers.until_accepted(20).await;
    }
    work.process.until_logged_times("listening to the other processes on the database", 2).await;
    work.arrives().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster).await;
    let work = Work::begin(&database).await;
    work.through(|| cluster.signal("STOP"), || cluster.signal("CONT")).await;
    work.arrives().await;
}

#[tokio::test]
async fn a_failover_to_the_standby_behind_a_stable_address() {
    let primary = Cluster::start(&["wal_level = replica", "max_wal_senders = 4"]);
    let standby = primary.standby(&["hot_standby = on"]);
    let url = primary.new_database().await;
    // From now on a commit returns once the standby has it, so that a failover loses none.
    primary.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'".to_owned()).await;
    primary.execute("postgres", "SELECT pg_reload_conf()".to_owned()).await;
    let proxy = Proxy::start(primary.port).await;
    let name = url.rsplit('/').next().unwrap();
    let database = Database::at(primary.url_by(proxy.address.port(), name));
    let work = Work::begin(&database).await;
    let fail = || {
        primary.kill();
        // The address moves before the standby is the primary: it takes no writes yet.
        proxy.switch(Some(standby.port));
    };
    work.through(fail, || standby.promote()).await;
    work.arrives().await;
}

#[tokio::test]
async fn a_disk_that_is_full_and_has_room_again() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let volume = Volume::mount(&cluster.folder().join("volume"), "16m");
    cluster
        .execute("postgres", format!("CREATE TABLESPACE small LOCATION '{}'", volume.path().display()))
        .await;
    cluster.execute("postgres", "ALTER SYSTEM SET default_tablespace = 'small'".to_owned()).await;
    cluster.execute("postgres", "SELECT pg_reload_conf()".to_owned()).await;
    let database = Database::on(&cluster).await;
    let work = Work::begin(&database).await;
    let filler = volume.path().join("filler");
    work.through(|| fill(&filler), || std::fs::remove_file(&filler).unwrap()).await;
    work.arrives().await;
    cluster.stop();
}

/// Writes until there is no room.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 8192]).is_ok() {}
}
