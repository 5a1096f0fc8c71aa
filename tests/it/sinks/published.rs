//! What a sink and the publisher promise together: parking, waiting, draining.
//!
//! The journal is filled by hand; everything behind it is the program's own.

use super::*;
use std::fs;
use tempfile::TempDir;
use tieline::bridge::{Publisher, Setup};
use tieline::clock::Clock;
use tieline::event::{Entry, Notification};
use tieline::journal::{Config, Journal};
use tieline::sink::cloudevents::Encoder;
use tieline::size::Size;
use tieline::telemetry::metrics::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A journal, and the publisher that empties it into a sink.
struct Desk {
    journal: Journal,
    publisher: Publisher,
    data_dir: TempDir,
}

/// What the sink is called, whichever it is.
const NAME: &str = "place";

impl Desk {
    fn new(sink: Box<dyn Sink>) -> Self {
        let config = Config { max_bytes: Size(64 << 20) };
        let (journal, mut readers) = Journal::new(&config, epoch(), &[NAME]);
        let data_dir = TempDir::new().unwrap();
        let mut encoder = Encoder::new(SOURCE);
        // Nobody listens.
        let (observations, _) = mpsc::channel(1);
        let publisher = Publisher::new(Setup {
            sink,
            reader: readers.remove(0),
            required: None,
            epoch: epoch(),
            delay: Box::new(|_| Duration::from_millis(50)),
            encode: Box::new(move |record, out| encoder.structured(record, out)),
            data_dir: data_dir.path().to_owned(),
            observations,
            metrics: Metrics::new("test", &[NAME]).sink(NAME).unwrap().clone(),
            deadline: CancellationToken::new(),
            clock: Clock::start(),
        });
        Self { journal, publisher, data_dir }
    }
}

/// Places records in the journal, which gives them the positions and numbers that they have.
fn append(journal: &mut Journal, records: &[Record]) {
    for record in records {
        let event = &record.event;
        let notification = Notification {
            topic: event.topic.clone(),
            body: event.body.clone(),
            correlation_id: event.correlation_id.clone(),
            received: event.received,
        };
        let appended = journal.append(Entry::pushed(notification, event.marks));
        assert_eq!(appended.position, Some(event.position));
    }
}

pub(super) async fn a_rejected_event_parks_with_its_reason<P: Place>() {
    let place = P::new();
    let Desk { mut journal, publisher, data_dir } = Desk::new(place.sink());
    let mut records = records(1..=30);
    Arc::make_mut(&mut records[10].event).body = format!("\"{}\"", "x".repeat(2 << 20)).into();
    append(&mut journal, &records);
    journal.close();
    let left = timeout(DEADLINE, publisher.run()).await.expect("no end").unwrap();
    assert_eq!(left, 0);

    let path = data_dir.path().join(format!("dead-letter.{NAME}.jsonl"));
    if !P::BOUNDED {
        assert!(!path.exists());
        return;
    }
    let parked: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(!parked["reason"].as_str().unwrap().is_empty());
    assert_eq!(parked["event"]["position"], format!("{:020}", 11));
    assert_eq!(place.read().await.len(), 29);
}

pub(super) async fn a_dead_place_is_waited_for_and_a_drain_delivers_what_is_in_hand<P: Place>() {
    let mut place = P::alone();
    let Desk { mut journal, publisher, data_dir: _data_dir } = Desk::new(place.sink());
    let records = records(1..=3000);
    append(&mut journal, &records[..1500]);
    let run = TaskTracker::new().spawn(publisher.run());
    let deadline = timeout(DEADLINE, async {
        while journal.stats()[0].unacknowledged > 1000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    deadline.await.expect("nothing is acknowledged");
    place.crash();
    append(&mut journal, &records[1500..]);
    // The drain begins while nobody is there.
    journal.close();
    let place = tokio::task::spawn_blocking(move || {
        place.restart();
        place
    });
    let place = place.await.unwrap();
    let left = timeout(DEADLINE, run).await.expect("no end").unwrap().unwrap();
    assert_eq!(left, 0);
    assert_complete::<P>(&place.read().await, &records);
}
