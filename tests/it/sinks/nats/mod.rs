//! The JetStream sink against a real nats-server: conformance, the chain, and streams that are not ours.

mod access;
mod operator;
mod slow;

use super::*;
use crate::servers::{Server, shared};
use async_nats::header::{
    HeaderMap, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID,
};
use async_nats::jetstream::{self, stream};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tieline::sink::cloudevents::Mode;
use tieline::sink::nats::Config;
use tieline::size::Size;

/// A stream of its own, on a server that is shared or its own.
struct Broker<const STRUCTURED: bool> {
    own: Option<Server>,
    name: String,
}

type Binary = Broker<false>;

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("S{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl<const STRUCTURED: bool> Broker<STRUCTURED> {
    fn config(&self) -> Config {
        config(&self.url(), &self.name, STRUCTURED)
    }

    fn url(&self) -> String {
        match &self.own {
            Some(server) => server.field("url"),
            None => shared("nats").field("url"),
        }
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }
}

fn config(url: &str, name: &str, structured: bool) -> Config {
    Config {
        url: url.to_owned(),
        stream: name.to_owned(),
        subject: format!("{name}.{{family}}.{{key}}"),
        control_subject: "{prefix}.control".into(),
        mode: if structured { Mode::Structured } else { Mode::Binary },
        replicas: 1,
        max_age: Duration::from_secs(3600),
        max_bytes: Size(0),
        window: 256,
        creds_file: None,
        nkey_file: None,
        token_file: None,
        user: None,
        password_file: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        domain: None,
        inbox_prefix: None,
        monitor: None,
        filter: None,
        required: None,
    }
}

impl<const STRUCTURED: bool> Place for Broker<STRUCTURED> {
    const ONCE: bool = true;
    const BOUNDED: bool = true;

    fn new() -> Self {
        Self { own: None, name: unique() }
    }

    fn alone() -> Self {
        Self { own: Some(Server::start("nats", &[])), name: unique() }
    }

    fn unreachable() -> (Box<dyn Sink>, String) {
        let config =
            config(&format!("nats://tester:{}@127.0.0.1:1", conformance::SECRET), "S", STRUCTURED);
        (config.build(SOURCE), "nats://127.0.0.1:1".into())
    }

    fn sink(&self) -> Box<dyn Sink> {
        assert_eq!(self.config().mistakes(), []);
        self.config().build(SOURCE)
    }

    fn crash(&mut self) {
        self.own.as_mut().unwrap().kill();
    }

    fn restart(&mut self) {
        self.own.as_mut().unwrap().restart();
    }

    async fn read(&self) -> Vec<Stored> {
        let stream = self.jetstream().await.get_stream(&self.name).await.unwrap();
        let mut stored = Vec::new();
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let body = String::from_utf8(message.payload.to_vec()).unwrap();
            let event = if STRUCTURED {
                let media = message.headers.get("content-type").unwrap();
                assert_eq!(media.as_str(), "application/cloudevents+json");
                structured(&body)
            } else {
                binary(&message.headers, body)
            };
            let topic = Topic::new(&event.attributes["topic"]);
            let family = topic.kind().replace("com.genesys.cloud.", "");
            if event.key.is_ascii() {
                let expected = match event.key == Topic::control().key() {
                    true => format!("{}.control", self.name),
                    false => format!("{}.{family}.{}", self.name, event.key),
                };
                assert_eq!(message.subject.as_str(), expected);
            }
            stored.push(event);
        }
        stored
    }
}

/// What a consumer makes of the headers, by the binding's own rules.
fn binary(headers: &HeaderMap, body: String) -> Stored {
    let attributes: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|(name, values)| {
            let name = name.to_string().strip_prefix("ce-")?.to_owned();
            Some((name, decoded(values[0].as_str())))
        })
        .collect();
    Stored { key: attributes["partitionkey"].clone(), attributes, body }
}

fn decoded(value: &str) -> String {
    let mut pieces = value.split('%');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).unwrap()
}

conformance!(Binary);

