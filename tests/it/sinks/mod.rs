//! Sinks against what they write into: the suite that all of them pass, and what only one of them has to.
//!
//! Here is what these tests share: records, and a publisher that sends again what was not acknowledged.

mod conformance;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod handed;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod killed;
mod published;

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
mod nats;

mod jsonl;

use conformance::{Place, assert_complete, conformance};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline::event::{Epoch, Event, Kind, Marks, Topic};
use tieline::sink::{Disposition, Error, Record, Resume, Sink, Verdict};
use tieline::time::Timestamp;
use tokio::time::timeout;

/// What every event names as its source.
const SOURCE: &str = "https://api.mypurecloud.ie";

/// What a server that was killed may take to come back and be found, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// An event as a consumer finds it.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    /// Attributes by their CloudEvents names.
    attributes: BTreeMap<String, String>,
    /// The key that the broker has, where it knows keys.
    key: String,
    body: String,
}

impl Stored {
    fn place(&self) -> (u64, u64) {
        let number = |name: &str| self.attributes[name].parse().unwrap();
        (number("position"), number("sequence"))
    }
}

#[test]
fn the_contract_in_words_names_every_attribute() {
    let words = include_str!("../../../docs/contract/README.md");
    let words = words.split("\n## ").find(|part| part.starts_with("Attributes\n")).unwrap();
    let mut record = records(1..=1).remove(0);
    let event = Arc::make_mut(&mut record.event);
    event.correlation_id = Some("c-1".into());
    event.marks = Marks { late: true, possible_duplicate: true };
    event.kind = Kind::ObservationsSnapshot;
    let mut named: Vec<&str> =
        words.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut made = Vec::new();
    tieline::sink::cloudevents::Encoder::new(SOURCE)
        .attributes(&record, |name, _| made.push(name.bare));
    named.sort_unstable();
    made.sort_unstable();
    assert_eq!(named, made);
}

/// Opens the sink and delivers all records, as a publisher does. Returns their verdicts.
async fn deliver(sink: &mut Box<dyn Sink>, records: &[Record]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    open(sink, records, &mut verdicts).await;
    let submitted = verdicts.len();
    continue_delivery(sink, records, verdicts, submitted).await
}

/// Delivers on a sink that is open.
async fn deliver_on(sink: &mut Box<dyn Sink>, records: &[Record]) -> Vec<Verdict> {
    continue_delivery(sink, records, Vec::new(), 0).await
}

/// Delivers all records, of which the first have verdicts and `submitted` were handed over.
async fn continue_delivery(
    sink: &mut Box<dyn Sink>,
    records: &[Record],
    mut verdicts: Vec<Verdict>,
    mut submitted: usize,
) -> Vec<Verdict> {
    while verdicts.len() < records.len() {
        let step = async {
            submitted += sink.submit(&records[submitted..]).await?;
            sink.settle(&mut verdicts).await
        };
        let result: Result<(), Error> = timeout(DEADLINE, step).await.expect("no progress");
        if let Err(error) = result {
            assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
            open(sink, records, &mut verdicts).await;
            submitted = verdicts.len();
        }
    }
    verdicts
}

/// Opens the sink, again and again while the place is away, and counts as stored what it says it holds.
async fn open(sink: &mut Box<dyn Sink>, records: &[Record], verdicts: &mut Vec<Verdict>) {
    let mut last = None;
    // Nobody announces that a place is back.
    let mut attempts = tokio::time::interval(Duration::from_millis(50));
    let opened = timeout(DEADLINE, async {
        loop {
            attempts.tick().await;
            match sink.open(&epoch()).await {
                Ok(resume) => return resume,
                Err(error) => {
                    assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
                    last = Some(error);
                }
            }
        }
    });
    let opened = opened.await;
    let resume = opened.unwrap_or_else(|_| panic!("the place does not come back: {last:?}"));
    let held = resume.last_position.unwrap_or(0);
    while records.get(verdicts.len()).is_some_and(|record| record.event.position <= held) {
        verdicts.push(Verdict::Stored);
    }
}

fn epoch() -> Epoch {
    Epoch::new(Timestamp::from_micros(1_700_000_000_000_000), 7)
}

/// Records at those positions, over ten keys and two families.
fn records(positions: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    positions
        .map(|position| {
            let key = format!("7f1d8a3e-4c52-4b0e-9d3a-{:012}", position % 10);
            let topic = match position % 2 {
                0 => format!("v2.routing.queues.{key}.conversations"),
                _ => format!("v2.users.{key}.presence"),
            };
            Record {
                number: (position - 1) / 10 + 1,
                event: Arc::new(Event {
                    epoch: epoch(),
                    position,
                    kind: Kind::Notification,
                    topic: Topic::new(&topic),
                    body: format!(r#"{{"state":{position},"padding":"{}"}}"#, "p".repeat(800))
                        .into(),
                    correlation_id: None,
                    received: Timestamp::from_micros(1_700_000_000_000_000 + position),
                    marks: Marks::default(),
                }),
            }
        })
        .collect()
}

/// A document in structured mode, as a consumer reads it.
fn structured(document: &str) -> Stored {
    // The body is cut out by hand, to compare its bytes; it stands last.
    let (head, body) = document.split_once(",\"data\":").unwrap();
    let body = body.strip_suffix('}').unwrap();
    let attributes: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&format!("{head}}}")).unwrap();
    serde_json::from_str::<serde_json::Value>(document).unwrap();
    let attributes: BTreeMap<String, String> = attributes
        .into_iter()
        .map(|(name, value)| {
            let text = value.as_str().map(str::to_owned);
            (name, text.unwrap_or_else(|| value.to_string()))
        })
        .collect();
    Stored { key: attributes["partitionkey"].clone(), attributes, body: body.to_owned() }
}
