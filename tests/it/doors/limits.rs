//! Who wants too much: bodies, heads, connections, watchers.

use super::*;

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
