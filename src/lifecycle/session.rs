//! One session: one channel and its socket, from the first request to the last frame.
//!
//! From Waiting a session goes to the first step that it still needs: to Connecting when its channel has its topics, to
//! Subscribing when it has a channel, to Opening when it has a token. A session knows nothing of its siblings: who succeeds
//! whom is the shard's business.

use super::amend::Carried;
use super::backoff::Backoff;
use super::channel::Channel;
use super::login::Token;
use super::output::{Output, Place};
use super::reasons::{Answer, Call};
use super::state::State;
use super::{Command, Config, Heard, Reason, Refusal, SessionId, ShardId};
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;
use std::time::Duration;

/// The shell answers REST calls and handshakes within its own time-outs; this bounds the wait should it not.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long the successor of a session whose end was announced may wait for a spare channel, of the minute that it has.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon something that waiting does not mend is looked at again.
pub const PARKED: Duration = Duration::from_secs(300);

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Whose topics it carries.
    pub shard: ShardId,
    /// Which of the shard's legs it belongs to, from 0.
    pub leg: usize,
    /// Where it is.
    pub state: State,
    /// When it came there.
    pub entered: Time,
    /// Its channel: kept through the loss of a socket, given up when the platform no longer knows it.
    pub channel: Option<Channel>,
    /// A channel that it gave up although the platform may know it still.
    pub left: Option<Channel>,
    /// The channel that gives its place to the one that is being made, until that is there.
    pub replaces: Option<Channel>,
    /// Whether the channel has our topics.
    pub subscribed: bool,
    /// Whether the feed has been certain since the last subscription: a new socket then resumes it.
    pub proven: bool,
    /// Whether it became live by a new socket on the channel it had.
    pub resumed: bool,
    /// What its channel was given.
    pub carried: Carried,
    /// The edition of the shard's topics that it was made for.
    pub edition: u32,
    /// The token it was last subscribed with.
    pub token: Option<Token>,
    /// The last frame of whatever kind.
    pub heard_at: Option<Time>,
    /// The last notification.
    pub data_at: Option<Time>,
    /// When the platform said that it will close the socket.
    pub noticed: Option<Time>,
    /// Why it last ceased to deliver.
    pub loss: Option<Reason>,
    /// When a successor came to live, while nothing was heard since: it may have been dead before that.
    pub(super) doubt: Option<Time>,
    /// How often it failed since it was made.
    pub failures: u32,
    /// The last failure in words; never a secret.
    pub last_words: Option<String>,
    /// Whether it waits for the client's channels to be counted.
    pub(super) awaits_count: bool,
    /// When the next probe is sent; only used while a socket is open.
    ping_at: Time,
    pub(super) backoff: Backoff,
}

impl Session {
    /// A session that takes its first step at once.
    pub fn new(id: SessionId, place: Place, edition: u32, config: &Config, now: Time) -> Self {
        Self {
            id,
            shard: place.shard,
            leg: place.leg,
            carried: Carried::new(config),
            edition,
            state: State::Waiting { until: now, parked: false },
            entered: now,
            channel: None,
            left: None,
            replaces: None,
            subscribed: false,
            proven: false,
            resumed: false,
            token: None,
            heard_at: None,
            data_at: None,
            noticed: None,
            loss: None,
            doubt: None,
            failures: 0,
            last_words: None,
            awaits_count: false,
            ping_at: now,
            backoff: Backoff::new(config),
        }
    }

    /// Whether notifications reach us through it for certain.
    pub const fn delivers(&self) -> bool {
        matches!(self.state, State::Live { .. } | State::Draining { .. })
    }

    /// Whether that is its channel.
    pub fn holds(&self, channel: super::ChannelId) -> bool {
        self.channel.is_some_and(|own| own.id == channel)
    }

    /// Whether its socket is open.
    pub const fn has_socket(&self) -> bool {
        matches!(self.state, State::Settling { .. }) || self.delivers()
    }

    /// Whether a REST call or a handshake is under way.
    pub const fn awaits_reply(&self) -> bool {
        use State::{Connecting, Opening, Subscribing};
        matches!(self.state, Opening { .. } | Subscribing { .. } | Connecting { .. })
    }

    /// Whether the answer to such a call is awaited.
    pub const fn awaits(&self, call: Call) -> bool {
        match self.state {
            State::Opening { .. } => matches!(call, Call::Rest),
            State::Subscribing { .. } => matches!(call, Call::Channel),
            State::Connecting { .. } => matches!(call, Call::Handshake),
            State::Waiting { .. }
            | State::Authenticating
            | State::Settling { .. }
            | State::Live { .. }
            | State::Draining { .. } => false,
        }
    }

    /// Whether it can take its next step now.
    pub fn is_due(&self, now: Time) -> bool {
        matches!(self.state, State::Waiting { until, .. } if until <= now)
            || self.state == State::Authenticating
    }

