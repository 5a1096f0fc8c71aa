//! What is done with bytes that nobody vouches for, one function for each way by which they come in: a frame, a configuration, a file or
//! a last message that a sink finds, the journal's folder.
//!
//! Each checks what must hold whatever the bytes are. Knows neither where they come from nor how many there are: `main.rs` hands in a
//! bounded number of them.

#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::brokers;
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tieline::clock::Clock;
use tieline::event::{Entry, Epoch, Event, Kind, Marks, Notification, Topic, Topics};
use tieline::genesys::{Frame, read_frame};
use tieline::journal::{self, Found, Journal, Opening, Reader, Sync};
use tieline::privacy::{self, Privacy, Profile};
use tieline::route::{Filter, Routes};
use tieline::sink::cloudevents::Encoder;
use tieline::sink::jsonl::{self, Flush};
use tieline::sink::{Record, Verdict};
use tieline::size::Size;
use tieline::time::Timestamp;
use tokio::runtime::Runtime;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A way in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Takes any bytes, and panics where something does not hold.
    pub run: fn(&[u8]),
    /// How many mutations the bounded run tries: each target for about a second.
    pub mutations: u32,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: frame, mutations: 6_000 },
    Target { name: "configuration", run: configuration, mutations: 300 },
    Target { name: "cursor", run: cursor, mutations: 600 },
    #[cfg(feature = "kafka")]
    Target { name: "committed", run: brokers::committed, mutations: 5_000 },
    #[cfg(feature = "nats")]
    Target { name: "chained", run: brokers::chained, mutations: 5_000 },
    Target { name: "segments", run: segments, mutations: 200 },
    Target { name: "records", run: records, mutations: 300 },
];

/// Between the parts of an input that has several: files of a journal, a configuration and its variables.
pub const BETWEEN: &[u8] = b"\n==8<==\n";

/// A file of the journal more than this tells nothing new.
const FILES_MAX: usize = 4;

/// What the writing thread of a journal may take on a busy machine.
const WRITTEN: Duration = Duration::from_secs(60);

const SOURCE: &str = "https://api.mypurecloud.ie";

/// A text frame of the socket, on all its way to a sink.
pub fn frame(input: &[u8]) {
    // What is no UTF-8 ends the session below us.
    let Ok(text) = std::str::from_utf8(input) else { return };
    match read_frame(text) {
        Ok(Frame::Data { topic, body, correlation_id }) => {
            assert!(text.contains(body), "a body is part of its frame");
            KIT.with_borrow_mut(|kit| kit.publish(&topic, body, correlation_id));
        }
        Ok(Frame::Word(_)) => {}
        Err(detail) => assert!(detail.len() < 200, "an error quotes nothing: {detail}"),
    }
}

thread_local! {
    static KIT: RefCell<Kit> = RefCell::new(Kit::new());
}

/// What looks into bodies, made once as in the process.
struct Kit {
    topics: Topics,
    privacy: Privacy,
    routes: Routes,
    encoder: Encoder,
}

impl Kit {
    fn new() -> Self {
        let fields = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            BTreeMap::from([("*".to_owned(), names)])
        };
        let config = privacy::Config {
            profile: Profile::Personal,
            key_file: None,
            drop: fields(&["**.name", "a.*.b"]),
            hash: fields(&["**.id", "eventBody"]),
        };
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"sixteen bytes or more");
        let filters = [
            "event.type.contains('.queues.')",
            "has(event.data.id) && event.data.id != ''",
            "event.data.participants.exists(one, one.purpose == 'agent')",
            "event.data.n * 2 > 2 || size(event.data) > 3",
        ];
        let filters = filters.map(|text| Some(Filter::parse(text).expect("a good filter")));
        Self {
            topics: Topics::default(),
            privacy: Privacy::new(&config, Some(key)),
            routes: Routes::new(filters.into()),
            encoder: Encoder::new(SOURCE),
        }
    }

    fn publish(&mut self, topic: &str, body: &str, correlation_id: Option<Box<str>>) {
        let topic = self.topics.get(topic);
        tieline::event::occurred(&topic, body.as_bytes());
        let private = self.privacy.apply(&topic, Bytes::copy_from_slice(body.as_bytes()));
        assert_json(&private);
        // One digit may become a hash of 41 bytes.
        assert!(private.len() <= 64 + 64 * body.len(), "{} of {}", private.len(), body.len());
        let digest = tieline::event::digest(body.as_bytes());
        // Very deep ones are compared as bytes.
        if body.bytes().filter(|byte| b"[{".contains(byte)).count() < 64 {
            let spaced = tieline::event::digest(format!(" {body}\n").as_bytes());
            assert_eq!(digest, spaced, "{body}");
        }
        let received = Timestamp::from_micros(1_700_000_000_000_000);
        let notification = Notification { topic, body: private, correlation_id, received };
        self.routes.wanted(&notification, Marks::default());
        let entry = Entry::pushed(notification, Marks::default());
        let event = Arc::new(Event::placed(Epoch::named("e"), 1, entry));
        let body = event.body.clone();
        let mut line = Vec::new();
        self.encoder.structured(&Record { event, number: 1 }, &mut line);
        assert_json(&line);
        assert!(line.strip_suffix(b"}").is_some_and(|line| line.ends_with(&body)));
        assert!(!line.contains(&b'\n') || body.contains(&b'\n'), "one event a line");
    }
}

