//! The contract with consumers: an event as a CloudEvent, in binary and structured mode.
//!
//! Says which attributes there are and how they are spelt; `docs/contract/README.md` says it in words. Knows no broker: where
//! headers go is the sink's affair.

use super::Record;
use crate::event::traceparent;
use serde::Deserialize;
use std::fmt::Write;

/// How a CloudEvent is laid on a message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Attributes in headers, `data` as the value.
    Binary,
    /// Everything in one JSON document.
    Structured,
}

/// The media type of `data`.
pub const DATA: &str = "application/json";

/// The media type of a message in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";

/// An attribute's name, and the names of the headers that carry it in binary mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// As CloudEvents spells it.
    pub bare: &'static str,
    /// The Kafka header: `ce_…`, save the content type, which has a header of its own there.
    pub kafka: &'static str,
    /// The NATS header: `ce-…`.
    pub nats: &'static str,
}

/// An attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string.
    Text(&'a str),
    /// The boolean true; a false one is left out.
    True,
}

impl<'a> Value<'a> {
    /// The canonical string, as headers carry it.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::True => "true",
        }
    }
}

macro_rules! name {
    ($bare:literal) => {
        name!($bare, concat!("ce_", $bare))
    };
    ($bare:literal, $kafka:expr) => {
        Name { bare: $bare, kafka: $kafka, nats: concat!("ce-", $bare) }
    };
}

/// Lays events on messages; one per sink, so that its buffer is reused.
#[derive(Clone, Debug)]
pub struct Encoder {
    source: Box<str>,
    scratch: String,
}

