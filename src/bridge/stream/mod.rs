//! From a notification to the journal: arbitration, marks, numbers, and what is known of gaps while it passes.

mod handed;
mod room;
mod snapshots;
mod suspect;
#[cfg(test)]
mod tests;

use super::age::Ages;
use super::gaps::{
    Closed, Gaps, Heard, JOURNAL_DISK, JOURNAL_FULL, LOST, Missed, RESTART, UNREADABLE,
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
use crate::telemetry::metrics::{Metrics, Queues};
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use suspect::Burst;

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
    /// What each session has shown while its shard had a gap: when the first of each topic was received, and the last.
    shown: BTreeMap<SessionId, HashMap<Topic, (Timestamp, Timestamp)>>,
    /// Gaps that have ended since this was last asked.
    closed: VecDeque<Closed>,
    /// Topics whose snapshot is being read, and whether a live event came meanwhile.
    awaited: HashMap<Topic, bool>,
    metrics: Arc<Metrics>,
    counts: Counts,
    observations: VecDeque<Observation>,
    tap: Tap,
    ages: Ages,
    queues: Option<Queues>,
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
            shown: BTreeMap::new(),
            closed: VecDeque::new(),
            awaited: HashMap::new(),
            counts: Counts::default(),
            observations: VecDeque::new(),
            tap: Tap::default(),
            ages: Ages::default(),
            queues: metrics.queues(),
            metrics,
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
            self.distrust(session, shard);
        }
    }

    /// What a session has shown while its shard had a gap ends nothing any more, but for topics that another one carried by then.
    fn distrust(&mut self, session: SessionId, shard: u16) {
        let Some(shown) = self.shown.remove(&session) else { return };
        let (legs, others) = (&self.legs, &self.shown);
        self.gaps.distrust(shard, RESTART, |topic, _| {
            let (_, last) = *shown.get(topic)?;
            let mut others = others
                .iter()
                .filter(|(other, _)| legs.get(other).is_some_and(|place| place.shard == shard));
            let is_carried =
                others.any(|(_, shown)| shown.get(topic).is_some_and(|(first, _)| *first <= last));
            (!is_carried).then_some(last)
        });
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
        if self.gaps.is_busy() && self.gaps.is_open(shard, RESTART) {
            let (topic, received) = (notification.topic.clone(), notification.received);
            let shown = self.shown.entry(session).or_default();
            shown.entry(topic).or_insert((received, received)).1 = received;
        }
        self.arbiter.admit(Leg(session.0), notification, now);
        self.publish(now);
    }

    /// A gap that has ended, of which REST may be asked.
    pub fn poll_closed(&mut self) -> Option<Closed> {
        self.closed.pop_front()
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

    /// The topics of each shard are known.
    pub fn plan(&mut self, topics: BTreeMap<u16, Vec<Topic>>) {
        let keys: HashSet<u64> = topics.values().flatten().map(Topic::key_fingerprint).collect();
        self.feed.retain(|key| keys.contains(&key));
        let closed = self.gaps.plan(topics, self.clock.timestamp(), &mut self.journal);
        self.closed.extend(closed);
    }

    /// The platform refused a topic.
    pub fn refuse(&mut self, topic: &Topic) {
        self.gaps.refuse(topic);
    }

    /// The platform takes a topic that it refused before.
    pub fn permit(&mut self, topic: &Topic) {
        self.gaps.permit(topic);
    }

    /// No session of a shard delivers these topics any more; where none are named, none of its topics.
    pub fn open_gap(
        &mut self,
        shard: u16,
        cause: &'static str,
        from: Timestamp,
        topics: Vec<Topic>,
    ) {
        if topics.is_empty() {
            self.end_suspicion(shard, |_| true, from, LOST);
            self.feed.interrupted(shard);
        }
        let now = self.clock.timestamp();
        self.gaps.open(shard, cause, from, topics, now, &mut self.journal);
    }

    /// A shard delivers again, or for the first time.
    pub fn close_gap(&mut self, shard: u16, to: Timestamp, action: &'static str, now: Time) {
        self.end_gap(shard, to, action, now);
        self.gaps.begin(shard, to);
    }

    /// The same where what was heard before is not in the journal yet, or counts for nothing.
    pub fn end_gap(&mut self, shard: u16, to: Timestamp, action: &'static str, now: Time) {
        // What the last process only suspected, and left open, ends with the first certain delivery of this one.
        self.end_suspicion(shard, |_| true, to, action);
        if !self.unreadable.contains_key(&shard) {
            self.close(shard, UNREADABLE, to, action);
        }
        self.feed.resumed(shard, now);
        self.close(shard, RESTART, to, action);
        self.closed.extend(self.gaps.ask_again(shard));
        self.shown
            .retain(|session, _| self.legs.get(session).is_some_and(|place| place.shard != shard));
    }

    fn close(&mut self, shard: u16, cause: &'static str, to: Timestamp, action: &'static str) {
        let at = self.clock.timestamp();
        self.closed.extend(self.gaps.close(shard, cause, to, action, at, &mut self.journal));
    }

    /// A successor on another channel has taken over: its delivery is certain, whatever its predecessor's was.
    pub fn rotated(&mut self, shard: u16, now: Time) {
        let to = self.clock.timestamp_of(now);
        self.end_suspicion(shard, |_| true, to, "resubscribed");
        self.feed.resumed(shard, now);
    }

    /// What each shard with certain delivery has heard last, for the next process: all of it, but for what waits here.
    pub fn mark(&mut self, mut heard: BTreeMap<u16, Heard>) {
        for (shard, heard) in &mut heard {
            if let Some(received) = self.arbiter.waits_since(*shard) {
                heard.at = received.before(Duration::from_micros(1)).min(heard.at);
            }
        }
        self.gaps.mark(&heard);
    }

    /// The same at an orderly end.
    pub fn mark_last(&self, heard: &BTreeMap<u16, Heard>) {
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
        // A disk that takes nothing would not take the records either: the next process finds the gap open, and tells of it.
        if self.journal.trouble().is_none() {
            for sink in self.gaps.full() {
                self.gaps.end_refusals(sink, "the process ends", at, &mut self.journal);
            }
        }
        self.journal.close();
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
                    if let Some(queues) = self.queues.as_mut().filter(|_| appended.is_accepted) {
                        queues.published(&topic, received);
                    }
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
