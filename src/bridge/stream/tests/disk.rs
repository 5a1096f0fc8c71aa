//! A disk that fills up, fails and comes back under two sessions that do not hear the same, and sinks at their bounds: whatever a sink
//! lacks it is told of where it is missing, before anything of the topic that follows.

use super::*;
use crate::journal::rehearsal::Model;
use crate::journal::{Config, Sync};
use crate::size::Size;
use proptest::prelude::*;
use std::io::ErrorKind;

const SINKS: [&str; 2] = ["kafka", "nats"];

const TOPICS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Both sessions hear something, or one of them alone: what the follower alone hears goes out late.
    Heard {
        topic: usize,
        first: bool,
        second: bool,
    },
    /// REST shows something.
    Shown {
        topic: usize,
    },
    /// The disk has so many bytes in all.
    Room(Option<usize>),
    Fail(Option<ErrorKind>),
    /// What waits is written.
    Flush,
    /// What the journal says is heard, as each second.
    Look,
    /// A sink takes so many.
    Taken {
        sink: usize,
        count: usize,
    },
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    let heard = (0..TOPICS, 0..4_u8).prop_map(|(topic, by)| Step::Heard {
        topic,
        first: by != 1,
        second: by != 2,
    });
    let room = proptest::option::of(0_usize..20_000).prop_map(Step::Room);
    let errors = [None, Some(ErrorKind::StorageFull), Some(ErrorKind::ReadOnlyFilesystem)];
    prop_oneof![
        12 => heard,
        1 => (0..TOPICS).prop_map(|topic| Step::Shown { topic }),
        1 => room,
        2 => proptest::sample::select(errors.to_vec()).prop_map(Step::Fail),
        4 => Just(Step::Flush),
        3 => Just(Step::Look),
        3 => (0..SINKS.len(), 1_usize..12).prop_map(|(sink, count)| Step::Taken { sink, count }),
        1 => Just(Step::Pause),
    ]
}

/// A stream, its disk, and what each sink has had of it.
struct Side {
    stream: Stream,
    readers: Vec<Reader>,
    disk: Arc<Model>,
    held: Vec<Vec<Held>>,
}

/// What a sink had: something that was published, or word of what it lacks.
#[derive(Clone, Debug)]
struct Held {
    topic: Topic,
    number: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Event { body: String, received: Timestamp },
    Lacks { count: u64, from: Timestamp, to: Timestamp },
    Control,
}

impl Held {
    fn of(record: &crate::sink::Record) -> Self {
        let event = &record.event;
        let (topic, number) = (event.topic.clone(), record.number);
        let body = String::from_utf8(event.body.to_vec()).expect("text");
        let what = if event.kind == Kind::Gap {
            let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let at = |name: &str| told[name].as_str().and_then(|text| text.parse().ok());
            let (from, to) = (at("from").expect("a time"), at("to").expect("a time"));
            What::Lacks { count: told["missed"].as_u64().unwrap_or(0), from, to }
        } else if event.kind.is_control() {
            What::Control
        } else {
            What::Event { body, received: event.received }
        };
        Self { topic, number, what }
    }
}

impl Side {
    fn new(max_bytes: u64, sync: Sync) -> Self {
        let disk = Arc::<Model>::default();
        let (max_bytes, segment_bytes) = (Size(max_bytes), Size(4_000));
        let config =
            Config { max_bytes, segment_bytes, sync_bytes: Size(900), sync, ..rehearsal::config() };
        let (mut journal, readers, _) = rehearsal::open(&config, &disk, "boot", &SINKS);
        rehearsal::write_at_flush(&mut journal);
        let metrics = Arc::new(Metrics::new("test", &SINKS));
        let gaps = Gaps::new(Kept::default(), 10, true, None);
        let parts = (gaps, Feed::new(Duration::ZERO));
        let mut stream = Stream::new(Clock::start(), arbiter(), journal, parts, metrics);
        stream.plan(BTreeMap::from([(0, (0..TOPICS).map(topic).collect())]));
        for session in [1, 2] {
            stream.begin(SessionId(session), 0, 0, Time::START);
        }
        Self { stream, readers, disk, held: vec![Vec::new(); SINKS.len()] }
    }

