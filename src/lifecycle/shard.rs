//! One leg of a slice of the topics: kept covered by one session, or by two while one succeeds the other. In redundant mode a
//! slice has two legs, which know nothing of each other.
//!
//! The leg decides who succeeds whom, and knows when nobody delivers. Rules, looked at after every input:
//! 1. Without a session, one is started.
//! 2. When the newest live session has a reason to be replaced and no younger one is at work, a successor is started.
//! 3. When a session becomes live, the older ones drain, or are dropped where they have no socket. One that drains returns to
//!    live should its successor be lost.
//! 4. When the last delivering session is lost, an outage begins at its last frame; when one delivers again, it ends. What all legs
//!    of the slice missed is a gap (`coverage`).
//! 5. A live session whose topics are not those that are wanted is given the difference (`amend`).

use super::budget::Budget;
use super::channel::Channel;
use super::login::Token;
use super::output::{Output, Place};
use super::plan::{CHANNELS_PER_CLIENT, ShardTopics};
use super::session::Session;
use super::state::State;
use super::{Command, Config, Reason, SessionId};
use crate::observation::Observation;
use crate::time::Time;

/// How soon a session without a channel looks again whether one may be made.
///
/// It asks nobody but ourselves; shards take turns with the last spare channel, and a closing notice leaves them a minute.
const NO_CHANNEL_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

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
}

impl Trigger {
    /// All triggers.
    pub const ALL: [Self; 5] =
        [Self::ClosingNotice, Self::Secret, Self::Token, Self::Channel, Self::Topics];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClosingNotice => "closing_notice",
            Self::Secret => "secret",
            Self::Token => "token_expiry",
            Self::Channel => "channel_expiry",
            Self::Topics => "topics",
        }
    }
}

/// A planned replacement under way.
#[derive(Clone, Copy, Debug)]
struct Rotation {
    trigger: Trigger,
    successor: SessionId,
    /// Failures of the successor that were told.
    failures: u32,
    /// When the successor became live.
    settled_at: Option<Time>,
}

/// What the shard needs of the client it belongs to.
#[derive(Debug)]
pub struct Client<'a> {
    /// The times that govern sessions.
    pub config: &'a Config,
    /// The newest valid token.
    pub token: Option<Token>,
    /// The last session's number.
    pub sessions: &'a mut u64,
    /// Channels without a socket that the platform still knows.
    pub retired: &'a mut Vec<Channel>,
    /// How many channels of ours the platform knows or is asked for, retired ones included.
    pub channels: usize,
    /// How many legs all shards have: with one channel more they take turns in planned changes.
    pub legs: usize,
    /// How often a socket may be opened.
    pub handshakes: &'a mut Budget,
    /// How often a REST call may be made.
    pub rest: &'a mut Budget,
}

impl Client<'_> {
    fn new_session(&mut self, place: Place, edition: u32, now: Time) -> Session {
        *self.sessions += 1;
        Session::new(SessionId(*self.sessions), place, edition, self.config, now)
    }

    /// Whether a channel may be made. Planned changes take turns with one channel more than there are legs; whoever has no time to
    /// wait takes what the platform allows.
    fn may_open(&self, urgent: bool, now: Time) -> bool {
        let unusable = self.retired.iter().filter(|channel| !channel.is_usable(now)).count();
        self.channels < CHANNELS_PER_CLIENT
            && (urgent || self.channels.saturating_sub(unusable) <= self.legs)
    }

    /// A retired channel that will outlive its next use.
    fn take_retired(&mut self, now: Time, output: &mut Output) -> Option<Channel> {
        let channels = &mut self.channels;
        self.retired.retain(|channel| {
            let known = now < channel.expires_at;
            if !known {
                *channels = channels.saturating_sub(1);
                output.command(Command::Forget { channel: channel.id });
            }
            known
        });
        let usable = self.retired.iter().position(|channel| channel.is_usable(now))?;
        Some(self.retired.remove(usable))
    }
}

/// One leg of a slice of the topics, and its sessions.
#[derive(Clone, Debug)]
pub struct Shard {
    place: Place,
    topics: ShardTopics,
    /// Counts the forms in which the topics were subscribed to.
    edition: u32,
    /// Oldest first. More than one only while a successor is made or a predecessor drains.
    sessions: Vec<Session>,
    /// Whether a session delivers.
    covered: bool,
    rotation: Option<Rotation>,
}

