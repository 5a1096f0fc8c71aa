//! `genesys` against the simulator, and against a stage that says what no healthy platform says.

use futures_util::{SinkExt, StreamExt};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tieline::clock::Clock;
use tieline::event::Notification;
use tieline::genesys::{Config, Genesys, Incoming, tls};
use tieline::lifecycle::{
    ChannelId, Command, Heard, Reason, Refusal, RejectedTopic, Reply, SecretVersion, SessionId,
    TokenId,
};
use tieline::observation::Observation;
use tieline::secret::{self, Secrets};
use tieline::size::Size;
use tieline_sim::{Options, Sim, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing here takes a second on a healthy machine.
const DEADLINE: Duration = Duration::from_secs(15);

const SESSION: SessionId = SessionId(1);

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
    let options = Options {
        queues: 230,
        ..quiet()
    };
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
        (
            json!({"mode": "code", "code": 1001, "reason": "idle timeout"}),
            Reason::Closed,
        ),
    ] {
        bench.control("close", fault).await;
        let (reason, detail) = bench.lost().await;
        assert_eq!(reason, expected, "{detail}");
        if reason == Reason::Closed {
            assert_eq!(detail, "closed with code 1001: idle timeout");
        }
        bench.connect(channel).await;
    }
    bench
        .control("socket-closing", json!({"after_ms": 10}))
        .await;
    bench.heard(Heard::ClosingNotice).await;
    let (reason, detail) = bench.lost().await;
    assert_eq!(reason, Reason::ClosingNotice, "{detail}");
}

#[tokio::test]
async fn a_retry_after_is_handed_on_from_each_door() {
    let mut bench = Bench::start().await;
    let (token, channel) = bench.open().await;
    bench
        .control(
            "throttle",
            json!({"what": "all", "retry_after_s": 7, "for_ms": 60_000}),
        )
        .await;
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
    bench
        .control(
            "throttle",
            json!({"what": "all", "status": 503, "for_ms": 60_000}),
        )
        .await;
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
        assert!(
            !matches!(incoming, Incoming::Reply(Reply::Lost { .. })),
            "{incoming:?}"
        );
    }
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
    let options = || Options {
        tls: Some(tls.clone()),
        ..quiet()
    };
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
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
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
    socket
        .send(Message::Ping(vec![7].into()))
        .await
        .expect("sent");
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
        (
            "200 OK",
            "",
            r#"{"id":5,"connectUri":"hunter2"}"#,
            "but not",
        ),
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
    let mut stage = Stage::start(1 << 20).await;
    let token = stage.bench.buy().await.0;
    stage.answer("", "", "");
    let refusal = stage.bench.refused_open(token).await;
    assert_eq!(refusal.reason, Reason::Timeout, "{refusal:?}");
}

const EVENT: &str =
    r#"{"topicName":"v2.routing.queues.x.users","version":"2","eventBody":{"joined":true}}"#;

/// A simulator that says nothing by itself.
fn quiet() -> Options {
    Options {
        rate: 0.0,
        ..Options::default()
    }
}

/// A certificate for the loopback address, and the authority behind it.
pub fn certificate(folder: &TempDir) -> (Tls, PathBuf) {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).expect("a root");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = rcgen::CertificateParams::new(names).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let tls = Tls {
        certificate: write("leaf.pem", leaf.pem()),
        key: write("leaf.key", key.serialize_pem()),
    };
    (tls, write("ca.pem", root.pem()))
}

/// What is in a reply of the kind that is expected; another kind fails the test with its words.
macro_rules! taken {
    ($reply:expr, $pattern:pat => $value:expr) => {{
        let reply = $reply;
        let $pattern = reply.clone() else {
            panic!("{reply:?}")
        };
        $value
    }};
}