mod in_structured_mode {
    type Structured = super::Broker<true>;
    crate::sinks::conformance! { Structured:
        the_contract_holds_byte_for_byte,
        an_event_too_large_is_refused_and_the_others_go_on,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_holds_where_the_server_has_forgotten_its_ids() {
    let mut place = Binary::alone();
    // So short that a restarted server finds no id young enough to remember.
    let context = place.jetstream().await;
    let wanted = stream::Config {
        name: place.name.clone(),
        subjects: vec![format!("{}.>", place.name)],
        duplicate_window: Duration::from_millis(100),
        ..stream::Config::default()
    };
    context.create_stream(wanted).await.unwrap();
    let records = records(1..=40);
    let mut sink = place.sink();
    deliver(&mut sink, &records[..20]).await;
    let stream = context.get_stream(&place.name).await.unwrap();
    let last = stream.get_last_raw_message_by_subject(">").await.unwrap();
    let clock = tieline::clock::Clock::start();
    crate::harness::eventually("the ids are too old to be remembered", async || {
        let age =
            i128::from(clock.timestamp().as_micros()) - last.time.unix_timestamp_nanos() / 1_000;
        (age > 150_000).then_some(())
    })
    .await;
    place.crash();
    place.restart();
    continue_delivery(&mut sink, &records, vec![Verdict::Stored; 20], 20).await;
    assert_complete::<Binary>(&place.read().await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_with_a_window_in_flight_stores_each_event_once() {
    let place = Binary::alone();
    let mut stand = killed::stand().await;
    stand.config.set("sink.nats.url", place.url());
    stand.config.set("sink.nats.stream", &*place.name);
    stand.config.set("sink.nats.subject", format!("{}.{{family}}.{{key}}", place.name));
    let server = place.own.as_ref().unwrap();
    killed::each_event_is_there_once(&stand, server, async || place.read().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_stores_each_event_once() {
    let place = Binary::alone();
    let mut stand = killed::stand().await;
    stand.config.set("sink.nats.url", place.url());
    stand.config.set("sink.nats.stream", &*place.name);
    stand.config.set("sink.nats.subject", format!("{}.{{family}}.{{key}}", place.name));
    super::handed::each_event_is_there_once(&stand, async || place.read().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_names_its_place_and_its_predecessor() {
    let place = Binary::new();
    deliver(&mut place.sink(), &records(1..=2)).await;
    deliver(&mut place.sink(), &records(1..=4)).await;
    let context = place.jetstream().await;
    let stream = context.get_stream(&place.name).await.unwrap();
    let expected = [
        (NATS_EXPECTED_LAST_SEQUENCE, "0".to_owned()),
        (NATS_EXPECTED_LAST_MESSAGE_ID, format!("{}-1", epoch())),
        // A new connection goes by the stream's own count.
        (NATS_EXPECTED_LAST_SEQUENCE, "2".to_owned()),
        (NATS_EXPECTED_LAST_MESSAGE_ID, format!("{}-3", epoch())),
    ];
    for (sequence, (name, value)) in (1..).zip(expected) {
        let headers = stream.get_raw_message(sequence).await.unwrap().headers;
        assert_eq!(headers.get(name).unwrap().as_str(), value);
        let id = headers.get(NATS_MESSAGE_ID).unwrap().as_str();
        assert_eq!(id, format!("{}-{sequence}", epoch()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_behind_an_event_that_was_not_yet_told_as_refused() {
    let place = Binary::new();
    let mut records = records(1..=4);
    Arc::make_mut(&mut records[1].event).body = format!("\"{}\"", "x".repeat(2 << 20)).into();
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    let mut verdicts = Vec::new();
    let mut rest = &records[..];
    for taken in [1, 1, 2] {
        assert_eq!(sink.submit(rest).await.unwrap(), taken);
        rest = &rest[taken..];
        while verdicts.len() < records.len() - rest.len() {
            sink.settle(&mut verdicts).await.unwrap();
        }
    }
    assert!(matches!(verdicts[1], Verdict::Refused { .. }), "{verdicts:?}");
    let stored: Vec<u64> = place.read().await.iter().map(|stored| stored.place().0).collect();
    assert_eq!(stored, [1, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_noticed_and_said() {
    let place = Binary::new();
    let records = records(1..=20);
    let mut sink = place.sink();
    deliver(&mut sink, &records[..10]).await;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, "stranger-1");
    let subject = format!("{}.from.elsewhere", place.name);
    let context = place.jetstream().await;
    let published = context.publish_with_headers(subject, headers, "hello".into()).await;
    published.unwrap().await.unwrap();

    let mut verdicts = Vec::new();
    sink.submit(&records[10..]).await.unwrap();
    let error = sink.settle(&mut verdicts).await.unwrap_err();
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains("does not end where we left it"), "{reason}");
    let error = sink.open(&epoch()).await.unwrap_err();
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains("another writer") && reason.contains("stranger-1"), "{reason}");
    assert!(verdicts.is_empty());

    // One stray message is an accident; the events go on behind it.
    deliver(&mut sink, &records[10..]).await;
    let stream = context.get_stream(&place.name).await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_epoch_is_over_stays_out() {
    let place = Binary::new();
    let old = records(1..=20);
    let mut zombie = place.sink();
    deliver(&mut zombie, &old[..10]).await;

    let younger = Epoch::new(Timestamp::from_micros(1_800_000_000_000_000), 1);
    let mut successor = place.sink();
    successor.open(&younger).await.unwrap();
    let mut event = records(1..=1).remove(0);
    Arc::make_mut(&mut event.event).epoch = younger;
    deliver_on(&mut successor, &[event]).await;

    zombie.submit(&old[10..]).await.unwrap();
    zombie.settle(&mut Vec::new()).await.unwrap_err();
    for _ in 0..3 {
        zombie.open(&epoch()).await.unwrap_err();
    }
    assert_eq!(place.read().await.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_expired_is_no_second_writer() {
    let place = Binary::new();
    let records = records(1..=20);
    let mut sink = place.sink();
    deliver(&mut sink, &records[..10]).await;
    let stream = place.jetstream().await.get_stream(&place.name).await.unwrap();
    stream.purge().await.unwrap();
    continue_delivery(&mut sink, &records, vec![Verdict::Stored; 10], 10).await;
    let state = stream.get_info().await.unwrap().state;
    assert_eq!(state.messages, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_other_subjects_is_a_mistake() {
    let place = Binary::new();
    let wanted = stream::Config {
        name: place.name.clone(),
        subjects: vec![format!("other-{}.>", place.name)],
        ..stream::Config::default()
    };
    place.jetstream().await.create_stream(wanted).await.unwrap();
    let error = place.sink().open(&epoch()).await.unwrap_err();
    assert_eq!(error.disposition, Disposition::Misconfigured);
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains(&format!("not {}.>", place.name)), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_is_waited_for() {
    let place = Binary::new();
    let context = place.jetstream().await;
    let mut wanted = stream::Config {
        name: place.name.clone(),
        subjects: vec![format!("{}.>", place.name)],
        max_messages: 5,
        discard: stream::DiscardPolicy::New,
        ..stream::Config::default()
    };
    context.create_stream(wanted.clone()).await.unwrap();
    let records = records(1..=20);
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    let mut verdicts = Vec::new();
    sink.submit(&records).await.unwrap();
    let error = loop {
        if let Err(error) = sink.settle(&mut verdicts).await {
            break error;
        }
    };
    assert_eq!(verdicts.len(), 5);
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains("maximum messages exceeded"), "{reason}");
    wanted.max_messages = -1;
    context.update_stream(wanted).await.unwrap();
    deliver(&mut sink, &records).await;
    assert_complete::<Binary>(&place.read().await, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up_and_taken_up_again() {
    let place = Binary::alone();
    let server = place.own.as_ref().unwrap();
    let records = records(1..=600);
    let mut sink = place.sink();
    deliver(&mut sink, &records[..300]).await;
    server.signal("STOP");
    sink.submit(&records[300..]).await.unwrap();
    let error = timeout(DEADLINE, sink.settle(&mut Vec::new())).await.unwrap().unwrap_err();
    assert!(error.source.unwrap().to_string().contains("nothing was acknowledged"));
    server.signal("CONT");
    deliver(&mut sink, &records).await;
    assert_complete::<Binary>(&place.read().await, &records);
}
