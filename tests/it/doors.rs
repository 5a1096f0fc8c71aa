//! The doors for operators over real HTTP, without the bridge behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tieline::admin::{self, Config, Doors};
use tieline::bridge::status::{Refusal, Session, Sink, Status, Topics};
use tieline::clock::Clock;
use tieline::event::Topic;
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
            "as_of", "draining", "epoch", "gaps", "login", "ready", "reasons", "sessions",
            "shards", "sinks", "started", "stream", "topics", "version"
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
async fn gaps_are_turned_page_by_page_from_the_newest() {
    let bridge = Bridge::start().await;
    bridge.change(|status| {
        let gap = status.gaps.recent[0].clone();
        status.gaps.recent = (1..=5).rev().map(|number| Gap { number, ..gap.clone() }).collect();
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
        ("tieline_gaps_total{cause=\"cut\",certainty=\"certain\"}", 1.0),
        ("tieline_gap_seconds_total{certainty=\"certain\"}", 1.5),
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
async fn the_page_names_every_door_and_loads_nothing() {
    let bridge = Bridge::start().await;
    let page = bridge.get("/").await;
    assert_eq!(page.code, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let links: Vec<&str> = page.body.split("href=\"").skip(1).collect();
    assert_eq!(links.len(), 5);
    for link in links {
        let path = link.split('"').next().unwrap();
        assert_eq!(bridge.get(path).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_key_and_the_fix() {
    let taken = admin::bind(&loopback(0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = admin::bind(&loopback(port)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "admin.listen = \"127.0.0.1:{port}\" is taken by another process; \
             stop that process, or set admin.listen to a free port (port 0 takes any)"
        )
    );
    assert_eq!(error.mistake.key, "listen");
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
    Config { listen: SocketAddr::from(([127, 0, 0, 1], port)) }
}

impl Bridge {
    /// Doors on a free port, that show a bridge which is well.
    pub(crate) async fn start() -> Self {
        let clock = Clock::start();
        let (sender, receiver) = watch::channel(Arc::new(well(clock)));
        let doors =
            Doors { metrics: Arc::new(Metrics::new("0.1.0", &["kafka"])), status: receiver, clock };
        let listener = admin::bind(&loopback(0)).await.unwrap();
        let bridge = Self {
            address: listener.local_addr().unwrap(),
            doors: doors.clone(),
            status: sender,
            shutdown: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        tasks.spawn(admin::serve(listener, doors, bridge.shutdown.clone()));
        bridge
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let text = tokio::time::timeout(Duration::from_secs(20), exchange).await;
        Answer::parse(&text.unwrap())
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.code, 200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
        Scrape(answer.body)
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
        state: "live",
        since: ago(300),
        last_frame: Some(ago(5)),
        last_event: Some(ago(40)),
        retry_at: None,
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
