//! What a process that is killed, stopped, or short of disk leaves to the next one: everything that it had received.

use crate::books::Held;
use crate::harness::{Bridge, Stand, brisk, eventually, tieline};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tieline_sim::Options;

/// A stand whose file cannot be made, because something is in the way, until `unblock`.
async fn blocked() -> (Stand, PathBuf) {
    let mut stand = Stand::new(Options { rate: 300.0, ..brisk() }).await;
    let wall = stand.config.path("wall");
    std::fs::write(&wall, "").unwrap();
    stand.config.set("sink.jsonl.path", wall.join("events.jsonl").display().to_string());
    stand.config.set("process.drain_timeout", "500ms");
    (stand, wall)
}

/// Waits until so many events wait for the first sink.
async fn waiting(bridge: &Bridge, events: u64) {
    let waits = |state: &Value| state["sinks"][0]["waiting_events"].as_u64() >= Some(events);
    bridge.state("events wait", waits).await;
}

/// When the simulator had sent what a process that lives on, on its first socket, has read and written by the time that this returns.
pub async fn surely_read(stand: &Stand, bridge: &Bridge) -> String {
    let before = stand.state().await["time"].as_str().unwrap().to_owned();
    let journal = stand.sim.journal();
    let socket = journal.sessions.last().unwrap().session;
    let sent = journal.deliveries.iter().filter(|one| one.session == socket).count();
    // What is shown as received has been written.
    let is_read = |state: &Value| state["stream"]["received"].as_u64() >= Some(sent as u64);
    bridge.state("it has read what was sent", is_read).await;
    before
}

/// Waits until the file holds all that was sent to anybody before that moment, each once, with numbers without a hole in one epoch.
async fn holds_all_sent_before(stand: &Stand, before: &str) -> Vec<Held> {
    holds_all_sent_within(stand, &[(String::new(), before.to_owned())]).await
}

/// The same for what was sent between the moments of each pair: what lay unread when a process was killed nobody had received.
async fn holds_all_sent_within(stand: &Stand, lives: &[(String, String)]) -> Vec<Held> {
    let due = sent_within(stand, lives);
    eventually("the file holds all that was received", async || {
        is_all_among(&due, &stand.held()).then_some(())
    })
    .await;
    let held = stand.held();
    each_once(&held);
    held
}

/// Topic and correlation of what was sent between the moments of each pair.
pub fn sent_within(stand: &Stand, lives: &[(String, String)]) -> Vec<(String, String)> {
    let journal = stand.sim.journal();
    let topics = stand.config.topics(&stand.sim);
    let sent: BTreeSet<u64> = journal
        .deliveries
        .iter()
        .filter(|one| lives.iter().any(|(from, before)| *from <= one.at && one.at < *before))
        .map(|one| one.number)
        .collect();
    let due = journal.emissions.iter().filter(|one| topics.contains(&one.topic));
    let due: Vec<(String, String)> = due
        .filter(|one| sent.contains(&one.number))
        .map(|one| (one.topic.clone(), one.correlation_id.clone()))
        .collect();
    assert!(due.len() > 100, "{}", due.len());
    due
}

/// Whether all of these are there.
pub fn is_all_among(due: &[(String, String)], held: &[Held]) -> bool {
    let names: BTreeSet<(&str, &str)> =
        held.iter().map(|one| (&*one.topic, &*one.correlation_id)).collect();
    due.iter().all(|(topic, id)| names.contains(&(topic, id)))
}

/// Nothing is there twice, and the numbers of each key have no hole.
pub fn each_once(held: &[Held]) {
    let pushed = held.iter().filter(|one| !one.correlation_id.is_empty());
    let mut names = BTreeSet::new();
    for one in pushed {
        assert!(names.insert((&one.topic, &one.correlation_id)), "{one:?} is there twice");
    }
    let mut numbers: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for one in held {
        let last = numbers.entry((&one.epoch, &one.key)).or_default();
        assert_eq!(one.sequence, *last + 1, "{one:?}");
        *last = one.sequence;
    }
}

