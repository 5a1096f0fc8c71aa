//! How the process ends: what it delivers before, and which exit code tells what.

use crate::harness::{Bridge, Closed, Config, Stand, brisk, program, tieline};
use serde_json::json;
use tieline_sim::Options;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_delivers_all_that_was_received() {
    stopped_by("TERM", "SIGTERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_delivers_all_that_was_received() {
    stopped_by("INT", "Ctrl-C").await;
}

/// Under traffic: what the process had received before the order came is in the file.
async fn stopped_by(signal: &str, reason: &str) {
    let stand = Stand::new(Options { rate: 600.0, ..brisk() }).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(600).await;
    let before = crate::journal::surely_read(&stand, &bridge).await;
    bridge.signal(signal).await;
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(&format!("draining ({reason})")), "{log}");
    assert!(log.contains("drained: every sink has acknowledged everything"), "{log}");
    let mut journal = stand.sim.journal();
    let sent = |number: u64| {
        let mut sent = journal.deliveries.iter().filter(|one| one.number == number);
        sent.any(|one| one.at < before)
    };
    let last = journal.emissions.iter().rev().find(|one| sent(one.number)).unwrap().number;
    journal.emissions.truncate(usize::try_from(last).unwrap());
    let held = stand.held();
    let known = held.iter().filter(|event| {
        journal.emissions.iter().any(|one| one.correlation_id == event.correlation_id)
    });
    let known: Vec<_> = known.cloned().collect();
    let topics = stand.config.topics(&stand.sim);
    crate::books::judge(&journal, &topics, &known, &[], since).assert_seamless();
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_cannot_finish_says_how_many_events_are_left() {
    let mut server = crate::servers::Server::start("nats", &[]);
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("sink.nats.url", server.field("url"));
    stand.config.set("process.drain_timeout", "1s");
    let bridge = stand.ready().await;
    server.kill();
    bridge.line(&["sink_failed", "nats"]).await;
    stand.emits(120).await;
    let waiting = |state: &serde_json::Value| {
        state["sinks"][1]["waiting_events"].as_u64().is_some_and(|waiting| waiting > 10)
    };
    bridge.state("events wait for nats", waiting).await;
    bridge.signal("TERM").await;
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(0), "{log}");
    let left = log.lines().find(|line| line.contains("events not acknowledged")).expect(&log);
    let left: serde_json::Value = serde_json::from_str(left).unwrap();
    assert_eq!(left["level"], "WARN");
    let unacknowledged = left["unacknowledged"].as_u64().unwrap();
    // jsonl took them all; nats none since its server died.
    assert!((10..=stand.sim.journal().emissions.len() as u64).contains(&unacknowledged), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_without_sense_is_64() {
    for args in [&["run", "--nonsense"][..], &["walk"], &["check"]] {
        let (code, said) = Bridge::launch(program(args)).ended().await;
        assert_eq!(code, Some(64), "{args:?}: {said}");
        assert!(said.contains("Usage: tieline"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_work_is_78_with_every_mistake() {
    let mut config = Config::new("http://127.0.0.1:9", "client");
    config.set("genesys.queus", "all");
    config.set("lifecycle.dead_after", "1ms");
    config.set("admin.listen", "nowhere");
    let (code, said) = Bridge::launch(tieline(&config, &[])).ended().await;
    assert_eq!(code, Some(78), "{said}");
    for words in ["genesys.queus", "queues", "lifecycle.dead_after", "admin.listen"] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let missing = config.path("missing.toml").display().to_string();
    let (code, said) = Bridge::launch(program(&["run", &missing])).ended().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains(&missing), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_78_with_the_key_and_the_fix() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::new("http://127.0.0.1:9", "client");
    config.set("admin.listen", taken.local_addr().unwrap().to_string());
    let (code, said) = Bridge::launch(tieline(&config, &[])).ended().await;
    assert_eq!(code, Some(78), "{said}");
    for words in ["admin.listen", "is taken by another process", "port 0"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_ends_with_69_where_the_platform_cannot_be_reached() {
    let closed = Closed::new();
    let config = Config::new(&format!("http://{}", closed.address()), "client");
    config.write_secret("whatever");
    let (code, said) = Bridge::launch(tieline(&config, &["--fail-fast"])).ended().await;
    assert_eq!(code, Some(69), "{said}");
    for words in ["--fail-fast", "no token", "refused", &closed.address().to_string()] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[cfg(all(feature = "kafka", feature = "nats"))]
#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_ends_with_69_where_a_broker_cannot_be_reached() {
    let closed = Closed::new();
    let address = closed.address().to_string();
    for (sink, key, value) in [
        ("nats", "sink.nats.url", format!("nats://{address}")),
        ("kafka", "sink.kafka.brokers", address.clone()),
    ] {
        let mut stand = Stand::new(crate::harness::quiet()).await;
        stand.config.set(key, value);
        let bridge = Bridge::launch(tieline(&stand.config, &["--fail-fast"]));
        let (code, said) = bridge.ended().await;
        assert_eq!(code, Some(69), "{said}");
        for words in ["--fail-fast", &format!("sink {sink}"), &address] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_fail_fast_the_same_is_waited_for() {
    let closed = Closed::new();
    let config = Config::new(&format!("http://{}", closed.address()), "client");
    config.write_secret("whatever");
    let bridge = Bridge::start(&config, &[]).await;
    bridge.lines(&["token_refused"], 3).await;
    assert_eq!(bridge.get("/healthz").await, (200, json!({"alive": true})));
    bridge.signal("TERM").await;
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(0), "{log}");
}
