//! The whole client: its login, its plan of topics, and its shards.

use super::backoff::Backoff;
use super::budget::Budget;
use super::census::Census;
use super::channel::Channel;
use super::coverage::Coverage;
use super::login::{Login, Token};
use super::output::{Note, Output, Place};
use super::plan::{Plan as Topics, expand};
use super::session::Session;
use super::shard::{Client, Shard};
use super::state::State;
use super::{Command, Config, Reason, Refusal, Reply, SessionId};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::Time;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// The shell answers a listing within its own time-outs; many pages may be needed.
const LISTING_DEADLINE: Duration = Duration::from_secs(300);

/// How soon a listing that lacks what an earlier one had is made again at the latest: what two in a row lack, is gone.
const CONFIRM: Duration = Duration::from_secs(60);

/// How soon an empty or refused plan is looked at again.
const REPLAN: Duration = Duration::from_secs(300);

/// How soon the list of channels is thought of again while a request for one is under way.
const CENSUS_WAIT: Duration = Duration::from_millis(100);

/// Sockets are opened at most this often, so that sessions lost together do not come back as a herd.
const HANDSHAKES_MOST: (usize, Duration) = (10, Duration::from_secs(1));

/// The platform takes 300 REST calls a minute with one token; the rest is for listings.
const REST_MOST: (usize, Duration) = (240, Duration::from_secs(60));

/// What is known of the topics.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// They are asked for at `due`, once there is a token; a fresh token only hurries what is parked.
    Wanted { due: Time, parked: bool },
    /// They are being asked for.
    Asked { deadline: Time },
}

/// Keeps one client's subscriptions live.
///
/// Doors: `handle_reply` and `handle_timeout` in, `poll_command`, `poll_note` and `poll_timeout` out. The same seed and the same
/// inputs give the same outputs.
#[derive(Debug)]
pub struct Lifecycle {
    config: Config,
    login: Login,
    plan: Plan,
    plan_backoff: Backoff,
    /// Whether the last listing failed.
    plan_failed: bool,
    /// What is subscribed to.
    topics: Topics,
    /// Topics that the last listing lacked.
    leaving: HashSet<Topic>,
    /// Queues of the configuration that the last listing lacked.
    unknown: BTreeSet<String>,
    /// The legs of all shards, leg by leg.
    shards: Vec<Shard>,
    /// The last session's number.
    sessions: u64,
    /// Channels without a socket that the platform still knows.
    retired: Vec<Channel>,
    census: Census,
    handshakes: Budget,
    /// REST calls; the pages of a listing count once, and it is made before all others.
    rest: Budget,
    rng: StdRng,
    output: Output,
    closed: bool,
}

impl Lifecycle {
    /// A client that logs in at once.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            login: Login::new(&config),
            plan: Plan::Wanted { due: Time::START, parked: false },
            plan_backoff: Backoff::new(&config),
            plan_failed: false,
            topics: Topics::default(),
            leaving: HashSet::new(),
            unknown: BTreeSet::new(),
            shards: Vec::new(),
            sessions: 0,
            retired: Vec::new(),
            census: Census::new(&config),
            handshakes: Budget::new(HANDSHAKES_MOST.0, HANDSHAKES_MOST.1),
            rest: Budget::new(REST_MOST.0, REST_MOST.1),
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
        let plan = match self.plan {
            // Without a token the login's own deadline is what to wait for.
            Plan::Wanted { due, .. } => self.login.token(due).map(|_| due),
            Plan::Asked { deadline } => Some(deadline),
        };
        let shards = self.shards.iter().filter_map(|shard| shard.poll_timeout(&self.config));
        // Nor can the list of channels be asked for without one.
        let census = self.census.poll_timeout().filter(|due| self.login.token(*due).is_some());
        shards.chain(plan).chain(census).chain([self.login.poll_timeout()]).min()
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

