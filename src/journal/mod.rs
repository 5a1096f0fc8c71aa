//! What lies between sequencing and the sinks: a durable log that places events, numbers them for each sink, and keeps them until every sink
//! has settled them.
//!
//! ```text
//!  driver ── append ──► pending ──► writer (a thread) ──► segments on the disk ──► lagging readers
//!                                      └────────────────► what was written last ──► readers that keep up
//! ```
//!
//! Appending never waits. An event is accepted, numbered and shown to sinks once it is written. Full for one sink is full for that sink
//! alone; a disk that takes nothing refuses for all. Does not decide what to send again; that is `bridge::publisher`'s.

mod config;
mod disk;
mod frame;
mod lock;
mod open;
mod opening;
mod reader;
mod record;
mod recovery;
mod renumber;
mod rolling;
mod segment;
mod shared;
mod storage;
mod syncer;
mod tail;
mod writer;

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod rehearsal;
#[cfg(test)]
mod tests;

pub use config::{Config, Sync};
pub use lock::holder;
pub use open::{Found, Opening};
pub use reader::Reader;

use crate::event::{Entry, Epoch, Topic};
use crate::route::Wanted;
pub(crate) use crate::sequence::{Numbers, SINKS_MAX};
use crate::sink::guarantee::{Finding, Guarantee, Level};
use crate::time::Timestamp;
use lock::Lock;
use shared::{Lacking, Shared, Waiting, cost, is_word};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use writer::Writer;

/// What is kept above a sink's bound for what tells of gaps and epochs.
const RESERVE: u64 = 1 << 20;

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be read, or not written where it must be.
    #[error("the journal in data_dir cannot be opened")]
    Io(#[from] std::io::Error),
    /// Another process has it.
    #[error(
        "data_dir is in use by {holder}, which holds {}; take over from it (tieline run --handover), stop it, or give this one a data_dir of its \
         own",
        path.display()
    )]
    Held {
        /// The lock.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// Another version of the program wrote it.
    #[error("the journal's file {file} is of format {version}, which this version does not read")]
    Version {
        /// The segment.
        file: String,
        /// Its format.
        version: u8,
    },
    /// There are more sinks than numbers have places for.
    #[error("there are {0} sinks, and a journal serves at most {SINKS_MAX}")]
    Sinks(usize),
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
    match config.sync {
        Sync::Always => guarantee.holds(
            "journal_sync",
            "journal.sync = \"always\": no sink sees an event that the disk does not have; a crash or a power cut costs nothing",
        ),
        Sync::Within(interval) => guarantee.weakens(
            "journal_sync",
            format!(
                "journal.sync: a power cut may cost what was written in the last {} and is not delivered; a crash or kill -9 costs \
                 nothing",
                humantime::format_duration(interval)
            ),
        ),
    }
    guarantee.findings
}

/// What became of an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Whether any sink gets it. The number is given when it is written.
    pub is_accepted: bool,
    /// The sinks that do not get it although it was for them. For them this event is missing, without a hole in their numbers.
    pub refused_by: Vec<&'static str>,
    /// Whether the disk is the reason, and not the sinks' own bounds.
    pub by_disk: bool,
}

/// Events of one topic that were waiting to be written when the disk took nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The sink that does not get them.
    pub sink: &'static str,
    /// Their topic.
    pub topic: Topic,
    /// How many.
    pub count: u64,
    /// Those of them that Genesys pushed; the others are snapshots.
    pub pushed: u64,
    /// When the oldest of them was received.
    pub since: Timestamp,
    /// And the youngest.
    pub until: Timestamp,
}

/// What waits for a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Whose.
    pub sink: &'static str,
    /// Events without acknowledgement, sent or not.
    pub unacknowledged: u64,
    /// Their bodies and overhead.
    pub bytes: u64,
    /// The bound on `bytes`.
    pub bytes_max: u64,
    /// When the oldest event that was not sent yet was received.
    pub oldest_unsent: Option<Timestamp>,
    /// When the oldest event without acknowledgement was received.
    pub oldest_unacknowledged: Option<Timestamp>,
    /// Whether the disk takes new events.
    pub is_writable: bool,
}

