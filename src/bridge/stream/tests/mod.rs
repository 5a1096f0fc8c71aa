//! What consumers meet, in which order, and what the journal's bound makes of it.

mod disk;
mod restart;

use super::*;
use crate::bridge::gaps::{FEED_SILENT, Keeper, Kept};
use crate::event::{Event, Topic};
use crate::genesys::Snapshot;
use crate::journal::{Reader, rehearsal};
use crate::lifecycle;
use crate::privacy;
use crate::route::Filter;
use crate::sequence::{self, Certainty};
use std::time::Duration;

const SESSION: SessionId = SessionId(1);

fn arbiter() -> Arbiter {
    Arbiter::new(&sequence::Config {
        hold: Duration::from_secs(5),
        window: Duration::from_secs(60),
        window_events: 100,
    })
}

/// A stream with one session into a sink's journal that has room for about two events.
fn full_after_two() -> (Stream, Reader) {
    let (journal, mut readers) = rehearsal::journal(1_000_000, &["kafka"]);
    let metrics = Arc::new(Metrics::new("test", &["kafka"]));
    let gaps = Gaps::new(Kept::default(), 10, true, None);
    let feed = Feed::new(Duration::ZERO);
    let mut stream = Stream::new(Clock::start(), arbiter(), journal, (gaps, feed), metrics);
    stream.begin(SESSION, 0, 0, Time::START);
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

#[tokio::test]
async fn a_sink_at_its_bound_makes_one_gap_that_names_it_and_ends_without_another_event() {
    let (mut stream, mut reader) = full_after_two();
    hear(&mut stream, 4);
    for _ in 0..3 {
        acknowledge(&mut reader, 1).await;
        hear(&mut stream, 2);
        stream.look(Time::START);
    }
    let gaps: Vec<_> = stream.ledger().list().collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((gaps[0].sink, gaps[0].to), (Some("kafka"), None));
    let published = acknowledge(&mut reader, 2).await;
    // Where events are missing the sink is told so, right before the next one.
    use Kind::{Gap, Notification};
    assert_eq!(published, [Gap, Notification, Gap, Notification]);
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
async fn acknowledge(reader: &mut Reader, notifications: usize) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| **kind == Kind::Notification).count() < notifications {
        kinds.push(first(reader).await.kind);
        reader.advance(1);
        reader.acknowledge(1);
    }
    kinds
}

/// The first event that was not sent.
async fn first(reader: &mut Reader) -> Arc<Event> {
    let mut records = Vec::new();
    reader.peek(1, &mut records).await.expect("memory can be read");
    Arc::clone(&records.first().expect("an event").event)
}

