//! Publishers against a broker that fails as its script says, in virtual time.

mod old_copy;
mod parking;

use super::*;
use crate::event::{Entry, Kind, Marks, Notification, Topic};
use crate::journal::{Journal, rehearsal};
use crate::sink::Resume;
use crate::sink::guarantee::{Guarantee, Level};
use async_trait::async_trait;
use std::cmp::Ordering;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::task::TaskTracker;

/// Chance with a seed, so that a failure can be repeated.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// True in `percent` of a hundred cases.
    fn throw(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What the broker of a test holds.
#[derive(Debug, Default)]
struct Broker {
    /// Position, key and number of what it stored, in order.
    stored: Vec<(u64, String, u64)>,
    /// The epochs of these.
    epochs: Vec<Epoch>,
    /// The positions among them in whose place a marker stands.
    markers: Vec<u64>,
    opened: usize,
    closed: usize,
}

#[derive(Debug)]
struct Scripted {
    broker: Arc<Mutex<Broker>>,
    dice: Dice,
    /// How often each call fails, of a hundred.
    faults: u64,
    /// Whether the broker can say how far it got.
    resumes: bool,
    /// Positions that can never be stored.
    refused: Vec<u64>,
    /// Whether it takes their markers.
    marks: bool,
    in_flight: VecDeque<Record>,
    window: usize,
}

impl Scripted {
    fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().expect("no test panics while it holds this")
    }

    fn refuses(&self, record: &Record) -> bool {
        let is_marked = record.event.kind == Kind::Parked && self.marks;
        !is_marked && self.refused.contains(&record.event.position)
    }

    fn fault(&mut self, operation: &str) -> Result<(), sink::Error> {
        if self.dice.throw(self.faults) {
            return Err(failure(operation, Disposition::Retry { after: None }));
        }
        Ok(())
    }
}

fn failure(operation: &str, disposition: Disposition) -> sink::Error {
    sink::Error {
        operation: operation.to_owned(),
        disposition,
        source: Some("the script says so".into()),
    }
}

