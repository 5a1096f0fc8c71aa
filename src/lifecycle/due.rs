//! What each session waits for, and until when: for people who ask what happens next. Decides nothing.

use super::Config;
use super::machine::Lifecycle;
use super::session::Session;
use super::shard::Shard;
use super::state::State;
use crate::time::Time;

/// What a session waits for. A closed set, documented in `docs/lifecycle.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The time until its next attempt.
    Attempt,
    /// The time until it is looked at again, though waiting alone is not expected to help.
    Parked,
    /// The login.
    Token,
    /// The answer to its request for a channel.
    Channel,
    /// The answer to its list of topics.
    Subscription,
    /// The socket.
    Handshake,
    /// The answer to its first probe.
    Pong,
    /// The time until it counts as settled.
    Settled,
    /// A frame of any kind.
    Frame,
    /// The time until it has said all that it had to say.
    Drained,
}

impl Awaited {
    /// All of them, in the order of a session's life.
    pub const ALL: [Self; 10] = [
        Self::Attempt,
        Self::Parked,
        Self::Token,
        Self::Channel,
        Self::Subscription,
        Self::Handshake,
        Self::Pong,
        Self::Settled,
        Self::Frame,
        Self::Drained,
    ];

    /// Its name in `/api/v1/state`, and what becomes of the session when its time has come.
    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Attempt => ("attempt", "it takes its next step"),
            Self::Parked => ("parked", "it is looked at again, or sooner: see above"),
            Self::Token => {
                ("token", "the login acts: a token is asked for, or its answer given up")
            }
            Self::Channel => ("channel", "the answer is given up, and the channels are counted"),
            Self::Subscription => ("subscription", "the answer is given up"),
            Self::Handshake => ("handshake", "the handshake is given up"),
            Self::Pong => ("pong", "the socket is given up: its first probe was not answered"),
            Self::Settled => ("settled", "it counts as settled, and delivers"),
            Self::Frame => ("frame", "the peer is dead"),
            Self::Drained => ("drained", "it is closed"),
        }
    }

    /// Its name in `/api/v1/state`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// What becomes of the session when its time has come.
    pub const fn then(self) -> &'static str {
        self.row().1
    }
}

impl Session {
    /// Until when it waits for what; a session without a token waits for the login's deadline.
    fn awaited(&self, config: &Config, login: Time) -> (Time, Awaited) {
        let dead = self.heard_at.unwrap_or(self.entered) + config.dead_after;
        match self.state {
            State::Waiting { until, parked: false } => (until, Awaited::Attempt),
            State::Waiting { until, parked: true } => (until, Awaited::Parked),
            State::Authenticating => (login, Awaited::Token),
            State::Opening { deadline } => (deadline, Awaited::Channel),
            State::Subscribing { deadline } => (deadline, Awaited::Subscription),
            State::Connecting { deadline } => (deadline, Awaited::Handshake),
            State::Settling { since, ponged: true } => {
                (dead.min(since + config.settle), Awaited::Settled)
            }
            State::Settling { since, ponged: false } => {
                (dead.min(since + config.dead_after), Awaited::Pong)
            }
            State::Live { .. } => (dead, Awaited::Frame),
            State::Draining { until, .. } => {
                (self.poll_timeout(config).unwrap_or(until), Awaited::Drained)
            }
        }
    }
}

impl Lifecycle {
    /// Until when a session waits for what.
    pub fn awaited(&self, session: &Session) -> (Time, Awaited) {
        session.awaited(&self.config, self.login().poll_timeout())
    }

    /// When a session is replaced at the latest, though nothing else should befall it: before its channel ends or the token that made
    /// that, or as soon as the back-off between replacements allows. `None` while it does not deliver, or has a successor.
    pub fn succeeded_at(&self, session: &Session) -> Option<Time> {
        let newest =
            |shard: &&Shard| shard.sessions().last().is_some_and(|own| own.id == session.id);
        self.shards.iter().find(newest)?.succeeds_at(&self.config, self.turns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::tests::{World, config, refusal};
    use crate::lifecycle::{Heard, Reason};
    use std::time::Duration;

    const PAGE: &str = include_str!("../../docs/lifecycle.md");

    #[test]
    fn the_page_on_the_lifecycle_has_this_table() {
        let mut table = String::from("| `deadline_of` | then |\n| --- | --- |\n");
        for awaited in Awaited::ALL {
            table.push_str(&format!("| `{}` | {} |\n", awaited.as_str(), awaited.then()));
        }
        assert!(PAGE.contains(&table), "docs/lifecycle.md must hold:\n{table}");
    }

    /// What the newest session waits for, and how long from now.
    fn newest(world: &World) -> (&'static str, Duration) {
        let session = world.lifecycle.sessions().last().expect("a session");
        let (at, awaited) = world.lifecycle.awaited(session);
        (awaited.as_str(), at.since(world.now))
    }

    #[test]
    fn each_step_of_a_session_says_what_it_waits_for_and_until_when() {
        let mut world = World::new(1);
        let mut seen = Vec::new();
        for _ in 0..300 {
            world.run(Duration::from_millis(10));
            if world.lifecycle.sessions().count() > 0 {
                let (what, wait) = newest(&world);
                assert!(wait <= Duration::from_secs(60), "{what}: {wait:?}");
                if seen.last() != Some(&what) {
                    seen.push(what);
                }
            }
        }
        let live = ["channel", "subscription", "handshake", "pong", "settled", "frame"];
        assert_eq!(seen, live);
        let (_, wait) = newest(&world);
        assert!(wait > Duration::from_secs(30) && wait <= config().dead_after, "{wait:?}");
    }

    #[test]
    fn a_parked_session_says_so_and_a_planned_end_is_known_beforehand() {
        let mut world = World::live(1);
        let session = world.lifecycle.sessions().next().expect("one");
        let ends = world.lifecycle.succeeded_at(session).expect("its channel has an end");
        let day = Duration::from_secs(86_400);
        assert!(ends > world.now + day / 2 && ends < world.now + day, "{ends:?}");
        world.refuse_rest.push_back(refusal(Reason::Forbidden));
        world.order_rotation();
        world.run(Duration::from_secs(1));
        let (what, wait) = newest(&world);
        assert_eq!(what, "parked");
        assert!(wait > Duration::from_secs(290) && wait <= Duration::from_secs(310), "{wait:?}");
        let session = world.lifecycle.sessions().next().expect("the predecessor");
        assert_eq!(world.lifecycle.succeeded_at(session), None, "its successor is at work");
    }

    #[test]
    fn the_back_off_between_replacements_is_known() {
        let mut world = World::live(1);
        let mut longest = Duration::ZERO;
        for _ in 0..60 {
            for session in world.sockets.values().copied().collect::<Vec<_>>() {
                world.hear(session, Heard::ClosingNotice);
            }
            let newest = world.lifecycle.sessions().last().expect("one");
            if let Some(at) = world.lifecycle.succeeded_at(newest) {
                longest = longest.max(at.since(world.now));
            }
            world.run(Duration::from_secs(5));
        }
        assert!(longest > Duration::from_secs(5) && longest <= config().backoff_cap, "{longest:?}");
    }
}
