//! What the platform itself is told: operational events, which go to an address of its own like any event to any endpoint,
//! signed in the same way, durable and tried again.
//!
//! They are the events of a tenant that no API key and no publisher can name ([`Tenant::operators`]), with one endpoint,
//! which the configuration describes ([`configured`]). Of that endpoint nobody is told, or a failure to tell would be
//! something to tell.

pub mod configured;

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{PartialSchema as _, ToSchema};

use crate::{
    clock::UnixMs,
    delivery::AbandonedReason,
    endpoint::{DisabledReason, Endpoint, EndpointStatus},
    failing::{Failing, FailingRules},
    id::{DeliveryId, EndpointId},
    merchant::{MerchantId, Tenant},
    words::{constants, words},
};

words! {
    /// The kinds of operational event.
    OperationalType {
        /// An endpoint has failed for some minutes.
        EndpointFailing "webhook_endpoint.failing",
        /// It will be disabled if it goes on failing.
        EndpointDisablingSoon "webhook_endpoint.disabling_soon",
        /// The service has disabled it.
        EndpointDisabled "webhook_endpoint.disabled",
        /// One that was told of as failing has answered with a 2xx.
        EndpointRecovered "webhook_endpoint.recovered",
        /// Deliveries to an endpoint were given up.
        DeliveryAbandoned "delivery.abandoned",
    }
}

/// Which operational events are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told(u8);

impl Told {
    /// None.
    pub const NOTHING: Self = Self(0);

    /// These.
    #[must_use]
    pub fn of(types: &[OperationalType]) -> Self {
        Self(types.iter().fold(0, |told, kind| told | 1 << *kind as u8))
    }

    /// Whether those are made.
    #[must_use]
    pub fn contains(self, kind: OperationalType) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

constants! {
    pub IsWebhookEndpoint "webhook_endpoint",
    pub IsAbandonedDeliveries "abandoned_deliveries",
}

/// The `data` of an operational event.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// What it is about.
    pub object: Report,
}

/// What an operational event is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of `webhook_endpoint.*`.
    Endpoint(EndpointReport),
    /// Of `delivery.abandoned`.
    Abandoned(AbandonedDeliveries),
}

/// An endpoint that fails, or that failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndpointReport {
    /// The endpoint.
    pub id: EndpointId,
    /// What it is.
    #[schema(schema_with = IsWebhookEndpoint::schema)]
    pub object: IsWebhookEndpoint,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    pub livemode: bool,
    /// Where deliveries go, as the merchant gave it.
    pub url: String,
    /// Whether deliveries are attempted.
    pub status: EndpointStatus,
    /// Why the service disabled it, where it did.
    pub disabled_reason: Option<DisabledReason>,
    /// When the first attempt was made that failed after the last one that succeeded, in unix seconds.
    pub failing_since: i64,
    /// From when on an attempt that fails disables it, in unix seconds; null where none does.
    pub disables_at: Option<i64>,
}

impl EndpointReport {
    /// The endpoint as it is now, of which this is told, and which fails, or failed, in that way.
    #[must_use]
    pub fn of(endpoint: &Endpoint, kind: OperationalType, failing: Failing, rules: FailingRules) -> Self {
        use OperationalType::{EndpointDisablingSoon, EndpointFailing};
        let goes_on = matches!(kind, EndpointFailing | EndpointDisablingSoon);
        let disables_at = failing.disables_at(rules).filter(|_| goes_on);
        Self {
            id: endpoint.id,
            object: IsWebhookEndpoint,
            merchant_id: endpoint.tenant.merchant_id.clone(),
            livemode: endpoint.tenant.livemode,
            url: endpoint.url.clone(),
            status: endpoint.status,
            disabled_reason: endpoint.disabled_reason,
            failing_since: failing.since.seconds(),
            disables_at: disables_at.map(UnixMs::seconds),
        }
    }
}

/// How many deliveries an event names; the feed of abandoned deliveries has them all.
const NAMED_MAX: usize = 10;

/// Deliveries to one endpoint that were given up, counted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AbandonedDeliveries {
    /// The endpoint that they were to.
    pub id: EndpointId,
    /// What they are.
    #[schema(schema_with = IsAbandonedDeliveries::schema)]
    pub object: IsAbandonedDeliveries,
    /// Whose they are.
    pub merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    pub livemode: bool,
    /// How many.
    #[schema(minimum = 1)]
    pub count: u64,
    /// How many for each reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub reasons: BTreeMap<&'static str, u64>,
    /// The first ten of them.
    #[schema(min_items = 1, max_items = 10)]
    pub deliveries: Vec<DeliveryId>,
    /// The feed of abandoned deliveries lists them after this position.
    #[schema(minimum = 0)]
    pub starting_after: i64,
}

impl AbandonedDeliveries {
    /// None yet, of which the first will have this position.
    #[must_use]
    pub fn to(id: EndpointId, tenant: Tenant, first: i64) -> Self {
        Self {
            id,
            object: IsAbandonedDeliveries,
            merchant_id: tenant.merchant_id,
            livemode: tenant.livemode,
            count: 0,
            reasons: BTreeMap::new(),
            deliveries: Vec::new(),
            starting_after: first - 1,
        }
    }

    /// Counts the next one.
    pub fn add(&mut self, delivery: DeliveryId, reason: AbandonedReason) {
        self.count += 1;
        *self.reasons.entry(reason.as_str()).or_default() += 1;
        if self.deliveries.len() < NAMED_MAX {
            self.deliveries.push(delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, id::IdSource};

    #[test]
    fn only_the_types_that_are_asked_for_are_told() {
        let told = Told::of(&[OperationalType::EndpointDisabled, OperationalType::DeliveryAbandoned]);
        let names: Vec<_> = OperationalType::ALL
            .iter()
            .filter(|kind| told.contains(**kind))
            .map(|kind| kind.as_str())
            .collect();
        assert_eq!(names, ["webhook_endpoint.disabled", "delivery.abandoned"]);
        assert!(!OperationalType::ALL.iter().any(|kind| Told::NOTHING.contains(*kind)));
    }

    #[test]
    fn abandoned_deliveries_are_counted_by_reason_and_the_first_ten_named() {
        let ids = IdSource::new(Entropy::os());
        let deliveries: Vec<DeliveryId> = (0..12).map(|_| ids.next(UnixMs(0))).collect();
        let tenant = Tenant { merchant_id: "m_1".parse().unwrap(), livemode: true };
        let mut abandoned = AbandonedDeliveries::to(ids.next(UnixMs(0)), tenant, 7);
        for (index, delivery) in deliveries.iter().enumerate() {
            let reason = if index == 3 { AbandonedReason::Gone } else { AbandonedReason::EndpointDisabled };
            abandoned.add(*delivery, reason);
        }
        assert_eq!((abandoned.count, abandoned.starting_after), (12, 6));
        assert_eq!(abandoned.reasons, BTreeMap::from([("endpoint_disabled", 11), ("gone", 1)]));
        assert_eq!(abandoned.deliveries, deliveries[..10]);
    }
}
