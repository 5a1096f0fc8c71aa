//! Random faults, as a seed decides, on the real process under traffic, judged by the simulator's journal: half an hour with `make soak`,
//! two minutes of the same in every run of the tests.
//!
//! `faults` says what happens, `run` carries it out and waits for what must come of it, `proof` holds the journal against it, and `figures`
//! makes a table of it. Brokers are left alone.

mod faults;
mod figures;
mod proof;
mod run;

use run::Soak;
use std::io::Write;
use std::time::Duration;
use tieline::clock::Clock;

/// How long, such as `30m`, or in seconds; set by `make soak`.
const FOR: &str = "TIELINE_SOAK_FOR";

/// What decides the faults and their order.
const SEED: &str = "TIELINE_SOAK_SEED";

/// How many cuts are measured; `make soak` asks for more.
const CUTS: &str = "TIELINE_SOAK_CUTS";

/// How long without being asked, with one leg.
const SHORT: Duration = Duration::from_secs(75);

/// And with two.
const SHORT_OF_TWO: Duration = Duration::from_secs(45);

/// On a machine so slow that time is no measure, so many faults at least.
const STEPS_MIN: usize = 10;

/// How often a run that was asked for says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// What ninety-nine of a hundred cuts may take, from the cut to the first event again.
const RECOVERY_P99: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_cost_nothing_but_the_gaps_they_made() {
    let asked = std::env::var(FOR).ok().map(|text| {
        let seconds = text.parse().map(Duration::from_secs);
        seconds.unwrap_or_else(|_| humantime::parse_duration(&text).unwrap())
    });
    let figures = soak(number(SEED).unwrap_or(2026), asked.unwrap_or(SHORT), asked.is_some()).await;
    if asked.is_some() {
        say(&figures);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_on_two_legs_cost_nothing_but_where_they_hit_both() {
    soak(2027, SHORT_OF_TWO, false).await;
}

/// An even seed plays with one session for each topic, an odd one with two: whoever repeats a run sees it from its number.
const fn redundancy(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 1 } else { 2 }
}

/// Plays for so long, and answers what came of it in words.
async fn soak(seed: u64, length: Duration, tells: bool) -> String {
    let _told = Again(format!("{SEED}={seed} {FOR}={} {}", length.as_secs(), command("random")));
    let mut soak = Soak::begin(seed, redundancy(seed)).await;
    let clock = Clock::start();
    let elapsed = || Duration::from_micros(clock.now().as_micros());
    let mut said = Duration::ZERO;
    while elapsed() < length || soak.steps < STEPS_MIN {
        soak.step().await;
        if tells && elapsed() >= said + PROGRESS {
            said = elapsed();
            say(&format!("{:>5} s  {}", said.as_secs(), soak.progress()));
        }
    }
    let length = elapsed();
    let mut figures = soak.end().await;
    figures.elapsed = length;
    format!("\nseed {seed}\n{figures}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_over_in_a_quarter_of_a_second() {
    let asked = number(CUTS);
    let _told = Again(format!("{CUTS}={} {}", asked.unwrap_or(5), command("a_cut_is_over")));
    let mut soak = Soak::begin(number(SEED).unwrap_or(2026), 1).await;
    for _ in 0..asked.unwrap_or(5) {
        soak.cut().await;
    }
    let figures = soak.end().await;
    if asked.is_some() {
        say(&figures.of_cuts());
        // A machine that runs many tests at once says nothing about times.
        assert!(figures.recovery(0.99) < RECOVERY_P99, "{figures}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn command(test: &str) -> String {
    format!("cargo test --locked --test it soak::{test} -- --nocapture")
}

/// Says how a failure is repeated.
struct Again(String);

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
