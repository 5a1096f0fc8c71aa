//! What happens in a soak: every way to lose a socket, every planned change, what hinders either, and restarts.
//!
//! Each is a list of acts; nothing is carried out here.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// One thing that is done.
#[derive(Clone, Debug)]
pub enum Act {
    /// A call of the simulator's.
    Call(&'static str, Value),
    /// A signal to the process.
    Signal(&'static str),
    /// So many notifications pass.
    Pass(u64),
    /// The secret file is replaced.
    File(String),
    /// The process says this event.
    Said(&'static str),
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Lost,
    /// Where the simulator took a socket: an ended token takes those of the channels that it made.
    LostIfHit,
    Rotated,
    Nothing,
    /// Another process takes over: after an order to stop, or killed.
    Restarted {
        orderly: bool,
    },
    /// A queue that is heard is chosen no more, or the other way round.
    Requeued,
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
    BrokenFrame,
    HandshakesThrottled,
    HandshakesUnavailable,
    HandshakesDelayed,
    CutWhileRotating,
    ClosingNotice,
    Operator,
    RestUnauthorized,
    RestUnavailable,
    RestThrottled,
    Secret(Change),
    Garbage,
    Stall,
    Slow,
    Fragments,
    Heartbeats,
    Queues,
    Terminated,
    Killed,
    KilledWhileRotating,
}

/// A change of the client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    GenesysFirst,
    FileFirst,
    Twice,
    KillsSockets,
    KillsTokens,
    LoginThrottled,
}

const ALL: [Fault; 33] = [
    Fault::Reset,
    Fault::Finish,
    Fault::Close,
    Fault::Evict,
    Fault::Expire,
    Fault::Silence,
    Fault::HalfOpen,
    Fault::Revoke,
    Fault::BrokenFrame,
    Fault::HandshakesThrottled,
    Fault::HandshakesUnavailable,
    Fault::HandshakesDelayed,
    Fault::CutWhileRotating,
    Fault::ClosingNotice,
    Fault::Operator,
    Fault::RestUnauthorized,
    Fault::RestUnavailable,
    Fault::RestThrottled,
    Fault::Secret(Change::LoginThrottled),
    Fault::Secret(Change::GenesysFirst),
    Fault::Secret(Change::FileFirst),
    Fault::Secret(Change::Twice),
    Fault::Secret(Change::KillsSockets),
    Fault::Secret(Change::KillsTokens),
    Fault::Garbage,
    Fault::Stall,
    Fault::Slow,
    Fault::Fragments,
    Fault::Heartbeats,
    Fault::Queues,
    Fault::Terminated,
    Fault::Killed,
    Fault::KilledWhileRotating,
];

/// Calls that are about every socket unless one is named, or about the first one.
const SOCKETS: [&str; 10] = [
    "close",
    "evict",
    "expire",
    "fragment",
    "frame",
    "half-open",
    "heartbeats",
    "silence",
    "slow",
    "stall",
];

/// Deals faults: each once before any comes again, so that a short run has seen nearly all.
pub struct Deck {
    chance: StdRng,
    left: Vec<Fault>,
    /// How many legs a shard has.
    legs: usize,
}

impl Deck {
    pub fn new(seed: u64, legs: usize) -> Self {
        Self { chance: StdRng::seed_from_u64(seed), left: Vec::new(), legs }
    }

    pub fn deal(&mut self) -> Fault {
        if self.left.is_empty() {
            self.left = ALL.to_vec();
            self.left.shuffle(&mut self.chance);
        }
        self.left.pop().unwrap()
    }

    /// What of the acts hits sockets, hits those of all legs half of the time, and else that of one leg alone.
    pub fn aim(&mut self, acts: &mut [Act]) {
        let leg = match self.legs {
            1 => return,
            legs => self.chance.random_range(1..=2 * legs),
        };
        for act in acts {
            if let Act::Call(call, fields) = act
                && SOCKETS.contains(call)
                && leg <= self.legs
            {
                fields["channel"] = format!("#{leg}").into();
            }
        }
    }

    /// How many notifications pass before the next: some come before the process is steady again.
    pub fn pause(&mut self) -> u64 {
        self.chance.random_range(1..100)
    }
}

impl Fault {
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Reset
            | Self::Finish
            | Self::Close
            | Self::Evict
            | Self::Expire
            | Self::Silence
            | Self::HalfOpen
            | Self::BrokenFrame
            | Self::HandshakesThrottled
            | Self::HandshakesUnavailable
            | Self::HandshakesDelayed
            // What the rotation was for is done by finding back.
            | Self::CutWhileRotating
            | Self::Secret(Change::KillsSockets) => Outcome::Lost,
            Self::Revoke => Outcome::LostIfHit,
            Self::ClosingNotice
            | Self::Operator
            | Self::RestUnauthorized
            | Self::RestUnavailable
            | Self::RestThrottled
            | Self::Secret(_) => Outcome::Rotated,
            Self::Garbage | Self::Stall | Self::Slow | Self::Fragments | Self::Heartbeats => {
                Outcome::Nothing
            }
            Self::Queues => Outcome::Requeued,
            Self::Terminated => Outcome::Restarted { orderly: true },
            Self::Killed | Self::KilledWhileRotating => Outcome::Restarted { orderly: false },
        }
    }

