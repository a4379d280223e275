//! What the events of merchants are about, as the platform's own API has it.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{PartialSchema as _, ToSchema};

use crate::words::{constants, words};

constants! {
    pub IsCharge "charge",
    pub IsRefund "refund",
    pub IsPayout "payout",
    pub IsDispute "dispute",
}

words! {
    /// The only currency there is.
    Currency {
        /// Amounts are in cents.
        Usd "USD",
    }
}

words! {
    /// How a charge went.
    ChargeStatus {
        /// The card was charged.
        Succeeded "succeeded",
        /// It was not.
        Failed "failed",
    }
}

/// A charge against a card.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Charge {
    /// A UUID.
    pub id: String,
    /// What it is.
    #[schema(schema_with = IsCharge::schema)]
    pub object: IsCharge,
    /// In cents.
    pub amount: i64,
    /// How much of it was paid back, in cents.
    pub amount_refunded: i64,
    /// Of both amounts.
    pub currency: Currency,
    /// How it went.
    pub status: ChargeStatus,
    /// Why it failed, if it did.
    pub failure_code: Option<&'static str>,
    /// The same in words.
    pub failure_message: Option<&'static str>,
    /// What was charged.
    pub source: Card,
    /// Where the bill goes.
    pub billing_address: Address,
    /// The merchant's note.
    pub description: Option<&'static str>,
    /// The merchant's own pairs.
    pub metadata: Map<String, Value>,
    /// What was paid back.
    pub refunds: Vec<Refund>,
    /// When it was made, in unix seconds.
    pub created: i64,
}

/// What may be shown of a card.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Card {
    /// Such as `visa`.
    pub brand: &'static str,
    /// The last four digits of its number.
    pub last4: &'static str,
    /// Its last month, from 1.
    pub exp_month: u8,
    /// The year of that month.
    pub exp_year: u16,
}

/// An address in the United States.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Address {
    /// Street and number.
    pub line1: &'static str,
    /// What else the mail needs to know.
    pub line2: Option<&'static str>,
    /// City.
    pub city: &'static str,
    /// The state's two letters.
    pub state: &'static str,
    /// ZIP code.
    pub postal_code: &'static str,
    /// `US`
    pub country: &'static str,
}

words! {
    /// Why a charge was paid back.
    RefundReason {
        /// The customer wanted it.
        RequestedByCustomer "requested_by_customer",
        /// It had been charged twice.
        Duplicate "duplicate",
        /// It was not the customer who paid.
        Fraudulent "fraudulent",
        /// Something else.
        Other "other",
    }
}

words! {
    /// How a refund goes.
    RefundStatus {
        /// It is under way.
        Pending "pending",
        /// The customer has the money.
        Succeeded "succeeded",
        /// The bank sent it back.
        Failed "failed",
    }
}

/// A charge that is paid back, fully or partially.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Refund {
    /// `re_` and what follows.
    pub id: String,
    /// What it is.
    #[schema(schema_with = IsRefund::schema)]
    pub object: IsRefund,
    /// The id of the charge.
    pub charge: String,
    /// In cents.
    pub amount: i64,
    /// Of the amount.
    pub currency: Currency,
    /// Why.
    pub reason: RefundReason,
    /// How it goes.
    pub status: RefundStatus,
    /// When it was asked for, in unix seconds.
    pub created: i64,
}

words! {
    /// How a payout goes.
    PayoutStatus {
        /// It is on its way to the bank.
        Pending "pending",
        /// It has arrived.
        Paid "paid",
        /// The bank refused it.
        Failed "failed",
    }
}

words! {
    /// What a line of a payout is about.
    LineItemType {
        /// Money from a customer.
        Charge "charge",
        /// Money back to a customer.
        Refund "refund",
        /// What the platform keeps.
        Fee "fee",
    }
}

/// What a merchant has earned, sent to the merchant's bank.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Payout {
    /// `po_` and what follows.
    pub id: String,
    /// What it is.
    #[schema(schema_with = IsPayout::schema)]
    pub object: IsPayout,
    /// The sum of its lines, in cents.
    pub amount: i64,
    /// Of all amounts.
    pub currency: Currency,
    /// How it goes.
    pub status: PayoutStatus,
    /// Why it failed, if it did.
    pub failure_code: Option<&'static str>,
    /// The same in words.
    pub failure_message: Option<&'static str>,
    /// When the bank should have it, in unix seconds.
    pub arrival_date: i64,
    /// What it is made of.
    pub line_items: Vec<LineItem>,
    /// When it was made, in unix seconds.
    pub created: i64,
}

/// A line of a payout.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LineItem {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: LineItemType,
    /// The id of the charge or the refund; a fee has that of its charge.
    pub source: String,
    /// In cents; what is taken away is negative.
    pub amount: i64,
    /// For people.
    pub description: &'static str,
}

words! {
    /// Why a customer's bank wants a charge back.
    DisputeReason {
        /// It was not the customer who paid.
        Fraudulent "fraudulent",
        /// Nothing came.
        ProductNotReceived "product_not_received",
        /// It had been charged twice.
        Duplicate "duplicate",
        /// Something else.
        Other "other",
    }
}

words! {
    /// How a dispute goes.
    DisputeStatus {
        /// The merchant may hand in evidence.
        NeedsResponse "needs_response",
        /// The bank looks at the evidence.
        UnderReview "under_review",
        /// The merchant keeps the money.
        Won "won",
        /// The customer has it back.
        Lost "lost",
    }
}

/// A charge that the customer's bank wants back.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dispute {
    /// `dp_` and what follows.
    pub id: String,
    /// What it is.
    #[schema(schema_with = IsDispute::schema)]
    pub object: IsDispute,
    /// The id of the charge.
    pub charge: String,
    /// In cents.
    pub amount: i64,
    /// Of the amount.
    pub currency: Currency,
    /// Why.
    pub reason: DisputeReason,
    /// How it goes.
    pub status: DisputeStatus,
    /// Until when the merchant may hand in evidence, in unix seconds.
    pub evidence_due_by: i64,
    /// When it was opened, in unix seconds.
    pub created: i64,
}