async fn rest(reader: &mut Reader) -> Vec<Kind> {
    let mut records = Vec::new();
    reader.rewind();
    reader.peek(100, &mut records).await.expect("memory can be read");
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

#[tokio::test]
async fn a_gap_is_met_where_events_are_missing_and_before_the_first_that_follows() {
    let (mut stream, mut reader, topics) = live(0);
    say(&mut stream, &topics[0], Time::START);
    let lost = stream.clock.timestamp_of(Time::from_micros(1_000));
    stream.open_gap(0, "cut", lost, Vec::new());
    let later = Time::from_micros(2_000_000);
    say(&mut stream, &topics[0], later);
    let to = stream.clock.timestamp_of(later);
    stream.close_gap(0, to, "resumed", later);
    let closed = stream.poll_closed().expect("it was open");
    assert_eq!((closed.number, closed.topics), (1, topics.to_vec()));
    use Kind::{Gap, GapClosed, GapOpened, Notification};
    let expected = [Notification, GapOpened, Gap, Notification, Gap, GapClosed];
    assert_eq!(rest(&mut reader).await, expected);
}

#[tokio::test]
async fn an_unreadable_frame_is_a_possible_gap_and_a_flood_of_them_is_one() {
    let (mut stream, mut reader, _) = live(0);
    let second = |second: u64| Time::from_micros(second * 1_000_000);
    let complete = stream.clock.timestamp();
    for at in [1, 2, 3, 11] {
        let came = stream.clock.timestamp_of(second(at));
        stream.unreadable(0, complete, came, second(at));
        stream.look(second(at));
    }
    assert_eq!(stream.ledger().open_gaps().count(), 1);
    assert_eq!(stream.poll_closed(), None);
    stream.look(second(21));
    assert!(stream.poll_closed().is_some() && stream.poll_closed().is_none());
    let gaps: Vec<_> = stream.ledger().list().collect();
    assert_eq!(
        (gaps.len(), gaps[0].cause, gaps[0].certainty.as_str()),
        (1, UNREADABLE, "possible")
    );
    let told = rest(&mut reader).await;
    assert_eq!(told.iter().filter(|kind| **kind == Kind::Gap).count(), 4, "{told:?}");
}

/// Records and data, each by the second in which it ends or came.
async fn told(stream: &Stream, reader: &mut Reader, topic: &Topic) -> Vec<(Kind, u64)> {
    let began = stream.clock.timestamp_of(Time::START);
    let mut records = Vec::new();
    reader.rewind();
    reader.peek(100, &mut records).await.expect("memory can be read");
    let own = records.iter().filter(|record| record.event.topic == *topic);
    own.map(|record| {
        let told: Option<serde_json::Value> = serde_json::from_slice(&record.event.body).ok();
        let to = told.and_then(|told| told["to"].as_str()?.parse::<Timestamp>().ok());
        // The calendar may be a microsecond off.
        let at = to.unwrap_or(record.event.received).since(began) + Duration::from_millis(1);
        (record.event.kind, at.as_secs())
    })
    .collect()
}

#[tokio::test]
async fn every_unreadable_frame_of_a_burst_is_told_before_the_next_data_and_once() {
    let (mut stream, mut reader, topics) = live(0);
    let second = |second: u64| Time::from_micros(second * 1_000_000);
    for at in 1..=3 {
        let (complete, came) = (second(2 * at - 1), second(2 * at));
        let [complete, came] = [complete, came].map(|time| stream.clock.timestamp_of(time));
        stream.unreadable(0, complete, came, second(2 * at));
        say(&mut stream, &topics[0], second(2 * at + 1));
    }
    stream.look(second(60));
    use Kind::{Gap, Notification};
    let expected =
        [(Gap, 2), (Notification, 3), (Gap, 5), (Notification, 5), (Gap, 7), (Notification, 7)];
    assert_eq!(told(&stream, &mut reader, &topics[0]).await, expected);
    assert_eq!(told(&stream, &mut reader, &topics[1]).await, [(Gap, 2), (Gap, 6)]);
}

#[tokio::test]
async fn what_two_sessions_have_shown_in_a_gap_is_whole_although_one_of_them_is_lost() {
    let (mut stream, mut reader, topics) = live(0);
    let second = |second: u64| Time::from_micros(second * 1_000_000);
    let lost = stream.clock.timestamp_of(second(1));
    stream.end(SESSION, second(1));
    stream.open_gap(0, "cut", lost, Vec::new());
    let say = |stream: &mut Stream, session, topic: &Topic, at| {
        let (topic, received) = (topic.clone(), stream.clock.timestamp_of(second(at)));
        let body = "{}".into();
        let notification = Notification { topic, body, correlation_id: None, received };
        stream.take(SessionId(session), notification, second(at));
    };
    stream.begin(SessionId(2), 0, 0, second(2));
    stream.begin(SessionId(3), 0, 1, second(2));
    for at in [8, 9] {
        say(&mut stream, 2, &topics[0], at);
        say(&mut stream, 3, &topics[0], at);
    }
    say(&mut stream, 2, &topics[1], 9);
    stream.end(SessionId(2), second(10));
    let to = stream.clock.timestamp_of(second(11));
    stream.close_gap(0, to, "resubscribed", second(11));
    use Kind::Gap;
    let data = |at| (Kind::Notification, at);
    let expected = [(Gap, 8), data(8), data(9)];
    assert_eq!(told(&stream, &mut reader, &topics[0]).await, expected, "another carries it on");
    let expected = [(Gap, 9), data(9), (Gap, 11)];
    assert_eq!(told(&stream, &mut reader, &topics[1]).await, expected);
}

#[tokio::test]
async fn a_lively_queue_that_falls_silent_is_a_possible_gap_until_it_speaks() {
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
    let closed = stream.poll_closed().expect("REST is asked of it like of any other");
    assert_eq!(closed, Closed { number: 1, topics: topics.to_vec() });
    let told = rest(&mut reader).await;
    use Kind::{Gap, GapClosed, GapOpened, Notification};
    assert_eq!(told[40..], [GapOpened, Gap, Gap, GapClosed, Notification]);
}

#[tokio::test]
async fn a_queue_that_leaves_while_it_is_suspected_is_told_and_suspected_no_more() {
    let (mut stream, mut reader, topics) = live(600);
    let another = Topic::new("v2.another");
    let both = [&topics[..], std::slice::from_ref(&another)].concat();
    stream.plan(BTreeMap::from([(0, both)]));
    let second = |second: u64| Time::from_micros(second * 1_000_000);
    for at in 1..=40 {
        say(&mut stream, &topics[1], second(at * 10));
    }
    stream.look(second(1_001));
    assert_eq!((stream.ledger().open_gaps().count(), stream.feed.suspected()), (1, 1));
    stream.plan(BTreeMap::from([(0, vec![another])]));
    assert_eq!((stream.ledger().open_gaps().count(), stream.feed.suspected()), (0, 0));
    assert_eq!(stream.poll_closed(), None, "nobody asks for what is not wanted");
    stream.look(second(5_000));
    assert_eq!((stream.ledger().opened(), stream.feed.suspected()), (1, 0));
    use Kind::{Gap, GapClosed, GapOpened};
    assert_eq!(rest(&mut reader).await[40..], [GapOpened, Gap, Gap, GapClosed]);
}

#[tokio::test]
async fn a_topic_that_leaves_in_a_gap_is_told_then_and_joins_anew_without_one() {
    let (mut stream, mut reader, topics) = live(0);
    let [stays, leaves] = &topics;
    let lost = stream.clock.timestamp();
    stream.open_gap(0, "cut", lost, Vec::new());
    stream.plan(BTreeMap::from([(0, vec![stays.clone()])]));
    use Kind::{Gap, GapOpened, Notification};
    assert_eq!(rest(&mut reader).await, [GapOpened, Gap]);
    // On another shard, which delivers.
    stream.plan(BTreeMap::from([(0, vec![stays.clone()]), (1, vec![leaves.clone()])]));
    stream.begin(SessionId(2), 1, 0, Time::from_micros(1_000_000));
    let received = stream.clock.timestamp_of(Time::from_micros(2_000_000));
    let (topic, body, correlation_id) = (leaves.clone(), "{}".into(), None);
    let said = crate::event::Notification { topic, body, correlation_id, received };
    stream.take(SessionId(2), said, Time::from_micros(2_000_000));
    let kinds = |told: Vec<(Kind, u64)>| told.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(told(&stream, &mut reader, leaves).await), [Gap, Notification]);
    stream.close_gap(0, received, "resumed", Time::from_micros(2_000_000));
    let closed = stream.poll_closed().map(|closed| closed.topics);
    assert_eq!(closed, Some(vec![stays.clone()]));
    assert_eq!(kinds(told(&stream, &mut reader, leaves).await), [Gap, Notification]);
    assert_eq!(kinds(told(&stream, &mut reader, stays).await), [Gap]);
}

