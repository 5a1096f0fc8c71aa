//! Serves the doors within limits: how many connections, how long a request may take to arrive, how long a connection may live.

use super::{Doors, pages};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failed accept (out of file descriptors) the next attempt waits, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client, or many, may take of us.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How many connections at once; more wait in the listener's backlog.
    connections: usize,
    /// How long a request may take to arrive, and how long a connection may be idle.
    header: Duration,
    /// The size of a request's head.
    header_bytes: usize,
    /// How long a connection may live; what it has in hand is answered.
    connection: Duration,
    /// How long an answer in hand may still take, at the end of a connection or of the process.
    finish: Duration,
}

/// Room for a few scrapers, probes and people; hyper's smallest buffer is 8 KiB.
const LIMITS: Limits = Limits {
    connections: 64,
    header: Duration::from_secs(10),
    header_bytes: 16 * 1024,
    connection: Duration::from_secs(300),
    finish: Duration::from_secs(2),
};

/// Answers on `listener` until `shutdown`, then finishes what is in hand.
pub async fn serve(listener: TcpListener, doors: Doors, shutdown: CancellationToken) {
    serve_within(LIMITS, listener, doors, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    doors: Doors,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(pages::router(doors));
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    while let Some((stream, place)) = shutdown.run_until_cancelled(accept(&listener, &room)).await {
        let (service, shutdown) = (service.clone(), shutdown.clone());
        connections.spawn(async move {
            attend(limits, stream, service, shutdown).await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

/// The next connection, when there is room for one.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit.
    let place = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection, from its first request to its end.
async fn attend(
    limits: Limits,
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    shutdown: CancellationToken,
) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service)
    );
    let over = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(limits.connection) => {}
        }
    };
    // How a client leaves is its own affair: errors of a connection are nobody's business but its peer's.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = over => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(limits.finish, connection).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::status::Status;
    use crate::clock::Clock;
    use crate::telemetry::metrics::Metrics;
    use crate::time::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::watch;

    /// Longer than any answer takes on a busy machine; only a failing test waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// What `/healthz` answers.
    const BODY: &str = r#"{"alive":true}"#;

    fn doors() -> Doors {
        let started = Timestamp::default();
        let status = Status::new("1.2.3", "", started, Duration::from_secs(35));
        Doors {
            metrics: Arc::new(Metrics::new("1.2.3", &[])),
            status: watch::channel(Arc::new(status)).1,
            clock: Clock::start(),
        }
    }

    struct Served {
        address: std::net::SocketAddr,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    }

    async fn served(limits: Limits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = Served {
            address: listener.local_addr().unwrap(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let shutdown = served.shutdown.clone();
        served.tasks.spawn(serve_within(limits, listener, doors(), shutdown));
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
    async fn a_request_that_does_not_arrive_is_let_go() {
        let header = Duration::from_millis(50);
        let served = served(Limits { header, ..LIMITS }).await;
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
        assert_eq!(all_of(stream).await, "");
    }

    #[tokio::test]
    async fn a_connection_too_many_waits_until_another_leaves() {
        let served = served(Limits { connections: 1, ..LIMITS }).await;
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut first = served.connect().await;
        let mut second = served.connect().await;
        second.write_all(request).await.unwrap();
        // Two answers on the first connection: time enough to have answered the second.
        for _ in 0..2 {
            first.write_all(request).await.unwrap();
            assert_eq!(head_of(&mut first).await, "HTTP/1.1 200 OK");
            first.read_exact(&mut [0; BODY.len()]).await.unwrap();
        }
        let early = second.try_read(&mut [0; 1]);
        assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(first);
        assert_eq!(head_of(&mut second).await, "HTTP/1.1 200 OK");
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
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        head_of(&mut stream).await;
        served.shutdown.cancel();
        tokio::time::timeout(PATIENCE, served.tasks.wait()).await.unwrap();
    }
}
