//! `genesys` against the simulator, and against a stage that says what no healthy platform says.

mod bench;

pub use bench::{certificate, certificate_for};

use crate::harness::Closed;
use crate::logs::Logs;
use bench::{Bench, DEADLINE, SESSION, Stage, quiet};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tieline::genesys::{Config, Incoming};
use tieline::lifecycle::{Command, Heard, Reason, Reply, SecretVersion};
use tieline::observation::Observation;
use tieline_sim::{Options, Sim};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

#[tokio::test]
async fn a_fresh_secret_is_told_and_buys_the_next_token() {
    let mut bench = Bench::start().await;
    let changed = bench.reply(|reply| matches!(reply, Reply::SecretChanged { .. }));
    let first = SecretVersion(1);
    assert_eq!(changed.await, Reply::SecretChanged { secret: first });
    assert_eq!(bench.buy().await.1, first);

    let rotated = bench.control("rotate", json!({})).await;
    bench.write_secret(rotated["client_secret"].as_str().expect("a secret"));
    let (_, secret) = bench.buy().await;
    assert_eq!(secret, SecretVersion(2));
}

#[tokio::test]
async fn wrong_credentials_are_rejected_without_being_told() {
    let mut bench = Bench::start().await;
    bench.write_secret("hunter2");
    let refusal = bench.refused_token().await;
    assert_eq!(refusal.reason, Reason::CredentialsRejected);
    assert!(refusal.detail.contains("401 invalid_client"), "{refusal:?}");
    assert!(!refusal.detail.contains("hunter2"), "{refusal:?}");

    bench.write_secret(r#"{"client_id":"nobody","client_secret":"x"}"#);
    let refusal = bench.refused_token().await;
    assert_eq!(refusal.reason, Reason::CredentialsRejected, "{refusal:?}");
    assert!(refusal.detail.contains("400 invalid_client"), "{refusal:?}");
}

#[tokio::test]
async fn without_a_secret_no_token_is_asked_for() {
    let mut bench = Bench::start_with(|_, _| {}, None).await;
    let refusal = bench.refused_token().await;
    assert_eq!(refusal.reason, Reason::SecretUnavailable, "{refusal:?}");
    assert!(refusal.detail.contains("cannot be read"), "{refusal:?}");
}

#[tokio::test]
async fn queues_are_found_by_name_and_unknown_ones_told() {
    let mut bench = Bench::start_with(
        |config, sim| {
            config.queues = vec![sim.queues()[1].name.to_uppercase(), "Nowhere".into()];
            config.topics = vec!["v2.routing.queues.{id}.users".into()];
        },
        Some("right"),
    )
    .await;
    let (topics, unknown) = bench.topics().await;
    let id = bench.sim.queues()[1].id.clone();
    assert_eq!(topics, [format!("v2.routing.queues.{id}.users")]);
    assert_eq!(unknown, ["Nowhere"]);
}

#[tokio::test]
async fn all_queues_are_listed_page_by_page() {
    let options = Options { queues: 230, ..quiet() };
    let mut bench = Bench::stage(options, |_, _| {}, Some("right")).await;
    let (topics, unknown) = bench.topics().await;
    assert_eq!(topics.len(), 230 * 2);
    assert!(unknown.is_empty());
}

#[tokio::test]
async fn a_refused_topic_does_not_cost_the_others() {
    let mut bench = Bench::start().await;
    let good = format!("v2.routing.queues.{}.users", bench.sim.queues()[0].id);
    let bad = "v2.routing.queues.00000000-0000-4000-8000-000000000000.users";
    let (token, channel) = bench.open().await;
    let rejected = bench.subscribe(token, channel, &[&good, bad]).await;
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected[0].topic.name(), bad);
    assert!(rejected[0].reason.contains("not found"), "{rejected:?}");

    bench.connect(channel).await;
    let event = json!({"topic": good, "correlation_id": "why", "body": {"joined": true}});
    bench.control("emit", event).await;
    let notification = bench.notification().await;
    assert_eq!(notification.topic.name(), good);
    assert_eq!(notification.body, r#"{"joined":true}"#.as_bytes());
    assert_eq!(notification.correlation_id.as_deref(), Some("why"));

    bench.genesys.execute(Command::Ping { session: SESSION });
    bench.heard(Heard::Pong).await;
}

#[tokio::test]
async fn an_evicted_channel_says_so_and_its_id_is_not_printed() {
    let mut bench = Bench::start().await;
    let channel = bench.live().await;
    let id = bench.channel_id().await;
    bench.control("evict", json!({"channel": id})).await;
    bench.heard(Heard::NoLongerSubscribed).await;
    let (reason, detail) = bench.lost().await;
    assert_eq!(reason, Reason::Evicted, "{detail}");
    assert!(!detail.contains(&id), "{detail}");

    let refusal = bench.refused_connect(channel).await;
    assert_eq!(refusal.reason, Reason::ChannelGone, "{refusal:?}");
    assert!(refusal.detail.contains("404"), "{refusal:?}");
    assert!(!refusal.detail.contains(&id), "{refusal:?}");
    let (token, _) = bench.buy().await;
    let refusal = bench.refused_subscribe(token, channel).await;
    assert_eq!(refusal.reason, Reason::ChannelGone, "{refusal:?}");
    assert!(!refusal.detail.contains(&id), "{refusal:?}");
    assert!(refusal.detail.contains("contextId"), "{refusal:?}");
}

#[tokio::test]
async fn each_end_of_a_socket_has_its_reason() {
    let mut bench = Bench::start().await;
    let channel = bench.live().await;
    for (fault, expected) in [
        (json!({"mode": "rst"}), Reason::Cut),
        (json!({"mode": "fin"}), Reason::Cut),
        (json!({"mode": "code", "code": 1001, "reason": "idle timeout"}), Reason::Closed),
    ] {
        bench.control("close", fault).await;
        let (reason, detail) = bench.lost().await;
        assert_eq!(reason, expected, "{detail}");
        if reason == Reason::Closed {
            assert_eq!(detail, "closed with code 1001: idle timeout");
        }
        bench.connect(channel).await;
    }
    bench.control("socket-closing", json!({"after_ms": 10})).await;
    bench.heard(Heard::ClosingNotice).await;
    let (reason, detail) = bench.lost().await;
    assert_eq!(reason, Reason::ClosingNotice, "{detail}");
}

#[tokio::test]
async fn a_retry_after_is_handed_on_from_each_door() {
    let mut bench = Bench::start().await;
    let (token, channel) = bench.open().await;
    bench.control("throttle", json!({"what": "all", "retry_after_s": 7, "for_ms": 60_000})).await;
    let refusals = [
        bench.refused_token().await,
        bench.refused_open(token).await,
        bench.refused_subscribe(token, channel).await,
        bench.refused_connect(channel).await,
    ];
    for refusal in refusals {
        assert_eq!(refusal.reason, Reason::Throttled, "{refusal:?}");
        let seven = Some(Duration::from_secs(7));
        assert_eq!(refusal.retry_after, seven, "{refusal:?}");
    }
    bench.control("throttle", json!({"what": "all", "status": 503, "for_ms": 60_000})).await;
    let refusal = bench.refused_connect(channel).await;
    assert_eq!(refusal.reason, Reason::Unavailable, "{refusal:?}");
    let refusal = bench.refused_open(token).await;
    assert_eq!(refusal.reason, Reason::Unavailable, "{refusal:?}");
}

#[tokio::test]
async fn a_revoked_token_is_told_on_the_socket_and_refused_over_rest() {
    let mut bench = Bench::start().await;
    bench.live().await;
    let (token, _) = bench.buy().await;
    bench.control("revoke", json!({})).await;
    bench.heard(Heard::TokenRevoked).await;
    let (reason, detail) = bench.lost().await;
    assert_eq!(reason, Reason::TokenRevoked, "{detail}");
    let refusal = bench.refused_open(token).await;
    assert_eq!(refusal.reason, Reason::Unauthorized, "{refusal:?}");
}

#[tokio::test]
async fn a_closed_session_is_silent_and_its_socket_goes() {
    let mut bench = Bench::start().await;
    bench.live().await;
    bench.genesys.execute(Command::Close { session: SESSION });
    let patience = tokio::time::timeout(DEADLINE, async {
        while bench.state().await["channels"][0]["session"] != Value::Null {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("the socket is closed");
    while let Ok(incoming) = bench.incoming.try_recv() {
        assert!(!matches!(incoming, Incoming::Reply(Reply::Lost { .. })), "{incoming:?}");
    }
}

#[tokio::test]
async fn no_credential_is_logged_at_any_level() {
    let mut stage = Stage::start(1 << 20).await;
    let logs = Logs::catch();
    let socket = stage.connect().await;
    drop(socket);
    stage.bench.lost().await;
    stage.bench.write_secret("hunter2");
    stage.bench.refused_token().await;
    logs.hold_none_of(&["hunter2", "streaming-1-x"]);
}

#[tokio::test]
async fn dropping_the_platform_ends_every_task() {
    let mut bench = Bench::start().await;
    bench.live().await;
    drop(bench.genesys);
    bench.cancel.cancel();
    bench.tracker.close();
    let ended = tokio::time::timeout(DEADLINE, bench.tracker.wait());
    ended.await.expect("all tasks end");
}

#[tokio::test]
async fn tls_is_verified_against_the_configured_authority() {
    let folder = TempDir::new().expect("a folder");
    let (tls, ca) = certificate(&folder);
    let options = || Options { tls: Some(tls.clone()), ..quiet() };
    let trusting = |config: &mut Config, _: &Sim| {
        config.allow_insecure = false;
        config.ca_file = Some(ca.clone());
    };
    let mut bench = Bench::stage(options(), trusting, Some("right")).await;
    bench.live().await;

    let doubting = |config: &mut Config, _: &Sim| config.allow_insecure = false;
    let mut bench = Bench::stage(options(), doubting, Some("right")).await;
    let refusal = bench.refused_token().await;
    assert_eq!(refusal.reason, Reason::Tls, "{refusal:?}");
}

#[tokio::test]
async fn an_unreachable_host_is_told() {
    let closed = Closed::new();
    let address = closed.address();
    let mut bench = Bench::start_with(
        |config, _| {
            config.login_url = Some(format!("http://{address}"));
        },
        Some("right"),
    )
    .await;
    let refusal = bench.refused_token().await;
    assert_eq!(refusal.reason, Reason::Unreachable, "{refusal:?}");
}

#[tokio::test]
async fn frames_that_cannot_be_read_are_told_and_prove_the_peer_alive() {
    let mut stage = Stage::start(1 << 20).await;
    let mut socket = stage.connect().await;
    let text = |text: &str| Message::text(text.to_owned());
    for (frame, problem) in [
        (Message::binary(vec![1, 2, 3]), "binary"),
        (text("{not json hunter2"), "not JSON"),
        (text(r#"{"result":"200"}"#), "not an envelope"),
        (text(r#"{"topicName":"v2.x"}"#), "without an eventBody"),
    ] {
        socket.send(frame).await.expect("sent");
        let told = stage.bench.incoming().await;
        let Incoming::Observation(Observation::FrameUnreadable { detail, bytes, .. }) = told else {
            panic!("{told:?}");
        };
        assert!(detail.contains(problem) && bytes > 0, "{detail}");
        assert!(!detail.contains("hunter2"), "{detail}");
        stage.bench.heard(Heard::Sign).await;
    }
    socket.send(text(EVENT)).await.expect("sent");
    stage.bench.notification().await;
}

#[tokio::test]
async fn a_body_arrives_byte_for_byte_also_when_its_frame_comes_in_pieces() {
    let mut stage = Stage::start(1 << 20).await;
    let mut socket = stage.connect().await;
    let body = "{ \"note\" : \"\\u00e4 \\/ ä\",\n\t\"n\":1.50e+2 }";
    let text =
        format!(r#"{{"topicName":"v2.a.b","version":"2","eventBody": {body} ,"metadata":{{}}}}"#);
    let (head, tail) = text.split_at(40);
    for (part, code, is_last) in [(head, Data::Text, false), (tail, Data::Continue, true)] {
        let frame = Frame::message(part.as_bytes().to_vec(), OpCode::Data(code), is_last);
        socket.send(Message::Frame(frame)).await.expect("sent");
    }
    let notification = stage.bench.notification().await;
    assert_eq!(notification.body, body.as_bytes());
    assert_eq!(notification.correlation_id, None);
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_the_session_and_is_told() {
    let mut stage = Stage::start(1 << 20).await;
    let mut socket = stage.connect().await;
    // Nobody reads it to its end, so that it cannot be sent to its end either.
    let huge = Message::text("x".repeat(2 << 20));
    drop(tokio::time::timeout(Duration::from_millis(500), socket.send(huge)).await);
    let told = stage.bench.incoming().await;
    assert!(
        matches!(
            told,
            Incoming::Observation(Observation::FrameUnreadable { bytes, .. }) if bytes == 2 << 20
        ),
        "{told:?}"
    );
    let (reason, detail) = stage.bench.lost().await;
    assert_eq!(reason, Reason::Protocol, "{detail}");
}

#[tokio::test]
async fn text_that_is_not_utf8_breaks_the_protocol() {
    let mut stage = Stage::start(1 << 20).await;
    let mut socket = stage.connect().await;
    let frame = Frame::message(vec![0xFF, 0xFE], OpCode::Data(Data::Text), true);
    socket.send(Message::Frame(frame)).await.expect("sent");
    let (reason, detail) = stage.bench.lost().await;
    assert_eq!(reason, Reason::Protocol, "{detail}");
}

#[tokio::test]
async fn a_ping_of_the_peer_is_answered_and_heard() {
    let mut stage = Stage::start(1 << 20).await;
    let mut socket = stage.connect().await;
    socket.send(Message::Ping(vec![7].into())).await.expect("sent");
    stage.bench.heard(Heard::Sign).await;
    let answer = tokio::time::timeout(DEADLINE, socket.next()).await;
    let answer = answer.expect("in time").expect("open").expect("a frame");
    assert_eq!(answer, Message::Pong(vec![7].into()));
}

#[tokio::test]
async fn answers_that_are_no_answers_are_unexpected() {
    let mut stage = Stage::start(1 << 20).await;
    let token = stage.bench.buy().await.0;
    let huge = "x".repeat(5 << 20);
    for (status, extra, body, problem) in [
        ("200 OK", "", "<html>", "not JSON"),
        ("200 OK", "", r#"{"id":5,"connectUri":"hunter2"}"#, "but not"),
        ("200 OK", "", huge.as_str(), "larger than"),
        ("302 Found", "Location: http://127.0.0.1:1/\r\n", "", "302"),
    ] {
        stage.answer(status, extra, body);
        let refusal = stage.bench.refused_open(token).await;
        assert_eq!(refusal.reason, Reason::Unexpected, "{refusal:?}");
        assert!(refusal.detail.contains(problem), "{refusal:?}");
        assert!(!refusal.detail.contains("hunter2"), "{refusal:?}");
    }
    let date =
        "Retry-After: Tue, 14 Nov 2023 22:14:20 GMT\r\nDate: Tue, 14 Nov 2023 22:14:00 GMT\r\n";
    stage.answer("429 Too Many Requests", date, "{}");
    let refusal = stage.bench.refused_open(token).await;
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(20)));
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up() {
    let mut stage = Stage::hasty(1 << 20, Duration::from_secs(3)).await;
    let token = stage.bench.buy().await.0;
    stage.answer("", "", "");
    let refusal = stage.bench.refused_open(token).await;
    assert_eq!(refusal.reason, Reason::Timeout, "{refusal:?}");
}

const EVENT: &str =
    r#"{"topicName":"v2.routing.queues.x.users","version":"2","eventBody":{"joined":true}}"#;
