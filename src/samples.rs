//! A realistic sample of every event type, in one place: for `POST …/test`, the demo and the documentation. What is in
//! them is what the platform's own API says of charges, refunds, payouts and disputes, and what operators are told.

mod operational;
mod resources;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::event::EventType;
pub use resources::{
    Address, Card, Charge, ChargeStatus, Currency, Dispute, DisputeReason, DisputeStatus, IsCharge,
    IsDispute, IsPayout, IsRefund, LineItem, LineItemType, Payout, PayoutStatus, Refund, RefundReason,
    RefundStatus,
};

/// The `data` of an event.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// What the event is about, as it is now.
    pub object: Resource,
    /// What of it changed, as it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_attributes: Option<Map<String, Value>>,
}

impl Data {
    /// As a publisher writes it.
    ///
    /// # Panics
    ///
    /// Never: a sample is text, numbers and lists of them.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a sample is JSON").into()
    }
}

/// What an event is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Resource {
    /// Of `charge.*`.
    Charge(Charge),
    /// Of `refund.*`.
    Refund(Refund),
    /// Of `payout.*`.
    Payout(Payout),
    /// Of `dispute.*`.
    Dispute(Dispute),
}

/// Samples that belong together: the refund is of the charge, and so on.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    seed: [u8; 16],
    at: i64,
}

const DAY: i64 = 86_400;
const CHARGED: i64 = 4999;
const REFUNDED: i64 = 1000;

impl Samples {
    /// Samples whose ids follow from `seed`, dated `at`, in unix seconds.
    #[must_use]
    pub fn new(seed: [u8; 16], at: i64) -> Self {
        Self { seed, at }
    }

    /// The `data` of an event of this type.
    #[must_use]
    pub fn data(&self, event_type: EventType) -> Data {
        let charge = |charge| (Resource::Charge(charge), None);
        let refund = |status| Resource::Refund(self.refund(status));
        let payout = |status| (Resource::Payout(self.payout(status)), None);
        let dispute = |status| Resource::Dispute(self.dispute(status));
        let (object, previous) = match event_type {
            EventType::ChargeSucceeded => charge(self.charge()),
            EventType::ChargeFailed => charge(Charge {
                status: ChargeStatus::Failed,
                failure_code: Some("card_declined"),
                failure_message: Some("The card was declined."),
                ..self.charge()
            }),
            EventType::ChargeRefunded => {
                let refunds = vec![self.refund(RefundStatus::Pending)];
                let refunded = Charge { amount_refunded: REFUNDED, refunds, ..self.charge() };
                (Resource::Charge(refunded), Some(json!({ "amount_refunded": 0, "refunds": [] })))
            }
            EventType::RefundCreated => (refund(RefundStatus::Pending), None),
            EventType::RefundUpdated => {
                (refund(RefundStatus::Succeeded), Some(json!({ "status": RefundStatus::Pending })))
            }
            EventType::PayoutCreated => payout(PayoutStatus::Pending),
            EventType::PayoutPaid => payout(PayoutStatus::Paid),
            EventType::PayoutFailed => payout(PayoutStatus::Failed),
            EventType::DisputeCreated => (dispute(DisputeStatus::NeedsResponse), None),
            EventType::DisputeUpdated => {
                (dispute(DisputeStatus::UnderReview), Some(json!({ "status": DisputeStatus::NeedsResponse })))
            }
            EventType::DisputeClosed => (dispute(DisputeStatus::Won), None),
        };
        let previous_attributes = previous.and_then(|previous| previous.as_object().cloned());
        Data { object, previous_attributes }
    }

