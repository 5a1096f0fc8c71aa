//! The Kafka sink against real brokers: conformance, partitions, limits, and topics that are not there.

pub mod cluster;
mod epochs;
mod exactly_once;
mod security;
mod topics;

use super::*;
use crate::servers::{Server, shared};
use cluster::Cluster;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::sync::atomic::{AtomicU32, Ordering};
use tieline::sink::cloudevents::Mode;
use tieline::sink::kafka::{Config, Delivery, Options};
use tieline::size::Size;

/// A topic of its own, on a broker that is shared or its own.
struct Broker<const STRUCTURED: bool, const ONCE: bool> {
    own: Option<Server>,
    /// Another node of its cluster, which lives on.
    other: Option<Server>,
    topic: String,
}

type Binary = Broker<false, false>;
type Once = Broker<false, true>;

impl<const STRUCTURED: bool, const ONCE: bool> Broker<STRUCTURED, ONCE> {
    fn on(own: Option<Server>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { own, other: None, topic: format!("sinks-{STRUCTURED}-{ONCE}-{count}") }
    }

    fn brokers(&self) -> String {
        let nodes: Vec<String> =
            self.own.iter().chain(&self.other).map(|node| node.field("brokers")).collect();
        if nodes.is_empty() { shared("kafka").field("brokers") } else { nodes.join(",") }
    }

    fn config(&self) -> Config {
        let replication = if self.other.is_some() { 2 } else { 1 };
        Config { replication, ..config(&self.brokers(), &self.topic, STRUCTURED, ONCE) }
    }
}

fn config(brokers: &str, topic: &str, structured: bool, once: bool) -> Config {
    Config {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        control_topic: "{prefix}.control".into(),
        delivery: if once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
        transactional_id: once.then(|| format!("id-{topic}")),
        cursor_topic: format!("{topic}.cursors"),
        mode: if structured { Mode::Structured } else { Mode::Binary },
        create: true,
        partitions: 3,
        replication: 1,
        queue_bytes: Size(32 << 20),
        linger: Duration::from_millis(5),
        compression: "lz4".into(),
        password_file: None,
        options: Options::new(),
        filter: None,
        required: None,
    }
}

impl<const STRUCTURED: bool, const ONCE: bool> Place for Broker<STRUCTURED, ONCE> {
    /// Without transactions, idempotence ends with the producer.
    const ONCE: bool = ONCE;
    const BOUNDED: bool = true;

    fn new() -> Self {
        Self::on(None)
    }

    fn alone() -> Self {
        Self::on(Some(Server::start("kafka", &[])))
    }

    /// A node that coordinates transactions alone may forget one when it is killed (docs/delivery.md).
    fn sturdy() -> Self {
        if !ONCE {
            return Self::alone();
        }
        let Cluster { first, second } = Cluster::start();
        Self { other: Some(first), ..Self::on(Some(second)) }
    }

    fn unreachable() -> (Box<dyn Sink>, String) {
        let address = "127.0.0.1:1";
        let mut config = config(address, "t", STRUCTURED, ONCE);
        config.options.insert("sasl.password".into(), conformance::SECRET.into());
        (config.build(SOURCE), address.to_owned())
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
        let (brokers, topic) = (self.brokers(), self.topic.clone());
        let read = move || {
            let mut stored = read_topic(&brokers, &topic, STRUCTURED);
            stored.extend(read_topic(&brokers, &format!("{topic}.control"), STRUCTURED));
            stored
        };
        let stored = tokio::task::spawn_blocking(read).await.unwrap();
        stored.into_iter().map(|(_, event)| event).collect()
    }
}

/// How often reading a partition may fail: librdkafka connects again after 10 s at most.
const ERRORS_MOST: u32 = 30;

/// Everything that is committed in a topic with its partition, one partition after the other.
fn read_topic(brokers: &str, topic: &str, is_structured: bool) -> Vec<(i32, Stored)> {
    read_as("read_committed", brokers, topic, is_structured)
}

