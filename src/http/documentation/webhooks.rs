//! What receivers get: a webhook for every event type, with its headers and its payload. Merchants' events are in the public
//! document, what operators are told in the internal one.

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, Discriminator, ObjectBuilder, OneOfBuilder, Paths, PathsBuilder, Ref, RefOr,
        Required, ResponseBuilder, SecurityRequirement, Type,
        path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
        request_body::RequestBodyBuilder,
        schema::Schema,
    },
};

use super::what_may_be_null_is_there;
use crate::{
    event::{API_VERSION, EventName, EventType},
    http::view::IsEvent,
    id::{DeliveryId, EventId},
    metrics::Listener,
    operational::{AbandonedDeliveries, EndpointReport, OperationalType},
    samples::{Charge, Dispute, Payout, Refund, Samples},
};

/// When the examples happened, in unix seconds.
const EXAMPLE_AT: i64 = 1_749_651_729;

const EXAMPLE_ID: &str = "evt_01jxf6z2zre4rr3h5t8y5j0v6q";

type Schemas = Vec<(String, RefOr<Schema>)>;

/// The types of the events in a listener's document.
pub(super) fn of(listener: Listener) -> Vec<EventName> {
    match listener {
        Listener::Public => EventType::ALL.iter().copied().map(EventName::Merchants).collect(),
        Listener::Internal => OperationalType::ALL.iter().copied().map(EventName::Operational).collect(),
    }
}

/// A webhook for each of these types.
pub(super) fn paths(names: &[EventName]) -> Paths {
    let webhook = |paths: PathsBuilder, name: &EventName| {
        paths.path(name.as_str(), PathItem::new(HttpMethod::Post, operation(*name)))
    };
    names.iter().fold(PathsBuilder::new(), webhook).build()
}

/// The payloads, what is in them, and one for all of them.
pub(super) fn schemas(names: &[EventName]) -> Schemas {
    let mut schemas = Schemas::new();
    if names.iter().any(|name| matches!(name, EventName::Merchants(_))) {
        add::<Charge>(&mut schemas);
        add::<Refund>(&mut schemas);
        add::<Payout>(&mut schemas);
        add::<Dispute>(&mut schemas);
        for (_, schema) in &mut schemas {
            only_the_least_is_required(schema);
        }
    } else {
        add::<EndpointReport>(&mut schemas);
        add::<AbandonedDeliveries>(&mut schemas);
        for (_, schema) in &mut schemas {
            what_may_be_null_is_there(schema);
        }
    }
    schemas.extend(names.iter().map(|name| (schema_of(*name), payload(*name).into())));
    schemas.push(("WebhookEvent".to_owned(), any(names).into()));
    schemas
}

fn add<T: ToSchema>(schemas: &mut Schemas) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// The service checks `id` and `object`, and passes on all else as it is published.
fn only_the_least_is_required(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema {
        object.required.retain(|name| name == "id" || name == "object");
    }
}

/// Such as `ChargeSucceededEvent`.
fn schema_of(name: EventName) -> String {
    let words = name.as_str().split(['.', '_']);
    let capitals = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    capitals.chain(["Event".to_owned()]).collect()
}

/// What is in the payloads of such events.
fn resource(name: EventName) -> String {
    match name {
        EventName::Merchants(event_type) => match event_type.resource() {
            "charge" => Charge::name(),
            "refund" => Refund::name(),
            "payout" => Payout::name(),
            _ => Dispute::name(),
        },
        EventName::Operational(OperationalType::DeliveryAbandoned) => AbandonedDeliveries::name(),
        EventName::Operational(_) => EndpointReport::name(),
    }
    .into_owned()
}

fn meaning(name: EventName) -> &'static str {
    match name {
        EventName::Merchants(event_type) => match event_type {
            EventType::ChargeSucceeded => "A card was charged",
            EventType::ChargeFailed => "A card could not be charged",
            EventType::ChargeRefunded => "A charge was paid back, fully or partially",
            EventType::RefundCreated => "A refund is under way",
            EventType::RefundUpdated => "A refund went on, or failed",
            EventType::PayoutCreated => "A payout is on its way to the bank",
            EventType::PayoutPaid => "A payout has arrived",
            EventType::PayoutFailed => "The bank refused a payout",
            EventType::DisputeCreated => "A customer's bank wants a charge back",
            EventType::DisputeUpdated => "A dispute went on",
            EventType::DisputeClosed => "A dispute was won or lost",
        },
        EventName::Operational(kind) => match kind {
            OperationalType::EndpointFailing => "An endpoint has failed for some minutes",
            OperationalType::EndpointDisablingSoon => "An endpoint will be disabled if it goes on failing",
            OperationalType::EndpointDisabled => "The service has disabled an endpoint",
            OperationalType::EndpointRecovered => "An endpoint that failed has answered with a 2xx",
            OperationalType::DeliveryAbandoned => "Deliveries to an endpoint were given up",
        },
    }
}

