//! Ways to the database: over TLS, and through a pooler.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::process::Command;

use super::suite::database;
use crate::support::{
    Caller, charge,
    engine::Database,
    id,
    pgbouncer::PgBouncer,
    postgres::{Cluster, hand_over},
    process::{PROGRAM, Process},
    receiver::{Act, Receiver},
};

#[tokio::test]
async fn over_tls_the_server_must_have_a_certificate_of_the_given_root_for_its_name() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cluster = Cluster::start(&[]);
    for (name, text) in [("server.pem", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())] {
        let path = cluster.folder().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        hand_over(&path);
    }
    for (setting, value) in [
        ("ssl_cert_file", cluster.folder().join("server.pem").display().to_string()),
        ("ssl_key_file", cluster.folder().join("server.key").display().to_string()),
        ("ssl", "on".to_owned()),
    ] {
        cluster.execute("postgres", format!("ALTER SYSTEM SET {setting} = '{value}'")).await;
    }
    cluster.execute("postgres", "SELECT pg_reload_conf()".to_owned()).await;
    let plain = cluster.new_database().await;
    let roots = tempfile::tempdir().unwrap();
    let (right, wrong) = (roots.path().join("right.pem"), roots.path().join("wrong.pem"));
    std::fs::write(&right, made.cert.pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&wrong, other.cert.pem()).unwrap();

    let by_name = plain.replace("127.0.0.1", "localhost");
    let trusted = format!("{by_name}?sslmode=verify-full&sslrootcert={}", right.display());
    let process = Process::start(Database::at(trusted).serve()).await;
    process.internal().post("/v1/events", charge()).await.expect(201);
    process.kill().await;
    for refused in [
        format!("{by_name}?sslmode=verify-full&sslrootcert={}", wrong.display()),
        // The certificate is for the name, not for the address.
        format!("{plain}?sslmode=verify-full&sslrootcert={}", right.display()),
    ] {
        let output = Database::at(refused).serve().output().await.unwrap();
        assert!(!output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains("cannot connect to the database at") && message.contains("certificate"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn through_pgbouncer_in_transaction_mode_two_processes_work_on_three_connections() {
    let cluster = Cluster::start(&["fsync = off"]);
    let url = cluster.new_database().await;
    let bouncer = PgBouncer::start(cluster.port, 3).await;
    let database = Database::at(url.replace(&cluster.port.to_string(), &bouncer.port.to_string()));
    let start = async || {
        let mut command = database.serve();
        command.env("K_WEBHOOKS__DATABASE__TRANSACTION_POOLING", "true");
        Process::start(command).await
    };
    let receiver = Receiver::start(Act::status(500)).await;
    let (one, two) = (start().await, start().await);
    let endpoint = json!({ "url": receiver.url() });
    let endpoint = one.merchant().await.post("/v1/webhook_endpoints", endpoint).await.expect(201);
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..16 {
        let internal = if publisher % 2 == 0 { one.internal() } else { two.internal() };
        publishers.spawn(async move {
            let mut accepted = Vec::new();
            for _ in 0..10 {
                accepted.push(id(&internal.post("/v1/events", charge()).await.expect(201)).to_owned());
            }
            accepted
        });
    }
    let accepted: BTreeSet<String> = publishers.join_all().await.into_iter().flatten().collect();
    assert_eq!(accepted.len(), 160);
    for event in &accepted {
        receiver.until_event(event).await;
    }
    // All else works through it too: changing, disabling, listing, retrying.
    let merchant = two.merchant().await;
    let path = format!("/v1/webhook_endpoints/{}", id(&endpoint));
    merchant.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    let held = merchant.get(&format!("{path}/deliveries?status=held&limit=100")).await.expect(200);
    assert_eq!(held["data"].as_array().unwrap().len(), 100);
    receiver.now(Act::status(200));
    merchant.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    receiver.until(320).await;
    one.terminate();
    two.terminate();
}

#[tokio::test]
async fn what_is_accepted_through_pgbouncer_is_told_to_workers_that_connect_directly() {
    let cluster = Cluster::start(&["fsync = off"]);
    let direct = Database::on(&cluster).await;
    let bouncer = PgBouncer::start(cluster.port, 3).await;
    let pooled = Database::at(direct.url.replace(&cluster.port.to_string(), &bouncer.port.to_string()));
    let mut worker = direct.serve();
    worker.args(["--role", "worker"]).env("K_WEBHOOKS__DATABASE__POLL", "1h");
    let worker = Process::start(worker).await;
    worker.until_logged("listening to the other processes on the database").await;
    let mut api = pooled.serve();
    api.args(["--role", "api"]).env("K_WEBHOOKS__DATABASE__TRANSACTION_POOLING", "true");
    let api = Process::start(api).await;
    let receiver = Receiver::start(Act::status(200)).await;
    let event = api.publish_to(&receiver).await;
    receiver.until_event(id(&event)).await;
}

#[tokio::test]
async fn processes_that_start_together_migrate_once() {
    let database = database().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let command = database.serve();
        starts.spawn(async move { Process::start(command).await });
    }
    for process in starts.join_all().await {
        process.internal().post("/v1/events", charge()).await.expect(201);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_stops_the_start_with_one_line_and_no_password() {
    let url = "postgres://user:sesame@127.0.0.1:1/k".to_owned();
    let output = Database::at(url).serve().output().await.unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("k-webhooks: cannot connect to the database at 127.0.0.1:1: "), "{message}");
    assert!(message.lines().count() == 1 && !message.contains("sesame"), "{message}");
}

#[tokio::test]
async fn the_commands_beside_serve_work_on_the_same_database() {
    let database = database().await;
    let run = async |arguments: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .args(["--config", "/dev/null"])
            .env("K_WEBHOOKS__DATABASE__URL", &database.url)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["migrate"]).await, "The database is up to date.\n");
    let made = run(&["keys", "create", "--merchant", "m_1", "--mode", "test"]).await;
    let key = made.lines().next().unwrap().split_once(' ').unwrap().1;
    let process = Process::start(database.serve()).await;
    Caller::new(process.public, key).get("/v1/webhook_endpoints").await.expect(200);
    assert!(run(&["keys", "list"]).await.contains("merchant m_1 test"));
}
