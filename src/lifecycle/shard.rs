//! One leg of a slice of the topics: kept covered by one session, or by two while one succeeds the other. In redundant mode a
//! slice has two legs, which know nothing of each other.
//!
//! The leg decides who succeeds whom, and knows when nobody delivers. Rules, looked at after every input:
//! 1. Without a session, one is started.
//! 2. When the newest live session has a reason to be replaced and no younger one is at work, a successor is started.
//! 3. When a session becomes live and carries all that they do, the older ones drain, or are dropped where they have no socket. One that drains returns to
//!    live should its successor be lost.
//! 4. When the last delivering session is lost, an outage begins at its last frame; when one delivers again, it ends (`whole`). What all
//!    legs of the slice missed is a gap (`coverage`).
//! 5. A live session whose topics are not those that are wanted is given the difference (`amend`).

use super::channel::Channel;
use super::client::{Client, Need};
use super::output::{Output, Place};
use super::plan::{CHANNELS_PER_CLIENT, ShardTopics};
use super::rotation::{Rotations, Trigger};
use super::session::Session;
use super::state::State;
use super::{Command, Config, Reason, SessionId};
use crate::time::Time;
use std::time::Duration;

/// How soon a session without a channel looks again whether one may be made.
///
/// It asks nobody but ourselves; shards take turns with the last spare channel, and a closing notice leaves them a minute.
const NO_CHANNEL_WAIT: Duration = Duration::from_secs(1);

/// How soon it looks again while the list of channels is asked for, should nobody wake it.
const COUNT_WAIT: Duration = Duration::from_secs(1);

/// Live and draining sessions of one shard at a time, the one under way included: where each is to be replaced at once, the chain
/// waits for its oldest to drain.
const SESSIONS_MAX: usize = 3;

/// One leg of a slice of the topics, and its sessions.
#[derive(Clone, Debug)]
pub struct Shard {
    pub(super) place: Place,
    pub(super) topics: ShardTopics,
    /// Counts the forms in which the topics were subscribed to.
    edition: u32,
    /// Oldest first. More than one only while a successor is made or a predecessor drains.
    pub(super) sessions: Vec<Session>,
    /// Whether a session carries all that the shard has delivered.
    pub(super) covered: bool,
    /// Until when that was known last.
    pub(super) covered_until: Option<Time>,
    rotations: Rotations,
    /// Whether a person asked for a rotation that has not begun.
    asked: bool,
    /// Whether nothing planned may begin.
    frozen: bool,
}

impl Shard {
    /// A leg that starts its first session at the next step.
    pub fn new(place: Place, topics: ShardTopics, config: &Config) -> Self {
        Self {
            place,
            topics,
            edition: 0,
            sessions: Vec::new(),
            covered: false,
            covered_until: None,
            rotations: Rotations::new(place.shard, config),
            asked: false,
            frozen: false,
        }
    }

    /// From now on nothing planned begins, or it may again.
    pub const fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Which leg of which shard it is.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Replaces its session at the next step that allows it.
    pub const fn rotate(&mut self) {
        self.asked = true;
    }

    /// Its topics, as they are subscribed to.
    pub const fn topics(&self) -> &ShardTopics {
        &self.topics
    }

    /// From now on these are wanted, `count` topics by themselves. `recombined` says that those which stay are subscribed to in
    /// another form: then a successor takes them, since nobody knows whether the platform changes them over without a moment between.
    pub fn want(&mut self, topics: ShardTopics, count: usize, recombined: bool) {
        self.place.topics = count;
        // The same list stays the same: it is compared after every input.
        if self.topics != topics {
            self.topics = topics;
        }
        self.edition += u32::from(recombined);
    }

    /// Asks again for the topics that the platform refused.
    pub fn ask_again(&mut self) {
        for session in &mut self.sessions {
            session.ask_again();
        }
    }

