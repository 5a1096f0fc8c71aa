//! The conformance suite that every sink passes, and what only one of them has to.
//!
//! A `Place` is what a sink writes into, read back by other means than the sink's own. The suite plays the publisher: it sends
//! again what was not acknowledged, from where the sink says it got to.

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;

mod jsonl;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline::event::{Epoch, Event, Kind, Marks, Topic};
use tieline::sink::{Disposition, Error, Record, Sink, Verdict};
use tieline::time::Timestamp;
use tokio::time::timeout;

/// What every event names as its source.
const SOURCE: &str = "https://api.mypurecloud.ie";

/// What a server that was killed may take to come back and be found, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a sink writes into.
trait Place: Sized + Send + 'static {
    /// Whether a resend doubles nothing, also over a restart of the process.
    const ONCE: bool;
    /// Whether events can be too large.
    const BOUNDED: bool;

    /// A place of its own for one test; the broker may be shared.
    fn new() -> Self;
    /// A place on a broker of its own, which may be killed.
    fn alone() -> Self {
        Self::new()
    }
    /// A place that cannot be reached, and how its errors must call it.
    fn unreachable() -> (Box<dyn Sink>, String);
    /// Another sink into the place.
    fn sink(&self) -> Box<dyn Sink>;
    /// Ends the broker as a crash does.
    fn crash(&mut self);
    /// Brings the broker back.
    fn restart(&mut self);
    /// All that is stored; in order at least within each key.
    async fn read(&self) -> Vec<Stored>;
}

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

macro_rules! conformance {
    ($place:ty: $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                crate::sinks::$promise::<$place>().await;
            }
        )+
    };
    ($place:ty) => {
        super::conformance! { $place:
            order_per_key_is_kept,
            the_contract_holds_byte_for_byte,
            acknowledged_means_readable,
            an_event_too_large_is_refused_and_the_others_go_on,
            an_unreachable_place_is_named_and_tried_again,
            a_crash_with_a_window_in_flight_loses_nothing_and_keeps_order,
            what_was_given_up_is_not_doubled,
            a_restart_resumes_where_the_broker_is,
            nothing_in_flight_means_waiting,
            no_body_shows_in_debug,
        }
    };
}
use conformance;

async fn order_per_key_is_kept<P: Place>() {
    let place = P::new();
    let records = records(1..=1000);
    deliver(&mut place.sink(), &records).await;
    assert_complete::<P>(&place.read().await, &records);
}

async fn the_contract_holds_byte_for_byte<P: Place>() {
    let place = P::new();
    let mut records = records(1..=4);
    Arc::make_mut(&mut records[2].event).kind = Kind::MembersSnapshot;
    let closed = Arc::make_mut(&mut records[3].event);
    (closed.kind, closed.topic) = (Kind::GapClosed, Topic::control());
    let event = Arc::make_mut(&mut records[1].event);
    event.topic = Topic::new("v2.größe \"of\" 100%.{all}");
    event.body = r#"{ "n" : 1.50, "text":"ü\n" }"#.into();
    event.correlation_id = Some("c-1".into());
    event.marks.late = true;
    deliver(&mut place.sink(), &records).await;

    let stored = place.read().await;
    for record in &records {
        let found = stored.iter().find(|stored| stored.place().0 == record.event.position).unwrap();
        assert_eq!(found.body.as_bytes(), record.event.body);
        assert_eq!(found.key, record.event.topic.key());
        let mut expected = BTreeMap::new();
        tieline::sink::cloudevents::Encoder::new(SOURCE).attributes(record, |name, value| {
            expected.insert(name.bare.to_owned(), value.as_str().to_owned());
        });
        assert_eq!(found.attributes, expected);
    }
}

async fn acknowledged_means_readable<P: Place>() {
    let place = P::new();
    let records = records(1..=300);
    let mut sink = place.sink();
    // The sink stays open: nothing may wait for the end to be stored.
    let (first, second) = records.split_at(100);
    deliver(&mut sink, first).await;
    assert_complete::<P>(&place.read().await, first);
    deliver_on(&mut sink, second).await;
    assert_complete::<P>(&place.read().await, &records);
    sink.close().await.unwrap();
}

async fn an_event_too_large_is_refused_and_the_others_go_on<P: Place>() {
    let place = P::new();
    let mut records = records(1..=30);
    let event = Arc::make_mut(&mut records[10].event);
    event.body = format!("\"{}\"", "x".repeat(2 << 20)).into();
    let verdicts = deliver(&mut place.sink(), &records).await;
    let refused: Vec<usize> = (0..verdicts.len())
        .filter(|&at| matches!(&verdicts[at], Verdict::Refused { reason } if !reason.is_empty()))
        .collect();
    if P::BOUNDED {
        assert_eq!(refused, [10]);
        records.remove(10);
    } else {
        assert!(refused.is_empty(), "{verdicts:?}");
    }
    let mut found: Vec<u64> = place.read().await.iter().map(|stored| stored.place().0).collect();
    found.sort_unstable();
    let sent: Vec<u64> = records.iter().map(|record| record.event.position).collect();
    assert_eq!(found, sent);
}

