//! The new process's side: what it says of what it hears, and what becomes of it when the old one is gone.
//!
//! ```text
//!              Welcome                  Cut                 the link ends
//!   Greeting ───────────► Following ───────────► Leaving ─────────────────► TakeOver
//!      │ refused, late        │ refused, late, full  │ late
//!      └──────────────────────┴──────────────────────┴──► GiveUp       the link ends before Cut ──► Restart
//! ```

use super::backlog::{Backlog, Earlier, Item, Relayed, memory};
use super::message::{Hello, Message, PROTOCOL, Refusal, Welcome};
use crate::event::{Notification, Topic};
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// How long the old process may take to answer: longer than it waits for a rotation to end.
const WELCOME_WITHIN: Duration = Duration::from_secs(90);

/// How long it may take from then to the cut: longer than it waits for us to settle.
const CUT_WITHIN: Duration = Duration::from_secs(360);

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The old process has handed over and is gone.
    TakeOver,
    /// The old process is gone and has not handed over: this is a restart, with its gap.
    Restart,
    /// The old process goes on, and this one ends.
    GiveUp(Refusal),
}

/// What others have published by the time that the new process goes on.
#[derive(Debug, Default)]
pub struct Past {
    /// Legs that had begun before all that follows.
    pub earlier: Vec<Earlier>,
    /// What somebody has published already, or what lies in a named gap.
    pub known: VecDeque<Item>,
    /// What keyed families have published, and how long before the cut, oldest first.
    pub window: Vec<(u128, Duration)>,
    /// When the cut, or the end of the link, was heard of.
    pub at: Time,
}

/// What the new process begins with.
#[derive(Debug, Default)]
pub struct Legacy {
    /// What is published already.
    pub past: Past,
    /// The number of the last of that.
    pub number: u64,
    /// What is to be published.
    pub rest: VecDeque<Item>,
    /// From then on there was no room for what came.
    pub full_since: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum State {
    Greeting { deadline: Time },
    Following { deadline: Time },
    Leaving { deadline: Time },
    Over(Outcome),
}

/// The new process in a handover.
#[derive(Debug)]
pub struct Taker {
    state: State,
    hello: Option<Message>,
    hold: Duration,
    /// In which shard the old process has each topic.
    placed: HashMap<Topic, u16>,
    names: BTreeMap<u16, Vec<String>>,
    welcome: Option<Welcome>,
    /// What the old process must do without: our sessions need so many channels beside its own.
    taken: usize,
    settled: bool,
    backlog: Backlog,
    /// The number of the last that others answer for, and when that was known.
    cut: (u64, Time),
    /// The number of the last that was relayed before the old process muted its own sessions.
    muted: u64,
    window: Vec<(u128, Duration)>,
    full_since: Option<Timestamp>,
}

impl Taker {
    /// A process whose client logs in there, and whose arbitration holds a follower's sight for so long.
    pub fn new(login_url: String, version: &str, hold: Duration, now: Time) -> Self {
        let hello = Hello { protocol: PROTOCOL, version: version.to_owned(), login_url };
        Self {
            state: State::Greeting { deadline: now + WELCOME_WITHIN },
            hello: Some(Message::Hello(hello)),
            hold,
            placed: HashMap::new(),
            names: BTreeMap::new(),
            welcome: None,
            taken: 0,
            settled: false,
            backlog: Backlog::default(),
            cut: (0, now),
            muted: 0,
            window: Vec::new(),
            full_since: None,
        }
    }

    /// How it has ended, if it has.
    pub const fn outcome(&self) -> Option<&Outcome> {
        if let State::Over(outcome) = &self.state { Some(outcome) } else { None }
    }

    /// The old process's welcome and its topics, once.
    pub fn poll_welcome(&mut self) -> Option<(Welcome, BTreeMap<u16, Vec<String>>)> {
        self.welcome.take().map(|welcome| (welcome, std::mem::take(&mut self.names)))
    }

    /// The next thing to be said.
    pub fn poll_message(&mut self) -> Option<Message> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        matches!(self.state, State::Following { .. }).then(|| self.backlog.next_unsaid()).flatten()
    }