/// A simulator and our side of it.
struct Bench {
    sim: Sim,
    genesys: Genesys,
    incoming: mpsc::Receiver<Incoming>,
    http: reqwest::Client,
    folder: TempDir,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(|_, _| {}, Some("right")).await
    }

    async fn start_with(change: impl FnOnce(&mut Config, &Sim), secret: Option<&str>) -> Self {
        Self::stage(quiet(), change, secret).await
    }

    async fn stage(
        mut options: Options,
        change: impl FnOnce(&mut Config, &Sim),
        secret: Option<&str>,
    ) -> Self {
        tls::install_provider();
        options.client_secret = Some("right".to_owned());
        let sim = Sim::start(options).await.expect("a simulator");
        let mut config = Config {
            region: None,
            login_url: Some(sim.login_url().to_owned()),
            api_url: Some(sim.api_url().to_owned()),
            client_id: Some(sim.client_id().to_owned()),
            ca_file: None,
            queues: vec!["all".to_owned()],
            topics: ["conversations", "users"]
                .map(|kind| format!("v2.routing.queues.{{id}}.{kind}"))
                .into(),
            allow_insecure: true,
            request_timeout: Duration::from_secs(2),
            frame_max: Size(1 << 20),
        };
        change(&mut config, &sim);
        let folder = TempDir::new().expect("a folder");
        if let Some(secret) = secret {
            std::fs::write(folder.path().join("secret"), secret).expect("written");
        }
        let source = secret::Config {
            poll_interval: Duration::from_secs(1),
            file: Some(secret::File {
                path: folder.path().join("secret"),
            }),
            env: None,
            vault: None,
        };
        let (tracker, cancel, clock) =
            (TaskTracker::new(), CancellationToken::new(), Clock::start());
        let (observe, _) = mpsc::channel(16);
        let secrets = Secrets::start(&source, clock, observe, &tracker, cancel.clone());
        let secrets = secrets.expect("secrets");
        let (send, incoming) = mpsc::channel(256);
        let genesys = Genesys::new(config, secrets, clock, send, tracker.clone());
        Self {
            sim,
            genesys: genesys.expect("a platform"),
            incoming,
            http: reqwest::Client::new(),
            folder,
            tracker,
            cancel,
        }
    }

    /// As Vault Agent does it: written beside and renamed.
    fn write_secret(&self, secret: &str) {
        let (new, path) = (
            self.folder.path().join("new"),
            self.folder.path().join("secret"),
        );
        std::fs::write(&new, secret).expect("written");
        std::fs::rename(new, path).expect("renamed");
    }

    async fn control(&self, call: &str, body: Value) -> Value {
        let url = format!("{}/sim/{call}", self.sim.control_url());
        let answer = self
            .http
            .post(url)
            .json(&body)
            .send()
            .await
            .expect("answered");
        assert!(answer.status().is_success(), "{call}: {}", answer.status());
        answer.json().await.expect("JSON")
    }

    async fn state(&self) -> Value {
        let url = format!("{}/sim/state", self.sim.control_url());
        let answer = self.http.get(url).send().await.expect("answered");
        answer.json().await.expect("JSON")
    }

    async fn channel_id(&self) -> String {
        let state = self.state().await;
        let id = state["channels"][0]["id"].as_str();
        id.expect("a channel").to_owned()
    }

    /// The next thing that is not about secrets.
    async fn incoming(&mut self) -> Incoming {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.incoming.recv()).await;
            let next = next.expect("in time").expect("more to come");
            if !matches!(next, Incoming::Reply(Reply::SecretChanged { .. })) {
                return next;
            }
        }
    }

    /// The first such reply; what comes before it is not looked at.
    async fn reply(&mut self, is_it: impl Fn(&Reply) -> bool) -> Reply {
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                match self.incoming.recv().await.expect("more to come") {
                    Incoming::Reply(reply) if is_it(&reply) => return reply,
                    Incoming::Reply(_)
                    | Incoming::Notification { .. }
                    | Incoming::Observation(_) => {}
                }
            }
        });
        found.await.expect("in time")
    }

    async fn answer(&mut self, command: Command) -> Reply {
        self.genesys.execute(command);
        self.reply(|reply| !matches!(reply, Reply::SecretChanged { .. } | Reply::Heard { .. }))
            .await
    }

    async fn notification(&mut self) -> Notification {
        match self.incoming().await {
            Incoming::Notification { notification, .. } => notification,
            other @ (Incoming::Reply(_) | Incoming::Observation(_)) => panic!("{other:?}"),
        }
    }

    async fn heard(&mut self, expected: Heard) {
        let heard =
            self.reply(|reply| matches!(reply, Reply::Heard { what, .. } if *what == expected));
        heard.await;
    }

    async fn lost(&mut self) -> (Reason, String) {
        let lost = self.reply(|reply| matches!(reply, Reply::Lost { .. }));
        taken!(lost.await, Reply::Lost { reason, detail, .. } => (reason, detail))
    }

    async fn buy(&mut self) -> (TokenId, SecretVersion) {
        let bought = self.answer(Command::RequestToken).await;
        taken!(bought, Reply::TokenGranted { token, secret, expires_in } => {
            assert!(expires_in > Duration::from_secs(60), "{expires_in:?}");
            (token, secret)
        })
    }

    async fn topics(&mut self) -> (Vec<String>, Vec<String>) {
        let (token, _) = self.buy().await;
        let listed = self.answer(Command::ListTopics { token }).await;
        taken!(listed, Reply::TopicsListed { topics, unknown } => {
            let names = topics.iter().map(|topic| topic.name().to_owned());
            (names.collect(), unknown)
        })
    }

    async fn open(&mut self) -> (TokenId, ChannelId) {
        let (token, _) = self.buy().await;
        let session = SESSION;
        let opened = self.answer(Command::OpenChannel { session, token }).await;
        taken!(opened, Reply::ChannelOpened { channel, expires_in, .. } => {
            let day = Duration::from_secs(86_400);
            assert!(day.abs_diff(expires_in).as_secs() < 5, "{expires_in:?}");
            (token, channel)
        })
    }

    async fn subscribe(
        &mut self,
        token: TokenId,
        channel: ChannelId,
        topics: &[&str],
    ) -> Vec<RejectedTopic> {
        let subscribed = self.answer(subscribe(token, channel, topics)).await;
        taken!(subscribed, Reply::Subscribed { rejected, .. } => rejected)
    }

    async fn connect(&mut self, channel: ChannelId) {
        let session = SESSION;
        let connected = self.answer(Command::Connect { session, channel }).await;
        assert_eq!(connected, Reply::Connected { session });
    }

    /// A session with its socket open.
    async fn live(&mut self) -> ChannelId {
        let topic = format!("v2.routing.queues.{}.users", self.sim.queues()[0].id);
        let (token, channel) = self.open().await;
        let rejected = self.subscribe(token, channel, &[&topic]).await;
        assert!(rejected.is_empty(), "{rejected:?}");
        self.connect(channel).await;
        channel
    }

    async fn refused_token(&mut self) -> Refusal {
        let refused = self.answer(Command::RequestToken).await;
        taken!(refused, Reply::TokenRefused { refusal, .. } => refusal)
    }

    async fn refused_open(&mut self, token: TokenId) -> Refusal {
        let session = SESSION;
        self.refused(Command::OpenChannel { session, token }).await
    }

    async fn refused_subscribe(&mut self, token: TokenId, channel: ChannelId) -> Refusal {
        self.refused(subscribe(token, channel, &["v2.x"])).await
    }

    async fn refused_connect(&mut self, channel: ChannelId) -> Refusal {
        let session = SESSION;
        self.refused(Command::Connect { session, channel }).await
    }

    async fn refused(&mut self, command: Command) -> Refusal {
        let refused = self.answer(command).await;
        taken!(refused, Reply::Refused { refusal, .. } => refusal)
    }
}

