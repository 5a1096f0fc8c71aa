//! A simulator with our side of it, and a stage on which a test says what no healthy platform says.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
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
use tieline::secret::{self, Secrets};
use tieline::size::Size;
use tieline_sim::{Options, Sim, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing here takes a second on a healthy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long a request may take, where none is to hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one session of a test.
pub const SESSION: SessionId = SessionId(1);

/// A simulator that says nothing by itself.
pub fn quiet() -> Options {
    Options { rate: 0.0, ..Options::default() }
}

/// A certificate for the loopback address, and the authority behind it.
pub fn certificate(folder: &TempDir) -> (Tls, PathBuf) {
    certificate_for(folder, &["127.0.0.1"])
}

/// A certificate for these names, and the authority behind it.
pub fn certificate_for(folder: &TempDir, names: &[&str]) -> (Tls, PathBuf) {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).expect("a root");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
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
        let $pattern = reply.clone() else { panic!("{reply:?}") };
        $value
    }};
}

/// A simulator and our side of it.
pub struct Bench {
    pub sim: Sim,
    pub genesys: Genesys,
    pub incoming: mpsc::Receiver<Incoming>,
    http: reqwest::Client,
    folder: TempDir,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

impl Bench {
    pub async fn start() -> Self {
        Self::start_with(|_, _| {}, Some("right")).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config, &Sim), secret: Option<&str>) -> Self {
        Self::stage(quiet(), change, secret).await
    }

    pub async fn stage(
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
            request_timeout: PATIENCE,
            frame_max: Size(1 << 20),
        };
        change(&mut config, &sim);
        let folder = TempDir::new().expect("a folder");
        if let Some(secret) = secret {
            std::fs::write(folder.path().join("secret"), secret).expect("written");
        }
        let source = secret::Config {
            poll_interval: Duration::from_secs(1),
            file: Some(secret::File { path: folder.path().join("secret") }),
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
    pub fn write_secret(&self, secret: &str) {
        let (new, path) = (self.folder.path().join("new"), self.folder.path().join("secret"));
        std::fs::write(&new, secret).expect("written");
        std::fs::rename(new, path).expect("renamed");
    }

    pub async fn control(&self, call: &str, body: Value) -> Value {
        let url = format!("{}/sim/{call}", self.sim.control_url());
        let answer = self.http.post(url).json(&body).send().await.expect("answered");
        assert!(answer.status().is_success(), "{call}: {}", answer.status());
        answer.json().await.expect("JSON")
    }

    pub async fn state(&self) -> Value {
        let url = format!("{}/sim/state", self.sim.control_url());
        let answer = self.http.get(url).send().await.expect("answered");
        answer.json().await.expect("JSON")
    }

    pub async fn channel_id(&self) -> String {
        let state = self.state().await;
        let id = state["channels"][0]["id"].as_str();
        id.expect("a channel").to_owned()
    }

    /// The next thing that is not about secrets.
    pub async fn incoming(&mut self) -> Incoming {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.incoming.recv()).await;
            let next = next.expect("in time").expect("more to come");
            if !matches!(next, Incoming::Reply(Reply::SecretChanged { .. })) {
                return next;
            }
        }
    }

    /// The first such reply; what comes before it is not looked at.
    pub async fn reply(&mut self, is_it: impl Fn(&Reply) -> bool) -> Reply {
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                match self.incoming.recv().await.expect("more to come") {
                    Incoming::Reply(reply) if is_it(&reply) => return reply,
                    Incoming::Reply(_)
                    | Incoming::Notification { .. }
                    | Incoming::Snapshots { .. }
                    | Incoming::Observation(_) => {}
                }
            }
        });
        found.await.expect("in time")
    }

    pub async fn answer(&mut self, command: Command) -> Reply {
        self.genesys.execute(command);
        self.reply(|reply| {
            !matches!(
                reply,
                Reply::SecretChanged { .. } | Reply::Heard { .. } | Reply::Allowance { .. }
            )
        })
        .await
    }

    pub async fn notification(&mut self) -> Notification {
        match self.incoming().await {
            Incoming::Notification { notification, .. } => notification,
            other
            @ (Incoming::Reply(_) | Incoming::Snapshots { .. } | Incoming::Observation(_)) => {
                panic!("{other:?}")
            }
        }
    }

    pub async fn heard(&mut self, expected: Heard) {
        let heard =
            self.reply(|reply| matches!(reply, Reply::Heard { what, .. } if *what == expected));
        heard.await;
    }

    pub async fn lost(&mut self) -> (Reason, String) {
        let lost = self.reply(|reply| matches!(reply, Reply::Lost { .. }));
        taken!(lost.await, Reply::Lost { reason, detail, .. } => (reason, detail))
    }

    pub async fn buy(&mut self) -> (TokenId, SecretVersion) {
        let bought = self.answer(Command::RequestToken).await;
        taken!(bought, Reply::TokenGranted { token, secret, expires_in } => {
            assert!(expires_in > Duration::from_secs(60), "{expires_in:?}");
            (token, secret)
        })
    }

    pub async fn topics(&mut self) -> (Vec<String>, Vec<String>) {
        let (token, _) = self.buy().await;
        let mut page = 1;
        let listed = loop {
            let listed = self.answer(Command::ListTopics { token, page }).await;
            if listed != (Reply::TopicsPage { page }) {
                break listed;
            }
            page += 1;
        };
        taken!(listed, Reply::TopicsListed { topics, unknown } => {
            let names = topics.iter().map(|topic| topic.name().to_owned());
            (names.collect(), unknown)
        })
    }

    pub async fn open(&mut self) -> (TokenId, ChannelId) {
        let (token, _) = self.buy().await;
        let session = SESSION;
        let opened = self.answer(Command::OpenChannel { session, token }).await;
        taken!(opened, Reply::ChannelOpened { channel, expires_in, .. } => {
            let day = Duration::from_secs(86_400);
            assert!(day.abs_diff(expires_in).as_secs() < 5, "{expires_in:?}");
            (token, channel)
        })
    }

    pub async fn subscribe(
        &mut self,
        token: TokenId,
        channel: ChannelId,
        topics: &[&str],
    ) -> Vec<RejectedTopic> {
        let subscribed = self.answer(subscribe(token, channel, topics)).await;
        taken!(subscribed, Reply::Subscribed { rejected, .. } => rejected)
    }

    pub async fn connect(&mut self, channel: ChannelId) {
        let session = SESSION;
        let connected = self.answer(Command::Connect { session, channel }).await;
        assert_eq!(connected, Reply::Connected { session });
    }

    /// A session with its socket open.
    pub async fn live(&mut self) -> ChannelId {
        let topic = format!("v2.routing.queues.{}.users", self.sim.queues()[0].id);
        let (token, channel) = self.open().await;
        let rejected = self.subscribe(token, channel, &[&topic]).await;
        assert!(rejected.is_empty(), "{rejected:?}");
        self.connect(channel).await;
        channel
    }

    pub async fn refused_token(&mut self) -> Refusal {
        let refused = self.answer(Command::RequestToken).await;
        taken!(refused, Reply::TokenRefused { refusal, .. } => refusal)
    }

    pub async fn refused_open(&mut self, token: TokenId) -> Refusal {
        let session = SESSION;
        self.refused(Command::OpenChannel { session, token }).await
    }

    pub async fn refused_subscribe(&mut self, token: TokenId, channel: ChannelId) -> Refusal {
        self.refused(subscribe(token, channel, &["v2.x"])).await
    }

    pub async fn refused_connect(&mut self, channel: ChannelId) -> Refusal {
        let session = SESSION;
        self.refused(Command::Connect { session, channel }).await
    }

    pub async fn refused(&mut self, command: Command) -> Refusal {
        let refused = self.answer(command).await;
        taken!(refused, Reply::Refused { refusal, .. } => refusal)
    }
}

