//! The doors for operators over real HTTP, without the bridge behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tieline::admin::{self, Config, Doors};
use tieline::bridge::Tap;
use tieline::bridge::status::{Refusal, Session, Sink, Status, Topics};
use tieline::bridge::tap::Tapped;
use tieline::clock::Clock;
use tieline::event::{Marks, Topic};
use tieline::observation::Observation;
use tieline::sequence::{Certainty, Gap};
use tieline::telemetry::Telemetry;
use tieline::telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
        serde_json::json!({"ready": false, "reasons": [
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
            "as_of", "channels", "draining", "epoch", "gaps", "login", "now", "ready", "reasons",
            "sessions", "shards", "sinks", "started", "stream", "topics", "verdict", "version"
        ]
    );
    assert_eq!(state["ready"], true);
    assert_eq!(state["sessions"][0]["id"], "s1");
    assert_eq!(state["sessions"][0]["last_words"], "cut: connection reset");
    assert_eq!(state["topics"]["refusals"][0]["reason"], "routing:queue:view is missing");
    assert_eq!(state["sinks"][0]["waiting_events"], 3);
}

#[tokio::test]
async fn gaps_are_told_open_ones_first() {
    let bridge = Bridge::start().await;
    let gaps = bridge.get("/api/v1/gaps").await.json();
    assert_eq!(gaps["total"], 1);
    assert_eq!(gaps["open"], serde_json::json!([]));
    assert_eq!(gaps["recent"][0]["cause"], "cut");
    assert!(gaps["recent"][0]["to"].is_string());
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
    assert_eq!(metrics.value("tieline_topics{state=\"rejected\"}"), 1.0);
    assert_eq!(metrics.value("tieline_secret_version"), 7.0);
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
            answer: "same channel again",
            retry_in: Duration::from_secs(3),
        },
        Observation::RotationFinished {
            shard: 0,
            trigger: "secret",
            overlap: Duration::from_secs(2),
        },
        Observation::GapOpened { number: 2, shard: 0, cause: "cut", from },
        Observation::GapClosed {
            number: 2,
            shard: 0,
            cause: "cut",
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
        ("tieline_rotations_total{outcome=\"completed\",trigger=\"secret\"}", 1.0),
        ("tieline_gaps_total{cause=\"cut\"}", 1.0),
        ("tieline_gap_seconds_total", 1.5),
        ("tieline_frames_unreadable_total", 1.0),
        ("tieline_sink_failures_total{sink=\"kafka\"}", 1.0),
        ("tieline_events_parked_total{sink=\"kafka\"}", 1.0),
    ] {
        assert_eq!(metrics.value(series), value, "{series}");
    }
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

// --- who is let in ---

