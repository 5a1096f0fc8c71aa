//! Topics that come and go, and two legs, in the real process under traffic.

use crate::books;
use crate::harness::{Bridge, Stand, brisk, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_joins_and_one_that_leaves_cost_a_post_and_a_put_and_nothing_else() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.queues_refresh", "1s");
    let ids: Vec<String> = stand.sim.queues().iter().map(|queue| queue.id.clone()).collect();
    let [leaves, stays @ .., joins] = ids.as_slice() else { panic!("{ids:?}") };
    stand.control("queues", json!({"hidden": [joins]})).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    stand.control("queues", json!({"hidden": []})).await;
    bridge.line(&["\"event\":\"topics_amended\"", "\"added\":3", "\"removed\":0"]).await;
    stand.emits(60).await;
    stand.control("queues", json!({"hidden": [leaves]})).await;
    bridge.line(&["\"event\":\"topics_amended\"", "\"added\":0", "\"removed\":3"]).await;
    stand.emits(60).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    // What was sent is what there was to hear; a queue that stays was heard all the time.
    let mut journal = stand.sim.journal();
    let sent: std::collections::HashSet<u64> =
        journal.deliveries.iter().map(|delivery| delivery.number).collect();
    let is_of = |topic: &str, ids: &[String]| ids.iter().any(|id| topic.contains(id.as_str()));
    for emission in journal.emissions.iter().filter(|one| one.number >= since) {
        let heard = sent.contains(&emission.number);
        assert!(heard || !is_of(&emission.topic, stays), "{emission:?} was not sent");
    }
    journal.emissions.retain(|emission| sent.contains(&emission.number));
    assert!(journal.emissions.iter().any(|one| one.topic.contains(joins)));
    let last = journal.emissions.last().map(|one| one.correlation_id.clone());
    eventually("the file holds the last notification", async || {
        let held = stand.held();
        held.iter().any(|event| Some(&event.correlation_id) == last.as_ref()).then_some(())
    })
    .await;
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    let topics = stand.config.topics(&stand.sim);
    books::judge(&journal, &topics, &stand.held(), &gaps, since).assert_seamless();
    assert_eq!(journal.sessions.len(), 1, "one socket from beginning to end");
    assert_eq!(stand.channels().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_leg_and_of_a_frame_on_one_leg_cost_nothing_and_are_no_gap() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.redundancy", 2);
    let bridge = stand.ready().await;
    both_live(&bridge).await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    // The youngest socket, and then the oldest.
    for (nth, channel) in ["#2", "#1"].into_iter().enumerate() {
        stand.control("close", json!({"mode": "rst", "channel": channel})).await;
        bridge.lines(&["\"event\":\"session_lost\""], nth + 1).await;
        stand.emits(30).await;
        both_live(&bridge).await;
    }
    for channel in ["#1", "#2"] {
        let missed = missed(&bridge).await;
        stand.control("disturb", json!({"what": "drop", "count": 1, "channel": channel})).await;
        eventually("the frame that a leg lacks is counted", async || {
            (self::missed(&bridge).await > missed).then_some(())
        })
        .await;
    }
    let (_, metrics) = bridge.read("/metrics").await;
    for leg in ["1", "2"] {
        let of_leg = |outcome: &str| sum(&metrics, &format!("leg=\"{leg}\",outcome=\"{outcome}\""));
        assert!(of_leg("won") + of_leg("followed") >= 60.0, "leg {leg} in\n{metrics}");
        assert!(of_leg("missed") >= 1.0, "leg {leg} in\n{metrics}");
    }
    assert!(sum_of(&metrics, "tieline_leg_lag_seconds_total") > 0.0);
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_seamless();
    assert_eq!(stand.channels().await, 2, "each leg keeps its channel");
}

/// Waits until both legs deliver.
async fn both_live(bridge: &Bridge) {
    bridge
        .state("both legs are live", |state| {
            let sessions = state["sessions"].as_array().unwrap();
            sessions.len() == 2 && sessions.iter().all(|session| session["state"] == "live")
        })
        .await;
}

async fn missed(bridge: &Bridge) -> f64 {
    sum(&bridge.read("/metrics").await.1, "outcome=\"missed\"")
}

fn sum(metrics: &str, label: &str) -> f64 {
    let of_label = metrics.lines().filter(|line| line.contains(label));
    sum_of(&of_label.collect::<Vec<_>>().join("\n"), "tieline_leg_sights_total")
}

fn sum_of(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