impl Shard {
    /// A leg that starts its first session at the next step.
    pub const fn new(place: Place, topics: ShardTopics) -> Self {
        Self { place, topics, edition: 0, sessions: Vec::new(), covered: false, rotation: None }
    }

    /// Which leg of which shard it is.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Its topics, as they are subscribed to.
    pub const fn topics(&self) -> &ShardTopics {
        &self.topics
    }

    /// From now on these are wanted, `count` topics by themselves. `recombined` says that those which stay are subscribed to in
    /// another form: then a successor takes them, since nobody knows whether the platform changes them over without a moment between.
    pub fn want(&mut self, topics: ShardTopics, count: usize, recombined: bool) {
        self.place.topics = count;
        self.topics = topics;
        self.edition += u32::from(recombined);
    }

    /// Asks again for the topics that the platform refused.
    pub fn ask_again(&mut self) {
        for session in &mut self.sessions {
            session.ask_again();
        }
    }

    /// Closes every session, and hands out the channels that the platform still knows.
    pub fn dissolve(&mut self, output: &mut Output) -> Vec<Channel> {
        self.close_sessions(output)
    }

    /// Looks again now at what waiting alone does not mend.
    pub fn wake(&mut self, now: Time) {
        for session in &mut self.sessions {
            session.wake(now);
        }
    }

    /// Its sessions, oldest first.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The session of that name, if it is one of this shard's.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// When something is due.
    pub fn poll_timeout(&self, config: &Config) -> Option<Time> {
        let sessions = self.sessions.iter().filter_map(|session| session.poll_timeout(config));
        let amends = self.sessions.iter().filter_map(|session| self.amends_at(session));
        let ages = self.sessions.last().and_then(|newest| ages_at(newest, config));
        sessions.chain(amends).chain(ages).min()
    }

    fn amends_at(&self, session: &Session) -> Option<Time> {
        session.amends_at(&self.topics).filter(|_| session.edition == self.edition)
    }

    /// Applies the rules. Called after every input and at every deadline.
    pub fn step(&mut self, client: &mut Client<'_>, now: Time, output: &mut Output) {
        self.tell_failure(now, output);
        self.retire_predecessors(client, now, output);
        self.tell_doubts(output);
        self.judge_coverage(now, output);
        self.start_successor(client, now, output);
        for at in 0..self.sessions.len() {
            if self.sessions[at].is_due(now) {
                let topics = &self.topics;
                // A leg that does not deliver, or whose session is about to be closed, has no time to wait for its turn.
                let urgent = !self.covered
                    || self.rotation.is_none_or(|own| own.trigger == Trigger::ClosingNotice);
                if !self.sessions[at].subscribed {
                    self.sessions[at].edition = self.edition;
                }
                advance(&mut self.sessions[at], topics, urgent, client, now, output);
            } else if self.amends_at(&self.sessions[at]).is_some() {
                self.sessions[at].amend(&self.topics, client.token, client.rest, now, output);
            }
        }
    }

    /// The platform has taken the topics of a session's channel.
    pub fn handle_subscribed(
        &mut self,
        id: SessionId,
        rejected: &[super::RejectedTopic],
        client: &mut Client<'_>,
        now: Time,
        output: &mut Output,
    ) {
        if let Some(session) = self
            .session_mut(id)
            .filter(|session| matches!(session.state, State::Subscribing { .. }))
        {
            session.handle_subscribed(now);
            session.note_subscribed(rejected, output);
            connect(session, client, now, output);
        }
    }

    /// Closes every session, for good.
    pub fn close(&mut self, output: &mut Output) {
        self.close_sessions(output);
    }

    fn close_sessions(&mut self, output: &mut Output) -> Vec<Channel> {
        let closed = self.sessions.drain(..).inspect(|session| {
            output.command(Command::Close { session: session.id });
        });
        closed.filter_map(|session| session.channel).collect()
    }