#[tokio::test]
async fn another_name_than_this_machines_is_refused_on_loopback() {
    let config = Config { hosts: vec!["tieline.example.com".into()], ..loopback(0) };
    let bridge = Bridge::with(config).await;
    let code = async |path: &str, host: &str| {
        bridge.send("GET", path, &format!("Host: {host}\r\n")).await.code
    };
    for path in ["/", "/api/v1/state", "/metrics", "/api/v1/events", "/page.js"] {
        assert_eq!(code(path, "rebound.example").await, 421, "{path}");
    }
    for host in ["localhost:9464", "127.0.0.1", "[::1]:1", "TIELINE.example.com:9464"] {
        assert_eq!(code("/api/v1/state", host).await, 200, "{host}");
    }
    let absolute = "http://rebound.example/api/v1/state";
    assert_eq!(code(absolute, "localhost").await, 421, "a proxy's form of the request");
    let probe = bridge.send("GET", "/readyz", "Host: rebound.example\r\n").await;
    assert_eq!((probe.code, probe.body.as_str()), (200, r#"{"ready":true}"#));
}

#[tokio::test]
async fn another_sites_page_reads_nothing() {
    let bridge = Bridge::start().await;
    let code = async |path: &str, lines: &str| {
        bridge.send("GET", path, &format!("Host: localhost:9464\r\n{lines}")).await.code
    };
    for path in ["/api/v1/events", "/api/v1/tap", "/api/v1/state", "/metrics"] {
        assert_eq!(code(path, "Origin: https://evil.example\r\n").await, 403, "{path}");
        assert_eq!(code(path, "Sec-Fetch-Site: cross-site\r\n").await, 403, "{path}");
    }
    let own = "Origin: http://localhost:9464\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(code("/api/v1/state", own).await, 200);
}

#[tokio::test]
async fn data_is_shown_for_the_token_alone_and_probes_without_it() {
    let guarded = Guarded::start(false).await;
    let bridge = &guarded.bridge;
    let ask = async |path: &str, lines: &str| {
        bridge.send("GET", path, &format!("Host: localhost\r\n{lines}")).await
    };
    for path in [
        "/api/v1/state",
        "/api/v1/gaps",
        "/api/v1/history",
        "/api/v1/events",
        "/api/v1/tap",
        "/metrics",
        "/nowhere",
    ] {
        let answer = ask(path, "").await;
        assert_eq!(answer.code, 401, "{path}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
        for wrong in
            ["Bearer 0123456789abcdeX", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"]
        {
            assert_eq!(
                ask(path, &format!("Authorization: {wrong}\r\n")).await.code,
                401,
                "{wrong}"
            );
        }
    }
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask("/api/v1/state", &right).await.code, 200);
    for open in ["/healthz", "/readyz", "/", "/page.js"] {
        assert_eq!(ask(open, "").await.code, 200, "{open}");
    }
    // Reasons name brokers and addresses.
    bridge.change(|status| status.sinks[0].connected = false);
    let stranger = ask("/readyz", "").await;
    assert_eq!((stranger.code, stranger.body.as_str()), (503, r#"{"ready":false}"#));
    assert!(ask("/readyz", &right).await.body.contains("sink kafka is not connected"));
}

#[tokio::test]
async fn over_tls_the_same_is_shown_and_nothing_without_it() {
    let guarded = Guarded::start(true).await;
    let pem = std::fs::read(guarded.folder.path().join("cert.pem")).unwrap();
    let own = [reqwest::Certificate::from_pem(&pem).unwrap()];
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(own).build().unwrap();
    let url = format!("https://localhost:{}/api/v1/state", guarded.bridge.address.port());
    let answer = client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let plain = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let plain = plain.get(format!("http://{}/healthz", guarded.bridge.address)).send().await;
    assert!(plain.is_err(), "{plain:?}");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("short"), "secret").unwrap();
    std::fs::write(at("nonsense.pem"), "nonsense").unwrap();
    for (config, words) in [
        (Config { token_file: Some(at("none")), ..loopback(0) }, "admin.token_file"),
        (Config { token_file: Some(at("short")), ..loopback(0) }, "admin.token_file"),
        (
            Config {
                tls_cert: Some(at("nonsense.pem")),
                tls_key: Some(at("nonsense.pem")),
                ..loopback(0)
            },
            "admin.tls",
        ),
    ] {
        let error = anyhow::Error::from(admin::open(&config).await.unwrap_err());
        let told = format!("{error:#}");
        assert!(
            told.contains(words) && told.contains(&folder.path().display().to_string()),
            "{told}"
        );
    }
}

// --- who wants too much ---

#[tokio::test]
async fn a_body_is_refused_unread() {
    let bridge = Bridge::start().await;
    for lines in ["Content-Length: 1000000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let answer =
            bridge.send("GET", "/api/v1/state", &format!("Host: localhost\r\n{lines}")).await;
        assert_eq!(answer.code, 413, "{lines}");
    }
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let bridge = Bridge::start().await;
    let huge = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(100_000));
    assert_eq!(bridge.send("GET", "/healthz", &huge).await.code, 431);
    let many: String = (0..1_000).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(bridge.send("GET", "/healthz", &many).await.code, 431);
}

#[tokio::test]
async fn a_thousand_connections_that_dribble_keep_nobody_out() {
    let bridge = Bridge::start().await;
    let mut crowd = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(bridge.address).await.unwrap();
        // Half a request, as a slow loris sends it; whoever was put out already cannot be written to.
        stream.write_all(b"GET / HTTP/1.1\r\nX-a: b\r\n").await.ok();
        crowd.push(stream);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        assert_eq!(bridge.get(path).await.code, 200, "{path}");
    }
    drop(crowd);
}

#[tokio::test]
async fn so_many_may_watch_and_no_more() {
    let bridge = Bridge::start().await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        watchers.push(bridge.watch("/api/v1/events").await);
    }
    let answer = bridge.get("/api/v1/tap").await;
    assert_eq!((answer.code, answer.header("retry-after")), (503, "5"));
    assert_eq!(bridge.get("/api/v1/state").await.code, 200, "all else is answered");
    watchers.pop();
    crate::harness::eventually("a place is free again", async || {
        let mut stream = bridge.open("GET", "/api/v1/tap", "Host: localhost\r\n").await;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        (&head == b"HTTP/1.1 200").then_some(())
    })
    .await;
}

// --- what streams say ---

#[tokio::test]
async fn a_change_is_told_at_once_and_silence_each_second() {
    let bridge = Bridge::start().await;
    let mut watcher = bridge.watch("/api/v1/events").await;
    let first = watcher.event("state").await;
    assert_eq!(first["verdict"]["live"]["words"], "Yes");
    assert_eq!(watcher.event("history").await["coverage"], serde_json::json!([]));
    bridge.change(|status| status.sessions[0].state = "waiting");
    let told = async {
        loop {
            let state = watcher.event("state").await;
            if state["sessions"][0]["state"] == "waiting" {
                return state;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_millis(900), told).await.expect("at once");
    assert_eq!(told["verdict"]["live"]["words"], "No");
    // Nothing changes any more; that the bridge says nothing must be seen all the same.
    let later = watcher.event("state").await;
    assert_ne!(later["now"], told["now"]);
}

#[tokio::test]
async fn a_tap_shows_what_was_asked_for_and_counts_what_it_missed() {
    let bridge = Bridge::start().await;
    let watcher = bridge.watch("/api/v1/tap?family=queues&key=QUEUE-1").await;
    let show = |position: u64, name: &str| {
        let body = format!("{{\"n\":\r\n{position}}}");
        bridge.doors.tap.show(Tapped {
            position,
            topic: Topic::new(name),
            length: body.len(),
            body: Some(body.into()),
            received: bridge.doors.clock.timestamp(),
            marks: Marks { late: true, ..Marks::default() },
        });
    };
    show(1, "v2.users.presence");
    show(2, "queue-1");
    assert!(bridge.doors.tap.is_watched());
    let queue = "v2.routing.queues.11111111-4c52-4b0e-9d3a-0c5b6e1f2a4d.users";
    show(3, queue);
    drop(watcher);
    let mut watcher =
        bridge.watch("/api/v1/tap?family=queues&key=11111111-4C52-4b0e-9d3a-0c5b6e1f2a4d").await;
    show(4, "v2.users.presence");
    show(5, queue);
    let event = watcher.event("event").await;
    assert_eq!((&event["position"], &event["data"]["n"]), (&5.into(), &5.into()));
    assert_eq!(
        (&event["late"], &event["subject"]),
        (&true.into(), &"11111111-4c52-4b0e-9d3a-0c5b6e1f2a4d".into())
    );
    // More than the tap remembers, in one go of this one thread.
    for position in 6..1_006 {
        show(position, queue);
    }
    let missed = watcher.event("missed").await["missed"].as_u64().unwrap();
    assert!((1..1_000).contains(&missed), "{missed}");
    assert_eq!(bridge.get("/api/v1/tap?colour=blue").await.code, 400);
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

// --- a bridge's doors, without the bridge behind them ---

/// Doors on a free port, and the status that they show.
pub(crate) struct Bridge {
    address: SocketAddr,
    doors: Doors,
    status: watch::Sender<Arc<Status>>,
    shutdown: CancellationToken,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn loopback(port: u16) -> Config {
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
        let metrics = Arc::new(Metrics::new("0.1.0", &["kafka"]));
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

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, "Host: localhost\r\n").await
    }

    /// Asks with these lines in the head, and reads until the other side closes.
    async fn send(&self, method: &str, path: &str, lines: &str) -> Answer {
        let exchange = async {
            let lines = format!("{lines}Connection: close\r\n");
            let mut stream = self.open(method, path, &lines).await;
            let mut text = Vec::new();
            // What is refused unread may end in a reset behind the answer.
            stream.read_to_end(&mut text).await.ok();
            String::from_utf8(text).unwrap()
        };
        let text = tokio::time::timeout(Duration::from_secs(20), exchange).await;
        Answer::parse(&text.unwrap())
    }

    async fn open(&self, method: &str, path: &str, lines: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.ok();
        stream
    }

    /// A stream, once it has begun.
    async fn watch(&self, path: &str) -> Watcher {
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
struct Watcher {
    stream: TcpStream,
    text: String,
}

impl Watcher {
    /// The data of the next event of this name; the lengths between chunks are no lines of ours.
    async fn event(&mut self, name: &str) -> serde_json::Value {
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
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
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

fn well(clock: Clock) -> Status {
    let ago = |seconds| clock.timestamp().before(Duration::from_secs(seconds));
    let epoch = "20261124T150000Z-3f9a1c2b";
    let mut status = Status::new("0.1.0", epoch, ago(600), Duration::from_secs(35));
    status.as_of = ago(0);
    status.login.secret = Some(7);
    status.shards = 1;
    status.sessions = vec![Session {
        id: "s1".to_owned(),
        shard: 0,
        leg: 1,
        state: "live",
        since: ago(300),
        last_frame: Some(ago(5)),
        last_event: Some(ago(40)),
        retry_at: None,
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

// --- answers and scrapes ---

struct Answer {
    code: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
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

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What `/metrics` answered.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| {
            let rest = line.strip_prefix(series)?;
            rest.strip_prefix(' ')
        });
        line.unwrap_or_else(|| panic!("{series} is missing from\n{}", self.0)).parse().unwrap()
    }
}