#[tokio::test]
async fn a_topic_that_moves_to_another_shard_in_a_gap_is_told_before_its_first_data_there() {
    let (mut stream, mut reader, topics) = live(0);
    let [stays, moves] = &topics;
    stream.open_gap(0, "cut", stream.clock.timestamp(), Vec::new());
    stream.plan(BTreeMap::from([(0, vec![stays.clone()]), (1, vec![moves.clone()])]));
    let second = Time::from_micros(2_000_000);
    stream.begin(SessionId(2), 1, 0, Time::from_micros(1_000_000));
    let received = stream.clock.timestamp_of(second);
    let (topic, body, correlation_id) = (moves.clone(), "{}".into(), None);
    let said = crate::event::Notification { topic, body, correlation_id, received };
    stream.take(SessionId(2), said, second);
    stream.close_gap(0, received, "resumed", second);
    use Kind::{Gap, GapClosed, GapOpened, Notification};
    assert_eq!(rest(&mut reader).await, [GapOpened, Gap, Notification, Gap, GapClosed]);
    assert_eq!(told(&stream, &mut reader, moves).await.len(), 2, "once");
}

#[tokio::test]
async fn a_snapshot_that_a_live_event_has_overtaken_is_not_published() {
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
    assert_eq!(rest(&mut reader).await, expected);
}