    /// Does a step that is the `number`th.
    async fn take(&mut self, step: &Step, number: u64, now: Time) {
        let received = Timestamp::from_micros(1_700_000_000_000_000 + number * 1_000);
        let body = || bytes::Bytes::from(format!("{{\"n\":{number},\"of\":\"{:300}\"}}", ""));
        match step {
            Step::Heard { topic: of, first, second } => {
                for (session, hears) in [(1, first), (2, second)] {
                    let (topic, body) = (topic(*of), body());
                    let notification = Notification { topic, body, correlation_id: None, received };
                    if *hears {
                        self.stream.take(SessionId(session), notification, now);
                    }
                }
            }
            Step::Shown { topic: of } => {
                let topic = topic(*of);
                self.stream.await_snapshots(std::slice::from_ref(&topic));
                let shown = vec![Snapshot { topic, bodies: vec![body()] }];
                let what = lifecycle::Snapshot::Observations;
                self.stream.publish_snapshots(what, shown, received);
            }
            Step::Room(bytes) => self.disk.room(*bytes),
            Step::Fail(error) => self.disk.fail(*error),
            Step::Flush => self.stream.flush(),
            Step::Look => self.stream.look(now),
            Step::Taken { sink, count } => self.deliver(*sink, *count).await,
            Step::Pause => {}
        }
        self.stream.handle_timeout(now);
    }

    async fn deliver(&mut self, sink: usize, count: usize) {
        let mut batch = Vec::new();
        self.readers[sink].peek(count, &mut batch).await.expect("a disk that can be read");
        self.held[sink].extend(batch.iter().map(Held::of));
        self.readers[sink].advance(batch.len());
        self.readers[sink].acknowledge(batch.len());
    }

    /// All is well again, and every sink takes what there is.
    async fn recover(&mut self, now: Time) {
        self.disk.room(None);
        self.disk.fail(None);
        for _ in 0..4 {
            self.stream.flush();
            self.stream.look(now);
            self.stream.flush();
            for sink in 0..SINKS.len() {
                self.deliver(sink, 10_000).await;
            }
        }
        assert_eq!(self.stream.journal().trouble(), None);
        assert_eq!(self.stream.ledger().open_gaps().count(), 0);
    }
}

fn topic(number: usize) -> Topic {
    Topic::new(&format!("v2.routing.queues.7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4{number}.users"))
}

/// What was published of one topic, in its order, against what a sink had of it: exactly what it lacks was told, where it lacks it.
fn assert_told(published: &[Held], held: &[Held], of: &Topic, story: &str) {
    let published: Vec<(&str, Timestamp)> = published
        .iter()
        .filter(|one| one.topic == *of)
        .filter_map(|one| match &one.what {
            What::Event { body, received } => Some((&**body, *received)),
            What::Lacks { .. } | What::Control => None,
        })
        .collect();
    let mut rest = &published[..];
    let (mut told, mut count) = (Vec::new(), 0);
    let judge = |lacking: &[(&str, Timestamp)], told: &[(Timestamp, Timestamp)], count: u64| {
        assert_eq!(lacking.len() as u64, count, "{story}: {lacking:?} are missing, {told:?}");
        for (body, at) in lacking {
            let is_named = told.iter().any(|(from, to)| from <= at && at <= to);
            assert!(is_named, "{story}: {body} of {at} lies in none of {told:?}");
        }
    };
    for one in held.iter().filter(|one| one.topic == *of) {
        match &one.what {
            What::Control => {}
            What::Lacks { count: more, from, to } => {
                told.push((*from, *to));
                count += more;
            }
            What::Event { body, .. } => {
                let place = rest.iter().position(|(published, _)| published == body);
                let place = place.unwrap_or_else(|| panic!("{story}: {body} is out of order"));
                judge(&rest[..place], &told, count);
                rest = &rest[place + 1..];
                (told, count) = (Vec::new(), 0);
            }
        }
    }
    judge(rest, &told, count);
}

