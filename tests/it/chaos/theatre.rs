//! The servers, the simulator and the process, one life after the other, on a data disk that can fill up.

use super::steps::{Broker, Step, Steps};
use crate::books::{Gap, Held, Verdict, micros};
use crate::consumers;
use crate::harness::{Bridge, Stand};
use crate::journal::Tmpfs;
use crate::servers::Server;
use crate::soak::Fault;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tieline_sim::Options;
use tieline_sim::journal::Journal;
use tokio::task::block_in_place;

const STREAM: &str = "CHAOS";
const TOPIC: &str = "chaos.events";

pub struct Theatre {
    stand: Stand,
    /// None between two lives.
    bridge: Option<Bridge>,
    nats: Server,
    /// The first is also the controller.
    kafka: [Server; 2],
    /// Where mounting is allowed; without it no disk fills up.
    disk: Option<Tmpfs>,
    /// The first emission that counts.
    since: u64,
    lives: usize,
    /// What was told of gaps in earlier lives.
    gaps: Vec<Gap>,
}

impl Theatre {
    pub async fn open(seed: u64) -> Self {
        let (nats, kafka) = block_in_place(|| {
            let first = Server::start("kafka", &["--cluster", "2"]);
            let data = first.field("data");
            let second = Server::start("kafka", &["--cluster", "2", "--join", &data]);
            (Server::start("nats", &[]), [first, second])
        });
        let mut stand = Stand::new(Options { rate: 100.0, seed, ..Options::default() }).await;
        let brokers = kafka.each_ref().map(|node| node.field("brokers")).join(",");
        stand.config.set("log.level", "info");
        stand.config.set("process.drain_timeout", "500ms");
        stand.config.set("journal.segment_bytes", "64KiB");
        stand.config.set("sink.nats.url", nats.field("url"));
        stand.config.set("sink.nats.stream", STREAM);
        stand.config.set("sink.nats.subject", format!("{STREAM}.{{family}}.{{key}}"));
        stand.config.set("sink.kafka.brokers", brokers);
        stand.config.set("sink.kafka.topic", TOPIC);
        stand.config.set("sink.kafka.delivery", "exactly_once");
        stand.config.set("sink.kafka.replication", 2);
        let disk = Tmpfs::mount(&stand.config.path("data"), "16m");
        let bridge = stand.ready().await;
        let since = stand.emitted().await + 1;
        let bridge = Some(bridge);
        Self { stand, bridge, nats, kafka, disk, since, lives: 1, gaps: Vec::new() }
    }

    pub fn progress(&self) -> String {
        let (lives, gaps) = (self.lives, self.gaps.len() + self.bridge().told("gap_closed"));
        format!("life {lives}, {gaps} gaps")
    }

    /// One step, to its end: the session is live again, and every broker answers.
    pub async fn play(&mut self, step: &Step, steps: &mut Steps, nth: usize) {
        self.happen(step, steps, nth).await;
        self.live().await;
        self.stand.emits(20).await;
    }

    async fn happen(&mut self, step: &Step, steps: &mut Steps, nth: usize) {
        match step {
            Step::Platform(fault) => self.platform(*fault, nth).await,
            Step::Kill => self.next_life("KILL").await,
            Step::Restart => self.next_life("TERM").await,
            Step::Freeze => {
                self.bridge().signal("STOP").await;
                self.stand.emits(steps.lasts()).await;
                self.bridge().signal("CONT").await;
            }
            Step::FreezeBroker(broker) => {
                let node = steps.one_of(2);
                self.broker(*broker, node).signal("STOP");
                self.stand.emits(steps.lasts()).await;
                self.broker(*broker, node).signal("CONT");
            }
            Step::KillBroker(broker) => {
                let node = steps.one_of(2);
                block_in_place(|| self.broker(*broker, node).kill());
                self.stand.emits(steps.lasts()).await;
                match steps.meanwhile() {
                    Some(Step::Platform(fault)) => self.platform(fault, 1_000 + nth).await,
                    Some(_) => self.next_life("KILL").await,
                    None => {}
                }
                block_in_place(|| self.broker(*broker, node).restart());
            }
            Step::FillDisk => {
                let Some(disk) = &self.disk else { return };
                let ballast = fill(disk.path());
                self.stand.emits(steps.lasts()).await;
                std::fs::remove_file(ballast).unwrap();
            }
        }
    }

