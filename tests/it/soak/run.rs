//! Carries a soak out: one fault after the other on a process that is steady, each with what must come of it; the books at the end.

use super::faults::{Act, Deck, Outcome};
use super::figures::{Figures, Tally};
use super::proof;
use crate::books::{self, micros};
use crate::harness::{Bridge, Stand, hold_no_secret, topics_of};
use crate::secrets::orders::assert_no_login_storm;
use serde_json::{Value, json};
use tieline_sim::Options;

/// Notifications in a second.
const RATE: f64 = 100.0;

/// Notifications that pass until a session is stable and its failures are forgotten: longer than `settle` and `stable_after`.
const STABLE: u64 = 190;

pub struct Soak {
    stand: Stand,
    bridge: Bridge,
    deck: Deck,
    /// The first emission that counts.
    since: u64,
    pub steps: usize,
    /// How many sessions carry each topic.
    pub legs: usize,
    /// Whether the last queue is chosen.
    whole: bool,
    /// When a process was told to end, or killed, and whether it was in the midst of a rotation.
    restarts: Vec<(u64, bool)>,
    tally: Tally,
}

impl Soak {
    /// A process with so many legs that is steady.
    pub async fn begin(seed: u64, legs: usize) -> Self {
        let mut stand = Stand::new(Options { rate: RATE, seed, ..Options::default() }).await;
        stand.config.set("log.level", "info");
        // A machine that runs many tests at once may hold the simulator up for longer than the usual time.
        stand.config.set("lifecycle.dead_after", "3s");
        stand.config.set("lifecycle.redundancy", i64::try_from(legs).unwrap());
        let queues: Vec<String> = stand.sim.queues().iter().map(|queue| queue.id.clone()).collect();
        stand.config.set("genesys.queues", queues);
        let bridge = stand.ready().await;
        let since = stand.emitted().await + 1;
        let soak = Self {
            stand,
            bridge,
            deck: Deck::new(seed, legs),
            since,
            steps: 0,
            legs,
            whole: true,
            restarts: Vec::new(),
            tally: Tally::default(),
        };
        soak.steady().await;
        soak
    }

    /// One fault, and all that it leads to.
    pub async fn step(&mut self) {
        let fault = self.deck.deal();
        self.steps += 1;
        self.tally.faults += 1;
        if fault.is_measured() {
            self.stand.emits(STABLE).await;
        }
        let place = self.bridge.place();
        let mut acts = fault.acts(self.steps);
        self.deck.aim(&mut acts);
        let rotates = matches!(acts.first(), Some(Act::Signal("USR1")));
        let mut is_hit = false;
        for act in acts {
            is_hit |= self.perform(act, place).await;
        }
        match fault.outcome() {
            Outcome::Lost => self.loses(place).await,
            Outcome::Rotated => self.says(place, "rotation_finished").await,
            Outcome::LostIfHit if is_hit => self.loses(place).await,
            Outcome::LostIfHit | Outcome::Nothing => {}
            Outcome::Restarted { orderly } => self.restart(orderly, rotates).await,
            Outcome::Requeued => self.requeue(place).await,
        }
        self.steady().await;
        self.stand.emits(self.deck.pause()).await;
    }

    /// A cut of a session whose failures are forgotten, so that the first retry follows.
    pub async fn cut(&mut self) {
        self.tally.faults += 1;
        self.stand.emits(STABLE).await;
        let place = self.bridge.place();
        let modes = [json!({"mode": "rst"}), json!({"mode": "fin"}), json!({"mode": "code"})];
        self.stand.control("close", modes[self.tally.faults % modes.len()].clone()).await;
        self.says(place, "gap_closed").await;
    }

    /// Answers whether a channel was hit.
    async fn perform(&self, act: Act, place: usize) -> bool {
        match act {
            Act::Call(call, fields) => {
                let answer = self.stand.control(call, fields).await;
                return answer["channels"].as_array().is_some_and(|hit| !hit.is_empty());
            }
            Act::Signal(name) => self.bridge.signal(name).await,
            Act::Pass(count) => self.stand.emits(count).await,
            Act::File(secret) => self.stand.config.write_secret(&secret),
            Act::Said(event) => self.says(place, event).await,
        }
        false
    }