/// The same by a reader of that isolation level.
fn read_as(isolation: &str, brokers: &str, topic: &str, is_structured: bool) -> Vec<(i32, Stored)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .create()
        .unwrap();
    // All of them are listed: to ask for one by name may create it.
    let metadata = consumer.fetch_metadata(None, DEADLINE).unwrap();
    let mut stored = Vec::new();
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    for partition in found.map(|found| found.partitions()).unwrap_or_default() {
        let id = partition.id();
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, id, Offset::Beginning).unwrap();
        consumer.assign(&assignment).unwrap();
        let mut errors = 0;
        loop {
            match consumer.poll(DEADLINE).expect("nothing to read") {
                Ok(message) => stored.push((id, event(&message, is_structured))),
                Err(KafkaError::PartitionEOF(_)) => break,
                // A broker that was killed is found again; one that is gone for good errs without end.
                Err(KafkaError::MessageConsumption(_)) if errors < ERRORS_MOST => errors += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    stored
}

fn event(message: &impl Message, is_structured: bool) -> Stored {
    let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
    let body = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
    let headers: BTreeMap<&str, &str> = message
        .headers()
        .unwrap()
        .iter()
        .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap()))
        .collect();
    if is_structured {
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        return Stored { key, ..structured(&body) };
    }
    let attributes = headers
        .into_iter()
        .map(|(name, value)| {
            let bare = match name {
                "content-type" => "datacontenttype",
                name => name.strip_prefix("ce_").unwrap(),
            };
            (bare.to_owned(), value.to_owned())
        })
        .collect();
    Stored { attributes, key, body }
}

conformance!(Binary);

