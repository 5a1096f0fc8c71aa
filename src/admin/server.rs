//! Serves the doors within limits: how many connections, how long a request may take to arrive, how slowly an answer may be read,
//! how long a connection may live.
//!
//! A connection too many takes the place of the oldest that streams nothing: a crowd that only holds connections keeps nobody out.

use super::entrance::Entrance;
use super::guard::Guard;
use super::keys::{Files, Keys};
use super::watch::{WATCHERS_MAX, Watchers};
use super::{Doors, pages};
use crate::observation::Observation;
use crate::telemetry::Telemetry;
use axum::Router;
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failed accept (out of file descriptors) the next attempt waits, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often token and certificate are read again.
const KEYS_EVERY: Duration = Duration::from_secs(10);

/// What one client, or many, may take of us.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How many connections at once; more than may watch.
    connections: usize,
    /// How long a request may take to arrive, a TLS handshake may take, and a connection may be idle.
    header: Duration,
    /// The size of a request's head.
    header_bytes: usize,
    /// How long an answer may wait for its reader.
    write: Duration,
    /// How long a connection may live; what it has in hand is answered.
    connection: Duration,
    /// How long a stream may go on beyond that.
    stream: Duration,
    /// How long an answer in hand may still take at the end of the process.
    finish: Duration,
}

/// Room for a few scrapers, probes and people; hyper's smallest buffer is 8 KiB.
const LIMITS: Limits = Limits {
    connections: 64 + WATCHERS_MAX,
    header: Duration::from_secs(10),
    header_bytes: 16 * 1024,
    write: Duration::from_secs(10),
    connection: Duration::from_secs(300),
    stream: Duration::from_secs(3600),
    finish: Duration::from_secs(2),
};

/// What is known of a connection besides its bytes; in its requests' extensions.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicBool);

impl Life {
    /// From now on it carries a stream, or no longer.
    pub(super) fn streams(&self, streams: bool) {
        self.0.store(streams, Ordering::Relaxed);
    }
}

/// A connection, as the one who lets them in knows it.
#[derive(Debug)]
struct Guest {
    /// Cancelled when it leaves, or must.
    leave: CancellationToken,
    life: Arc<Life>,
}

/// Answers at `entrance` until `shutdown`, then finishes what is in hand.
pub async fn serve(entrance: Entrance, doors: Doors, shutdown: CancellationToken) {
    serve_within(LIMITS, entrance, doors, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    entrance: Entrance,
    doors: Doors,
    shutdown: CancellationToken,
) {
    let Entrance { listener, config, files, keys } = entrance;
    let telemetry = Telemetry::new(Arc::clone(&doors.metrics));
    if config.is_open() {
        telemetry.record(&Observation::DoorsUnguarded { address: config.listen });
    }
    let (show, keys) = watch::channel(Arc::new(keys));
    let guard = Guard::new(&config, keys.clone());
    let watchers = Watchers::new(shutdown.clone());
    let router = pages::router(doors, watchers, guard);
    let house = House { limits, router, keys, telemetry, shutdown };
    let connections = TaskTracker::new();
    if !files.are_none() {
        let (telemetry, shutdown) = (house.telemetry.clone(), house.shutdown.clone());
        connections.spawn(async move {
            let renewing = async {
                // Keys that are renewed no more would end the doors one day: after a panic it begins again.
                loop {
                    noticed(&telemetry, renew(&files, &show, &telemetry)).await;
                    tokio::time::sleep(KEYS_EVERY).await;
                }
            };
            shutdown.run_until_cancelled(renewing).await
        });
    }
    let mut guests = VecDeque::new();
    while let Some(stream) = house.shutdown.run_until_cancelled(accept(&listener)).await {
        let Some((leave, life)) = seat(&mut guests, limits.connections) else {
            continue;
        };
        let house = house.clone();
        connections.spawn(async move {
            let telemetry = house.telemetry.clone();
            let attended = leave.run_until_cancelled(house.receive(stream, life));
            noticed(&telemetry, attended).await;
            leave.cancel();
        });
    }
    connections.close();
    connections.wait().await;
}

/// Runs a task to its end; a panic in it is told and counted, and costs nobody else anything.
async fn noticed<T>(telemetry: &Telemetry, task: impl Future<Output = T>) {
    // Whatever the task has left half done goes with it: it shares only what others replace as a whole.
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        let detail = words.unwrap_or_else(|| "it left no words".to_owned());
        telemetry.record(&Observation::DoorPanicked { detail });
    }
}

