//! Everything that can happen to a process and its brokers, at random, as a seed decides; then the simulator's journal against what consumers
//! read: two hundred faults with `make chaos`, twenty in every run of the tests.
//!
//! What is done is `steps`' to say; the servers and the process are `theatre`'s. Faults of the platform are the soak's.

mod steps;
mod theatre;

use crate::books::{Held, Verdict};
use crate::soak::{Again, say};
use std::fmt::Write as _;
use steps::Steps;
use theatre::Theatre;

/// How many faults; set by `make chaos`.
const FAULTS: &str = "TIELINE_CHAOS_FAULTS";

/// What decides which.
const SEED: &str = "TIELINE_CHAOS_SEED";

/// How many without being asked.
const FEW: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_or_hangs_consumers_find_each_event_once_or_in_a_named_gap() {
    let asked = std::env::var(FAULTS).ok().map(|text| text.parse().unwrap());
    let seed = std::env::var(SEED).map_or(2026, |text| text.parse().unwrap());
    let count: usize = asked.unwrap_or(FEW);
    let _told = Again(format!("{SEED}={seed} {FAULTS}={count} cargo test --test it chaos::"));
    let mut theatre = Theatre::open(seed).await;
    let mut steps = Steps::new(seed);
    for nth in 1..=count {
        let step = steps.draw();
        if asked.is_some() {
            say(&format!("{nth:>4} of {count}  {step:?}  {}", theatre.progress()));
        }
        theatre.play(&step, &mut steps, nth).await;
    }
    let (sinks, journal, gaps) = theatre.close().await;
    let mut table = String::new();
    for (name, held, verdict) in &sinks {
        row(&mut table, name, held, verdict);
    }
    if asked.is_some() {
        say(&format!("{count} faults, seed {seed}: {}\n{table}", steps.counted()));
    }
    crate::secrets::orders::assert_no_login_storm(&journal.logins);
    for (name, _, verdict) in &sinks {
        assert!(verdict.emitted > 100, "{name}: {} events", verdict.emitted);
        verdict.assert_kept();
    }
    assert!(gaps > 0, "a killed process leaves a gap");
}

fn row(table: &mut String, name: &str, held: &[Held], verdict: &Verdict) {
    let late = held.iter().filter(|event| event.late).count();
    writeln!(
        table,
        "| {name} | {} | {} | {} | {} | {} | {} | {late} | {} |",
        verdict.emitted,
        verdict.gaps.len(),
        verdict.missed.len(),
        verdict.lost.len(),
        verdict.doubled.len(),
        verdict.disordered.len(),
        verdict.strange.len(),
    )
    .unwrap();
}
