//! From a notification to the journal: arbitration, marks, numbers, and what is known of gaps while it passes.

mod handed;
mod room;
mod snapshots;
#[cfg(test)]
mod tests;

use super::age::Ages;
use super::gaps::{
    Closed, FEED_SILENT, Gaps, JOURNAL_DISK, JOURNAL_FULL, Missed, RESTART, UNREADABLE,
};
use super::tap::{self, Tap, Tapped};
use crate::clock::Clock;
use crate::event::{Entry, Kind, Marks, Notification, Topic};
use crate::journal::Journal;
use crate::lifecycle::SessionId;
use crate::observation::Observation;
use crate::privacy::Privacy;
use crate::route::{Routes, Wanted};
use crate::sequence::{Arbiter, Feed, Ledger, Leg, Verdict};
use crate::telemetry::metrics::Metrics;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Unreadable frames closer than this are one gap, so that a flood of them does not become a flood of gaps.
const BURST: Duration = Duration::from_secs(10);

/// How often a filter's errors are told, each time with the count so far: one broken filter errs for every event.
const FILTER_ERRORS_EVERY: Duration = Duration::from_secs(60);

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

/// Unreadable frames of one shard that make one gap.
#[derive(Clone, Copy, Debug)]
struct Burst {
    /// The last of them.
    last: Timestamp,
    quiet_at: Time,
}

/// Where a session belongs: its shard, and its leg of it.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: u16,
    leg: usize,
}

/// The stream from the sockets to the journal.
#[derive(Debug)]
pub struct Stream {
    clock: Clock,
    arbiter: Arbiter,
    /// Sessions whose frames are taken, and their shards; late frames of a session that was closed are nobody's.
    legs: BTreeMap<SessionId, Place>,
    /// The leg of each session that has ended and whose score is still to be taken.
    ended: BTreeMap<SessionId, usize>,
    privacy: Privacy,
    routes: Routes,
    /// When each sink's filter errors were last told.
    told: BTreeMap<&'static str, Time>,
    journal: Journal,
    gaps: Gaps,
    feed: Feed,
    unreadable: BTreeMap<u16, Burst>,
    /// Topics whose snapshot is being read, and whether a live event came meanwhile.
    awaited: HashMap<Topic, bool>,
    metrics: Arc<Metrics>,
    counts: Counts,
    observations: VecDeque<Observation>,
    tap: Tap,
    ages: Ages,
}