/// Reads the keys again and again; what cannot be used is told once, and changes nothing.
async fn renew(files: &Files, keys: &watch::Sender<Arc<Keys>>, telemetry: &Telemetry) {
    let mut told = None;
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        match files.read() {
            Ok(fresh) => {
                told = None;
                keys.send_replace(Arc::new(fresh));
            }
            Err(error) => {
                let detail = format!("admin.{}: {error}", error.key);
                if told.as_ref() != Some(&detail) {
                    telemetry.record(&Observation::DoorKeyUnusable { detail: detail.clone() });
                }
                told = Some(detail);
            }
        }
    }
}

/// A place for one more; where there is none, the oldest guest that carries no stream must leave.
fn seat(guests: &mut VecDeque<Guest>, most: usize) -> Option<(CancellationToken, Arc<Life>)> {
    guests.retain(|guest| !guest.leave.is_cancelled());
    if guests.len() >= most {
        let oldest = guests.iter().position(|guest| !guest.life.0.load(Ordering::Relaxed))?;
        guests.remove(oldest)?.leave.cancel();
    }
    let (leave, life) = (CancellationToken::new(), Arc::new(Life::default()));
    guests.push_back(Guest { leave: leave.clone(), life: Arc::clone(&life) });
    Some((leave, life))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// What every connection needs.
#[derive(Clone, Debug)]
struct House {
    limits: Limits,
    router: Router,
    keys: watch::Receiver<Arc<Keys>>,
    telemetry: Telemetry,
    shutdown: CancellationToken,
}

impl House {
    /// One connection, from its handshake to its end.
    async fn receive(self, stream: TcpStream, life: Arc<Life>) {
        // Small answers should not wait for more.
        stream.set_nodelay(true).ok();
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write));
        let stream = Box::pin(stream);
        let tls = self.keys.borrow().tls.clone();
        let Some(tls) = tls else {
            return self.attend(stream, life).await;
        };
        let handshake = TlsAcceptor::from(tls).accept(stream);
        // How a client leaves is its own affair: errors of a connection are nobody's business but its peer's.
        if let Ok(Ok(stream)) = tokio::time::timeout(self.limits.header, handshake).await {
            self.attend(stream, life).await;
        }
    }

    /// One connection, from its first request to its end.
    async fn attend(self, stream: impl AsyncRead + AsyncWrite + Unpin, life: Arc<Life>) {
        let Self { limits, router, shutdown, .. } = self;
        let router = TowerToHyperService::new(router);
        let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
            request.extensions_mut().insert(Arc::clone(&life));
            router.call(request)
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header)
                .max_buf_size(limits.header_bytes)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            _ = connection.as_mut() => return,
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(limits.connection) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(limits.stream) => return,
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        drop(tokio::time::timeout(limits.finish, connection).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Config, open};
    use crate::bridge::Tap;
    use crate::bridge::status::Status;
    use crate::clock::Clock;
    use crate::telemetry::metrics::Metrics;
    use crate::time::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Longer than any answer takes on a busy machine; only a failing test waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn doors() -> Doors {
        let started = Timestamp::default();
        let status = Status::new("1.2.3", "", started, Duration::from_secs(35));
        Doors {
            metrics: Arc::new(Metrics::new("1.2.3", &[])),
            status: watch::channel(Arc::new(status)).1,
            tap: Tap::default(),
            clock: Clock::start(),
        }
    }

    struct Served {
        address: std::net::SocketAddr,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    }

    async fn served(limits: Limits) -> Served {
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            token_file: None,
            tls_cert: None,
            tls_key: None,
            hosts: Vec::new(),
            allow_insecure: false,
        };
        let entrance = open(&config).await.unwrap();
        let served = Served {
            address: entrance.address().unwrap(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let shutdown = served.shutdown.clone();
        served.tasks.spawn(serve_within(limits, entrance, doors(), shutdown));
        served.tasks.close();
        served
    }

    impl Served {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    /// All that is said until the other side closes.
    async fn all_of(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let reading = stream.read_to_end(&mut text);
        // A reset after the answer is a close too.
        let end = tokio::time::timeout(PATIENCE, reading).await.unwrap();
        assert!(end.is_ok() || !text.is_empty());
        String::from_utf8(text).unwrap()
    }

    /// The first line of an answer, whose head is then read.
    async fn head_of(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
            text.push(byte.unwrap().unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_door_that_panics_is_told_counted_and_nobody_elses_end() {
        async fn broken() -> &'static str {
            panic!("as the test wants it")
        }
        let metrics = Arc::new(Metrics::new("1.2.3", &[]));
        let house = House {
            limits: LIMITS,
            router: Router::new().route("/", axum::routing::get(broken)),
            keys: watch::channel(Arc::new(Keys::default())).1,
            telemetry: Telemetry::new(Arc::clone(&metrics)),
            shutdown: CancellationToken::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let telemetry = house.telemetry.clone();
        noticed(&telemetry, house.receive(stream, Arc::default())).await;
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text.contains("tieline_door_panics_total 1"), "{text}");
    }

    #[tokio::test]
    async fn a_request_that_does_not_arrive_is_let_go() {
        let header = Duration::from_millis(50);
        let served = served(Limits { header, ..LIMITS }).await;
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
        assert_eq!(all_of(stream).await, "");
    }

    #[tokio::test]
    async fn a_connection_too_many_takes_the_place_of_the_oldest() {
        let served = served(Limits { connections: 2, ..LIMITS }).await;
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let oldest = served.connect().await;
        let mut second = served.connect().await;
        let mut third = served.connect().await;
        assert_eq!(all_of(oldest).await, "");
        for stream in [&mut second, &mut third] {
            stream.write_all(request).await.unwrap();
            assert_eq!(head_of(stream).await, "HTTP/1.1 200 OK");
        }
    }

    #[tokio::test]
    async fn a_watcher_is_not_driven_out_by_a_crowd() {
        let served = served(Limits { connections: 2, ..LIMITS }).await;
        let mut watcher = served.connect().await;
        let request = b"GET /api/v1/tap HTTP/1.1\r\nHost: localhost\r\n\r\n";
        watcher.write_all(request).await.unwrap();
        assert_eq!(head_of(&mut watcher).await, "HTTP/1.1 200 OK");
        let mut crowd = Vec::new();
        for _ in 0..8 {
            crowd.push(served.connect().await);
        }
        let mut last = served.connect().await;
        last.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(head_of(&mut last).await, "HTTP/1.1 200 OK");
        drop(crowd);
        served.shutdown.cancel();
        assert!(all_of(watcher).await.contains(": watching"), "it was told so, and not cut off");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_let_go() {
        let write = Duration::from_millis(100);
        let served = served(Limits { write, ..LIMITS }).await;
        let mut stream = served.connect().await;
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        // More answers than the system's buffers hold, and none of them is read.
        let asked = async {
            loop {
                if stream.write_all(request).await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("it waits for its reader for ever");
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let served = served(LIMITS).await;
        let mut stream = served.connect().await;
        let request = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        stream.write_all(request.as_bytes()).await.unwrap();
        let line = head_of(&mut stream).await;
        assert!(line.starts_with("HTTP/1.1 431 "), "{line}");
    }

    #[tokio::test]
    async fn a_connection_does_not_live_for_ever() {
        let connection = Duration::from_millis(50);
        let served = served(Limits { connection, ..LIMITS }).await;
        assert_eq!(all_of(served.connect().await).await, "");
    }

    #[tokio::test]
    async fn shutdown_waits_for_no_idle_client() {
        let served = served(LIMITS).await;
        let mut stream = served.connect().await;
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        head_of(&mut stream).await;
        served.shutdown.cancel();
        tokio::time::timeout(PATIENCE, served.tasks.wait()).await.unwrap();
    }
}
