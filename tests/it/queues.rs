//! Queues that come and go while the process runs: they join and leave on the live socket, and those that stay lose nothing.

use crate::books::{self, Verdict};
use crate::harness::{Bridge, Stand, brisk, topics_of};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_are_chosen_anew_join_by_post_and_leave_by_put() {
    let mut stand = Stand::new(brisk()).await;
    let queues = ids(&stand);
    stand.config.set("genesys.queues", vec![queues[0].clone()]);
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    for chosen in [vec![0, 1], vec![0, 1, 2], vec![0, 2], vec![0]] {
        let chosen: Vec<String> = chosen.into_iter().map(|place| queues[place].clone()).collect();
        let count = 3 * chosen.len();
        stand.config.set("genesys.queues", chosen);
        stand.config.write();
        bridge.signal("HUP").await;
        carries(&bridge, count).await;
        stand.emits(60).await;
    }
    let changes = [("PUT", 3, 3), ("POST", 3, 6), ("POST", 3, 9), ("PUT", 6, 6), ("PUT", 3, 3)];
    ended(stand, bridge, &queues[..1], &queues[1..], since, &changes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_the_platform_makes_and_deletes_join_by_post_and_leave_by_put() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.queues_refresh", "500ms");
    let queues = ids(&stand);
    stand.control("queues", json!({"hidden": queues[1..]})).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    for hidden in [&queues[2..], &[], &queues[1..2], &queues[1..]] {
        stand.control("queues", json!({"hidden": hidden})).await;
        carries(&bridge, 3 * (queues.len() - hidden.len())).await;
        stand.emits(60).await;
    }
    let changes = [("PUT", 3, 3), ("POST", 3, 6), ("POST", 3, 9), ("PUT", 6, 6), ("PUT", 3, 3)];
    ended(stand, bridge, &queues[..1], &queues[1..], since, &changes).await;
}

fn ids(stand: &Stand) -> Vec<String> {
    stand.sim.queues().iter().map(|queue| queue.id.clone()).collect()
}

/// Waits until so many topics are heard.
async fn carries(bridge: &Bridge, count: usize) {
    let is_so = |state: &Value| state["topics"]["permitted"] == count;
    bridge.state(&format!("{count} topics are heard"), is_so).await;
}

/// The books of the queues that stayed, and of what was sent of the others; one socket, and exactly these changes of its topics: how
/// each was asked for, how many topics it named, and how many there were since.
async fn ended(
    stand: Stand,
    bridge: Bridge,
    stayed: &[String],
    changed: &[String],
    since: u64,
    changes: &[(&str, usize, usize)],
) {
    let topics = |queues: &[String]| queues.iter().flat_map(|id| topics_of(id)).collect::<Vec<_>>();
    let (stayed, changed) = (topics(stayed), topics(changed));
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all_of(&stayed, since).await;
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    let journal = stand.sim.journal();
    assert_eq!(journal.sessions.len(), 1, "a session was dropped");
    let made = journal.subscriptions.iter();
    let made: Vec<_> = made.map(|one| (one.method.as_str(), one.named, one.topics)).collect();
    assert_eq!(made, changes);
    let judged = |held| -> Verdict {
        books::judge_changing(&journal, &stayed, &changed, held, &gaps, since)
    };
    judged(&stand.held()).assert_seamless();
    let unsent = journal.emissions.iter().filter(|one| {
        let is_sent = journal.deliveries.iter().any(|sent| sent.number == one.number);
        one.number >= since && stayed.contains(&one.topic) && !is_sent
    });
    assert_eq!(unsent.count(), 0, "the simulator did not send what was subscribed to");
}
