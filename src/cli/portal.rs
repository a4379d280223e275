//! `portal`: a link that opens a merchant's portal, straight on the database.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::{ConfigArgs, Mode, author, parse_merchant, say};
use crate::{
    app::Foundation,
    merchant::{MerchantId, Tenant},
    portal::{self, Appearance, LIFE_DEFAULT, LINK_LIFE, PortalAccess, Theme, WantedSession},
};

#[derive(Args)]
pub(super) struct PortalArgs {
    /// Whose portal to open
    #[arg(long, value_parser = parse_merchant)]
    merchant: MerchantId,
    /// Which of the merchant's data to show
    #[arg(long, value_enum, default_value_t = Mode::Test)]
    mode: Mode,
    /// For looking only
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl PortalArgs {
    pub(super) async fn run(self) -> Result<()> {
        let config = self.config.load()?;
        let url = config.portal_url(config.server.listen).context("portal.url: production needs one")?;
        let foundation = Foundation::open(&config).await?;
        let tenant = Tenant { merchant_id: self.merchant, livemode: self.mode == Mode::Live };
        let access = if self.read_only { PortalAccess::ReadOnly } else { PortalAccess::Full };
        let issued = portal::issue(&foundation, wanted(tenant, access, LIFE_DEFAULT), &author()).await?;
        foundation.store.close().await;
        say(&issued.link(&url));
        let life = humantime::format_duration(LINK_LIFE);
        say(&format!(
            "It opens once, within {life}, {} for {}.",
            scope(access),
            humantime::format_duration(LIFE_DEFAULT)
        ));
        Ok(())
    }
}

fn scope(access: PortalAccess) -> &'static str {
    match access {
        PortalAccess::ReadOnly => "to look",
        PortalAccess::Full => "to look and to change",
    }
}

/// A session in the plain theme.
pub(super) fn wanted(tenant: Tenant, access: PortalAccess, life: Duration) -> WantedSession {
    WantedSession { tenant, access, theme: Theme { accent: None, appearance: Appearance::Auto }, life }
}
