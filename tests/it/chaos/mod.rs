//! Faults at random, as a seed decides, into everything at once: real Kafka, a real nats-server, the simulator, the disk, and the process
//! itself. At the end the simulator's journal is compared with what independent consumers read.
//!
//! Two acts: transactions with one session for each shard, and plain Kafka with two, where frames may also be dropped that no client
//! can miss. `make chaos` plays longer from a fresh seed.

mod reckoning;
mod script;
mod theatre;

use std::io::Write;
use theatre::{Act, Brokers, Theatre};
use tokio::task::block_in_place;

/// The seed; another one by this variable.
const SEED: (&str, u64) = ("TIELINE_CHAOS_SEED", 2026);

/// How many faults there are, in both acts together.
const FAULTS: (&str, u64) = ("TIELINE_CHAOS_FAULTS", 20);

const ACTS: [Act; 2] = [
    Act { name: "transactions", exactly_once: true, sessions: 1 },
    Act { name: "redundant", exactly_once: false, sessions: 2 },
];

/// Says how to repeat a run that fails.
struct Repeat {
    seed: u64,
    faults: u64,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("repeat it with: make chaos SEED={} FAULTS={}", self.seed, self.faults));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_nothing_is_lost_doubled_or_out_of_order_and_what_is_missing_has_a_name() {
    let (seed, faults) = (asked(SEED), asked(FAULTS));
    let _repeat = Repeat { seed, faults };
    let mut brokers = block_in_place(Brokers::start);
    let (mut tables, mut broken) = (String::new(), String::new());
    for (nth, act) in (0..).zip(ACTS) {
        let count =
            usize::try_from(faults.div_ceil(2).min(faults - nth * faults.div_ceil(2))).unwrap();
        let steps = script::steps(seed + nth, count, act.sessions > 1);
        let mut theatre = Theatre::open(act, seed, &mut brokers).await;
        let (mut recoveries, mut done) = (Vec::new(), 0);
        for step in &steps {
            let recovery = theatre.play(*step).await;
            done += 1 + usize::from(step.second.is_some());
            let second = step.second.map(|fault| format!(" and {}", fault.kind.name()));
            say(&format!(
                "{} {done}/{count}: {}{}: well after {:.1} s",
                act.name,
                step.first.kind.name(),
                second.unwrap_or_default(),
                recovery.took.as_secs_f64()
            ));
            recoveries.push(recovery);
        }
        let outcome = theatre.close(&steps, recoveries).await;
        tables.push_str(&outcome.table());
        broken.push_str(&outcome.broken());
    }
    say(&tables);
    assert!(broken.is_empty(), "{broken}");
}

/// At once and past the capture of tests: a run of an hour shows how far it is.
fn say(words: &str) {
    writeln!(std::io::stderr(), "{words}").ok();
}

fn asked((variable, otherwise): (&str, u64)) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
