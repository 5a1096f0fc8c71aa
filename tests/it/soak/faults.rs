//! What happens in a soak: every way to lose a socket, every planned change, and what hinders either; and what the simulator's journal must
//! show of it in the end.

use crate::books::{Gap, micros};
use crate::harness::{Bridge, DEAD_AFTER, Stand};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tieline_sim::journal::{self, Journal};

/// Draws faults.
pub struct Faults {
    chance: StdRng,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Reset,
    Finish,
    Close,
    Evict,
    Expire,
    Silence,
    HalfOpen,
    Revoke,
    Broken,
    /// A cut, while handshakes are refused or slow.
    Throttled,
    Unavailable,
    Delayed,
    /// A cut in the midst of a rotation.
    CutWhileRotating,
    Notice,
    Operator,
    /// A rotation, while REST or the login refuses.
    RestRefuses,
    RestFails,
    LoginRefuses,
    SecretOfGenesysFirst,
    SecretOfTheFileFirst,
    SecretKillsSockets,
    SecretKillsTokens,
    Garbage,
    Stall,
    Slow,
    Fragment,
    Heartbeats,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Lost,
    Rotated,
    Nothing,
}

/// Those that change the secret, and need not be drawn by chance alone.
const SECRETS: [Fault; 4] = [
    Fault::SecretOfGenesysFirst,
    Fault::SecretOfTheFileFirst,
    Fault::SecretKillsSockets,
    Fault::SecretKillsTokens,
];

const OTHERS: [Fault; 23] = [
    Fault::Reset,
    Fault::Finish,
    Fault::Close,
    Fault::Evict,
    Fault::Expire,
    Fault::Silence,
    Fault::HalfOpen,
    Fault::Revoke,
    Fault::Broken,
    Fault::Throttled,
    Fault::Unavailable,
    Fault::Delayed,
    Fault::CutWhileRotating,
    Fault::Notice,
    Fault::Operator,
    Fault::RestRefuses,
    Fault::RestFails,
    Fault::LoginRefuses,
    Fault::Garbage,
    Fault::Stall,
    Fault::Slow,
    Fault::Fragment,
    Fault::Heartbeats,
];

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self { chance: StdRng::seed_from_u64(seed) }
    }

    /// The next one; a change of the secret where that is due. Cuts come twice as often as others, since they are measured.
    pub fn draw(&mut self, secret_is_due: bool) -> Fault {
        if secret_is_due {
            return SECRETS[self.chance.random_range(0..SECRETS.len())];
        }
        let drawn = self.chance.random_range(0..OTHERS.len() + 3);
        OTHERS[drawn % OTHERS.len()]
    }

    /// How many notifications may come before the next.
    pub fn pause(&mut self) -> u64 {
        self.chance.random_range(1..60)
    }
}

