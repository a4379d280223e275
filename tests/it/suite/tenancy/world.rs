//! What the matrix is asked of: two merchants in two modes, each with one object of each kind, and every kind of key.

use std::{collections::BTreeMap, net::SocketAddr};

use k_webhooks::{
    audit::Author,
    backfill::{Counted, NewBackfill, Scope, Selection},
    clock::UnixMs,
    endpoint::EnabledEvents,
    http::Route,
    merchant,
};
use serde_json::{Value, json};

use super::{
    super::TestApp, Anyone, Audience, BOOTSTRAP_KEY, Consoles, Ids, Key, Merchants, Operators, Pages,
    Services, Session, Thing, event_of, operators::is_of_all,
};
use crate::support::{
    Caller, id,
    receiver::{Act, Receiver},
    token_of,
};

/// A tenant of the matrix, with one object of each kind.
pub(super) struct Tenant {
    pub(super) ids: Ids,
    pub(super) secret: Caller,
    /// A page of the portal, in a session that may do everything.
    pub(super) page: Caller,
    /// A page of the console, in a session of its own.
    pub(super) console: Caller,
    pub(super) publishable: String,
}

pub(super) struct World {
    pub(super) app: TestApp,
    pub(super) tenants: Vec<Tenant>,
    /// Callers to whom nothing opens on the public listener, and on the internal one; each with what it calls with.
    pub(super) wrong_public: Vec<(&'static str, Caller)>,
    pub(super) wrong_internal: Vec<(&'static str, Caller)>,
    /// The id of an internal service's key.
    pub(super) service_key: String,
    /// The id of a key that has ended, which the upkeep may remove at any time.
    pub(super) ended_key: String,
    _receiver: Receiver,
}

impl World {
    /// Two merchants in two modes, and every kind of key; nothing is under way.
    pub(super) async fn build() -> Self {
        let app = TestApp::with(&[("internal.bootstrap_key", BOOTSTRAP_KEY)]).await;
        let receiver = Receiver::start(Act::status(200)).await;
        let issue = async |merchant: &str, livemode: bool| {
            let path = format!("/v1/merchants/{merchant}/api_keys");
            app.internal.post(&path, json!({ "livemode": livemode })).await.expect(201)
        };
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        let mut tenants = Vec::new();
        for (merchant, livemode) in [("m_1", false), ("m_1", true), ("m_2", false), ("m_2", true)] {
            let key = issue(merchant, livemode).await;
            let secret = Caller::new(app.public_addr, &text(&key, "secret_key"));
            let url = json!({ "url": receiver.url() });
            let endpoint = secret.post("/v1/webhook_endpoints", url).await.expect(201);
            let event = app.publish(event_of(merchant, livemode)).await;
            let deliveries = secret.get(&format!("/v1/events/{}/deliveries", id(&event))).await.expect(200);
            let ids = Ids {
                merchant,
                endpoint: id(&endpoint).to_owned(),
                event: id(&event).to_owned(),
                delivery: id(&deliveries["data"][0]).to_owned(),
                key: id(&key).to_owned(),
                any_key: id(&issue(merchant, livemode).await).to_owned(),
                ..Ids::nowhere()
            };
            let (page, console) = (secret.clone(), secret.clone());
            tenants.push(Tenant { ids, secret, page, console, publishable: text(&key, "publishable_key") });
        }
        let (revoked, rotated) = (issue("m_1", false).await, issue("m_1", false).await);
        let path = |key: &Value| format!("/v1/merchants/m_1/api_keys/{}", id(key));
        app.internal.delete(&path(&revoked)).await.expect(200);
        app.internal.post(&format!("{}/rotate", path(&rotated)), "").await.expect(201);
        let issuer = app.foundation.key_issuer(Author::service());
        let (service, ended) =
            (issuer.issue_service_key("s").await.unwrap(), issuer.issue_service_key("ended").await.unwrap());
        assert!(
            app.foundation
                .store
                .revoke_api_key(None, ended.key.id, &Author::service(), app.foundation.clock.now())
                .await
                .unwrap()
        );
        let exposed =
            |key: &k_webhooks::keys::IssuedKey| secrecy::ExposeSecret::expose_secret(&key.secret).to_owned();
        receiver.until(4).await;
        // What was delivered is recorded then, and the rotated key has ended.
        app.advance("25h").await;
        for tenant in &mut tenants {
            tenant.ids.backfill = paused_backfill(&app, tenant).await;
            open_page(&app, tenant).await;
        }
        let ended_session = app.portal_session("m_1", "full").await;
        let ended_page = Caller::open_portal(app.public_addr, &ended_session).await;
        app.internal.delete(&format!("/v1/portal_sessions/{}", id(&ended_session))).await.expect(200);
        let unopened = app.portal_session("m_1", "full").await;
        let page = Caller::new(app.public_addr, "").with_header("sec-fetch-site", "same-origin");
        let pages = [
            ("an ended session", ended_page),
            (
                "a session without its cookie",
                page.clone().with_header("k-webhooks-portal", tenants[0].page.header("k-webhooks-portal")),
            ),
            (
                "a link in place of a cookie",
                page.with_header("cookie", &format!("k-webhooks-portal={}", token_of(&unopened)))
                    .with_header("k-webhooks-portal", id(&unopened)),
            ),
        ];
        let anywhere = [
            ("publishable", tenants[0].publishable.clone()),
            ("revoked", text(&revoked, "secret_key")),
            ("rotated out", text(&rotated, "secret_key")),
            ("none", String::new()),
        ];
        let secret = text(&issue("m_1", false).await, "secret_key");
        let wrong_public = [("service", exposed(&service)), ("bootstrap", BOOTSTRAP_KEY.to_owned())];
        let wrong_internal = [("secret", secret), ("revoked service", exposed(&ended))];
        let session_there = tenants[0].page.clone().to(app.internal_addr);
        let ended_console = Caller::open_console(app.internal_addr, BOOTSTRAP_KEY).await;
        ended_console.delete("/console/session").await.expect(200);
        Self {
            tenants,
            wrong_public: callers(app.public_addr, &[&wrong_public[..], &anywhere].concat())
                .chain(pages)
                .collect(),
            wrong_internal: callers(app.internal_addr, &[&wrong_internal[..], &anywhere].concat())
                .chain([("a portal session", session_there), ("an ended console session", ended_console)])
                .collect(),
            service_key: service.key.id.to_string(),
            ended_key: id(&rotated).to_owned(),
            _receiver: receiver,
            app,
        }
    }

    /// All that is kept, but for what the upkeep changes by itself, and what the process says of itself.
    pub(super) async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut dump = self.app.database.dump().await;
        for table in ["upkeep_turns", "processes", "process_statistics"] {
            dump.remove(table).expect("there is such a table");
        }
        let keys = dump.get_mut("api_keys").expect("there is such a table");
        keys.retain(|row| !row.contains(&self.ended_key));
        assert!(["events", "deliveries", "attempts"].iter().all(|table| dump[*table].len() == 4), "{dump:?}");
        dump
    }

    /// Who may call a route for a tenant.
    pub(super) fn callers(&self, audience: Audience, tenant: &Tenant) -> Vec<Caller> {
        match audience {
            Anyone => [self.app.public_addr, self.app.internal_addr]
                .map(|address| Caller::new(address, "").with_header("sec-fetch-site", "same-origin"))
                .to_vec(),
            Operators => {
                vec![Caller::new(self.app.internal_addr, "").with_header("sec-fetch-site", "same-origin")]
            }
            Merchants => vec![tenant.secret.clone(), tenant.page.clone()],
            Pages => vec![tenant.page.clone()],
            Consoles => vec![tenant.console.clone()],
            Services => vec![
                self.app.internal.clone(),
                Caller::new(self.app.internal_addr, BOOTSTRAP_KEY),
                tenant.console.clone(),
            ],
        }
    }

    /// Ids of this kind that are not for the tenant's callers of this route.
    pub(super) fn foreign(&self, route: &Route, tenant: &Tenant, thing: Thing) -> Vec<String> {
        if is_of_all(route) {
            return Vec::new();
        }
        let own = |other: &&Tenant| match thing {
            // Services manage those of all merchants.
            Session => true,
            // A merchant's keys of both modes are managed together.
            Key => other.ids.merchant == tenant.ids.merchant,
            _ => other.ids.event == tenant.ids.event,
        };
        let others = self.tenants.iter().filter(|other| !own(other));
        let mut ids: Vec<_> = others.map(|other| other.ids.clone().of(thing).clone()).collect();
        if thing == Key {
            ids.push(self.service_key.clone());
        }
        ids
    }
}

/// Opens a portal session of the tenant's and a console session, and makes the link of another portal session.
async fn open_page(app: &TestApp, tenant: &mut Tenant) {
    let livemode = tenant.secret.key().starts_with("sk_live_");
    let wanted = json!({ "merchant_id": tenant.ids.merchant, "livemode": livemode });
    let session = async || app.internal.post("/v1/portal_sessions", &wanted).await.expect(201);
    tenant.page = Caller::open_portal(app.public_addr, &session().await).await;
    tenant.console = Caller::open_console(app.internal_addr, BOOTSTRAP_KEY).await;
    // Each ends by a route of its own, so each is another one.
    id(&session().await).clone_into(&mut tenant.ids.session);
    token_of(&session().await).clone_into(&mut tenant.ids.link);
}

/// Callers with these keys.
fn callers<'a>(
    address: SocketAddr,
    keys: &'a [(&'static str, String)],
) -> impl Iterator<Item = (&'static str, Caller)> + use<'a> {
    keys.iter().map(move |(kind, key)| (*kind, Caller::new(address, key)))
}

/// A backfill that stays as it is: begun while its endpoint was off, it has made nothing.
async fn paused_backfill(app: &TestApp, tenant: &Tenant) -> String {
    let path = format!("/v1/webhook_endpoints/{}", tenant.ids.endpoint);
    let endpoint = tenant.secret.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    let merchant_id = tenant.ids.merchant.parse().unwrap();
    let selection = Selection {
        tenant: merchant::Tenant { merchant_id, livemode: endpoint["livemode"].as_bool().unwrap() },
        endpoint_id: tenant.ids.endpoint.parse().unwrap(),
        created_from: UnixMs(0),
        created_to: UnixMs(1),
        types: EnabledEvents::All,
        scope: Scope::All,
    };
    let (store, now) = (&app.foundation.store, app.foundation.clock.now());
    let new = NewBackfill {
        id: app.foundation.ids.next(now),
        selection,
        per_second: 1,
        counted: Counted::default(),
    };
    store.insert_backfill(&new, &Author::service(), now).await.unwrap().unwrap();
    app.advance("1s").await;
    tenant.secret.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    new.id.to_string()
}