/// Plays the steps to a stream whose disk fails, and to one whose disk never does: that one says what was published, in which order.
async fn play(steps: &[Step], max_bytes: u64, sync: Sync) {
    let (mut side, mut whole) = (Side::new(max_bytes, sync), Side::new(1 << 30, sync));
    let mut now = Time::START;
    for (step, number) in steps.iter().zip(1..) {
        let pause = if matches!(step, Step::Pause) { 6_000 } else { 10 };
        now = now + Duration::from_millis(pause);
        side.take(step, number, now).await;
        if let Step::Heard { .. } | Step::Shown { .. } | Step::Pause = step {
            whole.take(step, number, now).await;
        }
        whole.stream.handle_timeout(now);
    }
    now = now + Duration::from_secs(60);
    side.stream.handle_timeout(now);
    whole.stream.handle_timeout(now);
    side.recover(now).await;
    whole.recover(now).await;
    for ((name, held), published) in SINKS.iter().zip(&side.held).zip(&whole.held) {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for one in held {
            let last = last.entry(one.topic.key()).or_default();
            assert_eq!(one.number, *last + 1, "{one:?}");
            *last = one.number;
        }
        for number in 0..TOPICS {
            assert_told(published, held, &topic(number), name);
        }
    }
}

fn run(steps: &[Step], max_bytes: u64, sync: Sync) {
    rehearsal::block_on(play(steps, max_bytes, sync));
}

const LAZY: Sync = Sync::Within(Duration::from_secs(3_600));

proptest! {
    #[test]
    fn what_a_sink_lacks_is_told_before_anything_of_the_topic_that_follows(
        steps in proptest::collection::vec(step(), 1..90),
        is_bound in any::<bool>(),
        is_careful in any::<bool>(),
    ) {
        let max_bytes = if is_bound { 6_000 } else { 1 << 30 };
        run(&steps, max_bytes, if is_careful { Sync::Always } else { LAZY });
    }
}

const fn heard(by: [bool; 2]) -> Step {
    let [first, second] = by;
    Step::Heard { topic: 0, first, second }
}

#[test]
fn an_event_that_was_held_and_finds_the_disk_full_lies_in_what_is_told() {
    let steps = [
        // The follower alone hears the first; the second is refused before that goes out.
        heard([false, true]),
        heard([true, true]),
        Step::Fail(Some(ErrorKind::StorageFull)),
        Step::Flush,
        Step::Pause,
        Step::Look,
    ];
    run(&steps, 1 << 30, LAZY);
    let both_wait = [
        heard([false, true]),
        heard([true, true]),
        Step::Pause,
        Step::Fail(Some(ErrorKind::StorageFull)),
        Step::Flush,
        Step::Look,
    ];
    run(&both_wait, 1 << 30, LAZY);
}

#[test]
fn a_snapshot_does_not_stand_where_an_older_event_is_missing_and_nobody_has_said_so() {
    let refused = [heard([true, true]), Step::Fail(Some(ErrorKind::StorageFull)), Step::Flush];
    let shown = [Step::Shown { topic: 0 }, Step::Fail(None), Step::Flush, Step::Look];
    run(&[&refused[..], &shown[..]].concat(), 1 << 30, LAZY);
    // Handed over together.
    let [event, fail, flush] = refused;
    run(&[event, Step::Shown { topic: 0 }, fail, flush], 1 << 30, LAZY);
}

#[test]
fn where_the_disk_does_not_take_the_record_of_a_gap_at_the_end_the_gap_is_left_open() {
    let mut side = Side::new(1 << 30, LAZY);
    let full = Step::Fail(Some(ErrorKind::StorageFull));
    for (step, number) in [heard([true, true]), full, Step::Flush].iter().zip(1..) {
        rehearsal::block_on(side.take(step, number, Time::START));
    }
    side.stream.close_journal(Time::START);
    let open: Vec<_> = side.stream.ledger().open_gaps().map(|gap| gap.sink).collect();
    assert_eq!(open, SINKS.map(Some), "the next process is to tell of it");
    // Unless the disk is well before the sinks are done.
    rehearsal::block_on(side.recover(Time::START));
    let told = |held: &Vec<Held>| held.iter().any(|one| matches!(one.what, What::Lacks { .. }));
    assert!(side.held.iter().all(told));
}

#[test]
fn a_gap_begins_with_the_oldest_event_that_was_refused() {
    let mut side = Side::new(1 << 30, LAZY);
    // The first waits while the disk fills; the second is refused at once, and is heard of first.
    let steps = [
        heard([true, true]),
        Step::Fail(Some(ErrorKind::StorageFull)),
        Step::Flush,
        heard([true, true]),
        Step::Look,
    ];
    for (step, number) in steps.iter().zip(1..) {
        rehearsal::block_on(side.take(step, number, Time::START));
    }
    let from = side.stream.ledger().open_gaps().map(|gap| gap.from).min();
    assert_eq!(from, Some(Timestamp::from_micros(1_700_000_000_001_000)));
}
