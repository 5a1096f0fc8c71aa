//! The whole client: its login, its plan of topics, and its shards.

use super::backoff::Backoff;
use super::budget::Budget;
use super::census::Census;
use super::channel::Channel;
use super::client::{Client, turns};
use super::coverage::Coverage;
use super::listing::Listing;
use super::login::{Login, Token};
use super::output::{Note, Output};
use super::plan::Plan as Topics;
use super::rebase::Rebase;
use super::session::Session;
use super::shard::Shard;
use super::state::State;
use super::{Command, Config, ReadId, Reason, Refusal, Reply, SessionId, ShardId};
use crate::event::Topic;
use crate::time::Time;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// Sockets are opened at most this often, so that sessions lost together do not come back as a herd.
const HANDSHAKES_MOST: (usize, Duration) = (10, Duration::from_secs(1));

/// The platform takes 300 REST calls a minute with one token; the rest is for what others ask with it, and for its own way of counting.
const REST_MOST: (usize, Duration) = (240, Duration::from_secs(60));

/// Keeps one client's subscriptions live.
///
/// Doors: `handle_reply` and `handle_timeout` in, `poll_command`, `poll_note` and `poll_timeout` out. The same seed and the same
/// inputs give the same outputs.
#[derive(Debug)]
pub struct Lifecycle {
    pub(super) config: Config,
    pub(super) login: Login,
    pub(super) plan: Listing,
    pub(super) plan_backoff: Backoff,
    /// Whether the last listing failed.
    pub(super) plan_failed: bool,
    /// What is subscribed to.
    pub(super) topics: Topics,
    /// Topics that the last listing lacked.
    pub(super) leaving: HashSet<Topic>,
    /// Whether somebody has chosen other topics, and what is listed now should be confirmed soon.
    pub(super) chosen: bool,
    /// Whether the listing under way may be of what was chosen before.
    pub(super) outdated: bool,
    /// Queues of the configuration that the last listing lacked.
    pub(super) unknown: BTreeSet<String>,
    /// The legs of all shards, leg by leg.
    pub(super) shards: Vec<Shard>,
    /// The last session's number.
    sessions: u64,
    /// Channels without a socket that the platform still knows.
    pub(super) retired: Vec<Channel>,
    /// The same while a process that takes over may use them: nothing planned is begun then.
    pub(super) lent: Option<Vec<Channel>>,
    /// Where topics go that are listed for the first time, if another process had them.
    pub(super) placement: Topics,
    pub(super) census: Census,
    pub(super) handshakes: Budget,
    /// REST calls, each page of a list by itself.
    pub(super) rest: Budget,
    rebase: Rebase,
    pub(super) rng: StdRng,
    pub(super) output: Output,
    closed: bool,
}

