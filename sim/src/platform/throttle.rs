//! Refusals asked for by a person or a scenario: for a while, one kind of request is answered with
//! an error status instead of being served.

use serde::Deserialize;

use crate::clock::Millis;

use super::State;

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttle {
    pub(crate) target: Target,
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) until: Millis,
}

impl State {
    /// The throttle that hits a request of this kind now; the youngest one when there are several.
    pub(crate) fn throttled(&self, target: Target, now: Millis) -> Option<Throttle> {
        self.throttles
            .iter()
            .rev()
            .find(|throttle| {
                throttle.until > now
                    && (throttle.target == target || throttle.target == Target::All)
            })
            .copied()
    }
}