impl Stats {
    /// Whether there is room to speak of again: not just for one event, which would be taken at once.
    pub const fn has_room(&self) -> bool {
        self.is_writable && self.bytes <= self.bytes_max - self.bytes_max / 8
    }

    fn of(shared: &Shared, sink: usize) -> Self {
        let tail = &shared.tails[sink];
        let unacknowledged = tail.events();
        let (mut oldest_unsent, mut oldest_unacknowledged) = tail.shown();
        if unacknowledged > 0 && oldest_unacknowledged.is_none() {
            // The reader has not looked yet.
            oldest_unsent = shared.received_after(sink, tail.acknowledged());
            oldest_unacknowledged = oldest_unsent;
        }
        Self {
            sink: tail.sink,
            unacknowledged,
            bytes: tail.bytes(),
            bytes_max: tail.bytes_max,
            oldest_unsent,
            oldest_unacknowledged,
            is_writable: shared.pending().trouble.is_none(),
        }
    }
}

/// What happened in the journal since the last look, and how large it is.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// How long the disk was waited for, each time.
    pub syncs: Vec<Duration>,
    /// What failed, and what the system said.
    pub failures: Vec<(&'static str, String)>,
    /// Epochs that began, and why.
    pub epochs: Vec<(Epoch, &'static str)>,
    /// Positions that a sink could not read any more: whose, how many, and the first.
    pub lost: Vec<(&'static str, u64, u64)>,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files on the disk.
    pub segments: u64,
    /// Keys that have numbers, as of the last segment's beginning.
    pub keys: u64,
}

/// The writing end. Dropping it ends the journal: what is written is kept, with every cursor.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Work,
    /// Outlives the writer.
    _lock: Option<Lock>,
}

/// Who writes.
#[derive(Debug)]
enum Work {
    Thread(Option<JoinHandle<()>>),
    /// Whoever appends: in tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests do without threads"))]
    Inline(Box<Writer>),
    /// Whoever flushes: in tests of what waits meanwhile.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests do without threads"))]
    AtFlush(Box<Writer>),
}

impl Journal {
    /// The epoch of new events.
    pub fn epoch(&self) -> Epoch {
        self.shared.facts().epoch.clone().unwrap_or_else(|| Epoch::named(""))
    }

    /// The sinks, in the order in which `Wanted` counts them.
    pub fn sinks(&self) -> Vec<&'static str> {
        self.shared.tails.iter().map(|tail| tail.sink).collect()
    }

    /// Hands an entry over for every sink that it is for and that has room. Never waits; `flush` has it written.
    ///
    /// What tells of gaps may use the room that is kept for it, so that a sink at its bound is told of its own.
    pub fn append(&mut self, entry: Entry) -> Appended {
        self.append_for(Wanted::ALL, entry)
    }

    /// The same for the sinks that want it; to the others it is as if it had never been.
    pub fn append_for(&mut self, wanted: Wanted, entry: Entry) -> Appended {
        let length = cost(entry.body.len());
        let reserve = if is_word(entry.kind) { RESERVE } else { 0 };
        let (mut takers, mut appended) = (0_u8, Appended::default());
        for (sink, tail) in self.shared.tails.iter().enumerate() {
            if entry.sink.is_some_and(|only| only != tail.sink) || !wanted.by(sink) {
                continue;
            }
            if tail.has_room(length, reserve) {
                takers |= 1 << sink;
            } else {
                appended.refused_by.push(tail.sink);
            }
        }
        if takers == 0 {
            return appended;
        }
        match self.shared.push(Waiting { entry, takers }) {
            Ok(()) => {
                appended.is_accepted = true;
                if let Work::Inline(writer) = &mut self.writer {
                    writer.round();
                }
            }
            Err(refused) => {
                let tails = self.shared.tails.iter().enumerate();
                let takers = tails.filter(|(sink, _)| refused.is_taken_by(*sink));
                appended.refused_by.extend(takers.map(|(_, tail)| tail.sink));
                appended.by_disk = true;
            }
        }
        appended
    }

    /// Has what was appended written. Called after each batch, so that the writer is not woken for each event.
    pub fn flush(&mut self) {
        match &mut self.writer {
            Work::Thread(_) => self.shared.wake(),
            Work::Inline(writer) | Work::AtFlush(writer) => {
                writer.round();
            }
        }
    }

    /// Events that were accepted and could not be written, since the last call. Once they were heard of, and the disk takes events again,
    /// new ones are accepted.
    pub fn take_refused(&mut self) -> Vec<Refused> {
        let mut pending = self.shared.pending();
        let Some(trouble) = &mut pending.trouble else {
            return Vec::new();
        };
        let mut refused = Vec::new();
        for (tail, topics) in self.shared.tails.iter().zip(&mut trouble.refused) {
            let of_topic = |(topic, Lacking { count, pushed, since, until })| {
                let sink = tail.sink;
                Refused { sink, topic, count, pushed, since, until }
            };
            refused.extend(topics.drain().map(of_topic));
        }
        refused.sort_by(|one, other| {
            let order = |of: &Refused| (of.sink, of.since);
            order(one).cmp(&order(other)).then_with(|| one.topic.name().cmp(other.topic.name()))
        });
        if trouble.mended && refused.is_empty() {
            pending.trouble = None;
        }
        refused
    }

    /// Why the disk takes nothing, while that is so.
    pub fn trouble(&self) -> Option<String> {
        self.shared.pending().trouble.as_ref().map(|trouble| trouble.detail.clone())
    }

    /// What waits for each sink, in the order of the sinks.
    pub fn stats(&self) -> Vec<Stats> {
        (0..self.shared.tails.len()).map(|sink| Stats::of(&self.shared, sink)).collect()
    }

    /// What happened since the last call.
    pub fn news(&mut self) -> News {
        let mut facts = self.shared.facts();
        let sink =
            |(sink, count, first): (usize, u64, u64)| (self.shared.tails[sink].sink, count, first);
        News {
            syncs: std::mem::take(&mut facts.syncs),
            failures: std::mem::take(&mut facts.failures),
            epochs: std::mem::take(&mut facts.epochs),
            lost: std::mem::take(&mut facts.lost).into_iter().map(sink).collect(),
            bytes: facts.bytes,
            segments: facts.segments,
            keys: facts.keys,
        }
    }

    /// Whether a sink would take a notification of that length now; false for one that is not ours.
    pub fn has_room(&self, sink: &str, length: usize) -> bool {
        let mut tails = self.shared.tails.iter().filter(|tail| tail.sink == sink);
        self.shared.pending().trouble.is_none() && tails.any(|tail| tail.has_room(cost(length), 0))
    }

    /// Whether all that was appended is written and shown, once nothing more will be appended.
    pub fn is_written(&self) -> bool {
        let is_open = |tail: &tail::Tail| !tail.is_closed();
        self.shared.pending().trouble.is_none() && !self.shared.tails.iter().any(is_open)
    }

    /// Nothing more will be appended: readers deliver what is in hand and then see the end.
    pub fn close(&mut self) {
        self.shared.pending().closing = true;
        self.flush();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        {
            let mut pending = self.shared.pending();
            (pending.closing, pending.ending) = (true, true);
        }
        self.flush();
        if let Work::Thread(thread) = &mut self.writer
            && let Some(thread) = thread.take()
        {
            // A panic there has been told by its own message.
            drop(thread.join());
        }
    }
}