impl Lifecycle {
    /// A client that logs in at once.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            login: Login::new(&config),
            plan: Listing::default(),
            plan_backoff: Backoff::new(&config),
            plan_failed: false,
            topics: Topics::default(),
            leaving: HashSet::new(),
            chosen: false,
            outdated: false,
            unknown: BTreeSet::new(),
            shards: Vec::new(),
            sessions: 0,
            retired: Vec::new(),
            lent: None,
            placement: Topics::default(),
            census: Census::new(&config),
            handshakes: Budget::new(HANDSHAKES_MOST.0, HANDSHAKES_MOST.1),
            rest: Budget::new(REST_MOST.0, REST_MOST.1),
            rebase: Rebase::new(&config),
            rng: StdRng::seed_from_u64(seed),
            output: Output::default(),
            config,
            closed: false,
        }
    }

    /// The next thing to be done, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.output.commands.pop_front()
    }

    /// The next thing to be told, in order.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.output.notes.pop_front()
    }

    /// When `handle_timeout` must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.closed {
            return None;
        }
        // Without a token the login's own deadline is what to wait for.
        let may_ask = |due: &Time| self.plan.is_asked() || self.login.token(*due).is_some();
        let plan = self.plan.poll_timeout().filter(may_ask);
        let plan = plan.filter(|_| self.plan.is_asked() || !self.is_frozen());
        let turns = self.turns();
        let shards = self.shards.iter();
        let shards = shards.filter_map(|shard| shard.poll_timeout(&self.config, turns));
        // Without a token the login's own deadline is what to wait for.
        let asked = [self.census.poll_timeout(), self.rebase.poll_timeout()];
        let asked = asked.into_iter().flatten().filter(|due| self.login.token(*due).is_some());
        shards.chain(plan).chain(asked).chain([self.login.poll_timeout()]).min()
    }

    /// How much earlier than one alone the sessions leave channels whose maker ends.
    pub(super) fn turns(&self) -> Duration {
        turns(self.shards.len(), &self.config)
    }

    /// Whether every topic of the plan is delivered by a session.
    pub fn is_covered(&self) -> bool {
        let coverage = &self.output.coverage;
        !coverage.is_empty() && coverage.values().all(Coverage::is_covered)
    }

    /// The last frame of the shard that has been silent for longest; `None` before the first.
    pub fn heard_at(&self) -> Option<Time> {
        let mut newest: BTreeMap<_, Option<Time>> = BTreeMap::new();
        for shard in &self.shards {
            let heard = shard.sessions().iter().map(|session| session.heard_at).max().flatten();
            let of_shard = newest.entry(shard.place().shard).or_default();
            *of_shard = heard.max(*of_shard);
        }
        newest.into_values().min().flatten()
    }

    /// Of each shard that delivers, until when nothing can have been missed but what is told.
    pub fn complete_until(&self) -> BTreeMap<ShardId, Time> {
        let mut alive: BTreeMap<ShardId, Vec<Option<Time>>> = BTreeMap::new();
        for leg in &self.shards {
            alive.entry(leg.place().shard).or_default().push(leg.alive_at());
        }
        let complete = alive.into_iter().filter_map(|(shard, alive)| {
            Some((shard, self.output.coverage.get(&shard)?.complete_until(&alive)?))
        });
        complete.collect()
    }

    /// Every session, shard by shard, oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.shards.iter().flat_map(Shard::sessions)
    }

    /// The login, for the status page.
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// REST calls and handshakes: how many there were in the last minute and second, and how many there may be.
    pub fn budgets(&self, now: Time) -> [(usize, usize); 2] {
        [self.rest.used(now), self.handshakes.used(now)]
    }

    /// The numbers of the shards that the topics take; none until the topics are known.
    pub fn shards(&self) -> impl Iterator<Item = u16> {
        self.output.coverage.keys().map(|shard| shard.0)
    }

    /// What is subscribed to, and how it is divided.
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// How many channels the platform holds for us, those included that we cannot name.
    pub fn channels(&self, now: Time) -> usize {
        self.own_channels() + self.census.strangers(now)
    }

    pub(super) fn own_channels(&self) -> usize {
        let of = |session: &Session| {
            let opening = matches!(session.state, State::Opening { .. });
            let replaces = session.replaces.is_some() && !opening;
            let held = [session.channel.is_some() || opening, session.left.is_some(), replaces];
            held.into_iter().filter(|held| *held).count()
        };
        let free = self.retired.len() + self.lent.as_ref().map_or(0, Vec::len);
        free + self.sessions().map(of).sum::<usize>()
    }

    /// A gap of these topics has ended: REST is asked for what it can show of them.
    pub fn rebase(&mut self, gap: u64, topics: &[Topic], now: Time) {
        if !self.closed {
            self.rebase.want(gap, topics, &mut self.output);
            self.step(now);
        }
    }

    /// Snapshots came; `stale` ones were overtaken by live events and not published.
    pub fn handle_snapshots(&mut self, read: ReadId, stale: &[Topic], now: Time) {
        if !self.closed {
            self.rebase.handle_read(read, stale, now, &mut self.output);
            self.step(now);
        }
    }

    /// A page of snapshots came, and more follow.
    pub fn handle_snapshots_page(&mut self, read: ReadId, now: Time) {
        if !self.closed {
            self.rebase.handle_page(read, now, &mut self.output);
            self.step(now);
        }
    }

    /// Snapshots were refused.
    pub fn handle_snapshots_refused(&mut self, read: ReadId, refusal: &Refusal, now: Time) {
        if self.closed {
            return;
        }
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        let (rng, output) = (&mut self.rng, &mut self.output);
        let refused = self.rebase.handle_refused(read, refusal, now, rng, output);
        self.refuse_token(refused, now);
        self.step(now);
    }

    /// A person asks for a successor of every session.
    pub fn handle_rotate(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.shards.iter_mut().for_each(Shard::rotate);
        self.step(now);
    }

    /// A person has chosen other topics: they are listed at once, and what is parked is looked at again.
    pub fn handle_chosen(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.login.wake(now);
        self.wake(now);
        self.choose(now);
        self.step(now);
    }

    /// Closes every session; nothing is opened again.
    pub fn close(&mut self) {
        self.closed = true;
        for shard in &mut self.shards {
            shard.close(&mut self.output);
        }
    }

    /// Takes what came of a command, or what a socket said.
    pub fn handle_reply(&mut self, reply: Reply, now: Time) {
        if self.closed {
            return;
        }
        match reply {
            Reply::TokenGranted { token, expires_in, secret } => {
                let expires_at = now + expires_in;
                let token = Token { id: token, secret, life: expires_in, expires_at };
                self.login.handle_granted(token, now, &mut self.rng, &mut self.output);
                self.census.begin(token, now);
                self.wake(now);
            }
            Reply::TokenRefused { refusal, secret } => {
                let (rng, output) = (&mut self.rng, &mut self.output);
                self.login.handle_refused(&refusal, secret, now, rng, output);
            }
            Reply::SecretChanged { secret } => {
                self.login.handle_secret(secret, now, &mut self.rng);
            }
            // An answer that comes after the deadline is nobody's.
            Reply::TopicsListed { .. } if !self.plan.is_asked() => {}
            Reply::TopicsListed { topics, unknown } => self.handle_topics(&topics, unknown, now),
            Reply::TopicsPage { page } => self.handle_topics_page(page, now),
            Reply::TopicsRefused { refusal, anew } => {
                self.handle_topics_refused(&refusal, anew, now);
            }
            Reply::ChannelOpened { .. }
            | Reply::Subscribed { .. }
            | Reply::Connected { .. }
            | Reply::Refused { .. }
            | Reply::Heard { .. }
            | Reply::Lost { .. } => self.handle_session(reply, now),
            Reply::Amended { session, channel, rejected } => {
                let session = find(&mut self.shards, session).filter(|own| own.holds(channel));
                if let Some(session) = session {
                    session.handle_amended(&rejected, &mut self.output);
                }
            }
            Reply::AmendRefused { session, channel, refusal } => {
                self.handle_amend_refused(session, channel, &refusal, now);
            }
            Reply::ChannelsListed { found, total } => self.handle_listed(&found, total, now),
            Reply::ChannelsRefused { refusal } => self.handle_unlisted(&refusal, now),
            Reply::Allowance { allowed, left, resets_in } => {
                self.rest.hear(allowed, left, resets_in, now);
            }
        }
        self.step(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.login.handle_timeout(now, &mut self.rng, &mut self.output);
        self.rebase.handle_timeout(now, &mut self.rng, &mut self.output);
        if let Some(overdue) = self.plan.overdue(now) {
            self.handle_topics_refused(&overdue, false, now);
        }
        if let Some(overdue) = self.census.overdue(now) {
            self.handle_unlisted(&overdue, now);
        }
        let ids: Vec<SessionId> = self.sessions().map(|session| session.id).collect();
        for id in ids {
            let (config, rng, output) = (&self.config, &mut self.rng, &mut self.output);
            let Some(session) = find(&mut self.shards, id) else { continue };
            let opening = matches!(session.state, State::Opening { .. });
            let refused = session.handle_timeout(config, now, rng, output);
            if let Some(maker) = session.token.filter(|_| opening && !session.awaits_reply()) {
                self.census.doubt(maker, now);
            }
            self.refuse_token(refused, now);
        }
        self.step(now);
    }

    fn handle_session(&mut self, reply: Reply, now: Time) {
        let (config, rng, output) = (&self.config, &mut self.rng, &mut self.output);
        let shards = &mut self.shards;
        let refused = match reply {
            Reply::ChannelOpened { session, channel, expires_in } => {
                self.handle_opened(session, channel, expires_in, now);
                None
            }
            Reply::Subscribed { session, rejected } => {
                self.with_shard(session, now, |shard, client, output| {
                    shard.handle_subscribed(session, &rejected, client, now, output);
                });
                None
            }
            Reply::Connected { session } => {
                if let Some(session) = find(shards, session)
                    .filter(|session| matches!(session.state, State::Connecting { .. }))
                {
                    session.handle_connected(config, now, output);
                }
                None
            }
            Reply::Refused { session, call, refusal } => {
                self.handle_call_refused(session, call, &refusal, now)
            }
            Reply::Heard { session, what, at } => {
                let Some(heard) = find(shards, session).filter(|heard| heard.has_socket()) else {
                    return;
                };
                let draining = matches!(heard.state, State::Draining { .. });
                if let Some(reason) = what.ends().filter(|_| draining) {
                    return self.remove(session, reason, now);
                }
                heard.handle_heard(what, at.min(now), config, now, rng, output)
            }
            Reply::Lost { session, reason, detail } => {
                let Some(lost) = find(shards, session).filter(|lost| lost.has_socket()) else {
                    return;
                };
                if matches!(lost.state, State::Draining { .. }) {
                    return self.remove(session, reason, now);
                }
                lost.lose(reason, detail, config, now, rng, output)
            }
            Reply::TokenGranted { .. }
            | Reply::TokenRefused { .. }
            | Reply::SecretChanged { .. }
            | Reply::TopicsListed { .. }
            | Reply::TopicsPage { .. }
            | Reply::TopicsRefused { .. }
            | Reply::Amended { .. }
            | Reply::AmendRefused { .. }
            | Reply::ChannelsListed { .. }
            | Reply::ChannelsRefused { .. }
            | Reply::Allowance { .. } => None,
        };
        self.refuse_token(refused, now);
    }

    /// A session that drains is gone before its time.
    fn remove(&mut self, session: SessionId, reason: Reason, now: Time) {
        self.with_shard(session, now, |shard, client, output| {
            shard.remove(session, reason, client, now, output);
        });
    }

    /// A fresh token, or other topics, may mend what waiting does not.
    fn wake(&mut self, now: Time) {
        self.plan.wake(now);
        self.rebase.wake();
        for shard in &mut self.shards {
            shard.wake(now);
        }
    }

    fn step(&mut self, now: Time) {
        if !self.list_topics(now) {
            return;
        }
        for at in 0..self.shards.len() {
            self.with(at, now, |shard, client, output| shard.step(client, now, output));
        }
        self.count_channels(now);
        self.list_page(now);
        // Last: what keeps sessions alive comes before what mends their gaps.
        let token = self.login.token(now);
        self.rebase.step(token, &mut self.rest, now, &mut self.output);
    }

    fn with_shard(
        &mut self,
        id: SessionId,
        now: Time,
        act: impl FnOnce(&mut Shard, &mut Client<'_>, &mut Output),
    ) {
        let owns = |shard: &Shard| shard.sessions().iter().any(|session| session.id == id);
        if let Some(at) = self.shards.iter().position(owns) {
            self.with(at, now, act);
        }
    }

    fn with(
        &mut self,
        at: usize,
        now: Time,
        act: impl FnOnce(&mut Shard, &mut Client<'_>, &mut Output),
    ) {
        let (channels, frozen) = (self.own_channels(), self.is_frozen());
        let mut client = Client {
            frozen,
            config: &self.config,
            token: self.login.token(now),
            sessions: &mut self.sessions,
            retired: &mut self.retired,
            channels,
            wanted: self.shards.len(),
            census: &mut self.census,
            rng: &mut self.rng,
            handshakes: &mut self.handshakes,
            rest: &mut self.rest,
        };
        act(&mut self.shards[at], &mut client, &mut self.output);
    }
}

pub(super) fn find(shards: &mut [Shard], id: SessionId) -> Option<&mut Session> {
    shards.iter_mut().find_map(|shard| shard.session_mut(id))
}