    /// When something is due, for every state but `Authenticating`, which waits for the login's own deadline.
    pub fn poll_timeout(&self, config: &Config) -> Option<Time> {
        let dead = self.heard_at.map_or(self.entered, |heard| heard) + config.dead_after;
        match self.state {
            State::Waiting { until, .. } => Some(until),
            State::Authenticating => None,
            State::Opening { deadline }
            | State::Subscribing { deadline }
            | State::Connecting { deadline } => Some(deadline),
            State::Settling { since, ponged } => {
                let next = since + if ponged { config.settle } else { config.dead_after };
                Some(self.ping_at.min(dead).min(next))
            }
            State::Live { .. } => Some(self.ping_at.min(dead)),
            State::Draining { until, .. } if self.doubt.is_none() => Some(until),
            State::Draining { until, .. } => Some(until.max(dead)),
        }
    }

    /// Until when a successor may take its time: the platform closes an announced socket after about a minute, and perhaps one whose
    /// channel's maker ends. `None` while it has no channel.
    /// `turns` is how much earlier sessions leave that must take turns.
    pub fn leave_by(&self, config: &Config, turns: Duration) -> Option<Time> {
        let channel = self.channel?;
        let announced = self.noticed.map(|at| at + PATIENCE);
        announced.into_iter().chain([channel.leave_by(self.entered, config.settle, turns)]).min()
    }

    /// Whether it has drained for long enough: one that was not heard since its successor came to live may have been dead before,
    /// and is kept until that is certain.
    pub fn is_drained(&self, config: &Config, now: Time) -> bool {
        matches!(self.state, State::Draining { .. })
            && self.poll_timeout(config).is_some_and(|due| due <= now)
    }

    /// What it may have missed although a successor took over: from its last frame to the successor's first certain delivery.
    /// Tells it once.
    pub fn take_missed(&mut self) -> Option<(Time, Time)> {
        self.heard_at.zip(self.doubt.take())
    }

    /// Says what it still has to say. The probe's answer proves that it was alive until its successor was.
    pub fn drain(&mut self, since: Time, config: &Config, now: Time, output: &mut Output) {
        self.enter(State::Draining { since, until: now + config.drain }, now, output);
        self.doubt = Some(now);
        self.ping(config, now, output);
    }

    /// Moves along an arrow of the picture.
    pub fn enter(&mut self, state: State, now: Time, output: &mut Output) {
        debug_assert!(
            self.state.may_become(state),
            "{} may not go from {:?} to {state:?}",
            self.id,
            self.state
        );
        let (from, to) = (self.state.as_str(), state.as_str());
        self.state = state;
        self.awaits_count = false;
        if from != to {
            self.entered = now;
            let (session, shard) = (self.id.to_string(), self.shard.0);
            output.observe(Observation::SessionEntered { session, shard, from, to });
        }
    }

    /// Asks for a channel, in the place of another where there is no room.
    pub fn open(
        &mut self,
        token: Token,
        replaces: Option<Channel>,
        now: Time,
        output: &mut Output,
    ) {
        (self.token, self.replaces) = (Some(token), replaces);
        self.enter(State::Opening { deadline: now + DEADLINE }, now, output);
        output.command(Command::OpenChannel { session: self.id, token: token.id });
    }

    /// Gives the channel its topics.
    pub fn subscribe(
        &mut self,
        channel: Channel,
        token: Token,
        topics: &super::plan::ShardTopics,
        now: Time,
        output: &mut Output,
    ) {
        self.channel = Some(channel);
        self.token = Some(token);
        (self.subscribed, self.proven) = (false, false);
        self.carried.give(topics);
        self.enter(State::Subscribing { deadline: now + DEADLINE }, now, output);
        output.command(Command::Subscribe {
            session: self.id,
            token: token.id,
            channel: channel.id,
            topics: topics.clone(),
        });
    }

    /// The platform has taken the topics, which also gives the channel a new life.
    pub fn handle_subscribed(&mut self, now: Time) {
        self.subscribed = true;
        if let Some(channel) = &mut self.channel {
            channel.expires_at = now + channel.life;
        }
    }

    /// Opens a socket on the channel.
    pub fn connect(&mut self, now: Time, output: &mut Output) {
        let Some(channel) = self.channel else { return };
        self.enter(State::Connecting { deadline: now + DEADLINE }, now, output);
        output.command(Command::Connect { session: self.id, channel: channel.id });
    }

    /// The socket is open. The probe goes out at once: its answer is the first sign that the feed works.
    pub fn handle_connected(&mut self, config: &Config, now: Time, output: &mut Output) {
        self.enter(State::Settling { since: now, ponged: false }, now, output);
        (self.heard_at, self.doubt) = (None, None);
        self.loss = None;
        self.noticed = None;
        if let Some(channel) = &mut self.channel {
            channel.doubtful = false;
        }
        self.ping(config, now, output);
    }