impl Stream {
    /// A stream without sessions that ends in `journal`.
    pub fn new(
        clock: Clock,
        arbiter: Arbiter,
        journal: Journal,
        (gaps, feed): (Gaps, Feed),
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            clock,
            arbiter,
            legs: BTreeMap::new(),
            ended: BTreeMap::new(),
            privacy: Privacy::off(),
            routes: Routes::default(),
            told: BTreeMap::new(),
            journal,
            gaps,
            feed,
            unreadable: BTreeMap::new(),
            awaited: HashMap::new(),
            metrics,
            counts: Counts::default(),
            observations: VecDeque::new(),
            tap: Tap::default(),
            ages: Ages::default(),
        }
    }

    /// The same stream, which shows what the journal takes at `tap` too.
    #[must_use]
    pub fn tapped(mut self, tap: Tap) -> Self {
        self.gaps.show_at(tap.clone());
        Self { tap, ..self }
    }

    /// The same stream, in which each sink has what its filter accepts.
    #[must_use]
    pub fn routed(self, routes: Routes) -> Self {
        Self { routes, ..self }
    }

    /// The same stream, which takes out what may not leave the process.
    #[must_use]
    pub fn guarded(self, privacy: Privacy) -> Self {
        Self { privacy, ..self }
    }

    /// From now on these rules say what may leave the process.
    pub fn guard(&mut self, privacy: Privacy) {
        self.privacy = privacy;
    }

    /// The journal, for its statistics.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Has what was published written.
    pub fn flush(&mut self) {
        self.journal.flush();
    }

    /// The ledger of gaps.
    pub const fn ledger(&self) -> &Ledger {
        self.gaps.ledger()
    }

    /// What went through.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Something worth telling.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        self.gaps.poll_observation().or_else(|| self.observations.pop_front())
    }

    /// When `handle_timeout` must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.arbiter.poll_timeout()
    }

    /// Publishes what has been held for long enough.
    pub fn handle_timeout(&mut self, now: Time) {
        self.arbiter.handle_timeout(now);
        self.publish(now);
    }

    /// A session's socket is open: its frames count from now on.
    pub fn begin(&mut self, session: SessionId, shard: u16, leg: usize, now: Time) {
        self.legs.insert(session, Place { shard, leg });
        self.arbiter.begin(Leg(session.0), shard, now);
    }

    /// Nothing more comes from a session.
    pub fn end(&mut self, session: SessionId, now: Time) {
        if let Some(Place { shard, leg }) = self.legs.remove(&session) {
            self.ended.insert(session, leg);
            self.arbiter.end(Leg(session.0), now);
            self.publish(now);
            self.gaps.distrust(shard, RESTART);
        }
    }

    /// A session said something.
    pub fn take(&mut self, session: SessionId, notification: Notification, now: Time) {
        let Some(Place { shard, .. }) = self.legs.get(&session).copied() else {
            return;
        };
        self.counts.received += 1;
        self.metrics.stream.received(&notification.topic);
        if let Some(age) = self.ages.sample(&notification, now) {
            self.metrics.stream.aged(age);
        }
        if let Some(overtaken) = self.awaited.get_mut(&notification.topic) {
            *overtaken = true;
        }
        let key = notification.topic.key_fingerprint();
        if self.feed.heard(key, shard, now) {
            let of_key = |topic: &Topic| topic.key_fingerprint() == key;
            self.end_suspicion(shard, of_key, notification.received, "the feed was heard again");
        }
        self.arbiter.admit(Leg(session.0), notification, now);
        self.publish(now);
    }

    /// Tells the metrics how the legs did since this was last called. Called now and then, not for each event.
    pub fn show_legs(&mut self) {
        for (leg, score) in self.arbiter.take_scores() {
            let session = SessionId(leg.0);
            let lives = self.legs.get(&session).map(|place| place.leg);
            if let Some(leg) = lives.or_else(|| self.ended.get(&session).copied()) {
                let legs = &self.metrics.stream.legs;
                legs.compared(leg, score.won, score.followed, score.missed, score.lag);
            }
        }
        self.ended.clear();
    }

    /// The topics of each shard are known. Answers the gaps that waited for that to end.
    pub fn plan(&mut self, topics: BTreeMap<u16, Vec<Topic>>) -> Vec<Closed> {
        self.gaps.plan(topics, self.clock.timestamp(), &mut self.journal)
    }

    /// The platform refused a topic.
    pub fn refuse(&mut self, topic: &Topic) {
        self.gaps.refuse(topic);
    }

    /// The platform takes a topic that it refused before.
    pub fn permit(&mut self, topic: &Topic) {
        self.gaps.permit(topic);
    }

    /// No session of a shard delivers any more.
    pub fn open_gap(&mut self, shard: u16, cause: &'static str, from: Timestamp) {
        self.end_suspicion(shard, |_| true, from, "the session was lost");
        self.feed.interrupted(shard);
        let now = self.clock.timestamp();
        self.gaps.open(shard, cause, from, Vec::new(), now, &mut self.journal);
    }

    /// A shard delivers again, or for the first time.
    pub fn close_gap(
        &mut self,
        shard: u16,
        to: Timestamp,
        action: &'static str,
        now: Time,
    ) -> Option<Closed> {
        // What the last process only suspected, and left open, ends with the first certain delivery of this one.
        self.end_suspicion(shard, |_| true, to, action);
        let at = self.clock.timestamp();
        if !self.unreadable.contains_key(&shard) {
            self.gaps.close(shard, UNREADABLE, to, action, at, &mut self.journal);
        }
        self.feed.resumed(shard, now);
        self.gaps.close(shard, RESTART, to, action, at, &mut self.journal)
    }

    /// A successor on another channel has taken over: its delivery is certain, whatever its predecessor's was.
    pub fn rotated(&mut self, shard: u16, now: Time) {
        let to = self.clock.timestamp_of(now);
        self.end_suspicion(shard, |_| true, to, "resubscribed");
        self.feed.resumed(shard, now);
    }

    /// A frame of a session could not be read; `complete` is when the one before it came.
    pub fn unreadable(&mut self, session: SessionId, complete: Timestamp, now: Time) {
        let Some(Place { shard, .. }) = self.legs.get(&session).copied() else {
            return;
        };
        let at = self.clock.timestamp();
        let last = self.unreadable.get(&shard).map(|burst| burst.last);
        let from = last.unwrap_or(complete);
        self.gaps.open(shard, UNREADABLE, from, Vec::new(), at, &mut self.journal);
        if last.is_none() {
            // Told at once, where the frame should have been. Of the others of a burst, each topic is told before its next data.
            self.gaps.settle((shard, UNREADABLE), |_| true, at, at, &mut self.journal);
        }
        self.unreadable.insert(shard, Burst { last: at, quiet_at: now + BURST });
    }

    /// Looks at what nobody tells. Called now and then, not for each event. Answers the gaps that have ended.
    pub fn look(&mut self, now: Time) -> Vec<Closed> {
        let mut closed = self.look_for_room();
        let at = self.clock.timestamp();
        let quiet: Vec<(u16, Burst)> = self
            .unreadable
            .iter()
            .filter(|(_, burst)| burst.quiet_at <= now)
            .map(|(s, b)| (*s, *b))
            .collect();
        for (shard, burst) in quiet {
            self.unreadable.remove(&shard);
            self.gaps.distrust(shard, UNREADABLE);
            let action = "frames are read again";
            closed.extend(self.gaps.close(
                shard,
                UNREADABLE,
                burst.last,
                action,
                at,
                &mut self.journal,
            ));
        }
        for suspicion in self.feed.check(now) {
            let topics = self.gaps.topics_of_key(suspicion.shard, suspicion.key);
            if !topics.is_empty() {
                let from = self.clock.timestamp_of(suspicion.since);
                self.gaps.open(suspicion.shard, FEED_SILENT, from, topics, at, &mut self.journal);
                let (shard, keys) = (suspicion.shard, self.feed.suspected());
                self.observations.push_back(Observation::FeedSuspected { shard, keys });
            }
        }
        self.metrics.stream.show_suspected(self.feed.suspected() as u64);
        closed
    }

    /// What each shard with certain delivery has heard last, for the next process.
    pub fn mark(&self, heard: &BTreeMap<u16, Timestamp>) {
        self.gaps.mark(heard);
    }

    /// The same at an orderly end.
    pub fn mark_last(&self, heard: &BTreeMap<u16, Timestamp>) {
        self.gaps.mark_last(heard);
    }

    /// Publishes what is held, and lets the journal's readers see the end.
    pub fn close_journal(&mut self, now: Time) {
        for session in std::mem::take(&mut self.legs).into_keys() {
            self.arbiter.end(Leg(session.0), now);
        }
        self.publish(now);
        self.look_for_room();
        let at = self.clock.timestamp();
        for sink in self.gaps.full() {
            self.gaps.end_refusals(sink, "the process ends", at, &mut self.journal);
        }
        self.journal.close();
    }

    fn end_suspicion(
        &mut self,
        shard: u16,
        matches: impl Fn(&Topic) -> bool,
        to: Timestamp,
        action: &'static str,
    ) {
        let at = self.clock.timestamp();
        let kind = (shard, FEED_SILENT);
        if self.gaps.settle(kind, matches, to, at, &mut self.journal) {
            self.gaps.close(shard, FEED_SILENT, to, action, at, &mut self.journal);
        }
    }

    fn publish(&mut self, now: Time) {
        // One look at the clock for all that goes out at once: an append takes a microsecond.
        let journalled = self.clock.timestamp();
        while let Some(verdict) = self.arbiter.poll() {
            match verdict {
                Verdict::Duplicate { .. } => {
                    self.counts.duplicates += 1;
                    self.metrics.stream.duplicate();
                }
                Verdict::Publish { mut notification, marks } => {
                    if marks.late {
                        self.metrics.stream.late();
                    }
                    if marks.possible_duplicate {
                        self.metrics.stream.possible_duplicate();
                    }
                    let (topic, received) = (notification.topic.clone(), notification.received);
                    // Filters see what consumers see.
                    let body = std::mem::take(&mut notification.body);
                    notification.body = self.privacy.apply(&notification.topic, body);
                    let watched = self.tap.is_watched().then(|| notification.clone());
                    let (wanted, untold) = self.forewarn(&notification, marks, now);
                    let entry = Entry::pushed(notification, marks);
                    let mut appended = self.journal.append_for(wanted, entry);
                    appended.refused_by.extend(untold);
                    self.counts.published += u64::from(appended.is_accepted);
                    if let Some(notification) = watched.filter(|_| appended.is_accepted) {
                        self.show(notification, marks);
                    }
                    let cause = if appended.by_disk { JOURNAL_DISK } else { JOURNAL_FULL };
                    for sink in appended.refused_by {
                        let (since, until) = (received, received);
                        let missed = Missed { cause, count: 1, since, until };
                        self.note_refusal(sink, &topic, missed);
                    }
                    self.metrics.stream.journalled(journalled.since(received));
                }
            }
        }
    }

    /// Shows an event to whoever watches.
    fn show(&self, notification: Notification, marks: Marks) {
        let Notification { topic, body, received, .. } = notification;
        let (nth, length) = (Some(self.counts.published), body.len());
        let body = Some(body).filter(|_| length <= tap::BODY_MAX);
        let kind = Kind::Notification;
        self.tap.show(Tapped { kind, nth, topic, body, length, received, marks });
    }

    /// Which sinks are to have the event, once they are told what is missing before it, and those that cannot be told now.
    fn forewarn(
        &mut self,
        notification: &Notification,
        marks: Marks,
        now: Time,
    ) -> (Wanted, Vec<&'static str>) {
        let mut wanted = self.route(notification, marks, now);
        if !self.gaps.is_busy() {
            return (wanted, Vec::new());
        }
        let mut untold = self.gaps.before(notification, self.clock.timestamp(), &mut self.journal);
        for (place, sink) in self.journal.sinks().into_iter().enumerate() {
            let held = untold.iter().position(|untold| *untold == sink);
            match held {
                Some(_) if wanted.by(place) => wanted = wanted.without(place),
                Some(at) => drop(untold.swap_remove(at)),
                None => {}
            }
        }
        (wanted, untold)
    }

    /// Which sinks are to have the event, counted and told.
    fn route(&mut self, notification: &Notification, marks: Marks, now: Time) -> Wanted {
        let wanted = self.routes.wanted(notification, marks);
        if wanted == Wanted::ALL && self.routes.troubles().is_empty() {
            return wanted;
        }
        let sinks = self.journal.sinks();
        for (place, sink) in sinks.iter().enumerate() {
            if let Some(metrics) = self.metrics.sink(sink)
                && !wanted.by(place)
            {
                metrics.filtered();
            }
        }
        for (place, trouble) in self.routes.troubles() {
            let Some((sink, metrics)) =
                sinks.get(*place).and_then(|sink| Some((*sink, self.metrics.sink(sink)?)))
            else {
                continue;
            };
            let count = metrics.filter_erred();
            let told = self.told.get(sink);
            if told.is_none_or(|told| now.since(*told) >= FILTER_ERRORS_EVERY) {
                self.told.insert(sink, now);
                let (topic, problem) = (notification.topic.clone(), trouble.to_string());
                let erred = Observation::FilterErred { sink, topic, problem, count };
                self.observations.push_back(erred);
            }
        }
        wanted
    }

    /// Counts events of that topic that a sink will not get.
    fn note_refusal(&mut self, sink: &'static str, topic: &Topic, missed: Missed) {
        if let Some(sink) = self.metrics.sink(sink) {
            sink.refused(missed.count);
        }
        self.gaps.refused(sink, topic, missed, &mut self.journal);
    }
}
