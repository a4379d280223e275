//! Samples of what operators are told.

use super::{DAY, Samples};
use crate::{
    clock::UnixMs,
    delivery::AbandonedReason,
    endpoint::{DisabledReason, EndpointStatus},
    id::{Id, Kind},
    merchant::Tenant,
    operational::{
        AbandonedDeliveries, Data, EndpointReport, IsWebhookEndpoint,
        OperationalType::{
            self, DeliveryAbandoned, EndpointDisabled, EndpointDisablingSoon, EndpointFailing,
            EndpointRecovered,
        },
        Report,
    },
};

/// For how long the sample's endpoint may fail.
const DISABLED_AFTER: i64 = 5 * DAY;

impl Samples {
    /// The `data` of an operational event of this type.
    ///
    /// # Panics
    ///
    /// Never: the sample's merchant has a name.
    #[must_use]
    pub fn operational(&self, kind: OperationalType) -> Data {
        let tenant = Tenant { merchant_id: "m_1".parse().expect("it is a merchant's id"), livemode: false };
        let report = match kind {
            DeliveryAbandoned => Report::Abandoned(self.abandoned(tenant)),
            EndpointFailing | EndpointDisablingSoon | EndpointDisabled | EndpointRecovered => {
                Report::Endpoint(self.endpoint(tenant, kind))
            }
        };
        Data { object: report }
    }

    fn endpoint(&self, tenant: Tenant, kind: OperationalType) -> EndpointReport {
        let lasted = match kind {
            EndpointFailing => 360,
            EndpointDisablingSoon => DISABLED_AFTER - DAY,
            EndpointDisabled => DISABLED_AFTER,
            EndpointRecovered | DeliveryAbandoned => DAY,
        };
        let (since, disabled) = (self.at - lasted, kind == EndpointDisabled);
        let goes_on = matches!(kind, EndpointFailing | EndpointDisablingSoon);
        EndpointReport {
            id: self.lowest_id(),
            object: IsWebhookEndpoint,
            merchant_id: tenant.merchant_id,
            livemode: tenant.livemode,
            url: "https://example.com/webhooks".to_owned(),
            status: if disabled { EndpointStatus::Disabled } else { EndpointStatus::Enabled },
            disabled_reason: disabled.then_some(DisabledReason::Failing),
            failing_since: since,
            disables_at: goes_on.then_some(since + DISABLED_AFTER),
        }
    }

    fn abandoned(&self, tenant: Tenant) -> AbandonedDeliveries {
        let mut abandoned = AbandonedDeliveries::to(self.lowest_id(), tenant, 1024);
        abandoned.add(self.lowest_id(), AbandonedReason::WindowClosed);
        abandoned
    }

    /// An id of the samples' time.
    fn lowest_id<K: Kind>(&self) -> Id<K> {
        Id::lowest_at(UnixMs(self.at.saturating_mul(1000)))
    }
}

#[cfg(test)]
mod tests {
    use k_payments_webhooks::Verifier;

    use super::*;
    use crate::{
        entropy::Entropy,
        event::{EventName, render_named},
        id::EventId,
        signature::{new_secret, sign_header},
    };

    #[test]
    fn the_library_for_receivers_takes_every_operational_sample() {
        const AT: i64 = 1_749_651_729;
        let secret = new_secret(&Entropy::os());
        for kind in OperationalType::ALL {
            let data = serde_json::to_vec(&Samples::new([7; 16], AT).operational(*kind)).unwrap();
            let id = EventId::lowest_at(UnixMs(AT * 1000));
            let body = render_named(id, EventName::Operational(*kind), AT, false, &data);
            let header = sign_header(&[&secret], AT, &body);
            let verifier = Verifier::new(secret.clone());
            let event = verifier.construct_event_at(&body, Some(&header), AT).unwrap();
            assert_eq!((event.id, event.event_type.as_str()), (id.to_string(), kind.as_str()));
            let resource = kind.as_str().split('.').next().unwrap();
            assert!(event.data.resource == resource || event.data.resource == "abandoned_deliveries");
        }
    }
}