    /// Asks the platform for a sign of life.
    pub fn ping(&mut self, config: &Config, now: Time, output: &mut Output) {
        self.ping_at = now + config.ping_interval;
        output.command(Command::Ping { session: self.id });
    }

    /// The socket said something, which its reader had `at`. Returns the token when the platform says that it is revoked.
    pub fn handle_heard(
        &mut self,
        what: Heard,
        at: Time,
        config: &Config,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        self.heard_at = self.heard_at.max(Some(at));
        // What was read before the successor came to live proves nothing about the time since.
        self.doubt = self.doubt.filter(|since| at < *since);
        match what {
            Heard::Data => self.data_at = self.data_at.max(Some(at)),
            Heard::ClosingNotice => self.noticed = self.noticed.or(Some(at)),
            Heard::NoLongerSubscribed => {
                let words = "the platform says that the channel is no longer subscribed";
                return self.lose(Reason::Evicted, words.into(), config, now, rng, output);
            }
            Heard::TokenRevoked => {
                let words = "the platform says that the channel's token was revoked";
                return self.lose(Reason::TokenRevoked, words.into(), config, now, rng, output);
            }
            Heard::Pong => {
                if let State::Settling { since, .. } = self.state {
                    self.enter(State::Settling { since, ponged: true }, now, output);
                }
            }
            Heard::Sign => {}
        }
        self.settle(config, now, output);
        None
    }

    /// Becomes live when the feed is certain: at the first frame where the channel and its topics were kept, else when the probe
    /// was answered and the subscription had time to take effect.
    fn settle(&mut self, config: &Config, now: Time, output: &mut Output) {
        let State::Settling { since, ponged } = self.state else {
            return;
        };
        self.resumed = self.proven;
        let certain = if self.resumed {
            self.heard_at.is_some()
        } else {
            ponged && now.since(since) >= config.settle
        };
        if certain {
            self.proven = true;
            self.enter(State::Live { since }, now, output);
        }
    }

    /// Does what is due: gives up, probes, settles. A step of `Waiting` is taken by the shard. Returns a token that is not
    /// accepted.
    pub fn handle_timeout(
        &mut self,
        config: &Config,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        match self.state {
            State::Opening { deadline }
            | State::Subscribing { deadline }
            | State::Connecting { deadline }
                if deadline <= now =>
            {
                output.command(Command::Close { session: self.id });
                let detail = format!("no answer within {DEADLINE:?} while {}", self.state.as_str());
                let refusal = Refusal { reason: Reason::Timeout, retry_after: None, detail };
                self.handle_refused(&refusal, now, rng, output)
            }
            State::Settling { .. } | State::Live { .. } => {
                let heard = self.heard_at.unwrap_or(self.entered);
                if now.since(heard) >= config.dead_after {
                    let words = format!("nothing was heard for {:?}", now.since(heard));
                    return self.lose(Reason::Silent, words, config, now, rng, output);
                }
                if let State::Settling { since, ponged: false } = self.state
                    && now.since(since) >= config.dead_after
                {
                    let words = format!("no probe was answered for {:?}", now.since(since));
                    return self.lose(Reason::Silent, words, config, now, rng, output);
                }
                if self.ping_at <= now {
                    self.ping(config, now, output);
                }
                self.settle(config, now, output);
                None
            }
            State::Waiting { .. }
            | State::Authenticating
            | State::Opening { .. }
            | State::Subscribing { .. }
            | State::Connecting { .. }
            | State::Draining { .. } => None,
        }
    }

    /// A REST call or a handshake failed. Returns the token when it is the token that is not accepted.
    pub fn handle_refused(
        &mut self,
        refusal: &Refusal,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        let token = self.token;
        if let Some(idle) = &mut self.replaces {
            idle.doubtful |= refusal.reason.may_have_been_done();
        }
        self.fail(refusal.reason, &refusal.detail, refusal.retry_after, now, rng, output);
        token.filter(|_| refusal.reason.answer() == Answer::NewToken)
    }

    /// The socket is gone, or worth nothing any more. Returns the token when that is the cause.
    pub fn lose(
        &mut self,
        reason: Reason,
        words: String,
        config: &Config,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        // The notice explains an end, but not one that says more: an evicted channel is gone for all that.
        let explained = matches!(reason, Reason::Closed | Reason::Cut) && self.noticed.is_some();
        let reason = if explained { Reason::ClosingNotice } else { reason };
        let (delivered, token) = (self.delivers(), self.token);
        let lived = now.since(self.entered);
        output.command(Command::Close { session: self.id });
        output.observe(Observation::SessionLost {
            session: self.id.to_string(),
            shard: self.shard.0,
            reason: reason.as_str(),
            detail: words.clone(),
            lived,
        });
        if delivered {
            self.loss = Some(reason);
            if lived >= config.stable_after {
                self.backoff.reset();
            }
        }
        self.fail(reason, &words, None, now, rng, output);
        token.filter(|_| reason.answer() == Answer::NewToken)
    }
}
