//! What the player has done and is about to do: written by it, read by the screen.

use super::Act;
use crate::time::Time;
use std::time::Duration;

/// The story so far.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    /// What the run is at.
    pub(crate) stage: Stage,
    /// When the traffic began.
    pub(crate) began: Option<Time>,
    /// Every act, in order.
    pub(crate) steps: Vec<Step>,
}

/// What the run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The bridge logs in and subscribes; no traffic yet.
    Settling,
    /// Traffic, and faults.
    Playing,
    /// The person has seen enough; what was begun is brought to its end.
    Ending,
    /// No more traffic; the last events are on their way.
    Delivering,
    /// The bridge drains, then the books are compared.
    Closing,
}

impl Stage {
    /// In words for the screen.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Settling => "the bridge subscribes; traffic starts when it is ready",
            Self::Playing => "traffic runs",
            Self::Ending => "ending early, as soon as the bridge is well",
            Self::Delivering => "traffic has stopped; the last events are delivered",
            Self::Closing => {
                "the bridge drains, then the simulator's journal is compared with the sink"
            }
        }
    }
}

/// One act and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) act: Act,
    /// When it is due, or was done, since the traffic began.
    pub(crate) at: Duration,
    pub(crate) state: State,
}

/// How far an act is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not yet done.
    Ahead,
    /// Done; the bridge recovers.
    Now,
    /// The bridge has recovered as it should, in words.
    Well(String),
    /// It has not, in words.
    Ill(String),
}

impl Step {
    pub(super) const fn ahead(act: Act, at: Duration) -> Self {
        Self { act, at, state: State::Ahead }
    }
}
