//! How many frames of 900 bytes one core can write to one socket: the simulator must never be the
//! bottleneck of a measurement. The reader only counts bytes.
//!
//! `cargo bench -p tieline-sim` prints one line of JSON; `FRAMES=n` says how many.

#![expect(clippy::expect_used, reason = "a benchmark that cannot run says why and ends")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_sim::{Options, Sim};

/// Four bytes of head and 900 of text.
const FRAME: u64 = 904;

fn main() {
    let frames = std::env::var("FRAMES").map_or(2_000_000, |text| text.parse().expect("FRAMES"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = Options { rate: 0.0, blast: Some(frames), ..Options::default() };
    let sim = runtime.block_on(Sim::start(options)).expect("a simulator");
    let (address, id, secret, queue) = (
        sim.api_url().replace("http://", ""),
        sim.client_id().to_owned(),
        sim.client_secret().to_owned(),
        sim.queues()[0].id.clone(),
    );
    let reader = std::thread::spawn(move || {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let token = ask(&address, "POST /oauth/token", "", &form);
        let token = token["access_token"].as_str().expect("a token").to_owned();
        let channel = ask(&address, "POST /api/v2/notifications/channels", &token, "");
        let channel = channel["id"].as_str().expect("a channel").to_owned();
        let topics = format!("[{{\"id\":\"v2.routing.queues.{queue}.conversations\"}}]");
        let path = format!("PUT /api/v2/notifications/channels/{channel}/subscriptions");
        ask(&address, &path, &token, &topics);
        read(&address, &channel, frames)
    });
    runtime.block_on(async {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while !reader.is_finished() {
            tick.tick().await;
        }
    });
    let took = reader.join().expect("the reader");
    report(frames, took);
}

/// One request on a connection of its own.
fn ask(address: &str, line: &str, token: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!(
        "{line} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    let body = reply.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).expect("JSON")
}

/// Reads all frames and answers how long that took.
fn read(address: &str, channel: &str, frames: u64) -> Duration {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!(
        "GET /channels/{channel} HTTP/1.1\r\nhost: sim\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut buffer = vec![0; 1 << 20];
    // The head of the reply comes with the first bytes and is too short to count.
    let mut left = frames * FRAME;
    let began = Instant::now();
    while left > 0 {
        let count = stream.read(&mut buffer).expect("frames");
        assert!(count > 0, "the simulator hung up {left} bytes early");
        left = left.saturating_sub(count as u64);
    }
    began.elapsed()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(frames: u64, took: Duration) {
    let line = json!({
        "frames": frames,
        "bytes_per_frame": 900,
        "seconds": took.as_secs_f64(),
        "frames_per_second": (frames as f64 / took.as_secs_f64()).round(),
    });
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}
