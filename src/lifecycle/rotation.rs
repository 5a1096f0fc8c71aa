//! The planned replacements of one shard: why they begin, when the next one may, how they fail and end.
//!
//! Starts no session: the shard does, and says so here.

use super::backoff::Backoff;
use super::output::Output;
use super::session::Session;
use super::state::State;
use super::{Config, SessionId, ShardId};
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;

/// Why a session is replaced although it delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The platform announced that it will close the socket.
    ClosingNotice,
    /// There is a token bought with a fresh secret.
    Secret,
    /// There is a fresh token.
    Token,
    /// The channel's life, or that of the token that made it, comes to its end.
    Channel,
    /// The same topics are subscribed to in another form.
    Topics,
    /// A person asked for it.
    Operator,
}

impl Trigger {
    /// All triggers.
    pub const ALL: [Self; 6] = [
        Self::ClosingNotice,
        Self::Secret,
        Self::Token,
        Self::Channel,
        Self::Topics,
        Self::Operator,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClosingNotice => "closing_notice",
            Self::Secret => "secret",
            Self::Token => "token_expiry",
            Self::Channel => "channel_expiry",
            Self::Topics => "topics",
            Self::Operator => "operator",
        }
    }
}

/// A replacement under way.
#[derive(Clone, Copy, Debug)]
struct Rotation {
    trigger: Trigger,
    predecessor: SessionId,
    successor: SessionId,
    /// Failures of the successor that were told.
    failures: u32,
    /// When the successor became live.
    settled_at: Option<Time>,
}

/// The replacements under way: more than one where a successor must go before its predecessor has drained.
#[derive(Clone, Debug)]
pub struct Rotations {
    shard: ShardId,
    under_way: Vec<Rotation>,
    /// Grows while each session must be replaced soon after it came to live: a platform that announces the end of every socket at
    /// once gets no storm of them.
    backoff: Backoff,
    not_before: Time,
}

impl Rotations {
    /// None under way.
    pub fn new(shard: ShardId, config: &Config) -> Self {
        let backoff = Backoff::new(config);
        Self { shard, under_way: Vec::new(), backoff, not_before: Time::START }
    }

    /// When the next one may begin.
    pub const fn not_before(&self) -> Time {
        self.not_before
    }

    /// One begins: `successor` is made while `predecessor` goes on delivering.
    pub fn begin(
        &mut self,
        trigger: Trigger,
        predecessor: &Session,
        successor: SessionId,
        config: &Config,
        now: Time,
        output: &mut Output,
    ) {
        // One that had to wait for its turn follows upon the last, however long that was.
        if now.since(self.not_before) >= config.stable_after {
            self.backoff.reset();
        }
        let predecessor = predecessor.id;
        let rotation = Rotation { trigger, predecessor, successor, failures: 0, settled_at: None };
        self.under_way.push(rotation);
        output.observe(Observation::RotationStarted {
            shard: self.shard.0,
            trigger: trigger.as_str(),
            predecessor: predecessor.to_string(),
            successor: successor.to_string(),
        });
    }

    /// Tells what failed and what is over. Each that began is told to have ended: when its predecessor is gone, and its successor has
    /// become live or was itself replaced before it could.
    pub fn look(
        &mut self,
        sessions: &[Session],
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) {
        for rotation in &mut self.under_way {
            let successor = sessions.iter().find(|session| session.id == rotation.successor);
            let Some(successor) = successor else { continue };
            if rotation.settled_at.is_none() && matches!(successor.state, State::Live { .. }) {
                rotation.settled_at = Some(now);
                self.not_before = now + self.backoff.next(None, rng);
            }
            if successor.failures <= rotation.failures {
                continue;
            }
            rotation.failures = successor.failures;
            if let State::Waiting { until, .. } = successor.state {
                output.observe(Observation::RotationFailed {
                    shard: self.shard.0,
                    trigger: rotation.trigger.as_str(),
                    detail: successor.last_words.clone().unwrap_or_default(),
                    retry_in: until.since(now),
                });
            }
        }
        let lives = |id| sessions.iter().any(|session| session.id == id);
        let shard = self.shard.0;
        self.under_way.retain(|rotation| {
            let settled = rotation.settled_at.is_some() || !lives(rotation.successor);
            let over = settled && !lives(rotation.predecessor);
            if over {
                output.observe(Observation::RotationFinished {
                    shard,
                    trigger: rotation.trigger.as_str(),
                    overlap: rotation.settled_at.map(|at| now.since(at)).unwrap_or_default(),
                });
            }
            !over
        });
    }
}
