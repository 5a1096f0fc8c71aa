//! What one event costs on its way, step by step, in CPU time of the process: decode, arbitration, journal, encoding.
//!
//! Criterion, because it alone takes another clock than the wall's, which lies on a machine that is shared. What sockets and
//! brokers cost is `end_to_end`'s to say.

mod support;

use bytes::Bytes;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use support::Frames;
use tempfile::TempDir;
use tieline::clock::Clock;
use tieline::event::{Entry, Epoch, Event, Marks, Notification, Topics};
use tieline::genesys::{Frame, read_frame};
use tieline::journal::{self, Journal, Opening, Reader, Sync};
use tieline::sequence::{Arbiter, Config, Leg, Verdict};
use tieline::sink::Record;
use tieline::sink::cloudevents::Encoder;
use tieline::time::{Time, Timestamp};
use tokio::runtime::{Builder, Runtime};

/// How many frames a benchmark goes round in: more than the caches nearest to the core hold.
const ROUND: usize = 4096;

/// How many events a publisher takes at once.
const BATCH: usize = 256;

/// A frame every 100 µs: 10,000 a second.
const EVERY: Duration = Duration::from_micros(100);

const SOURCE: &str = "https://api.mypurecloud.ie";

/// CPU time of the process: the journal writes on a thread of its own.
struct Cpu;

impl Measurement for Cpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds)
            + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn end(&self, started: Duration) -> Duration {
        self.start().saturating_sub(started)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Goes round in a list for ever.
struct Round<T> {
    items: Vec<T>,
    at: usize,
}

impl<T: Clone> Round<T> {
    fn new(items: Vec<T>) -> Self {
        Self { items, at: 0 }
    }

    fn next(&mut self) -> T {
        self.at = (self.at + 1) % self.items.len();
        self.items[self.at].clone()
    }
}

fn frames() -> Vec<Bytes> {
    let mut frames = Frames::new();
    (0..ROUND).map(|_| Bytes::copy_from_slice(frames.next())).collect()
}

/// As `genesys::socket` does it.
fn decode(frame: &Bytes, topics: &mut Topics) -> Notification {
    let text = std::str::from_utf8(frame).expect("the fixture is text");
    let Ok(Frame::Data { topic, body, correlation_id }) = read_frame(text) else {
        panic!("the fixture is a notification");
    };
    Notification {
        topic: topics.get(&topic),
        body: frame.slice_ref(body.as_bytes()),
        correlation_id,
        received: Timestamp::from_micros(1_700_000_000_000_000),
    }
}

fn notifications() -> Vec<Notification> {
    let mut topics = Topics::default();
    frames().iter().map(|frame| decode(frame, &mut topics)).collect()
}

fn records() -> Vec<Record> {
    let epoch = epoch();
    let entries = notifications().into_iter().map(|one| Entry::pushed(one, Marks::default()));
    let events =
        entries.zip(1..).map(|(entry, position)| Event::placed(epoch.clone(), position, entry));
    events.map(|event| Record { number: event.position, event: Arc::new(event) }).collect()
}

fn epoch() -> Epoch {
    Epoch::new(Timestamp::from_micros(1_700_000_000_000_000), 7)
}

fn arbiter(legs: u64) -> Arbiter {
    let mut arbiter = Arbiter::new(&Config {
        hold: Duration::from_secs(1),
        window: Duration::from_secs(600),
        window_events: 200_000,
    });
    for leg in 1..=legs {
        arbiter.begin(Leg(leg), 0, Time::START);
    }
    arbiter
}

/// A journal on the disk, with its writer's thread, and the reader of its one sink.
struct Log {
    journal: Journal,
    reader: Reader,
    appended: usize,
    batch: Vec<Record>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let opening = Opening {
            config: journal::Config {
                max_bytes: "256MiB".parse().expect("a size"),
                sync: Sync::Within(Duration::from_millis(100)),
                sync_bytes: "4MiB".parse().expect("a size"),
                segment_bytes: "16MiB".parse().expect("a size"),
                keys_max: 100_000,
            },
            data_dir: folder.path(),
            sinks: &["jsonl"],
            clock: Clock::start(),
            salt: Box::new(|| 7),
        };
        let (journal, mut readers, _) = opening.open().expect("a journal");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let (reader, batch) = (readers.remove(0), Vec::with_capacity(BATCH));
        Self { journal, reader, appended: 0, batch, runtime, _folder: folder }
    }

    /// Appends, and takes what waits, as a publisher does, when a batch is there.
    fn append(&mut self, entry: Entry, each: impl FnMut(&Record)) {
        self.journal.append(entry);
        self.appended += 1;
        if !self.appended.is_multiple_of(BATCH) {
            return;
        }
        self.journal.flush();
        let (reader, batch) = (&mut self.reader, &mut self.batch);
        self.runtime.block_on(async {
            reader.peek(BATCH, batch).await.expect("memory");
            while batch.len() < BATCH {
                reader.changed().await;
                batch.clear();
                reader.peek(BATCH, batch).await.expect("memory");
            }
        });
        reader.advance(batch.len());
        batch.iter().for_each(each);
        reader.acknowledge(batch.len());
        batch.clear();
    }
}