    fn broker(&mut self, broker: Broker, node: usize) -> &mut Server {
        match broker {
            Broker::Nats => &mut self.nats,
            Broker::Kafka => &mut self.kafka[node],
        }
    }

    /// A fault of the platform's. Its outcome is waited for by `live` alone: more than one thing may be on its way.
    async fn platform(&mut self, fault: Fault, nth: usize) {
        self.live().await;
        fault.happen(&self.stand, self.bridge(), nth).await;
        self.stand.emits(10).await;
    }

    /// Ends the process by this signal, and starts the next.
    async fn next_life(&mut self, signal: &str) {
        let bridge = self.bridge.take().unwrap();
        bridge.signal(signal).await;
        let (code, log) = bridge.ended().await;
        assert!(code.is_none_or(|code| code == 0), "{log}");
        self.gaps.extend(closed_gaps(&log));
        self.bridge = Some(self.stand.start().await);
        self.lives += 1;
    }

    fn bridge(&self) -> &Bridge {
        self.bridge.as_ref().unwrap()
    }

    /// Lets no more traffic come, waits until both brokers have acknowledged everything, ends the process, and reads what consumers read.
    pub async fn close(mut self) -> (Vec<(&'static str, Vec<Held>, Verdict)>, Journal, usize) {
        self.stand.control("traffic", json!({"state": "pause"})).await;
        self.delivered().await;
        let log = self.bridge.take().unwrap().finish(&self.stand).await;
        self.gaps.extend(closed_gaps(&log));
        let (nats, kafka) = (self.nats.field("url"), self.brokers());
        let (nats, kafka) = tokio::join!(
            consumers::all_of_nats(&nats, STREAM),
            consumers::all_of_kafka(&kafka, TOPIC)
        );
        let sinks = [("nats", nats), ("kafka", kafka), ("jsonl", self.stand.held())];
        let judged = sinks.map(|(name, held)| {
            let verdict = self.stand.judge(&held, &self.gaps, self.since);
            (name, held, verdict)
        });
        (judged.into(), self.stand.sim.journal(), self.gaps.len())
    }

    /// Waits until nothing waits for any sink, and what the socket still held is in.
    async fn delivered(&self) {
        let drained = |state: &Value| {
            state["sinks"].as_array().unwrap().iter().all(|sink| sink["waiting_events"] == 0)
        };
        let mut state = self.bridge().state("all is delivered", drained).await;
        let mut received = Value::Null;
        while state["stream"]["received"] != received {
            received = state["stream"]["received"].clone();
            let as_of = state["as_of"].clone();
            let later = |state: &Value| state["as_of"] != as_of && drained(state);
            state = self.bridge().state("another look", later).await;
        }
    }

    fn brokers(&self) -> String {
        self.kafka.each_ref().map(|node| node.field("brokers")).join(",")
    }

    /// Waits until one session is live, alone, and no gap is open.
    async fn live(&self) {
        let now = micros(self.stand.state().await["time"].as_str().unwrap());
        let alone = |state: &Value| {
            let sessions = state["sessions"].as_array().unwrap();
            let is_fresh = micros(state["as_of"].as_str().unwrap()) > now;
            let has_gap = state["gaps"]["open"].as_array().is_some_and(|open| !open.is_empty());
            is_fresh && !has_gap && matches!(&sessions[..], [one] if one["state"] == "live")
        };
        self.bridge().state("one session is live, alone, and no gap is open", alone).await;
    }
}

/// The gaps that a log tells the end of.
fn closed_gaps(log: &str) -> Vec<Gap> {
    let lines = log.lines().filter(|line| line.contains("\"event\":\"gap_closed\""));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Fills a disk to its last block.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut ballast = File::create(&path).unwrap();
    let block = [0; 4096];
    while ballast.write_all(&block).is_ok() {}
    path
}