    /// When `handle_timeout` must be called at the latest.
    pub const fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Greeting { deadline }
            | State::Following { deadline }
            | State::Leaving { deadline, .. } => Some(deadline),
            State::Over(_) => None,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        let words = match self.state {
            State::Greeting { .. } => "the old process does not answer",
            State::Following { .. } => "the old process did not hand over in time",
            State::Leaving { .. } => "the old process has handed over and does not end",
            State::Over(_) => return,
        };
        self.end(words, false);
    }

    /// Gives up: the old process goes on. Once that has handed over nobody else would, and what troubles us is to be waited for.
    pub fn give_up(&mut self, reason: &str, permanent: bool) {
        if matches!(self.state, State::Greeting { .. } | State::Following { .. }) {
            self.end(reason, permanent);
        }
    }

    fn end(&mut self, reason: &str, permanent: bool) {
        let refusal = Refusal { reason: reason.to_owned(), permanent };
        self.state = State::Over(Outcome::GiveUp(refusal));
    }

    /// Our own plan: `channels` are needed for it, of `most` that a client may have. What both have must be in the same shard, since the
    /// old process arbitrates shard by shard.
    pub fn handle_plan<'a>(
        &mut self,
        topics: impl Iterator<Item = (u16, &'a Topic)>,
        channels: usize,
        most: usize,
    ) {
        if channels + self.taken > most {
            let taken = self.taken;
            let words = format!(
                "it needs {channels} channels beside {taken} of the old process, but an OAuth client has {most}: restart instead, or \
                 divide the queues between two OAuth clients"
            );
            return self.give_up(&words, true);
        }
        for (shard, topic) in topics {
            if let Some(placed) = self.placed.get(topic).filter(|placed| **placed != shard) {
                let words =
                    format!("{topic} would move from shard {placed} to {shard}: restart instead");
                return self.give_up(&words, true);
            }
        }
    }

    /// A session has a socket.
    pub fn handle_began(&mut self, leg: u64, shard: u16, place: u8, now: Time) {
        self.push(Relayed::Began { leg, shard, place }, now);
    }

    /// A session said something. What the old process does not have begins with the cut: its rules may not be the right ones for it.
    pub fn handle_sight(&mut self, leg: u64, notification: Notification, now: Time) {
        if matches!(self.state, State::Leaving { .. })
            || self.placed.contains_key(&notification.topic)
        {
            self.push(Relayed::Sight { leg, notification }, now);
        }
    }

    /// Nothing more comes from a session.
    pub fn handle_ended(&mut self, leg: u64, now: Time) {
        self.push(Relayed::Ended { leg }, now);
    }

    /// What each shard with certain delivery has heard last. Called each second.
    pub fn handle_heard(&mut self, heard: BTreeMap<u16, Timestamp>, now: Time) {
        self.push(Relayed::Heard(heard), now);
    }

    /// Whether every shard is delivered for certain.
    pub fn handle_settled(&mut self, settled: bool, now: Time) {
        if settled != self.settled {
            self.settled = settled;
            self.push(Relayed::Settled(settled), now);
        }
    }

    /// The number of the last thing that was heard.
    pub fn last(&self) -> u64 {
        self.backlog.last()
    }

    /// Whether what happened behind that number happened while the old process was silent.
    pub const fn is_ours(&self, number: u64) -> bool {
        number > self.muted
    }

    fn push(&mut self, what: Relayed, now: Time) {
        let received = match &what {
            Relayed::Sight { notification, .. } => Some(notification.received),
            Relayed::Began { .. }
            | Relayed::Ended { .. }
            | Relayed::Heard(_)
            | Relayed::Settled(_) => None,
        };
        if self.backlog.push(now, what) {
            return;
        }
        match self.state {
            // Nobody else has it now.
            State::Leaving { .. } => self.full_since = self.full_since.or(received),
            State::Greeting { .. } | State::Following { .. } => {
                self.give_up("the old process takes in too slowly what is relayed", false);
            }
            State::Over(_) => {}
        }
    }

    /// The old process says something.
    pub fn handle(&mut self, message: Message, now: Time) {
        match (message, &self.state) {
            (_, State::Over(_)) => {}
            (Message::Refused(refusal), State::Greeting { .. } | State::Following { .. }) => {
                self.state = State::Over(Outcome::GiveUp(refusal));
            }
            (Message::Placed { shard, topics }, State::Greeting { .. }) => {
                self.placed.extend(topics.iter().map(|name| (Topic::new(name), shard)));
                self.names.insert(shard, topics);
            }
            (Message::Welcome(welcome), State::Greeting { .. }) => {
                self.taken = welcome.taken;
                self.welcome = Some(welcome);
                self.state = State::Following { deadline: now + CUT_WITHIN };
            }
            (Message::Taken(number), State::Following { .. }) => {
                self.backlog.forget(number, now - memory(self.hold));
            }
            (Message::Window(known), State::Following { .. }) => self.window.extend(known),
            (Message::Cut { relayed, muted, ends_within }, State::Following { .. }) => {
                (self.cut, self.muted) = ((relayed, now), muted);
                self.state = State::Leaving { deadline: now + ends_within };
            }
            _ => self.end("the old process says what makes no sense here", false),
        }
    }

    /// The link has ended.
    pub fn handle_lost(&mut self, now: Time) {
        match self.state {
            State::Over(_) => {}
            State::Leaving { .. } => self.state = State::Over(Outcome::TakeOver),
            State::Greeting { .. } | State::Following { .. } => {
                // Whatever was heard until now lies in the gap.
                let last = self.backlog.last();
                (self.cut, self.muted) = ((last, now), last);
                self.state = State::Over(Outcome::Restart);
            }
        }
    }

    /// What this process begins with, once it is over.
    pub fn into_legacy(self) -> Legacy {
        let (number, at) = self.cut;
        let (earlier, known, rest) = self.backlog.divide(number);
        let past = Past { earlier, known, window: self.window, at };
        Legacy { past, number, rest, full_since: self.full_since }
    }
}