#[tokio::test]
async fn a_sink_that_is_too_full_for_a_snapshot_lacks_it_and_is_shown_another_when_it_has_room() {
    let (mut stream, mut reader, topics) = live(0);
    let (what, received) = (lifecycle::Snapshot::Observations, stream.clock.timestamp());
    let bodies = vec![" ".repeat(450_000).into()];
    let shown = Snapshot { topic: topics[0].clone(), bodies };
    for _ in 0..6 {
        stream.await_snapshots(&topics[..1]);
        assert_eq!(stream.publish_snapshots(what, vec![shown.clone()], received), []);
    }
    let gap = stream.ledger().open_gaps().next().expect("it lacks some").clone();
    assert_eq!((gap.sink, gap.cause), (Some("kafka"), JOURNAL_FULL));
    let taken = rest(&mut reader).await.len();
    reader.advance(taken);
    reader.acknowledge(taken);
    stream.look(Time::START);
    let closed = stream.poll_closed().expect("there is room");
    assert_eq!(closed, Closed { number: gap.number, topics: topics[..1].to_vec() });
}

#[tokio::test]
async fn a_snapshot_is_published_without_what_may_not_leave_the_process() {
    let (stream, mut reader, _) = live(0);
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
    assert!(scraped(&stream).contains("\ntieline_snapshots_total 1\n"));
    assert_eq!(first(&mut reader).await.body, r#"{"members":[{"id":"u","joined":true}]}"#);
}

/// What a scrape would show.
fn scraped(stream: &Stream) -> String {
    String::from_utf8(stream.metrics.encode().expect("metrics")).expect("text")
}

#[tokio::test]
async fn filters_tap_and_sinks_see_an_event_without_what_may_not_leave_the_process() {
    let (journal, mut readers) = rehearsal::journal(1_000_000, &["kafka", "nats"]);
    let metrics = Arc::new(Metrics::new("test", &["kafka", "nats"]));
    let gaps = Gaps::new(Kept::default(), 10, true, None);
    let parts = (gaps, Feed::new(Duration::ZERO));
    let stream = Stream::new(Clock::start(), arbiter(), journal, parts, metrics);
    let rules = "profile = \"off\"\n[drop]\n\"v2.routing.queues.users\" = [\"name\"]\n[hash]\n";
    let rules: privacy::Config = toml::from_str(rules).expect("rules");
    // One asks for the field that is dropped, one for its absence.
    let filters = ["has(event.data.name)", "!has(event.data.name)"];
    let filters = filters.map(|text| Some(Filter::parse(text).expect("a filter")));
    let tap = Tap::default();
    let mut stream = stream
        .guarded(Privacy::new(&rules, None))
        .routed(Routes::new(filters.into()))
        .tapped(tap.clone());
    let mut watcher = tap.watch();
    stream.begin(SESSION, 0, 0, Time::START);
    let notification = Notification {
        topic: Topic::new(&format!("v2.routing.queues.{QUEUE}.users")),
        body: r#"{"id":"u","name":"Ada Byron"}"#.into(),
        correlation_id: None,
        received: Timestamp::from_micros(1),
    };
    stream.take(SESSION, notification, Time::START);
    let without = r#"{"id":"u"}"#;
    assert_eq!(watcher.try_recv().expect("an event").body.as_deref(), Some(without.as_bytes()));
    assert_eq!(first(&mut readers[1]).await.body, without);
    assert_eq!(rest(&mut readers[0]).await, [], "its filter saw the name");
    let metrics = scraped(&stream);
    assert!(metrics.contains("tieline_events_filtered_total{sink=\"kafka\"} 1"), "{metrics}");
    assert!(metrics.contains("tieline_filter_errors_total{sink=\"nats\"} 0"), "{metrics}");
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
    let shown: Vec<_> = std::iter::from_fn(|| watcher.try_recv().ok()).collect();
    let pushed: Vec<u64> = shown.iter().filter_map(|event| event.nth).collect();
    assert_eq!(pushed, [2], "not what came before, and not what found no room");
    let own: Vec<&str> =
        shown.iter().filter(|event| event.nth.is_none()).map(|event| event.name()).collect();
    assert_eq!(own.first(), Some(&"tieline.gap.opened.v1"), "{own:?}");
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

#[tokio::test]
async fn damage_is_told_once_to_whom_it_concerns_and_counted_once() {
    let (mut stream, mut reader, topics) = live(0);
    let at = Timestamp::from_micros(9);
    let mut damaged = |sink, stretch| {
        stream.gaps.damaged(sink, stretch, at, at, &mut stream.journal).map(|gap| gap.topics)
    };
    assert_eq!(damaged(None, (2, 4)), Some(topics.to_vec()));
    // The sink reads it too, again and again, and then some more.
    for _ in 0..3 {
        assert_eq!(damaged(Some("kafka"), (3, 4)), None);
    }
    assert_eq!(damaged(Some("kafka"), (4, 6)), Some(topics.to_vec()));
    assert_eq!(damaged(Some("nats"), (5, 6)), Some(topics.to_vec()), "it lacks that too");
    assert_eq!(damaged(Some("kafka"), (2, 6)), None);
    let counts: Vec<u64> = std::iter::from_fn(|| stream.poll_observation())
        .filter_map(|told| {
            if let Observation::JournalDamaged { events, .. } = told { Some(events) } else { None }
        })
        .collect();
    assert_eq!(counts, [3, 2]);
    use Kind::{Gap, GapClosed, GapOpened};
    assert_eq!(rest(&mut reader).await[..4], [GapOpened, Gap, Gap, GapClosed]);
}

#[test]
fn what_the_disk_did_not_take_while_the_process_ends_is_counted_and_left_to_the_next_one() {
    let disk = Arc::<rehearsal::Model>::default();
    let (journal, _, _) = rehearsal::open(&rehearsal::config(), &disk, "boot", &["kafka"]);
    let metrics = Arc::new(Metrics::new("test", &["kafka"]));
    let gaps = Gaps::new(Kept::default(), 10, true, None);
    let (clock, feed) = (Clock::start(), Feed::new(Duration::ZERO));
    let mut stream = Stream::new(clock, arbiter(), journal, (gaps, feed), metrics);
    stream.close_journal(Time::START);
    disk.fail(Some(std::io::ErrorKind::StorageFull));
    let notification = Notification {
        topic: Topic::new("a"),
        body: "{}".into(),
        correlation_id: None,
        received: Timestamp::from_micros(1),
    };
    stream.journal.append(Entry::pushed(notification, Marks::default()));
    stream.look_for_room();
    let gap = stream.ledger().open_gaps().next().expect("a gap");
    assert_eq!((gap.sink, gap.cause), (Some("kafka"), JOURNAL_DISK));
    let told = std::iter::from_fn(|| stream.poll_observation());
    assert!(
        told.into_iter().any(|one| one == Observation::JournalFull { sink: "kafka", count: 1 })
    );
}
