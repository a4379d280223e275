//! Moving to a new encryption key.

use std::{
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k_webhooks::{
    audit::{Action, AuditEntry, Author, Changes},
    encryption::{Reencrypted, Reencryption},
    entropy::Entropy,
    signature::{SigningSecret, verify},
    store::Resealed,
    vault::Vault,
};
use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    Caller, charge,
    engine::Database,
    id,
    process::Process,
    receiver::{Act, Received, Receiver},
};

const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

const CURRENT: &str = "K_WEBHOOKS__SECURITY__ENCRYPTION_KEY";
const EARLIER: &str = "K_WEBHOOKS__SECURITY__EARLIER_ENCRYPTION_KEYS";

/// The variables of a process that seals with one key and still opens what the other sealed.
fn keys<'a>(current: &'a str, earlier: &'a str) -> [(&'a str, &'a str); 2] {
    [(CURRENT, current), (EARLIER, if earlier == OLD { OLD_LIST } else { NEW_LIST })]
}

const OLD_LIST: &str = "[\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]";
const NEW_LIST: &str = "[\"Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=\"]";

async fn serve(database: &Database, variables: &[(&str, &str)]) -> Process {
    let mut command = database.serve();
    command.envs(variables.iter().copied()).env("K_WEBHOOKS__LIMITS__ENDPOINTS_PER_MERCHANT", "1000");
    Process::start(command).await
}

async fn end(mut process: Process) {
    process.terminate();
    assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
}

fn text(output: &Output) -> String {
    let text = String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap();
    assert!(!text.contains(OLD) && !text.contains(NEW), "{text}");
    text
}

fn secret(object: &Value) -> SigningSecret {
    SigningSecret::parse(object["signing_secret"].as_str().unwrap()).unwrap()
}

fn fits(request: &Received, secret: &SigningSecret) -> bool {
    let signature = request.header("k-payments-signature");
    verify(signature, &request.body, secret, i64::MAX, Duration::from_secs(u64::MAX)).is_ok()
}

#[tokio::test]
async fn keys_move_to_a_new_encryption_key_while_events_are_delivered() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let old = serve(&database, &[(CURRENT, OLD)]).await;
    let merchant = old.merchant().await;
    let url = json!({ "url": receiver.url() });
    let endpoint = merchant.post("/v1/webhook_endpoints", url).await.expect(201);
    let rotate = format!("/v1/webhook_endpoints/{}/rotate_secret", id(&endpoint));
    let secrets = [secret(&endpoint), secret(&merchant.post(&rotate, "{}").await.expect(200))];
    end(old).await;
    // All processes know the new key before one seals with it.
    end(serve(&database, &keys(OLD, NEW)).await).await;

    let both = serve(&database, &keys(NEW, OLD)).await;
    let (stop, mut publishers) = (Arc::new(AtomicBool::new(false)), tokio::task::JoinSet::new());
    for _ in 0..8 {
        let (internal, stop) = (both.internal(), Arc::clone(&stop));
        publishers.spawn(async move {
            let mut published = 0;
            while !stop.load(Ordering::SeqCst) {
                internal.post("/v1/events", charge()).await.expect(201);
                published += 1;
            }
            published
        });
    }
    receiver.until(20).await;
    let behind = database.run(&["keys", "reencrypt", "--check"], &keys(NEW, OLD)).await;
    assert!(!behind.status.success());
    assert!(
        text(&behind).contains("2 signing secrets and the key of the API keys' hashes are not"),
        "{behind:?}"
    );
    let moved = text(&database.run(&["keys", "reencrypt"], &keys(NEW, OLD)).await);
    assert!(moved.starts_with("2 signing secrets and the key of the API keys' hashes were moved"), "{moved}");
    receiver.until(receiver.received().len() + 20).await;
    stop.store(true, Ordering::SeqCst);
    let published: usize = publishers.join_all().await.into_iter().sum();
    for request in receiver.until(published).await {
        assert!(secrets.iter().all(|secret| fits(&request, secret)), "every delivery has both signatures");
    }
    end(both).await;

    let new = serve(&database, &[(CURRENT, NEW)]).await;
    assert!(database.run(&["keys", "reencrypt", "--check"], &[(CURRENT, NEW)]).await.status.success());
    let merchant = Caller::new(new.public, merchant.key());
    merchant.get("/v1/events").await.expect(200);
    let log = new.internal().get("/v1/audit_entries?action=encryption_key.reencrypted").await.expect(200);
    assert_eq!(log["data"].as_array().unwrap().len(), 1, "{log}");
    assert_eq!(log["data"][0]["changes"]["signing_secrets"], json!({ "old": 0, "new": 2 }));
    assert_eq!(log["data"][0]["actor"]["kind"], "command_line");
    let event = new.internal().post("/v1/events", charge()).await.expect(201);
    receiver.until_event(id(&event)).await;
    let received = receiver.received();
    assert!(secrets.iter().all(|secret| fits(received.last().unwrap(), secret)));
    new.kill().await;
}

