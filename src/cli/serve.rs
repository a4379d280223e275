//! `serve`: the service until it is told to stop.

use anyhow::Result;
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    portal,
    profile::{self, Profile},
    say,
};
use crate::{
    app::{App, Role},
    audit::Author,
    config::{Config, Mode},
    console,
    id::KeyId,
    merchant::Tenant,
    portal::{self as portal_session, PortalAccess},
    store::{Page, Position},
};

pub(super) async fn serve(config: Config, role: Role) -> Result<()> {
    let (development, has_console) = (config.mode == Mode::Development, config.console.enabled);
    let app = App::build(config, role).await?;
    if development {
        introduce(&app, has_console).await?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    app.run(shutdown).await
}

/// At the first start in development: keys, and lines to paste.
async fn introduce(app: &App, has_console: bool) -> Result<()> {
    let foundation = app.foundation();
    let page: Page<KeyId> = Page { limit: 1, position: Position::First };
    let keys = foundation.store.list_api_keys(None, &page, foundation.clock.now()).await?;
    if keys.is_none_or(|keys| !keys.items.is_empty()) {
        return Ok(());
    }
    let issuer = foundation.key_issuer(Author::service());
    let service = issuer.issue_service_key("development").await?;
    let tenant = Tenant { merchant_id: "m_demo".parse().map_err(anyhow::Error::msg)?, livemode: false };
    let merchant = issuer.issue_merchant_key(tenant.clone()).await?;
    let session = portal::wanted(tenant, PortalAccess::Full, portal_session::LIFE_MAX);
    let session = portal_session::issue(foundation, session, &Author::service()).await?;
    let portal = app.portal_url()?.map_or_else(String::new, |url| session.link(&url));
    let (public, internal) = (app.public_url()?, app.internal_url()?);
    let kept = Profile {
        url: Some(public.clone()),
        key: Some(merchant.secret.clone()),
        internal_url: Some(internal.clone()),
        service_key: Some(service.secret.clone()),
        merchant: Some("m_demo".to_owned()),
    };
    let kept = profile::folder().map(|folder| profile::keep_development(&folder, &kept));
    let (service, merchant) = (service.secret.expose_secret(), merchant.secret.expose_secret());
    say(&format!(
        r#"First start. These keys are shown once; `k-webhooks keys create` makes others.

  service key (internal listener)            {service}
  test key of merchant m_demo (public)       {merchant}

Register an endpoint:

  curl {public}/v1/webhook_endpoints \
    -H "Authorization: Bearer {merchant}" -H "Content-Type: application/json" \
    -d '{{"url": "http://127.0.0.1:3000/hooks", "enabled_events": ["charge.succeeded"]}}'

Publish an event:

  curl {internal}/v1/events \
    -H "Authorization: Bearer {service}" -H "Content-Type: application/json" \
    -d '{{"merchant_id": "m_demo", "livemode": false, "type": "charge.succeeded", "data": {{"object": {{"id": "ch_1", "object": "charge", "amount": 4999}}}}}}'

See it:

  curl {public}/v1/events -H "Authorization: Bearer {merchant}"

Or see and do all of it in the portal (this link opens once, within 10 minutes; `k-webhooks portal --merchant m_demo`
makes others):

  {portal}
"#
    ));
    if has_console {
        say(&format!(
            "See the whole service in the operators' console, which the service key opens:\n\n  {internal}{}\n",
            console::PATH
        ));
    }
    match kept {
        Some(Ok(path)) => say(&format!(
            r"Or, with these keys, which are kept in {} for you alone:

  k-webhooks listen --forward-to http://127.0.0.1:3000/hooks
  k-webhooks trigger charge.succeeded
",
            path.display()
        )),
        Some(Err(error)) => {
            tracing::warn!(%error, "the keys are not kept for the command line; K_WEBHOOKS_KEY and K_WEBHOOKS_SERVICE_KEY give them");
        }
        None => {}
    }
    Ok(())
}
