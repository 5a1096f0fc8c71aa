//! A model of the platform that answers commands in virtual time, and remembers what was asked of it.

use crate::event::Topic;
use crate::lifecycle::{
    ChannelId, Command, Config, Heard, Lifecycle, Note, Reason, Refusal, Reply, SecretVersion,
    SessionId, TokenId,
};
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
    }
}

pub fn refusal(reason: Reason) -> Refusal {
    Refusal { reason, retry_after: None, detail: format!("scripted {reason}") }
}

/// A closed gap, as the notes told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
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
    pub channels: BTreeSet<ChannelId>,
    pub secret: SecretVersion,
    /// Refusals to give instead of the next answers: to logins, REST calls, handshakes.
    pub refuse_login: VecDeque<Refusal>,
    pub refuse_rest: VecDeque<Refusal>,
    pub refuse_handshake: VecDeque<Refusal>,
    /// Sockets that are open but never speak again.
    pub mute: BTreeSet<SessionId>,
    pub token_life: Duration,
    pub asked: Vec<(Time, Command)>,
    pub gaps: Vec<Gap>,
    pub transcript: String,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            lifecycle: Lifecycle::new(config(), seed),
            now: Time::START,
            due: BTreeMap::new(),
            serial: 0,
            sockets: BTreeMap::new(),
            channels: BTreeSet::new(),
            secret: SecretVersion(1),
            refuse_login: VecDeque::new(),
            refuse_rest: VecDeque::new(),
            refuse_handshake: VecDeque::new(),
            mute: BTreeSet::new(),
            token_life: DAY,
            asked: Vec::new(),
            gaps: Vec::new(),
            transcript: String::new(),
        }
    }

    /// A world that has come to live.
    pub fn live(seed: u64) -> Self {
        let mut world = Self::new(seed);
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
        loop {
            steps += 1;
            assert!(steps < 1_000_000, "the deadline does not move\n{}", self.transcript);
            self.collect();
            let answer = self.due.keys().next().map(|(at, _)| *at);
            let timeout = self.lifecycle.poll_timeout();
            let Some(next) = answer.into_iter().chain(timeout).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if answer == Some(next)
                && let Some((_, reply)) = self.due.pop_first()
            {
                self.deliver(reply);
            } else {
                self.lifecycle.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    /// The platform says something at once.
    pub fn say(&mut self, reply: Reply) {
        self.lifecycle.handle_reply(reply, self.now);
        self.collect();
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

    pub fn count(&self, is: impl Fn(&Command) -> bool) -> usize {
        self.asked.iter().filter(|(_, command)| is(command)).count()
    }

    fn deliver(&mut self, reply: Reply) {
        if let Reply::Heard { session, what } = &reply {
            if self.mute.contains(session) || !self.sockets.values().any(|of| of == session) {
                return;
            }
            if *what == Heard::Sign {
                self.later(HEARTBEAT, reply.clone());
            }
        }
        if let Reply::Connected { session } = reply {
            let sign = Reply::Heard { session, what: Heard::Sign };
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
                Note::GapOpened { cause, from, .. } => {
                    self.gaps.push(Gap { cause, from, to: None });
                    self.tell(&format!("gap opened: {cause}, from {:.3}", seconds(from)));
                }
                Note::GapClosed { to, action, .. } => {
                    let gap = self.gaps.last_mut().expect("a gap was opened");
                    gap.to = Some(to);
                    self.tell(&format!("gap closed: {action}"));
                }
                Note::Observed(crate::observation::Observation::RotationStarted {
                    trigger,
                    ..
                }) => self.tell(&format!("rotation: {trigger}")),
                Note::Observed(_) | Note::Misplanned(_) => {}
            }
        }
        while let Some(command) = self.lifecycle.poll_command() {
            self.asked.push((self.now, command.clone()));
            self.answer(command);
        }
    }

    fn answer(&mut self, command: Command) {
        let reply = match command {
            Command::RequestToken => {
                self.tell("request token");
                self.serial += 1;
                match self.refuse_login.pop_front() {
                    Some(refusal) => Reply::TokenRefused { refusal, secret: Some(self.secret) },
                    None => Reply::TokenGranted {
                        token: TokenId(self.serial),
                        expires_in: self.token_life,
                        secret: self.secret,
                    },
                }
            }
            Command::ListTopics { .. } => Reply::TopicsListed {
                topics: vec![Topic::new(&format!("v2.routing.queues.{QUEUE}.users"))],
                unknown: Vec::new(),
            },
            Command::OpenChannel { session, .. } => {
                self.tell(&format!("{session} open channel"));
                self.serial += 1;
                let channel = ChannelId(self.serial);
                self.refused(session).unwrap_or_else(|| {
                    self.channels.insert(channel);
                    Reply::ChannelOpened { session, channel, expires_in: DAY }
                })
            }
            Command::Subscribe { session, channel, .. } => {
                self.tell(&format!("{session} subscribe"));
                let gone = Reply::Refused { session, refusal: refusal(Reason::ChannelGone) };
                self.refused(session).unwrap_or(if self.channels.contains(&channel) {
                    Reply::Subscribed { session, rejected: Vec::new() }
                } else {
                    gone
                })
            }
            Command::Connect { session, channel } => {
                self.tell(&format!("{session} connect"));
                self.connect(session, channel)
            }
            Command::Ping { session } => Reply::Heard { session, what: Heard::Pong },
            Command::Close { session } => {
                self.tell(&format!("{session} close"));
                self.sockets.retain(|_, of| *of != session);
                return;
            }
            Command::Forget { .. } => return,
        };
        self.later(ROUND_TRIP, reply);
    }

    fn refused(&mut self, session: SessionId) -> Option<Reply> {
        let refusal = self.refuse_rest.pop_front()?;
        Some(Reply::Refused { session, refusal })
    }

    fn connect(&mut self, session: SessionId, channel: ChannelId) -> Reply {
        if let Some(refusal) = self.refuse_handshake.pop_front() {
            return Reply::Refused { session, refusal };
        }
        if !self.channels.contains(&channel) {
            return Reply::Refused { session, refusal: refusal(Reason::ChannelGone) };
        }
        self.mute.remove(&session);
        self.sockets.insert(channel, session);
        Reply::Connected { session }
    }

    fn tell(&mut self, line: &str) {
        let at = seconds(self.now);
        self.transcript.push_str(&format!("{at:>10.3} {line}\n"));
    }
}

fn seconds(time: Time) -> f64 {
    time.since(Time::START).as_secs_f64()
}