fn subscribe(token: TokenId, channel: ChannelId, topics: &[&str]) -> Command {
    Command::Subscribe {
        session: SESSION,
        token,
        channel,
        topics: topics
            .iter()
            .map(|topic| Box::from(*topic))
            .collect::<Arc<[_]>>(),
    }
}

/// A platform whose API and socket say what a test tells them to; tokens come from a simulator.
struct Stage {
    bench: Bench,
    sockets: TcpListener,
    answers: mpsc::Sender<String>,
}

impl Stage {
    async fn start(frame_max: u64) -> Self {
        let api = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sockets = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = api.local_addr().expect("an address");
        let change = |config: &mut Config, _: &Sim| {
            config.api_url = Some(format!("http://{address}"));
            config.frame_max = Size(frame_max);
        };
        let bench = Bench::start_with(change, Some("right")).await;
        let (answers, told) = mpsc::channel(4);
        let acting = act(api, told);
        let cancel = bench.cancel.clone();
        bench
            .tracker
            .spawn(async move { cancel.run_until_cancelled(acting).await });
        Self {
            bench,
            sockets,
            answers,
        }
    }

    /// What the next call is answered; nothing at all when the status is empty.
    fn answer(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let answer = match status {
            "" => String::new(),
            status => format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ),
        };
        self.answers.try_send(answer).expect("room");
    }

    /// Opens a channel whose socket is ours.
    async fn connect(&mut self) -> WebSocketStream<TcpStream> {
        let address = self.sockets.local_addr().expect("an address");
        let uri = SecretString::from(format!("ws://{address}/channels/streaming-1-x"));
        let uri = uri.expose_secret();
        self.answer(
            "200 OK",
            "",
            &format!(r#"{{"id":"streaming-1-x","connectUri":"{uri}"}}"#),
        );
        let (_, channel) = self.bench.open().await;
        let accepting = async {
            let (stream, _) = self.sockets.accept().await.expect("a connection");
            tokio_tungstenite::accept_async(stream)
                .await
                .expect("a handshake")
        };
        let (socket, ()) = tokio::join!(accepting, self.bench.connect(channel));
        socket
    }
}

async fn act(api: TcpListener, mut told: mpsc::Receiver<String>) {
    let mut hanging = Vec::new();
    loop {
        let (mut stream, _) = api.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let Some(answer) = told.recv().await else {
            return;
        };
        if answer.is_empty() {
            hanging.push(stream);
            continue;
        }
        // A client that has heard enough may hang up.
        drop(stream.write_all(answer.as_bytes()).await);
    }
}
