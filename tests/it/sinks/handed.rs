//! A handover of the process itself before a live broker: each event once, numbers without a hole, one epoch.

use super::Stored;
use crate::books::Held;
use crate::harness::{Bridge, Stand, eventually, tieline};
use crate::journal::{each_once, epochs, is_all_among};

/// Hands over three times under traffic.
pub(super) async fn each_event_is_there_once(stand: &Stand, read: impl AsyncFn() -> Vec<Stored>) {
    let mut bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    for _ in 0..3 {
        stand.emits(200).await;
        let mut next = Bridge::launch(tieline(&stand.config, &["--handover"]));
        next.line(&["\"event\":\"took_over\""]).await;
        next.doors().await;
        let (code, log) = bridge.ended().await;
        assert_eq!(code, Some(0), "{log}");
        bridge = next;
        bridge.ready().await;
    }
    stand.emits(200).await;
    stand.control("traffic", serde_json::json!({"state": "pause"})).await;
    let journal = stand.sim.journal();
    let topics = stand.config.topics(&stand.sim);
    let due = journal.emissions.iter();
    let due = due.filter(|one| one.number >= since && topics.contains(&one.topic));
    let due: Vec<(String, String)> =
        due.map(|one| (one.topic.clone(), one.correlation_id.clone())).collect();
    // One partition after the other is read, and the last event may be found before those of a partition that was read before.
    let held = eventually("the broker holds all that was sent", async || {
        let held: Vec<Held> = read().await.iter().map(super::killed::held).collect();
        is_all_among(&due, &held).then_some(held)
    })
    .await;
    each_once(&held);
    assert_eq!(epochs(&held), 1, "the epoch goes on");
    assert!(bridge.gaps().await.is_empty());
    bridge.finish(stand).await;
}
