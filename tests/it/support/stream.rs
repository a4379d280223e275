//! A client of a live stream, which reads it part by part.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::Caller;

/// One server-sent event, read.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

pub(crate) struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    pub(crate) async fn open(caller: &Caller, query: &str) -> Self {
        Self::resume(caller, query, &[]).await
    }

    /// With these headers; the stream is open once this returns.
    pub(crate) async fn resume(caller: &Caller, query: &str, headers: &[(&str, &str)]) -> Self {
        let path = format!("/v1/events/stream{query}");
        let response = caller.begin("GET", &path, headers, "").await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event, comments and advice passed over; none where the stream has ended in order.
    pub(crate) async fn next(&mut self) -> Option<Part> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(part) = part(&block) {
                    return Some(part);
                }
            }
            let frame = self.body.frame().await?.expect("the stream does not break off");
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// The ids of the next events.
    pub(crate) async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let part = self.next().await.expect("the stream goes on");
            assert_eq!(part.kind, "event");
            ids.push(super::id(&part.data).to_owned());
        }
        ids
    }
}

fn part(block: &str) -> Option<Part> {
    let field = |name: &str| {
        let values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| values.join("\n"))
    };
    let data = serde_json::from_str(&field("data")?).unwrap();
    Some(Part { kind: field("event").unwrap(), id: field("id"), data })
}
