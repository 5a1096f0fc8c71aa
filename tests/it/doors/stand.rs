//! The doors of a bridge, without the bridge behind them, and what they answer.

use crate::harness::DEADLINE;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tieline::admin::{self, Config, Doors};
use tieline::bridge::Tap;
use tieline::bridge::status::{Refusal, Session, Sink, Status, Topics};
use tieline::clock::Clock;
use tieline::sequence::{Certainty, Gap};
use tieline::telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Doors on a free port, and the status that they show.
pub(crate) struct Bridge {
    pub(super) address: SocketAddr,
    pub(super) doors: Doors,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) shutdown: CancellationToken,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) fn loopback(port: u16) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        token_file: None,
        tls_cert: None,
        tls_key: None,
        hosts: Vec::new(),
        allow_insecure: false,
    }
}

impl Bridge {
    /// Doors on a free port, that show a bridge which is well.
    pub(crate) async fn start() -> Self {
        Self::with(loopback(0)).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let clock = Clock::start();
        let (sender, receiver) = watch::channel(Arc::new(well(clock)));
        let metrics = Arc::new(Metrics::new("0.1.0", &["kafka"]).per_queue());
        let doors = Doors { metrics, status: receiver, tap: Tap::default(), clock };
        let entrance = admin::open(&config).await.unwrap();
        let bridge = Self {
            address: entrance.address().unwrap(),
            doors: doors.clone(),
            status: sender,
            shutdown: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        tasks.spawn(admin::serve(entrance, doors, bridge.shutdown.clone()));
        bridge
    }

    /// Where the doors are.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn clock(&self) -> Clock {
        self.doors.clock
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, "Host: localhost\r\n").await
    }

    /// Asks with these lines in the head, and reads until the other side closes.
    pub(crate) async fn send(&self, method: &str, path: &str, lines: &str) -> Answer {
        let exchange = async {
            let lines = format!("{lines}Connection: close\r\n");
            let mut stream = self.open(method, path, &lines).await;
            let mut text = Vec::new();
            // What is refused unread may end in a reset behind the answer.
            stream.read_to_end(&mut text).await.ok();
            String::from_utf8(text).unwrap()
        };
        let text = tokio::time::timeout(DEADLINE, exchange).await;
        Answer::parse(&text.unwrap())
    }

    pub(crate) async fn open(&self, method: &str, path: &str, lines: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.ok();
        stream
    }

    /// A stream, once it has begun.
    pub(crate) async fn watch(&self, path: &str) -> Watcher {
        let mut stream = self.open("GET", path, "Host: localhost\r\n").await;
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(std::str::from_utf8(&head).unwrap(), "HTTP/1.1 200 OK");
        Watcher { stream, text: String::new() }
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.code, 200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
        Scrape(answer.body)
    }
}

/// A stream of events.
pub(crate) struct Watcher {
    pub(super) stream: TcpStream,
    pub(super) text: String,
}

impl Watcher {
    /// The data of the next event of this name; the lengths between chunks are no lines of ours.
    pub(crate) async fn event(&mut self, name: &str) -> serde_json::Value {
        let head = format!("event: {name}\ndata: ");
        let found = async {
            loop {
                let at = self.text.find(&head).map(|at| at + head.len());
                let end = at.and_then(|at| Some(at + self.text[at..].find("\n\n")?));
                if let (Some(at), Some(end)) = (at, end) {
                    let data = serde_json::from_str(&self.text[at..end]).unwrap();
                    self.text.drain(..end);
                    return data;
                }
                let mut chunk = [0; 65_536];
                let length = self.stream.read(&mut chunk).await.unwrap();
                assert_ne!(length, 0, "the stream ended: {}", self.text);
                self.text.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
            }
        };
        let found = tokio::time::timeout(DEADLINE, found).await;
        found.unwrap_or_else(|_| panic!("no event {name}"))
    }
}

/// The token of a guarded door.
pub(crate) const TOKEN: &str = "0123456789abcdef";

/// Doors with a token and, if so wished, a certificate for localhost.
pub(crate) struct Guarded {
    pub(crate) bridge: Bridge,
    pub(crate) folder: tempfile::TempDir,
}

impl Guarded {
    pub(crate) async fn start(tls: bool) -> Self {
        tieline::genesys::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut config = Config { token_file: Some(write("token", TOKEN)), ..loopback(0) };
        if tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            config.tls_cert = Some(write("cert.pem", &made.cert.pem()));
            config.tls_key = Some(write("key.pem", &made.signing_key.serialize_pem()));
        }
        Self { bridge: Bridge::with(config).await, folder }
    }
}

pub(super) fn well(clock: Clock) -> Status {
    let ago = |seconds| clock.timestamp().before(Duration::from_secs(seconds));
    let epoch = "20261124T150000Z-3f9a1c2b";
    let mut status = Status::new("0.1.0", epoch, ago(600), Duration::from_secs(35));
    status.as_of = ago(0);
    (status.login.secret, status.login.secret_seen) = (Some(7), Some(ago(4_000)));
    (status.login.newest_secret, status.login.newest_secret_seen) = (Some(8), Some(ago(400)));
    (status.shards, status.shard_numbers) = (1, vec![0]);
    status.sessions = vec![Session {
        id: "s1".to_owned(),
        shard: 0,
        leg: 1,
        state: "live",
        since: ago(300),
        last_frame: Some(ago(5)),
        last_event: Some(ago(40)),
        deadline: Some(ago(0).after(Duration::from_secs(30))),
        deadline_of: Some("frame"),
        channel_expires: Some(ago(0).after(Duration::from_secs(86_000))),
        successor_at: Some(ago(0).after(Duration::from_secs(85_000))),
        retry_at: None,
        parked: None,
        last_reason: Some("cut"),
        last_words: Some("cut: connection reset".to_owned()),
    }];
    status.topics = Topics {
        permitted: 5,
        rejected: 1,
        refusals: vec![Refusal {
            topic: "v2.users.presence".to_owned(),
            reason: "routing:queue:view is missing".to_owned(),
        }],
    };
    status.gaps.total = 1;
    status.gaps.recent = vec![Gap {
        number: 1,
        shard: 0,
        sink: None,
        cause: "cut",
        certainty: Certainty::Certain,
        from: ago(301),
        to: Some(ago(300)),
        seconds: Some(1.0),
        topics: 3,
        action: Some("the same channel was taken up again"),
        rebased: None,
    }];
    status.sinks = vec![Sink {
        connected: true,
        waiting_events: 3,
        waiting_bytes: 2700,
        oldest_waiting: Some(ago(2)),
        ..Sink::new("kafka")
    }];
    status
}

pub(crate) struct Answer {
    pub(super) code: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let code = lines.next().unwrap().split(' ').nth(1).unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers: BTreeMap<String, String> = lines.clone().map(header).collect();
        assert_eq!(headers.len(), lines.count(), "a header twice in {head}");
        Self { code: code.parse().unwrap(), headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What `/metrics` answered.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    pub(crate) fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| {
            let rest = line.strip_prefix(series)?;
            rest.strip_prefix(' ')
        });
        line.unwrap_or_else(|| panic!("{series} is missing from\n{}", self.0)).parse().unwrap()
    }
}