impl Encoder {
    /// An encoder for events from `source`, the address of the platform's API.
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), scratch: String::new() }
    }

    /// Shows every attribute of `record` to `visit`, in a fixed order.
    pub fn attributes(&mut self, record: &Record, mut visit: impl FnMut(Name, Value<'_>)) {
        let Record { event, number } = record;
        let place = event.place();
        visit(name!("specversion"), Value::Text("1.0"));
        visit(name!("id"), Value::Text(&event.id(&place)));
        visit(name!("source"), Value::Text(&self.source));
        visit(name!("type"), Value::Text(event.type_name()));
        visit(name!("subject"), Value::Text(event.topic.key()));
        visit(name!("time"), self.written(format_args!("{}", event.received)));
        visit(name!("datacontenttype", "content-type"), Value::Text(DATA));
        // Padded, so that the order of the strings is the order of the numbers.
        visit(name!("sequence"), self.written(format_args!("{number:020}")));
        visit(name!("partitionkey"), Value::Text(event.topic.key()));
        visit(name!("traceparent"), Value::Text(&traceparent(&place)));
        if let Some(id) = &event.correlation_id {
            visit(name!("correlationid"), Value::Text(id));
        }
        visit(name!("epoch"), Value::Text(event.epoch.as_str()));
        visit(name!("position"), self.written(format_args!("{:020}", event.position)));
        visit(name!("topic"), Value::Text(event.topic.name()));
        if event.marks.late {
            visit(name!("late"), Value::True);
        }
        if event.marks.possible_duplicate {
            visit(name!("possibleduplicate"), Value::True);
        }
        if event.kind.is_snapshot() {
            visit(name!("snapshot"), Value::True);
        }
    }

    /// Appends `record` to `out` as one JSON document, `data` byte for byte and last.
    pub fn structured(&mut self, record: &Record, out: &mut Vec<u8>) {
        out.push(b'{');
        self.attributes(record, |name, value| {
            // Names are our own and need no escape.
            out.push(b'"');
            out.extend_from_slice(name.bare.as_bytes());
            out.extend_from_slice(b"\":");
            match value {
                Value::Text(text) => serde_json::to_writer(&mut *out, text)
                    .expect("a string is valid JSON and a Vec takes all of it"),
                Value::True => out.extend_from_slice(b"true"),
            }
            out.push(b',');
        });
        out.extend_from_slice(b"\"data\":");
        out.extend_from_slice(&record.event.body);
        out.push(b'}');
    }

    fn written(&mut self, text: std::fmt::Arguments<'_>) -> Value<'_> {
        self.scratch.clear();
        self.scratch.write_fmt(text).expect("a String takes whatever is written to it");
        Value::Text(&self.scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Event, Kind, Marks, Topic};
    use crate::time::Timestamp;
    use std::sync::Arc;

    #[test]
    fn a_plain_event_has_the_required_attributes() {
        insta::assert_snapshot!(binary(&plain()), @r#"
        ce_specversion: 1.0
        ce_id: 20231114T221320Z-00000007-1234
        ce_source: https://api.mypurecloud.ie
        ce_type: com.genesys.cloud.v2.routing.queues.conversations
        ce_subject: 7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d
        ce_time: 2023-11-14T22:13:21.234567Z
        content-type: application/json
        ce_sequence: 00000000000000000042
        ce_partitionkey: 7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d
        ce_traceparent: 00-c0170264d8b407a8df4b0545637c42f3-d8b407a8df4b0545-01
        ce_epoch: 20231114T221320Z-00000007
        ce_position: 00000000000000001234
        ce_topic: v2.routing.queues.7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d.conversations
        "#);
    }

    #[test]
    fn every_attribute_has_its_place() {
        insta::assert_snapshot!(binary(&marked()), @r#"
        ce_specversion: 1.0
        ce_id: 20231114T221320Z-00000007-1234
        ce_source: https://api.mypurecloud.ie
        ce_type: tieline.snapshot.queue.observations.v1
        ce_subject: 0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d
        ce_time: 2023-11-14T22:13:21.234567Z
        content-type: application/json
        ce_sequence: 00000000000000000042
        ce_partitionkey: 0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d
        ce_traceparent: 00-c0170264d8b407a8df4b0545637c42f3-d8b407a8df4b0545-01
        ce_correlationid: f2a4d
        ce_epoch: 20231114T221320Z-00000007
        ce_position: 00000000000000001234
        ce_topic: v2.users.0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d.conversations
        ce_late: true
        ce_possibleduplicate: true
        ce_snapshot: true
        "#);
    }

    #[test]
    fn structured_mode_is_one_json_document_around_the_untouched_body() {
        insta::assert_snapshot!(structured(&marked()), @r#"{"specversion":"1.0","id":"20231114T221320Z-00000007-1234","source":"https://api.mypurecloud.ie","type":"tieline.snapshot.queue.observations.v1","subject":"0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d","time":"2023-11-14T22:13:21.234567Z","datacontenttype":"application/json","sequence":"00000000000000000042","partitionkey":"0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d","traceparent":"00-c0170264d8b407a8df4b0545637c42f3-d8b407a8df4b0545-01","correlationid":"f2a4d","epoch":"20231114T221320Z-00000007","position":"00000000000000001234","topic":"v2.users.0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d.conversations","late":true,"possibleduplicate":true,"snapshot":true,"data":{ "n":1.50 }}"#);
    }

    #[test]
    fn hostile_names_stay_inside_their_strings() {
        let mut record = plain();
        let event = Arc::make_mut(&mut record.event);
        event.topic = Topic::new("v2.\"quoted\"\n\u{1F600}");
        event.correlation_id = Some("\\\",\"data\":1".into());
        let document: serde_json::Value =
            serde_json::from_str(&structured(&record)).expect("valid JSON");
        assert_eq!(document["topic"], record.event.topic.name());
        assert_eq!(document["correlationid"], "\\\",\"data\":1");
        assert_eq!(document["data"]["n"], 1.50);
    }

    #[test]
    fn names_obey_cloudevents() {
        Encoder::new("https://api.mypurecloud.ie").attributes(&marked(), |name, _| {
            assert!(name.bare.len() <= 20);
            assert!(name.bare.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        });
    }

    fn binary(record: &Record) -> String {
        let mut out = String::new();
        Encoder::new("https://api.mypurecloud.ie").attributes(record, |name, value| {
            writeln!(out, "{}: {}", name.kafka, value.as_str()).expect("written");
        });
        out
    }

    fn structured(record: &Record) -> String {
        let mut out = Vec::new();
        Encoder::new("https://api.mypurecloud.ie").structured(record, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn plain() -> Record {
        Record {
            number: 42,
            event: Arc::new(Event {
                epoch: Epoch::new(Timestamp::from_micros(1_700_000_000_000_000), 7),
                position: 1234,
                kind: Kind::Notification,
                topic: Topic::new(
                    "v2.routing.queues.7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d.conversations",
                ),
                body: r#"{ "n":1.50 }"#.into(),
                correlation_id: None,
                received: Timestamp::from_micros(1_700_000_001_234_567),
                marks: Marks::default(),
            }),
        }
    }

    fn marked() -> Record {
        let mut record = plain();
        let event = Arc::make_mut(&mut record.event);
        event.topic = Topic::new("v2.users.0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d.conversations");
        event.correlation_id = Some("f2a4d".into());
        event.marks = Marks { late: true, possible_duplicate: true };
        event.kind = Kind::ObservationsSnapshot;
        record
    }
}
