//! The story of a run: which fault comes when, what the screen may tell of it, and the player that carries it out.

mod board;
mod play;

pub(super) use board::{Board, Stage, State, Step};
pub(super) use play::Player;

use std::time::Duration;

/// The traffic stops this long before the end, so that the last events are delivered within the time asked for.
pub(super) const TAIL: Duration = Duration::from_secs(2);

/// One fault, or one planned change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// TCP reset.
    Reset,
    /// A cut whose next handshake is answered 429 with a `Retry-After`.
    Throttle,
    /// `v2.system.socket_closing`.
    Notice,
    /// The peer says nothing more, while TCP stays up.
    Silence,
    /// The administrator regenerates the client secret; the secret's source learns of it a little later.
    Rotate,
    /// TCP FIN without a close frame.
    Finish,
}

/// The acts in their order, each at its part of the story's length.
const PLOT: [(Act, f64); 6] = [
    (Act::Reset, 0.05),
    (Act::Throttle, 0.15),
    (Act::Notice, 0.28),
    (Act::Silence, 0.45),
    (Act::Rotate, 0.65),
    (Act::Finish, 0.86),
];

impl Act {
    /// What happens, in words for the screen.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Reset => "the socket is cut (TCP reset)",
            Self::Throttle => "cut again, the next handshake gets a 429",
            Self::Notice => "Genesys announces that it will close",
            Self::Silence => "the peer falls silent, TCP stays up",
            Self::Rotate => "the client secret is rotated",
            Self::Finish => "the socket is cut (FIN, no close frame)",
        }
    }

    /// Whether it must cost nothing.
    pub(super) const fn is_planned(self) -> bool {
        match self {
            Self::Notice | Self::Rotate => true,
            Self::Reset | Self::Throttle | Self::Silence | Self::Finish => false,
        }
    }
}

/// The steps of a story of this length, all of them ahead.
pub(super) fn plot(length: Duration) -> Vec<Step> {
    let steps = PLOT.into_iter();
    steps.map(|(act, part)| Step::ahead(act, length.mul_f64(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_of_any_length_ends_before_its_tail() {
        for seconds in [20, 60, 3_600] {
            let length = Duration::from_secs(seconds);
            let steps = plot(length);
            assert!(steps.iter().all(|step| step.at + TAIL < length), "{steps:?}");
            assert!(steps.is_sorted_by_key(|step| step.at));
        }
    }

    #[test]
    fn every_kind_of_fault_and_both_planned_changes_are_told() {
        let planned: Vec<bool> =
            plot(Duration::from_secs(60)).iter().map(|step| step.act.is_planned()).collect();
        assert_eq!(planned, [false, false, true, false, true, false]);
    }
}