fn assert_json(text: &[u8]) {
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        panic!("{error} in {}", String::from_utf8_lossy(text));
    }
}

/// A file of configuration, and behind `BETWEEN` the environment, a variable a line.
pub fn configuration(input: &[u8]) {
    let mut parts = parts(input).into_iter();
    let (file, variables) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let folder = folder();
    let path = folder.path().join("tieline.toml");
    std::fs::write(&path, file).expect("a file");
    let variables = String::from_utf8_lossy(variables).into_owned();
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    match tieline::config::Config::load(Some(&path), variables) {
        Ok(config) => assert!(!format!("{config:?}").is_empty()),
        Err(mistakes) => {
            let told = mistakes.to_string();
            assert!(!told.is_empty(), "a refusal says why");
            // So many mistakes at most, each with a few lines.
            assert!(told.len() < (1 << 20), "{} bytes for {} of input", told.len(), input.len());
        }
    }
}

/// The file that a jsonl sink finds, from whose end it learns how far it got.
pub fn cursor(input: &[u8]) {
    let folder = folder();
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, input).expect("a file");
    let config = jsonl::Config {
        path: path.clone(),
        flush: Flush::Line,
        rotate_bytes: Size(0),
        rotate_every: Duration::ZERO,
        keep: 0,
        filter: None,
        required: None,
    };
    let epoch = Epoch::named("20260101T000000Z-00000001");
    let notification = Notification {
        topic: Topic::new("v2.users.u.presence"),
        body: Bytes::from_static(b"{}"),
        correlation_id: None,
        received: Timestamp::from_micros(1_700_000_000_000_000),
    };
    let entry = Entry::pushed(notification, Marks::default());
    let event = Arc::new(Event::placed(epoch.clone(), 1, entry));
    let mut verdicts = Vec::new();
    runtime().block_on(async {
        let mut sink = config.build(SOURCE);
        sink.open(&epoch).await.expect("a file that can be read");
        assert_eq!(sink.submit(&[Record { event, number: 1 }]).await.expect("room"), 1);
        sink.settle(&mut verdicts).await.expect("a verdict");
        sink.close().await.expect("an end");
    });
    assert!(matches!(verdicts[..], [Verdict::Stored]), "{verdicts:?}");
    let held = std::fs::read(&path).expect("a file");
    let held = held.strip_suffix(b"\n").expect("a line ends");
    let begin = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert_json(&held[begin..]);
    // Nothing but a torn event of ours is ever cut, and nothing is changed.
    let kept = held[..begin].strip_suffix(b"\n").unwrap_or_default();
    assert!(input.starts_with(kept), "what was there before");
    let torn = input.get(kept.len()..).unwrap_or_default();
    assert!(torn.len() <= 1 || torn.iter().skip(1).all(|byte| *byte != b'\n'), "{torn:?} was cut");
}

/// The files of a journal, as they are.
pub fn segments(input: &[u8]) {
    let files = parts(input).into_iter().take(FILES_MAX).map(<[u8]>::to_vec);
    recover(&files.collect::<Vec<_>>());
}

