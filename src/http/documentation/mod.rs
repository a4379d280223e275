//! The documents of the two APIs, OpenAPI 3.1, made of what stands above the handlers; and the page that shows them.

mod errors;
mod page;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use utoipa::{
    PartialSchema as _,
    openapi::{
        ComponentsBuilder, HeaderBuilder, Info, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref,
        RefOr, SecurityRequirement, ServerBuilder, Type,
        header::Header,
        path::{Operation, Parameter, PathItem},
        schema::{AdditionalProperties, Schema, SchemaType},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

use super::routes::Routes;
use crate::{id::RequestId, metrics::Listener};

pub(super) use page::pages;

/// The document of these routes, as it is served.
pub(super) fn rendered(routes: &Routes, listener: Listener) -> Bytes {
    // Texts and numbers are always JSON.
    serde_json::to_vec(&document(routes, listener)).unwrap_or_default().into()
}

/// The document of these routes.
pub(super) fn document(routes: &Routes, listener: Listener) -> OpenApi {
    let described = routes.described();
    let mut paths = described.paths.clone();
    let mut schemas: BTreeMap<_, _> = described.schemas.iter().cloned().collect();
    schemas.extend(errors::schemas());
    let mut bodies = BTreeSet::new();
    for (path, item) in &mut paths.paths {
        for (method, operation) in operations(item) {
            operation.parameters.iter_mut().flatten().for_each(never_null);
            bodies.extend(close_body(operation, &mut schemas));
            errors::add(path, method, operation);
            every_answer_has_its_request_id(operation);
        }
    }
    let shown = schemas.iter_mut().filter(|(name, _)| !bodies.contains(*name));
    shown.for_each(|(_, schema)| what_may_be_null_is_there(schema));
    let (key, scheme) = security(listener);
    let mut document = OpenApiBuilder::new()
        .info(info(listener))
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .tags(Some(tags(listener)))
        .paths(paths)
        .security(Some([SecurityRequirement::new::<_, [&str; 0], _>(key, [])]));
    let webhooks = webhooks::of(listener);
    schemas.extend(webhooks::schemas(&webhooks));
    document = document.webhooks(Some(webhooks::paths(&webhooks)));
    let mut components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .header(REQUEST_ID, request_id())
        .header(errors::RETRY_AFTER, errors::retry_after())
        .security_scheme(key, scheme);
    for (name, response) in errors::responses() {
        components = components.response(name, response);
    }
    document.components(Some(components.build())).build()
}

fn info(listener: Listener) -> Info {
    let (title, description) = match listener {
        Listener::Public => ("k-webhooks", include_str!("public.md")),
        Listener::Internal => ("k-webhooks, internal API", include_str!("internal.md")),
    };
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build();
    InfoBuilder::new()
        .title(title)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .license(Some(license))
        .build()
}

/// What requests authenticate with.
fn security(listener: Listener) -> (&'static str, SecurityScheme) {
    let (name, form, description) = match listener {
        Listener::Public => ("merchantKey", "sk_…", "A merchant's secret key."),
        Listener::Internal => ("serviceKey", "svc_…", "The key of an internal service."),
    };
    let scheme =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(form).description(Some(description));
    (name, SecurityScheme::Http(scheme.build()))
}

/// The groups that operations are in, in the order of the page.
fn tags(listener: Listener) -> Vec<Tag> {
    let tags: &[(&str, &str)] = match listener {
        Listener::Public => &[
            ("Webhook endpoints", "Where events go: addresses that a merchant registers."),
            ("Events", "What happened to charges, refunds, payouts and disputes."),
            ("Deliveries", "One event on its way to one endpoint, by attempts."),
            ("Backfills", "Past events for one endpoint, at a pace and beside its live events."),
            ("Statistics", "How endpoints fare."),
            ("Health", "Whether the service can be sent requests. No key is needed."),
        ],
        Listener::Internal => &[
            ("Events", "Publishing what happened."),
            ("Deliveries", "What was given up."),
            ("API keys", "The keys of merchants and of internal services."),
            ("Operation", "How the service does, and what is of any merchant: what the console shows."),
            ("Portal sessions", "Merchants' browsers in the portal."),
            ("Audit log", "Who did what to endpoints and keys."),
            ("Test clock", "The service's time, where it is not the system's."),
            ("Health", "Whether the service can be sent requests. No key is needed."),
        ],
    };
    let tag = |(name, about): &(&str, &str)| TagBuilder::new().name(*name).description(Some(*about)).build();
    tags.iter().map(tag).collect()
}

/// The operations of a path, each with its method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// What the service shows and may be null is there, as null.
fn what_may_be_null_is_there(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            let nullable = object.properties.iter().filter(|(_, member)| may_be_null(member));
            let nullable: Vec<_> = nullable.map(|(name, _)| name.clone()).collect();
            object.required.extend(nullable);
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(what_may_be_null_is_there),
        _ => {}
    }
}

fn may_be_null(schema: &RefOr<Schema>) -> bool {
    match schema {
        RefOr::T(Schema::Object(object)) => match &object.schema_type {
            SchemaType::Type(one) => *one == Type::Null,
            SchemaType::Array(types) => types.contains(&Type::Null),
            SchemaType::AnyValue => false,
        },
        RefOr::T(Schema::OneOf(choices)) => choices.items.iter().any(may_be_null),
        _ => false,
    }
}

/// A parameter may be left out; it is never null.
fn never_null(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    match &mut parameter.schema {
        Some(RefOr::T(Schema::Object(object))) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|one| *one != Type::Null);
            }
        }
        Some(RefOr::T(Schema::OneOf(choices))) => choices.items.retain(|choice| !may_be_null(choice)),
        _ => {}
    }
}

/// A body has no members but those that are known, which `Fields` sees to; and one that may be left out still may not be
/// null. Answers the name of its schema.
fn close_body(operation: &mut Operation, schemas: &mut BTreeMap<String, RefOr<Schema>>) -> Option<String> {
    let RefOr::T(body) = operation.request_body.as_mut()? else { return None };
    let RefOr::T(content) = body.content.values_mut().next()? else { return None };
    if let Some(RefOr::T(Schema::OneOf(choices))) = &content.schema {
        content.schema = choices.items.iter().find(|choice| matches!(choice, RefOr::Ref(_))).cloned();
    }
    let RefOr::Ref(reference) = content.schema.as_ref()? else { return None };
    let name = reference.ref_location.rsplit('/').next()?.to_owned();
    if let Some(RefOr::T(Schema::Object(body))) = schemas.get_mut(&name) {
        body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
    Some(name)
}

const REQUEST_ID: &str = "Request-Id";

fn request_id() -> Header {
    let description = "Names the request, also in the service's log.";
    HeaderBuilder::new().schema(Some(RequestId::schema())).description(Some(description)).build()
}

fn header(name: &str) -> Ref {
    Ref::new(format!("#/components/headers/{name}"))
}

fn every_answer_has_its_request_id(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert(REQUEST_ID.to_owned(), RefOr::Ref(header(REQUEST_ID)));
        }
    }
}