    /// Closes every session, and hands out the channels that the platform still knows.
    pub fn dissolve(&mut self, now: Time, output: &mut Output) -> Vec<Channel> {
        let closed = self.close_sessions(output);
        closed.flat_map(Session::into_channels).map(|channel| channel.retire(now)).collect()
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

    /// Looks again now at what waited for the client's channels to be counted.
    pub fn wake_counted(&mut self, now: Time) {
        for session in &mut self.sessions {
            session.wake_counted(now);
        }
    }

    /// When something is due. `turns` is how much earlier sessions leave that must take turns.
    pub fn poll_timeout(&self, config: &Config, turns: Duration) -> Option<Time> {
        let sessions = self.sessions.iter().filter_map(|session| session.poll_timeout(config));
        let amends = self.sessions.iter().filter_map(|session| self.amends_at(session));
        sessions.chain(amends).chain(self.succeeds_at(config, turns)).min()
    }

    /// When a successor of the newest session is due, as far as that is known beforehand.
    pub fn succeeds_at(&self, config: &Config, turns: Duration) -> Option<Time> {
        let may = !self.frozen && self.sessions.len() < SESSIONS_MAX;
        let newest = self.sessions.last().filter(|_| may)?;
        let asked = newest.noticed.is_some() || self.asked;
        let asked = asked && matches!(newest.state, State::Live { .. });
        let at = if asked { Some(Time::START) } else { ages_at(newest, config, turns) };
        at.map(|at| at.max(self.rotations.not_before()))
    }

    fn amends_at(&self, session: &Session) -> Option<Time> {
        let due = session.amends_at(&self.topics).filter(|_| session.edition == self.edition);
        // One that is under way is still to be given up in time; and what a session lacks keeps a rotation from ending.
        let lacks = || session.is_amending() || !session.lacking().is_empty();
        due.filter(|_| !self.frozen || lacks())
    }

    /// Applies the rules. Called after every input and at every deadline.
    pub fn step(&mut self, client: &mut Client<'_>, now: Time, output: &mut Output) {
        self.hand_back(client, now);
        self.compare(output);
        self.retire_predecessors(client, now, output);
        self.rotations.look(&self.sessions, now, client.rng, output);
        self.tell_doubts(output);
        self.judge_coverage(now, output);
        self.start_successor(client, now, output);
        for at in 0..self.sessions.len() {
            if self.sessions[at].is_due(now) {
                if !self.sessions[at].subscribed {
                    self.sessions[at].edition = self.edition;
                }
                let need = self.need(at, client, now);
                advance(&mut self.sessions[at], &self.topics, need, client, now, output);
            } else if self.amends_at(&self.sessions[at]).is_some() {
                self.sessions[at].amend(&self.topics, client.token, client.rest, now, output);
            }
        }
    }

    /// Leaves to others what its sessions have given up, and what was to give its place to a channel that was not made.
    fn hand_back(&mut self, client: &mut Client<'_>, now: Time) {
        for session in &mut self.sessions {
            client.retired.extend(session.left.take().map(|left| left.retire(now)));
            // Nobody has used it meanwhile: it is still the one that was unused for longest.
            if let Some(idle) = session.take_unreplaced() {
                client.retired.insert(0, idle);
            }
        }
    }

    /// How much a session needs a channel of its own now.
    fn need(&self, at: usize, client: &Client<'_>, now: Time) -> Need {
        let (waits, turns) = (self.sessions[at].id, client.turns());
        let others = self.sessions.iter().filter(|other| other.id != waits && other.delivers());
        let leave_by = others.filter_map(|other| other.leave_by(client.config, turns)).max();
        match leave_by {
            Some(leave_by) if now < leave_by => Need::Calm,
            Some(_) => Need::Leaving,
            None => Need::Alone,
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
        self.close_sessions(output).for_each(drop);
    }

    fn close_sessions(&mut self, output: &mut Output) -> impl Iterator<Item = Session> {
        self.sessions.drain(..).inspect(|session| {
            output.command(Command::Close { session: session.id });
        })
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
        let doubtful = reason.ends_channel();
        let left = session.left.take();
        let own = session.into_channel().map(|channel| Channel { doubtful, ..channel });
        client.retired.extend(left.into_iter().chain(own).map(|channel| channel.retire(now)));
        self.rotations.look(&self.sessions, now, client.rng, output);
    }

    fn retire_predecessors(&mut self, client: &mut Client<'_>, now: Time, output: &mut Output) {
        let Some(newest) = self.sessions.iter().rposition(Session::delivers) else {
            return;
        };
        if let State::Draining { since, .. } = self.sessions[newest].state {
            self.sessions[newest].enter(State::Live { since }, now, output);
        }
        // One that was subscribed before the topics changed has first to be given those that its predecessor carries.
        let whole = self.sessions.iter().rposition(Session::is_whole);
        if let Some(whole) = whole
            && let State::Draining { since, .. } = self.sessions[whole].state
        {
            self.sessions[whole].enter(State::Live { since }, now, output);
        }
        for at in (0..whole.unwrap_or(newest)).rev() {
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

    fn start_successor(&mut self, client: &mut Client<'_>, now: Time, output: &mut Output) {
        let Some(newest) = self.sessions.last() else {
            let session = client.new_session(self.place, self.edition, now);
            self.sessions.push(session);
            return;
        };
        let may = matches!(newest.state, State::Live { .. })
            && !self.frozen
            && self.sessions.len() < SESSIONS_MAX
            && self.rotations.not_before() <= now;
        let asked = self.asked.then_some(Trigger::Operator);
        let Some(trigger) = due(newest, self.edition, client, now).or(asked).filter(|_| may) else {
            return;
        };
        let mut session = client.new_session(self.place, self.edition, now);
        session.know_refused(newest);
        self.asked = false;
        self.rotations.begin(trigger, newest, session.id, client.config, now, output);
        self.sessions.push(session);
    }
}

/// When a live session must be replaced because of its channel's age.
fn ages_at(session: &Session, config: &Config, turns: Duration) -> Option<Time> {
    let channel = session.channel.filter(|_| matches!(session.state, State::Live { .. }))?;
    let channel_ends = channel.expires_at - config.renew_before.min(channel.life / 3);
    let maker_ends = channel.maker_expires_at - channel.maker_margin - turns;
    // A maker that had already ended when the session came to live cannot end again. Where the session's own token made the
    // channel, only a fresh token helps, and that is a reason of its own: with the old one, successor would follow successor.
    let maker_lives = channel.maker_expires_at > session.entered
        && session.token.is_some_and(|token| token.expires_at > channel.maker_expires_at);
    Some(if maker_lives { channel_ends.min(maker_ends) } else { channel_ends })
}

/// Why the newest session should be replaced, if it should.
fn due(newest: &Session, edition: u32, client: &Client<'_>, now: Time) -> Option<Trigger> {
    if newest.noticed.is_some() {
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
    ages_at(newest, client.config, client.turns())
        .is_some_and(|at| at <= now)
        .then_some(Trigger::Channel)
}

/// Takes the next step that a waiting session needs.
fn advance(
    session: &mut Session,
    topics: &ShardTopics,
    need: Need,
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
    let channel = session.channel.or_else(|| client.take_retired(need, now, output));
    match channel {
        Some(channel) => {
            client.rest.spend(now);
            session.subscribe(channel, token, topics, now, output);
        }
        None if client.may_open(need, now) || client.can_make_room(need, now) => {
            let replaces = client.make_room(need, now);
            client.channels += 1;
            client.rest.spend(now);
            session.open(token, replaces, now, output);
        }
        None if client.lacks_count(need, now) => {
            client.census.want(token, now);
            session.hold_for_count(client.census.refusal(), now + COUNT_WAIT, now, output);
        }
        // One more might silently evict a sibling; a retired one becomes usable, or the platform drops one.
        None => {
            if let Some(at) = client.room_at(need, now) {
                return session.hold(at, now, output);
            }
            let words = no_channel(client, now);
            session.hold_for(words, need != Need::Calm, now + NO_CHANNEL_WAIT, now, output);
        }
    }
}

/// Why no channel may be made, and the way out where there is one.
fn no_channel(client: &Client<'_>, now: Time) -> String {
    if client.retired.iter().any(|channel| channel.awaits_end_of_list(now)) {
        return "what the last process gave its channel may still reach it: a minute is waited"
            .into();
    }
    let (own, others) = (client.channels, client.census.strangers(now));
    if own + others < CHANNELS_PER_CLIENT {
        return format!("a channel is awaited: {own} are enough for {} sessions", client.wanted);
    }
    let way_out = if others > 0 {
        "; end the other process of this OAuth client, or give this one a client of its own; what nobody uses ends within a day"
    } else {
        ""
    };
    format!(
        "no channel to be had: {own} of this process and {others} others are {} of {CHANNELS_PER_CLIENT}{way_out}",
        own + others
    )
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
