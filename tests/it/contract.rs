//! The contract: what is published conforms to `docs/contract/`, by the CloudEvents project's own SDK and by the schemas, in both modes on both
//! brokers; and the examples, in three languages, find what is in a stream and nothing else.

use crate::harness::{Stand, brisk, read_with};
use crate::servers::shared;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tieline::event::{Entry, Epoch, Event, Kind, Marks, Notification, Topic};
use tieline::sink::{Record, Sink, Verdict};
use tieline::time::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const QUEUE: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";

/// How long after its last event an example ends by itself: longer than a busy machine takes for the next.
const IDLE: &str = "20000";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Messages of a broker, as `conform.py` understood them.
async fn conform(broker: &str, lines: &[Value]) -> Vec<Value> {
    let python = Command::new(here("tests/consumers/install.sh")).output().await.unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    let mut child = Command::new(python.trim())
        .arg(here("tests/consumers/conform.py"))
        .args(["--broker", broker, "--schemas", here("docs/contract/schemas").to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let (written, output) = tokio::join!(
        async move { stdin.write_all(text.as_bytes()).await },
        child.wait_with_output()
    );
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    written.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What an example printed last, and its exit code.
async fn example(language: &str, broker: &str, settings: &[(&str, &str)]) -> (Option<i32>, Value) {
    let folder = Command::new(here("tests/consumers/examples.sh")).arg(language).output().await;
    let folder = folder.unwrap();
    assert!(folder.status.success(), "{}", String::from_utf8_lossy(&folder.stderr));
    let folder = PathBuf::from(String::from_utf8(folder.stdout).unwrap().trim());
    let mut command = match language {
        "node" => Command::new("node"),
        "python" => Command::new(folder.join("venv/bin/python")),
        _ => Command::new("java"),
    };
    match (language, broker) {
        ("node", _) => command.arg(format!("{broker}.js")),
        ("python", _) => command.arg(format!("{broker}_reader.py")),
        (_, "kafka") => {
            command.args(["-cp", "target/classes:target/dependency/*", "tieline.KafkaReader"])
        }
        _ => command.args(["-cp", "target/classes:target/dependency/*", "tieline.NatsReader"]),
    };
    command.envs(settings.iter().copied()).env("EXIT_WHEN_IDLE_MS", IDLE).current_dir(&folder);
    let run = tokio::time::timeout(Duration::from_secs(300), command.output()).await;
    let run = run.unwrap_or_else(|_| panic!("the {language} example for {broker} does not end"));
    let run = run.unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let last = out.lines().last().unwrap_or_else(|| panic!("{language} {broker} says: {err}"));
    let counts = serde_json::from_str(last);
    (run.status.code(), counts.unwrap_or_else(|_| panic!("{language} {broker}: {out}{err}")))
}

/// Every example at once: most of their time goes by until they are sure that nothing more comes.
async fn each_language(look: impl AsyncFn(&'static str)) {
    tokio::join!(look("node"), look("python"), look("java"));
}

/// A stream in which everything happens that a consumer must tell apart. `repeats` as plain Kafka may have them: a stretch once more.
fn eventful(repeats: bool) -> Vec<Record> {
    let topic = |family: &str| Topic::new(&format!("v2.{family}"));
    let conversations = topic(&format!("routing.queues.{QUEUE}.conversations"));
    let observations = topic(&format!("analytics.queues.{QUEUE}.observations"));
    let users = topic(&format!("routing.queues.{QUEUE}.users"));
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let pushed = |topic: &Topic, body: &str, late: bool| {
        let notification = Notification {
            topic: topic.clone(),
            body: body.to_owned().into(),
            correlation_id: Some("größe 100% +".into()),
            received: now,
        };
        Entry::pushed(notification, Marks { late, ..Marks::default() })
    };
    let own = |kind, topic: &Topic, body: &Value| {
        Entry::own(kind, topic.clone(), body.to_string().into_bytes().into(), now)
    };
    let gap = |topic: &Topic| {
        let body = json!({
            "gaps": [1], "topic": topic.name(), "shard": 0, "cause": "cut", "certainty": "certain",
            "from": now.to_string(), "to": now.to_string(), "seconds": 0.0, "snapshot": "follows"
        });
        own(Kind::Gap, topic, &body)
    };
    let members = |part: u64| {
        let body = json!({"queueId": QUEUE, "part": part, "parts": 2, "members": []});
        own(Kind::MembersSnapshot, &users, &body)
    };
    let snapshot = json!({"queueId": QUEUE, "results": []});
    let opened = json!({
        "gap": 1, "shard": 0, "cause": "cut", "certainty": "certain", "from": now.to_string(),
        "topics": {"count": 1, "names": [observations.name()]}
    });
    let told = [
        (1, 1, pushed(&conversations, r#"{"id":1}"#, false)),
        (1, 2, pushed(&observations, r#"{"n":1}"#, false)),
        (1, 1, own(Kind::GapOpened, &Topic::control(), &opened)),
        (1, 3, gap(&observations)),
        (1, 4, own(Kind::ObservationsSnapshot, &observations, &snapshot)),
        (1, 5, gap(&users)),
        // Two parts, of which the second makes it whole.
        (1, 6, members(1)),
        (1, 7, members(2)),
        (1, 8, pushed(&conversations, r#"{"id":3}"#, false)),
        (1, 9, pushed(&conversations, r#"{"id":2}"#, true)),
        // A number is left out: something was lost between the broker and the consumer.
        (1, 11, pushed(&conversations, r#"{"id":4}"#, false)),
        // Another epoch counts anew.
        (2, 1, pushed(&conversations, r#"{"id":5}"#, false)),
        (2, 2, pushed(&conversations, r#"{"id":6}"#, false)),
        (2, 3, gap(&users)),
        // Its other part does not come, so that the topic stays incomplete.
        (2, 4, members(1)),
    ];
    let epoch = |number: u64| Epoch::new(Timestamp::from_micros(1_700_000_000_000_000 * number), 7);
    let mut records: Vec<Record> = told
        .into_iter()
        .zip(1..)
        .map(|((life, number, entry), position)| Record {
            number,
            event: Arc::new(Event::placed(epoch(life), position, entry)),
        })
        .collect();
    if repeats {
        // With the snapshot's part: seen twice it is still one.
        let again = records[11..].to_vec();
        records.extend(again);
    }
    records
}

/// What each example must find there.
fn eventful_found(repeats: bool) -> Value {
    let repeats = if repeats { 4 } else { 0 };
    json!({
        "events": 15, "repeats": repeats, "late": 1, "holes": 1, "gaps": 3, "snapshots": 2, "incomplete": 1,
    })
}

async fn publish(mut sink: Box<dyn Sink>, records: &[Record]) {
    sink.open(&records[0].event.epoch).await.unwrap();
    let mut verdicts = Vec::new();
    let mut submitted = 0;
    while verdicts.len() < records.len() {
        submitted += sink.submit(&records[submitted..]).await.unwrap();
        sink.settle(&mut verdicts).await.unwrap();
    }
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Stored), "{verdicts:?}");
    sink.close().await.unwrap();
}

/// Sinks into places of that name, by the configuration as an operator writes it.
fn sinks(brokers: &str, url: &str, name: &str, mode: &str) -> Vec<(&'static str, Box<dyn Sink>)> {
    let text = format!(
        r#"
        genesys.region = "mypurecloud.ie"
        genesys.queues = ["all"]
        secret.env.variable = "SECRET"
        [sink.kafka]
        brokers = "{brokers}"
        topic = "{name}"
        mode = "{mode}"
        [sink.nats]
        url = "{url}"
        stream = "{name}"
        subject = "{name}.{{family}}.{{key}}"
        mode = "{mode}"
        "#
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tieline.toml");
    std::fs::write(&file, text).unwrap();
    let config = tieline::config::Config::load(Some(&file), std::iter::empty()).unwrap();
    config.sinks.build("https://api.mypurecloud.ie")
}

async fn servers() -> (String, String) {
    let started = tokio::task::spawn_blocking(|| (shared("kafka"), shared("nats"))).await;
    let (broker, server) = started.unwrap();
    (broker.field("brokers"), server.field("url"))
}

/// Both modes on both brokers: the SDK reads what was published, and the schemas hold.
#[tokio::test(flavor = "multi_thread")]
async fn an_independent_sdk_and_the_schemas_agree_in_both_modes_on_both_brokers() {
    let (brokers, url) = servers().await;
    let records = eventful(false);
    let types: Vec<&str> = records.iter().map(|record| record.event.type_name()).collect();
    for mode in ["binary", "structured"] {
        let name = format!("contract-{mode}");
        for (_, sink) in sinks(&brokers, &url, &name, mode) {
            publish(sink, &records).await;
        }
        let count = records.len().to_string();
        let of_nats =
            read_with("read_nats.py", &["--url", &url, "--stream", &name, "--count", &count]).await;
        let understood = conform("nats", &of_nats).await;
        let found: Vec<&str> =
            understood.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(found, types, "{mode} on nats");

        let control = format!("{name}.control");
        let keyed = (records.len() - 1).to_string();
        let mut of_kafka = Vec::new();
        for (topic, count) in [(&name, keyed.as_str()), (&control, "1")] {
            let args = ["--brokers", &brokers, "--topic", topic, "--count", count];
            of_kafka.extend(read_with("read_kafka.py", &args).await);
        }
        let understood = conform("kafka", &of_kafka).await;
        let sorted = |types: &[&str]| {
            let mut types: Vec<String> = types.iter().map(|one| (*one).to_owned()).collect();
            types.sort_unstable();
            types
        };
        let found: Vec<&str> =
            understood.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(sorted(&found), sorted(&types), "{mode} on kafka");
    }
}

/// The examples are held to a stream in which everything happens, and must find exactly that.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_find_holes_repeats_gaps_and_snapshots() {
    let (brokers, url) = servers().await;
    for (kind, sink) in sinks(&brokers, &url, "examples-eventful", "binary") {
        publish(sink, &eventful(kind == "kafka")).await;
    }
    each_language(async |language| {
        let group = format!("eventful-{language}");
        let kafka = [
            ("KAFKA_BROKERS", brokers.as_str()),
            ("KAFKA_TOPIC", "examples-eventful"),
            ("KAFKA_GROUP", group.as_str()),
        ];
        let nats = [("NATS_URL", url.as_str()), ("NATS_STREAM", "examples-eventful")];
        let (of_kafka, of_nats) =
            tokio::join!(example(language, "kafka", &kafka), example(language, "nats", &nats));
        assert_eq!(of_kafka, (Some(1), eventful_found(true)), "{language} on kafka");
        assert_eq!(of_nats, (Some(1), eventful_found(false)), "{language} on nats");
    })
    .await;
}

/// So many bytes fit into what the brokers of the next test take, and no more.
const MOST: usize = 64 << 10;

/// A stand with sinks of both brokers into places of that name, which take so much at once.
async fn stand_of_both(brokers: &str, url: &str) -> (Stand, String) {
    let mut stand = Stand::new(brisk()).await;
    let name = format!("examples-{}", stand.sim.api_url().rsplit(':').next().unwrap());
    for topic in [name.clone(), format!("{name}.control")] {
        crate::sinks::kafka::create(brokers, &topic, &MOST.to_string()).await;
    }
    let client = async_nats::connect(url).await.unwrap();
    let wanted = async_nats::jetstream::stream::Config {
        name: name.clone(),
        subjects: vec![format!("{name}.>")],
        max_message_size: i32::try_from(MOST).unwrap(),
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(wanted).await.unwrap();
    stand.config.set("sink.kafka.brokers", brokers);
    stand.config.set("sink.kafka.topic", name.as_str());
    stand.config.set("sink.nats.url", url);
    stand.config.set("sink.nats.stream", name.as_str());
    stand.config.set("sink.nats.subject", format!("{name}.{{family}}.{{key}}"));
    (stand, name)
}

/// What the examples must find among these events.
fn found(events: &[Value]) -> Value {
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    let count = |is: &dyn Fn(&Value) -> bool| events.iter().filter(|event| is(event)).count();
    let is_last = |event: &&Value| {
        kind(event).starts_with("tieline.snapshot.")
            && event["data"]["part"] == event["data"]["parts"]
    };
    let mut incomplete = BTreeSet::new();
    for event in events {
        let topic = event["topic"].as_str().unwrap();
        if kind(event) == "tieline.gap.v1" {
            incomplete.insert(topic);
        } else if is_last(&event) {
            incomplete.remove(topic);
        }
    }
    json!({
        "events": events.len(), "repeats": 0, "holes": 0,
        "late": count(&|event| event["late"] == true),
        "gaps": count(&|event| kind(event) == "tieline.gap.v1"),
        "snapshots": events.iter().filter(is_last).count(),
        "incomplete": incomplete.len(),
    })
}

/// Real events, from the simulator through the process, one of which neither broker can take: they conform on both, and every example
/// finds all of them without a hole.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_process_publishes_conforms_and_every_example_finds_it_whole() {
    let (brokers, url) = servers().await;
    let (stand, name) = stand_of_both(&brokers, &url).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    let topic = stand.config.topics(&stand.sim).remove(0);
    let body = json!({"id": QUEUE, "padding": "p".repeat(MOST)});
    stand.control("emit", json!({"topic": topic, "body": body})).await;
    bridge.lines(&["event_parked"], 2).await;
    stand.control("close", json!({"mode": "rst"})).await;
    bridge.line(&["gap_closed"]).await;
    stand.emits(60).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    bridge.finish(&stand).await;

    let lines = std::fs::read_to_string(stand.config.events()).unwrap();
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // A line of the file is a message in structured mode.
    let media = json!({"content-type": "application/cloudevents+json"});
    let of_file: Vec<Value> =
        lines.lines().map(|line| json!({"headers": media, "key": null, "value": line})).collect();
    assert_eq!(conform("nats", &of_file).await.len(), events.len());
    let of_nats = read_all("read_nats.py", &["--url", &url, "--stream", &name]).await;
    let mut of_kafka = Vec::new();
    for topic in [name.clone(), format!("{name}.control")] {
        of_kafka
            .extend(read_all("read_kafka.py", &["--brokers", &brokers, "--topic", &topic]).await);
    }
    for (broker, messages) in [("kafka", of_kafka), ("nats", of_nats)] {
        let understood = conform(broker, &messages).await;
        assert_eq!(understood.len(), events.len(), "{broker}");
        let parked: Vec<&Value> =
            understood.iter().filter(|event| event["type"] == "tieline.parked.v1").collect();
        let [parked] = parked[..] else { panic!("{broker}: {parked:?}") };
        assert_eq!(parked["topic"], topic, "{broker}");
        assert_eq!(parked["data"]["bytes"], body.to_string().len(), "{broker}");
    }
    let found = found(&events);
    each_language(async |language| {
        let group = format!("{name}-{language}");
        let kafka = [
            ("KAFKA_BROKERS", brokers.as_str()),
            ("KAFKA_TOPIC", name.as_str()),
            ("KAFKA_GROUP", group.as_str()),
        ];
        let nats = [("NATS_URL", url.as_str()), ("NATS_STREAM", name.as_str())];
        let (of_kafka, of_nats) =
            tokio::join!(example(language, "kafka", &kafka), example(language, "nats", &nats));
        assert_eq!(of_kafka, (Some(0), found.clone()), "{language} on kafka");
        assert_eq!(of_nats, (Some(0), found.clone()), "{language} on nats");
    })
    .await;
}

/// All that is in a stream or a topic, as the reader of that name prints it.
async fn read_all(reader: &str, place: &[&str]) -> Vec<Value> {
    read_with(reader, &[place, &["--timeout", "300"]].concat()).await
}

#[test]
fn every_kind_of_event_has_its_schema_and_its_message() {
    let asyncapi = std::fs::read_to_string(here("docs/contract/asyncapi.yaml")).unwrap();
    for kind in Kind::ALL {
        let name = kind.name();
        assert!(
            here(&format!("docs/contract/schemas/{name}.json")).exists(),
            "no schema of {name}"
        );
        assert!(asyncapi.contains(&format!("./schemas/{name}.json")), "no message of {name}");
    }
}

#[test]
fn the_schemas_name_the_attributes_that_there_are() {
    let properties = |file: &str| -> BTreeSet<String> {
        let text =
            std::fs::read_to_string(here(&format!("docs/contract/schemas/{file}.json"))).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let mut record = eventful(false).remove(4);
    let event = Arc::make_mut(&mut record.event);
    event.correlation_id = Some("c-1".into());
    event.marks = Marks { late: true, possible_duplicate: true };
    let (mut bare, mut kafka, mut nats) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    tieline::sink::cloudevents::Encoder::new("https://a.example").attributes(&record, |name, _| {
        bare.insert(name.bare.to_owned());
        kafka.insert(name.kafka.to_owned());
        nats.insert(name.nats.to_owned());
    });
    bare.insert("data".into());
    assert_eq!(properties("event"), bare);
    assert_eq!(properties("headers-kafka"), kafka);
    let ours: BTreeSet<String> =
        properties("headers-nats").into_iter().filter(|name| name.starts_with("ce-")).collect();
    assert_eq!(ours, nats);
}
