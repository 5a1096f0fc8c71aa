//! What becomes of an event that the sink can never take: it goes to the dead letters, and a marker with its number stands in its place.
//!
//! While one is parked nothing new is sent, so that the marker comes before what follows it, save what was in flight already.

use super::Publisher;
use crate::event::{Event, Kind, Marks};
use crate::observation::Observation;
use crate::sink::{self, Record, Verdict};
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What waits until everything refused has its marker.
#[derive(Debug, Default)]
pub(super) struct Parking {
    held: VecDeque<Held>,
    /// Positions that are among the dead letters, and whose markers may not be stored: an error must not write them there again.
    written: BTreeSet<u64>,
}

/// The first of these is a marker.
#[derive(Debug)]
enum Held {
    Marker(Record),
    /// Stored, and received then.
    Stored(Timestamp),
}

/// What the marker tells.
#[derive(Serialize)]
struct Told<'a> {
    reason: &'a str,
    /// The type of what was parked.
    r#type: &'a str,
    bytes: usize,
}

impl Parking {
    /// Whether something is refused and has no marker yet.
    pub(super) fn is_busy(&self) -> bool {
        !self.held.is_empty()
    }

    /// Keeps in mind what was stored behind a refused one.
    pub(super) fn hold(&mut self, received: Timestamp) {
        self.held.push_back(Held::Stored(received));
    }

    /// What was in flight is sent again, and refused again.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    /// The sink has everything up to this position. Answers how many markers that are.
    pub(super) fn settle_through(&mut self, position: u64) -> usize {
        let before = self.written.len();
        self.written = self.written.split_off(&position.saturating_add(1));
        before - self.written.len()
    }
}

impl Publisher {
    /// Writes the oldest event without verdict to the dead letters, and prepares its marker. Tries for as long as it takes: to go on
    /// would lose the event.
    pub(super) async fn park(&mut self, reason: &str) -> Result<(), sink::Error> {
        let place = self.parking.held.len();
        let found = self.setup.reader.sent(place).await.map_err(super::unreadable)?;
        let Some(record) = found else {
            return Err(sink::Error::retry("park an event", "it cannot be read any more"));
        };
        self.parking.held.push_back(Held::Marker(marker(&record, reason)));
        if self.parking.written.contains(&record.event.position) {
            return Ok(());
        }
        let mut structured = Vec::new();
        (self.setup.encode)(&record, &mut structured);
        while let Err(error) = self.dead_letters.park(&structured, reason).await {
            let retry_in = (self.setup.delay)(self.attempt);
            self.attempt = self.attempt.saturating_add(1);
            let path = self.dead_letters.path().display();
            let detail = format!("write the dead letter to {path}: {error}");
            self.observe_failure("park", detail, retry_in).await;
            tokio::time::sleep(retry_in).await;
        }
        self.parking.written.insert(record.event.position);
        self.observe(Observation::EventParked {
            sink: self.setup.reader.sink(),
            topic: record.event.topic.clone(),
            number: record.number,
            reason: reason.to_owned(),
        })
        .await;
        Ok(())
    }

    /// Has the markers stored, and passes on what was held. Called when nothing else is in flight.
    pub(super) async fn mark_parked(&mut self) -> Result<(), sink::Error> {
        let held = std::mem::take(&mut self.parking.held);
        let markers = held.iter().filter_map(|one| match one {
            Held::Marker(marker) => Some(marker.clone()),
            Held::Stored(_) => None,
        });
        self.mark(&markers.collect::<Vec<Record>>()).await?;
        for one in &held {
            if let Held::Stored(received) = one {
                self.delivered(*received);
            }
        }
        self.setup.reader.acknowledge(held.len());
        self.parking.written.clear();
        Ok(())
    }

    /// Stores the markers. One that is refused as well is let go: its event is among the dead letters, and the hole that is left in the
    /// numbers is told.
    async fn mark(&mut self, markers: &[Record]) -> Result<(), sink::Error> {
        let (mut rest, mut decided, mut verdicts) = (markers, 0, Vec::new());
        while decided < markers.len() {
            let taken = self.setup.sink.submit(rest).await?.min(rest.len());
            rest = &rest[taken..];
            if markers.len() - rest.len() == decided {
                return Err(super::takes_nothing(self.setup.reader.sink()));
            }
            self.setup.sink.settle(&mut verdicts).await?;
            for verdict in verdicts.drain(..) {
                let marker = markers.get(decided);
                decided += 1;
                if let (Verdict::Refused { reason }, Some(marker)) = (verdict, marker) {
                    let (topic, number) = (marker.event.topic.clone(), marker.number);
                    let sink = self.setup.reader.sink();
                    self.observe(Observation::MarkerRefused { sink, topic, number, reason }).await;
                }
            }
        }
        Ok(())
    }
}

/// What stands in the place of a parked event: its epoch, position, key and number, and why it is not there.
fn marker(parked: &Record, reason: &str) -> Record {
    let event = &parked.event;
    let told = Told { reason, r#type: event.type_name(), bytes: event.body.len() };
    let event = Event {
        epoch: event.epoch.clone(),
        position: event.position,
        kind: Kind::Parked,
        topic: event.topic.clone(),
        // Strings and a number are always JSON.
        body: serde_json::to_vec(&told).unwrap_or_default().into(),
        correlation_id: None,
        received: event.received,
        marks: Marks::default(),
    };
    Record { event: Arc::new(event), number: parked.number }
}
