//! `events`, `endpoints` and `deliveries`: what the public API does, on the command line.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    api::{aligned, path, query},
    profile::ServiceArgs,
    say,
};
use crate::event::EventType;

/// What to ask of the API, and how to show the answer.
struct Ask {
    method: Method,
    path: String,
    body: Option<Value>,
    /// The columns of a list, or the lines of an object that go first.
    columns: &'static [&'static str],
}

const EVENT: &[&str] = &["created", "id", "type", "pending_webhooks"];
const ENDPOINT: &[&str] = &["id", "status", "url", "enabled_events", "description"];
const DELIVERY: &[&str] = &["id", "status", "attempt_count", "next_attempt_at", "event", "webhook_endpoint"];
const ATTEMPT: &[&str] = &["number", "started", "duration_ms", "response_status", "failure_message"];

impl Ask {
    fn get(path: String, columns: &'static [&'static str]) -> Self {
        Self { method: Method::GET, path, body: None, columns }
    }

    fn post(path: String, body: Value, columns: &'static [&'static str]) -> Self {
        Self { method: Method::POST, path, body: Some(body), columns }
    }

    async fn run(self, service: &ServiceArgs) -> Result<()> {
        let answer = service.public()?.call(self.method, &self.path, self.body.as_ref()).await?;
        if service.json {
            say(&format!("{answer:#}"));
        } else {
            for line in shown(&answer, self.columns) {
                say(&line);
            }
        }
        Ok(())
    }
}

/// An answer in lines: a list as a table, an object as its members, attempts as a table below.
fn shown(answer: &Value, columns: &[&str]) -> Vec<String> {
    if let Some(items) = answer["data"].as_array().filter(|_| answer["object"] == "list") {
        let mut lines = table(items, columns);
        if answer["has_more"] == true
            && let Some(last) = items.last().and_then(|item| item["id"].as_str())
        {
            lines.push(format!("There are more: --after {last}"));
        }
        return lines;
    }
    let first = columns.iter().filter_map(|name| answer.get(*name).map(|value| (*name, value)));
    let rest = answer.as_object().into_iter().flatten();
    let rest = rest
        .filter(|(name, _)| !columns.contains(&name.as_str()) && *name != "object" && *name != "attempts");
    let rows: Vec<Vec<String>> = first
        .chain(rest.map(|(name, value)| (name.as_str(), value)))
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| vec![name.to_owned(), text(value)])
        .collect();
    let mut lines = aligned(&rows);
    if let Some(attempts) = answer["attempts"].as_array().filter(|attempts| !attempts.is_empty()) {
        lines.push(String::new());
        lines.extend(table(attempts, ATTEMPT));
    }
    lines
}

