//! The doors for operators over real HTTP, without the bridge behind them.

mod guard;
mod limits;
mod stand;
mod streams;

pub(crate) use stand::{Bridge, Guarded, Scrape, TOKEN};

use serde_json::json;
use stand::*;
use std::sync::Arc;
use std::time::Duration;
use tieline::admin::{self, Config};
use tieline::bridge::tap::Tapped;
use tieline::event::{Kind, Marks, Topic};
use tieline::observation::Observation;
use tieline::telemetry::Telemetry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn health_depends_on_nothing_but_the_process() {
    let bridge = Bridge::start().await;
    bridge.change(|status| {
        status.sessions.clear();
        status.sinks[0].connected = false;
        status.as_of = status.as_of.before(Duration::from_secs(60));
    });
    let answer = bridge.get("/healthz").await;
    assert_eq!((answer.code, answer.body.as_str()), (200, r#"{"alive":true}"#));
}

#[tokio::test]
async fn readiness_says_why_not() {
    let bridge = Bridge::start().await;
    let answer = bridge.get("/readyz").await;
    assert_eq!(answer.code, 200);
    assert_eq!(answer.body, r#"{"ready":true,"reasons":[]}"#);
    bridge.change(|status| {
        status.sessions[0].state = "waiting";
        status.sinks[0].connected = false;
    });
    let answer = bridge.get("/readyz").await;
    assert_eq!(answer.code, 503);
    assert_eq!(
        answer.json(),
        json!({"ready": false, "reasons": [
            "shard 0 is not subscribed; s1 is waiting: cut: connection reset",
            "sink kafka is not connected",
        ]})
    );
}

#[tokio::test]
async fn state_shows_everything_but_no_secret() {
    let bridge = Bridge::start().await;
    let answer = bridge.get("/api/v1/state").await;
    let state = answer.json();
    assert_eq!(answer.code, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let keys: Vec<&String> = state.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "as_of",
            "budgets",
            "channels",
            "configuration",
            "draining",
            "epoch",
            "gaps",
            "login",
            "now",
            "ready",
            "reasons",
            "redundancy",
            "sessions",
            "shard_numbers",
            "shards",
            "sinks",
            "started",
            "stream",
            "topics",
            "verdict",
            "version"
        ]
    );
    assert_eq!(state["ready"], true);
    assert_eq!((&state["redundancy"], &state["shard_numbers"]), (&1.into(), &json!([0])));
    assert_eq!(state["sessions"][0]["id"], "s1");
    assert_eq!(state["sessions"][0]["last_words"], "cut: connection reset");
    assert_eq!(state["sessions"][0]["deadline_of"], "frame");
    for moment in ["since", "deadline", "channel_expires", "successor_at", "last_frame"] {
        assert!(state["sessions"][0][moment].as_str().unwrap().ends_with('Z'), "{moment}");
    }
    assert_eq!(state["sessions"][0]["parked"], serde_json::Value::Null);
    assert_eq!(state["topics"]["refusals"][0]["reason"], "routing:queue:view is missing");
    assert_eq!(state["sinks"][0]["waiting_events"], 3);
}

#[tokio::test]
async fn gaps_are_told_open_ones_first() {
    let bridge = Bridge::start().await;
    let gaps = bridge.get("/api/v1/gaps").await.json();
    assert_eq!(gaps["total"], 1);
    assert_eq!(gaps["open"], json!([]));
    assert_eq!(gaps["recent"][0]["cause"], "cut");
    assert!(gaps["recent"][0]["to"].is_string());
}

#[tokio::test]
async fn gaps_are_turned_page_by_page_from_the_newest() {
    let bridge = Bridge::start().await;
    bridge.change(|status| {
        let gap = status.gaps.recent[0].clone();
        status.gaps.recent =
            (1..=5).rev().map(|number| tieline::sequence::Gap { number, ..gap.clone() }).collect();
    });
    let mut seen = Vec::new();
    let mut path = "/api/v1/gaps?limit=2".to_owned();
    loop {
        let page = bridge.get(&path).await.json();
        let numbers = page["recent"].as_array().unwrap().iter().map(|gap| gap["number"].as_u64());
        seen.push(numbers.map(Option::unwrap).collect::<Vec<_>>());
        let Some(next) = page["next"].as_u64() else { break };
        path = format!("/api/v1/gaps?limit=2&before={next}");
    }
    assert_eq!(seen, [vec![5, 4], vec![3, 2], vec![1]]);
    for wrong in ["limit=0", "limit=x", "before=", "after=1"] {
        let answer = bridge.get(&format!("/api/v1/gaps?{wrong}")).await;
        assert_eq!(answer.code, 400, "{wrong}");
    }
}

#[tokio::test]
async fn gauges_are_as_old_as_the_scrape() {
    let bridge = Bridge::start().await;
    let metrics = bridge.scrape().await;
    let age = metrics.value("tieline_last_frame_age_seconds");
    assert!((5.0..25.0).contains(&age), "{age}");
    assert!(metrics.value("tieline_last_event_age_seconds") > age);
    assert!(metrics.value("tieline_journal_oldest_age_seconds{sink=\"kafka\"}") >= 2.0);
    assert_eq!(metrics.value("tieline_sessions{state=\"live\"}"), 1.0);
    assert_eq!(metrics.value("tieline_sessions{state=\"waiting\"}"), 0.0);
    assert_eq!(metrics.value("tieline_sessions_wanted"), 1.0);
    assert_eq!(metrics.value("tieline_topics{state=\"rejected\"}"), 1.0);
    assert_eq!(metrics.value("tieline_secret_version"), 7.0);
    let seen = |name: &str| metrics.value(&format!("tieline_secret_{name}timestamp_seconds"));
    assert_eq!(seen("seen_") - seen("in_use_"), 3_600.0, "the one in use is older than the newest");
    assert_eq!(metrics.value("tieline_ready"), 1.0);
    bridge.change(|status| status.draining = true);
    assert_eq!(bridge.scrape().await.value("tieline_ready"), 0.0);
}

#[tokio::test]
async fn what_is_observed_is_counted() {
    let bridge = Bridge::start().await;
    let from = bridge.doors.clock.timestamp();
    let telemetry = Telemetry::new(Arc::clone(&bridge.doors.metrics));
    for observation in [
        Observation::RetryScheduled {
            session: "s1".to_owned(),
            shard: 0,
            reason: "throttled",
            detail: "the platform answered 429".to_owned(),
            answer: "same channel",
            retry_in: Duration::from_secs(3),
        },
        Observation::RotationFinished {
            shard: 0,
            trigger: "secret",
            overlap: Duration::from_secs(2),
        },
        Observation::GapOpened { number: 2, shard: 0, cause: "cut", certainty: "certain", from },
        Observation::GapClosed {
            number: 2,
            shard: 0,
            cause: "cut",
            certainty: "certain",
            from: from.before(Duration::from_millis(1500)),
            to: from,
            action: "nothing to re-base",
        },
        Observation::FrameUnreadable {
            session: "s1".to_owned(),
            detail: "no JSON".to_owned(),
            bytes: 12,
        },
        Observation::SinkFailed {
            sink: "kafka",
            kind: "connect",
            detail: "connect to 127.0.0.1:9092".to_owned(),
            retry_in: Duration::from_secs(1),
        },
        Observation::EventParked {
            sink: "kafka",
            topic: Topic::new("v2.users.presence"),
            number: 4,
            reason: "too large".to_owned(),
        },
    ] {
        telemetry.record(&observation);
    }
    let metrics = bridge.scrape().await;
    for (series, value) in [
        ("tieline_reconnects_total{reason=\"throttled\"}", 1.0),
        ("tieline_throttled_total", 1.0),
        ("tieline_throttled_wait_seconds_total", 3.0),
        ("tieline_overlap_seconds_sum{trigger=\"secret\"}", 2.0),
        ("tieline_rotations_total{outcome=\"completed\",trigger=\"secret\"}", 1.0),
        ("tieline_gaps_total{cause=\"cut\",certainty=\"certain\"}", 1.0),
        ("tieline_gap_seconds_total{certainty=\"certain\"}", 1.5),
        ("tieline_frames_unreadable_total", 1.0),
        ("tieline_sink_failures_total{kind=\"connect\",sink=\"kafka\"}", 1.0),
        ("tieline_events_parked_total{sink=\"kafka\"}", 1.0),
    ] {
        assert_eq!(metrics.value(series), value, "{series}");
    }
}

#[tokio::test]
async fn every_429_is_counted_whatever_was_asked_for() {
    let bridge = Bridge::start().await;
    let telemetry = Telemetry::new(Arc::clone(&bridge.doors.metrics));
    for observation in [
        Observation::AmendRefused {
            session: "s1".to_owned(),
            shard: 0,
            reason: "throttled",
            detail: "429".to_owned(),
            retry_in: Duration::from_secs(5),
        },
        Observation::ChannelsRefused {
            reason: "throttled",
            detail: "429".to_owned(),
            retry_in: Some(Duration::from_secs(7)),
        },
        Observation::ChannelsRefused {
            reason: "forbidden",
            detail: "403".to_owned(),
            retry_in: None,
        },
    ] {
        telemetry.record(&observation);
    }
    let metrics = bridge.scrape().await;
    assert_eq!(metrics.value("tieline_throttled_total"), 2.0);
    assert_eq!(metrics.value("tieline_throttled_wait_seconds_total"), 12.0);
}

#[tokio::test]
async fn whoever_knocks_elsewhere_is_told_in_json() {
    let bridge = Bridge::start().await;
    let answer = bridge.get("/api/v2/state").await;
    assert_eq!(answer.code, 404);
    assert_eq!(answer.json()["error"], "there is no door at /api/v2/state; / names them all");
    let answer = bridge.ask("POST", "/readyz").await;
    assert_eq!(answer.code, 405);
    assert_eq!(answer.header("allow"), "GET, HEAD");
    assert_eq!(answer.json()["error"], "POST is not answered here: the doors only show");
}

#[tokio::test]
async fn the_page_names_every_door_and_loads_only_its_own_files() {
    let bridge = Bridge::start().await;
    let page = bridge.get("/").await;
    assert_eq!(page.code, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let named = ["href=\"", "src=\""].into_iter().flat_map(|name| page.body.split(name).skip(1));
    let paths: Vec<&str> = named.map(|rest| rest.split('"').next().unwrap()).collect();
    for path in ["/page.css", "/page.js", "/icon.svg", "/metrics", "/api/v1/history"] {
        assert!(paths.contains(&path), "{path}");
    }
    for path in paths.into_iter().filter(|path| *path != "#main") {
        let answer = bridge.get(path).await;
        assert_eq!(answer.code, 200, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn what_browsers_are_told_is_told_with_every_answer() {
    let bridge = Bridge::start().await;
    for path in ["/", "/metrics", "/nowhere", "/api/v1/state"] {
        let answer = bridge.get(path).await;
        for header in
            ["content-security-policy", "x-frame-options", "referrer-policy", "cache-control"]
        {
            assert!(!answer.header(header).is_empty(), "{path} {header}");
        }
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_key_and_the_fix() {
    let taken = admin::open(&loopback(0)).await.unwrap();
    let port = taken.address().unwrap().port();
    let error = admin::open(&loopback(port)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "admin.listen = \"127.0.0.1:{port}\" is taken by another process; \
             stop that process, or set admin.listen to a free port (port 0 takes any)"
        )
    );
    let admin::Error::Listen { mistake, .. } = error else { panic!("{error}") };
    assert_eq!(mistake.key, "listen");
}
