//! A model of the platform that answers commands in virtual time, and remembers what was asked of it.

use crate::event::Topic;
use crate::lifecycle::{
    CHANNELS_PER_CLIENT, Change, ChannelId, Command, Config, FoundChannel, Heard, Lifecycle, Note,
    Reason, Refusal, RejectedTopic, Reply, SecretVersion, SessionId, ShardId, TOPICS_PER_CHANNEL,
    TokenId,
};
use crate::observation::Observation;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub const QUEUE: &str = "00000000-0000-4000-8000-000000000001";
const DAY: Duration = Duration::from_secs(86_400);
const ROUND_TRIP: Duration = Duration::from_millis(20);
const HEARTBEAT: Duration = Duration::from_secs(30);

pub fn config() -> Config {
    Config {
        ping_interval: Duration::from_secs(15),
        dead_after: Duration::from_secs(35),
        settle: Duration::from_secs(2),
        drain: Duration::from_secs(2),
        backoff_base: Duration::from_millis(500),
        backoff_cap: Duration::from_secs(30),
        stable_after: Duration::from_secs(10),
        rotation_jitter: Duration::from_secs(3),
        renew_before: Duration::from_secs(900),
        redundancy: 1,
        queues_refresh: DAY * 365,
    }
}

pub fn refusal(reason: Reason) -> Refusal {
    Refusal { reason, retry_after: None, detail: format!("scripted {reason}") }
}

/// A channel as the platform knows it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    maker: TokenId,
    used: u64,
    expires: Time,
}

/// A closed gap, as the notes told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub shard: ShardId,
    pub cause: Reason,
    pub from: Time,
    pub to: Option<Time>,
}

/// The lifecycle and the platform around it.
pub struct World {
    pub lifecycle: Lifecycle,
    pub now: Time,
    /// What the platform will say, by time; the number keeps the order of equal times.
    due: BTreeMap<(Time, u64), Reply>,
    serial: u64,
    /// The socket on each channel.
    pub sockets: BTreeMap<ChannelId, SessionId>,
    /// The channels that the platform knows.
    pub channels: BTreeMap<ChannelId, Known>,
    /// Tokens that have not ended, by their ends.
    tokens: BTreeSet<(Time, TokenId)>,
    /// Channels that the platform dropped to make room for another.
    pub evicted: usize,
    /// Channels that it dropped for any other reason.
    pub dropped: usize,
    /// Answers to requests for a channel that go missing.
    pub lose_answers: usize,
    /// Whether the platform will not list channels.
    pub lists_no_channels: bool,
    pub secret: SecretVersion,
    /// Refusals to give instead of the next answers: to logins, REST calls, handshakes.
    pub refuse_login: VecDeque<Refusal>,
    pub refuse_rest: VecDeque<Refusal>,
    pub refuse_handshake: VecDeque<Refusal>,
    pub refuse_list: VecDeque<Refusal>,
    /// How long the making of a channel takes besides the round trip.
    pub slow_channels: Duration,
    /// Sockets that are open but never speak again.
    pub mute: BTreeSet<SessionId>,
    pub token_life: Duration,
    pub asked: Vec<(Time, Command)>,
    pub gaps: Vec<Gap>,
    pub transcript: String,
    /// What the platform lists, where a test says so.
    pub listed: Option<Vec<Topic>>,
    /// What each channel carries.
    pub carried: BTreeMap<ChannelId, BTreeSet<Box<str>>>,
    /// Topics that hold this word are refused.
    pub forbid: Option<String>,
    /// How many shards the topics fill.
    pub shards: usize,
    /// When each shard was without a socket that speaks, once it had one; open intervals have no end.
    pub unfed: BTreeMap<ShardId, Vec<(Time, Option<Time>)>>,
    /// Until when requests are forbidden by a `Retry-After`: logins, REST calls, handshakes.
    forbidden: [Time; 3],
    /// What the answers under way will forbid, by their number: it counts from the answer's arrival, and not before, even
    /// where another answer arrives in the same instant.
    forbidding: BTreeMap<u64, (usize, Duration)>,
    /// Requests that came too early all the same.
    pub hasty: Vec<(Time, Command)>,
}

