//! Two legs for each shard: what one of them misses, or both at different times, costs nothing and is no gap.

use crate::harness::{Bridge, DEAD_AFTER, Stand, brisk};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Notifications of more than two `arbitration.hold` at the pace of `brisk`: so long a follower's beginning is in doubt (decision 0003).
const DOUBT: u64 = 80;

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_either_leg_lacks_costs_nothing() {
    let (stand, bridge, since) = begin("20s").await;
    for leg in ["#1", "#2", "#1", "#2"] {
        let dropped = stand.emitted().await;
        stand.control("disturb", json!({"what": "drop", "channel": leg, "count": 1})).await;
        let journal = stand.journal_with("one leg lacks a frame", |journal| {
            let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
            for delivery in journal.deliveries.iter().filter(|one| one.number + 20 > dropped) {
                *sent.entry(delivery.number).or_default() += 1;
            }
            // The other's frames are flushed by and by; what stood behind it is there from both.
            let alone = sent.iter().find(|(_, legs)| **legs == 1);
            alone.is_some_and(|(number, _)| sent.range(number + 20..).any(|(_, legs)| *legs == 2))
        });
        journal.await;
        stand.emits(DOUBT).await;
    }
    let sockets = stand.sim.journal().sessions.len();
    assert_eq!(sockets, 2, "a session was dropped");
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_is_cut_while_the_other_lives_is_no_gap() {
    let (stand, bridge, since) = begin(DEAD_AFTER).await;
    for (leg, call, mut fault) in [
        ("#1", "close", json!({"mode": "rst"})),
        ("#2", "close", json!({"mode": "code", "code": 1001})),
        ("#1", "silence", json!({})),
        ("#2", "half-open", json!({})),
        ("#1", "evict", json!({})),
    ] {
        let place = bridge.place();
        fault["channel"] = leg.into();
        stand.control(call, fault).await;
        bridge.line_behind(place, &["\"event\":\"session_lost\""]).await;
        both_live(&stand, &bridge).await;
        stand.emits(DOUBT).await;
    }
    assert!(stand.channels().await <= 3, "two legs, and one more for the spare or the evicted");
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_both_legs_costs_nothing() {
    let (stand, bridge, since) = begin("20s").await;
    for nth in 1..=3 {
        let secret = stand.rotate().await;
        stand.config.write_secret(&secret);
        // Two of each: one of each leg.
        crate::rotation::finished(&bridge, "secret", 2 * nth).await;
        both_live(&stand, &bridge).await;
        stand.emits(DOUBT).await;
    }
    assert!(stand.channels().await <= 3, "two legs and a spare");
    end(stand, bridge, since).await;
}

/// A process whose two legs are live, and the first emission that counts.
async fn begin(dead_after: &str) -> (Stand, Bridge, u64) {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.redundancy", 2);
    stand.config.set("lifecycle.dead_after", dead_after);
    // The log is searched at each line that comes.
    stand.config.set("log.level", "info");
    let bridge = stand.ready().await;
    both_live(&stand, &bridge).await;
    let since = stand.emitted().await + 1;
    stand.emits(DOUBT).await;
    (stand, bridge, since)
}

/// Waits until two sessions are live, and no others are there.
async fn both_live(stand: &Stand, bridge: &Bridge) {
    let now = stand.state().await["time"].as_str().map(crate::books::micros);
    let are_live = |state: &Value| {
        let sessions = state["sessions"].as_array().unwrap();
        let is_fresh = state["as_of"].as_str().map(crate::books::micros) > now;
        is_fresh && sessions.len() == 2 && sessions.iter().all(|one| one["state"] == "live")
    };
    bridge.state("both legs are live", are_live).await;
}

/// Nothing is lost, no gap is named, and no second copy goes out without its mark.
async fn end(stand: Stand, bridge: Bridge, since: u64) {
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept();
    assert!(verdict.gaps.is_empty() && verdict.missed.is_empty(), "{verdict:#?}");
}