/// The files of a journal by what their frames say, so that sums are right whatever is said: two bytes with the length of each payload, and
/// the greatest length between files.
pub fn records(input: &[u8]) {
    let mut files = vec![Vec::new()];
    let mut rest = input;
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let length = u16::from_le_bytes(*length);
        if length == u16::MAX {
            files.push(Vec::new());
            rest = more;
            continue;
        }
        let (payload, more) = more.split_at(usize::from(length).min(more.len()));
        let number = files.len() as u64;
        if let Some(file) = files.last_mut() {
            seal(number, payload, file);
        }
        rest = more;
    }
    files.truncate(FILES_MAX);
    recover(&files);
}

/// A frame as the journal's format has it.
fn seal(segment: u64, payload: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&[0xF1, b't', b'l', 0x1A]);
    into.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend_from_slice(&xxh3_64_with_seed(payload, segment).to_le_bytes());
    into.extend_from_slice(payload);
}

/// Opens a journal on these files, delivers what it has, adds an event, and opens it again: then it was closed as it should be.
fn recover(files: &[Vec<u8>]) {
    let folder = folder();
    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).expect("a folder");
    for (number, bytes) in (1..).zip(files) {
        std::fs::write(journal.join(format!("{number:012}.log")), bytes).expect("a file");
    }
    let runtime = runtime();
    // Only another version is refused.
    let Ok((mut journal, mut readers, found)) = open(folder.path()) else { return };
    assert!(found.lost.iter().all(|(first, last)| first <= last), "{found:?}");
    let bytes: usize = files.iter().map(Vec::len).sum();
    let received = Timestamp::from_micros(1_700_000_000_000_000);
    let added = Entry::own(Kind::Gap, Topic::control(), Bytes::from_static(b"\"added\""), received);
    assert!(journal.append(added).is_accepted, "{:?}", journal.trouble());
    journal.flush();
    for reader in &mut readers {
        let held = runtime.block_on(deliver(reader));
        assert!(held <= bytes + 2, "{held} events in {bytes} bytes");
    }
    drop(journal);
    drop(readers);
    let (_, readers, found) = open(folder.path()).expect("a journal of ours");
    assert!(found.was_closed && found.torn_bytes == 0, "{found:?}");
    let waiting: usize = readers.iter().map(Reader::unacknowledged).sum();
    assert_eq!(waiting, 0, "{found:?}");
}

/// Takes and settles everything up to what was added last. Answers how many events that were.
async fn deliver(reader: &mut Reader) -> usize {
    let mut encoder = Encoder::new(SOURCE);
    let (mut count, mut last, mut line, mut batch) = (0, 0, Vec::new(), Vec::new());
    loop {
        batch.clear();
        reader.peek(64, &mut batch).await.expect("a file that can be read");
        for record in &batch {
            assert!(record.event.position > last, "{} after {last}", record.event.position);
            last = record.event.position;
            line.clear();
            encoder.structured(record, &mut line);
        }
        let is_added = batch.last().is_some_and(|record| *record.event.body == *b"\"added\"");
        reader.advance(batch.len());
        reader.acknowledge(batch.len());
        count += batch.len();
        if is_added {
            return count;
        }
        if batch.is_empty() {
            let changed = tokio::time::timeout(WRITTEN, reader.changed()).await;
            changed.unwrap_or_else(|_| panic!("what was added never comes, after {count}"));
        }
    }
}

fn open(data_dir: &Path) -> Result<(Journal, Vec<Reader>, Found), journal::Error> {
    let config = journal::Config {
        max_bytes: Size(64 << 20),
        sync: Sync::Within(Duration::from_secs(1)),
        sync_bytes: Size(1 << 20),
        segment_bytes: Size(64 << 10),
        keys_max: 1_000,
    };
    let sinks = &["kafka", "nats"];
    let opening = Opening { config, data_dir, sinks, clock: Clock::start(), salt: Box::new(|| 7) };
    opening.open()
}

/// The parts of an input.
fn parts(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// A folder in memory where there is one, since each case waits for the disk several times.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = TempDir::with_prefix_in("tieline-fuzz-", memory);
    made.or_else(|_| TempDir::with_prefix("tieline-fuzz-")).expect("a folder")
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}