/// The kinds of requests, as places in `World::forbidden`.
fn kind(command: &Command) -> Option<usize> {
    match command {
        Command::RequestToken => Some(0),
        Command::ListTopics { .. }
        | Command::ListChannels { .. }
        | Command::OpenChannel { .. }
        | Command::Subscribe { .. }
        | Command::Amend { .. } => Some(1),
        Command::Connect { .. } => Some(2),
        Command::Ping { .. } | Command::Close { .. } | Command::Forget { .. } => None,
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(config(), seed)
    }

    pub fn with(config: Config, seed: u64) -> Self {
        Self {
            lifecycle: Lifecycle::new(config, seed),
            now: Time::START,
            due: BTreeMap::new(),
            serial: 0,
            sockets: BTreeMap::new(),
            channels: BTreeMap::new(),
            tokens: BTreeSet::new(),
            evicted: 0,
            dropped: 0,
            lose_answers: 0,
            lists_no_channels: false,
            secret: SecretVersion(1),
            refuse_login: VecDeque::new(),
            refuse_rest: VecDeque::new(),
            refuse_handshake: VecDeque::new(),
            refuse_list: VecDeque::new(),
            slow_channels: Duration::ZERO,
            mute: BTreeSet::new(),
            token_life: DAY,
            asked: Vec::new(),
            gaps: Vec::new(),
            transcript: String::new(),
            listed: None,
            carried: BTreeMap::new(),
            forbid: None,
            shards: 1,
            unfed: BTreeMap::new(),
            forbidden: [Time::START; 3],
            forbidding: BTreeMap::new(),
            hasty: Vec::new(),
        }
    }

    /// A world that has come to live.
    pub fn live(seed: u64) -> Self {
        Self::live_with(seed, 1)
    }

    /// A world of several shards that has come to live.
    pub fn live_with(seed: u64, shards: usize) -> Self {
        Self::live_as(config(), seed, shards)
    }

    /// As `live_with`, with this configuration.
    pub fn live_as(config: Config, seed: u64, shards: usize) -> Self {
        let mut world = Self::with(config, seed);
        world.shards = shards;
        world.run(Duration::from_secs(60));
        assert!(world.lifecycle.is_covered(), "{}", world.transcript);
        world.transcript.clear();
        world.asked.clear();
        world
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        self.watch();
        loop {
            steps += 1;
            assert!(steps < 1_000_000, "the deadline does not move\n{}", self.transcript);
            self.collect();
            let answer = self.due.keys().next().map(|(at, _)| *at);
            let timeout = self.lifecycle.poll_timeout();
            let ends = self.tokens.first().map(|(at, _)| *at);
            let next = answer.into_iter().chain(timeout).chain(ends).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if ends == Some(next) {
                self.end_token();
            } else if answer == Some(next)
                && let Some(((_, number), reply)) = self.due.pop_first()
            {
                if let Some((kind, wait)) = self.forbidding.remove(&number) {
                    self.forbidden[kind] = self.forbidden[kind].max(self.now + wait);
                }
                self.deliver(reply);
            } else {
                self.lifecycle.handle_timeout(self.now);
            }
            self.watch();
        }
        self.now = end;
    }

    /// The platform says something at once.
    pub fn say(&mut self, reply: Reply) {
        self.lifecycle.handle_reply(reply, self.now);
        self.collect();
        self.watch();
    }

    /// A socket says something at once.
    pub fn hear(&mut self, session: SessionId, what: Heard) {
        self.say(Reply::Heard { session, what, at: self.now });
    }

    /// Notes which shards no socket feeds.
    fn watch(&mut self) {
        self.collect();
        let speaks = |session: &SessionId| !self.mute.contains(session);
        let open: BTreeSet<SessionId> = self.sockets.values().copied().filter(speaks).collect();
        let sessions = self.lifecycle.sessions();
        let fed: BTreeSet<ShardId> = sessions
            .filter(|session| session.has_socket() && open.contains(&session.id))
            .map(|session| session.shard)
            .collect();
        for shard in &fed {
            if let Some((_, end @ None)) = self.unfed.entry(*shard).or_default().last_mut() {
                *end = Some(self.now);
            }
        }
        for (shard, unfed) in &mut self.unfed {
            if !fed.contains(shard) && unfed.last().is_none_or(|(_, end)| end.is_some()) {
                unfed.push((self.now, None));
            }
        }
    }

    /// What nobody can see: an interval without a speaking socket that no gap names.
    pub fn unnamed(&self) -> Option<(ShardId, Time, Time)> {
        let intervals = self.unfed.iter().flat_map(|(shard, all)| all.iter().map(|i| (*shard, *i)));
        intervals.map(|(shard, (from, to))| (shard, from, to.unwrap_or(self.now))).find(
            |(shard, from, to)| {
                // Gaps follow each other without a frame between them that would prove anything.
                let mut reached = *from;
                for gap in self.gaps.iter().filter(|gap| gap.shard == *shard) {
                    if gap.from <= reached {
                        reached = reached.max(gap.to.unwrap_or(self.now));
                    }
                }
                reached < *to
            },
        )
    }

    /// The longest that a gap claims beyond the time without a speaking socket.
    pub fn excess(&self) -> Duration {
        let excess = self.gaps.iter().map(|gap| {
            let to = gap.to.unwrap_or(self.now);
            let unfed: Duration = self.unfed.get(&gap.shard).map_or(Duration::ZERO, |all| {
                let within = |(from, end): &(Time, Option<Time>)| {
                    end.unwrap_or(self.now).min(to).since((*from).max(gap.from))
                };
                all.iter().map(within).sum()
            });
            to.since(gap.from).saturating_sub(unfed)
        });
        excess.max().unwrap_or_default()
    }

    /// Forgets what was settled long ago, so that many days fit into memory.
    pub fn forget(&mut self) {
        let open = |(_, end): &(Time, Option<Time>)| end.is_none();
        if self.unfed.values().flatten().any(open) || self.gaps.iter().any(|gap| gap.to.is_none()) {
            return;
        }
        self.gaps.clear();
        self.unfed.values_mut().for_each(Vec::clear);
        self.transcript.clear();
        self.asked.clear();
    }

    /// A token ends, and the sockets of the channels that it made are closed.
    fn end_token(&mut self) {
        let Some((_, token)) = self.tokens.pop_first() else { return };
        let made =
            |channel: &ChannelId| self.channels.get(channel).is_some_and(|c| c.maker == token);
        let closed: Vec<SessionId> = self
            .sockets
            .iter()
            .filter(|(channel, session)| made(channel) && !self.mute.contains(session))
            .map(|(_, session)| *session)
            .collect();
        for session in closed {
            self.tell(&format!("the token ends that made the channel of {session}"));
            self.lose(session, Reason::Closed);
        }
    }

    /// Drops what has expired.
    fn expire(&mut self) {
        let (now, before) = (self.now, self.channels.len());
        self.channels.retain(|_, channel| now < channel.expires);
        self.dropped += before - self.channels.len();
    }

    /// Drops every channel without a word.
    pub fn drop_channels(&mut self) {
        self.dropped += self.channels.len();
        self.channels.clear();
        self.mute.extend(self.sockets.values().copied());
    }

    /// The newest session with a socket.
    pub fn session(&self) -> SessionId {
        *self.sockets.values().max().expect("a socket is open")
    }

    /// The connection of a session breaks.
    pub fn lose(&mut self, session: SessionId, reason: Reason) {
        self.sockets.retain(|_, of| *of != session);
        self.say(Reply::Lost { session, reason, detail: format!("scripted {reason}") });
    }

    /// The secret's source shows a fresh secret.
    pub fn rotate(&mut self) {
        self.secret.0 += 1;
        self.say(Reply::SecretChanged { secret: self.secret });
    }

    /// A person asks for a rotation.
    pub fn order_rotation(&mut self) {
        self.lifecycle.handle_rotate(self.now);
        self.watch();
    }

    pub fn count(&self, is: impl Fn(&Command) -> bool) -> usize {
        self.asked.iter().filter(|(_, command)| is(command)).count()
    }

    fn deliver(&mut self, mut reply: Reply) {
        if let Reply::Heard { session, what, at } = &mut reply {
            *at = self.now;
            if self.mute.contains(session) || !self.sockets.values().any(|of| of == session) {
                return;
            }
            if *what == Heard::Sign {
                self.later(HEARTBEAT, reply.clone());
            }
        }
        if let Reply::Connected { session } = reply {
            let sign = Reply::Heard { session, what: Heard::Sign, at: self.now };
            self.later(HEARTBEAT, sign);
        }
        self.lifecycle.handle_reply(reply, self.now);
    }

    fn later(&mut self, after: Duration, reply: Reply) {
        self.serial += 1;
        self.due.insert((self.now + after, self.serial), reply);
    }

    fn collect(&mut self) {
        while let Some(note) = self.lifecycle.poll_note() {
            match note {
                Note::GapOpened { shard, cause, from, .. } => {
                    self.gaps.push(Gap { shard, cause, from, to: None });
                    self.tell(&format!("gap opened: {cause}, from {:.3}", seconds(from)));
                }
                Note::GapClosed { shard, to, action } => {
                    let mut gaps = self.gaps.iter_mut().rev();
                    let gap = gaps.find(|gap| gap.shard == shard).expect("a gap was opened");
                    assert!(gap.to.is_none() && gap.from <= to, "{gap:?} ends at {to:?}");
                    gap.to = Some(to);
                    self.tell(&format!("gap closed: {action}"));
                }
                Note::Observed(Observation::PlanChanged { joined, left, .. }) => {
                    self.tell(&format!("plan: {} joined, {} left", joined.len(), left.len()));
                }
                Note::Observed(Observation::PlanRefused { detail, .. }) => {
                    self.tell(&format!("plan refused: {detail}"));
                }
                Note::Observed(Observation::TopicRejected { topic, .. }) => {
                    self.tell(&format!("rejected {topic}"));
                }
                Note::Observed(Observation::TopicPermitted { topic }) => {
                    self.tell(&format!("permitted {topic}"));
                }
                Note::Observed(Observation::RotationStarted { trigger, .. }) => {
                    self.tell(&format!("rotation: {trigger}"))
                }
                Note::Observed(Observation::RotationFinished { trigger, overlap, .. }) => self
                    .tell(&format!(
                        "rotation over: {trigger}, after {:.3} s of both",
                        overlap.as_secs_f64()
                    )),
                Note::Observed(_) | Note::Misplanned(_) => {}
            }
        }
        while let Some(command) = self.lifecycle.poll_command() {
            self.asked.push((self.now, command.clone()));
            self.answer(command);
        }
    }

    fn answer(&mut self, command: Command) {
        if kind(&command).is_some_and(|kind| self.now < self.forbidden[kind]) {
            self.hasty.push((self.now, command.clone()));
        }
        let asked = kind(&command);
        let reply = match command {
            Command::RequestToken => {
                self.tell("request token");
                self.serial += 1;
                match self.refuse_login.pop_front() {
                    Some(refusal) => Reply::TokenRefused { refusal, secret: Some(self.secret) },
                    None => {
                        let (token, expires_in) = (TokenId(self.serial), self.token_life);
                        self.tokens.insert((self.now + ROUND_TRIP + expires_in, token));
                        Reply::TokenGranted { token, expires_in, secret: self.secret }
                    }
                }
            }
            Command::ListTopics { .. } => match self.refuse_list.pop_front() {
                Some(refusal) => Reply::TopicsRefused { refusal },
                None => {
                    let topics = self.listed.clone().unwrap_or_else(|| topics(self.shards));
                    Reply::TopicsListed { topics, unknown: Vec::new(), calls: 1 }
                }
            },
            Command::ListChannels { token } => {
                self.tell("list channels");
                self.list_channels(token)
            }
            Command::OpenChannel { session, token } => {
                self.tell(&format!("{session} open channel"));
                self.open_channel(session, token)
            }
            Command::Amend { session, channel, change, .. } => self.amend(session, channel, change),
            Command::Subscribe { session, channel, topics, .. } => {
                self.tell(&format!("{session} subscribe"));
                self.carried.insert(channel, topics.iter().cloned().collect());
                let gone = Reply::Refused { session, refusal: refusal(Reason::ChannelGone) };
                if self.refuse_rest.front().is_some_and(|next| next.reason == Reason::ChannelGone) {
                    // What a call is told is gone, is gone.
                    self.channels.remove(&channel);
                    self.dropped += 1;
                }
                self.expire();
                self.serial += 1;
                let (used, expires) = (self.serial, self.now + DAY);
                let refused = self.refused(session);
                refused.unwrap_or(match self.channels.get_mut(&channel) {
                    Some(known) => {
                        *known = Known { used, expires, ..*known };
                        Reply::Subscribed { session, rejected: Vec::new() }
                    }
                    None => gone,
                })
            }
            Command::Connect { session, channel } => {
                self.tell(&format!("{session} connect"));
                self.connect(session, channel)
            }
            Command::Ping { session } => Reply::Heard { session, what: Heard::Pong, at: self.now },
            Command::Close { session } => {
                self.tell(&format!("{session} close"));
                self.sockets.retain(|_, of| *of != session);
                self.due.retain(|_, reply| session_of(reply) != Some(session));
                return;
            }
            Command::Forget { .. } => return,
        };
        let forbids = match (asked, &reply) {
            (
                Some(kind),
                Reply::Refused { refusal, .. }
                | Reply::TokenRefused { refusal, .. }
                | Reply::TopicsRefused { refusal },
            ) => refusal.retry_after.map(|wait| (kind, wait)),
            _ => None,
        };
        let slow = matches!(reply, Reply::ChannelOpened { .. }).then_some(self.slow_channels);
        self.later(ROUND_TRIP + slow.unwrap_or_default(), reply);
        self.forbidding.extend(forbids.map(|forbids| (self.serial, forbids)));
    }

    /// The channels that the token made by name, and how many there are.
    fn list_channels(&mut self, token: TokenId) -> Reply {
        if self.lists_no_channels {
            return Reply::ChannelsRefused { refusal: refusal(Reason::Forbidden) };
        }
        if let Some(refusal) = self.refuse_rest.pop_front() {
            return Reply::ChannelsRefused { refusal };
        }
        self.expire();
        let mine = self.channels.iter().filter(|(_, known)| known.maker == token);
        let found = mine
            .map(|(channel, known)| FoundChannel {
                channel: *channel,
                expires_in: known.expires.since(self.now),
            })
            .collect();
        Reply::ChannelsListed { found, total: self.channels.len() }
    }

    /// Makes a channel, and evicts another where there are too many. A refusal that leaves open whether it was made comes half of the
    /// time after it was.
    fn open_channel(&mut self, session: SessionId, maker: TokenId) -> Reply {
        self.expire();
        let refused = self.refused(session);
        self.serial += 1;
        let (channel, used) = (ChannelId(self.serial), self.serial);
        let made = match &refused {
            Some(Reply::Refused { refusal, .. }) => {
                refusal.reason.may_have_been_done() && used.is_multiple_of(2)
            }
            _ => true,
        };
        if made {
            if self.channels.len() >= CHANNELS_PER_CLIENT {
                let idle = |id: &ChannelId| !self.sockets.contains_key(id);
                let victim = self.channels.iter().min_by_key(|(id, c)| (!idle(id), c.used));
                let victim = victim.map(|(id, _)| *id);
                self.evicted += 1;
                self.channels.retain(|id, _| Some(*id) != victim);
            }
            let expires = self.now + DAY;
            self.channels.insert(channel, Known { maker, used, expires });
        }
        if self.lose_answers > 0 {
            self.lose_answers -= 1;
            return Reply::Refused { session, refusal: refusal(Reason::Timeout) };
        }
        refused.unwrap_or(Reply::ChannelOpened { session, channel, expires_in: DAY })
    }

    /// Changes what a channel carries.
    fn amend(&mut self, session: SessionId, channel: ChannelId, change: Change) -> Reply {
        if let Some(refusal) = self.refuse_rest.pop_front() {
            self.tell(&format!("{session} amend refused"));
            return Reply::AmendRefused { session, channel, refusal };
        }
        let carried = self.carried.entry(channel).or_default();
        let told = match change {
            Change::Add(topics) => {
                carried.extend(topics.iter().cloned());
                format!("{session} add {}", topics.len())
            }
            Change::Replace(topics) => {
                *carried = topics.iter().cloned().collect();
                format!("{session} replace by {}", topics.len())
            }
        };
        let refused =
            |name: &&Box<str>| self.forbid.as_ref().is_some_and(|word| name.contains(word));
        let rejected = carried
            .iter()
            .filter(refused)
            .map(|name| RejectedTopic { topic: Topic::new(name), reason: "forbidden".to_owned() });
        let rejected = rejected.collect();
        self.tell(&told);
        Reply::Amended { session, channel, rejected }
    }

    fn refused(&mut self, session: SessionId) -> Option<Reply> {
        let refusal = self.refuse_rest.pop_front()?;
        Some(Reply::Refused { session, refusal })
    }

    fn connect(&mut self, session: SessionId, channel: ChannelId) -> Reply {
        if let Some(refusal) = self.refuse_handshake.pop_front() {
            return Reply::Refused { session, refusal };
        }
        self.expire();
        self.serial += 1;
        match self.channels.get_mut(&channel) {
            Some(known) => known.used = self.serial,
            None => return Reply::Refused { session, refusal: refusal(Reason::ChannelGone) },
        }
        self.mute.remove(&session);
        self.sockets.insert(channel, session);
        Reply::Connected { session }
    }

    /// How often something was told.
    pub fn told(&self, what: &str) -> usize {
        self.transcript.matches(what).count()
    }

    fn tell(&mut self, line: &str) {
        let at = seconds(self.now);
        self.transcript.push_str(&format!("{at:>10.3} {line}\n"));
    }
}

/// Whose answer it is, if a session's.
fn session_of(reply: &Reply) -> Option<SessionId> {
    match reply {
        Reply::ChannelOpened { session, .. }
        | Reply::Subscribed { session, .. }
        | Reply::Connected { session }
        | Reply::Refused { session, .. } => Some(*session),
        _ => None,
    }
}

/// So many topics that they fill this number of shards.
fn topics(shards: usize) -> Vec<Topic> {
    if shards == 1 {
        return vec![Topic::new(&format!("v2.routing.queues.{QUEUE}.users"))];
    }
    (0..shards * TOPICS_PER_CHANNEL)
        .map(|queue| {
            Topic::new(&format!("v2.routing.queues.00000000-0000-4000-8000-{queue:012}.users"))
        })
        .collect()
}

fn seconds(time: Time) -> f64 {
    time.since(Time::START).as_secs_f64()
}
