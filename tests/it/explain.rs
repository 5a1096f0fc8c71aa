//! `tieline explain` and `required` against real brokers, and the table of `docs/delivery.md` against what they say.

use crate::harness::{Stand, program, quiet};
#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::servers::shared;
use serde_json::Value;
use std::collections::BTreeSet;

/// What `explain --output json` says, and the exit code.
async fn explain(stand: &Stand) -> (Option<i32>, Value) {
    let file = stand.config.write();
    let args = ["explain", file.to_str().unwrap(), "--output", "json"];
    let output = program(&args).output().await.unwrap();
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

/// The sink of that name.
fn sink<'a>(said: &'a Value, name: &str) -> &'a Value {
    said["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).unwrap()
}

/// A finding's effect and text.
fn finding<'a>(sink: &'a Value, name: &str) -> (&'a str, &'a str) {
    let findings = sink["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["name"] == name);
    let found = found.unwrap_or_else(|| panic!("nothing about {name}: {sink}"));
    (found["effect"].as_str().unwrap(), found["text"].as_str().unwrap())
}

/// Every finding's name has its row, under the heading of who says it.
fn assert_in_table(said: &Value) {
    let page = include_str!("../../docs/delivery.md");
    let rows = |who: &str| -> BTreeSet<&str> {
        let of_table = page.lines().filter_map(|line| line.strip_prefix(&format!("| {who} | `")));
        of_table.filter_map(|line| line.split('`').next()).collect()
    };
    let check = |who: &str, findings: &Value| {
        for finding in findings.as_array().unwrap() {
            let name = finding["name"].as_str().unwrap();
            assert!(rows(who).contains(name), "{who}: {name} is not in docs/delivery.md");
        }
    };
    for sink in said["sinks"].as_array().unwrap() {
        if sink["findings"].is_array() {
            check(sink["name"].as_str().unwrap(), &sink["findings"]);
        }
    }
    check("journal", &said["journal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_explained_by_its_flushing_and_its_file_system() {
    let mut stand = Stand::new(quiet()).await;
    let (code, said) = explain(&stand).await;
    assert_in_table(&said);
    let jsonl = sink(&said, "jsonl");
    assert_eq!((code, &jsonl["level"]), (Some(0), &"effectively_once".into()));
    let (effect, text) = finding(jsonl, "flush");
    assert!(effect == "weakens" && text.contains("power cut"), "{text}");
    finding(jsonl, "file_system");
    assert!(!stand.config.events().exists(), "explain makes no file");

    stand.config.set("sink.jsonl.path", "/dev/shm/tieline-explain.jsonl");
    stand.config.set("sink.jsonl.flush", "sync");
    stand.config.set("sink.jsonl.required", "effectively_once");
    let (code, said) = explain(&stand).await;
    let jsonl = sink(&said, "jsonl");
    assert_eq!(finding(jsonl, "flush").0, "holds");
    let (effect, text) = finding(jsonl, "file_system");
    assert!(effect == "lowers" && text.contains("tmpfs"), "{text}");
    assert_eq!((code, &jsonl["level"]), (Some(78), &"best_effort".into()));

    stand.config.set("sink.jsonl.path", "-");
    let (code, said) = explain(&stand).await;
    assert_in_table(&said);
    assert_eq!((code, &sink(&said, "jsonl")["level"]), (Some(78), &"at_least_once".into()));
}

#[cfg(feature = "nats")]
mod nats {
    use super::*;
    use crate::harness::{Bridge, DEADLINE};
    use async_nats::jetstream::{self, stream};
    use std::time::Duration;

    /// A stand whose one sink is a stream of that name on the shared server.
    async fn stand(name: &str) -> Stand {
        let server = tokio::task::spawn_blocking(|| shared("nats")).await.unwrap();
        let mut stand = Stand::new(quiet()).await;
        stand.config.unset("sink.jsonl");
        stand.config.set("sink.nats.url", server.field("url"));
        stand.config.set("sink.nats.stream", name);
        stand.config.set("sink.nats.subject", format!("{name}.{{family}}.{{key}}"));
        stand
    }

    async fn create(name: &str, change: impl FnOnce(&mut stream::Config)) {
        let client = async_nats::connect(shared("nats").field("url")).await.unwrap();
        let mut wanted = stream::Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.>")],
            ..stream::Config::default()
        };
        change(&mut wanted);
        jetstream::new(client).create_stream(wanted).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_is_explained_before_and_after_it_exists() {
        let mut stand = stand("explain-plain").await;
        let (code, said) = explain(&stand).await;
        assert_in_table(&said);
        let nats = sink(&said, "nats");
        assert_eq!((code, &nats["level"]), (Some(0), &"effectively_once".into()));
        assert!(finding(nats, "stream").1.contains("does not exist yet"));
        let (effect, text) = finding(nats, "sync_interval");
        assert!(effect == "unknown" && text.contains("sink.nats.monitor"), "{text}");

        create("explain-plain", |wanted| wanted.max_age = Duration::from_secs(3600)).await;
        stand.config.set("sink.nats.monitor", shared("nats").field("monitor"));
        let (_, said) = explain(&stand).await;
        assert_in_table(&said);
        let nats = sink(&said, "nats");
        let (effect, text) = finding(nats, "sync_interval");
        assert_eq!(effect, "weakens");
        assert!(text.contains("costs up to 2m of events (sync_interval = 2m)"), "{text}");
        assert_eq!(finding(nats, "replicas").0, "weakens");
        assert!(finding(nats, "limits").1.contains("older than 1h"), "{nats}");
        assert!(finding(nats, "duplicates").1.contains("remembered for 2m"), "{nats}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_lessens_a_stream_ends_run_with_78_where_more_is_required() {
        create("explain-memory", |wanted| wanted.storage = stream::StorageType::Memory).await;
        create("explain-async", |wanted| {
            wanted.persist_mode = Some(stream::PersistenceMode::Async);
        })
        .await;
        create("explain-queue", |wanted| wanted.retention = stream::RetentionPolicy::WorkQueue)
            .await;
        create("explain-shared", |wanted| wanted.subjects.push("explain-others.>".into())).await;
        for (name, required, given, about, word) in [
            ("explain-memory", "at_least_once", "best_effort", "storage", "in memory"),
            ("explain-async", "at_least_once", "best_effort", "storage", "not written yet"),
            ("explain-queue", "at_least_once", "best_effort", "retention", "workqueue"),
            ("explain-shared", "effectively_once", "at_least_once", "sharing", "explain-others.>"),
        ] {
            let mut stand = stand(name).await;
            stand.config.set("sink.nats.required", required);
            let (code, said) = explain(&stand).await;
            assert_in_table(&said);
            let nats = sink(&said, "nats");
            assert_eq!((code, &nats["level"]), (Some(78), &given.into()), "{name}");
            let (effect, text) = finding(nats, about);
            assert!(effect == "lowers" && text.contains(word), "{text}");
            let bridge = Bridge::start(&stand.config, &[]).await;
            let (code, log) = tokio::time::timeout(DEADLINE, bridge.ended()).await.unwrap();
            assert_eq!(code, Some(78), "{log}");
            assert!(log.contains(&format!("{required} is required, and {given} is what")), "{log}");
            assert!(log.contains("sink.nats.required"), "{log}");
        }
        // What is given is no reason to end.
        let mut stand = stand("explain-shared").await;
        stand.config.set("sink.nats.required", "at_least_once");
        let bridge = stand.ready().await;
        bridge.finish(&stand).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_online_check_says_what_a_broker_gives_and_is_78_where_more_is_required() {
        create("online-memory", |wanted| wanted.storage = stream::StorageType::Memory).await;
        for (name, expected, answer) in [
            ("online-none-yet", 0, "answers, and gives effectively_once"),
            ("online-memory", 78, "at_least_once is required, and best_effort is what there is"),
        ] {
            let mut stand = stand(name).await;
            stand.config.set("sink.nats.required", "at_least_once");
            let file = stand.config.write();
            let output = program(&["check", file.to_str().unwrap(), "--online"]).output().await;
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(expected), "{said}");
            let line = said.lines().find(|line| line.contains("sink nats")).unwrap_or_default();
            assert!(line.contains(answer), "{said}");
            assert_eq!(line.contains("REFUSED"), expected == 78, "{line}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_does_not_answer_is_69_and_not_a_guess() {
        let mut stand = Stand::new(quiet()).await;
        stand.config.set("sink.nats.url", "nats://127.0.0.1:1");
        let (code, said) = explain(&stand).await;
        assert_eq!((code, &said["ok"]), (Some(69), &false.into()));
        let nats = sink(&said, "nats");
        assert!(
            nats["level"].is_null() && nats["problem"].as_str().unwrap().contains("127.0.0.1:1")
        );
        assert_eq!(sink(&said, "jsonl")["level"], "effectively_once", "the others are explained");
    }
}

#[cfg(feature = "kafka")]
mod kafka {
    use super::*;
    use crate::harness::read_with;
    use crate::servers::Server;
    use crate::sinks::kafka::is_shown;
    use rdkafka::ClientConfig;
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use serde_json::json;

    async fn create(topic: &str, settings: &[(&str, &str)]) {
        let server = tokio::task::spawn_blocking(|| shared("kafka")).await.unwrap();
        create_at(&server.field("brokers"), topic, settings).await;
    }

    async fn create_at(brokers: &str, topic: &str, settings: &[(&str, &str)]) {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", brokers);
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        let mut wanted = NewTopic::new(topic, 2, TopicReplication::Fixed(1));
        for (name, value) in settings {
            wanted = wanted.set(name, value);
        }
        let created = admin.create_topics([&wanted], &AdminOptions::new()).await.unwrap();
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        is_shown(client, topic).await;
    }

    async fn stand(topic: &str) -> Stand {
        let server = tokio::task::spawn_blocking(|| shared("kafka")).await.unwrap();
        let mut stand = Stand::new(quiet()).await;
        stand.config.unset("sink.jsonl");
        stand.config.set("sink.kafka.brokers", server.field("brokers"));
        stand.config.set("sink.kafka.topic", topic);
        stand
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_is_explained_by_its_own_settings() {
        let mut stand = stand("explain-plain").await;
        let (code, said) = explain(&stand).await;
        assert_in_table(&said);
        let kafka = sink(&said, "kafka");
        assert_eq!((code, &kafka["level"]), (Some(0), &"at_least_once".into()));
        assert!(finding(kafka, "topic").1.contains("does not exist yet"));

        create("explain-plain", &[("retention.ms", "3600000")]).await;
        let (_, said) = explain(&stand).await;
        assert_in_table(&said);
        let kafka = sink(&said, "kafka");
        assert!(finding(kafka, "acks").1.starts_with("acks=all"));
        assert!(finding(kafka, "min_insync").1.contains("min.insync.replicas = 1"), "{kafka}");
        assert_eq!(finding(kafka, "replication").0, "weakens");
        assert_eq!(finding(kafka, "unclean_election").0, "holds");
        assert!(finding(kafka, "retention").1.contains("older than 1h"), "{kafka}");
        assert!(finding(kafka, "fsync").1.contains("power cut"), "{kafka}");
        stand.config.set("sink.kafka.required", "effectively_once");
        assert_eq!(explain(&stand).await.0, Some(78));

        create("explain-starved", &[("min.insync.replicas", "2")]).await;
        stand.config.set("sink.kafka.topic", "explain-starved");
        let (_, said) = explain(&stand).await;
        let (effect, text) = finding(sink(&said, "kafka"), "min_insync");
        assert!(effect == "weakens" && text.contains("2 of 1"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn exactly_once_is_explained_by_the_topics_that_transactions_lean_on_too() {
        let mut stand = stand("explain-once").await;
        stand.config.set("sink.kafka.delivery", "exactly_once");
        stand.config.set("sink.kafka.cursor_topic", "explain-once.cursors");
        let (_, said) = explain(&stand).await;
        assert_in_table(&said);
        let kafka = sink(&said, "kafka");
        assert_eq!(kafka["level"], "exactly_once");
        assert!(finding(kafka, "cursor").1.contains("does not exist yet"), "{kafka}");
        // Whether this cluster has had a transaction depends on the other tests.
        assert!(finding(kafka, "transaction_state").1.contains("__transaction_state"), "{kafka}");

        create("explain-once.cursors", &[("cleanup.policy", "compact")]).await;
        let (_, said) = explain(&stand).await;
        let (effect, text) = finding(sink(&said, "kafka"), "cursor");
        assert!(effect == "weakens" && text.contains("1 replica"), "{text}");

        create("explain-once.forgetful", &[]).await;
        stand.config.set("sink.kafka.cursor_topic", "explain-once.forgetful");
        stand.config.set("sink.kafka.required", "exactly_once");
        let (code, said) = explain(&stand).await;
        let kafka = sink(&said, "kafka");
        assert_eq!((code, &kafka["level"]), (Some(78), &"at_least_once".into()));
        assert_eq!(finding(kafka, "cursor").0, "lowers");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_lessens_a_topic_ends_run_with_78_where_more_is_required() {
        create("explain-unclean", &[("unclean.leader.election.enable", "true")]).await;
        create("explain-compact", &[("cleanup.policy", "compact")]).await;
        for (topic, about, word) in [
            ("explain-unclean", "unclean_election", "a replica that lags may lead"),
            ("explain-compact", "retention", "of each key only the last event stays"),
        ] {
            let mut stand = stand(topic).await;
            stand.config.set("sink.kafka.required", "at_least_once");
            let (code, said) = explain(&stand).await;
            assert_in_table(&said);
            assert_eq!(code, Some(78), "{said}");
            let (effect, text) = finding(sink(&said, "kafka"), about);
            assert!(effect == "lowers" && text.contains(word), "{text}");
            let (code, log) = stand.start().await.ended().await;
            assert_eq!(code, Some(78), "{log}");
            assert!(log.contains(word), "{log}");
        }
    }

    /// With `{family}` a topic is made when the first event of its family comes, as the cluster makes topics; and judged then, before
    /// anything is in it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_comes_later_is_judged_when_it_comes() {
        let start = || {
            let unclean = "unclean.leader.election.enable=true";
            let makes = "auto.create.topics.enable=true";
            Server::start("kafka", &["--set", unclean, "--set", makes])
        };
        let server = tokio::task::spawn_blocking(start).await.unwrap();
        let brokers = server.field("brokers");
        // Where control events go is as it should be.
        create_at(&brokers, "late.control", &[("unclean.leader.election.enable", "false")]).await;
        let mut stand = Stand::new(quiet()).await;
        stand.config.unset("sink.jsonl");
        let configure = |stand: &mut Stand| {
            stand.config.set("sink.kafka.brokers", brokers.as_str());
            stand.config.set("sink.kafka.topic", "late.{family}");
        };
        configure(&mut stand);
        stand.config.set("sink.kafka.required", "at_least_once");
        let (code, said) = explain(&stand).await;
        assert_eq!(code, Some(0), "{said}");
        let bridge = stand.ready().await;
        let topic = stand.config.topics(&stand.sim).remove(0);
        stand.control("emit", json!({"topic": topic, "body": {"id": "first"}})).await;
        let (code, log) = bridge.ended().await;
        assert_eq!(code, Some(78), "{log}");
        let family = "late.v2.routing.queues.conversations";
        assert!(log.contains(&format!("use topic {family} as sink.kafka.required asks")), "{log}");
        assert!(log.contains("a replica that lags may lead"), "{log}");
        let read = async || {
            let args = ["--brokers", &brokers, "--topic", family, "--timeout", "60"];
            read_with("read_kafka.py", &args).await
        };
        assert_eq!(read().await, [Value::Null; 0], "nothing was sent there");

        // Whoever asks for less has the event that waited.
        stand.config.unset("sink.kafka");
        configure(&mut stand);
        let bridge = stand.ready().await;
        bridge
            .state("the event is delivered", |state| state["sinks"][0]["waiting_events"] == 0)
            .await;
        bridge.finish(&stand).await;
        let bodies: Vec<Value> = read().await.iter().map(|one| one["value"].clone()).collect();
        assert!(bodies.contains(&json!(r#"{"id":"first"}"#)), "{bodies:?}");
    }
}

/// What the page shows of three configurations is what `explain` says of them.
#[cfg(all(feature = "kafka", feature = "nats"))]
mod page {
    use super::*;
    use std::path::Path;
    use std::time::Duration;
    use tieline::config::Config;
    use tieline::event::Epoch;
    use tieline::sink::Disposition;

    /// What is asked, as the page shows it: variables and the file. One node each answers.
    const ASKED: [(&str, &str); 3] = [
        ("", "config/kafka.toml"),
        ("TIELINE_SINK__KAFKA__DELIVERY=exactly_once ", "config/kafka.toml"),
        ("TIELINE_SINK__NATS__MONITOR=http://nats-1:8222 ", "config/nats.toml"),
    ];

    /// The names of our own that stand for those by default, on servers that others use too.
    const NAMES: [(&str, &str); 2] =
        [("explain-page.cursors", "tieline.cursors"), ("explain-page", "GENESYS")];

    /// Where the servers really are, and whatever else is ours.
    fn variables(asked: &str) -> Vec<(String, String)> {
        let mut variables = vec![
            ("SINK__KAFKA__BROKERS", shared("kafka").field("brokers")),
            ("SINK__KAFKA__TOPIC", "explain-page".to_owned()),
            ("SINK__KAFKA__CURSOR_TOPIC", "explain-page.cursors".to_owned()),
            ("SINK__KAFKA__TRANSACTIONAL_ID", "explain-page".to_owned()),
            ("SINK__KAFKA__REPLICATION", "1".to_owned()),
            ("SINK__NATS__URL", shared("nats").field("url")),
            ("SINK__NATS__STREAM", "explain-page".to_owned()),
            ("SINK__NATS__SUBJECT", "explain-page.{family}.{key}".to_owned()),
            ("SINK__NATS__REPLICAS", "1".to_owned()),
        ];
        let of_kafka = asked.contains("kafka");
        variables.retain(|(name, _)| name.contains("KAFKA") == of_kafka);
        if asked.contains("exactly_once") {
            variables.push(("SINK__KAFKA__DELIVERY", "exactly_once".to_owned()));
        }
        if asked.contains("MONITOR") {
            variables.push(("SINK__NATS__MONITOR", shared("nats").field("monitor")));
        }
        variables.into_iter().map(|(name, value)| (format!("TIELINE_{name}"), value)).collect()
    }

    /// What a process makes at its start: topics, the stream, and what the brokers make at the first transaction.
    async fn make(file: &Path, variables: &[(String, String)]) {
        let config = Config::load(Some(file), variables.iter().cloned()).unwrap();
        let epoch = Epoch::named("20231114T221320Z-00000007");
        for (_, mut sink) in config.sinks.build("https://api.mypurecloud.ie") {
            // A broker that has much else to do needs time to show what it has made.
            let mut attempts = tokio::time::interval(Duration::from_millis(100));
            let opened = tokio::time::timeout(Duration::from_secs(120), async {
                while let Err(error) = sink.open(&epoch).await {
                    assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
                    attempts.tick().await;
                }
            });
            opened.await.unwrap();
            sink.close().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_shows_what_explain_says_of_three_configurations() {
        tieline::genesys::tls::install_provider();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("docs/delivery.md");
        let mut page = std::fs::read_to_string(&path).unwrap();
        for (before, file) in ASKED {
            let asked = format!("$ {before}tieline explain {file}\n");
            let of = asked.clone();
            let variables = tokio::task::spawn_blocking(move || variables(&of)).await.unwrap();
            let file = root.join(file);
            make(&file, &variables).await;
            let output = program(&["explain", file.to_str().unwrap()]).envs(variables).output();
            let output = output.await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mut said = String::from_utf8(output.stdout).unwrap();
            for (ours, default) in NAMES {
                said = said.replace(ours, default);
            }
            let begin = page.find(&asked).unwrap_or_else(|| panic!("no {asked}")) + asked.len();
            let end = begin + page[begin..].find("```").unwrap();
            if std::env::var_os("UPDATE_DOCS").is_some() {
                page.replace_range(begin..end, &said);
                std::fs::write(&path, &page).unwrap();
            } else {
                let how = "to update it: UPDATE_DOCS=1 cargo test --test it explain::page";
                assert_eq!(page[begin..end], said, "docs/delivery.md is behind; {how}");
            }
        }
    }
}