#[async_trait]
impl Sink for Scripted {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, sink::Error> {
        self.in_flight.clear();
        self.broker().opened += 1;
        self.fault("open")?;
        let broker = self.broker();
        let last = broker.epochs.last().zip(broker.stored.last()).filter(|_| self.resumes);
        let mut resume = Resume::default();
        match last.map(|(last, stored)| (last.as_str().cmp(epoch.as_str()), last, stored.0)) {
            Some((Ordering::Equal, _, position)) => resume.last_position = Some(position),
            Some((Ordering::Greater, last, _)) => resume.younger = Some(last.clone()),
            Some((Ordering::Less, ..)) | None => {}
        }
        Ok(resume)
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, sink::Error> {
        self.fault("submit")?;
        let room = self.window - self.in_flight.len();
        let mut taken = records.len().min(room);
        if self.resumes {
            // Nothing is taken behind a refused one until that was told.
            let refused = self.in_flight.iter().any(|record| self.refuses(record));
            let first = records.iter().position(|record| self.refuses(record));
            taken = if refused { 0 } else { taken.min(first.map_or(taken, |first| first + 1)) };
        }
        self.in_flight.extend(records[..taken].iter().cloned());
        Ok(taken)
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), sink::Error> {
        tokio::task::yield_now().await;
        if self.in_flight.is_empty() {
            return std::future::pending().await;
        }
        for _ in 0..=self.dice.below(5) {
            let Some(record) = self.in_flight.pop_front() else {
                break;
            };
            let position = record.event.position;
            let refused = self.refuses(&record);
            if !refused {
                if record.event.kind == Kind::Parked {
                    self.broker().markers.push(position);
                }
                let key = record.event.topic.key().to_owned();
                self.broker().stored.push((position, key, record.number));
                self.broker().epochs.push(record.event.epoch.clone());
            }
            // Stored, but the acknowledgement is lost on the way.
            self.fault("settle")?;
            if refused {
                verdicts.push(Verdict::Refused { reason: "too large".into() });
                break;
            }
            verdicts.push(Verdict::Stored);
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), sink::Error> {
        self.broker().closed += 1;
        self.fault("close")
    }

    async fn guarantee(&mut self) -> Result<Guarantee, sink::Error> {
        Ok(Guarantee::of(Level::AtLeastOnce))
    }
}

/// One publisher and everything around it.
struct Bench {
    journal: Journal,
    broker: Arc<Mutex<Broker>>,
    metrics: metrics::Sink,
    observations: mpsc::Receiver<Observation>,
    deadline: CancellationToken,
    folder: tempfile::TempDir,
    publisher: Publisher,
}

fn bench(make: impl FnOnce(Arc<Mutex<Broker>>) -> Box<dyn Sink>) -> Bench {
    let (journal, readers) = rehearsal::journal(1 << 20, &["test"]);
    bench_on(journal, readers, make)
}

/// On a journal that exists.
fn bench_on(
    journal: Journal,
    mut readers: Vec<Reader>,
    make: impl FnOnce(Arc<Mutex<Broker>>) -> Box<dyn Sink>,
) -> Bench {
    let broker = Arc::default();
    let metrics = metrics::Metrics::new("test", &["test"]);
    let metrics = metrics.sink("test").expect("just named").clone();
    let (sender, observations) = mpsc::channel(10_000);
    let deadline = CancellationToken::new();
    let folder = tempfile::tempdir().expect("a folder");
    let publisher = Publisher::new(Setup {
        sink: make(Arc::clone(&broker)),
        required: None,
        reader: readers.remove(0),
        delay: Box::new(|attempt| Duration::from_secs(1 << attempt.min(5))),
        encode: Box::new(|record, out| {
            out.extend_from_slice(b"{\"data\":");
            out.extend_from_slice(&record.event.body);
            out.push(b'}');
        }),
        data_dir: folder.path().into(),
        observations: sender,
        metrics: metrics.clone(),
        deadline: deadline.clone(),
        clock: Clock::start(),
    });
    Bench { journal, broker, metrics, observations, deadline, folder, publisher }
}

fn scripted(seed: u64, faults: u64, resumes: bool, refused: &[u64]) -> Bench {
    let refused = refused.to_vec();
    bench(move |broker| {
        let script = script(broker);
        Box::new(Scripted { dice: Dice(seed * 2 + 1), faults, resumes, refused, ..script })
    })
}

/// A broker that resumes and fails in nothing.
fn script(broker: Arc<Mutex<Broker>>) -> Scripted {
    Scripted {
        broker,
        dice: Dice(1),
        faults: 0,
        resumes: true,
        refused: Vec::new(),
        marks: true,
        in_flight: VecDeque::new(),
        window: 7,
    }
}

fn append(journal: &mut Journal, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let notification = Notification {
            topic: Topic::new(["a", "b", "c"][number as usize % 3]),
            body: format!("{{\"n\":\n{number}}}").into(),
            correlation_id: None,
            received: Timestamp::default(),
        };
        journal.append(Entry::pushed(notification, Marks::default()));
    }
}

/// Feeds `count` events while the publisher runs, closes the journal, and waits for the end.
async fn deliver(bench: Bench, count: u64) -> (Vec<(u64, String, u64)>, u64, String) {
    let mut journal = bench.journal;
    let writer = async move {
        for number in 0..count {
            append(&mut journal, number..number + 1);
            tokio::task::yield_now().await;
        }
        drop(journal);
    };
    let (ended, ()) = tokio::join!(bench.publisher.run(), writer);
    assert_eq!(ended.expect("a drained publisher"), 0);
    let parked = bench.folder.path().join("dead-letter.test.jsonl");
    let parked = std::fs::read_to_string(parked).unwrap_or_default();
    let stored = bench.broker.lock().expect("not poisoned").stored.clone();
    (stored, bench.metrics.acknowledged(), parked)
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_resumes_gets_everything_once_and_in_order_whatever_fails() {
    for seed in 0..150 {
        let refused = [seed % 40 + 1, 17];
        let bench = scripted(seed, seed % 30, true, &refused);
        let (stored, delivered, parked) = deliver(bench, 60).await;
        let positions: Vec<u64> = stored.iter().map(|stored| stored.0).collect();
        assert_eq!(
            positions,
            (1..=60).collect::<Vec<u64>>(),
            "seed {seed}: a marker stands in its place"
        );
        let once: std::collections::BTreeSet<u64> = refused.into();
        assert_eq!(parked.lines().count(), once.len(), "seed {seed}");
        assert_eq!(delivered + once.len() as u64, 60, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_tell_gets_everything_at_least_once_and_first_sights_in_order() {
    for seed in 0..150 {
        let bench = scripted(seed, seed % 30, false, &[5]);
        let (stored, delivered, parked) = deliver(bench, 60).await;
        let mut first: Vec<u64> = Vec::new();
        for (position, _, _) in stored.iter().filter(|stored| stored.0 != 5) {
            if first.last().is_none_or(|last| position > last) {
                first.push(*position);
            }
        }
        let expected: Vec<u64> = (1..=60).filter(|at| *at != 5).collect();
        assert_eq!(first, expected, "seed {seed}");
        assert_eq!(parked.lines().count(), 1, "seed {seed}");
        assert_eq!(delivered, 59, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_count_each_key_without_a_hole() {
    let (stored, ..) = deliver(scripted(3, 10, true, &[]), 30).await;
    for key in ["a", "b", "c"] {
        let numbers: Vec<u64> =
            stored.iter().filter(|stored| stored.1 == key).map(|stored| stored.2).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    }
}

/// A sink that answers every call in one way.
#[derive(Debug)]
struct Stubborn {
    open: Disposition,
    opens: bool,
}

#[async_trait]
impl Sink for Stubborn {
    async fn open(&mut self, _: &Epoch) -> Result<Resume, sink::Error> {
        if self.opens {
            return Ok(Resume::default());
        }
        Err(failure("connect to test://", self.open))
    }

    async fn submit(&mut self, _: &[Record]) -> Result<usize, sink::Error> {
        Ok(0)
    }

    async fn settle(&mut self, _: &mut Vec<Verdict>) -> Result<(), sink::Error> {
        std::future::pending().await
    }

    async fn close(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    async fn guarantee(&mut self) -> Result<Guarantee, sink::Error> {
        let mut given = Guarantee::of(Level::EffectivelyOnce);
        given.holds("storage", "on disk");
        given.weakens("retention", "events older than 7days are removed, read or not");
        given.unknown("fsync", "nobody knows");
        given.lowers(Level::AtLeastOnce, "sharing", "not alone");
        Ok(given)
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_only_configuration_can_help_ends_the_publisher() {
    let bench = bench(|_| Box::new(Stubborn { open: Disposition::Misconfigured, opens: false }));
    let error = bench.publisher.run().await.expect_err("misconfigured");
    assert_eq!(error.to_string(), "sink test cannot work as it is configured");
    assert_eq!(error.source.to_string(), "connect to test://");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_gives_less_than_is_required_ends_the_publisher_before_it_sends() {
    let mut bench = scripted(1, 0, true, &[]);
    append(&mut bench.journal, 1..3);
    bench.publisher.setup.required = Some(Level::EffectivelyOnce);
    let broker = Arc::clone(&bench.broker);
    let error = bench.publisher.run().await.expect_err("too little");
    let why = error.source.source.expect("a reason").to_string();
    assert!(why.starts_with("effectively_once is required, and at_least_once is"), "{why}");
    assert!(broker.lock().expect("whole").stored.is_empty());

    let mut bench = scripted(1, 0, true, &[]);
    bench.publisher.setup.required = Some(Level::AtLeastOnce);
    append(&mut bench.journal, 1..3);
    bench.journal.close();
    assert_eq!(bench.publisher.run().await.expect("enough"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_drain_and_what_is_left_is_counted() {
    let mut bench = bench(|_| {
        Box::new(Stubborn {
            open: Disposition::Retry { after: Some(Duration::from_secs(5)) },
            opens: false,
        })
    });
    append(&mut bench.journal, 0..4);
    bench.journal.close();
    let running = TaskTracker::new().spawn(bench.publisher.run());
    let first = bench.observations.recv().await.expect("a failure");
    assert_eq!(
        first,
        Observation::SinkFailed {
            sink: "test",
            kind: "connect",
            detail: "connect to test://: the script says so".into(),
            retry_in: Duration::from_secs(6), // The broker's 5 s, and then the back-off's 1 s.
        }
    );
    bench.deadline.cancel();
    assert_eq!(running.await.expect("no panic").expect("no error"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_nothing_in_hand_does_not_wait_for_a_sink_that_is_away() {
    let away = Disposition::Retry { after: Some(Duration::from_secs(3600)) };
    let mut bench = bench(move |_| Box::new(Stubborn { open: away, opens: false }));
    let running = TaskTracker::new().spawn(bench.publisher.run());
    bench.observations.recv().await.expect("a failure");
    bench.journal.close();
    let ended = tokio::time::timeout(Duration::from_secs(1), running).await.expect("at once");
    assert_eq!(ended.expect("no panic").expect("no error"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_nothing_is_opened_again_and_not_waited_for() {
    let mut bench = bench(|_| Box::new(Stubborn { open: Disposition::Misconfigured, opens: true }));
    append(&mut bench.journal, 0..1);
    let running = TaskTracker::new().spawn(bench.publisher.run());
    for attempt in 0..3 {
        let ready = bench.observations.recv().await;
        assert!(matches!(ready, Some(Observation::SinkReady { .. })));
        // What weakens its guarantee is told with the first readiness, a line each, and never again.
        for about in ["retention", "sharing"].into_iter().filter(|_| attempt == 0) {
            let told = bench.observations.recv().await;
            let is_it = |told: &Observation| matches!(told, Observation::GuaranteeWeakened { about: of, .. } if *of == about);
            assert!(told.as_ref().is_some_and(is_it), "{told:?}");
        }
        let failed = bench.observations.recv().await;
        assert!(matches!(failed, Some(Observation::SinkFailed { .. })));
    }
    bench.deadline.cancel();
    assert_eq!(running.await.expect("no panic").expect("no error"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sink_whose_drain_is_cut_short_may_end_what_it_has_begun() {
    let mut bench = bench(|broker| Box::new(Scripted { faults: 100, ..script(broker) }));
    append(&mut bench.journal, 0..4);
    let running = TaskTracker::new().spawn(bench.publisher.run());
    bench.observations.recv().await.expect("a failure");
    bench.deadline.cancel();
    assert_eq!(running.await.expect("no panic").expect("no error"), 4);
    assert_eq!(bench.broker.lock().expect("not poisoned").closed, 1);
}