pub fn epochs(held: &[Held]) -> usize {
    held.iter().map(|one| &one.epoch).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_a_dead_sink_nothing_that_was_received_is_lost_or_doubled() {
    let (stand, wall) = blocked().await;
    let bridge = stand.start().await;
    waiting(&bridge, 200).await;
    let before = surely_read(&stand, &bridge).await;
    bridge.signal("KILL").await;
    bridge.ended().await;
    std::fs::remove_file(wall).unwrap();
    let bridge = stand.ready().await;
    let held = holds_all_sent_before(&stand, &before).await;
    assert_eq!(epochs(&held), 1, "the epoch goes on");
    bridge.line(&["journal_found", "was not closed"]).await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_delivers_again_and_again_nothing_is_lost_or_doubled() {
    let stand = Stand::new(Options { rate: 600.0, ..brisk() }).await;
    let mut lives = Vec::new();
    for _ in 0..4 {
        let bridge = stand.ready().await;
        let from = stand.state().await["time"].as_str().unwrap().to_owned();
        stand.emits(100).await;
        lives.push((from, surely_read(&stand, &bridge).await));
        bridge.signal("KILL").await;
        bridge.ended().await;
    }
    let bridge = stand.ready().await;
    let held = holds_all_sent_within(&stand, &lives).await;
    assert_eq!(epochs(&held), 1);
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drain_could_not_deliver_is_delivered_at_the_next_start() {
    let (stand, wall) = blocked().await;
    let bridge = stand.start().await;
    waiting(&bridge, 200).await;
    let before = surely_read(&stand, &bridge).await;
    bridge.signal("TERM").await;
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the next start delivers them"), "{log}");
    std::fs::remove_file(wall).unwrap();
    let bridge = stand.ready().await;
    let held = holds_all_sent_before(&stand, &before).await;
    assert_eq!(epochs(&held), 1);
    bridge.line(&["journal_found", "closed as it should be"]).await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_data_dir_refuses_to_start_and_says_who_has_it() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let (code, said) = Bridge::launch(tieline(&stand.config, &[])).ended().await;
    assert_eq!(code, Some(78), "{said}");
    let lock = stand.config.path("data").join("lock").display().to_string();
    for words in [&format!("process {}", bridge.pid()), &lock, "data_dir is in use"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    bridge.finish(&stand).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_gone_is_released_and_one_that_comes_begins_at_the_end() {
    let closed = crate::harness::Closed::new();
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("process.drain_timeout", "500ms");
    stand.config.set("sink.kafka.brokers", closed.address().to_string());
    let bridge = stand.start().await;
    let waits = |state: &Value| state["sinks"][1]["waiting_events"].as_u64() >= Some(20);
    bridge.state("events wait for kafka", waits).await;
    bridge.signal("TERM").await;
    assert_eq!(bridge.ended().await.0, Some(0));

    stand.config.unset("sink.kafka");
    let bridge = stand.ready().await;
    let released = bridge.line(&["sink_released", "kafka"]).await;
    assert!(released["events"].as_u64() >= Some(20), "{released}");
    bridge.finish(&stand).await;

    stand.config.set("sink.kafka.brokers", closed.address().to_string());
    let bridge = stand.start().await;
    bridge.line(&["sink_added", "kafka", "journal's end"]).await;
    bridge.line(&["epoch_began", "sink_added"]).await;
    bridge.signal("TERM").await;
    assert_eq!(bridge.ended().await.0, Some(0));
}

/// Something that is mounted until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// A small file system of its own.
    pub fn tmpfs(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], path);
        Self(path.to_owned())
    }

    /// What the folder holds, read-only for whoever opens anything of it from now on. The file system itself cannot be made so while
    /// a process has a file of it open to write; what is open may be written on.
    fn read_only(path: &Path) -> Self {
        // Made so where nobody opens anything, and then put over it.
        let aside = path.with_extension("aside");
        std::fs::create_dir(&aside).unwrap();
        mount(&["--bind", &path.display().to_string()], &aside);
        let _aside = Self(aside.clone());
        mount(&["-o", "remount,bind,ro"], &aside);
        mount(&["--bind", &aside.display().to_string()], path);
        Self(path.to_owned())
    }
}

/// Nothing of this is skipped: what a disk does to the real process nothing else shows.
fn mount(args: &[&str], path: &Path) {
    let done = std::process::Command::new("mount").args(args).arg(path).output().unwrap();
    assert!(
        done.status.success(),
        "mounting is not allowed here; run this test as root, or by `unshare --map-root-user --mount cargo test …`: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

impl Drop for Mount {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_counts_exactly_and_recovers_by_itself() {
    let (mut stand, wall) = blocked().await;
    let _disk = Mount::tmpfs(&stand.config.path("data"), "1536k");
    stand.config.set("journal.segment_bytes", "64KiB");
    stand.config.set("process.drain_timeout", "10s");
    let bridge = stand.start().await;
    bridge.line(&["journal_failed", "No space left on device"]).await;
    let opened = bridge.line(&["gap_opened", "journal_disk"]).await;
    assert_eq!(opened["cause"], "journal_disk");
    std::fs::remove_file(wall).unwrap();
    bridge.line(&["gap_closed", "journal_disk"]).await;
    stand.emits(100).await;
    stand.control("traffic", serde_json::json!({"state": "pause"})).await;
    let drained = |state: &Value| state["sinks"][0]["waiting_events"] == 0;
    let mut state = bridge.state("all is delivered", drained).await;
    // What the socket still held is in once two looks agree.
    let mut received = Value::Null;
    while state["stream"]["received"] != received {
        received = state["stream"]["received"].clone();
        let as_of = state["as_of"].clone();
        let later = |state: &Value| state["as_of"] != as_of && drained(state);
        state = bridge.state("another look", later).await;
    }
    let counted = |name: &str| state["stream"][name].as_u64().unwrap();
    let refused = state["sinks"][0]["refused"].as_u64().unwrap();
    let held = stand.held().into_iter().filter(|one| !one.correlation_id.is_empty()).count() as u64;
    assert!(refused > 0);
    // And each topic is told of its own, in its order.
    let missed = |one: &Held| {
        let told: Value = serde_json::from_str(&one.body).unwrap();
        (one.kind == "tieline.gap.v1").then(|| told["missed"].as_u64()).flatten()
    };
    assert_eq!(stand.held().iter().filter_map(missed).sum::<u64>(), refused);
    assert_eq!(counted("received") - counted("duplicates"), held + refused, "{state}");
    assert_eq!(counted("published"), held, "{state}");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_refuses_and_counts_exactly_and_recovers_by_itself() {
    let mut stand = Stand::new(Options { rate: 300.0, ..brisk() }).await;
    // Soon another file is to be made.
    stand.config.set("journal.segment_bytes", "64KiB");
    stand.config.set("lifecycle.dead_after", "20s");
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    let disk = Mount::read_only(&stand.config.path("data"));
    bridge.line(&["journal_failed", "Read-only file system"]).await;
    bridge.line(&["gap_opened", "journal_disk"]).await;
    let refused = |state: &Value| state["sinks"][0]["refused"].as_u64() >= Some(50);
    bridge.state("events are refused", refused).await;
    drop(disk);
    bridge.line(&["gap_closed", "journal_disk"]).await;
    stand.emits(100).await;
    stand.control("traffic", serde_json::json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let state = bridge.state("all is delivered", |state| state["sinks"][0]["waiting_events"] == 0);
    let refused = state.await["sinks"][0]["refused"].as_u64().unwrap();
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept();
    let causes: Vec<&str> = verdict.gaps.iter().map(|gap| gap.cause.as_str()).collect();
    assert_eq!(causes, ["journal_disk"]);
    assert_eq!(verdict.missed.len() as u64, refused, "nothing else is missing: {verdict:#?}");
}