    /// A session is lost. A predecessor whose successor has just settled is none: an ended token is found out a moment later, by the next
    /// call, and the rotation that follows may be under way when the next fault comes.
    async fn loses(&self, place: usize) {
        tokio::select! {
            () = self.says(place, "session_lost") => {}
            () = self.says(place, "rotation_finished") => {}
        }
    }

    async fn says(&self, place: usize, event: &str) {
        self.bridge.line_behind(place, &[&format!("\"event\":\"{event}\"")]).await;
    }

    /// Another process in the place of this one.
    async fn restart(&mut self, orderly: bool, rotates: bool) {
        self.restarts.push((self.now().await, rotates));
        self.bridge.signal(if orderly { "TERM" } else { "KILL" }).await;
        let (code, log) = self.bridge.ends().await;
        assert_eq!(code, orderly.then_some(0), "{log}");
        hold_no_secret(&log, &self.stand);
        self.tally = self.tally.with(&self.bridge);
        self.tally.restarts += 1;
        self.bridge = self.stand.start().await;
        self.bridge.ready().await;
    }

    /// The last queue is chosen, or no more, in the file that the process reads again.
    async fn requeue(&mut self, place: usize) {
        self.whole = !self.whole;
        let queues = self.queues();
        let chosen = if self.whole { &queues[..] } else { &queues[..queues.len() - 1] };
        self.stand.config.set("genesys.queues", chosen.to_vec());
        self.stand.config.write();
        self.bridge.signal("HUP").await;
        // One leg that lacks them yet would make the loss of the other a gap.
        let amended = "\"event\":\"topics_amended\"";
        self.bridge.lines_behind(place, &[amended], self.legs).await;
    }

    fn queues(&self) -> Vec<String> {
        self.stand.sim.queues().iter().map(|queue| queue.id.clone()).collect()
    }

    async fn now(&self) -> u64 {
        micros(self.stand.state().await["time"].as_str().unwrap())
    }

    /// Waits until one session of each leg is live, alone, and no gap is open.
    async fn steady(&self) {
        let now = self.now().await;
        let is_alone = |state: &Value| {
            let sessions = state["sessions"].as_array().unwrap();
            let is_fresh = micros(state["as_of"].as_str().unwrap()) > now;
            let open = state["gaps"]["open"].as_array().unwrap();
            let is_whole = open.iter().all(|gap| gap["cause"] == proof::SUSPICION);
            let all_live = sessions.iter().all(|session| session["state"] == "live");
            is_fresh && is_whole && all_live && sessions.len() == self.legs
        };
        let what = "one session of each leg is live, alone, and no gap is open";
        self.bridge.state(what, is_alone).await;
    }

    pub fn progress(&self) -> String {
        self.tally.with(&self.bridge).to_string()
    }

    /// The books.
    pub async fn end(self) -> Figures {
        self.steady().await;
        let queues = self.queues();
        let topics = |queues: &[String]| -> Vec<String> {
            queues.iter().flat_map(|queue| topics_of(queue)).collect()
        };
        let (changing, staying) = queues.split_last().unwrap();
        let (changing, staying) = (topics(std::slice::from_ref(changing)), topics(staying));
        self.stand.control("traffic", json!({"state": "pause"})).await;
        self.stand.delivered_all_of(&staying, self.since).await;
        let tally = self.tally.with(&self.bridge);
        self.bridge.finish(&self.stand).await;
        let (journal, held) = (self.stand.sim.journal(), self.stand.held());
        let gaps = proof::gaps(&held);
        let certain: Vec<_> =
            gaps.iter().filter(|gap| gap.cause != proof::SUSPICION).cloned().collect();
        let verdict =
            books::judge_changing(&journal, &staying, &changing, &held, &certain, self.since);
        verdict.assert_kept();
        proof::assert_each_gap_has_its_fault(&certain, &journal, &self.restarts, self.legs);
        proof::assert_no_needless_channel(&journal, &self.restarts, self.legs);
        assert_no_login_storm(&journal.logins);
        Figures::of(&journal, &held, &verdict, &gaps, tally, self.legs)
    }
}
