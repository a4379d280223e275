//! The cases: what is sent, what the receiver should do, and what it must change if it does not.

use super::Run;
use crate::{
    event::{API_VERSION, EventType},
    signature::{self, SigningSecret, sign_header},
};

/// What the receiver should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Should {
    /// Answer 2xx.
    Take,
    /// Answer 4xx.
    Refuse,
}

/// One thing that a receiver must get right.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) should: Should,
    /// The requests, of which each should be handled so.
    pub(super) requests: fn(&Run) -> Vec<Sent>,
    /// What to change where it is not.
    pub(super) advice: &'static str,
    /// Where docs/receiving.md says more.
    pub(super) section: &'static str,
}

/// A request.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) event_id: String,
    pub(super) event_type: &'static str,
    pub(super) attempt: u32,
    /// When it is signed, in unix seconds.
    pub(super) at: i64,
    /// The bytes that are signed.
    pub(super) signed: Vec<u8>,
    /// The bytes that are sent.
    pub(super) body: Vec<u8>,
    /// The value of K-Payments-Signature, if it has one.
    pub(super) header: Option<String>,
    /// Whether the headers of Standard Webhooks, which hold, stand beside it.
    pub(super) has_standard_headers: bool,
}

impl Run {
    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    fn event_id(&self) -> String {
        self.ids.next::<crate::id::EventKind>(self.clock.now()).to_string()
    }

    fn sample(&self, event_type: EventType) -> String {
        String::from_utf8_lossy(&self.samples.data(event_type).to_bytes()).into_owned()
    }

    /// A request as the service sends it.
    fn good(&self, event_type: EventType) -> Sent {
        self.of(event_type.as_str(), &self.sample(event_type), self.now())
    }

    /// The same of any type, with any data, dated and signed at any time.
    fn of(&self, event_type: &'static str, data: &str, at: i64) -> Sent {
        let event_id = self.event_id();
        let body = format!(
            r#"{{"id":"{event_id}","object":"event","api_version":"{API_VERSION}","created":{at},"livemode":false,"type":"{event_type}","data":{data}}}"#
        );
        let header = Some(sign_header(&[&self.secret], at, body.as_bytes()));
        let body = body.into_bytes();
        Sent {
            event_id,
            event_type,
            attempt: 1,
            at,
            signed: body.clone(),
            body,
            header,
            has_standard_headers: true,
        }
    }

    fn charge(&self) -> Sent {
        self.good(EventType::ChargeSucceeded)
    }

    /// A charge with another header, made of the one that holds.
    fn with_header(&self, header: impl Fn(&str) -> Option<String>) -> Vec<Sent> {
        let sent = self.charge();
        let header = header(sent.header.as_deref().unwrap_or_default());
        // What holds in the other headers must not make up for it.
        vec![Sent { header, has_standard_headers: false, ..sent }]
    }

    /// A charge signed at another time.
    fn at(&self, seconds_from_now: i64) -> Vec<Sent> {
        let sent = self.of(
            "charge.succeeded",
            &self.sample(EventType::ChargeSucceeded),
            self.now() + seconds_from_now,
        );
        vec![Sent { has_standard_headers: false, ..sent }]
    }

    fn other_secret(&self) -> SigningSecret {
        signature::new_secret(&self.entropy)
    }
}

/// The hex of a header's only signature.
fn v1(header: &str) -> &str {
    header.split_once("v1=").map_or("", |(_, v1)| v1)
}

/// The time in a header.
fn t(header: &str) -> &str {
    header.split_once(',').map_or("", |(t, _)| t)
}

const PATH: &str = "the-path";
const RAW_BYTES: &str = "where-the-raw-bytes-are";
const EVERY_LANGUAGE: &str = "every-language";
const ONCE: &str = "process-once";
const FAILS: &str = "when-it-fails";

