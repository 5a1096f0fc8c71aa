//! What the platform forbids is not asked for again and again: the process stays up, says why it is not ready, and looks again at
//! once when the secret or the choice of topics has changed.

use crate::books;
use crate::harness::{Bridge, Stand, brisk, topics_of};
use serde_json::{Value, json};

/// No test waits so long: what is forbidden is allowed again by hand.
const LONG: u64 = 600_000;

/// How soon what is parked is looked at again by itself.
const PARKED: f64 = 300.0;

async fn forbid(stand: &Stand) {
    let refusal = json!({"what": "rest", "status": 403, "code": "not.authorized", "for_ms": LONG});
    stand.control("throttle", refusal).await;
}

/// The youngest throttle is the one that holds, and this one refuses nothing.
async fn allow(stand: &Stand) {
    stand.control("throttle", json!({"what": "rest", "delay_ms": 1, "for_ms": LONG})).await;
}

fn ids(stand: &Stand) -> Vec<String> {
    stand.sim.queues().iter().map(|queue| queue.id.clone()).collect()
}

/// Alive, and not to be woken by a timer within this test.
async fn assert_parked(bridge: &Bridge, told: &Value) {
    assert_eq!(told["reason"], "forbidden", "{told}");
    assert!(told["retry_in_seconds"].as_f64().unwrap() >= PARKED, "{told}");
    assert_eq!(bridge.get("/healthz").await, (200, json!({"alive": true})));
    assert_eq!(bridge.get("/readyz").await.0, 503);
}

/// It is live now: what comes from here on is delivered, and what was never covered before is no gap.
async fn lives(stand: Stand, bridge: Bridge, topics: &[String]) {
    bridge.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all_of(topics, since).await;
    assert!(bridge.gaps().await.is_empty(), "{}", bridge.log());
    bridge.finish(&stand).await;
    let (journal, held) = (stand.sim.journal(), stand.held());
    let of_topics = held.into_iter().filter(|event| topics.contains(&event.topic));
    let held: Vec<_> = of_topics.collect();
    books::judge(&journal, topics, &held, &[], since).assert_seamless();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_open_channels_is_parked_and_a_fresh_secret_wakes_it() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("genesys.queues", ids(&stand));
    forbid(&stand).await;
    let bridge = stand.start().await;
    bridge.unready(&["shard 0 is not subscribed", "403"]).await;
    let words = ["\"event\":\"retry_scheduled\"", "\"forbidden\""];
    let parked = bridge.line(&words).await;
    assert_eq!((&parked["level"], &parked["answer"]), (&json!("ERROR"), &json!("park")));
    assert_parked(&bridge, &parked).await;

    // It is looked at again, refused again, and rests again.
    let secret = stand.rotate().await;
    stand.config.write_secret(&secret);
    let parked = bridge.lines(&words, 2).await.remove(1);
    assert_parked(&bridge, &parked).await;

    allow(&stand).await;
    let secret = stand.rotate().await;
    stand.config.write_secret(&secret);
    bridge.ready().await;
    assert_eq!(bridge.count(&["\"event\":\"retry_scheduled\""]), 2, "{}", bridge.log());
    let topics = stand.config.topics(&stand.sim);
    lives(stand, bridge, &topics).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_queues_in_the_configuration_wake_a_parked_shard() {
    let mut stand = Stand::new(brisk()).await;
    let queues = ids(&stand);
    stand.config.set("genesys.queues", queues[..1].to_vec());
    forbid(&stand).await;
    let bridge = stand.start().await;
    let parked = bridge.line(&["\"event\":\"retry_scheduled\"", "\"forbidden\""]).await;
    bridge.unready(&["shard 0 is not subscribed", "403"]).await;
    assert_parked(&bridge, &parked).await;

    allow(&stand).await;
    stand.config.set("genesys.queues", queues[..2].to_vec());
    stand.config.write();
    bridge.signal("HUP").await;
    let topics: Vec<String> = queues[..2].iter().flat_map(|queue| topics_of(queue)).collect();
    lives(stand, bridge, &topics).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_list_queues_is_parked_and_a_reload_or_a_fresh_secret_wakes_it() {
    let mut stand = Stand::new(brisk()).await;
    forbid(&stand).await;
    let bridge = stand.start().await;
    let words = ["\"event\":\"plan_refused\"", "\"forbidden\""];
    let parked = bridge.line(&words).await;
    bridge.unready(&["not subscribed yet", "403"]).await;
    assert_parked(&bridge, &parked).await;

    let one = ["v2.routing.queues.{id}.conversations".to_owned()];
    stand.config.set("genesys.topics", one.to_vec());
    stand.config.write();
    bridge.signal("HUP").await;
    let parked = bridge.lines(&words, 2).await.remove(1);
    assert_parked(&bridge, &parked).await;

    allow(&stand).await;
    let secret = stand.rotate().await;
    stand.config.write_secret(&secret);
    let topics: Vec<String> =
        ids(&stand).iter().map(|queue| one[0].replace("{id}", queue)).collect();
    lives(stand, bridge, &topics).await;
}
