//! What the simulator's journal must show of a soak beside the books: each gap has its fault, and no channel was made without need.

use crate::books::{Gap, Held, micros};
use serde_json::Value;
use std::collections::BTreeSet;
use tieline_sim::journal::{Fault, Journal};

/// A gap of this cause is a suspicion: a quiet queue is told, and nothing need be amiss. It excuses nothing.
pub const SUSPICION: &str = "feed_silent";

/// How old the last frame before a fault may be.
const QUIET: u64 = 1_000_000;

/// Every gap that ended, as the sink tells it: no process knows those of the one before it in full.
pub fn gaps(held: &[Held]) -> Vec<Gap> {
    let closed = held.iter().filter(|event| event.kind == "tieline.gap.closed.v1");
    let gap = |event: &Held| {
        let body: Value = serde_json::from_str(&event.body).unwrap();
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        Gap {
            sink: text("sink"),
            certainty: text("certainty").unwrap(),
            number: body["gap"].as_u64().unwrap(),
            cause: text("cause").unwrap(),
            from: text("from").unwrap(),
            to: text("to"),
            action: text("action"),
        }
    };
    closed.map(gap).collect()
}

/// Whether a fault of the simulator takes something away from a client.
fn takes(fault: &&Fault) -> bool {
    let harmless = ["socket-closing", "stall", "slow", "fragment", "heartbeats"];
    !fault.channels.is_empty() && !harmless.iter().any(|kind| fault.kind.starts_with(kind))
}

/// A planned change makes no gap, and nothing else does but a restart, or what was taken away from as many sockets as a shard has legs:
/// the loss of fewer is none.
pub fn assert_each_gap_has_its_fault(
    gaps: &[Gap],
    journal: &Journal,
    restarts: &[(u64, bool)],
    legs: usize,
) {
    for gap in gaps {
        let (from, to) = (micros(&gap.from), micros(gap.to.as_deref().unwrap()));
        let during = from.saturating_sub(QUIET)..=to;
        let faults = journal.faults.iter().filter(takes);
        let taken = faults.filter(|fault| during.contains(&micros(&fault.from)));
        let hit: BTreeSet<&String> = taken.flat_map(|fault| &fault.channels).collect();
        let restarted = restarts.iter().any(|(at, _)| during.contains(at));
        assert!(restarted || hit.len() >= legs, "{} of {legs} legs hit in {gap:?}", hit.len());
    }
}

/// Legs take turns with one spare channel, but one that is cut while its successor waits for its turn makes another: each leg has two at
/// most, and another for each that the platform dropped, or that a killed process may just have asked for.
pub fn assert_no_needless_channel(journal: &Journal, restarts: &[(u64, bool)], legs: usize) {
    let named = journal.subscriptions.iter().map(|one| one.channel.as_str());
    let used = journal.sessions.iter().map(|one| one.channel.as_str());
    let made: BTreeSet<&str> = named.chain(used).collect();
    let is_dropped = |fault: &&Fault| ["evict", "expire"].contains(&fault.kind.as_str());
    let dropped = journal.faults.iter().filter(is_dropped).count();
    let killed = restarts.iter().filter(|(_, rotates)| *rotates).count();
    let most = 2 * legs + dropped + killed;
    assert!(made.len() <= most, "{} channels, where {most} do", made.len());
}