    /// Removes a session that is not needed any more, as its successor delivers. What it missed before that, is a gap.
    pub fn remove(
        &mut self,
        id: SessionId,
        reason: Reason,
        client: &mut Client<'_>,
        now: Time,
        output: &mut Output,
    ) {
        let Some(at) = self.sessions.iter().position(|session| session.id == id) else {
            return;
        };
        let mut session = self.sessions.remove(at);
        output.command(Command::Close { session: id });
        self.tell_missed(session.take_missed(), reason, output);
        match session.channel {
            Some(channel) if reason.ends_channel() => {
                output.command(Command::Forget { channel: channel.id });
            }
            channel => client.retired.extend(channel),
        }
        self.finish_rotation(now, output);
    }

    fn retire_predecessors(&mut self, client: &mut Client<'_>, now: Time, output: &mut Output) {
        let Some(newest) = self.sessions.iter().rposition(Session::delivers) else {
            return;
        };
        if let State::Draining { since, .. } = self.sessions[newest].state {
            self.sessions[newest].enter(State::Live { since }, now, output);
        }
        for at in (0..newest).rev() {
            let older = &mut self.sessions[at];
            let closing = match older.state {
                State::Live { since } => {
                    older.drain(since, client.config, now, output);
                    false
                }
                State::Draining { .. } => older.is_drained(client.config, now),
                // Nobody would know of the channel that is being made for it.
                State::Opening { .. } => false,
                State::Waiting { .. }
                | State::Authenticating
                | State::Subscribing { .. }
                | State::Connecting { .. }
                | State::Settling { .. } => true,
            };
            if closing {
                let id = older.id;
                self.remove(id, Reason::Silent, client, now, output);
            }
        }
    }

    /// A predecessor that returned to live and was lost without a word had been dead before its successor came.
    fn tell_doubts(&mut self, output: &mut Output) {
        for at in 0..self.sessions.len() {
            let session = &mut self.sessions[at];
            if let (false, Some(reason)) = (session.delivers(), session.loss) {
                let missed = session.take_missed();
                self.tell_missed(missed, reason, output);
            }
        }
    }

    /// What the leg missed although a successor took over.
    fn tell_missed(&self, missed: Option<(Time, Time)>, cause: Reason, output: &mut Output) {
        if let Some((from, to)) = missed {
            output.missed(self.place, from, to, cause);
        }
    }

    fn judge_coverage(&mut self, now: Time, output: &mut Output) {
        let delivering = self.sessions.iter().rev().find(|session| session.delivers());
        match (self.covered, delivering) {
            (true, None) => {
                let delivered = self.sessions.iter().filter(|session| session.loss.is_some());
                let lost = delivered.max_by_key(|session| session.heard_at);
                let from = lost.and_then(|session| session.heard_at).unwrap_or(now);
                let cause = lost.and_then(|session| session.loss).unwrap_or(Reason::Cut);
                self.covered = false;
                output.lost(self.place, from, cause);
            }
            (false, Some(session)) => {
                let action = if session.resumed { "resumed" } else { "resubscribed" };
                self.covered = true;
                output.back(self.place, now, action);
            }
            (true, Some(session)) => {
                // A predecessor that is in doubt may turn out to have been dead since its last frame.
                let doubted = self.sessions.iter().filter(|session| session.doubt.is_some());
                let doubted = doubted.filter_map(|session| session.heard_at).min();
                if let Some(until) = session.heard_at.min(doubted.or(session.heard_at)) {
                    output.proven(self.place, until);
                }
            }
            (false, None) => {}
        }
    }

    fn start_successor(&mut self, client: &mut Client<'_>, now: Time, output: &mut Output) {
        let Some(newest) = self.sessions.last() else {
            let session = client.new_session(self.place, self.edition, now);
            self.sessions.push(session);
            return;
        };
        if !matches!(newest.state, State::Live { .. }) {
            return;
        }
        if let Some(rotation) = &mut self.rotation
            && rotation.successor == newest.id
            && rotation.settled_at.is_none()
        {
            rotation.settled_at = Some(now);
        }
        self.finish_rotation(now, output);
        let Some(newest) = self.sessions.last() else {
            return;
        };
        let Some(trigger) = due(newest, self.edition, client, now) else {
            return;
        };
        let predecessor = newest.id;
        let session = client.new_session(self.place, self.edition, now);
        self.rotation =
            Some(Rotation { trigger, successor: session.id, failures: 0, settled_at: None });
        output.observe(Observation::RotationStarted {
            shard: self.place.shard.0,
            trigger: trigger.as_str(),
            predecessor: predecessor.to_string(),
            successor: session.id.to_string(),
        });
        self.sessions.push(session);
    }

