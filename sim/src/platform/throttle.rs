//! Refusals and delays asked for by a person or a scenario: for a while, one kind of request is
//! answered with an error status, late, or never.

use std::time::Duration;

use serde::Deserialize;

use crate::clock::Millis;

use super::State;
use super::limits::SECOND;

/// Which requests a throttle hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    Handshake,
    Rest,
    Token,
    All,
}

impl Target {
    /// Its name in control calls and in the journal.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Rest => "rest",
            Self::Token => "token",
            Self::All => "all",
        }
    }
}

/// One throttle that is in force.
#[derive(Debug, Clone)]
pub(crate) struct Throttle {
    pub(crate) target: Target,
    pub(crate) effect: Effect,
    /// Only each n-th request is hit.
    pub(crate) every: u64,
    pub(crate) until: Millis,
    pub(crate) seen: u64,
}

/// What a request that is hit gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The error that answers it; without one it is served.
    pub(crate) status: Option<u16>,
    /// The code in its body, when it is not the usual one of the status.
    pub(crate) code: Option<String>,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    /// How long it waits first.
    pub(crate) delay: Duration,
    /// It is never answered.
    pub(crate) hangs: bool,
}

impl State {
    /// What a request of this kind gets now; the youngest throttle wins.
    pub(crate) fn throttled(&mut self, target: Target, now: Millis) -> Effect {
        let mut effect = Effect::default();
        for throttle in self.throttles.iter_mut() {
            let concerned = throttle.target == target || throttle.target == Target::All;
            if concerned && throttle.until > now {
                throttle.seen += 1;
                if throttle.seen.is_multiple_of(throttle.every) {
                    effect = throttle.effect.clone();
                }
            }
        }
        if effect == Effect::default() && self.is_too_fast(target, now) {
            effect = Effect { status: Some(429), retry_after: Some(1), ..effect };
        }
        effect
    }

    /// Counts a handshake or a login, and answers whether the switches allow no more this second.
    fn is_too_fast(&mut self, target: Target, now: Millis) -> bool {
        let (usage, allowed) = match target {
            Target::Handshake => (&mut self.handshakes, self.switches.handshakes_per_second),
            Target::Token => (&mut self.logins, self.switches.logins_per_second),
            Target::Rest | Target::All => return false,
        };
        allowed > 0 && usage.count(now, allowed, SECOND).is_overdrawn()
    }
}
