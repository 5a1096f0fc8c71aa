//! The log as a person reads it, whole.

use super::logging::tests::written;
use super::{Telemetry, metrics::Metrics};
use crate::event::Topic;
use crate::observation::{Handover, Observation};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const BEGAN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn text(text: &str) -> String {
    text.to_owned()
}

/// A day in a process's life, in which everything happens at least once.
fn day() -> Vec<Observation> {
    let mut day = morning();
    day.extend(rotation());
    day.extend(trouble());
    day.extend(worse());
    day.extend(noon());
    day.extend(disk());
    day.extend(afternoon());
    day.extend(evening());
    day
}

/// Names every observation: one that is new does not compile before it stands here, and has no peace before it stands in the day.
macro_rules! observations {
    ($($name:ident),+ $(,)?) => {
        const OBSERVATIONS: &[&str] = &[$(stringify!($name)),+];

        const fn name(observation: &Observation) -> &'static str {
            match observation {
                $(Observation::$name { .. } => stringify!($name),)+
            }
        }
    };
}

observations! {
    SecretSeen, SecretSourceFailed, SecretSourceAtRisk, SecretSourceRecovered, TokenGranted, TokenRefused, CredentialsRejected,
    CredentialsAccepted, PlanRefused, PlanMade, PlanChanged, TopicsAmended, AmendRefused, ChannelsRefused, ChannelAwaited,
    ChannelsFound, ChannelsUnkept, SessionEntered, SessionLost, RetryScheduled, QueueUnknown, TopicRejected, TopicPermitted,
    RotationStarted, RotationFinished, RotationFailed, GapOpened, GapClosed, Rebased, SnapshotRefused, FeedSuspected, LedgerFailed,
    FrameUnreadable, SinkReady, GuaranteeWeakened, SinkFailed, EventParked, MarkerRefused, FilterErred, JournalFull, JournalFound, EpochBegan,
    JournalFailed, JournalDamaged, SinkReleased, SinkAdded, ConfigRead, ConfigApplied, ConfigPending, ConfigOverridden,
    ConfigMistaken, Started, Listening, DoorsUnguarded, DoorKeyUnusable, DoorPanicked, Ready, Unready, Draining, Drained, Handover,
}

/// The topics of a life, and the channels that carry them.
fn noon() -> Vec<Observation> {
    let session = || text("s2");
    let snapshot_refused = |given_up| Observation::SnapshotRefused {
        what: "observations",
        reason: if given_up { "forbidden" } else { "unavailable" },
        detail: text("POST /api/v2/analytics/queues/observations/query: refused"),
        retry_in: Duration::from_secs(2),
        given_up,
    };
    vec![
        Observation::PlanChanged {
            joined: vec![text("q2")],
            left: Vec::new(),
            added: 3,
            removed: 0,
            topics: 12,
            shards: 1,
        },
        Observation::TopicsAmended { session: session(), shard: 0, added: 3, removed: 0 },
        Observation::AmendRefused {
            session: session(),
            shard: 0,
            reason: "unavailable",
            detail: text("POST subscriptions: 503"),
            retry_in: Duration::from_secs(1),
        },
        Observation::TopicPermitted { topic: Topic::new("v2.users.presence") },
        Observation::ChannelsRefused {
            reason: "unavailable",
            detail: text("GET channels: 503"),
            retry_in: Some(Duration::from_secs(4)),
        },
        Observation::ChannelsRefused {
            reason: "forbidden",
            detail: text("GET channels: 403"),
            retry_in: None,
        },
        Observation::ChannelAwaited {
            session: session(),
            shard: 0,
            detail: text("no channel to be had: 20 of 20 are taken"),
            retry_in: Duration::from_secs(1),
        },
        Observation::ChannelsFound { channels: 2 },
        Observation::ChannelsUnkept { detail: text("write channels.json: no space left") },
        Observation::Rebased { gap: 1, snapshots: 3, superseded: 1, failed: 0, without: 5 },
        snapshot_refused(false),
        snapshot_refused(true),
        Observation::FeedSuspected { shard: 0, keys: 2 },
        Observation::LedgerFailed { detail: text("write gaps: no space left") },
        Observation::DoorsUnguarded { address: ([10, 0, 0, 1], 9464).into() },
        Observation::DoorKeyUnusable { detail: text("admin.tls.cert_file holds no certificate") },
    ]
}

