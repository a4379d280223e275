//! What is shipped for operators to watch with: alerts, a dashboard, and the page that explains both.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    engine::Sqlite,
    metrics::{Scrape, promtool},
};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const ALERT_TESTS: &str = "deploy/prometheus/alerts.test.yml";
const DASHBOARD: &str = "deploy/grafana/k-webhooks.json";
const MANUAL: &str = "docs/operating.md";

fn path(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file).display().to_string()
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

/// The names of the metrics that the service tells.
async fn exposed() -> BTreeSet<String> {
    let app: TestApp<Sqlite> = TestApp::start().await;
    let names = Scrape::of(app.internal_addr).await.names();
    app.stop().await;
    assert!(names.len() > 30, "{names:?}");
    names
}

/// The metrics of this service that a text names, without what a histogram's samples add to theirs.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let ours = words.filter(|word| word.starts_with("k_webhooks_") || word.starts_with("process_"));
    let bare = |word: &str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        suffixes.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word).to_owned()
    };
    ours.map(bare).collect()
}

/// The names of the alerts.
fn alerts() -> BTreeSet<String> {
    let alerts = text(ALERTS);
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// Every query of the dashboard, with its variables filled in.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(query) if name == "expr" => {
                        found.push(query.replace("$__rate_interval", "1m").replace("$job", ".*"));
                    }
                    value => queries(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn every_alert_is_raised_by_what_it_is_for_and_by_nothing_else() {
    promtool(&["check", "rules", &path(ALERTS)], "");
    promtool(&["test", "rules", &path(ALERT_TESTS)], "");
    let tests = text(ALERT_TESTS);
    for alert in alerts() {
        for kind in ["is raised", "is not raised"] {
            assert!(tests.contains(&format!("- name: {alert} {kind}\n")), "no test that {alert} {kind}");
        }
    }
}

#[test]
fn every_query_of_the_dashboard_can_be_asked() {
    let mut found = Vec::new();
    queries(&serde_json::from_str(&text(DASHBOARD)).unwrap(), &mut found);
    assert!(found.len() > 40, "{}", found.len());
    let rule = |(number, query)| json!({ "record": format!("panel_{number}"), "expr": query });
    let rules: Vec<Value> = found.iter().enumerate().map(rule).collect();
    // JSON is YAML too.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "");
}

#[tokio::test]
async fn alerts_and_dashboard_name_only_metrics_that_there_are() {
    let exposed = exposed().await;
    for file in [ALERTS, ALERT_TESTS, DASHBOARD] {
        let named = named(&text(file));
        let unknown: Vec<_> = named.difference(&exposed).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[tokio::test]
async fn the_manual_lists_exactly_the_metrics_and_the_alerts_that_there_are() {
    let manual = text(MANUAL);
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<String> = rows
        .filter(|(name, _)| name.starts_with("k_webhooks_") || name.starts_with("process_"))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(listed, exposed().await);
    let headings = manual.lines().filter_map(|line| line.strip_prefix("#### "));
    let explained: BTreeSet<String> = headings.map(str::to_owned).collect();
    assert_eq!(explained, alerts());
}
