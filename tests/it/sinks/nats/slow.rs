//! A server that is far away: everything takes its time, nothing is lost of it, and nothing is sent twice because of that.

use super::*;
use crate::books::Held;
use crate::harness::{Stand, brisk};
use crate::journal::each_once;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use tieline_sim::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How often anything passes, in each direction.
const BEAT: Duration = Duration::from_millis(150);

/// So much passes at each beat: for a while less than what comes meanwhile, before and after more than a window.
const NARROW: usize = 16 << 10;
/// See `NARROW`.
const WIDE: usize = 1 << 20;

/// What each message names, and what each acknowledgement does.
const MARKS: [&[u8]; 2] = [b"Nats-Msg-Id:", b"\"seq\":"];

/// A way to a server that lets through a bite at each beat.
struct Far {
    address: SocketAddr,
    /// How large a bite is.
    width: Arc<AtomicUsize>,
    passed: Arc<Mutex<Passed>>,
    _accepting: AbortOnDropHandle<()>,
}

/// What has come from the client, and what has gone back to it.
#[derive(Default)]
struct Passed {
    connections: usize,
    /// Messages to the server, and answers from it.
    counted: [usize; 2],
    most_in_flight: usize,
}

impl Far {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::<Mutex<Passed>>::default();
        let width = Arc::new(AtomicUsize::new(WIDE));
        let (tasks, shared, wide) = (TaskTracker::new(), passed.clone(), width.clone());
        let serving = tasks.clone();
        let accepting = tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let near = TcpStream::connect(server).await.unwrap();
                let (shared, wide) = (shared.clone(), wide.clone());
                serving.spawn(async move {
                    let (client, near) = (client.into_split(), near.into_split());
                    tokio::select! {
                        () = carry(client.0, near.1, 0, &wide, &shared) => {}
                        () = carry(near.0, client.1, 1, &wide, &shared) => {}
                    }
                });
            }
        });
        Self { address, width, passed, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

/// Carries bite after bite, and counts the marks of that direction.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    direction: usize,
    width: &AtomicUsize,
    passed: &Mutex<Passed>,
) {
    let mark = MARKS[direction];
    let (mut bite, mut rest) = (vec![0; WIDE], Vec::new());
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        let width = width.load(Ordering::Relaxed);
        let Ok(length @ 1..) = from.read(&mut bite[..width]).await else {
            return;
        };
        rest.extend_from_slice(&bite[..length]);
        let found = rest.windows(mark.len()).filter(|window| *window == mark).count();
        // A mark may lie across two bites.
        rest.drain(..rest.len().saturating_sub(mark.len() - 1));
        {
            let mut passed = passed.lock().unwrap();
            passed.counted[direction] += found;
            let in_flight = passed.counted[0].saturating_sub(passed.counted[1]);
            passed.most_in_flight = passed.most_in_flight.max(in_flight);
        }
        if to.write_all(&bite[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_costs_time_and_nothing_else() {
    let place = Binary::new();
    let server = place.url().rsplit('/').next().unwrap().parse().unwrap();
    let far = Far::to(server).await;
    let mut stand = Stand::new(Options { rate: 600.0, ..brisk() }).await;
    stand.config.set("sink.nats.url", format!("nats://{}", far.address));
    stand.config.set("sink.nats.stream", &*place.name);
    stand.config.set("sink.nats.subject", format!("{}.{{family}}.{{key}}", place.name));
    stand.config.set("lifecycle.dead_after", "20s");
    let bridge = stand.ready().await;
    far.width.store(NARROW, Ordering::Relaxed);
    let waiting = |state: &Value| {
        let sinks = state["sinks"].as_array().unwrap();
        let nats = sinks.iter().find(|sink| sink["name"] == "nats").unwrap();
        nats["waiting_events"].as_u64().unwrap()
    };
    bridge.state("more waits than the window holds", |state| waiting(state) > 600).await;
    far.width.store(WIDE, Ordering::Relaxed);
    stand.emits(100).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    bridge.state("all of it is acknowledged", |state| waiting(state) == 0).await;
    let (_, metrics) = bridge.read("/metrics").await;
    let log = bridge.finish(&stand).await;
    assert!(!log.contains("sink_failed"), "it is slow, and not dead: {log}");

    let stored: Vec<Held> = place.read().await.iter().map(killed::held).collect();
    each_once(&stored);
    let ids = |held: &[Held]| held.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&stored), ids(&stand.held()), "what the file holds");
    let passed = far.passed.lock().unwrap();
    assert_eq!(passed.counted[0], stored.len(), "each of them was sent once");
    // How many of them are under way at once, the system's buffers decide too.
    assert!((2..=256).contains(&passed.most_in_flight), "{}", passed.most_in_flight);
    assert_eq!(passed.connections, 2, "one that asks for the guarantee, one that is used");

    let figure = |name: &str| -> f64 {
        let series = format!("tieline_acknowledgement_seconds_{name}{{sink=\"nats\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {series}: {metrics}")).parse().unwrap()
    };
    let mean = figure("sum") / figure("count");
    assert!(mean >= BEAT.as_secs_f64(), "the delay is shown: {mean}");
}
