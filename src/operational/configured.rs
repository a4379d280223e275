//! The operators' endpoint, as the configuration has it: every process brings it about as it starts.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use secrecy::ExposeSecret as _;

use super::OperationalType;
use crate::{
    app::Foundation,
    audit::Author,
    config::Operations,
    endpoint::EnabledEvents,
    endpoint_url::EndpointUrl,
    id::SecretId,
    merchant::Tenant,
    signature::SigningSecret,
    store::{EndpointChange, NewEndpoint, NewSecret, Page, Position},
    transport::CallRules,
};

/// Under which name the store keeps what tells the signing secret that was configured last from another one.
const SECRET_SETTING: &str = "operations_signing_secret";

/// How long the secret before signs too, so that the operators' receiver can follow.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Where operators are told, if they are, judged by these rules.
pub fn address(config: &Operations, rules: &CallRules) -> Result<Option<EndpointUrl>> {
    let url = config.url.expose_secret();
    let parse = |url| EndpointUrl::parse(url, rules).map_err(|error| anyhow!("operations.url: {error}"));
    (!url.is_empty()).then_some(url).map(parse).transpose()
}

/// Has the operators' endpoint be as the configuration says, at an address that these rules allow.
pub async fn establish(foundation: &Foundation, config: &Operations, rules: &CallRules) -> Result<()> {
    let Foundation { store, clock, ids, .. } = foundation;
    let (tenant, by, now) = (Tenant::operators(), Author::service(), clock.now());
    let url = address(config, rules)?;
    let page = Page { limit: 1, position: Position::First };
    let present = store.list_endpoints(&tenant, &page).await?.and_then(|page| page.items.into_iter().next());
    if config.told().contains(OperationalType::DeliveryAbandoned) {
        store.begin_telling_of_abandoned().await?;
    } else {
        store.end_telling_of_abandoned().await?;
    }
    let Some(url) = url else {
        if let Some(endpoint) = present {
            store.delete_endpoint(&tenant, endpoint.id, &by, now).await?;
        }
        return Ok(());
    };
    let url = url.as_str().to_owned();
    let secret = SigningSecret::parse(config.signing_secret.expose_secret())
        .context("operations.signing_secret is not a signing secret")?;
    let seal = || {
        let id: SecretId = ids.next(now);
        NewSecret { id, sealed: foundation.vault.seal(&id.to_string(), secret.expose().as_bytes()) }
    };
    // A keyed hash: it tells nobody the secret.
    let fingerprint = hex::encode(foundation.hasher.hash(secret.expose()));
    match present {
        None => {
            let endpoint = NewEndpoint {
                id: ids.next(now),
                tenant,
                url,
                enabled_events: EnabledEvents::All,
                description: None,
                secret: seal(),
            };
            // Of processes that start at once, one is first.
            store.insert_endpoint(&endpoint, 1, &by, now).await?;
        }
        Some(endpoint) => {
            if endpoint.url != url {
                let change = EndpointChange { url: Some(url), ..EndpointChange::default() };
                store.update_endpoint(&tenant, endpoint.id, &change, &by, now).await?;
            }
            if store.setting(SECRET_SETTING).await?.is_none_or(|kept| kept != fingerprint) {
                store.rotate_secret(&tenant, endpoint.id, &seal(), now.plus(OVERLAP), &by, now).await?;
            }
        }
    }
    store.put_setting(SECRET_SETTING, &fingerprint).await?;
    Ok(())
}
