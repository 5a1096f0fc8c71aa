//! Gaps as consumers meet them: named over restarts, told where events are missing, re-based where REST can show it.

use crate::books::{Held, micros};
use crate::harness::{Rest, SETTLE, Stand, brisk, eventually, quiet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tieline_sim::Options;

const EPOCH: &str = "tieline.epoch.v1";
const RECORD: &str = "tieline.gap.v1";
const REBASED: &str = "tieline.gap.rebased.v1";
const MEMBERS: &str = "tieline.snapshot.queue.members.v1";
const OBSERVATIONS: &str = "tieline.snapshot.queue.observations.v1";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_a_snapshot_shows_what_the_platform_shows() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(50).await;
    // Nothing changes any more when the snapshots are taken.
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.control("close", json!({"mode": "rst"})).await;
    let held = rebased(&stand, 1).await;
    assert_valid(&held);
    let told = body(of(&held, REBASED)[0]);
    let queues = stand.sim_queues().await;
    let count = queues.len() as u64;
    let (shown, without) = (told["topics"]["snapshots"].clone(), told["topics"]["without"].clone());
    assert_eq!((shown, without), (json!(2 * count), json!(count)), "{told}");

    let rest = Rest::of(&stand).await;
    for queue in &queues {
        let last = |kind| of(&held, kind).into_iter().rfind(|event| event.key == *queue).unwrap();
        let told = body(last(MEMBERS));
        assert_eq!(joined(&told["members"]), joined(&members(&rest, queue).await), "{queue}");
        let told = body(last(OBSERVATIONS));
        assert_eq!(told["results"], observations(&rest, queue).await, "{queue}");
    }
    // What was emitted in the midst of the gap never comes, and must not be the last.
    stand.control("traffic", json!({"state": "run"})).await;
    stand.emits(10).await;
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept();
    assert_eq!(verdict.gaps.len(), 1, "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_ask_says_so_once_and_the_gap_does_too() {
    let stand = Stand::new(quiet()).await;
    let bridge = stand.ready().await;
    stand.control("throttle", json!({"what": "rest", "status": 403, "for_ms": 60_000})).await;
    for gap in 1..=2_usize {
        stand.control("close", json!({"mode": "rst"})).await;
        let held = rebased(&stand, gap).await;
        let told = body(of(&held, REBASED)[gap - 1]);
        let queues = stand.sim_queues().await.len();
        assert_eq!(told["topics"]["failed"], json!(2 * queues), "{told}");
    }
    for what in ["observations", "members"] {
        let words = ["\"event\":\"snapshot_refused\"", &format!("\"what\":\"{what}\"")];
        assert_eq!(bridge.count(&words), 1, "{what}");
    }
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_leaves_one_gap_that_the_next_one_names() {
    let stand = patient().await;
    let first = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(100).await;
    let last = stand.marked().await;
    first.signal("KILL").await;
    first.ended().await;
    let (ended, dead) = (stand.time().await, stand.emitted().await);
    stand.control("traffic", json!({"state": "run"})).await;
    stand.emits(20).await;
    named_and_met(&stand, since, (last, ended), dead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_is_one_gap_too_and_a_first_start_is_none() {
    let stand = patient().await;
    let first = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(100).await;
    let last = stand.marked().await;
    assert_eq!(first.gaps().await.len(), 0);
    let held = stand.held();
    let opening = body(&held[0]);
    assert_eq!((held[0].kind.as_str(), &opening["reason"]), (EPOCH, &json!("first")));
    assert_eq!((&opening["epoch"], opening.get("last")), (&json!(held[0].epoch), None));
    first.finish(&stand).await;
    let (ended, dead) = (stand.time().await, stand.emitted().await);
    stand.control("traffic", json!({"state": "run"})).await;
    stand.emits(20).await;
    named_and_met(&stand, since, (last, ended), dead).await;
}

/// A stand whose processes take no pause of a busy machine for the end of a session.
async fn patient() -> Stand {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.dead_after", "20s");
    stand
}

/// Starts the next process, which must name the time since the last one as one gap: no wider than from what was heard last to the
/// first certain delivery, in the control events and once in the order of every topic, and re-based.
async fn named_and_met(stand: &Stand, since: u64, (last, ended): (u64, u64), dead: u64) {
    let process = stand.ready().await;
    rebased(stand, 1).await;
    stand.emits(50).await;
    let verdict = stand.balance(process, since).await;
    verdict.assert_kept();
    assert!(verdict.missed.iter().any(|number| *number > dead), "{verdict:#?}");
    let [gap] = verdict.gaps.as_slice() else { panic!("{verdict:#?}") };
    assert_eq!((gap.cause.as_str(), gap.action.as_deref()), ("restart", Some("resubscribed")));
    let (from, to) = (micros(&gap.from), micros(gap.to.as_deref().unwrap()));
    assert!(last <= from && from <= ended, "{gap:?} begins before {last} or after {ended}");
    let journal = stand.sim.journal();
    let [one, other] = journal.sessions.as_slice() else { panic!("{:?}", journal.sessions) };
    let opened = gap.assert_ends_in_time(&journal, SETTLE);
    assert_eq!(opened, micros(&other.opened), "{gap:?} ends before its session, after {one:?}");

    let held = stand.held();
    assert_valid(&held);
    let said = |kind| of(&held, kind).into_iter().map(body).collect::<Vec<_>>();
    let (begun, over) = (said("tieline.gap.opened.v1"), said("tieline.gap.closed.v1"));
    assert_eq!((begun.len(), over.len()), (1, 1), "{begun:?} {over:?}");
    let topics = stand.config.topics(&stand.sim);
    assert_eq!(
        (&begun[0]["cause"], &begun[0]["certainty"]),
        (&json!("restart"), &json!("certain"))
    );
    assert_eq!(over[0]["topics"], json!(topics.len()), "{over:?}");
    assert_eq!((&over[0]["from"], &over[0]["to"]), (&json!(gap.from), &json!(gap.to)));
    for topic in &topics {
        met_in_order(&held, topic, (from, to));
    }
}

/// One record stands in the order of the topic: behind all that was heard before the gap, before all that was heard after it, and
/// before the snapshots, which there are of observations and members.
fn met_in_order(held: &[Held], topic: &str, (from, to): (u64, u64)) {
    let own: Vec<&Held> = held.iter().filter(|event| event.topic == topic).collect();
    let records = own.iter().enumerate().filter(|(_, event)| event.kind == RECORD);
    let [(at, record)] = records.collect::<Vec<_>>()[..] else { panic!("{topic}: {own:?}") };
    let told = body(record);
    assert_eq!((&told["gaps"], &told["cause"]), (&json!([1]), &json!("restart")));
    let (begins, ends) =
        (micros(told["from"].as_str().unwrap()), micros(told["to"].as_str().unwrap()));
    assert!(begins == from && ends <= to, "{told} is wider than {from} to {to}");
    let has_snapshot = !topic.ends_with(".conversations");
    assert_eq!(told["snapshot"], json!(if has_snapshot { "follows" } else { "none" }), "{told}");
    let pushed = |part: &[&Held]| -> Vec<u64> {
        part.iter().filter(|event| !event.is_own()).map(|event| micros(&event.time)).collect()
    };
    assert!(pushed(&own[..at]).iter().all(|heard| *heard <= from), "{topic}: {told}");
    assert!(pushed(&own[at..]).iter().all(|heard| ends <= *heard), "{topic}: {told}");
    let is_snapshot = |event: &&Held| [MEMBERS, OBSERVATIONS].contains(&event.kind.as_str());
    assert!(!own[..at].iter().any(is_snapshot), "{topic}: a snapshot stands before its gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_journal_refuses_is_counted_in_the_order_of_each_topic() {
    let mut stand = Stand::new(Options { rate: 900.0, ..brisk() }).await;
    let wall = stand.config.path("wall");
    std::fs::write(&wall, "").unwrap();
    stand.config.set("sink.jsonl.path", wall.join("events.jsonl").display().to_string());
    stand.config.set("journal.max_bytes", "1MiB");
    let bridge = stand.start().await;
    bridge.line(&["gap_opened", "journal_full"]).await;
    let refused = |state: &Value| state["sinks"][0]["refused"].as_u64() >= Some(50);
    bridge.state("events are refused", refused).await;
    std::fs::remove_file(wall).unwrap();
    bridge.line(&["gap_closed", "journal_full"]).await;
    stand.control("traffic", json!({"state": "pause"})).await;
    let delivered = |state: &Value| state["sinks"][0]["waiting_events"] == 0;
    let state = bridge.state("all is delivered", delivered).await;
    let refused = state["sinks"][0]["refused"].as_u64().unwrap();
    let missed = |held: &[Held], kind| -> u64 {
        let told = of(held, kind).into_iter().map(body);
        let told = told.filter(|one| one["cause"] == "journal_full");
        told.filter_map(|one| one["missed"].as_u64()).sum()
    };
    // On a busy machine the journal may be full again before the file has all of it: each is a gap of its own.
    let held = eventually("every refused event is told of", async || {
        let held = stand.held();
        let told = [RECORD, "tieline.gap.closed.v1"].map(|kind| missed(&held, kind));
        (told == [refused; 2]).then_some(held)
    })
    .await;
    assert_valid(&held);
    let mut over = of(&held, "tieline.gap.closed.v1").into_iter().map(body);
    assert!(over.all(|told| told["cause"] != "journal_full" || told["sink"] == "jsonl"));
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_with_an_open_gap_finds_it_again() {
    let stand = Stand::new(brisk()).await;
    let first = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(50).await;
    let refusal = json!({"what": "handshake", "status": 503, "for_ms": 4_000});
    stand.control("throttle", refusal).await;
    stand.control("close", json!({"mode": "rst"})).await;
    stand.kept("\"cause\":\"cut\"").await;
    first.signal("KILL").await;
    first.ended().await;

    let second = stand.ready().await;
    stand.emits(50).await;
    let verdict = stand.balance(second, since).await;
    assert_eq!(verdict.lost, Vec::<u64>::new(), "{verdict:#?}");
    let [gap] = verdict.gaps.as_slice() else { panic!("{verdict:#?}") };
    assert_eq!((gap.cause.as_str(), gap.number), ("cut", 1));
    assert_eq!(verdict.wide, Vec::<String>::new(), "it claims what was delivered: {verdict:#?}");
    gap.assert_ends_in_time(&stand.sim.journal(), SETTLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_the_platform_forgets_is_a_possible_gap_until_it_is_heard_and_its_socket_lives()
 {
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("gaps.feed_silence", "3s");
    stand.config.set("lifecycle.dead_after", "20s");
    let bridge = stand.ready().await;
    let queues = stand.sim_queues().await;
    let [silent, lively] = [0, 1].map(|queue| format!("v2.routing.queues.{}.users", queues[queue]));
    let since = stand.emitted().await + 1;
    let is_lively = |held: &[Held]| {
        let said: Vec<u64> =
            held.iter().filter(|one| one.topic == silent).map(|one| micros(&one.time)).collect();
        // For a second, as the pauses within a burst do not count each.
        said.len() > 40
            && said[said.len() - 1] - said[0] > 1_000_000
            && said[said.len() - 40..].windows(2).all(|pair| pair[1] - pair[0] < 500_000)
    };
    // Twenty times its longest pause is waited for, which on a busy machine may be long.
    let mut said = 0;
    while !is_lively(&stand.held()) {
        stand.says(&silent).await;
        said += 1;
        assert!(said < 1_000, "this machine never goes on for forty notifications without a pause");
    }
    let last = micros(&stand.held().pop().unwrap().time);
    let heard = stand.time().await;
    // A machine that stood still before then made a silence of its own.
    let before = bridge.count(&["\"event\":\"gap_opened\""]);
    stand.control("withhold", json!({"topics": [queues[0]]})).await;
    let lost = stand.control("emit", json!({"topic": silent, "body": {}})).await;
    stand.says(&lively).await;
    let opened = bridge.lines(&["\"event\":\"gap_opened\"", "feed_silent"], before + 1).await;
    assert_eq!(opened[before]["certainty"], "possible", "{opened:?}");
    bridge.lines(&["\"event\":\"feed_suspected\""], before + 1).await;
    // It is told and not acted upon: the others are heard, on the same socket.
    stand.says(&lively).await;
    bridge.ready().await;
    stand.control("resume", json!({})).await;
    stand.says(&silent).await;
    let words = ["\"event\":\"gap_closed\"", "feed_silent", "the feed was heard again"];
    bridge.lines(&words, before + 1).await;
    let held = rebased(&stand, before + 1).await;
    assert_valid(&held);
    let told = body(of(&held, REBASED)[before]);
    assert_eq!((&told["topics"]["snapshots"], &told["topics"]["without"]), (&json!(2), &json!(1)));
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept();
    assert_eq!(
        Some(&verdict.missed[..]),
        lost["number"].as_u64().as_ref().map(std::slice::from_ref)
    );
    // A busy machine may make another silence of its own.
    assert!(verdict.gaps.iter().all(|gap| gap.cause == "feed_silent"), "{verdict:#?}");
    let began = verdict.gaps.iter().filter(|gap| (last..=heard).contains(&micros(&gap.from)));
    assert_eq!(began.count(), 1, "one begins between {last} and {heard}: {verdict:#?}");
    assert_eq!(stand.sim.journal().sessions.len(), 1, "the socket was never dropped");
}

/// The events in the file once re-basing after so many gaps is over.
async fn rebased(stand: &Stand, gaps: usize) -> Vec<Held> {
    eventually("re-basing is over", async || {
        let held = stand.held();
        (of(&held, REBASED).len() >= gaps).then_some(held)
    })
    .await
}

fn of<'a>(held: &'a [Held], kind: &str) -> Vec<&'a Held> {
    held.iter().filter(|event| event.kind == kind).collect()
}

fn body(event: &Held) -> Value {
    serde_json::from_str(&event.body).unwrap()
}

fn joined(members: &Value) -> BTreeMap<String, bool> {
    let members = members.as_array().unwrap().iter();
    members
        .map(|one| (one["id"].as_str().unwrap().to_owned(), one["joined"].as_bool().unwrap()))
        .collect()
}

/// Every event of tieline's own obeys the schema of its type, and stands where its kind belongs.
fn assert_valid(held: &[Held]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contract/schemas");
    let own: Vec<&Held> = held.iter().filter(|event| event.is_own()).collect();
    assert!(own.iter().any(|event| event.kind == RECORD), "nothing was told");
    for event in own {
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        let path = folder.join(format!("{}.json", event.kind));
        let schema = compiler.compile(path.to_str().unwrap(), &mut schemas).unwrap();
        let told = body(event);
        let checked = schemas.validate(&told, schema);
        assert!(checked.is_ok(), "{event:?}: {}", checked.unwrap_err());
        let is_control = event.is_control();
        let wanted =
            event.kind == EPOCH || (event.kind.starts_with("tieline.gap.") && event.kind != RECORD);
        assert_eq!(is_control, wanted, "{event:?}");
    }
}

async fn members(rest: &Rest, queue: &str) -> Value {
    let page = rest.get(&format!("routing/queues/{queue}/members?pageSize=500")).await;
    page["entities"].clone()
}

async fn observations(rest: &Rest, queue: &str) -> Value {
    let metrics = [
        "oActiveUsers",
        "oAlerting",
        "oInteracting",
        "oMemberUsers",
        "oOffQueueUsers",
        "oOnQueueUsers",
        "oUserPresences",
        "oUserRoutingStatuses",
        "oWaiting",
    ];
    let predicate = json!({"type": "dimension", "dimension": "queueId", "value": queue});
    let query = json!({"filter": {"type": "or", "predicates": [predicate]}, "metrics": metrics});
    rest.post("analytics/queues/observations/query", &query).await["results"].clone()
}

impl Stand {
    /// The ids of all queues, from the topics that are subscribed to.
    async fn sim_queues(&self) -> Vec<String> {
        let topics = self.config.topics(&self.sim);
        let users = topics.iter().filter_map(|topic| topic.strip_suffix(".users"));
        users.map(|topic| topic.rsplit_once('.').unwrap().1.to_owned()).collect()
    }

    /// Has a notification of that topic sent, and waits until the file holds it.
    async fn says(&self, topic: &str) {
        let said = self.control("emit", json!({"topic": topic, "body": {}})).await;
        let id = said["correlation_id"].as_str().unwrap();
        eventually("it is in the file", async || {
            self.held().iter().any(|event| event.correlation_id == id).then_some(())
        })
        .await;
    }

    /// What time it is.
    async fn time(&self) -> u64 {
        micros(self.state().await["time"].as_str().unwrap())
    }

    /// Lets no more traffic come, and waits until the process has left word of a frame behind the last notification in the file.
    /// Answers when that notification was received.
    async fn marked(&self) -> u64 {
        self.control("traffic", json!({"state": "pause"})).await;
        self.delivered_all(1).await;
        let held = self.held();
        let pushed = held.iter().filter(|event| !event.is_own());
        let last = pushed.map(|event| micros(&event.time)).max().unwrap();
        let path = self.config.path("data/heard.json");
        eventually("what was heard is on disk", async || {
            let text = std::fs::read_to_string(&path).ok()?;
            let heard: BTreeMap<String, Value> = serde_json::from_str(&text).ok()?;
            heard.values().all(|mark| micros(mark["at"].as_str().unwrap()) > last).then_some(())
        })
        .await;
        last
    }

    /// Waits until the ledger on disk says that.
    async fn kept(&self, words: &str) {
        let path = self.config.path("data/gaps.json");
        eventually("the gap is on disk", async || {
            std::fs::read_to_string(&path).unwrap_or_default().contains(words).then_some(())
        })
        .await;
    }
}
