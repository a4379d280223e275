//! What receivers get: a webhook for every event type, with its headers and its payload.

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

use crate::{
    event::{API_VERSION, EventType},
    http::view::IsEvent,
    id::{DeliveryId, EventId},
    samples::{Charge, Dispute, Payout, Refund, Samples},
};

/// When the examples happened, in unix seconds.
const EXAMPLE_AT: i64 = 1_749_651_729;

const EXAMPLE_ID: &str = "evt_01jxf6z2zre4rr3h5t8y5j0v6q";

/// A webhook for every event type.
pub(super) fn all() -> Paths {
    let webhook = |paths: PathsBuilder, event_type: &EventType| {
        paths.path(event_type.as_str(), PathItem::new(HttpMethod::Post, operation(*event_type)))
    };
    EventType::ALL.iter().fold(PathsBuilder::new(), webhook).build()
}

/// The payloads, what is in them, and one for all of them.
pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    add::<Charge>(&mut schemas);
    add::<Refund>(&mut schemas);
    add::<Payout>(&mut schemas);
    add::<Dispute>(&mut schemas);
    for (_, schema) in &mut schemas {
        only_the_least_is_required(schema);
    }
    let payload = |event_type: &EventType| (name(*event_type), payload(*event_type).into());
    schemas.extend(EventType::ALL.iter().map(payload));
    schemas.push(("WebhookEvent".to_owned(), any().into()));
    schemas
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
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
fn name(event_type: EventType) -> String {
    let words = event_type.as_str().split('.');
    let capitals = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    capitals.chain(["Event".to_owned()]).collect()
}

/// What is in the payloads of such events.
fn resource(event_type: EventType) -> String {
    match event_type.resource() {
        "charge" => Charge::name(),
        "refund" => Refund::name(),
        "payout" => Payout::name(),
        _ => Dispute::name(),
    }
    .into_owned()
}

fn meaning(event_type: EventType) -> &'static str {
    match event_type {
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
    }
}

fn payload(event_type: EventType) -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let text =
        |words: &'static str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([words]));
    let previous = ObjectBuilder::new().description(Some("What of the object changed, as it was before."));
    let data = ObjectBuilder::new()
        .property("object", Ref::from_schema_name(resource(event_type)))
        .property("previous_attributes", previous)
        .required("object");
    let payload = ObjectBuilder::new()
        .description(Some(format!("{}.", meaning(event_type))))
        .property("id", Ref::from_schema_name(EventId::name()))
        .property("object", IsEvent::schema())
        .property("api_version", text(API_VERSION))
        .property("created", number.description(Some("When it happened, in unix seconds.")))
        .property("livemode", ObjectBuilder::new().schema_type(Type::Boolean))
        .property("type", text(event_type.as_str()))
        .property("data", data);
    let members = ["id", "object", "api_version", "created", "livemode", "type", "data"];
    members.into_iter().fold(payload, ObjectBuilder::required).build().into()
}

/// Any of the payloads, told by their type.
fn any() -> Schema {
    let reference = |event_type: &EventType| Ref::from_schema_name(name(*event_type));
    let mapping =
        EventType::ALL.iter().map(|event_type| (event_type.as_str(), reference(event_type).ref_location));
    let one_of = EventType::ALL
        .iter()
        .fold(OneOfBuilder::new(), |one_of, event_type| one_of.item(reference(event_type)));
    let one_of = one_of
        .description(Some("What an endpoint gets."))
        .discriminator(Some(Discriminator::with_mapping("type", mapping)));
    Schema::OneOf(one_of.build())
}

fn operation(event_type: EventType) -> OperationBuilder {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(name(event_type))))
        .example(Some(example(event_type)));
    let body = RequestBodyBuilder::new()
        .description(Some("The bytes that the signature is of."))
        .content("application/json", content.build())
        .required(Some(Required::True));
    let response = |description: &str| ResponseBuilder::new().description(description).build();
    OperationBuilder::new()
        .operation_id(Some(name(event_type)))
        .summary(Some(meaning(event_type)))
        .description(Some(format!(
            "Usually `data.object` is as described; the service itself sees only to its `id` and `object`, and passes on \
             all else as it was published. The payload of `{event_type}` is the same at every attempt and every endpoint."
        )))
        .parameters(Some(headers(event_type)))
        .request_body(Some(body.build()))
        .response("2XX", response("Received: the delivery has succeeded."))
        .response("410", response("The endpoint is gone: the delivery is abandoned, and the endpoint is disabled."))
        .response("default", response("The delivery is retried; `Retry-After` with 429 or 503 lengthens the pause."))
        .securities(Some([SecurityRequirement::default()]))
}

fn headers(event_type: EventType) -> Vec<Parameter> {
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
    let event_types = text().enum_values(Some([event_type.as_str()])).build();
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
fn example(event_type: EventType) -> Value {
    json!({
        "id": EXAMPLE_ID, "object": IsEvent, "api_version": API_VERSION, "created": EXAMPLE_AT, "livemode": false,
        "type": event_type, "data": Samples::new([0; 16], EXAMPLE_AT).data(event_type),
    })
}