    fn tell_failure(&mut self, now: Time, output: &mut Output) {
        let Some(rotation) = &mut self.rotation else {
            return;
        };
        let successor = self.sessions.iter().find(|session| session.id == rotation.successor);
        let Some(successor) = successor.filter(|own| own.failures > rotation.failures) else {
            return;
        };
        rotation.failures = successor.failures;
        if let State::Waiting { until, .. } = successor.state {
            output.observe(Observation::RotationFailed {
                shard: self.place.shard.0,
                trigger: rotation.trigger.as_str(),
                detail: successor.last_words.clone().unwrap_or_default(),
                retry_in: until.since(now),
            });
        }
    }

    /// A rotation is over when its successor is live and alone.
    fn finish_rotation(&mut self, now: Time, output: &mut Output) {
        if let Some(Rotation { trigger, settled_at: Some(settled_at), .. }) = self.rotation
            && self.sessions.len() == 1
        {
            self.rotation = None;
            output.observe(Observation::RotationFinished {
                shard: self.place.shard.0,
                trigger: trigger.as_str(),
                overlap: now.since(settled_at),
            });
        }
    }
}

/// When a live session must be replaced because of its channel's age.
fn ages_at(session: &Session, config: &Config) -> Option<Time> {
    let channel = session.channel.filter(|_| matches!(session.state, State::Live { .. }))?;
    let channel_ends = channel.expires_at - config.renew_before.min(channel.life / 3);
    let maker_ends = channel.maker_expires_at - channel.maker_margin;
    // A maker that had already ended when the session came to live cannot end again. Where the session's own token made the
    // channel, only a fresh token helps, and that is a reason of its own: with the old one, successor would follow successor.
    let maker_lives = channel.maker_expires_at > session.entered
        && session.token.is_some_and(|token| token.expires_at > channel.maker_expires_at);
    Some(if maker_lives { channel_ends.min(maker_ends) } else { channel_ends })
}

/// Why the newest session should be replaced, if it should.
fn due(newest: &Session, edition: u32, client: &Client<'_>, now: Time) -> Option<Trigger> {
    if newest.noticed {
        return Some(Trigger::ClosingNotice);
    }
    if let (Some(fresh), Some(used)) = (client.token, newest.token) {
        if fresh.secret > used.secret {
            return Some(Trigger::Secret);
        }
        if fresh.id != used.id {
            return Some(Trigger::Token);
        }
    }
    if newest.edition != edition {
        return Some(Trigger::Topics);
    }
    ages_at(newest, client.config).is_some_and(|at| at <= now).then_some(Trigger::Channel)
}

/// Takes the next step that a waiting session needs.
fn advance(
    session: &mut Session,
    topics: &ShardTopics,
    urgent: bool,
    client: &mut Client<'_>,
    now: Time,
    output: &mut Output,
) {
    if session.subscribed {
        connect(session, client, now, output);
        return;
    }
    let Some(token) = client.token else {
        if session.state != State::Authenticating {
            session.enter(State::Authenticating, now, output);
        }
        return;
    };
    let allowed = client.rest.next(now);
    if allowed > now {
        session.hold(allowed, now, output);
        return;
    }
    match session.channel.or_else(|| client.take_retired(now, output)) {
        Some(channel) => {
            client.rest.spend(now);
            session.subscribe(channel, token, topics, now, output);
        }
        None if client.may_open(urgent, now) => {
            client.channels += 1;
            client.rest.spend(now);
            session.open(token, now, output);
        }
        // One more would silently evict a sibling; a retired one becomes usable, or the platform drops one.
        None => session.hold(now + NO_CHANNEL_WAIT, now, output),
    }
}

/// Opens a socket as soon as the budget of handshakes allows.
fn connect(session: &mut Session, client: &mut Client<'_>, now: Time, output: &mut Output) {
    let allowed = client.handshakes.next(now);
    if allowed > now {
        session.hold(allowed, now, output);
    } else {
        client.handshakes.spend(now);
        session.connect(now, output);
    }
}
