//! A model of the platform that answers commands in virtual time, and remembers what was asked of it.

use super::herd::Door;
use super::notes::Gap;
use super::platform::Known;
use crate::event::Topic;
use crate::lifecycle::{
    ChannelId, Command, Config, Heard, Lifecycle, ReadId, ReadTopics, Reason, Refusal, Reply,
    SecretVersion, SessionId, ShardId, TokenId,
};
use crate::time::Time;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub const QUEUE: &str = "00000000-0000-4000-8000-000000000001";
pub(super) const DAY: Duration = Duration::from_secs(86_400);
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

/// What the platform says when its time has come.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Reply(Reply),
    Shown { read: ReadId, topics: ReadTopics, shown: Shown },
}

/// What comes of a question how topics stand.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    Page,
    Whole,
    /// Live events were faster.
    Overtaken,
    Refused(Refusal),
}

impl From<Reply> for Said {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// The lifecycle and the platform around it.
pub struct World {
    pub lifecycle: Lifecycle,
    pub now: Time,
    /// What the platform will say, by time; the number keeps the order of equal times.
    pub(super) due: BTreeMap<(Time, u64), Said>,
    pub(super) serial: u64,
    /// The socket on each channel.
    pub sockets: BTreeMap<ChannelId, SessionId>,
    /// The channels that the platform knows.
    pub channels: BTreeMap<ChannelId, Known>,
    /// How long it takes a socket that we close for open still, and until when it does so on which channel.
    pub closing: Duration,
    pub(super) lingering: BTreeMap<ChannelId, Time>,
    /// Tokens that have not ended, by their ends.
    pub(super) tokens: BTreeSet<(Time, TokenId)>,
    /// Channels that the platform dropped to make room for another.
    pub evicted: usize,
    /// Those of them that had a socket.
    pub evicted_live: usize,
    /// Channels whose topics it refuses.
    pub refuse_channels: BTreeSet<ChannelId>,
    /// Channels that it dropped for any other reason.
    pub dropped: usize,
    /// Answers to requests for a channel that go missing.
    pub lose_answers: usize,
    /// Whether the platform will not list channels, or does not answer when it is asked to.
    pub lists_no_channels: bool,
    pub silent_lists: bool,
    /// What all clients share at the platform's door, where there are others.
    pub door: Option<Rc<RefCell<Door>>>,
    /// Where each session was last told to be.
    pub(super) told_states: BTreeMap<String, &'static str>,
    /// Logins with a secret that was refused.
    pub refused_logins: Vec<(Time, SecretVersion)>,
    /// Shards that were covered once: what comes before is no gap.
    pub(super) begun: BTreeSet<ShardId>,
    pub secret: SecretVersion,
    /// Refusals to give instead of the next answers: to logins, REST calls, handshakes.
    pub refuse_login: VecDeque<Refusal>,
    pub refuse_rest: VecDeque<Refusal>,
    pub refuse_handshake: VecDeque<Refusal>,
    pub refuse_list: VecDeque<Refusal>,
    /// Whether the first of these says that the pages do not belong together.
    pub mixed_list: bool,
    /// The same to requests for a channel alone.
    pub refuse_open: VecDeque<Refusal>,
    /// How long the making of a channel takes besides the round trip.
    pub slow_channels: Duration,
    /// Sockets that are open but never speak again.
    pub mute: BTreeSet<SessionId>,
    pub token_life: Duration,
    /// How long a channel lives from each subscription.
    pub channel_life: Duration,
    /// Whether the platform closes every socket when the secret is rotated.
    pub rotation_kills: bool,
    /// The longest `Retry-After` so far.
    pub(super) asked_to_wait: Duration,
    pub asked: Vec<(Time, Command)>,
    pub gaps: Vec<Gap>,
    pub transcript: String,
    /// What the platform lists, where a test says so, and in how many pages.
    pub listed: Option<Vec<Topic>>,
    pub list_pages: u32,
    /// How many REST calls the platform allows in each minute of its clock, where it says so, how many there were in this one, and how
    /// many in any beyond what it allows.
    pub allows: Option<u32>,
    pub(super) called: (u64, u32),
    pub excessive: usize,
    /// What each channel carries.
    pub carried: BTreeMap<ChannelId, BTreeSet<Box<str>>>,
    /// Topics that hold this word are refused.
    pub forbid: Option<String>,
    /// Sessions whose topics the platform will not change.
    pub fixed: BTreeSet<SessionId>,
    /// How many shards the topics fill.
    pub shards: usize,
    /// When each shard was without a socket that speaks, once it had one; open intervals have no end.
    pub unfed: BTreeMap<ShardId, Vec<(Time, Option<Time>)>>,
    /// Until when requests are forbidden by a `Retry-After`: logins, REST calls, handshakes.
    pub(super) forbidden: [Time; 3],
    /// What the answers under way will forbid, by their number: it counts from the answer's arrival, and not before, even
    /// where another answer arrives in the same instant.
    pub(super) forbidding: BTreeMap<u64, (usize, Duration)>,
    /// Requests that came too early all the same.
    pub hasty: Vec<(Time, Command)>,
    /// How many pages REST has of each topic; with none, nobody re-bases.
    pub pages: u32,
    /// Of how many topics of a gap at most it is asked how they stand: one takes as long as the next.
    pub rebased_most: usize,
    /// How many gaps have ended whose re-basing was asked for.
    pub(super) gaps_closed: u64,
    /// How many gaps have been re-based, and what of them was shown.
    pub rebased: (u64, u64),
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
            closing: Duration::from_millis(500),
            lingering: BTreeMap::new(),
            tokens: BTreeSet::new(),
            evicted: 0,
            evicted_live: 0,
            refuse_channels: BTreeSet::new(),
            dropped: 0,
            lose_answers: 0,
            lists_no_channels: false,
            silent_lists: false,
            door: None,
            told_states: BTreeMap::new(),
            refused_logins: Vec::new(),
            begun: BTreeSet::new(),
            secret: SecretVersion(1),
            refuse_login: VecDeque::new(),
            refuse_rest: VecDeque::new(),
            refuse_handshake: VecDeque::new(),
            refuse_list: VecDeque::new(),
            mixed_list: false,
            refuse_open: VecDeque::new(),
            fixed: BTreeSet::new(),
            slow_channels: Duration::ZERO,
            mute: BTreeSet::new(),
            token_life: DAY,
            channel_life: DAY,
            rotation_kills: false,
            asked_to_wait: Duration::ZERO,
            asked: Vec::new(),
            gaps: Vec::new(),
            transcript: String::new(),
            listed: None,
            list_pages: 1,
            allows: None,
            called: (0, 0),
            excessive: 0,
            carried: BTreeMap::new(),
            forbid: None,
            shards: 1,
            unfed: BTreeMap::new(),
            forbidden: [Time::START; 3],
            forbidding: BTreeMap::new(),
            hasty: Vec::new(),
            pages: 0,
            rebased_most: usize::MAX,
            gaps_closed: 0,
            rebased: (0, 0),
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
                && let Some(((_, number), said)) = self.due.pop_first()
            {
                if let Some((kind, wait)) = self.forbidding.remove(&number) {
                    self.forbidden[kind] = self.forbidden[kind].max(self.now + wait);
                }
                self.deliver(said);
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

    /// The newest session with a socket.
    pub fn session(&self) -> SessionId {
        *self.sockets.values().max().expect("a socket is open")
    }

    /// The connection of a session breaks.
    pub fn lose(&mut self, session: SessionId, reason: Reason) {
        self.sockets.retain(|_, of| *of != session);
        self.say(Reply::Lost { session, reason, detail: format!("scripted {reason}") });
    }

    /// Genesys has another secret, and its source shows it.
    pub fn rotate(&mut self) {
        self.secret.0 += 1;
        if self.rotation_kills {
            let open: Vec<SessionId> = self.sockets.values().copied().collect();
            open.into_iter().for_each(|session| self.lose(session, Reason::Closed));
        }
        self.say(Reply::SecretChanged { secret: self.secret });
    }

    /// A person asks for a rotation.
    pub fn order_rotation(&mut self) {
        self.lifecycle.handle_rotate(self.now);
        self.watch();
    }

    /// A person chooses other topics: what is listed from now on.
    pub fn choose(&mut self) {
        self.lifecycle.handle_chosen(self.now);
        self.watch();
    }

    pub fn count(&self, is: impl Fn(&Command) -> bool) -> usize {
        self.asked.iter().filter(|(_, command)| is(command)).count()
    }

    fn deliver(&mut self, said: Said) {
        let mut reply = match said {
            Said::Reply(reply) => reply,
            Said::Shown { read, topics, shown } => return self.show(read, &topics, shown),
        };
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

    /// What REST has shown, or not.
    fn show(&mut self, read: ReadId, topics: &[Topic], shown: Shown) {
        match shown {
            Shown::Page => self.lifecycle.handle_snapshots_page(read, self.now),
            Shown::Whole => self.lifecycle.handle_snapshots(read, &[], self.now),
            Shown::Overtaken => self.lifecycle.handle_snapshots(read, topics, self.now),
            Shown::Refused(refusal) => {
                self.lifecycle.handle_snapshots_refused(read, &refusal, self.now);
            }
        }
    }

    pub(super) fn later(&mut self, after: Duration, said: impl Into<Said>) {
        self.serial += 1;
        self.due.insert((self.now + after, self.serial), said.into());
    }
}
