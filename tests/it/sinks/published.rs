//! What a sink and the publisher promise together: parking, waiting, draining.
//!
//! The journal is filled by hand; everything behind it is the program's own.

use super::*;
use crate::harness::eventually;
use std::fs;
use tempfile::TempDir;
use tieline::bridge::{Publisher, Setup};
use tieline::clock::Clock;
use tieline::event::{Entry, Notification};
use tieline::journal::{Config, Journal, Opening, Sync};
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
        let data_dir = TempDir::new().unwrap();
        let opening = Opening {
            config: Config {
                max_bytes: Size(64 << 20),
                sync: Sync::Within(Duration::from_millis(100)),
                sync_bytes: Size(4 << 20),
                segment_bytes: Size(16 << 20),
                keys_max: 100_000,
            },
            data_dir: data_dir.path(),
            sinks: &[NAME],
            clock: Clock::start(),
            salt: Box::new(|| 7),
        };
        let (journal, mut readers, _) = opening.open().unwrap();
        let mut encoder = Encoder::new(SOURCE);
        // Nobody listens.
        let (observations, _) = mpsc::channel(1);
        let publisher = Publisher::new(Setup {
            sink,
            reader: readers.remove(0),
            required: None,
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
        assert!(appended.is_accepted);
    }
    journal.flush();
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
    // The epoch's own event comes first.
    assert_eq!(parked["event"]["position"], format!("{:020}", 12));
    let stored = place.read().await;
    assert_eq!(stored.len(), 31, "a marker stands in its place");
    let marker = stored.iter().find(|stored| stored.place().0 == 12).unwrap();
    assert_eq!(marker.attributes["type"], "tieline.parked.v1");
}

pub(super) async fn a_dead_place_is_waited_for_and_a_drain_delivers_what_is_in_hand<P: Place>() {
    let mut place = P::sturdy();
    let Desk { mut journal, publisher, data_dir: _data_dir } = Desk::new(place.sink());
    let records = records(1..=3000);
    append(&mut journal, &records[..1500]);
    let run = TaskTracker::new().spawn(publisher.run());
    eventually("a third is acknowledged", async || {
        (journal.stats()[0].unacknowledged <= 1000).then_some(())
    })
    .await;
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
