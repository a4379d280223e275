//! Reading server-sent events (WHATWG HTML, section 9.2) from bytes as they come.

/// One event of a stream; without data it only says how far the stream has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// What has come and is not whole yet.
#[derive(Default)]
pub(super) struct Parts {
    bytes: Vec<u8>,
    kind: String,
    id: Option<String>,
    data: Option<String>,
}

/// More of one line than an event can be: whatever answers is no stream of ours.
const LINE_BYTES_MAX: usize = 64 << 20;

impl Parts {
    /// Takes what has come; answers the events that are whole now. None where it cannot be a stream.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Vec<Part>> {
        self.bytes.extend_from_slice(bytes);
        let mut whole = Vec::new();
        let mut begin = 0;
        while let Some(length) = self.bytes[begin..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.bytes[begin..begin + length]).into_owned();
            begin += length + 1;
            whole.extend(self.line(line.strip_suffix('\r').unwrap_or(&line)));
        }
        self.bytes.drain(..begin);
        (self.bytes.len() <= LINE_BYTES_MAX).then_some(whole)
    }

    /// Takes a line; answers the event that it ends.
    fn line(&mut self, line: &str) -> Option<Part> {
        if line.is_empty() {
            let (kind, id, data) = (std::mem::take(&mut self.kind), self.id.take(), self.data.take());
            return (id.is_some() || data.is_some()).then(|| Part {
                kind,
                id,
                data: data.unwrap_or_default(),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment, or advice.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 1000\nid: evt_0\n\n:\n\nevent: event\nid: evt_1\ndata: {\"a\":\ndata: \"é\"}\n\nevent: delivery\r\ndata:{}\r\n\r\n";

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        let whole = [
            Part { kind: String::new(), id: Some("evt_0".into()), data: String::new() },
            Part { kind: "event".into(), id: Some("evt_1".into()), data: "{\"a\":\n\"é\"}".into() },
            Part { kind: "delivery".into(), id: None, data: "{}".into() },
        ];
        for size in 1..=STREAM.len() {
            let mut parts = Parts::default();
            let read: Vec<Part> =
                STREAM.as_bytes().chunks(size).flat_map(|chunk| parts.push(chunk).unwrap()).collect();
            assert_eq!(read, whole, "in chunks of {size}");
        }
    }
}