impl Fault {
    pub fn changes_secret(self) -> bool {
        SECRETS.contains(&self)
    }

    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Reset
            | Self::Finish
            | Self::Close
            | Self::Evict
            | Self::Expire
            | Self::Silence
            | Self::HalfOpen
            | Self::Revoke
            | Self::Broken
            | Self::Throttled
            | Self::Unavailable
            | Self::Delayed
            // What the rotation was for is done by finding back.
            | Self::CutWhileRotating
            | Self::SecretKillsSockets => Outcome::Lost,
            Self::Notice
            | Self::Operator
            | Self::RestRefuses
            | Self::RestFails
            | Self::LoginRefuses
            | Self::SecretOfGenesysFirst
            | Self::SecretOfTheFileFirst
            | Self::SecretKillsTokens => Outcome::Rotated,
            Self::Garbage | Self::Stall | Self::Slow | Self::Fragment | Self::Heartbeats => {
                Outcome::Nothing
            }
        }
    }

    /// Makes it happen. `nth` is how many there were, for a secret that nobody had before.
    pub async fn happen(self, stand: &Stand, bridge: &Bridge, nth: usize) {
        if self.changes_secret() || self == Self::LoginRefuses {
            return self.change_secret(stand, bridge, nth).await;
        }
        let (call, fields) = match self {
            Self::Finish => ("close", json!({"mode": "fin"})),
            Self::Close => ("close", json!({"mode": "code", "code": 1001})),
            Self::Evict => ("evict", json!({})),
            Self::Expire => ("expire", json!({})),
            Self::Silence => ("silence", json!({})),
            Self::HalfOpen => ("half-open", json!({})),
            Self::Revoke => ("revoke", json!({})),
            Self::Broken => ("frame", json!({"what": "reserved-bit"})),
            Self::Notice => ("socket-closing", json!({"after_ms": 5_000})),
            Self::Garbage => ("frame", json!({"what": "not-json"})),
            Self::Stall => ("stall", json!({"for_ms": DEAD_AFTER.as_secs_f64() * 500.0})),
            // Faster than the traffic, so that nothing is left behind.
            Self::Slow => ("slow", json!({"bytes": 1_024, "pause_ms": 2, "for_ms": 500})),
            Self::Fragment => ("fragment", json!({"bytes": 64, "for_ms": 500})),
            Self::Heartbeats => ("heartbeats", json!({"skip": 2})),
            Self::Throttled => ("throttle", refused("handshake", 429)),
            Self::Unavailable => ("throttle", refused("handshake", 503)),
            Self::Delayed => {
                ("throttle", json!({"what": "handshake", "delay_ms": 300, "for_ms": 600}))
            }
            Self::RestRefuses => ("throttle", refused("rest", 401)),
            Self::RestFails => ("throttle", refused("rest", 503)),
            Self::Reset
            | Self::CutWhileRotating
            | Self::Operator
            | Self::LoginRefuses
            | Self::SecretOfGenesysFirst
            | Self::SecretOfTheFileFirst
            | Self::SecretKillsSockets
            | Self::SecretKillsTokens => ("", Value::Null),
        };
        if !call.is_empty() {
            stand.control(call, fields).await;
        }
        if matches!(
            self,
            Self::CutWhileRotating | Self::Operator | Self::RestRefuses | Self::RestFails
        ) {
            bridge.signal("USR1").await;
        }
        if self == Self::CutWhileRotating {
            stand.emits(20).await;
        }
        let cuts = [
            Self::Reset,
            Self::CutWhileRotating,
            Self::Throttled,
            Self::Unavailable,
            Self::Delayed,
        ];
        if cuts.contains(&self) {
            stand.control("close", json!({"mode": "rst"})).await;
        }
    }

    async fn change_secret(self, stand: &Stand, bridge: &Bridge, nth: usize) {
        let secret = format!("secret-number-{nth}-that-was-never-there-before");
        let mut rotation = json!({"secret": secret});
        if self == Self::SecretOfTheFileFirst {
            let rejected = bridge.told("credentials_rejected");
            stand.config.write_secret(&secret);
            bridge.tells("credentials_rejected", rejected + 1).await;
        }
        if self == Self::LoginRefuses {
            stand.control("throttle", refused("token", 429)).await;
        }
        rotation["kill_sockets"] = (self == Self::SecretKillsSockets).into();
        rotation["kill_tokens"] = (self == Self::SecretKillsTokens).into();
        stand.control("rotate", rotation).await;
        stand.emits(10).await;
        stand.config.write_secret(&secret);
    }
}

/// A refusal for a while.
fn refused(what: &str, status: u16) -> Value {
    json!({"what": what, "status": status, "for_ms": 600, "retry_after_s": 1})
}

/// Whether a fault of the simulator takes something away from a client.
fn takes(fault: &journal::Fault) -> bool {
    let harmless = ["socket-closing", "stall", "slow", "fragment", "heartbeats"];
    !fault.channels.is_empty() && !harmless.iter().any(|kind| fault.kind.starts_with(kind))
}

/// A planned change makes no gap, and nothing else does but what was taken away.
pub fn assert_each_gap_has_its_fault(gaps: &[Gap], journal: &Journal) {
    let taken = journal.faults.iter().filter(|fault| takes(fault));
    let taken: Vec<u64> = taken.map(|fault| micros(&fault.from)).collect();
    for gap in gaps {
        let (from, to) = (micros(&gap.from), micros(gap.to.as_deref().unwrap()));
        // The last frame before it may be read a moment after the fault, or be as old as a quiet feed.
        let during = from.saturating_sub(1_000_000)..=to;
        assert!(taken.iter().any(|at| during.contains(at)), "no fault in {gap:?}");
    }
}

/// One shard needs two channels, and another for each that the platform dropped, or that belonged to a token that it ended.
pub fn assert_no_needless_channel(journal: &Journal) {
    let used: BTreeSet<&str> = journal.sessions.iter().map(|one| one.channel.as_str()).collect();
    let dropped = ["evict", "expire"];
    let dropped = journal.faults.iter().filter(|fault| dropped.contains(&fault.kind.as_str()));
    let most = 2 + dropped.count();
    assert!(used.len() <= most, "{} channels, where {most} do", used.len());
}
