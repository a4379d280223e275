//! The program on the command line.

use std::{path::Path, process::Output, process::Stdio};

use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{printed::WATCH, process::PROGRAM};

async fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.env("K_WEBHOOKS__DATABASE__URL", "sqlite://data/k.db").spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    WATCH.note(&String::from_utf8_lossy(&output.stderr));
    WATCH.note_answer(&String::from_utf8_lossy(&output.stdout));
    WATCH.check();
    output
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn what_sign_makes_verify_accepts_and_a_failure_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let header = out(&run(folder.path(), &["sign", "--secret", secret], "body").await);
    let header = header.trim();
    let verified = run(folder.path(), &["verify", "--secret", secret, "--header", header], "body").await;
    assert_eq!(out(&verified), "valid\n");
    let refused = run(folder.path(), &["verify", "--secret", secret, "--header", header], "other").await;
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no_matching_signature: "));
}

#[tokio::test]
async fn a_signing_secret_is_taken_from_a_file_and_a_mistyped_one_is_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let path = folder.path().join("secret");
    let sign = async |content: &str, arguments: &[&str], variables: &[(&str, &str)]| {
        std::fs::write(&path, content).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("sign").args(arguments).args(["--timestamp", "1"]).envs(variables.iter().copied());
        command.stdin(Stdio::null()).output().await.unwrap()
    };
    let in_file = ("K_WEBHOOKS_SIGNING_SECRET_FILE", path.to_str().unwrap());
    let direct = out(&sign("", &["--secret", secret], &[]).await);
    assert_eq!(out(&sign(&format!("{secret}\n"), &[], &[in_file]).await), direct);
    assert_eq!(out(&sign("nothing", &["--secret", secret], &[in_file]).await), direct, "a flag goes first");
    assert_eq!(out(&sign("", &[], &[("K_WEBHOOKS_SIGNING_SECRET", secret)]).await), direct);

    let mistyped = &secret[..secret.len() - 3];
    let given = ("K_WEBHOOKS_SIGNING_SECRET", mistyped);
    for (refused, why) in [
        (sign(mistyped, &[], &[in_file]).await, "is not a signing secret"),
        (sign("", &["--secret", mistyped], &[]).await, "is not a signing secret"),
        (sign("", &[], &[given]).await, "is not a signing secret"),
        (
            sign(secret, &[], &[in_file, given]).await,
            "K_WEBHOOKS_SIGNING_SECRET_FILE: K_WEBHOOKS_SIGNING_SECRET is given too",
        ),
        (sign("", &[], &[in_file]).await, "K_WEBHOOKS_SIGNING_SECRET_FILE: the file is empty"),
        (sign("", &[], &[]).await, "K_WEBHOOKS_SIGNING_SECRET_FILE"),
    ] {
        assert!(!refused.status.success());
        let message = String::from_utf8([refused.stdout, refused.stderr].concat()).unwrap();
        assert!(message.contains(why) && message.trim_end().lines().count() == 1, "{message}");
        assert!(!message.contains("AAECAwQF"), "{message}");
    }
    let set = run(folder.path(), &["keys", "list", "--set", "security.encryption_key:AAECAwQF"], "").await;
    let message = String::from_utf8(set.stderr).unwrap();
    assert!(message.contains("--set: must be KEY=VALUE") && !message.contains("AAECAwQF"), "{message}");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_without_the_api() {
    let folder = tempfile::tempdir().unwrap();
    out(&run(folder.path(), &["migrate"], "").await);
    let made = out(&run(folder.path(), &["keys", "create", "--merchant", "m_1", "--mode", "live"], "").await);
    let (id, secret) = made.lines().next().unwrap().split_once(' ').unwrap();
    assert!(secret.starts_with("sk_live_"), "{made}");
    out(&run(folder.path(), &["keys", "create", "--service", "billing"], "").await);
    let list = out(&run(folder.path(), &["keys", "list"], "").await);
    assert!(
        list.contains(id) && list.contains("merchant m_1 live") && list.contains("service billing"),
        "{list}"
    );
    assert!(!list.contains(secret));
    out(&run(folder.path(), &["keys", "revoke", id], "").await);
    assert!(!out(&run(folder.path(), &["keys", "list"], "").await).contains(id));
    assert!(!run(folder.path(), &["keys", "revoke", id], "").await.status.success());
}

#[tokio::test]
async fn a_bad_setting_stops_the_start_with_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "[retry]\nladdr = []\n").unwrap();
    let refused = run(folder.path(), &["serve"], "").await;
    assert!(!refused.status.success());
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(message, "k-webhooks: config.toml: unknown key retry.laddr; the nearest is retry.ladder\n");
}

#[tokio::test]
async fn the_demo_runs_through() {
    let folder = tempfile::tempdir().unwrap();
    let tour = out(&run(folder.path(), &["demo"], "").await);
    assert!(tour.contains("attempt 9") && tour.contains("window_closed"), "{tour}");
}