fn decoding(criterion: &mut Criterion<Cpu>) {
    let (mut round, mut topics) = (Round::new(frames()), Topics::default());
    criterion.bench_function("decode a frame", |bencher| {
        bencher.iter(|| decode(&round.next(), &mut topics));
    });
}

fn arbitration(criterion: &mut Criterion<Cpu>) {
    let mut round = Round::new(notifications());
    let (mut alone, mut now) = (arbiter(1), Time::START);
    criterion.bench_function("arbitrate, one leg", |bencher| {
        bencher.iter_batched(
            || round.next(),
            |notification| {
                now = now + EVERY;
                alone.admit(Leg(1), notification, now);
                alone.poll()
            },
            BatchSize::NumIterations(BATCH as u64),
        );
    });
    let (mut both, mut now) = (arbiter(2), Time::START);
    criterion.bench_function("arbitrate, two legs (both sights)", |bencher| {
        bencher.iter_batched(
            || {
                let notification = round.next();
                (notification.clone(), notification)
            },
            |(first, second)| {
                now = now + EVERY;
                both.admit(Leg(1), first, now);
                both.admit(Leg(2), second, now);
                (both.poll(), both.poll())
            },
            BatchSize::NumIterations(BATCH as u64),
        );
    });
}

fn journalling(criterion: &mut Criterion<Cpu>) {
    let (mut round, mut log) = (Round::new(notifications()), Log::new());
    criterion.bench_function("journal: append, read, acknowledge", |bencher| {
        bencher.iter_batched(
            || round.next(),
            |notification| {
                log.append(Entry::pushed(notification, Marks::default()), |record| {
                    black_box(record);
                });
            },
            BatchSize::NumIterations(BATCH as u64),
        );
    });
}

fn encoding(criterion: &mut Criterion<Cpu>) {
    let (records, mut encoder, mut out) = (records(), Encoder::new(SOURCE), Vec::new());
    let mut round = records.iter().cycle();
    let mut next = || round.next().expect("it never ends");
    criterion.bench_function("encode, binary", |bencher| {
        bencher.iter(|| {
            out.clear();
            encoder.attributes(next(), |name, value| {
                out.extend_from_slice(name.kafka.as_bytes());
                out.extend_from_slice(value.as_str().as_bytes());
            });
            black_box(out.len())
        });
    });
    criterion.bench_function("encode, structured", |bencher| {
        bencher.iter(|| {
            out.clear();
            encoder.structured(next(), &mut out);
            black_box(out.len())
        });
    });
}

/// All of it, in the order of an event's way.
fn way(criterion: &mut Criterion<Cpu>) {
    let (mut round, mut topics) = (Round::new(frames()), Topics::default());
    let (mut arbiter, mut now) = (arbiter(1), Time::START);
    let mut log = Log::new();
    let (mut encoder, mut out) = (Encoder::new(SOURCE), Vec::new());
    criterion.bench_function("frame to structured event, one leg", |bencher| {
        bencher.iter(|| {
            now = now + EVERY;
            arbiter.admit(Leg(1), decode(&round.next(), &mut topics), now);
            while let Some(verdict) = arbiter.poll() {
                if let Verdict::Publish { notification, marks } = verdict {
                    out.clear();
                    log.append(Entry::pushed(notification, marks), |record| {
                        encoder.structured(record, &mut out);
                    });
                }
            }
        });
    });
}

criterion_group! {
    name = pipeline;
    config = Criterion::default()
        .with_measurement(Cpu)
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = decoding, arbitration, journalling, encoding, way
}
criterion_main!(pipeline);
