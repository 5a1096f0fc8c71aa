//! A model of the platform that answers commands in virtual time, and remembers what was asked of it.

use super::herd::Door;
use super::platform::Known;
use crate::event::Topic;
use crate::lifecycle::{
    CHANNELS_PER_CLIENT, ChannelId, Command, Config, Heard, Lifecycle, Note, Reason, Refusal,
    Reply, SecretVersion, SessionId, ShardId, State, TOPICS_PER_CHANNEL, TokenId,
};
use crate::observation::Observation;
use crate::time::Time;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub const QUEUE: &str = "00000000-0000-4000-8000-000000000001";
pub(super) const DAY: Duration = Duration::from_secs(86_400);
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How soon what waiting does not mend is looked at again.
const PARKED: Duration = Duration::from_secs(300);

/// No back-off is longer: that of logins.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// No step asks for more than this, or tells more.
const OUTPUT_MAX: usize = 4 * TOPICS_PER_CHANNEL;

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
    pub(super) due: BTreeMap<(Time, u64), Reply>,
    pub(super) serial: u64,
    /// The socket on each channel.
    pub sockets: BTreeMap<ChannelId, SessionId>,
    /// The channels that the platform knows.
    pub channels: BTreeMap<ChannelId, Known>,
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
    /// Whether the platform will not list channels.
    pub lists_no_channels: bool,
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
    /// What the platform lists, where a test says so.
    pub listed: Option<Vec<Topic>>,
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
            tokens: BTreeSet::new(),
            evicted: 0,
            evicted_live: 0,
            refuse_channels: BTreeSet::new(),
            dropped: 0,
            lose_answers: 0,
            lists_no_channels: false,
            door: None,
            told_states: BTreeMap::new(),
            refused_logins: Vec::new(),
            begun: BTreeSet::new(),
            secret: SecretVersion(1),
            refuse_login: VecDeque::new(),
            refuse_rest: VecDeque::new(),
            refuse_handshake: VecDeque::new(),
            refuse_list: VecDeque::new(),
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
            carried: BTreeMap::new(),
            forbid: None,
            shards: 1,
            unfed: BTreeMap::new(),
            forbidden: [Time::START; 3],
            forbidding: BTreeMap::new(),
            hasty: Vec::new(),
            pages: 0,
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

    /// What holds after every step.
    fn hold_to_the_rules(&mut self) {
        // What is parked is looked at again after five minutes; back-off comes on top of what the platform asked for.
        let latest = self.now + PARKED + self.asked_to_wait + LONGEST_BACKOFF;
        let due = self.lifecycle.poll_timeout();
        assert!(due.is_some_and(|due| due <= latest), "{due:?}\n{}", self.transcript);
        let mut sessions = BTreeMap::new();
        for session in self.lifecycle.sessions() {
            *sessions.entry((session.shard, session.leg)).or_insert(0) += 1;
            let due = session.poll_timeout(&config());
            let waits =
                due.map_or_else(|| session.state == State::Authenticating, |due| due <= latest);
            assert!(waits, "{} waits without end in {:?}", session.id, session.state);
        }
        assert!(self.lifecycle.retired.len() <= CHANNELS_PER_CLIENT, "{}", self.transcript);
        assert!(sessions.values().all(|count| *count <= 3), "{sessions:?}\n{}", self.transcript);
        assert!(self.lifecycle.channels(self.now) <= CHANNELS_PER_CLIENT, "{}", self.transcript);
        let coverage = &self.lifecycle.output.coverage;
        let covered = coverage.iter().filter(|(_, coverage)| coverage.is_covered());
        let covered: BTreeSet<ShardId> = covered.map(|(shard, _)| *shard).collect();
        self.begun.extend(&covered);
        let lost = |shard: &&ShardId| coverage.contains_key(shard) && !covered.contains(shard);
        let lost: BTreeSet<ShardId> = self.begun.iter().filter(lost).copied().collect();
        let open = self.gaps.iter().filter(|gap| gap.to.is_none());
        let named: BTreeSet<ShardId> = open.map(|gap| gap.shard).collect();
        assert_eq!(lost, named, "{:?}\n{}", self.gaps, self.transcript);
    }

    /// A session moved along an arrow of the picture, from where it was.
    fn hold_to_the_picture(&mut self, session: String, from: &'static str, to: &'static str) {
        let was = self.told_states.insert(session.clone(), to).unwrap_or("waiting");
        assert_eq!(was, from, "{session} jumped");
        let arrow = match from {
            "waiting" | "authenticating" => {
                ["waiting", "authenticating", "opening", "subscribing", "connecting"].contains(&to)
            }
            "opening" => ["waiting", "subscribing"].contains(&to),
            "subscribing" => ["waiting", "connecting"].contains(&to),
            "connecting" => ["waiting", "settling"].contains(&to),
            "settling" => ["waiting", "live"].contains(&to),
            "live" => ["waiting", "draining"].contains(&to),
            "draining" => to == "live",
            _ => false,
        };
        assert!(arrow, "{session} went from {from} to {to}\n{}", self.transcript);
    }

    /// Notes which shards no socket feeds.
    fn watch(&mut self) {
        self.collect();
        self.hold_to_the_rules();
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
        // What counts towards a limit still.
        let recent = |at: &Time| self.now.since(*at) < PARKED;
        self.refused_logins.retain(|(at, _)| recent(at));
        self.asked.retain(|(at, _)| recent(at));
        let living: BTreeSet<String> =
            self.lifecycle.sessions().map(|session| session.id.to_string()).collect();
        self.told_states.retain(|session, _| living.contains(session));
        self.unfed.values_mut().for_each(Vec::clear);
        self.transcript.clear();
    }

    /// How much the lifecycle remembers, in letters: whatever grows without a bound is seen here.
    pub fn weight(&self) -> usize {
        format!("{:?}", self.lifecycle).len()
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

    pub(super) fn later(&mut self, after: Duration, reply: Reply) {
        self.serial += 1;
        self.due.insert((self.now + after, self.serial), reply);
    }

    fn collect(&mut self) {
        let output = &self.lifecycle.output;
        assert!(output.commands.len().max(output.notes.len()) <= OUTPUT_MAX);
        while let Some(note) = self.lifecycle.poll_note() {
            match note {
                Note::GapOpened { shard, cause, from, only, .. } => {
                    let of = |gap: &&mut Gap| gap.shard == shard && gap.to.is_none();
                    match self.gaps.iter_mut().find(of) {
                        Some(wider) => wider.from = from.min(wider.from),
                        None => self.gaps.push(Gap { shard, cause, from, to: None }),
                    }
                    let only =
                        if only.is_empty() { String::new() } else { format!(" of {only:?}") };
                    self.tell(&format!("gap opened{only}: {cause}, from {:.3}", seconds(from)));
                }
                Note::GapClosed { shard, to, action } => {
                    let mut gaps = self.gaps.iter_mut().rev();
                    let gap = gaps.find(|gap| gap.shard == shard).expect("a gap was opened");
                    assert!(gap.to.is_none() && gap.from <= to, "{gap:?} ends at {to:?}");
                    gap.to = Some(to);
                    self.tell(&format!("gap closed: {action}"));
                    self.rebase(shard);
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
                Note::Observed(Observation::SessionEntered { session, from, to, .. }) => {
                    self.hold_to_the_picture(session, from, to);
                }
                Note::Rebased { snapshots, .. } => {
                    self.rebased = (self.rebased.0 + 1, self.rebased.1 + snapshots);
                }
                Note::Observed(_) | Note::Misplanned(_) | Note::Covered { .. } => {}
            }
        }
        while let Some(command) = self.lifecycle.poll_command() {
            self.asked.push((self.now, command.clone()));
            self.answer(command);
        }
    }

    /// As the driver does it, for whose gaps the numbers are.
    fn rebase(&mut self, shard: ShardId) {
        if self.pages > 0 {
            let topics: Vec<Topic> = self.lifecycle.topics().each_of(shard).cloned().collect();
            self.lifecycle.rebase(self.gaps.len() as u64, &topics, self.now);
        }
    }

    /// How often something was told.
    pub fn told(&self, what: &str) -> usize {
        self.transcript.matches(what).count()
    }

    pub(super) fn tell(&mut self, line: &str) {
        let at = seconds(self.now);
        self.transcript.push_str(&format!("{at:>10.3} {line}\n"));
    }
}

fn seconds(time: Time) -> f64 {
    time.since(Time::START).as_secs_f64()
}
