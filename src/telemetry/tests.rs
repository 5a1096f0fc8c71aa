//! The log as a person reads it, whole.

use super::logging::tests::written;
use super::{Telemetry, metrics::Metrics};
use crate::event::Topic;
use crate::observation::{Handover, Observation};
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const BEGAN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn text(text: &str) -> String {
    text.to_owned()
}

/// A day in a process's life, in which everything happens once.
fn day() -> Vec<Observation> {
    let mut day = morning();
    day.extend(rotation());
    day.extend(trouble());
    day.extend(afternoon());
    day.extend(evening());
    day
}

fn afternoon() -> Vec<Observation> {
    let (was, now) = (text("\"info\""), text("\"debug\""));
    vec![
        Observation::ConfigRead { trigger: "file", outcome: "refused" },
        Observation::ConfigMistaken {
            key: text("log.level"),
            words: text(
                "log.level = \"inof\"   (tieline.toml, line 7); is not a filter; fix: write a level",
            ),
        },
        Observation::ConfigRead { trigger: "SIGHUP", outcome: "unchanged" },
        Observation::ConfigRead { trigger: "file", outcome: "applied" },
        Observation::ConfigRead { trigger: "file", outcome: "restart_needed" },
        Observation::ConfigApplied { key: text("log.level"), was, now },
        Observation::ConfigPending {
            key: text("process.drain_timeout"),
            was: text("\"20s\""),
            now: text("\"30s\""),
        },
        Observation::ConfigOverridden {
            key: text("journal.sync"),
            variable: text("TIELINE_JOURNAL__SYNC"),
        },
        Observation::DoorPanicked { detail: text("index out of bounds") },
    ]
}

fn morning() -> Vec<Observation> {
    vec![
        Observation::Started { version: "1.2.3", epoch: text("20231114T221320Z-000000ab") },
        Observation::Listening { address: ([127, 0, 0, 1], 9464).into() },
        Observation::SecretSeen { source: "vault", version: 1 },
        Observation::TokenGranted { expires_in: Duration::from_secs(86_400), secret: 1 },
        Observation::QueueUnknown { queue: text("Suport") },
        Observation::TopicRejected {
            topic: Topic::new("v2.users.presence"),
            reason: text("presence:user:view is missing"),
        },
        Observation::SessionEntered {
            session: text("s1"),
            shard: 0,
            from: "connecting",
            to: "settling",
        },
        Observation::SessionEntered { session: text("s1"), shard: 0, from: "settling", to: "live" },
        Observation::SinkReady { sink: "nats", resumed_from: Some(41) },
        Observation::SinkReady { sink: "kafka", resumed_from: None },
        Observation::Ready,
    ]
}

fn rotation() -> Vec<Observation> {
    vec![
        Observation::SecretSeen { source: "vault", version: 2 },
        Observation::RotationStarted {
            shard: 0,
            trigger: "secret",
            predecessor: text("s1"),
            successor: text("s2"),
        },
        Observation::TokenRefused {
            reason: "unavailable",
            detail: text("POST /oauth/token: 503"),
            retry_in: Duration::from_millis(350),
        },
        Observation::RotationFailed {
            shard: 0,
            trigger: "secret",
            detail: text("no token: 503"),
            retry_in: Duration::from_secs(2),
        },
        Observation::RotationFinished {
            shard: 0,
            trigger: "secret",
            overlap: Duration::from_millis(2100),
        },
        Observation::CredentialsRejected {
            secret: 3,
            detail: text("POST /oauth/token: 401 invalid_client"),
        },
        Observation::CredentialsAccepted { secret: 4 },
        Observation::SecretSourceFailed {
            source: "vault",
            detail: text("503 Vault is sealed"),
            holding: true,
            retry_in: Duration::from_secs(10),
        },
        Observation::SecretSourceFailed {
            source: "file",
            detail: text("no such file"),
            holding: false,
            retry_in: Duration::from_secs(1),
        },
        Observation::SecretSourceAtRisk {
            source: "vault",
            detail: text("the login answered 400: invalid secret id"),
        },
        Observation::SecretSourceRecovered { source: "vault" },
    ]
}

