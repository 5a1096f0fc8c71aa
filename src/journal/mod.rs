//! What lies between sequencing and the sinks: places events, numbers them for each sink, keeps them until acknowledged.
//!
//! In memory: what a process that dies has not delivered is lost with it. Its doors are those of a durable log: one writer
//! appends, each sink reads at its own pace and acknowledges contiguously. Full for one sink is full for that sink alone.
//! Does not decide what to send again; that is `bridge::publisher`'s.

mod queue;
mod reader;

#[cfg(test)]
mod tests;

pub use reader::{Reader, Stats};

use crate::event::{Entry, Epoch, Event, Kind};
use crate::route::Wanted;
use crate::sequence::Sequencer;
use crate::sink::Record;
use crate::sink::guarantee::{Finding, Guarantee, Level};
use crate::size::Size;
use queue::Queue;
use serde::Deserialize;
use std::sync::Arc;

/// The `[journal]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bound on each sink's unacknowledged events.
    pub max_bytes: Size,
}

/// What the journal gives to every sink, and what a crash costs.
pub fn findings(config: &Config) -> Vec<Finding> {
    let mut guarantee = Guarantee::of(Level::ExactlyOnce);
    guarantee.holds(
        "journal_bound",
        format!(
            "journal.max_bytes: up to {} wait for each sink; beyond, new events are refused for it, counted and named as a gap",
            config.max_bytes
        ),
    );
    guarantee.weakens(
        "journal_memory",
        "the journal is in memory: a crash, kill -9 or a power cut costs what no sink has acknowledged",
    );
    guarantee.findings
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The event's place; none when no sink wanted it or could take it, and then no number was taken either.
    pub position: Option<u64>,
    /// The sinks whose bound is reached. For them this event is missing, without a hole in their numbers.
    pub refused_by: Vec<&'static str>,
}

/// The writing end. Dropping it closes the journal.
#[derive(Debug)]
pub struct Journal {
    epoch: Epoch,
    /// The last position given.
    position: u64,
    sinks: Vec<Writer>,
}

#[derive(Debug)]
struct Writer {
    queue: Arc<Queue>,
    sequencer: Sequencer,
}

impl Journal {
    /// An empty journal, and a reader for each of the named sinks in their order.
    pub fn new(config: &Config, epoch: Epoch, sinks: &[&'static str]) -> (Self, Vec<Reader>) {
        let writers: Vec<Writer> = sinks
            .iter()
            .map(|sink| Writer {
                queue: Arc::new(Queue::new(sink, config.max_bytes.0)),
                sequencer: Sequencer::default(),
            })
            .collect();
        let readers = writers.iter().map(|writer| Reader::new(Arc::clone(&writer.queue))).collect();
        let journal = Self { epoch, position: 0, sinks: writers };
        (journal, readers)
    }

    /// This life of the journal.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The sinks, in the order in which `Wanted` counts them.
    pub fn sinks(&self) -> Vec<&'static str> {
        self.sinks.iter().map(|writer| writer.queue.sink()).collect()
    }

    /// The last position given, 0 at first.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Places the entry and hands it to every sink that it is for and that has room. Never waits.
    ///
    /// What is our own may use the room that is kept for it, so that a sink at its bound is told of its gap.
    pub fn append(&mut self, entry: Entry) -> Appended {
        self.append_for(Wanted::ALL, entry)
    }

    /// The same for the sinks that want it; to the others it is as if it had never been.
    pub fn append_for(&mut self, wanted: Wanted, entry: Entry) -> Appended {
        // Only this end adds, so a queue that has room now has it below too.
        let (length, is_own) = (entry.body.len(), entry.kind != Kind::Notification);
        let only = entry.sink;
        let concerned = |writer: &&mut Writer| only.is_none_or(|sink| sink == writer.queue.sink());
        let (takers, full): (Vec<&mut Writer>, Vec<&mut Writer>) = self
            .sinks
            .iter_mut()
            .enumerate()
            .filter(|(place, _)| wanted.by(*place))
            .map(|(_, writer)| writer)
            .filter(concerned)
            .partition(|writer| writer.queue.has_room(length, is_own));
        let refused_by = full.iter().map(|writer| writer.queue.sink()).collect();
        if takers.is_empty() {
            return Appended { position: None, refused_by };
        }
        self.position += 1;
        let event = Arc::new(Event::placed(self.epoch.clone(), self.position, entry));
        for writer in takers {
            let number = writer.sequencer.next(event.topic.key());
            writer.queue.push(Record { event: Arc::clone(&event), number });
        }
        Appended { position: Some(self.position), refused_by }
    }

    /// Nothing more will be appended: readers deliver what is in hand and then see the end.
    pub fn close(&mut self) {
        for writer in &self.sinks {
            writer.queue.close();
        }
    }

    /// What is in each sink's queue, in the order of the sinks.
    pub fn stats(&self) -> Vec<Stats> {
        self.sinks.iter().map(|writer| writer.queue.stats()).collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}
