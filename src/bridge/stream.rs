//! From a notification to the journal: arbitration, marks, numbers, and the ledger of what may be missing.

use super::age::Ages;
use super::tap::{self, Tap, Tapped};
use crate::clock::Clock;
use crate::event::{Entry, Marks, Notification};
use crate::journal::{Found, Journal};
use crate::lifecycle::SessionId;
use crate::observation::Observation;
use crate::privacy::Privacy;
use crate::route::{Routes, Wanted};
use crate::sequence::{Arbiter, Certainty, Ledger, Leg, Verdict};
use crate::telemetry::metrics::Metrics;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The cause of a gap that the journal's bound makes.
const JOURNAL_FULL: &str = "journal_full";

/// The cause of a gap that the journal's disk makes.
const JOURNAL_DISK: &str = "journal_disk";

/// The cause of a gap that damage to the journal makes.
const JOURNAL_DAMAGED: &str = "journal_damaged";
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

/// The stream from the sockets to the journal.
#[derive(Debug)]
pub struct Stream {
    clock: Clock,
    arbiter: Arbiter,
    /// Sessions whose frames are taken; late frames of a session that was closed are nobody's.
    legs: BTreeSet<SessionId>,
    privacy: Privacy,
    routes: Routes,
    /// When each sink's filter errors were last told.
    told: BTreeMap<&'static str, Time>,
    journal: Journal,
    ledger: Ledger,
    /// The open gap of each shard.
    gaps: BTreeMap<u16, u64>,
    /// The open gap of each sink that the journal refuses events, and how many.
    full: BTreeMap<&'static str, (u64, u64)>,
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
        ledger: Ledger,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            clock,
            arbiter,
            legs: BTreeSet::new(),
            privacy: Privacy::off(),
            routes: Routes::default(),
            told: BTreeMap::new(),
            journal,
            ledger,
            gaps: BTreeMap::new(),
            full: BTreeMap::new(),
            metrics,
            counts: Counts::default(),
            observations: VecDeque::new(),
            tap: Tap::default(),
            ages: Ages::default(),
        }
    }

    /// The same stream, which shows what the journal takes at `tap` too.
    #[must_use]
    pub fn tapped(self, tap: Tap) -> Self {
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

    /// Tells what was found of an earlier life of the journal: what of it is damaged is a gap.
    pub fn note_found(&mut self, found: &Found) {
        let waiting = found.waiting.iter().map(|(_, events)| *events).max().unwrap_or(0);
        if let Some(last_epoch) = found.last_epoch.clone() {
            let (was_closed, torn_bytes) = (found.was_closed, found.torn_bytes);
            let found = Observation::JournalFound { last_epoch, was_closed, waiting, torn_bytes };
            self.observations.push_back(found);
        }
        for (sink, events) in found.released.iter().cloned() {
            self.observations.push_back(Observation::SinkReleased { sink, events });
        }
        for sink in found.added.iter().copied() {
            self.observations.push_back(Observation::SinkAdded { sink });
        }
        for (first, last) in &found.lost {
            self.note_damage(None, last - first + 1, *first, found.last_received);
        }
    }

    /// Tells what happened in the journal.
    fn note_journal(&mut self) {
        let news = self.journal.news();
        self.metrics.journal.show(news.bytes, news.segments, news.keys);
        news.syncs.iter().for_each(|took| self.metrics.journal.synced(*took));
        for (epoch, reason) in news.epochs {
            let epoch = epoch.to_string();
            self.observations.push_back(Observation::EpochBegan { epoch, reason });
        }
        for (operation, detail) in news.failures {
            self.observations.push_back(Observation::JournalFailed { operation, detail });
        }
        for (sink, events, first) in news.lost {
            self.note_damage(Some(sink), events, first, None);
        }
    }

    /// Names what of the journal is damaged: a gap of its own that is over when it is found.
    fn note_damage(
        &mut self,
        sink: Option<&'static str>,
        events: u64,
        first: u64,
        from: Option<Timestamp>,
    ) {
        let now = self.clock.timestamp();
        let from = from.unwrap_or(now);
        let number = self.ledger.open(0, JOURNAL_DAMAGED, Certainty::Certain, from, 0);
        if let Some(sink) = sink {
            self.ledger.concern(number, sink);
        }
        let (shard, cause) = (0, JOURNAL_DAMAGED);
        self.observations.push_back(Observation::GapOpened { number, shard, cause, from });
        self.observations.push_back(Observation::JournalDamaged { events, first });
        self.close(number, now, "what is whole is delivered");
    }

    /// Has what was published written.
    pub fn flush(&mut self) {
        self.journal.flush();
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
        self.publish(now);
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
            self.publish(now);
        }
    }

    /// A session said something.
    pub fn take(&mut self, session: SessionId, notification: Notification, now: Time) {
        if !self.legs.contains(&session) {
            return;
        }
        self.counts.received += 1;
        self.metrics.stream.received(&notification.topic);
        if let Some(age) = self.ages.sample(&notification, now) {
            self.metrics.stream.aged(age);
        }
        self.arbiter.admit(Leg(session.0), notification, now);
        self.publish(now);
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

    /// Ends the gaps of sinks that have room again. Called now and then, not for each event: a sink at its bound takes one and
    /// refuses the next.
    pub fn look_for_room(&mut self) {
        self.note_journal();
        let refused = self.journal.take_refused();
        let events = refused.iter().map(|refused| refused.count).max().unwrap_or(0);
        self.counts.published = self.counts.published.saturating_sub(events);
        for refused in refused {
            self.note_refusal(refused.sink, refused.count, JOURNAL_DISK, refused.since);
        }
        if self.full.is_empty() {
            return;
        }
        for stats in self.journal.stats().iter().filter(|stats| stats.has_room()) {
            self.end_refusals(stats.sink, "there is room again");
        }
    }

    fn end_refusals(&mut self, sink: &'static str, action: &'static str) {
        if let Some((number, count)) = self.full.remove(sink) {
            self.observations.push_back(Observation::JournalFull { sink, count });
            self.close(number, self.clock.timestamp(), action);
        }
    }

    /// Publishes what is held, and lets the journal's readers see the end.
    pub fn close_journal(&mut self, now: Time) {
        for session in std::mem::take(&mut self.legs) {
            self.arbiter.end(Leg(session.0), now);
        }
        self.publish(now);
        self.look_for_room();
        for sink in self.full.keys().copied().collect::<Vec<_>>() {
            self.end_refusals(sink, "the process ends");
        }
        self.journal.close();
    }

    fn close(&mut self, number: u64, to: Timestamp, action: &'static str) {
        if let Some(gap) = self.ledger.close(number, to, action) {
            let (shard, cause, from) = (gap.shard, gap.cause, gap.from);
            let closed = Observation::GapClosed { number, shard, cause, from, to, action };
            self.observations.push_back(closed);
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
                    let received = notification.received;
                    // Filters see what consumers see.
                    let body = std::mem::take(&mut notification.body);
                    notification.body = self.privacy.apply(&notification.topic, body);
                    let watched = self.tap.is_watched().then(|| notification.clone());
                    let wanted = self.route(&notification, marks, now);
                    let entry = Entry::pushed(notification, marks);
                    let appended = self.journal.append_for(wanted, entry);
                    self.counts.published += u64::from(appended.is_accepted);
                    if let Some(notification) = watched.filter(|_| appended.is_accepted) {
                        self.show(notification, marks);
                    }
                    let cause = if appended.by_disk { JOURNAL_DISK } else { JOURNAL_FULL };
                    for sink in appended.refused_by {
                        self.note_refusal(sink, 1, cause, received);
                    }
                    let micros = journalled.as_micros().saturating_sub(received.as_micros());
                    self.metrics.stream.journalled(Duration::from_micros(micros));
                }
            }
        }
    }

    /// Shows an event to whoever watches.
    fn show(&self, notification: Notification, marks: Marks) {
        let Notification { topic, body, received, .. } = notification;
        let (nth, length) = (self.counts.published, body.len());
        let body = Some(body).filter(|_| length <= tap::BODY_MAX);
        self.tap.show(Tapped { nth, topic, body, length, received, marks });
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

    /// Counts events that a sink will not get, and opens its gap. `received` is when the first of them was heard.
    fn note_refusal(
        &mut self,
        sink: &'static str,
        count: u64,
        cause: &'static str,
        received: Timestamp,
    ) {
        if let Some(sink) = self.metrics.sink(sink) {
            sink.refused(count);
        }
        let (_, counted) = self.full.entry(sink).or_insert_with(|| {
            let certainty = Certainty::Certain;
            let number = self.ledger.open(0, cause, certainty, received, 0);
            self.ledger.concern(number, sink);
            let (shard, from) = (0, received);
            self.observations.push_back(Observation::GapOpened { number, shard, cause, from });
            self.observations.push_back(Observation::JournalFull { sink, count });
            (number, 0)
        });
        *counted += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;
    use crate::journal::{Reader, rehearsal};
    use crate::sequence;
    use std::time::Duration;

    const SESSION: SessionId = SessionId(1);

    /// A stream with one session into a sink's journal that has room for about two events.
    fn full_after_two() -> (Stream, Reader) {
        let arbitration = sequence::Config {
            hold: Duration::from_secs(5),
            window: Duration::from_secs(60),
            window_events: 100,
        };
        let (journal, mut readers) = rehearsal::journal(540, &["kafka"]);
        let metrics = Arc::new(Metrics::new("test", &["kafka"]));
        let arbiter = Arbiter::new(&arbitration);
        let mut stream = Stream::new(Clock::start(), arbiter, journal, Ledger::new(10), metrics);
        stream.begin(SESSION, 0, Time::START);
        (stream, readers.remove(0))
    }

    fn hear(stream: &mut Stream, events: u64) {
        for _ in 0..events {
            let notification = Notification {
                topic: Topic::new("a"),
                body: "{}".into(),
                correlation_id: None,
                received: Timestamp::from_micros(1),
            };
            stream.take(SESSION, notification, Time::START);
        }
    }

    /// The sink acknowledges so much.
    async fn acknowledge(reader: &mut Reader, events: usize) {
        reader.peek(events, &mut Vec::new()).await.expect("memory can be read");
        reader.advance(events);
        reader.acknowledge(events);
    }

    #[tokio::test]
    async fn a_sink_at_its_bound_makes_one_gap_that_names_it_and_ends_without_another_event() {
        let (mut stream, mut reader) = full_after_two();
        hear(&mut stream, 4);
        for _ in 0..3 {
            acknowledge(&mut reader, 1).await;
            hear(&mut stream, 2);
            stream.look_for_room();
        }
        let gaps: Vec<_> = stream.ledger().list().collect();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!((gaps[0].sink, gaps[0].to), (Some("kafka"), None));
        acknowledge(&mut reader, 2).await;
        stream.look_for_room();
        assert_eq!(stream.ledger().open_gaps().count(), 0);
        let counts: Vec<u64> = std::iter::from_fn(|| stream.poll_observation())
            .filter_map(|told| {
                if let Observation::JournalFull { count, .. } = told { Some(count) } else { None }
            })
            .collect();
        assert_eq!(counts, [1, 5], "each refused event is counted");
    }

    #[test]
    fn the_tap_shows_what_the_journal_took_and_nothing_else() {
        let (stream, _reader) = full_after_two();
        let tap = Tap::default();
        let mut stream = stream.tapped(tap.clone());
        hear(&mut stream, 1);
        let mut watcher = tap.watch();
        hear(&mut stream, 5);
        drop(stream);
        let shown: Vec<u64> =
            std::iter::from_fn(|| watcher.try_recv().ok()).map(|event| event.nth).collect();
        assert_eq!(shown, [2], "not what came before, and not what found no room");
    }

    #[test]
    fn a_gap_that_is_open_at_the_end_is_told_with_its_count() {
        let (mut stream, _reader) = full_after_two();
        hear(&mut stream, 5);
        stream.close_journal(Time::START);
        assert_eq!(stream.ledger().open_gaps().count(), 0);
        let last = std::iter::from_fn(|| stream.poll_observation());
        let told = last.filter(|one| *one == Observation::JournalFull { sink: "kafka", count: 3 });
        assert_eq!(told.count(), 1);
    }
}