async fn an_unreachable_place_is_named_and_tried_again<P: Place>() {
    let (mut sink, name) = P::unreachable();
    let error = timeout(DEADLINE, sink.open(&epoch())).await.unwrap().unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    assert!(error.operation.contains(&name), "{error:?} does not name {name}");
    assert!(error.source.is_some(), "{error:?} does not say why");
}

async fn a_crash_with_a_window_in_flight_loses_nothing_and_keeps_order<P: Place>() {
    let mut place = P::alone();
    let mut sink = place.sink();
    let records = records(1..=6000);
    let (go, gone) = std::sync::mpsc::channel();
    let crash = tokio::task::spawn_blocking(move || {
        gone.recv().unwrap();
        place.crash();
        place.restart();
        place
    });
    let delivery = async {
        sink.open(&epoch()).await.unwrap();
        let (mut verdicts, mut submitted) = (Vec::new(), 0);
        while verdicts.len() < 2000 {
            submitted += sink.submit(&records[submitted..]).await.unwrap();
            sink.settle(&mut verdicts).await.unwrap();
        }
        // Windows come and go while the broker dies.
        go.send(()).unwrap();
        continue_delivery(&mut sink, &records, verdicts, submitted).await;
    };
    let (place, ()) = tokio::join!(crash, delivery);
    assert_complete::<P>(&place.unwrap().read().await, &records);
}

async fn what_was_given_up_is_not_doubled<P: Place>() {
    let place = P::new();
    let records = records(1..=500);
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    let taken = sink.submit(&records).await.unwrap();
    assert!(taken > 0);
    drop(sink);
    deliver(&mut place.sink(), &records).await;
    assert_complete::<P>(&place.read().await, &records);
}

async fn a_restart_resumes_where_the_broker_is<P: Place>() {
    let place = P::new();
    deliver(&mut place.sink(), &records(1..=7)).await;
    let resumed = |epoch| {
        let mut sink = place.sink();
        async move { sink.open(&epoch).await.unwrap().last_position }
    };
    assert_eq!(resumed(epoch()).await, P::ONCE.then_some(7));
    let another = Epoch::new(Timestamp::from_micros(1_800_000_000_000_000), 1);
    assert_eq!(resumed(another).await, None);
}

async fn nothing_in_flight_means_waiting<P: Place>() {
    let place = P::new();
    let mut sink = place.sink();
    let mut verdicts = Vec::new();
    sink.open(&epoch()).await.unwrap();
    assert_eq!(sink.submit(&[]).await.unwrap(), 0);
    let settled = timeout(Duration::from_millis(200), sink.settle(&mut verdicts)).await;
    assert!(settled.is_err(), "{settled:?}");
    // Giving up a wait costs nothing.
    deliver_on(&mut sink, &records(1..=10)).await;
}

async fn no_body_shows_in_debug<P: Place>() {
    let place = P::new();
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    sink.submit(&records(1..=10)).await.unwrap();
    let shown = format!("{sink:?}");
    assert!(!shown.contains("state"), "{shown}");
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
    let opened = timeout(DEADLINE, async {
        loop {
            match sink.open(&epoch()).await {
                Ok(resume) => return resume,
                Err(error) => {
                    assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    let resume = opened.await.expect("the place does not come back");
    let held = resume.last_position.unwrap_or(0);
    while records.get(verdicts.len()).is_some_and(|record| record.event.position <= held) {
        verdicts.push(Verdict::Stored);
    }
}

/// Nothing lost, order kept, and nothing doubled where the sink promises that.
fn assert_complete<P: Place>(stored: &[Stored], records: &[Record]) {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in stored {
        let (_, number) = event.place();
        let seen = numbers.entry(&event.key).or_default();
        // At least once: a resend repeats a stretch, but never jumps ahead of what it has shown.
        let next = seen.last().map_or(1, |last| last + 1);
        if P::ONCE {
            assert_eq!(number, next, "key {}", event.key);
        } else {
            assert!(number <= next, "key {}: {number} after {}", event.key, next - 1);
        }
        seen.push(number);
    }
    for record in records {
        let found =
            numbers.get(record.event.topic.key()).is_some_and(|seen| seen.contains(&record.number));
        assert!(found, "position {} is lost", record.event.position);
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
