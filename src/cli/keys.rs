//! `keys`: API keys straight on the database.

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::{ConfigArgs, Mode, author, parse_merchant, say};
use crate::{
    app::Foundation,
    encryption::{Reencrypted, Reencryption},
    id::KeyId,
    merchant::{MerchantId, Tenant},
    store::{KeyOwner, Page, Position},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a key and prints it, for the only time.
    Create(CreateArgs),
    /// Lists the keys that work.
    List(ConfigArgs),
    /// Ends a key at once.
    Revoke(RevokeArgs),
    /// Moves what earlier encryption keys sealed to the present one, while the service runs.
    Reencrypt(ReencryptArgs),
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// A key for this merchant
    #[arg(long, required_unless_present = "service", requires = "mode", value_parser = parse_merchant)]
    merchant: Option<MerchantId>,
    /// For which of the merchant's data
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// A key for the internal service of this name
    #[arg(long, conflicts_with_all = ["merchant", "mode"])]
    service: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(super) struct RevokeArgs {
    /// The key's id
    id: KeyId,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(super) struct ReencryptArgs {
    /// Moves nothing, and fails where there is something to move
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Command {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Create(args) => create(args).await,
            Self::List(config) => list(&config).await,
            Self::Revoke(args) => revoke(&args).await,
            Self::Reencrypt(args) => reencrypt(&args).await,
        }
    }
}

async fn create(args: CreateArgs) -> Result<()> {
    let foundation = args.config.open().await?;
    let issuer = foundation.key_issuer(author());
    let issued = match (args.merchant, args.service) {
        (Some(merchant_id), _) => {
            let mode = args.mode.context("name a mode")?;
            issuer.issue_merchant_key(mode.of(merchant_id)).await?
        }
        (None, Some(service)) => issuer.issue_service_key(&service).await?,
        (None, None) => bail!("name a merchant or a service"),
    };
    foundation.store.close().await;
    say(&format!("{} {}", issued.key.id, issued.secret.expose_secret()));
    if let Some(publishable) = issued.key.publishable_key {
        say(&format!("publishable key: {publishable}"));
    }
    Ok(())
}

async fn list(config: &ConfigArgs) -> Result<()> {
    let foundation = config.open().await?;
    let mut page = Page { limit: 100, position: Position::First };
    loop {
        let keys = foundation.store.list_api_keys(None, &page, foundation.clock.now()).await?;
        let Some(keys) = keys else { bail!("keys were revoked while they were listed; list them again") };
        for key in &keys.items {
            let owner = match &key.owner {
                KeyOwner::Merchant(Tenant { merchant_id, livemode: true }) => {
                    format!("merchant {merchant_id} live")
                }
                KeyOwner::Merchant(Tenant { merchant_id, livemode: false }) => {
                    format!("merchant {merchant_id} test")
                }
                KeyOwner::Service(name) => format!("service {name}"),
            };
            let ends = key.expires_at.map_or_else(String::new, |at| format!(" ends {}", at.seconds()));
            say(&format!("{} …{} {owner} created {}{ends}", key.id, key.last4, key.created_at.seconds()));
        }
        match keys.items.last() {
            Some(last) if keys.has_more => page.position = Position::After(last.id),
            _ => break,
        }
    }
    foundation.store.close().await;
    Ok(())
}

async fn revoke(args: &RevokeArgs) -> Result<()> {
    let foundation = args.config.open().await?;
    let found = foundation.store.revoke_api_key(None, args.id, &author(), foundation.clock.now()).await?;
    foundation.store.close().await;
    if !found {
        bail!("no such key: {}", args.id);
    }
    say(&format!("{} is revoked.", args.id));
    Ok(())
}

async fn reencrypt(args: &ReencryptArgs) -> Result<()> {
    let Foundation { store, vault, clock, ids, .. } = args.config.open().await?;
    let (store, by) = (store.as_ref(), author());
    let reencryption = Reencryption { store, vault: &vault, clock: &clock, ids: &ids, by };
    let outcome = if args.check { reencryption.check().await } else { reencryption.run().await };
    store.close().await;
    let Reencrypted { secrets, pepper } = outcome?;
    let key = if pepper { "and the key of the API keys' hashes" } else { "and nothing else" };
    let current = vault.current_key();
    if !args.check {
        say(&format!("{secrets} signing secrets {key} were moved to the encryption key {current}."));
    } else if secrets > 0 || pepper {
        bail!("{secrets} signing secrets {key} are not sealed with the encryption key {current}");
    } else {
        say(&format!("Everything is sealed with the encryption key {current}."));
    }
    Ok(())
}
