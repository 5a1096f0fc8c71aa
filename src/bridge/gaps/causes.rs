//! Why gaps open and how they end: the words that are the bridge's own, beside the reasons for which sessions end.
//!
//! Words only.

use crate::sequence::Certainty;

/// The cause of a gap that the journal's bound makes.
pub(in crate::bridge) const JOURNAL_FULL: &str = "journal_full";

/// The cause of a gap that the journal's disk makes.
pub(in crate::bridge) const JOURNAL_DISK: &str = "journal_disk";

/// The cause of a gap that damage to the journal makes.
pub(super) const JOURNAL_DAMAGED: &str = "journal_damaged";

/// The cause of the gap between two runs of the process.
pub(in crate::bridge) const RESTART: &str = "restart";

/// The cause of the gap where a process that took over died before it had.
pub(in crate::bridge) const HANDOVER: &str = "handover";

/// The cause of a gap where a frame could not be read.
pub(in crate::bridge) const UNREADABLE: &str = "unreadable_frame";

/// The cause of a gap where the session is well and the feed of some keys has fallen silent.
pub(in crate::bridge) const FEED_SILENT: &str = "feed_silent";

/// All causes beside the reasons for which sessions end.
pub(super) const OTHERS: [&str; 7] =
    [RESTART, HANDOVER, JOURNAL_FULL, JOURNAL_DISK, JOURNAL_DAMAGED, UNREADABLE, FEED_SILENT];

/// What had been done about a sink's gap when the process ended before it.
pub(super) const ENDED: &str = "the process was restarted";

/// How a gap of damage ends.
pub(super) const WHOLE: &str = "what is whole is delivered";

/// How a gap ends where the same channel delivers again.
pub(super) const RESUMED: &str = "resumed";

/// How the gap of a shard ends that has no topics any more.
pub(super) const UNWANTED: &str = "no longer wanted";

/// How a suspicion ends with the session that it was about.
pub(in crate::bridge) const LOST: &str = "the session was lost";

/// All that can have been done about a gap.
pub(super) const ACTIONS: [&str; 10] = [
    RESUMED,
    "resubscribed",
    LOST,
    UNWANTED,
    "the feed was heard again",
    "frames are read again",
    "there is room again",
    "the process ends",
    ENDED,
    WHOLE,
];

/// What kind of doubt a cause is: a shard has at most one open gap of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// No session delivers.
    Delivery,
    /// A frame could not be read.
    Frame,
    /// Some keys have fallen silent.
    Feed,
}

/// What kind of doubt a cause is.
pub(super) fn class(cause: &str) -> Class {
    match cause {
        UNREADABLE => Class::Frame,
        FEED_SILENT => Class::Feed,
        _ => Class::Delivery,
    }
}

/// How sure a gap of that cause is.
pub(super) fn certainty_of(cause: &str) -> Certainty {
    match class(cause) {
        Class::Delivery => Certainty::Certain,
        Class::Frame | Class::Feed => Certainty::Possible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Reason;
    use crate::telemetry::metrics::{OTHER_GAP_CAUSES, POSSIBLE_GAP_CAUSES};

    #[test]
    fn every_cause_has_its_series_from_the_start_under_its_own_certainty() {
        let mut counted = [&OTHER_GAP_CAUSES[..], &POSSIBLE_GAP_CAUSES[..]].concat();
        let mut ours = OTHERS.to_vec();
        counted.sort_unstable();
        ours.sort_unstable();
        assert_eq!(counted, ours);
        let certain = Reason::ALL.map(Reason::as_str).into_iter().chain(OTHER_GAP_CAUSES);
        assert!(certain.into_iter().all(|cause| certainty_of(cause) == Certainty::Certain));
        let possible = POSSIBLE_GAP_CAUSES.map(certainty_of);
        assert_eq!(possible, [Certainty::Possible; 2]);
    }
}
