//! No secret is ever printed: everything that the service prints while the tests run goes through here.
//!
//! Watched are what apps in this process log, at the level `trace`, fields and spans included; what programs write to
//! standard error and output; and the bodies of refusals. Keys and signing secrets are looked for by their form, so that
//! one that no test ever saw is found too; what has no form of its own (bootstrap keys, passwords) by its value, which is
//! told before the service gets it. What is found fails the test that next drops an app or a process: which one printed it
//! cannot be told where tests run side by side, and one that prints only after its last check fails another.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, LazyLock, Mutex, Once},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// Shorter ones would be found in anything.
const VALUE_CHARS_MIN: usize = 8;

#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    values: Vec<String>,
    found: Vec<String>,
}

/// What all tests share.
pub(crate) static WATCH: LazyLock<Watch> = LazyLock::new(Watch::default);

impl Watch {
    /// Has what this process logs watched, from now on.
    pub(crate) fn logs(&self) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing_subscriber::registry().with(Logged(self.clone())).init());
    }

    /// Tells of a secret that has no form of its own.
    pub(crate) fn value(&self, secret: &str) {
        let mut state = self.0.lock().unwrap();
        if secret.len() >= VALUE_CHARS_MIN && !state.values.iter().any(|value| value == secret) {
            state.values.push(secret.to_owned());
        }
    }

    /// Tells of the password in a database's URL, if there is one.
    pub(crate) fn password_of(&self, url: &str) {
        if let Some(password) = url::Url::parse(url).ok().as_ref().and_then(url::Url::password) {
            self.value(password);
        }
    }

    /// Something was printed.
    pub(crate) fn note(&self, text: &str) {
        let mut state = self.0.lock().unwrap();
        if has_api_key(text) || has_key_bytes(text) || state.values.iter().any(|value| text.contains(value)) {
            state.found.push(text.to_owned());
        }
    }

    /// The same of a program's standard output, which may show an API key: to whoever made it, and at the first start in
    /// development.
    pub(crate) fn note_answer(&self, text: &str) {
        let mut state = self.0.lock().unwrap();
        if has_key_bytes(text) || state.values.iter().any(|value| text.contains(value)) {
            state.found.push(text.to_owned());
        }
    }

    /// Fails the test if a secret was printed since the last check.
    pub(crate) fn check(&self) {
        let found = std::mem::take(&mut self.0.lock().unwrap().found);
        assert!(found.is_empty() || std::thread::panicking(), "a secret was printed: {found:#?}");
    }
}

/// `(sk_test|sk_live|svc|plink|pcookie|ccookie)_` and 38 letters and digits.
fn has_api_key(text: &str) -> bool {
    ["sk_test_", "sk_live_", "svc_", "plink_", "pcookie_", "ccookie_"].iter().any(|prefix| {
        text.match_indices(prefix).any(|(at, _)| {
            let rest = text[at + prefix.len()..].bytes();
            rest.take_while(u8::is_ascii_alphanumeric).count() >= 38
        })
    })
}

/// The base64 of 32 bytes, which is what a signing secret has behind `whsec_`, and what an encryption key is. A signature,
/// `v1,` and as many characters, is no secret.
fn has_key_bytes(text: &str) -> bool {
    let mut run = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' {
            run += 1;
            continue;
        }
        if byte == b'=' && run == 43 && !text.as_bytes()[..at - run].ends_with(b"v1,") {
            return true;
        }
        run = 0;
    }
    false
}

/// A layer that watches all that is logged.
struct Logged(Watch);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Logged {
    fn note(&self, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields::default();
        record(&mut fields);
        self.0.note(&fields.0);
    }
}

impl<S: Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.note(|fields| event.record(fields));
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.note(|fields| attributes.record(fields));
    }

    fn on_record(&self, _: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        self.note(|fields| values.record(fields));
    }
}

#[test]
fn a_planted_secret_is_found_wherever_it_is_printed() {
    use k_webhooks::{api_key::KeyKind, entropy::Entropy, signature::new_secret, vault::Vault};
    use secrecy::ExposeSecret as _;

    let entropy = Entropy::os();
    let watch = Watch::default();
    watch.value("correct horse");
    watch.value("short");
    watch.password_of("postgres://user:hunter22@host/database");
    let found = |watch: &Watch| std::mem::take(&mut watch.0.lock().unwrap().found).len();
    let signing = new_secret(&entropy);
    let kinds = [
        KeyKind::Secret { livemode: true },
        KeyKind::Secret { livemode: false },
        KeyKind::Service,
        KeyKind::PortalLink,
        KeyKind::PortalCookie,
        KeyKind::ConsoleCookie,
    ];
    let mut planted: Vec<String> =
        kinds.iter().map(|kind| kind.generate(&entropy).expose_secret().to_owned()).collect();
    planted.extend([signing.expose(), &signing.expose()["whsec_".len()..]].map(str::to_owned));
    planted.extend([
        Vault::generate_key(&entropy).to_string(),
        "correct horse".to_owned(),
        "hunter22".to_owned(),
    ]);
    let subscriber = tracing_subscriber::registry().with(Logged(watch.clone()));
    tracing::subscriber::with_default(subscriber, || {
        for secret in &planted {
            watch.note(&format!("{{\"key\":\"{secret}\"}}"));
            assert_eq!(found(&watch), 1, "printed: {secret}");
            tracing::trace!("as a message: {secret}.");
            tracing::trace!(secret, "as a field");
            tracing::trace!(secret = ?Some(secret), "inside of a field");
            let span = tracing::trace_span!("span", secret, later = tracing::field::Empty);
            span.record("later", secret);
            assert_eq!(found(&watch), 5, "logged: {secret}");
        }
        for harmless in [
            "short",
            "the key is sk_test_… and whsec_…",
            &format!("svc_{}", &planted[2][5..]),
            &format!("webhook-signature: v1,{}", &signing.expose()["whsec_".len()..]),
        ] {
            watch.note(harmless);
            tracing::trace!(harmless, "{harmless}");
            assert_eq!(found(&watch), 0, "{harmless}");
        }
    });
    watch.note_answer(&planted[0]);
    assert_eq!(found(&watch), 0, "a new key is shown once");
    watch.note_answer(signing.expose());
    assert_eq!(found(&watch), 1);
    watch.note(&planted[0]);
    assert!(std::panic::catch_unwind(|| watch.check()).is_err());
    watch.check();
}
