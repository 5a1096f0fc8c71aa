//! What the real process writes, as consumers with other clients and in another language read it.

use crate::books::Held;
use crate::harness::{Stand, brisk, read_with};
use crate::servers::shared;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A message as a reader prints it.
pub struct Message {
    pub event: Held,
    pub key: String,
    pub subject: String,
    pub headers: BTreeMap<String, String>,
}

/// What a reader may take for all that is there, in seconds.
const ALL_WITHIN: &str = "300";

/// Reads so many messages of a stream from its start, or all that are there.
pub async fn nats(url: &str, stream: &str, count: Option<usize>) -> Vec<Message> {
    let lines = read("read_nats.py", ["--url", url, "--stream", stream], count).await;
    lines.iter().map(|line| Message::read(line, "ce-")).collect()
}

/// The same of a topic; in order within each partition.
pub async fn kafka(brokers: &str, topic: &str, count: Option<usize>) -> Vec<Message> {
    let lines = read("read_kafka.py", ["--brokers", brokers, "--topic", topic], count).await;
    lines.iter().map(|line| Message::read(line, "ce_")).collect()
}

async fn read(script: &str, place: [&str; 4], count: Option<usize>) -> Vec<Value> {
    let count = count.map(|count| count.to_string());
    let how = count.as_deref().map_or(["--timeout", ALL_WITHIN], |count| ["--count", count]);
    read_with(script, &[&place[..], &how].concat()).await
}

impl Message {
    fn read(line: &Value, prefix: &str) -> Self {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let headers: BTreeMap<String, String> =
            serde_json::from_value(line["headers"].clone()).unwrap();
        let mut event = Held::of(|name| headers.get(&format!("{prefix}{name}")).cloned());
        event.body = text("value");
        Self { event, key: text("key"), subject: text("subject"), headers }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sink_holds_the_same_events_by_every_client() {
    let (broker, server) =
        tokio::task::spawn_blocking(|| (shared("kafka"), shared("nats"))).await.unwrap();
    let mut stand = Stand::new(brisk()).await;
    // The servers outlive no test run, and the simulator's port is nobody else's while they live.
    let name = format!("process-{}", stand.sim.api_url().rsplit(':').next().unwrap());
    stand.config.set("sink.kafka.brokers", broker.field("brokers"));
    stand.config.set("sink.kafka.topic", name.as_str());
    stand.config.set("sink.nats.url", server.field("url"));
    stand.config.set("sink.nats.stream", name.as_str());
    stand.config.set("sink.nats.subject", format!("{name}.{{family}}.{{key}}"));
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    // A run with a rotation and a loss in it.
    let secret = stand.rotate().await;
    stand.config.write_secret(&secret);
    bridge.line(&["rotation_finished"]).await;
    stand.control("close", json!({"mode": "rst"})).await;
    bridge.line(&["gap_closed"]).await;
    stand.emits(60).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;

    let held = stand.held();
    let of_queues: Vec<Held> = held.iter().filter(|event| !event.is_control()).cloned().collect();
    let (count, all) = (Some(of_queues.len()), Some(held.len()));
    let (brokers, url) = (broker.field("brokers"), server.field("url"));
    let (of_kafka, of_nats) = tokio::join!(kafka(&brokers, &name, count), nats(&url, &name, all));
    let family = |event: &Held| event.topic.replace(&format!("{}.", event.key), "");
    for Message { event, key, subject, headers } in &of_kafka {
        assert_eq!((key, subject.as_str()), (&event.key, name.as_str()));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["ce_subject"], event.key);
        if !event.is_own() {
            assert_eq!(headers["ce_type"], format!("com.genesys.cloud.{}", family(event)));
        }
    }
    for Message { event, key, subject, headers } in &of_nats {
        let expected = match event.is_control() {
            true => format!("{name}.control"),
            false => format!("{name}.{}.{key}", family(event)),
        };
        assert_eq!((key, subject), (&event.key, &expected));
        assert_eq!(headers["ce-datacontenttype"], "application/json");
        assert_eq!(headers["ce-specversion"], "1.0");
        assert_eq!(headers["ce-source"], stand.sim.api_url());
    }
    let by_key = |mut events: Vec<Held>| {
        events.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
        events
    };
    for (messages, held) in [(of_kafka, of_queues), (of_nats, held)] {
        let events: Vec<Held> = messages.into_iter().map(|message| message.event).collect();
        let verdict = stand.judge(&events, &gaps, since);
        verdict.assert_kept();
        assert_eq!(verdict.gaps.len(), 1);
        assert_eq!(by_key(events), by_key(held));
    }
}
