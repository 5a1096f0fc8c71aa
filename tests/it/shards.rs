//! Topics that need more than one channel: each shard lives and fails by itself, and more than fits is refused with the sum.

use crate::books::{self, Gap, Held};
use crate::harness::{Bridge, Rest, Stand, brisk, program, tieline, topics_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tieline_sim::Options;

/// Two topics of each queue that no combined one stands for: a channel has room for those of 500 queues.
const TOPICS: [&str; 2] =
    ["v2.routing.queues.{id}.conversations", "v2.analytics.queues.{id}.observations"];

/// An organisation with so many queues.
async fn stand_of(queues: usize, rate: f64) -> Stand {
    let mut stand = Stand::new(Options { queues, rate, ..brisk() }).await;
    stand.config.set("genesys.topics", TOPICS.map(str::to_owned).to_vec());
    // Hundreds of topics are told one by one below this.
    stand.config.set("log.level", "info");
    stand
}

/// What the platform says that one channel carries.
struct Slice {
    channel: String,
    topics: Vec<String>,
}

/// The channels that have a socket, the one with fewer topics first.
async fn slices(stand: &Stand) -> Vec<Slice> {
    let rest = Rest::of(stand).await;
    let mut slices = Vec::new();
    for channel in stand.open_channels().await {
        let listed = rest.get(&format!("notifications/channels/{channel}/subscriptions")).await;
        let topics = listed["entities"].as_array().unwrap().iter();
        let topics = topics.map(|topic| topic["id"].as_str().unwrap().to_owned()).collect();
        slices.push(Slice { channel, topics });
    }
    slices.sort_by_key(|slice| slice.topics.len());
    slices
}

async fn both_live(bridge: &Bridge) {
    let are_live = |state: &Value| {
        let sessions = state["sessions"].as_array().unwrap();
        sessions.len() == 2 && sessions.iter().all(|session| session["state"] == "live")
    };
    bridge.state("both shards are live", are_live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_cut_is_a_gap_of_its_own_topics_and_the_other_does_not_notice() {
    let mut stand = stand_of(600, 240.0).await;
    // So many queues would be asked for one by one; that is shown elsewhere.
    stand.config.set("gaps.rebase", false);
    let bridge = stand.ready().await;
    both_live(&bridge).await;
    let since = stand.emitted().await + 1;
    stand.emits(120).await;
    let both = slices(&stand).await;
    let [cut, other] = both.as_slice() else { panic!("{} channels", both.len()) };
    assert_eq!((cut.topics.len(), other.topics.len()), (200, 1_000));

    stand.control("close", json!({"mode": "rst", "channel": cut.channel})).await;
    let closed = bridge.line(&["\"event\":\"gap_closed\""]).await;
    assert_eq!(closed["cause"], "cut", "{closed}");
    both_live(&bridge).await;
    stand.emits(360).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    for slice in &both {
        stand.delivered_all_of(&slice.topics, since).await;
    }
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    let (journal, held) = (stand.sim.journal(), stand.held());

    // Each shard's books alone: no gap excuses anything of the other one's.
    let judged = |slice: &Slice, gaps: &[Gap]| {
        let is_own = |event: &&Held| slice.topics.contains(&event.topic);
        let own: Vec<Held> = held.iter().filter(is_own).cloned().collect();
        books::judge(&journal, &slice.topics, &own, gaps, since)
    };
    judged(other, &[]).assert_seamless();
    let mut of_cut = stand.sim.journal();
    of_cut.deliveries.retain(|sent| sent.channel == cut.channel);
    judged(cut, &gaps).assert_one_gap(&of_cut, "cut", "resumed", Duration::ZERO);
    let records = held.iter().filter(|event| event.kind == "tieline.gap.v1");
    let told: Vec<&str> = records.map(|event| event.topic.as_str()).collect();
    let named: BTreeSet<&str> = told.iter().copied().collect();
    assert_eq!(named, cut.topics.iter().map(String::as_str).collect());
    assert_eq!(told.len(), named.len(), "a topic was told twice");
    let opened = held.iter().find(|event| event.kind == "tieline.gap.opened.v1").unwrap();
    let opened: Value = serde_json::from_str(&opened.body).unwrap();
    assert_eq!(opened["topics"]["count"], 200, "{opened}");
    let sockets = |slice: &Slice| {
        journal.sessions.iter().filter(|session| session.channel == slice.channel).count()
    };
    assert_eq!((sockets(cut), sockets(other), journal.sessions.len()), (2, 1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_an_oauth_client_has_channels_for_is_refused_with_the_sum_and_the_way_out() {
    let mut stand = stand_of(1, 0.0).await;
    // Queues that are named by their ids need not be listed.
    let queues: Vec<String> =
        (0..4_501).map(|queue| format!("00000000-0000-4000-8000-{queue:012}")).collect();
    stand.config.set("genesys.queues", queues);
    stand.config.set("lifecycle.redundancy", 2);
    let told = [
        "9002 topics in 9002 subscriptions need 10 shards",
        "21 channels",
        "divide the queues between two OAuth clients",
    ];
    let (code, log) = Bridge::launch(tieline(&stand.config, &[])).ended().await;
    assert_eq!(code, Some(78), "{log}");
    for words in told {
        assert!(log.contains(words), "{words}: {log}");
    }
    let file = stand.config.write().display().to_string();
    let said = program(&["check", &file, "--online"]).output().await.unwrap();
    let out = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(78), "{out}");
    let refused = out.lines().find(|line| line.contains("REFUSED  channels"));
    let refused = refused.unwrap_or_else(|| panic!("nothing is refused: {out}"));
    for words in told {
        assert!(refused.contains(words), "{words}: {out}");
    }
    assert_eq!(stand.channels().await, 0, "what does not fit is not begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_channels_are_all_taken_evicts_nobody_and_says_the_way_out() {
    let stand = Stand::new(brisk()).await;
    let rest = Rest::of(&stand).await;
    for _ in 0..20 {
        rest.post("notifications/channels", &Value::Null).await;
    }
    let known = async || -> BTreeSet<String> {
        let state = stand.state().await;
        let channels = state["channels"].as_array().unwrap().iter();
        channels.map(|channel| channel["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = known().await;
    assert_eq!(before.len(), 20);
    let bridge = stand.start().await;
    bridge.unready(&["no channel to be had", "20 of 20", "a client of its own"]).await;
    bridge.line(&["\"event\":\"channel_awaited\"", "20 of 20"]).await;
    assert_eq!(known().await, before, "a channel of another process was evicted");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_outgrows_its_channel_is_combined_without_a_gap() {
    let mut stand = Stand::new(Options { queues: 340, rate: 240.0, ..brisk() }).await;
    stand.config.set("log.level", "info");
    let queues: Vec<String> = stand.sim.queues().iter().map(|queue| queue.id.clone()).collect();
    let (staying, joining) = queues.split_at(330);
    stand.config.set("genesys.queues", staying.to_vec());
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    assert_eq!(slices(&stand).await[0].topics.len(), 990);

    stand.config.set("genesys.queues", queues.clone());
    stand.config.write();
    bridge.signal("HUP").await;
    // Nobody knows whether the platform changes over to another form of a topic without a moment between.
    crate::rotation::finished(&bridge, "topics", 1).await;
    stand.emits(120).await;
    let combined = slices(&stand).await;
    let [one] = combined.as_slice() else { panic!("{} channels", combined.len()) };
    assert_eq!(one.topics.len(), 680, "two of the three topics of each queue are one");

    let topics = |queues: &[String]| queues.iter().flat_map(|id| topics_of(id)).collect::<Vec<_>>();
    let (staying, joining) = (topics(staying), topics(joining));
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all_of(&staying, since).await;
    let gaps = bridge.gaps().await;
    bridge.finish(&stand).await;
    let journal = stand.sim.journal();
    books::judge_changing(&journal, &staying, &joining, &stand.held(), &gaps, since)
        .assert_seamless();
    assert_eq!(journal.sessions.len(), 2, "a session more than the successor");
}