#[tokio::test]
async fn a_reencryption_that_is_killed_half_way_can_be_repeated() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let old = serve(&database, &[(CURRENT, OLD)]).await;
    let merchant = old.merchant().await;
    for _ in 0..119 {
        let url = json!({ "url": "https://example.com/", "enabled_events": ["payout.failed"] });
        merchant.post("/v1/webhook_endpoints", url).await.expect(201);
    }
    let url = json!({ "url": receiver.url() });
    let secret = secret(&merchant.post("/v1/webhook_endpoints", url).await.expect(201));
    end(old).await;
    let mut variables = keys(NEW, OLD).to_vec();
    variables.push(("K_WEBHOOKS_KILL_POINT", "reencrypt_after_commit:1"));
    let killed = database.run(&["keys", "reencrypt"], &variables).await;
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let behind = text(&database.run(&["keys", "reencrypt", "--check"], &keys(NEW, OLD)).await);
    assert!(behind.contains("20 signing secrets and the key of"), "{behind}");

    // Half of them moved: all of them still open.
    let both = serve(&database, &keys(NEW, OLD)).await;
    both.internal().post("/v1/events", charge()).await.expect(201);
    assert!(fits(&receiver.until(1).await[0], &secret));
    let moved = text(&database.run(&["keys", "reencrypt"], &keys(NEW, OLD)).await);
    assert!(moved.starts_with("20 signing secrets and the key of"), "{moved}");
    let nothing = text(&database.run(&["keys", "reencrypt"], &keys(NEW, OLD)).await);
    assert!(nothing.starts_with("0 signing secrets and nothing else"), "{nothing}");
    end(both).await;
    let new = serve(&database, &[(CURRENT, NEW)]).await;
    new.internal().post("/v1/events", charge()).await.expect(201);
    assert!(fits(&receiver.until(2).await[1], &secret));
    new.kill().await;
}

#[tokio::test]
async fn without_the_old_key_nothing_sealed_with_it_opens_and_the_start_says_so() {
    let database = database().await;
    let old = serve(&database, &[(CURRENT, OLD)]).await;
    old.merchant().await;
    end(old).await;
    let refused = database.run(&["serve"], &[(CURRENT, NEW)]).await;
    assert!(!refused.status.success());
    let message = text(&refused);
    assert!(message.contains("security.encryption_key is not the one of this database"), "{message}");

    // A process that was forgotten seals with the old key once everything had been moved.
    assert!(database.run(&["keys", "reencrypt"], &keys(NEW, OLD)).await.status.success());
    let forgotten = serve(&database, &keys(OLD, NEW)).await;
    let url = json!({ "url": "https://example.com/" });
    forgotten.merchant().await.post("/v1/webhook_endpoints", url).await.expect(201);
    end(forgotten).await;
    let refused = database.run(&["serve"], &[(CURRENT, NEW)]).await;
    assert!(!refused.status.success());
    let message = text(&refused);
    assert!(message.contains("there are signing secrets that do not open"), "{message}");
    assert!(
        message.contains("security.earlier_encryption_keys") && message.contains("keys reencrypt"),
        "{message}"
    );
    assert!(database.run(&["keys", "reencrypt"], &keys(NEW, OLD)).await.status.success());
    end(serve(&database, &[(CURRENT, NEW)]).await).await;
}

#[tokio::test]
async fn a_rotation_during_reencryption_is_not_lost() {
    let settings = [("security.encryption_key", OLD), ("security.earlier_encryption_keys", NEW_LIST)];
    let app = TestApp::with(&settings).await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let key = |text: &str| Vault::key_from_base64(text).unwrap();
    let vault = Vault::new(&key(NEW), &[key(OLD)], Entropy::os());
    let (store, clock) = (app.foundation.store.as_ref(), &app.foundation.clock);
    let old_key = app.foundation.vault.current_key();

    // The rotation comes between the read and the write.
    let read = store.secrets_sealed_with(old_key, None, 100, clock.now()).await.unwrap();
    assert_eq!(read.len(), 1);
    let row = read[0].id.to_string();
    let opened = vault.open(&row, &read[0].sealed).unwrap();
    let path = format!("/v1/webhook_endpoints/{}/rotate_secret", id(&endpoint));
    let rotated = app.public.post(&path, json!({ "expire_previous_in": "1h" })).await.expect(200);
    let resealed =
        Resealed { id: read[0].id, before: read[0].sealed.clone(), after: vault.seal(&row, &opened) };
    let (ids, now) = (app.foundation.ids.as_ref(), clock.now());
    let entry = AuditEntry {
        id: ids.next(now),
        created_at: now,
        merchant_id: None,
        livemode: None,
        by: Author::service(),
        action: Action::Reencrypted,
        object_id: vault.current_key().to_owned(),
        changes: Changes::default(),
    };
    assert_eq!(store.reseal_secrets(std::slice::from_ref(&resealed), &entry, 0).await.unwrap(), 1);
    let again = store.reseal_secrets(&[resealed], &entry, 1).await.unwrap();
    assert_eq!(again, 0, "what was read is there no more");
    let (before, after) = (secret(&endpoint), secret(&rotated));
    app.publish(charge()).await;
    let request = receiver.until(1).await[0].clone();
    assert!(fits(&request, &before) && fits(&request, &after));

    let reencryption = Reencryption { store, vault: &vault, clock, ids, by: Author::service() };
    assert_eq!(reencryption.run().await.unwrap(), Reencrypted { secrets: 1, pepper: true });
    assert_eq!(reencryption.check().await.unwrap(), Reencrypted::default());
    // The end that the rotation gave the old secret still stands.
    app.advance("1h").await;
    app.publish(charge()).await;
    let request = receiver.until(2).await[1].clone();
    assert!(!fits(&request, &before) && fits(&request, &after));
    app.stop().await;
}
