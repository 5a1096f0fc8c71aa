//! From a notification to the journal: arbitration, marks, numbers, and what is known of gaps while it passes.

use super::gaps::{Closed, FEED_SILENT, Gaps, RESTART, UNREADABLE};
use super::tap::{self, Tap, Tapped};
use crate::clock::Clock;
use crate::event::{Entry, Kind, Marks, Notification, Topic};
use crate::genesys::Snapshot;
use crate::journal::Journal;
use crate::lifecycle::{self, SessionId};
use crate::observation::Observation;
use crate::privacy::Privacy;
use crate::route::{Routes, Wanted};
use crate::sequence::{Arbiter, Feed, Ledger, Leg, Rebased, Verdict};
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

/// The stream from the sockets to the journal.
#[derive(Debug)]
pub struct Stream {
    clock: Clock,
    arbiter: Arbiter,
    /// Sessions whose frames are taken, and their shards; late frames of a session that was closed are nobody's.
    legs: BTreeMap<SessionId, u16>,
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

    /// The journal, for its statistics.
    pub const fn journal(&self) -> &Journal {
        &self.journal
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
    pub fn begin(&mut self, session: SessionId, shard: u16, now: Time) {
        self.legs.insert(session, shard);
        self.arbiter.begin(Leg(session.0), shard, now);
    }

    /// Nothing more comes from a session.
    pub fn end(&mut self, session: SessionId, now: Time) {
        if let Some(shard) = self.legs.remove(&session) {
            self.arbiter.end(Leg(session.0), now);
            self.publish(now);
            self.gaps.distrust(shard, RESTART);
        }
    }

    /// A session said something.
    pub fn take(&mut self, session: SessionId, notification: Notification, now: Time) {
        let Some(shard) = self.legs.get(&session).copied() else {
            return;
        };
        self.counts.received += 1;
        self.metrics.stream.received(&notification.topic);
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

    /// The topics of each shard are known.
    pub fn plan(&mut self, topics: BTreeMap<u16, Vec<Topic>>) {
        self.gaps.plan(topics, self.clock.timestamp(), &mut self.journal);
    }

    /// The platform refused a topic.
    pub fn refuse(&mut self, topic: &Topic) {
        self.gaps.refuse(topic);
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
        let Some(shard) = self.legs.get(&session).copied() else {
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

    /// Snapshots of these topics are being read.
    pub fn await_snapshots(&mut self, topics: &[Topic]) {
        self.awaited = topics.iter().map(|topic| (topic.clone(), false)).collect();
    }

    /// Publishes snapshots, but none that a live event has overtaken since it was asked for. Answers the topics of those.
    pub fn publish_snapshots(
        &mut self,
        what: lifecycle::Snapshot,
        shown: Vec<Snapshot>,
        received: Timestamp,
    ) -> Vec<Topic> {
        let kind = match what {
            lifecycle::Snapshot::Observations => Kind::ObservationsSnapshot,
            lifecycle::Snapshot::Members => Kind::MembersSnapshot,
        };
        let mut stale = Vec::new();
        for Snapshot { topic, bodies } in shown {
            let overtaken = self.awaited.remove(&topic).unwrap_or(true);
            if overtaken || self.arbiter.holds(topic.key_fingerprint()) {
                stale.push(topic);
                continue;
            }
            for body in bodies {
                let body = self.privacy.apply(&topic, body);
                self.journal.append(Entry::own(kind, topic.clone(), body, received));
            }
        }
        stale
    }

    /// Re-basing after a gap is over.
    pub fn rebased(&mut self, gap: u64, rebased: Rebased) {
        self.gaps.rebased(gap, rebased, self.clock.timestamp(), &mut self.journal);
    }

    /// Ends the gaps of sinks that have room again: a sink at its bound takes one event and refuses the next.
    fn look_for_room(&mut self) -> Vec<Closed> {
        let full = self.gaps.full();
        let now = self.clock.timestamp();
        let mut closed = Vec::new();
        if !full.is_empty() {
            for stats in self.journal.stats().iter().filter(|stats| stats.has_room()) {
                let action = "the sink acknowledged and there is room again";
                closed.extend(self.gaps.end_refusals(stats.sink, action, now, &mut self.journal));
            }
        }
        self.gaps.retry(now, &mut self.journal);
        closed
    }

    /// Publishes what is held, and lets the journal's readers see the end.
    pub fn close_journal(&mut self, now: Time) {
        for session in std::mem::take(&mut self.legs).into_keys() {
            self.arbiter.end(Leg(session.0), now);
        }
        self.publish(now);
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
                    let data = (notification.topic.clone(), notification.received);
                    // Filters see what consumers see.
                    let body = std::mem::take(&mut notification.body);
                    notification.body = self.privacy.apply(&notification.topic, body);
                    let watched = self.tap.is_watched().then(|| notification.clone());
                    let wanted = self.route(&notification, marks, now);
                    if self.gaps.is_busy() {
                        self.gaps.before(&notification, self.clock.timestamp(), &mut self.journal);
                    }
                    let entry = Entry::pushed(notification, marks);
                    let appended = self.journal.append_for(wanted, entry);
                    self.counts.published += u64::from(appended.position.is_some());
                    if let (Some(notification), Some(position)) = (watched, appended.position) {
                        let Notification { topic, body, received, .. } = notification;
                        let length = body.len();
                        let body = Some(body).filter(|_| length <= tap::BODY_MAX);
                        self.tap.show(Tapped { position, topic, body, length, received, marks });
                    }
                    self.note_refusals(&data, &appended.refused_by);
                }
            }
        }
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

    fn note_refusals(&mut self, data: &(Topic, Timestamp), refused_by: &[&'static str]) {
        if refused_by.is_empty() {
            return;
        }
        for sink in refused_by {
            if let Some(sink) = self.metrics.sink(sink) {
                sink.refused(1);
            }
        }
        self.gaps.refused(data, refused_by, &mut self.journal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::gaps::Kept;
    use crate::event::{Epoch, Topic};
    use crate::journal::{self, Reader};
    use crate::privacy;
    use crate::sequence;
    use crate::size::Size;
    use std::time::Duration;

    const SESSION: SessionId = SessionId(1);

    /// A stream with one session into a sink's journal that has room for about two events.
    fn full_after_two() -> (Stream, Reader) {
        let arbitration = sequence::Config {
            hold: Duration::from_secs(5),
            window: Duration::from_secs(60),
            window_events: 100,
        };
        let bound = journal::Config { max_bytes: Size(1_000_000) };
        let epoch = Epoch::new(Timestamp::default(), 1);
        let (journal, mut readers) = Journal::new(&bound, epoch, &["kafka"]);
        let metrics = Arc::new(Metrics::new("test", &["kafka"]));
        let arbiter = Arbiter::new(&arbitration);
        let gaps = Gaps::new(Kept::default(), 10, true, None);
        let feed = Feed::new(Duration::ZERO);
        let mut stream = Stream::new(Clock::start(), arbiter, journal, (gaps, feed), metrics);
        stream.begin(SESSION, 0, Time::START);
        (stream, readers.remove(0))
    }

    fn hear(stream: &mut Stream, events: u64) {
        for _ in 0..events {
            let notification = Notification {
                topic: Topic::new("a"),
                body: " ".repeat(450_000).into(),
                correlation_id: None,
                received: Timestamp::from_micros(1),
            };
            stream.take(SESSION, notification, Time::START);
        }
    }

    #[test]
    fn a_sink_at_its_bound_makes_one_gap_that_names_it_and_ends_without_another_event() {
        let (mut stream, mut reader) = full_after_two();
        hear(&mut stream, 4);
        for _ in 0..3 {
            acknowledge(&mut reader, 1);
            hear(&mut stream, 2);
            stream.look(Time::START);
        }
        let gaps: Vec<_> = stream.ledger().list().collect();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!((gaps[0].sink, gaps[0].to), (Some("kafka"), None));
        let published = acknowledge(&mut reader, 2);
        // Where events are missing the sink is told so, right before the next one.
        assert_eq!(published, [Kind::Notification, Kind::Gap, Kind::Notification]);
        stream.look(Time::START);
        assert_eq!(stream.ledger().open_gaps().count(), 0);
        let counts: Vec<u64> = std::iter::from_fn(|| stream.poll_observation())
            .filter_map(|told| {
                if let Observation::JournalFull { count, .. } = told { Some(count) } else { None }
            })
            .collect();
        assert_eq!(counts, [1, 5], "each refused event is counted");
    }

    /// Acknowledges so many notifications and what of ours lies before them. Answers what all of it was.
    fn acknowledge(reader: &mut Reader, notifications: usize) -> Vec<Kind> {
        let mut kinds = Vec::new();
        while kinds.iter().filter(|kind| **kind == Kind::Notification).count() < notifications {
            kinds.push(reader.first().expect("something to acknowledge").event.kind);
            reader.acknowledge(1);
        }
        kinds
    }

    fn rest(reader: &mut Reader) -> Vec<Kind> {
        let mut records = Vec::new();
        reader.rewind();
        reader.peek(100, &mut records);
        records.iter().map(|record| record.event.kind).collect()
    }

    const QUEUE: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";

    /// A stream of one live session with a queue's topics, into a journal with room.
    fn live(feed_silence: u64) -> (Stream, Reader, [Topic; 2]) {
        let (mut stream, reader) = full_after_two();
        stream.feed = Feed::new(Duration::from_secs(feed_silence));
        let topics = ["analytics.queues.{}.observations", "routing.queues.{}.conversations"];
        let topics = topics.map(|name| Topic::new(&format!("v2.{}", name.replace("{}", QUEUE))));
        stream.plan(BTreeMap::from([(0, topics.to_vec())]));
        (stream, reader, topics)
    }

    fn say(stream: &mut Stream, topic: &Topic, now: Time) {
        let received = stream.clock.timestamp_of(now);
        let (topic, body) = (topic.clone(), "{}".into());
        let notification = Notification { topic, body, correlation_id: None, received };
        stream.take(SESSION, notification, now);
    }

    #[test]
    fn a_gap_is_met_where_events_are_missing_and_before_the_first_that_follows() {
        let (mut stream, mut reader, topics) = live(0);
        say(&mut stream, &topics[0], Time::START);
        let lost = stream.clock.timestamp_of(Time::from_micros(1_000));
        stream.open_gap(0, "cut", lost);
        let later = Time::from_micros(2_000_000);
        say(&mut stream, &topics[0], later);
        let to = stream.clock.timestamp_of(later);
        let closed = stream.close_gap(0, to, "resumed", later).expect("it was open");
        assert_eq!((closed.number, closed.topics), (1, topics.to_vec()));
        use Kind::{Gap, GapClosed, GapOpened, Notification};
        let expected = [Notification, GapOpened, Gap, Notification, Gap, GapClosed];
        assert_eq!(rest(&mut reader), expected);
    }

    #[test]
    fn an_unreadable_frame_is_a_possible_gap_and_a_flood_of_them_is_one() {
        let (mut stream, mut reader, _) = live(0);
        let second = |second: u64| Time::from_micros(second * 1_000_000);
        let complete = stream.clock.timestamp();
        for at in [1, 2, 3, 11] {
            stream.unreadable(SESSION, complete, second(at));
            stream.look(second(at));
        }
        assert_eq!(stream.ledger().open_gaps().count(), 1);
        let closed = stream.look(second(21));
        assert_eq!(closed.len(), 1);
        let gaps: Vec<_> = stream.ledger().list().collect();
        assert_eq!(
            (gaps.len(), gaps[0].cause, gaps[0].certainty.as_str()),
            (1, UNREADABLE, "possible")
        );
        let told = rest(&mut reader);
        assert_eq!(told.iter().filter(|kind| **kind == Kind::Gap).count(), 4, "{told:?}");
    }

    #[test]
    fn a_lively_queue_that_falls_silent_is_a_possible_gap_until_it_speaks() {
        let (mut stream, mut reader, topics) = live(600);
        let second = |second: u64| Time::from_micros(second * 1_000_000);
        for at in 1..=40 {
            say(&mut stream, &topics[1], second(at * 10));
        }
        stream.look(second(1_000));
        assert_eq!(stream.ledger().open_gaps().count(), 0);
        stream.look(second(1_001));
        let gap = stream.ledger().open_gaps().next().expect("a suspicion").clone();
        assert_eq!((gap.cause, gap.certainty.as_str(), gap.topics), (FEED_SILENT, "possible", 2));
        say(&mut stream, &topics[1], second(1_100));
        assert_eq!(stream.ledger().open_gaps().count(), 0);
        let told = rest(&mut reader);
        use Kind::{Gap, GapClosed, GapOpened, Notification};
        assert_eq!(told[40..], [GapOpened, Gap, Gap, GapClosed, Notification]);
    }

    #[test]
    fn a_snapshot_that_a_live_event_has_overtaken_is_not_published() {
        let (mut stream, mut reader, topics) = live(0);
        let shown = |topic: &Topic| Snapshot { topic: topic.clone(), bodies: vec!["{}".into()] };
        let what = lifecycle::Snapshot::Observations;
        let received = stream.clock.timestamp();
        stream.await_snapshots(&topics[..1]);
        say(&mut stream, &topics[0], Time::START);
        let stale = stream.publish_snapshots(what, vec![shown(&topics[0])], received);
        assert_eq!(stale, topics[..1]);
        stream.await_snapshots(&topics[..1]);
        say(&mut stream, &topics[1], Time::START);
        assert_eq!(stream.publish_snapshots(what, vec![shown(&topics[0])], received), []);
        let expected = [Kind::Notification, Kind::Notification, Kind::ObservationsSnapshot];
        assert_eq!(rest(&mut reader), expected);
    }

    #[test]
    fn a_snapshot_is_published_without_what_may_not_leave_the_process() {
        let (stream, reader, _) = live(0);
        let rules =
            "profile = \"off\"\n[drop]\n\"v2.routing.queues.users\" = [\"members.name\"]\n[hash]\n";
        let rules: privacy::Config = toml::from_str(rules).expect("rules");
        let mut stream = stream.guarded(Privacy::new(&rules, None));
        let topic = Topic::new(&format!("v2.routing.queues.{QUEUE}.users"));
        let bodies = vec![r#"{"members":[{"id":"u","name":"Ada Byron","joined":true}]}"#.into()];
        stream.await_snapshots(std::slice::from_ref(&topic));
        let received = stream.clock.timestamp();
        let shown = vec![Snapshot { topic, bodies }];
        assert_eq!(stream.publish_snapshots(lifecycle::Snapshot::Members, shown, received), []);
        let record = reader.first().expect("the snapshot");
        assert_eq!(record.event.body, r#"{"members":[{"id":"u","joined":true}]}"#);
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
            std::iter::from_fn(|| watcher.try_recv().ok()).map(|event| event.position).collect();
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
