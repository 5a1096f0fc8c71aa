//! A handover of the process itself before a live broker: each event once, numbers without a hole, one epoch.

use super::Stored;
use crate::books::Held;
use crate::harness::{Bridge, Stand, eventually, tieline};
use crate::journal::{each_once, epochs};

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
    let last = journal.emissions.iter().rfind(|one| topics.contains(&one.topic)).unwrap();
    let held = eventually("the broker holds the last event", async || {
        let held: Vec<Held> = read().await.iter().map(super::killed::held).collect();
        held.iter().any(|event| event.correlation_id == last.correlation_id).then_some(held)
    })
    .await;
    each_once(&held);
    assert_eq!(epochs(&held), 1, "the epoch goes on");
    for one in
        journal.emissions.iter().filter(|one| one.number >= since && topics.contains(&one.topic))
    {
        assert!(
            held.iter().any(|event| event.correlation_id == one.correlation_id),
            "{one:?} is lost"
        );
    }
    assert!(bridge.gaps().await.is_empty());
    bridge.finish(stand).await;
}
