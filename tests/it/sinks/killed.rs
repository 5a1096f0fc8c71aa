//! The process itself, killed with a window in flight into a live broker, and its successor: each event once, numbers without a hole.

use super::Stored;
use crate::books::Held;
use crate::harness::{Stand, brisk, eventually};
use crate::journal::{each_once, epochs, is_all_among, sent_within, surely_read};
use crate::servers::Server;
use serde_json::{Value, json};
use tieline_sim::Options;

/// A stand whose one sink is still to be configured.
pub(super) async fn stand() -> Stand {
    let mut stand = Stand::new(Options { rate: 600.0, ..brisk() }).await;
    stand.config.unset("sink.jsonl");
    stand
}

/// Kills it again and again: while the broker hangs, so that all that was sent has no answer, and goes on only when the successor asks,
/// or before; and while all goes well.
pub(super) async fn each_event_is_there_once(
    stand: &Stand,
    server: &Server,
    read: impl AsyncFn() -> Vec<Stored>,
) {
    let mut bridge = stand.ready().await;
    let mut lives = Vec::new();
    for kill in 0..4 {
        let from = stand.state().await["time"].as_str().unwrap().to_owned();
        stand.emits(100).await;
        let hangs = kill < 2;
        if hangs {
            server.signal("STOP");
            let waits = |state: &Value| state["sinks"][0]["waiting_events"].as_u64() >= Some(200);
            bridge.state("a window is in flight", waits).await;
        }
        lives.push((from, surely_read(stand, &bridge).await));
        bridge.signal("KILL").await;
        bridge.ended().await;
        if kill == 0 {
            bridge = stand.start().await;
            server.signal("CONT");
        } else {
            if hangs {
                server.signal("CONT");
            }
            bridge = stand.start().await;
        }
        bridge.ready().await;
    }
    // A reader comes to the end of what is committed only where nothing is added all the time.
    stand.control("traffic", json!({"state": "pause"})).await;
    let due = sent_within(stand, &lives);
    let held = eventually("the broker holds all that was received", async || {
        let held: Vec<Held> = read().await.iter().map(held).collect();
        is_all_among(&due, &held).then_some(held)
    })
    .await;
    each_once(&held);
    assert_eq!(epochs(&held), 1, "the epoch goes on");
    bridge.finish(stand).await;
    let held: Vec<Held> = read().await.iter().map(self::held).collect();
    each_once(&held);
}

pub(super) fn held(stored: &Stored) -> Held {
    Held::of(|name| stored.attributes.get(name).cloned())
}