    /// Every session, shard by shard, oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.shards.iter().flat_map(Shard::sessions)
    }

    /// The login, for the status page.
    pub const fn login(&self) -> &Login {
        &self.login
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

    fn own_channels(&self) -> usize {
        let held = |session: &Session| {
            session.channel.is_some() || matches!(session.state, State::Opening { .. })
        };
        self.retired.len() + self.sessions().filter(|session| held(session)).count()
    }

    /// A person asks for a successor of every session.
    pub fn handle_rotate(&mut self, now: Time) {
        if self.closed {
            return;
        }
        self.shards.iter_mut().for_each(Shard::rotate);
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
            Reply::TopicsListed { .. } | Reply::TopicsRefused { .. }
                if !matches!(self.plan, Plan::Asked { .. }) => {}
            Reply::TopicsListed { topics, unknown, calls } => {
                (1..calls).for_each(|_| self.rest.spend(now));
                self.handle_topics(&topics, unknown, now);
            }
            Reply::TopicsRefused { refusal } => self.handle_topics_refused(&refusal, now),
            Reply::ChannelOpened { .. }
            | Reply::Subscribed { .. }
            | Reply::Amended { .. }
            | Reply::AmendRefused { .. }
            | Reply::Connected { .. }
            | Reply::Refused { .. }
            | Reply::Heard { .. }
            | Reply::Lost { .. } => self.handle_session(reply, now),
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
        if let Plan::Asked { deadline } = self.plan
            && deadline <= now
        {
            let detail = format!("no list of topics within {LISTING_DEADLINE:?}");
            let refusal = Refusal { reason: Reason::Timeout, retry_after: None, detail };
            self.handle_topics_refused(&refusal, now);
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
            Reply::Amended { session, channel, rejected } => {
                if let Some(session) = find(shards, session).filter(|own| own.holds(channel)) {
                    session.handle_amended(&rejected, output);
                }
                None
            }
            Reply::AmendRefused { session, channel, refusal } => {
                if let Some(asked) = refusal.retry_after {
                    self.rest.close_until(now + asked);
                }
                let token = self.login.token(now);
                let session = find(shards, session).filter(|own| own.holds(channel));
                session.and_then(|own| own.handle_amend_refused(&refusal, token, now, rng, output))
            }
            Reply::Connected { session } => {
                if let Some(session) = find(shards, session)
                    .filter(|session| matches!(session.state, State::Connecting { .. }))
                {
                    session.handle_connected(config, now, output);
                }
                None
            }
            Reply::Refused { session, refusal } => {
                find(shards, session).filter(|session| session.awaits_reply()).and_then(|session| {
                    if let Some(asked) = refusal.retry_after {
                        let connecting = matches!(session.state, State::Connecting { .. });
                        let budget = if connecting { &mut self.handshakes } else { &mut self.rest };
                        budget.close_until(now + asked);
                    }
                    if let (State::Opening { .. }, Some(maker)) = (session.state, session.token)
                        && refusal.reason.may_have_been_done()
                    {
                        self.census.doubt(maker, now);
                    }
                    session.handle_refused(&refusal, now, rng, output)
                })
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
            | Reply::TopicsRefused { .. }
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

    /// A channel is never lost from sight: one that comes too late for its session is kept for another.
    fn handle_opened(
        &mut self,
        session: SessionId,
        channel: super::ChannelId,
        life: Duration,
        now: Time,
    ) {
        if self.knows(channel) {
            return;
        }
        let topics = self.shards.iter().find_map(|shard| {
            shard.sessions().iter().any(|own| own.id == session).then(|| shard.topics().clone())
        });
        let waiting = find(&mut self.shards, session)
            .filter(|session| matches!(session.state, State::Opening { .. }));
        match (waiting.and_then(|waiting| waiting.token.map(|token| (waiting, token))), topics) {
            (Some((session, token)), Some(topics)) => {
                let channel = Channel::new(channel, life, Some(token), now);
                let allowed = self.rest.next(now);
                if allowed > now {
                    session.channel = Some(channel);
                    session.hold(allowed, now, &mut self.output);
                } else {
                    self.rest.spend(now);
                    session.subscribe(channel, token, &topics, now, &mut self.output);
                }
            }
            _ => {
                self.retired.push(Channel::new(channel, life, self.login.token(now), now));
            }
        }
    }

    /// Whether the channel is one of ours already: a list may name it before the answer that makes it known comes.
    fn knows(&self, channel: super::ChannelId) -> bool {
        let held = self.sessions().filter_map(|session| session.channel);
        held.chain(self.retired.iter().copied()).any(|known| known.id == channel)
    }

    fn handle_listed(&mut self, found: &[super::FoundChannel], total: usize, now: Time) {
        let found = found.iter().filter(|found| !self.knows(found.channel));
        let found: Vec<super::FoundChannel> = found.copied().collect();
        let strangers = total.saturating_sub(self.own_channels() + found.len());
        let Some(maker) = self.census.handle_listed(strangers, now) else {
            return;
        };
        let channels = found
            .into_iter()
            .map(|found| Channel::new(found.channel, found.expires_in, Some(maker), now));
        self.retired.extend(channels);
    }

    fn handle_unlisted(&mut self, refusal: &Refusal, now: Time) {
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        self.census.handle_refused(refusal, now, &mut self.rng);
        if refusal.reason == Reason::Unauthorized {
            let token = self.login.token(now);
            self.refuse_token(token, now);
        }
    }

    /// Asks for the list of channels when it is due, and no request for another is under way.
    fn count_channels(&mut self, now: Time) {
        let opening = |session: &Session| matches!(session.state, State::Opening { .. });
        let (Some(maker), Some(newest)) = (self.census.due(now), self.login.token(now)) else {
            return;
        };
        let allowed = self.rest.next(now);
        if allowed > now || self.sessions().any(opening) {
            return self.census.hold(allowed.max(now + CENSUS_WAIT));
        }
        self.rest.spend(now);
        // Only its maker is shown a channel's name, while it is valid; a younger token is at least told how many there are.
        let asks = if now < maker.expires_at { maker } else { newest };
        self.census.ask(asks, maker, now, &mut self.output);
    }

    fn handle_topics(&mut self, listed: &[Topic], unknown: Vec<String>, now: Time) {
        let unknown: BTreeSet<String> = unknown.into_iter().collect();
        for queue in unknown.difference(&self.unknown) {
            self.output.observe(Observation::QueueUnknown { queue: queue.clone() });
        }
        self.unknown = unknown;
        let first = self.topics.is_empty();
        let wait = if first { REPLAN } else { self.config.queues_refresh };
        self.plan = Plan::Wanted { due: now + wait, parked: first };
        if listed.is_empty() {
            if !first {
                // An error of the platform would look the same, and what runs is worth more than what it says.
                self.tell_plan_refused(
                    "the list of queues is empty; nothing is removed".into(),
                    wait,
                );
            }
            return;
        }
        let wanted = self.with_leaving(listed);
        match self.topics.next(&wanted, self.config.redundancy) {
            Ok(next) => {
                let wait = self.config.queues_refresh;
                let wait = if self.leaving.is_empty() { wait } else { wait.min(CONFIRM) };
                self.plan = Plan::Wanted { due: now + wait, parked: false };
                self.adopt(next, now);
            }
            Err(refused) if first => self.output.notes.push_back(Note::Misplanned(refused)),
            Err(refused) => {
                self.tell_plan_refused(refused.to_string(), wait);
                let carried: HashSet<&Topic> = self.topics.all().collect();
                let kept: Vec<Topic> =
                    wanted.into_iter().filter(|topic| carried.contains(topic)).collect();
                if let Ok(next) = self.topics.next(&kept, self.config.redundancy) {
                    self.adopt(next, now);
                }
            }
        }
        self.shards.iter_mut().for_each(Shard::ask_again);
    }

    fn tell_plan_refused(&mut self, detail: String, retry_in: Duration) {
        self.plan_failed = true;
        let reason = Reason::Unexpected.as_str();
        self.output.observe(Observation::PlanRefused { reason, detail, retry_in });
    }

    /// What is listed, and what is missing for the first time: pages shift while they are read.
    fn with_leaving(&mut self, listed: &[Topic]) -> Vec<Topic> {
        let mut wanted: Vec<Topic> = listed.iter().flat_map(expand).collect();
        let combined = listed.iter().any(|topic| topic.name().contains('?'));
        let known: HashSet<Topic> = wanted.iter().cloned().collect();
        let missing = self.topics.all().filter(|topic| !known.contains(*topic));
        let missing: Vec<Topic> =
            missing.filter(|topic| !self.leaving.contains(*topic)).cloned().collect();
        self.leaving = missing.iter().cloned().collect();
        if combined {
            wanted = listed.to_vec();
        }
        wanted.extend(missing);
        wanted
    }

    /// Changes over to a plan: what stays is not touched.
    fn adopt(&mut self, next: Topics, now: Time) {
        let first = self.topics.is_empty();
        let recombined = next.is_combined() != self.topics.is_combined();
        self.tell_plan(&next, first);
        let legs = self.config.redundancy;
        let gone: Vec<_> = self.topics.shards().filter(|id| next.topics_of(*id) == 0).collect();
        for id in gone {
            if self.output.coverage.remove(&id).is_some_and(|coverage| coverage.has_gap()) {
                let (shard, to, action) = (id, now, "no longer wanted");
                self.output.notes.push_back(Note::GapClosed { shard, to, action });
            }
            for shard in self.shards.extract_if(.., |shard| shard.place().shard == id) {
                let mut shard = shard;
                self.retired.extend(shard.dissolve(&mut self.output));
            }
        }
        for id in next.shards() {
            let (topics, count) = (next.subscriptions_of(id), next.topics_of(id));
            if self.output.coverage.contains_key(&id) {
                let of_shard = self.shards.iter_mut().filter(|shard| shard.place().shard == id);
                of_shard.for_each(|shard| shard.want(topics.clone(), count, recombined));
            } else {
                self.output.coverage.insert(id, Coverage::new(legs));
                let place = |leg| Place { shard: id, leg, topics: count };
                let config = &self.config;
                let legs = (0..legs).map(|leg| Shard::new(place(leg), topics.clone(), config));
                self.shards.extend(legs);
            }
        }
        self.shards.sort_by_key(|shard| (shard.place().shard, shard.place().leg));
        self.topics = next;
    }

    fn tell_plan(&mut self, next: &Topics, first: bool) {
        let (topics, shards) = (next.topics(), next.shards().count());
        if std::mem::take(&mut self.plan_failed) || first {
            self.output.observe(Observation::PlanMade { topics, shards });
        }
        if first {
            return;
        }
        let (before, after) = (self.topics.keys(), next.keys());
        let names =
            |keys: BTreeSet<&&str>| keys.into_iter().map(|key| (**key).to_owned()).collect();
        let joined: Vec<String> = names(after.difference(&before).collect());
        let left: Vec<String> = names(before.difference(&after).collect());
        if !joined.is_empty() || !left.is_empty() {
            self.output.observe(Observation::PlanChanged { joined, left, topics, shards });
        }
    }

    fn handle_topics_refused(&mut self, refusal: &Refusal, now: Time) {
        let wait = self.plan_backoff.next(refusal.retry_after, &mut self.rng);
        let parked = refusal.reason.answer() == super::Answer::Park;
        let wait = if parked { wait.max(REPLAN) } else { wait };
        self.plan = Plan::Wanted { due: now + wait, parked };
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        self.plan_failed = true;
        self.output.observe(Observation::PlanRefused {
            reason: refusal.reason.as_str(),
            detail: refusal.detail.clone(),
            retry_in: wait,
        });
        if refusal.reason == Reason::Unauthorized {
            let token = self.login.token(now);
            self.refuse_token(token, now);
        }
    }

    fn refuse_token(&mut self, token: Option<Token>, now: Time) {
        if let Some(token) = token {
            self.login.invalidate(token.id, now, &mut self.rng);
        }
    }

    /// A fresh token may mend what waiting does not.
    fn wake(&mut self, now: Time) {
        if let Plan::Wanted { due, parked: true } = &mut self.plan {
            *due = now.min(*due);
        }
        for shard in &mut self.shards {
            shard.wake(now);
        }
    }

    fn step(&mut self, now: Time) {
        if let (Plan::Wanted { due, parked }, Some(token)) = (self.plan, self.login.token(now))
            && due <= now
        {
            let allowed = self.rest.next(now);
            if allowed > now {
                self.plan = Plan::Wanted { due: allowed, parked };
                return;
            }
            self.rest.spend(now);
            self.plan = Plan::Asked { deadline: now + LISTING_DEADLINE };
            self.output.command(Command::ListTopics { token: token.id });
        }
        self.count_channels(now);
        for at in 0..self.shards.len() {
            self.with(at, now, |shard, client, output| shard.step(client, now, output));
        }
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
        let channels = self.own_channels();
        let mut client = Client {
            config: &self.config,
            token: self.login.token(now),
            sessions: &mut self.sessions,
            retired: &mut self.retired,
            channels,
            wanted: self.shards.len(),
            census: &self.census,
            rng: &mut self.rng,
            handshakes: &mut self.handshakes,
            rest: &mut self.rest,
        };
        act(&mut self.shards[at], &mut client, &mut self.output);
    }
}

fn find(shards: &mut [Shard], id: SessionId) -> Option<&mut Session> {
    shards.iter_mut().find_map(|shard| shard.session_mut(id))
}
