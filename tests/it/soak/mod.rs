//! Random faults, as a seed decides, on the real process under traffic, judged by the simulator's journal: half an hour with `make soak`, half a
//! minute of the same in every run of the tests.
//!
//! What is done is `faults`' to say, and what is said of it `figures`'. Brokers are left alone: that is `chaos`.

mod faults;
mod figures;

use crate::books::{Gap, Verdict};
use crate::harness::{Bridge, Stand};
use crate::secrets::orders::assert_no_login_storm;
use faults::Outcome;
pub use faults::{Fault, Faults};
use figures::Figures;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use tieline::clock::Clock;
use tieline_sim::Options;

/// How long, in seconds; set by `make soak`.
const FOR: &str = "TIELINE_SOAK_FOR";

/// What decides the order of the faults.
const SEED: &str = "TIELINE_SOAK_SEED";

/// How long without being asked.
const SHORT: Duration = Duration::from_secs(30);

/// Rotations of the secret in half an hour, evenly over whatever time there is.
const ROTATIONS: u64 = 200;
const HALF_AN_HOUR: u64 = 1_800;

/// On a machine so slow that time is no measure, so many faults at least.
const STEPS_MIN: usize = 8;

/// How often the long run says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What nine in a hundred cuts may take at the very most, from the cut to the first event again.
const RECOVERY_P99: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_cost_nothing_but_the_gaps_they_made() {
    let asked = std::env::var(FOR).ok().map(|text| Duration::from_secs(text.parse().unwrap()));
    let seed = std::env::var(SEED).map_or(2026, |text| text.parse().unwrap());
    let length = asked.unwrap_or(SHORT);
    let again = format!(
        "{SEED}={seed} {FOR}={} cargo test --test it soak:: -- --nocapture",
        length.as_secs()
    );
    let _told = Again(again);
    let mut soak = Soak::begin(seed).await;
    let clock = Clock::start();
    let elapsed = || Duration::from_micros(clock.now().as_micros());
    let mut said = Duration::ZERO;
    while elapsed() < length || soak.steps < STEPS_MIN {
        soak.step(ROTATIONS * elapsed().as_secs() / HALF_AN_HOUR).await;
        if asked.is_some() && elapsed() >= said + PROGRESS {
            said = elapsed();
            say(&soak.progress(said));
        }
    }
    let figures = soak.end(elapsed()).await;
    if asked.is_some() {
        say(&figures.to_string());
        // A machine that runs many tests at once says nothing about times.
        assert!(figures.recovery(0.99) < RECOVERY_P99, "{figures}");
    }
}

/// Says how a failure is repeated.
pub struct Again(pub String);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("repeat it with: {}", self.0));
        }
    }
}

/// A line for whoever watches: what a test prints is shown only when it has ended.
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

struct Soak {
    stand: Stand,
    bridge: Bridge,
    faults: Faults,
    /// The first emission that counts.
    since: u64,
    steps: usize,
    /// How often the secret was changed.
    secrets: u64,
}

impl Soak {
    async fn begin(seed: u64) -> Self {
        let mut stand = Stand::new(Options { rate: 100.0, seed, ..Options::default() }).await;
        stand.config.set("log.level", "info");
        let bridge = stand.ready().await;
        let since = stand.emitted().await + 1;
        Self { stand, bridge, faults: Faults::new(seed), since, steps: 0, secrets: 0 }
    }

    /// One fault, and all that it leads to.
    async fn step(&mut self, rotations_due: u64) {
        let fault = self.faults.draw(self.secrets < rotations_due);
        self.steps += 1;
        self.secrets += u64::from(fault.changes_secret());
        let told = |name| self.bridge.told(name);
        let (lost, rotated) = (told("session_lost"), told("rotation_finished"));
        fault.happen(&self.stand, &self.bridge, self.steps).await;
        match fault.outcome() {
            Outcome::Lost => self.bridge.tells("session_lost", lost + 1).await,
            Outcome::Rotated => self.bridge.tells("rotation_finished", rotated + 1).await,
            Outcome::Nothing => {}
        }
        self.settled().await;
        self.stand.emits(self.faults.pause()).await;
    }

    /// Waits until one session is live, alone, and no gap is open.
    async fn settled(&self) {
        let now = crate::books::micros(self.stand.state().await["time"].as_str().unwrap());
        let alone = |state: &Value| {
            let sessions = state["sessions"].as_array().unwrap();
            let is_fresh = crate::books::micros(state["as_of"].as_str().unwrap()) > now;
            is_fresh && matches!(sessions.as_slice(), [one] if one["state"] == "live")
        };
        self.bridge.state("one session is live, alone", alone).await;
        let opened = self.bridge.told("gap_opened");
        self.bridge.tells("gap_closed", opened).await;
    }

    fn progress(&self, elapsed: Duration) -> String {
        let told = |name| self.bridge.told(name);
        format!(
            "{:>5} s  {} faults, {} secrets, {} rotations, {} sockets lost, {} gaps",
            elapsed.as_secs(),
            self.steps,
            self.secrets,
            told("rotation_finished"),
            told("session_lost"),
            told("gap_opened"),
        )
    }

    /// The books.
    async fn end(self, elapsed: Duration) -> Figures {
        let Self { stand, bridge, since, .. } = self;
        stand.control("traffic", json!({"state": "pause"})).await;
        stand.delivered_all(since).await;
        let told = |name| bridge.told(name);
        let (rotations, lost) = (told("rotation_finished"), told("session_lost"));
        let gaps: Vec<Gap> = bridge.lines_of("gap_closed").into_iter().map(gap).collect();
        assert_eq!(gaps.len(), told("gap_opened"));
        bridge.finish(&stand).await;
        let (journal, held) = (stand.sim.journal(), stand.held());
        let verdict = stand.judge(&held, &gaps, since);
        assert_no_login_storm(&journal.logins);
        faults::assert_each_gap_has_its_fault(&gaps, &journal);
        faults::assert_no_needless_channel(&journal);
        kept(&verdict);
        let mut figures = Figures::of(&journal, &held, &verdict);
        (figures.elapsed, figures.faults) = (elapsed, self.steps);
        (figures.secrets, figures.rotations, figures.lost_sockets) =
            (self.secrets, rotations, lost);
        figures
    }
}

fn kept(verdict: &Verdict) {
    verdict.assert_kept();
    assert!(verdict.emitted > 1_000, "{} events", verdict.emitted);
}

fn gap(line: Value) -> Gap {
    serde_json::from_value(line.clone()).unwrap_or_else(|error| panic!("{error}: {line}"))
}