mod in_structured_mode {
    type Structured = super::Broker<true, false>;
    crate::sinks::conformance! { Structured:
        the_contract_holds_byte_for_byte,
        an_event_too_large_is_refused_and_the_others_go_on,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_the_partition_that_java_clients_choose() {
    let place = Binary::new();
    deliver(&mut place.sink(), &records(1..=100)).await;
    let (brokers, topic) = (place.brokers(), place.topic.clone());
    let read = move || read_topic(&brokers, &topic, false);
    let stored = tokio::task::spawn_blocking(read).await.unwrap();
    for (partition, event) in stored {
        let positive = murmur2(event.key.as_bytes()) & 0x7fff_ffff;
        assert_eq!(partition.cast_unsigned(), positive % 3, "key {}", event.key);
    }
}

/// The hash of Kafka's Java client, from its description.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(bytes.len()).unwrap();
    let mut hash = 0x9747_b28c ^ length;
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * at);
        if at == 0 {
            hash = hash.wrapping_mul(M);
        }
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

async fn refuses_only_what_is_too_large<const ONCE: bool>() {
    let place = Broker::<false, ONCE>::new();
    // A batch counts against this limit as a whole: whoever sends too much at once loses innocent events.
    create(&place.brokers(), &place.topic, "20000").await;
    let records = noisy(500);
    let verdicts = deliver(&mut place.sink(), &records).await;
    let stored = verdicts.iter().filter(|verdict| **verdict == Verdict::Stored);
    assert_eq!(stored.count(), 499);
    assert!(matches!(verdicts[100], Verdict::Refused { .. }));
    assert_eq!(place.read().await.len(), 499);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_little_refuses_only_what_is_too_large() {
    refuses_only_what_is_too_large::<false>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_little_refuses_only_what_is_too_large_in_transactions() {
    refuses_only_what_is_too_large::<true>().await;
}

/// The limit is lowered behind the producer's back, which then sends batches that are refused as a whole.
async fn finds_out_what_is_too_large<const ONCE: bool>(with: fn(Box<dyn Sink>) -> Box<dyn Sink>) {
    let place = Broker::<false, ONCE>::new();
    let admin = create(&place.brokers(), &place.topic, "1000000").await;
    let mut records = noisy(500);
    // The library itself must not see it coming.
    let body: String = (0..25_000).map(|at| noise(7, at)).collect();
    Arc::make_mut(&mut records[100].event).body = format!("\"{body}\"").into();
    let mut sink = with(place.sink());
    let first = deliver(&mut sink, &records[..10]).await;
    assert_eq!(first, vec![Verdict::Stored; 10]);
    let lower =
        AlterConfig::new(ResourceSpecifier::Topic(&place.topic)).set("max.message.bytes", "20000");
    admin.alter_configs([&lower], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let applied = timeout(DEADLINE, async {
        let asked = [ResourceSpecifier::Topic(&place.topic)];
        loop {
            let answers = admin.describe_configs(&asked, &AdminOptions::new()).await.unwrap();
            let limit = answers[0].as_ref().unwrap().get("max.message.bytes").unwrap();
            if limit.value.as_deref() == Some("20000") {
                break;
            }
        }
    });
    applied.await.expect("the limit is not applied");

    let verdicts = continue_delivery(&mut sink, &records, first, 10).await;
    let refused: Vec<usize> =
        (0..500).filter(|&at| matches!(verdicts[at], Verdict::Refused { .. })).collect();
    assert_eq!(refused, [100]);
    records.remove(100);
    let mut stored: Vec<u64> = place.read().await.iter().map(|stored| stored.place().0).collect();
    stored.sort_unstable();
    stored.dedup_by(|one, other| !ONCE && one == other);
    let sent: Vec<u64> = records.iter().map(|record| record.event.position).collect();
    assert_eq!(stored, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_parks_no_innocent_event() {
    finds_out_what_is_too_large::<false>(epochs::two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_parks_no_innocent_event_in_transactions() {
    finds_out_what_is_too_large::<true>(|sink| sink).await;
}

/// Makes a topic of one partition that takes so many bytes at once.
pub async fn create(
    brokers: &str,
    topic: &str,
    message_max: &str,
) -> AdminClient<DefaultClientContext> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let wanted =
        NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", message_max);
    let options = AdminOptions::new();
    admin.create_topics([&wanted], &options).await.unwrap()[0].as_ref().unwrap();
    is_shown(client, topic).await;
    admin
}

/// Waits until the brokers show a topic that their controller has made: on a busy machine that takes seconds.
pub async fn is_shown(client: ClientConfig, topic: &str) {
    let topic = topic.to_owned();
    let shown = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create().unwrap();
        (0..LISTINGS).any(|_| {
            let listed = consumer.fetch_metadata(None, DEADLINE).unwrap();
            let mut topics = listed.topics().iter();
            topics.any(|found| found.name() == topic && found.error().is_none())
        })
    });
    assert!(shown.await.unwrap(), "the topic is not shown");
}

/// How often the topics are listed at most: minutes.
const LISTINGS: u32 = 100_000;

/// Records whose padding does not compress to nothing, which would never fill a batch; the 101st is large.
fn noisy(count: u64) -> Vec<Record> {
    let mut records = records(1..=count);
    for record in &mut records {
        let noise: String = (0..900).map(|at| noise(record.event.position, at)).collect();
        Arc::make_mut(&mut record.event).body = format!("\"{noise}\"").into();
    }
    Arc::make_mut(&mut records[100].event).body = format!("\"{}\"", "x".repeat(30_000)).into();
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_the_queue_is_refused_and_the_others_go_on() {
    let place = Binary::new();
    let mut config = place.config();
    config.queue_bytes = Size(64 << 10);
    let mut records = records(1..=400);
    Arc::make_mut(&mut records[200].event).body = format!("\"{}\"", "x".repeat(70_000)).into();
    // The queue is filled again and again.
    let verdicts = deliver(&mut config.build(SOURCE), &records).await;
    let Verdict::Refused { reason } = &verdicts[200] else {
        panic!("{:?}", verdicts[200]);
    };
    assert!(reason.contains("queue_bytes"), "{reason}");
    assert_eq!(place.read().await.len(), 399);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_counts_what_it_does() {
    let place = Binary::new();
    let mut sink = place.sink();
    let mut figures = sink.figures().unwrap();
    deliver(&mut sink, &records(1..=100)).await;
    let counted = figures.wait_for(|figures| figures.sent_bytes > 0);
    let first = *timeout(DEADLINE, counted).await.unwrap().unwrap();
    assert_eq!((first.brokers_up, first.brokers_down), (1, 0), "{first:?}");
    assert!(first.round_trip > Duration::ZERO, "{first:?}");
    // Totals go on with another producer.
    deliver(&mut sink, &records(1..=100)).await;
    let counted = figures.wait_for(|figures| figures.sent_bytes > first.sent_bytes + 1_000);
    timeout(DEADLINE, counted).await.unwrap().unwrap();
}

/// A letter that no codec foresees.
fn noise(position: u64, at: u64) -> char {
    let mixed = (position << 20 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    char::from(b'a' + u8::try_from((mixed >> 40) % 26).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_doubles_nothing_while_the_producer_lives() {
    let place = Binary::alone();
    let server = place.own.as_ref().unwrap();
    let mut config = place.config();
    config.options.insert("socket.timeout.ms".into(), "3000".into());
    let mut sink = config.build(SOURCE);
    let records = records(1..=2000);
    deliver(&mut sink, &records[..1000]).await;
    server.signal("STOP");
    let submitted = 1000 + sink.submit(&records[1000..]).await.unwrap();
    let mut verdicts = vec![Verdict::Stored; 1000];
    // Longer than the socket's patience, so that everything in flight is sent again.
    let settled = timeout(Duration::from_secs(5), sink.settle(&mut verdicts)).await;
    assert!(settled.is_err(), "{settled:?}");
    server.signal("CONT");
    continue_delivery(&mut sink, &records, verdicts, submitted).await;
    let stored = place.read().await;
    assert_complete::<Binary>(&stored, &records);
    assert_eq!(stored.len(), records.len());
}