fn subscribe(token: TokenId, channel: ChannelId, topics: &[&str]) -> Command {
    Command::Subscribe {
        session: SESSION,
        token,
        channel,
        topics: topics.iter().map(|topic| Box::from(*topic)).collect::<Arc<[_]>>(),
    }
}

/// A platform whose API and socket say what a test tells them to; tokens come from a simulator.
pub struct Stage {
    pub bench: Bench,
    sockets: TcpListener,
    answers: mpsc::Sender<String>,
}

impl Stage {
    pub async fn start(frame_max: u64) -> Self {
        Self::hasty(frame_max, PATIENCE).await
    }

    /// The same, where no call may take longer than that.
    pub async fn hasty(frame_max: u64, request_timeout: Duration) -> Self {
        let api = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sockets = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = api.local_addr().expect("an address");
        let change = |config: &mut Config, _: &Sim| {
            config.api_url = Some(format!("http://{address}"));
            config.frame_max = Size(frame_max);
            config.request_timeout = request_timeout;
        };
        let bench = Bench::start_with(change, Some("right")).await;
        let (answers, told) = mpsc::channel(4);
        let acting = act(api, told);
        let cancel = bench.cancel.clone();
        bench.tracker.spawn(async move { cancel.run_until_cancelled(acting).await });
        Self { bench, sockets, answers }
    }

    /// What the next call is answered; nothing at all when the status is empty.
    pub fn answer(&self, status: &str, headers: &str, body: &str) {
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
    pub async fn connect(&mut self) -> WebSocketStream<TcpStream> {
        let address = self.sockets.local_addr().expect("an address");
        let uri = SecretString::from(format!("ws://{address}/channels/streaming-1-x"));
        let uri = uri.expose_secret();
        self.answer("200 OK", "", &format!(r#"{{"id":"streaming-1-x","connectUri":"{uri}"}}"#));
        let (_, channel) = self.bench.open().await;
        let accepting = async {
            let (stream, _) = self.sockets.accept().await.expect("a connection");
            tokio_tungstenite::accept_async(stream).await.expect("a handshake")
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
