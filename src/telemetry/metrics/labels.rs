//! The closed sets that label values come from; every value is present at 0 from the start.
//!
//! A value outside its set gets a series of its own when it first occurs: labels are `&'static str`, so that data can never make
//! one.

use crate::event::Topic;

/// What a session can be doing, in the order in which it does it.
pub const STATES: [&str; 8] = [
    "waiting",
    "authenticating",
    "opening",
    "subscribing",
    "connecting",
    "settling",
    "live",
    "draining",
];

/// What makes us replace a session that works.
pub const TRIGGERS: [&str; 6] =
    ["closing_notice", "secret", "token_expiry", "channel_expiry", "topics", "operator"];

/// How an attempt to replace a session ended; a failed one is tried again.
pub const OUTCOMES: [&str; 2] = ["completed", "failed"];

/// Causes of a certain gap beside the reasons for which a session ends: the process did not run, a handover failed, or the journal was full, its disk failed,
/// or it is damaged.
pub const OTHER_GAP_CAUSES: [&str; 5] =
    ["restart", "handover", "journal_full", "journal_disk", "journal_damaged"];

/// Why a new epoch begins in place of another.
pub const EPOCH_REASONS: [&str; 5] = ["unclean", "damaged", "sink_added", "keys", "behind"];

/// What can fail on the journal's disk.
pub const JOURNAL_OPERATIONS: [&str; 4] = ["open", "write", "sync", "remove"];

/// What a sink was doing when it failed as a whole.
pub const FAILURES: [&str; 5] = ["connect", "send", "acknowledge", "park", "close"];

/// What is asked of the platform so often that it is counted against a bound: calls in a minute, handshakes in a second.
pub const BUDGETS: [&str; 2] = ["rest", "handshakes"];

/// Causes of a possible gap: the session is well, but may not have heard everything.
pub const POSSIBLE_GAP_CAUSES: [&str; 2] = ["unreadable_frame", "feed_silent"];

/// How sure a gap is.
pub const CERTAINTIES: [&str; 2] = ["certain", "possible"];

/// What re-basing made of a topic.
pub const REBASED: [&str; 4] = ["snapshot", "superseded", "failed", "without"];

/// The legs of a shard; without redundancy there is the first alone.
pub const LEGS: [&str; 2] = ["1", "2"];

/// What a leg showed beside another.
pub const SIGHTS: [&str; 3] = ["won", "followed", "missed"];

/// Whether the platform took a topic.
pub const TOPIC_STATES: [&str; 2] = ["permitted", "rejected"];

/// What can come of reading the configuration again: all of it is in force, part of it takes a restart, nothing has changed, or it has
/// mistakes and nothing of it is in force.
pub const RELOADS: [&str; 4] = ["applied", "restart_needed", "unchanged", "refused"];

/// What can be said of a broker: connected, not needed yet, or needed and away.
pub const BROKER_STATES: [&str; 3] = ["up", "idle", "down"];

/// Families of topics by their names without ids, commonest first; the last stands for all others.
pub const FAMILIES: [&str; 9] = [
    "v2.routing.queues.conversations",
    "v2.routing.queues.users",
    "v2.analytics.queues.observations",
    "v2.users.presence",
    "v2.users.routingstatus",
    "v2.users.conversations",
    "v2.analytics.conversation.metrics",
    "v2.detail.events",
    "other",
];

/// The place of a topic's family in `FAMILIES`.
pub fn family_of(topic: &Topic) -> usize {
    const OTHER: usize = FAMILIES.len() - 1;
    const DETAIL: usize = OTHER - 1;
    let kind = topic.family_name();
    if kind.starts_with("v2.detail.events.") {
        return DETAIL;
    }
    FAMILIES
        .iter()
        // Equality first: it is the usual case, and several times cheaper.
        .position(|family| kind == *family || kind.eq_ignore_ascii_case(family))
        .unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{State, Trigger};
    use crate::sequence::Certainty;
    use crate::time::Time;

    /// A state's place in `STATES`; a new one does not compile here.
    const fn place(state: State) -> usize {
        match state {
            State::Waiting { .. } => 0,
            State::Authenticating => 1,
            State::Opening { .. } => 2,
            State::Subscribing { .. } => 3,
            State::Connecting { .. } => 4,
            State::Settling { .. } => 5,
            State::Live { .. } => 6,
            State::Draining { .. } => 7,
        }
    }

    #[test]
    fn the_labels_are_the_names_of_what_they_count() {
        let at = Time::START;
        let states = [
            State::Waiting { until: at, parked: false },
            State::Authenticating,
            State::Opening { deadline: at },
            State::Subscribing { deadline: at },
            State::Connecting { deadline: at },
            State::Settling { since: at, ponged: false },
            State::Live { since: at },
            State::Draining { since: at, until: at },
        ];
        assert_eq!(states.map(State::as_str), STATES);
        assert_eq!(states.map(place), std::array::from_fn(|at| at));
        assert_eq!(Trigger::ALL.map(Trigger::as_str), TRIGGERS);
        assert_eq!(Certainty::ALL.map(Certainty::as_str), CERTAINTIES);
    }

    #[test]
    fn every_family_finds_its_own_topics() {
        const ID: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";
        let family = |name: &str| FAMILIES[family_of(&Topic::new(name))];
        assert_eq!(
            family(&format!("v2.routing.queues.{ID}.conversations")),
            "v2.routing.queues.conversations"
        );
        assert_eq!(family(&format!("v2.users.{ID}.routingStatus")), "v2.users.routingstatus");
        assert_eq!(
            family(&format!("v2.analytics.conversation.{ID}.metrics")),
            "v2.analytics.conversation.metrics"
        );
        assert_eq!(
            family(&format!("v2.detail.events.conversation.{ID}.acd.start")),
            "v2.detail.events"
        );
        assert_eq!(family("v2.audits.entitytype"), "other");
    }
}