fn trouble() -> Vec<Observation> {
    vec![
        Observation::SessionLost {
            session: text("s2"),
            shard: 0,
            reason: "cut",
            detail: text("connection reset"),
            lived: Duration::from_secs(7_380),
        },
        Observation::GapOpened {
            number: 1,
            shard: 0,
            cause: "cut",
            certainty: "certain",
            from: BEGAN,
        },
        Observation::Unready { reasons: vec![text("shard 0 is not subscribed")] },
        Observation::RetryScheduled {
            session: text("s2"),
            shard: 0,
            reason: "cut",
            answer: "the same channel again",
            retry_in: Duration::from_millis(80),
        },
        Observation::GapClosed {
            number: 1,
            shard: 0,
            cause: "cut",
            certainty: "certain",
            from: BEGAN,
            to: Timestamp::from_micros(BEGAN.as_micros() + 180_000),
            action: "the same channel was taken up again",
        },
        Observation::PlanRefused {
            reason: "forbidden",
            detail: text("GET /api/v2/routing/queues: 403 missing.permissions"),
            retry_in: Duration::from_secs(300),
        },
        Observation::PlanMade { topics: 9, shards: 1 },
        Observation::FrameUnreadable {
            session: text("s2"),
            detail: text("not JSON at byte 0"),
            bytes: 12,
        },
        Observation::SinkFailed {
            sink: "kafka",
            kind: "connect",
            detail: text("connect to 127.0.0.1:9092"),
            retry_in: Duration::from_secs(4),
        },
        Observation::JournalFull { sink: "kafka", count: 12 },
        Observation::FilterErred {
            sink: "kafka",
            topic: Topic::new("v2.users.presence"),
            problem: text("a field that it names is not there; ask has(…) first"),
            count: 3,
        },
        Observation::EventParked {
            sink: "nats",
            topic: Topic::new("v2.users.presence"),
            number: 7,
            reason: text("larger than max_payload"),
        },
    ]
}

fn evening() -> Vec<Observation> {
    vec![
        Observation::Handover(Handover::Unavailable { detail: text("File name too long") }),
        Observation::Handover(Handover::Asked),
        Observation::Handover(Handover::Silent),
        Observation::Handover(Handover::Failed {
            detail: text("the new process is gone"),
            ends: false,
        }),
        Observation::Handover(Handover::Failed {
            detail: text("the new process could not be told of the cut"),
            ends: true,
        }),
        Observation::Handover(Handover::HandedOver { relayed: 812 }),
        Observation::Handover(Handover::Alone),
        Observation::Handover(Handover::Joined {
            version: text("1.2.3"),
            epoch: text("20231114T221320Z-000000ab"),
        }),
        Observation::Handover(Handover::TookOver { waited: 31 }),
        Observation::Handover(Handover::Orphaned),
        Observation::Draining { reason: "SIGTERM", deadline: Duration::from_secs(20) },
        Observation::Drained { unacknowledged: 0 },
        Observation::Drained { unacknowledged: 3 },
    ]
}

fn told(human: bool) -> String {
    let telemetry = Telemetry::new(Arc::new(Metrics::new("1.2.3", &["kafka", "nats"])));
    written("debug", human, || {
        for observation in day() {
            telemetry.record(&observation);
        }
    })
}

#[test]
fn the_log_reads_like_a_story() {
    let text = told(true);
    let without_time = text.lines().map(|line| line.split_once(' ').unwrap().1);
    let story: Vec<&str> = without_time.collect();
    insta::assert_snapshot!(story.join("\n"));
}

#[test]
fn every_observation_is_one_line_with_a_name() {
    let text = told(false);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), day().len());
    for line in lines {
        assert!(line["event"].is_string() && line["message"].is_string(), "{line}");
    }
}