    /// Bytes that are another's for every name.
    fn random(&self, name: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.seed).chain_update(name).finalize().into()
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", hex::encode(&self.random(prefix)[..12]))
    }

    /// The id of a charge: a UUID, version 4.
    fn charge_id(&self, name: &str) -> String {
        let mut bytes = self.random(name);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let text = hex::encode(&bytes[..16]);
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    }

    fn charge(&self) -> Charge {
        Charge {
            id: self.charge_id("charge"),
            object: IsCharge,
            amount: CHARGED,
            amount_refunded: 0,
            currency: Currency::Usd,
            status: ChargeStatus::Succeeded,
            failure_code: None,
            failure_message: None,
            source: Card { brand: "visa", last4: "4242", exp_month: 12, exp_year: 2030 },
            billing_address: Address {
                line1: "1 Market St",
                line2: None,
                city: "San Francisco",
                state: "CA",
                postal_code: "94105",
                country: "US",
            },
            description: Some("Order #1024"),
            metadata: Map::from_iter([("order_id".to_owned(), "1024".into())]),
            refunds: Vec::new(),
            created: self.at,
        }
    }

    fn refund(&self, status: RefundStatus) -> Refund {
        Refund {
            id: self.id("re"),
            object: IsRefund,
            charge: self.charge_id("charge"),
            amount: REFUNDED,
            currency: Currency::Usd,
            reason: RefundReason::RequestedByCustomer,
            status,
            created: self.at,
        }
    }

    fn payout(&self, status: PayoutStatus) -> Payout {
        let line = |kind, source, amount, description| LineItem { kind, source, amount, description };
        let (first, second) = (self.charge_id("charge"), self.charge_id("another charge"));
        let line_items = vec![
            line(LineItemType::Charge, first.clone(), CHARGED, "Order #1024"),
            line(LineItemType::Fee, first, -175, "2.9 % + 30 cents"),
            line(LineItemType::Charge, second.clone(), 12_500, "Order #1025"),
            line(LineItemType::Fee, second, -393, "2.9 % + 30 cents"),
            line(LineItemType::Refund, self.id("re"), -REFUNDED, "Of order #1024"),
        ];
        let failed = status == PayoutStatus::Failed;
        Payout {
            id: self.id("po"),
            object: IsPayout,
            amount: line_items.iter().map(|line| line.amount).sum(),
            currency: Currency::Usd,
            status,
            failure_code: failed.then_some("account_closed"),
            failure_message: failed.then_some("The bank account is closed."),
            arrival_date: self.at + 2 * DAY,
            line_items,
            created: self.at,
        }
    }

    fn dispute(&self, status: DisputeStatus) -> Dispute {
        Dispute {
            id: self.id("dp"),
            object: IsDispute,
            charge: self.charge_id("charge"),
            amount: CHARGED,
            currency: Currency::Usd,
            reason: DisputeReason::Fraudulent,
            status,
            evidence_due_by: self.at + 7 * DAY,
            created: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::internal::parse_event;

    const AT: i64 = 1_749_651_729;

    fn data(event_type: EventType) -> Value {
        serde_json::to_value(Samples::new([7; 16], AT).data(event_type)).unwrap()
    }

    #[test]
    fn every_sample_is_an_event_that_publishing_takes_as_it_is() {
        for event_type in EventType::ALL {
            let data = Samples::new([7; 16], AT).data(*event_type).to_bytes();
            let mut body = format!(
                r#"{{"merchant_id":"m_1","livemode":false,"type":"{event_type}","created":{AT},"data":"#
            )
            .into_bytes();
            body.extend_from_slice(&data);
            body.push(b'}');
            let event = parse_event(&body.into(), None).unwrap();
            assert_eq!((event.event_type, event.data), (*event_type, data));
        }
    }

    #[test]
    fn a_sample_follows_from_its_seed_and_its_date_alone() {
        for event_type in EventType::ALL {
            let one = Samples::new([7; 16], AT).data(*event_type).to_bytes();
            assert_eq!(one, Samples::new([7; 16], AT).data(*event_type).to_bytes());
            assert_ne!(one, Samples::new([8; 16], AT).data(*event_type).to_bytes());
            assert_ne!(one, Samples::new([7; 16], AT + 1).data(*event_type).to_bytes());
        }
    }

    #[test]
    fn samples_belong_together() {
        let charge = data(EventType::ChargeRefunded)["object"].clone();
        let refund = data(EventType::RefundCreated)["object"].clone();
        assert_eq!((&refund["charge"], &charge["refunds"][0]), (&charge["id"], &refund));
        assert_eq!(charge["amount_refunded"], refund["amount"]);
        assert_eq!(data(EventType::DisputeClosed)["object"]["charge"], charge["id"]);
        assert_eq!(data(EventType::ChargeSucceeded)["object"]["id"], charge["id"]);
        let uuid: uuid::Uuid = charge["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 4);
    }

    #[test]
    fn the_lines_of_a_payout_add_up_to_it() {
        let payout = data(EventType::PayoutPaid)["object"].clone();
        let lines = payout["line_items"].as_array().unwrap();
        assert_eq!(lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum::<i64>(), payout["amount"]);
        let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["charge", "fee", "charge", "fee", "refund"]);
        let charge = data(EventType::ChargeSucceeded)["object"].clone();
        assert_eq!((&lines[0]["source"], &lines[0]["amount"]), (&charge["id"], &charge["amount"]));
    }

    #[test]
    fn what_was_before_is_not_what_is() {
        for event_type in EventType::ALL {
            let data = data(*event_type);
            for (name, before) in data["previous_attributes"].as_object().into_iter().flatten() {
                assert!(
                    data["object"].get(name).is_some_and(|now| now != before),
                    "{event_type}: {name}: {data}"
                );
            }
            let updated =
                event_type.as_str().ends_with(".updated") || event_type.as_str() == "charge.refunded";
            assert_eq!(data.get("previous_attributes").is_some(), updated, "{event_type}");
        }
    }
}
