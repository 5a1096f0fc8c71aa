//! The old process's side: whom it lets take over, when it falls silent itself, and when it is cut off.
//!
//! ```text
//!           Hello                    quiet            settled, 2 holds, proven         2 holds
//!   Idle ──────────► Freezing ────────────► Following ────────────────────► Muted ───────────────► Cut
//!    ▲                  │ lost, late            │ lost, late, silent          │ lost, silent
//!    └──────────────────┴───────────────────────┴─────────────────────────────┘ thaws; from Muted: a named gap
//! ```

use super::backlog::memory;
use super::message::{Hello, Message, PROTOCOL, Refusal};
use crate::event::Notification;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a rotation that is under way may take to end.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// How long the new process may take until all its shards are settled: as many sessions as a client can have, and some waiting.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// How long the new process may say nothing; it says something each second.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// So many relayed messages are taken in before that is said, unless a second has passed.
const TAKEN_EVERY: u64 = 1_024;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Act {
    /// Begin no planned change any more, and leave every channel that is free to the new process.
    Freeze,
    /// Go on as before; the new process may have made or changed channels.
    Thaw,
    /// Say which topics there are, and `Welcome`.
    Greet,
    /// Say this.
    Say(Message),
    /// A session of the new process has a socket.
    Begin {
        /// Its number.
        leg: u64,
        /// Whose topics it carries.
        shard: u16,
        /// Which leg of the shard it is.
        place: u8,
    },
    /// It said something.
    Sight {
        /// Its number.
        leg: u64,
        /// What.
        notification: Notification,
    },
    /// Nothing more comes from it.
    End {
        /// Its number.
        leg: u64,
    },
    /// Ask the sessions of this process for a sign of life: one that was dead before the new process was heard has missed something,
    /// and that must be named while there is somebody who knows of it.
    Probe,
    /// What the sessions of this process say does not count any more.
    Mute,
    /// It counts again. What passed since the new process last `heard` of each shard is missing.
    Unmute {
        /// By its own word.
        heard: BTreeMap<u16, Timestamp>,
    },
    /// Close the journal and say `Cut`.
    Cut,
    /// The link is of no use any more.
    Hang,
    /// The handover came to nothing.
    Failed {
        /// Why, in words.
        detail: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Freezing { deadline: Time },
    Following { deadline: Time, settled: bool, probed: Option<Time> },
    Muted { since: u64, cut_at: Time },
    Cut { muted: u64 },
}

/// The old process in a handover.
#[derive(Debug)]
pub struct Giver {
    login_url: String,
    hold: Duration,
    state: State,
    /// The sessions of the new process, and when each began.
    legs: BTreeMap<u64, Time>,
    /// When the new process last said anything.
    spoke: Time,
    /// How many relayed messages were taken in, and how many of them that was said of.
    taken: u64,
    told: u64,
    heard: BTreeMap<u16, Timestamp>,
    acts: VecDeque<Act>,
}

impl Giver {
    /// A process whose client logs in there, and whose arbitration holds a follower's sight for so long.
    pub const fn new(login_url: String, hold: Duration) -> Self {
        Self {
            login_url,
            hold,
            state: State::Idle,
            legs: BTreeMap::new(),
            spoke: Time::START,
            taken: 0,
            told: 0,
            heard: BTreeMap::new(),
            acts: VecDeque::new(),
        }
    }

    /// The next thing to be done, in order.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Whether it waits for every rotation to end and the channels to be written down.
    pub const fn awaits_quiet(&self) -> bool {
        matches!(self.state, State::Freezing { .. })
    }

    /// Since when our own sessions must have been heard, where that is all it waits for.
    pub const fn awaits_proof(&self) -> Option<Time> {
        if let State::Following { probed, .. } = self.state { probed } else { None }
    }

    /// What the new process has heard of each shard, while nothing else counts.
    pub fn heard(&self) -> Option<&BTreeMap<u16, Timestamp>> {
        matches!(self.state, State::Muted { .. } | State::Cut { .. }).then_some(&self.heard)
    }

    /// The number of the last relayed message that was taken in, and of the last before the mute.
    pub const fn cut(&self) -> (u64, u64) {
        let muted = match self.state {
            State::Muted { since, .. } | State::Cut { muted: since } => since,
            State::Idle | State::Freezing { .. } | State::Following { .. } => self.taken,
        };
        (self.taken, muted)
    }

    /// When `handle_timeout` must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Idle | State::Cut { .. } => None,
            State::Freezing { deadline } => Some(deadline),
            State::Following { deadline, settled, probed } => {
                let probes_at = self.followed_at().filter(|_| settled && probed.is_none());
                let silent_at = Some(self.spoke + SILENT_MAX);
                probes_at.into_iter().chain(silent_at).chain([deadline]).min()
            }
            State::Muted { cut_at, .. } => Some(cut_at.min(self.spoke + SILENT_MAX)),
        }
    }

    /// How long a follower's sight waits for its leader.
    pub const fn hold(&self) -> Duration {
        self.hold
    }

    /// When every session of the new process has been followed long enough to be counted exactly.
    fn followed_at(&self) -> Option<Time> {
        self.legs.values().max().map(|began| *began + memory(self.hold))
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Freezing { deadline } if deadline <= now => {
                self.refuse(
                    "a rotation is under way, or the channels cannot be written down",
                    false,
                );
                self.call_off("it did not come to rest");
            }
            State::Following { .. } | State::Muted { .. } if self.spoke + SILENT_MAX <= now => {
                self.call_off("the new process says nothing any more");
            }
            State::Following { deadline, .. } if deadline <= now => {
                self.call_off("the new process did not settle");
            }
            State::Following { deadline, settled: true, probed: None }
                if self.followed_at().is_some_and(|due| due <= now) =>
            {
                self.state = State::Following { deadline, settled: true, probed: Some(now) };
                self.acts.push_back(Act::Probe);
            }
            State::Muted { since, cut_at } if cut_at <= now => {
                self.state = State::Cut { muted: since };
                self.acts.push_back(Act::Cut);
            }
            State::Idle
            | State::Freezing { .. }
            | State::Following { .. }
            | State::Muted { .. }
            | State::Cut { .. } => {}
        }
    }

    /// No rotation is under way any more, and the channels are written down.
    pub fn handle_quiet(&mut self, now: Time) {
        if self.awaits_quiet() {
            self.spoke = now;
            let deadline = now + SETTLED_WITHIN;
            self.state = State::Following { deadline, settled: false, probed: None };
            self.acts.push_back(Act::Greet);
        }
    }

    /// Our own sessions have been heard since they were to be, or what they missed is named.
    pub fn handle_proven(&mut self, now: Time) {
        if self.awaits_proof().is_some() {
            self.state = State::Muted { since: self.taken, cut_at: now + memory(self.hold) };
            self.acts.push_back(Act::Mute);
        }
    }

    /// The new process says something.
    pub fn handle(&mut self, message: Message, now: Time) {
        self.spoke = now;
        let follows = matches!(self.state, State::Following { .. } | State::Muted { .. });
        match (message, follows) {
            (Message::Hello(hello), false) if self.state == State::Idle => self.greet(hello, now),
            // What it said before it knew that it was cut off is published by itself.
            _ if matches!(self.state, State::Cut { .. }) => {}
            (Message::Began { leg, shard, place }, true) => {
                self.count();
                self.legs.insert(leg, now);
                self.unproven(None);
                self.acts.push_back(Act::Begin { leg, shard, place });
            }
            (Message::Sight { leg, notification }, true) => {
                self.count();
                self.acts.push_back(Act::Sight { leg, notification });
            }
            (Message::Ended { leg }, true) => {
                self.count();
                if self.legs.remove(&leg).is_some() {
                    self.acts.push_back(Act::End { leg });
                }
            }
            (Message::Heard(heard), true) => {
                self.count();
                self.heard = heard;
                self.tell_taken();
            }
            (Message::Settled(settled), true) => {
                self.count();
                self.unproven(Some(settled));
            }
            _ => {
                self.refuse("that makes no sense here", false);
                self.call_off("the new process says what makes no sense here");
            }
        }
    }

    fn greet(&mut self, hello: Hello, now: Time) {
        if hello.protocol != PROTOCOL {
            let words = "it speaks another form of the handover: stop this process instead";
            return self.refuse(words, true);
        }
        if hello.login_url != self.login_url {
            let words =
                format!("it would log in elsewhere: this one logs in at {}", self.login_url);
            return self.refuse(&words, true);
        }
        (self.taken, self.told) = (0, 0);
        self.heard.clear();
        self.state = State::Freezing { deadline: now + QUIET_WITHIN };
        self.acts.push_back(Act::Freeze);
    }

    /// What was asked of our own sessions is asked again: the new process has another session, or is settled or not.
    const fn unproven(&mut self, is_settled: Option<bool>) {
        if let State::Following { settled, probed, .. } = &mut self.state {
            *probed = None;
            if let Some(is_settled) = is_settled {
                *settled = is_settled;
            }
        }
    }

    fn count(&mut self) {
        self.taken += 1;
        if self.taken - self.told >= TAKEN_EVERY {
            self.tell_taken();
        }
    }

    fn tell_taken(&mut self) {
        self.told = self.taken;
        self.acts.push_back(Act::Say(Message::Taken(self.taken)));
    }

    fn refuse(&mut self, reason: &str, permanent: bool) {
        let refusal = Refusal { reason: reason.to_owned(), permanent };
        self.acts.push_back(Act::Say(Message::Refused(refusal)));
        self.acts.push_back(Act::Hang);
    }

    /// The link has ended.
    pub fn handle_lost(&mut self) {
        self.call_off("the new process is gone");
    }

    /// There will be no handover: this process goes on.
    pub fn call_off(&mut self, why: &str) {
        let before = self.state;
        if matches!(before, State::Idle | State::Cut { .. }) {
            return;
        }
        self.state = State::Idle;
        if let State::Muted { .. } = before {
            // First, so that the shard is never without a leg.
            self.acts.push_back(Act::Unmute { heard: std::mem::take(&mut self.heard) });
        }
        let legs = std::mem::take(&mut self.legs).into_keys();
        self.acts.extend(legs.map(|leg| Act::End { leg }));
        self.acts.extend([Act::Thaw, Act::Hang, Act::Failed { detail: why.to_owned() }]);
    }

    /// The journal could not be closed after all; only before `Cut` was said.
    pub fn uncut(&mut self, why: &str, now: Time) {
        if let State::Cut { muted } = self.state {
            self.state = State::Muted { since: muted, cut_at: now };
            self.call_off(why);
        }
    }
}