fn table(items: &[Value], columns: &[&str]) -> Vec<String> {
    if items.is_empty() {
        return vec!["There are none.".to_owned()];
    }
    let head = columns.iter().map(|name| (*name).to_owned()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|name| text(&item[*name])).collect());
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// A value in a line: texts as they are, nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Which part of a list.
#[derive(Args)]
pub(super) struct PageArgs {
    /// How many, at most 100
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Those older than this one
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

impl PageArgs {
    fn parameters(self) -> [(&'static str, Option<String>); 2] {
        [("limit", Some(self.limit.to_string())), ("starting_after", self.after)]
    }
}

#[derive(Subcommand)]
pub(super) enum Events {
    /// The newest events.
    List {
        /// Of this type
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<EventType>,
        /// With a delivery in this state
        #[arg(long)]
        delivery_status: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// One event.
    Get {
        id: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Sends an event to an endpoint once more, as a new delivery of the same bytes.
    Resend {
        id: String,
        /// The endpoint's id
        #[arg(long)]
        endpoint: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

impl Events {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::List { event_type, delivery_status, page, service } => {
                let types = event_type.map(|event_type| event_type.as_str().to_owned());
                let filters = [("type", types), ("delivery_status", delivery_status)];
                let path = query("/v1/events", filters.into_iter().chain(page.parameters()));
                Ask::get(path, EVENT).run(&service).await
            }
            Self::Get { id, service } => Ask::get(path("/v1/events/", &id, ""), EVENT).run(&service).await,
            Self::Resend { id, endpoint, service } => {
                let body = json!({ "webhook_endpoint": endpoint });
                Ask::post(path("/v1/events/", &id, "/resend"), body, DELIVERY).run(&service).await
            }
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Status {
    Enabled,
    Disabled,
}

/// What an endpoint is to be; what is left out stays.
#[derive(Args)]
pub(super) struct EndpointArgs {
    /// The types it wants, with commas between them; all, if nothing is said
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    events: Option<Vec<String>>,
    /// A note
    #[arg(long)]
    description: Option<String>,
}

impl EndpointArgs {
    fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(events) = self.events {
            body.insert("enabled_events".to_owned(), events.into());
        }
        if let Some(description) = self.description {
            body.insert("description".to_owned(), description.into());
        }
        body
    }
}

#[derive(Subcommand)]
pub(super) enum Endpoints {
    /// All endpoints.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Registers an endpoint, and shows its signing secret for the only time.
    Create {
        /// Where deliveries go
        #[arg(value_name = "URL")]
        address: String,
        #[command(flatten)]
        fields: EndpointArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// One endpoint.
    Get {
        id: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Changes what is given.
    Update {
        id: String,
        /// Another address
        #[arg(long)]
        to: Option<String>,
        /// On or off
        #[arg(long, value_enum)]
        status: Option<Status>,
        #[command(flatten)]
        fields: EndpointArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Deletes an endpoint; its open deliveries are abandoned.
    Delete {
        id: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Makes a new signing secret, and shows it for the only time.
    RotateSecret {
        id: String,
        /// How long the old one signs too, such as 24h
        #[arg(long, default_value = "24h")]
        expire_previous_in: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Sends a sample to this endpoint alone.
    Test {
        id: String,
        /// Of which type
        #[arg(long = "type", value_name = "TYPE", default_value = "charge.succeeded")]
        event_type: EventType,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

const ENDPOINTS: &str = "/v1/webhook_endpoints/";

impl Endpoints {
    pub(super) async fn run(self) -> Result<()> {
        let (ask, service) = match self {
            Self::List { page, service } => {
                (Ask::get(query("/v1/webhook_endpoints", page.parameters()), ENDPOINT), service)
            }
            Self::Create { address, fields, service } => {
                let mut body = fields.body();
                body.insert("url".to_owned(), address.into());
                (Ask::post("/v1/webhook_endpoints".to_owned(), body.into(), ENDPOINT), service)
            }
            Self::Get { id, service } => (Ask::get(path(ENDPOINTS, &id, ""), ENDPOINT), service),
            Self::Update { id, to, status, fields, service } => {
                let mut body = fields.body();
                let status =
                    status.and_then(|status| Some(status.to_possible_value()?.get_name().to_owned()));
                let given = [("url", to), ("status", status)];
                body.extend(
                    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))),
                );
                let ask = Ask::post(path(ENDPOINTS, &id, ""), body.into(), ENDPOINT);
                (Ask { method: Method::PATCH, ..ask }, service)
            }
            Self::Delete { id, service } => {
                let ask = Ask::get(path(ENDPOINTS, &id, ""), ENDPOINT);
                (Ask { method: Method::DELETE, ..ask }, service)
            }
            Self::RotateSecret { id, expire_previous_in, service } => {
                let body = json!({ "expire_previous_in": expire_previous_in });
                (Ask::post(path(ENDPOINTS, &id, "/rotate_secret"), body, ENDPOINT), service)
            }
            Self::Test { id, event_type, service } => {
                let body = json!({ "type": event_type.as_str() });
                (Ask::post(path(ENDPOINTS, &id, "/test"), body, EVENT), service)
            }
        };
        ask.run(&service).await
    }
}

#[derive(Subcommand)]
pub(super) enum Deliveries {
    /// The newest deliveries of an event or an endpoint.
    List {
        /// Of this event
        #[arg(long, required_unless_present = "endpoint", conflicts_with = "endpoint")]
        event: Option<String>,
        /// Of this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        /// Of an endpoint, those in this state
        #[arg(long, conflicts_with = "event")]
        status: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// One delivery with its attempts.
    Get {
        id: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Makes a delivery due now, on a new ladder.
    Retry {
        id: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

impl Deliveries {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::List { event, endpoint, status, page, service } => {
                let of = event.map(|id| path("/v1/events/", &id, "/deliveries"));
                let of = of.or_else(|| endpoint.map(|id| path(ENDPOINTS, &id, "/deliveries")));
                let of = of.context("give --event or --endpoint")?;
                let path = query(&of, [("status", status)].into_iter().chain(page.parameters()));
                Ask::get(path, DELIVERY).run(&service).await
            }
            Self::Get { id, service } => {
                Ask::get(path("/v1/deliveries/", &id, ""), DELIVERY).run(&service).await
            }
            Self::Retry { id, service } => {
                Ask::post(path("/v1/deliveries/", &id, "/retry"), json!({}), DELIVERY).run(&service).await
            }
        }
    }
}