fn payload(name: EventName) -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let text =
        |words: &'static str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([words]));
    let mut data =
        ObjectBuilder::new().property("object", Ref::from_schema_name(resource(name))).required("object");
    if let EventName::Merchants(_) = name {
        let previous =
            ObjectBuilder::new().description(Some("What of the object changed, as it was before."));
        data = data.property("previous_attributes", previous);
    }
    let payload = ObjectBuilder::new()
        .description(Some(format!("{}.", meaning(name))))
        .property("id", Ref::from_schema_name(EventId::name()))
        .property("object", IsEvent::schema())
        .property("api_version", text(API_VERSION))
        .property("created", number.description(Some("When it happened, in unix seconds.")))
        .property("livemode", ObjectBuilder::new().schema_type(Type::Boolean))
        .property("type", text(name.as_str()))
        .property("data", data);
    let members = ["id", "object", "api_version", "created", "livemode", "type", "data"];
    members.into_iter().fold(payload, ObjectBuilder::required).build().into()
}

/// Any of the payloads, told by their type.
fn any(names: &[EventName]) -> Schema {
    let reference = |name: &EventName| Ref::from_schema_name(schema_of(*name));
    let mapping = names.iter().map(|name| (name.as_str(), reference(name).ref_location));
    let one_of = names.iter().fold(OneOfBuilder::new(), |one_of, name| one_of.item(reference(name)));
    let one_of = one_of
        .description(Some("What an endpoint gets."))
        .discriminator(Some(Discriminator::with_mapping("type", mapping)));
    Schema::OneOf(one_of.build())
}

fn operation(name: EventName) -> OperationBuilder {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema_of(name))))
        .example(Some(example(name)));
    let body = RequestBodyBuilder::new()
        .description(Some("The bytes that the signature is of."))
        .content("application/json", content.build())
        .required(Some(Required::True));
    let response = |description: &str| ResponseBuilder::new().description(description).build();
    let (description, gone) = match name {
        EventName::Merchants(_) => (
            format!(
                "Usually `data.object` is as described; the service itself sees only to its `id` and `object`, and passes \
                 on all else as it was published. The payload of `{}` is the same at every attempt and every endpoint.",
                name.as_str()
            ),
            "The endpoint is gone: the delivery is abandoned, and the endpoint is disabled.",
        ),
        EventName::Operational(_) => (
            "Sent to `operations.url`, signed with `operations.signing_secret`. `livemode` is that of what it is about. The \
             payload is the same at every attempt."
                .to_owned(),
            "The delivery is abandoned.",
        ),
    };
    OperationBuilder::new()
        .operation_id(Some(schema_of(name)))
        .summary(Some(meaning(name)))
        .description(Some(description))
        .parameters(Some(headers(name)))
        .request_body(Some(body.build()))
        .response("2XX", response("Received: the delivery has succeeded."))
        .response("410", response(gone))
        .response(
            "default",
            response("The delivery is retried; `Retry-After` with 429 or 503 lengthens the pause."),
        )
        .securities(Some([SecurityRequirement::default()]))
}

fn headers(name: EventName) -> Vec<Parameter> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let header = |name: &str, description: &str, schema: RefOr<Schema>| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(schema))
            .build()
    };
    let matching = |pattern: &str| text().pattern(Some(pattern)).build().into();
    let number =
        |minimum| ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(minimum)).build().into();
    let event_types = text().enum_values(Some([name.as_str()])).build();
    vec![
        header(
            "K-Payments-Signature",
            "The unix seconds of the attempt and, for each signing secret that lives, newest first, the HMAC-SHA256 of \
             `{t}.{raw body}` in hexadecimal.",
            matching("^t=[0-9]+(,v1=[0-9a-f]{64})+$"),
        ),
        header(
            "K-Payments-Event-Id",
            "The event: remember it, a delivery can come twice.",
            EventId::schema(),
        ),
        header("K-Payments-Event-Type", "The type of the event.", event_types.into()),
        header("K-Payments-Delivery-Id", "The delivery.", DeliveryId::schema()),
        header("K-Payments-Attempt", "1 for the first attempt of the delivery, and so on.", number(1)),
        header("webhook-id", "The event, as Standard Webhooks has it.", EventId::schema()),
        header("webhook-timestamp", "The unix seconds of the attempt.", number(0)),
        header(
            "webhook-signature",
            "The signatures of Standard Webhooks, with the bytes behind `whsec_` as the key.",
            matching("^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$"),
        ),
    ]
}

/// The sample of the type, as an endpoint gets it.
fn example(name: EventName) -> Value {
    let samples = Samples::new([0; 16], EXAMPLE_AT);
    let data = match name {
        EventName::Merchants(event_type) => json!(samples.data(event_type)),
        EventName::Operational(kind) => json!(samples.operational(kind)),
    };
    json!({
        "id": EXAMPLE_ID, "object": IsEvent, "api_version": API_VERSION, "created": EXAMPLE_AT, "livemode": false,
        "type": name.as_str(), "data": data,
    })
}