/// What a disk and what reads it can do.
fn disk() -> Vec<Observation> {
    let epoch = || text("20231114T221320Z-000000ab");
    vec![
        Observation::MarkerRefused {
            sink: "nats",
            topic: Topic::new("v2.users.presence"),
            number: 7,
            reason: text("no responders"),
        },
        Observation::JournalFound {
            last_epoch: epoch(),
            was_closed: true,
            waiting: 3,
            torn_bytes: 0,
        },
        Observation::JournalFound {
            last_epoch: epoch(),
            was_closed: false,
            waiting: 3,
            torn_bytes: 17,
        },
        Observation::EpochBegan { epoch: epoch(), reason: "unclean" },
        Observation::JournalFailed { operation: "append", detail: text("no space left") },
        Observation::JournalDamaged { events: 4, first: 100 },
        Observation::SinkReleased { sink: text("jsonl"), events: 9 },
        Observation::SinkAdded { sink: "kafka" },
    ]
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
        Observation::GuaranteeWeakened {
            sink: "nats",
            about: "replicas",
            text: text("1 replica: the loss of that server's disk loses the stream"),
        },
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
            detail: text("connection reset"),
            answer: "same channel",
            retry_in: Duration::from_millis(80),
        },
        Observation::RetryScheduled {
            session: text("s2"),
            shard: 0,
            reason: "forbidden",
            detail: text("PUT subscriptions: 403 missing.permissions (contextId 7)"),
            answer: "park",
            retry_in: Duration::from_secs(300),
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
    ]
}

/// What the platform, a sink and the journal do in a bad hour.
fn worse() -> Vec<Observation> {
    vec![
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

fn written_day(human: bool) -> String {
    let telemetry = Telemetry::new(Arc::new(Metrics::new("1.2.3", &["kafka", "nats"])));
    written("debug", human, || {
        for observation in day() {
            telemetry.record(&observation);
        }
    })
}

#[test]
fn the_log_reads_like_a_story() {
    let text = written_day(true);
    let without_time = text.lines().map(|line| line.split_once(' ').unwrap().1);
    let story: Vec<&str> = without_time.collect();
    insta::assert_snapshot!(story.join("\n"));
}

#[test]
fn every_observation_is_one_line_with_a_name() {
    let text = written_day(false);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), day().len());
    for line in lines {
        assert!(line["event"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn every_observation_is_part_of_the_story_under_its_own_name() {
    let day = day();
    let told: BTreeSet<&str> = day.iter().map(name).collect();
    assert_eq!(told, OBSERVATIONS.iter().copied().collect());
    let text = written_day(false);
    for (observation, line) in day.iter().zip(text.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let event = line["event"].as_str().unwrap().replace('_', "");
        // The kinds of a handover have names of their own.
        let is_own = matches!(observation, Observation::Handover(_));
        assert!(is_own || event == name(observation).to_lowercase(), "{line}");
    }
}

/// What, why, what next, when: whatever is tried again says when, and for what it waits.
#[test]
fn whatever_is_tried_again_says_why_and_when() {
    let text = written_day(true);
    for words in [
        "s2 (shard 0) has no socket (cut): connection reset; next attempt in 80ms: same channel",
        "ERROR s2 (shard 0) is parked (forbidden): PUT subscriptions: 403 missing.permissions (contextId 7); waiting does not mend that; \
         it is looked at again in 5m 0s, and at once when the secret or the configuration changes",
        "no channel to be had: 20 of 20 are taken; it looks again each 1.0s",
        "until they are, no other is made; next attempt in 4.0s",
        "refused; next attempt in 2.0s",
        "refused; these are not asked for again",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}
