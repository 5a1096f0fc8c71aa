//! From a notification to the journal: arbitration, marks, numbers, and the ledger of what may be missing.

use crate::clock::Clock;
use crate::event::Notification;
use crate::journal::Journal;
use crate::lifecycle::SessionId;
use crate::observation::Observation;
use crate::sequence::{Arbiter, Certainty, Ledger, Leg, Verdict};
use crate::telemetry::metrics::Metrics;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The cause of a gap that the journal's bound makes.
const JOURNAL_FULL: &str = "journal_full";

/// What went through since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Notifications heard on all sessions.
    pub received: u64,
    /// Events that the journal took.
    pub published: u64,
    /// Notifications dropped as duplicates.
    pub duplicates: u64,
}

/// The stream from the sockets to the journal.
#[derive(Debug)]
pub struct Stream {
    clock: Clock,
    arbiter: Arbiter,
    /// Sessions whose frames are taken; late frames of a session that was closed are nobody's.
    legs: BTreeSet<SessionId>,
    journal: Journal,
    ledger: Ledger,
    /// The open gap of each shard.
    gaps: BTreeMap<u16, u64>,
    /// The open gap of each sink that the journal refuses events, and how many.
    full: BTreeMap<&'static str, (u64, u64)>,
    metrics: Arc<Metrics>,
    counts: Counts,
    observations: VecDeque<Observation>,
}

impl Stream {
    /// A stream without sessions that ends in `journal`.
    pub fn new(
        clock: Clock,
        arbiter: Arbiter,
        journal: Journal,
        ledger: Ledger,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            clock,
            arbiter,
            legs: BTreeSet::new(),
            journal,
            ledger,
            gaps: BTreeMap::new(),
            full: BTreeMap::new(),
            metrics,
            counts: Counts::default(),
            observations: VecDeque::new(),
        }
    }

    /// The journal, for its statistics.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The ledger of gaps.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What went through.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Something worth telling.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        self.observations.pop_front()
    }

    /// When `handle_timeout` must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.arbiter.poll_timeout()
    }

    /// Publishes what has been held for long enough.
    pub fn handle_timeout(&mut self, now: Time) {
        self.arbiter.handle_timeout(now);
        self.publish();
    }

    /// A session's socket is open: its frames count from now on.
    pub fn begin(&mut self, session: SessionId, shard: u16, now: Time) {
        self.legs.insert(session);
        self.arbiter.begin(Leg(session.0), shard, now);
    }

    /// Nothing more comes from a session.
    pub fn end(&mut self, session: SessionId, now: Time) {
        if self.legs.remove(&session) {
            self.arbiter.end(Leg(session.0), now);
            self.publish();
        }
    }

    /// A session said something.
    pub fn take(&mut self, session: SessionId, notification: Notification, now: Time) {
        if !self.legs.contains(&session) {
            return;
        }
        self.counts.received += 1;
        self.metrics.stream.received(&notification.topic);
        self.arbiter.admit(Leg(session.0), notification, now);
        self.publish();
    }

    /// No session of a shard delivers any more.
    pub fn open_gap(&mut self, shard: u16, cause: &'static str, from: Timestamp, topics: usize) {
        let number = self.ledger.open(shard, cause, Certainty::Certain, from, topics);
        self.gaps.insert(shard, number);
        self.observations.push_back(Observation::GapOpened { number, shard, cause, from });
    }

    /// A shard delivers again.
    pub fn close_gap(&mut self, shard: u16, to: Timestamp, action: &'static str) {
        if let Some(number) = self.gaps.remove(&shard) {
            self.close(number, to, action);
        }
    }

    /// Publishes what is held, and lets the journal's readers see the end.
    pub fn close_journal(&mut self, now: Time) {
        for session in std::mem::take(&mut self.legs) {
            self.arbiter.end(Leg(session.0), now);
        }
        self.publish();
        self.journal.close();
    }

    fn close(&mut self, number: u64, to: Timestamp, action: &'static str) {
        if let Some(gap) = self.ledger.close(number, to, action) {
            let (shard, cause, from) = (gap.shard, gap.cause, gap.from);
            let closed = Observation::GapClosed { number, shard, cause, from, to, action };
            self.observations.push_back(closed);
        }
    }

    fn publish(&mut self) {
        while let Some(verdict) = self.arbiter.poll() {
            match verdict {
                Verdict::Duplicate { .. } => {
                    self.counts.duplicates += 1;
                    self.metrics.stream.duplicate();
                }
                Verdict::Publish { notification, marks } => {
                    if marks.late {
                        self.metrics.stream.late();
                    }
                    if marks.possible_duplicate {
                        self.metrics.stream.possible_duplicate();
                    }
                    let received = notification.received;
                    let appended = self.journal.append(notification, marks);
                    self.counts.published += u64::from(appended.position.is_some());
                    if !appended.refused_by.is_empty() || !self.full.is_empty() {
                        self.judge_room(&appended.refused_by, received);
                    }
                }
            }
        }
    }

    /// Opens and closes the gaps of sinks whose bound is reached. `received` is when the event at hand was heard.
    fn judge_room(&mut self, refused_by: &[&'static str], received: Timestamp) {
        for sink in refused_by {
            if let Some(sink) = self.metrics.sink(sink) {
                sink.refused(1);
            }
            let (_, count) = self.full.entry(sink).or_insert_with(|| {
                let certainty = Certainty::Certain;
                let number = self.ledger.open(0, JOURNAL_FULL, certainty, received, 0);
                let (cause, from) = (JOURNAL_FULL, received);
                let opened = Observation::GapOpened { number, shard: 0, cause, from };
                self.observations.push_back(opened);
                self.observations.push_back(Observation::JournalFull { sink, count: 1 });
                (number, 0)
            });
            *count += 1;
        }
        let recovered: Vec<_> =
            self.full.keys().copied().filter(|sink| !refused_by.contains(sink)).collect();
        for sink in recovered {
            if let Some((number, count)) = self.full.remove(sink) {
                self.observations.push_back(Observation::JournalFull { sink, count });
                let to = self.clock.timestamp();
                self.close(number, to, "the sink acknowledged and there is room again");
            }
        }
    }
}