    /// Whether it is a mere cut: how long one takes is measured on a session that was stable.
    pub const fn is_measured(self) -> bool {
        matches!(self, Self::Reset | Self::Finish | Self::Close)
    }

    /// What is done; the `nth` fault of all.
    pub fn acts(self, nth: usize) -> Vec<Act> {
        let cut = || Act::Call("close", json!({"mode": "rst"}));
        let rotates = || Act::Signal("USR1");
        let refused = |what, status| {
            let for_a_while =
                json!({"what": what, "status": status, "for_ms": 600, "retry_after_s": 1});
            Act::Call("throttle", for_a_while)
        };
        match self {
            Self::Reset => vec![cut()],
            Self::Finish => vec![Act::Call("close", json!({"mode": "fin"}))],
            Self::Close => vec![Act::Call("close", json!({"mode": "code", "code": 1001}))],
            Self::Evict => vec![Act::Call("evict", json!({}))],
            Self::Expire => {
                let status = [404, 401, 403, 410][nth % 4];
                let turned = Act::Call("switch", json!({"refused_with": status}));
                vec![turned, Act::Call("expire", json!({}))]
            }
            Self::Silence => vec![Act::Call("silence", json!({}))],
            Self::HalfOpen => vec![Act::Call("half-open", json!({}))],
            Self::Revoke => vec![Act::Call("revoke", json!({}))],
            Self::BrokenFrame => vec![Act::Call("frame", json!({"what": "reserved-bit"}))],
            Self::HandshakesThrottled => vec![refused("handshake", 429), cut()],
            Self::HandshakesUnavailable => vec![refused("handshake", 503), cut()],
            Self::HandshakesDelayed => {
                let delayed = json!({"what": "handshake", "delay_ms": 300, "for_ms": 600});
                vec![Act::Call("throttle", delayed), cut()]
            }
            Self::CutWhileRotating => vec![rotates(), Act::Pass(20), cut()],
            Self::ClosingNotice => vec![Act::Call("socket-closing", json!({"after_ms": 8_000}))],
            Self::Operator => vec![rotates()],
            Self::RestUnauthorized => vec![refused("rest", 401), rotates()],
            Self::RestUnavailable => vec![refused("rest", 503), rotates()],
            Self::RestThrottled => vec![refused("rest", 429), rotates()],
            Self::Secret(change) => change.acts(nth),
            Self::Garbage => vec![Act::Call("frame", json!({"what": "not-json"}))],
            // Half of what is taken for death in `run`.
            Self::Stall => vec![Act::Call("stall", json!({"for_ms": 1_500}))],
            // Faster than the traffic, so that nothing is left behind.
            Self::Slow => {
                vec![Act::Call("slow", json!({"bytes": 1_024, "pause_ms": 2, "for_ms": 500}))]
            }
            Self::Fragments => vec![Act::Call("fragment", json!({"bytes": 64, "for_ms": 500}))],
            Self::Heartbeats => vec![Act::Call("heartbeats", json!({"skip": 2}))],
            Self::Queues | Self::Terminated | Self::Killed => Vec::new(),
            Self::KilledWhileRotating => vec![rotates(), Act::Pass(1 + (nth as u64 * 7) % 80)],
        }
    }
}

impl Change {
    fn acts(self, nth: usize) -> Vec<Act> {
        let secret = format!("secret-number-{nth}-that-was-never-there-before");
        let kills =
            |what: &str| Act::Call("rotate", json!({"secret": secret.as_str(), what: true}));
        let learns = || Act::Call("rotate", json!({"secret": secret.as_str()}));
        let file = || Act::File(secret.clone());
        match self {
            Self::FileFirst => vec![file(), Act::Said("credentials_rejected"), learns()],
            Self::Twice => {
                let first = format!("secret-number-{nth}-that-is-soon-replaced");
                let once = Act::Call("rotate", json!({"secret": first.as_str()}));
                vec![once, Act::File(first), Act::Pass(5), learns(), file()]
            }
            Self::KillsSockets => vec![kills("kill_sockets"), Act::Pass(10), file()],
            Self::KillsTokens => vec![kills("kill_tokens"), Act::Pass(10), file()],
            Self::LoginThrottled => {
                let throttle =
                    json!({"what": "token", "status": 429, "for_ms": 600, "retry_after_s": 1});
                vec![Act::Call("throttle", throttle), learns(), Act::Pass(10), file()]
            }
            Self::GenesysFirst => vec![learns(), Act::Pass(10), file()],
        }
    }
}
