//! What the service tells of itself at `/metrics`, read as Prometheus reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::Caller;

/// One look.
pub(crate) struct Scrape {
    pub(crate) text: String,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
}

impl Scrape {
    pub(crate) async fn of(internal: SocketAddr) -> Self {
        let answer = Caller::new(internal, "").get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let samples = answer.text.lines().filter(|line| !line.starts_with('#')).map(sample).collect();
        Self { text: answer.text, samples }
    }

    /// The value of a sample that counts something.
    #[track_caller]
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.text_of(name, labels);
        value
            .strip_suffix(".0")
            .unwrap_or(value)
            .parse()
            .unwrap_or_else(|_| panic!("{name} {labels:?} is {value}"))
    }

    /// The value of a sample that measures something.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.text_of(name, labels).parse().unwrap()
    }

    /// The value of the only sample of this name that has these labels.
    #[track_caller]
    fn text_of(&self, name: &str, labels: &[(&str, &str)]) -> &str {
        let fits = |sample: &&Sample| {
            let has =
                |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|found| found == value);
            sample.name == name && labels.iter().all(has)
        };
        let found: Vec<_> = self.samples.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "samples of {name} with {labels:?}:\n{}", self.text);
        &found[0].value
    }

    /// The names of all metrics, without what a histogram's samples add to theirs.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    /// The names of all labels, with their values.
    pub(crate) fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (label, value) in self.samples.iter().flat_map(|sample| &sample.labels) {
            labels.entry(label.clone()).or_default().insert(value.clone());
        }
        labels
    }
}

/// `name{label="value",…} number`, where values may have braces and no commas or quotes.
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    let label = |text: &str| {
        let (name, value) = text.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.strip_suffix('"').unwrap_or_else(|| panic!("{line}")).to_owned())
    };
    Sample {
        name: name.to_owned(),
        labels: labels.split(',').filter(|text| !text.is_empty()).map(label).collect(),
        value: value.to_owned(),
    }
}

/// What promtool says of `input`, which it must find nothing wrong with.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;

    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed (tests/install-engines installs it)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}
