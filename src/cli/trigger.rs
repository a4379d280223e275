//! `trigger`: publishes a realistic sample of an event, as an internal service would.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::{profile::ServiceArgs, say};
use crate::{clock::Clock, counted::counted, entropy::Entropy, event::EventType, samples::Samples};

#[derive(Args)]
pub(super) struct TriggerArgs {
    /// The event's type, such as charge.succeeded
    #[arg(value_name = "TYPE")]
    event_type: EventType,
    /// Changes the sample, such as --override data.object.amount=100; what is not JSON is text
    #[arg(long = "override", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Whose event it is; else the profile's merchant
    #[arg(long)]
    merchant: Option<String>,
    /// Of the merchant's live data
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

impl TriggerArgs {
    pub(super) async fn run(self) -> Result<()> {
        let (api, of_profile) = self.service.internal()?;
        let merchant = self.merchant.or(of_profile);
        let merchant =
            merchant.context("whose event is it? Give --merchant, or `merchant` in the profile")?;
        let samples = Samples::new(Entropy::os().bytes(), Clock::system().now().seconds());
        let mut event = json!({
            "merchant_id": merchant,
            "livemode": self.live,
            "type": self.event_type.as_str(),
            "data": samples.data(self.event_type),
        });
        for text in &self.overrides {
            change(&mut event, text).with_context(|| format!("--override {text}"))?;
        }
        let stored = api.call(Method::POST, "/v1/events", Some(&event)).await?;
        if self.service.json {
            say(&format!("{stored:#}"));
        } else {
            let id = stored["id"].as_str().unwrap_or_default();
            let endpoints = counted(stored["pending_webhooks"].as_u64().unwrap_or_default(), "endpoint");
            say(&format!("{:<17} {id}  for {endpoints}", self.event_type.as_str()));
        }
        Ok(())
    }
}

/// Sets what `path=value` says. A path leads through objects, which are made where there are none, and by number into lists.
fn change(event: &mut Value, text: &str) -> Result<()> {
    let (path, value) = text.split_once('=').context("must be PATH=VALUE")?;
    let mut steps = path.split('.');
    if steps.next() != Some("data") && path != "created" {
        bail!("the path must begin with data., such as data.object.amount, or be created");
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    let mut place = event;
    for step in path.split('.') {
        place = match place {
            Value::Array(items) => {
                let length = items.len();
                let index = step.parse::<usize>().ok().filter(|index| *index < length);
                let index = index.with_context(|| format!("{step} is none of the list's {length} places"))?;
                &mut items[index]
            }
            Value::Object(members) => members.entry(step).or_insert(Value::Null),
            other => {
                *other = Value::Object(Map::new());
                &mut other[step]
            }
        };
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leads_through_objects_and_lists_and_makes_what_is_not_there() {
        let mut event = json!({ "data": { "object": { "amount": 1, "refunds": [{ "id": "re_1" }] } } });
        for text in [
            "data.object.amount=100",
            "data.object.description=Order #1",
            "data.object.metadata.order=\"7\"",
            "data.object.refunds.0.id=re_2",
            "created=5",
        ] {
            change(&mut event, text).unwrap();
        }
        let object = json!({
            "amount": 100, "description": "Order #1", "metadata": { "order": "7" }, "refunds": [{ "id": "re_2" }],
        });
        assert_eq!(event, json!({ "data": { "object": object }, "created": 5 }));
        for (text, why) in [
            ("data.object.amount", "must be PATH=VALUE"),
            ("type=x", "must begin with data."),
            ("data.object.refunds.1=x", "1 is none of the list's 1 places"),
        ] {
            assert!(change(&mut event, text).unwrap_err().to_string().contains(why), "{text}");
        }
    }
}