/// All of them, those that a receiver meets every day first.
pub(super) const ALL: &[Case] = &[
    Case {
        name: "a valid request",
        should: Should::Take,
        requests: |run| vec![run.charge()],
        advice: "Answer 2xx within 15 seconds. If it was refused: is it this secret, all of it with `whsec_`, and the raw body? A redirect is not followed: register where it leads.",
        section: PATH,
    },
    Case {
        name: "every event type",
        should: Should::Take,
        requests: |run| EventType::ALL.iter().map(|event_type| run.good(*event_type)).collect(),
        advice: "Answer 2xx to every type, also to those that you do nothing with, or name the ones you want when you register the endpoint.",
        section: PATH,
    },
    Case {
        name: "an unknown event type",
        should: Should::Take,
        requests: |run| vec![run.of("charge.captured", &run.sample(EventType::ChargeSucceeded), run.now())],
        advice: "Answer 2xx to a type that you do not know and pass over it; otherwise each new type is sent for 72 hours.",
        section: PATH,
    },
    Case {
        name: "the same event twice",
        should: Should::Take,
        requests: |run| {
            let first = run.charge();
            let again = Sent { attempt: 2, ..first.clone() };
            vec![first, again]
        },
        advice: "Deliveries can come twice. Remember the event's id in the transaction of the work, and answer 2xx to one that was processed.",
        section: ONCE,
    },
    Case {
        name: "events out of order",
        should: Should::Take,
        requests: |run| {
            let dispute = |event_type: EventType, earlier: i64| {
                let sent = run.of(event_type.as_str(), &run.sample(event_type), run.now() - earlier);
                let header = sign_header(&[&run.secret], run.now(), &sent.body);
                Sent { at: run.now(), header: Some(header), ..sent }
            };
            vec![dispute(EventType::DisputeClosed, 0), dispute(EventType::DisputeCreated, 120)]
        },
        advice: "An older event can come after a newer one. Take it, and compare `created`, or ask the API for the present state.",
        section: FAILS,
    },
    Case {
        name: "a body that is written otherwise",
        should: Should::Take,
        requests: |run| {
            let data = "{ \"object\" : {\"object\":\"charge\", \"id\":\"ch_check\",\n \"amount\":4999, \"rate\":1.10, \"big\":12345678901234567890, \"z\":1, \"a\":2, \"path\":\"a\\/b\", \"name\":\"Zo\\u00eb\" } }";
            vec![run.of("charge.succeeded", data, run.now())]
        },
        advice: "Verify the raw bytes, not JSON that was parsed and written again: spaces, order and numbers come out otherwise.",
        section: RAW_BYTES,
    },
    Case {
        name: "a body that is not ASCII",
        should: Should::Take,
        requests: |run| {
            let data = r#"{"object":{"id":"ch_check","object":"charge","amount":4999,"description":"Zoë, 東京, 🎉"}}"#;
            vec![run.of("charge.succeeded", data, run.now())]
        },
        advice: "Verify the bytes as they came: the body is UTF-8, and must not be read as another encoding first.",
        section: RAW_BYTES,
    },
    Case {
        name: "a large body",
        should: Should::Take,
        requests: |run| {
            let note = "x".repeat(250 * 1024);
            let data = format!(
                r#"{{"object":{{"id":"ch_check","object":"charge","amount":4999,"note":"{note}"}}}}"#
            );
            vec![run.of("charge.succeeded", &data, run.now())]
        },
        advice: "An event can have 256 KiB. Raise the limit of your framework or proxy, such as client_max_body_size, to 1 MiB.",
        section: RAW_BYTES,
    },
    Case {
        name: "two signatures, ours second",
        should: Should::Take,
        requests: |run| {
            let sent = run.charge();
            let header = sign_header(&[&run.other_secret(), &run.secret], sent.at, &sent.body);
            vec![Sent { header: Some(header), ..sent }]
        },
        advice: "While a secret is rotated there are several v1. Compare with each; any of them may fit.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "other schemes beside ours",
        should: Should::Take,
        requests: |run| run.with_header(|header| Some(format!("v0=none,{header},v2=later"))),
        advice: "Pass over parts of the header that are neither t nor v1.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "a signature in upper case",
        should: Should::Take,
        requests: |run| {
            run.with_header(|header| Some(format!("{},v1={}", t(header), v1(header).to_uppercase())))
        },
        advice: "Compare bytes, not texts: decode the hex first, in either case.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "no signature header",
        should: Should::Refuse,
        requests: |run| run.with_header(|_| None),
        advice: "Anybody can send such a request. Refuse it with 400 before you do anything with it.",
        section: FAILS,
    },
    Case {
        name: "a header that is none",
        should: Should::Refuse,
        requests: |run| {
            let texts = ["nonsense", "t=,v1=", "v1="];
            texts.iter().flat_map(|text| run.with_header(|_| Some((*text).to_owned()))).collect()
        },
        advice: "Refuse a header without a time and a signature with 400.",
        section: FAILS,
    },
    Case {
        name: "an empty signature",
        should: Should::Refuse,
        requests: |run| run.with_header(|header| Some(format!("{},v1=", t(header)))),
        advice: "Compare all 32 bytes: a signature of no bytes fits nothing.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "half a signature",
        should: Should::Refuse,
        requests: |run| run.with_header(|header| Some(format!("{},v1={}", t(header), &v1(header)[..32]))),
        advice: "Compare all 32 bytes: the beginning of a signature is not the signature.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "an altered body",
        should: Should::Refuse,
        requests: |run| {
            let sent = run.charge();
            let body =
                String::from_utf8_lossy(&sent.body).replacen("\"livemode\":false", "\"livemode\":true", 1);
            vec![Sent { body: body.into_bytes(), has_standard_headers: false, ..sent }]
        },
        advice: "Verify the signature over the body of each request, and refuse with 400 what does not fit.",
        section: FAILS,
    },
    Case {
        name: "another secret",
        should: Should::Refuse,
        requests: |run| {
            let sent = run.charge();
            let header = sign_header(&[&run.other_secret()], sent.at, &sent.body);
            vec![Sent { header: Some(header), has_standard_headers: false, ..sent }]
        },
        advice: "Verify with the endpoint's secret, and refuse with 400 what another one signed.",
        section: FAILS,
    },
    Case {
        name: "a time that was not signed",
        should: Should::Refuse,
        requests: |run| {
            let sent =
                run.of("charge.succeeded", &run.sample(EventType::ChargeSucceeded), run.now() - 86_400);
            let v1 = sent.header.as_deref().map(v1).unwrap_or_default();
            let header = format!("t={},v1={v1}", run.now());
            vec![Sent { header: Some(header), has_standard_headers: false, ..sent }]
        },
        advice: "The time is part of what is signed: HMAC over t, a dot, and the raw body, with t from the header.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "only a scheme that does not exist",
        should: Should::Refuse,
        requests: |run| run.with_header(|header| Some(header.replace("v1=", "v0="))),
        advice: "Only v1 counts. What stands under another name must not be taken for it.",
        section: EVERY_LANGUAGE,
    },
    Case {
        name: "a signature of ten minutes ago",
        should: Should::Refuse,
        requests: |run| run.at(-600),
        advice: "Refuse a time more than 5 minutes ago: a request that was overheard could be sent again for ever.",
        section: FAILS,
    },
    Case {
        name: "a signature of ten minutes ahead",
        should: Should::Refuse,
        requests: |run| run.at(600),
        advice: "Refuse a time more than 5 minutes ahead too, or a request that was overheard lives longer than it should.",
        section: FAILS,
    },
    Case {
        name: "a valid request after all this",
        should: Should::Take,
        requests: |run| vec![run.charge()],
        advice: "What was refused must not keep out what comes after it.",
        section: PATH,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_its_own_name_and_leads_to_a_section_that_exists() {
        let names: BTreeSet<_> = ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), ALL.len());
        let sections: BTreeSet<String> = include_str!("../../../docs/receiving.md")
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(|title| title.to_lowercase().replace(' ', "-"))
            .collect();
        for case in ALL {
            assert!(sections.contains(case.section), "{}: {}", case.name, case.section);
        }
    }
}
