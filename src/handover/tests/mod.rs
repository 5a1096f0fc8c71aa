//! Both machines against each other over virtual time, with the arbiters that they stand before: what one event costs whichever of the two
//! dies whenever.

mod refusals;

use super::{Act, Giver, Item, Message, Outcome, Relayed, Taker, Welcome};
use crate::event::{Marks, Notification, Topic};
use crate::sequence::{Arbiter, Config, Leg, Verdict};
use crate::time::{Time, Timestamp};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

const HOLD: Duration = Duration::from_millis(400);
const STEP: u64 = 5;
const URL: &str = "https://login.example/";
const QUEUE: &str = "v2.routing.queues.7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d.users";
/// The session of the old process, and where it numbers those of the new one.
const OWN: Leg = Leg(1);
const GUEST: u64 = 1 << 63;

const fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1_000)
}

/// Which process dies before which message of the new one is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Old(usize),
    New(usize),
}

#[derive(Clone, Copy, Debug)]
struct Script {
    /// How long an event takes on the sockets of each, in steps.
    lag: (u64, u64),
    /// How long a message takes between the two, in steps.
    link: u64,
    death: Option<Death>,
}

/// What is in the journal: an event's number, and its marks.
type Published = (u64, Marks);

struct World {
    script: Script,
    now: u64,
    giver: Giver,
    old: Option<Arbiter>,
    muted_at: Option<u64>,
    /// When the old one last heard anything by its own word, for the next process.
    marked: u64,
    taker: Option<Taker>,
    joined_at: Option<u64>,
    began: bool,
    new: Option<Arbiter>,
    /// Messages under way, each with when it arrives.
    up: VecDeque<(u64, Message)>,
    down: VecDeque<(u64, Message)>,
    read: usize,
    journal: Vec<Published>,
    gaps: Vec<(u64, u64)>,
    died_at: Option<u64>,
    transcript: String,
}

fn arbiter() -> Arbiter {
    Arbiter::new(&Config { hold: HOLD, window: Duration::from_secs(600), window_events: 10_000 })
}

/// One event each 10 ms. Its body is one of 97: equal ones are told apart by counting alone, further apart than a hold, within which no
/// count is certain for a leg that has just begun.
fn event(number: u64) -> Notification {
    Notification {
        topic: Topic::new(QUEUE),
        body: Bytes::from(format!("{}", number % 97)),
        correlation_id: Some(number.to_string().into()),
        received: Timestamp::default(),
    }
}

impl World {
    fn new(script: Script) -> Self {
        let mut old = arbiter();
        old.begin(OWN, 0, at(0));
        Self {
            script,
            now: 0,
            giver: Giver::new(URL.into(), HOLD),
            old: Some(old),
            muted_at: None,
            marked: 0,
            taker: None,
            joined_at: None,
            began: false,
            new: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            read: 0,
            journal: Vec::new(),
            gaps: Vec::new(),
            died_at: None,
            transcript: String::new(),
        }
    }

    fn say(&mut self, words: &str) {
        writeln!(self.transcript, "{:>5} ms  {words}", self.now).unwrap();
    }

    /// Lives until the last event has reached everybody.
    fn run(mut self, millis: u64) -> Self {
        while self.now < millis + 1_500 {
            self.now += STEP;
            self.emit(millis);
            if self.now == 1_000 {
                self.say("new: starts");
                self.taker = Some(Taker::new(URL.into(), "2", HOLD, at(self.now)));
            }
            self.step_new();
            self.step_old();
        }
        self
    }

    /// What arrives on each socket in this step.
    fn emit(&mut self, until: u64) {
        let arrives = |now: u64, lag: u64| {
            let sent = now.checked_sub(lag * STEP)?;
            (sent.is_multiple_of(10) && sent <= until).then_some((sent, sent / 10))
        };
        if let Some((_, number)) = arrives(self.now, self.script.lag.0)
            && let Some(old) = &mut self.old
        {
            if self.giver.heard().is_none() {
                self.marked = self.now;
            }
            if self.muted_at.is_none() {
                old.admit(OWN, event(number), at(self.now));
            }
        }
        if let Some((sent, number)) = arrives(self.now, self.script.lag.1)
            && self.began
            && self.joined_at.is_some_and(|joined| sent >= joined)
        {
            if let Some(taker) = &mut self.taker {
                taker.handle_sight(7, event(number), at(self.now));
            } else if let Some(new) = &mut self.new {
                new.admit(Leg(7), event(number), at(self.now));
            }
        }
        for arbiter in [&mut self.old, &mut self.new].into_iter().flatten() {
            arbiter.handle_timeout(at(self.now));
            publish(arbiter, &mut self.journal);
        }
    }

    fn step_new(&mut self) {
        let now = self.now;
        while self.down.front().is_some_and(|(due, _)| *due <= now) {
            let (_, message) = self.down.pop_front().unwrap();
            let Some(taker) = &mut self.taker else { continue };
            taker.handle(message, at(now));
            if taker.poll_welcome().is_some() {
                self.joined_at = Some(now + 100);
                self.say("new: is welcome, and opens a channel");
            }
        }
        let Some(taker) = &mut self.taker else { return };
        if self.joined_at == Some(now) {
            self.began = true;
            taker.handle_began(7, 0, 0, at(now));
        }
        taker.handle_settled(self.joined_at.is_some_and(|joined| joined + 200 <= now), at(now));
        if self.began && now.is_multiple_of(100) {
            let heard = Timestamp::from_micros(now * 1_000);
            taker.handle_heard(BTreeMap::from([(0, heard)]), at(now));
        }
        taker.handle_timeout(at(now));
        while let Some(message) = taker.poll_message() {
            self.up.push_back((now + self.script.link * STEP, message));
        }
    }

    fn step_old(&mut self) {
        let now = self.now;
        while self.up.front().is_some_and(|(due, _)| *due <= now) {
            let (_, message) = self.up.pop_front().unwrap();
            self.read += 1;
            match self.script.death {
                Some(Death::New(read)) if read == self.read => return self.kill_new(),
                Some(Death::Old(read)) if read == self.read && self.old.is_some() => {
                    return self.kill_old();
                }
                Some(_) | None => {}
            }
            if self.old.is_some() {
                self.giver.handle(message, at(now));
                self.act();
            }
        }
        if self.old.is_some() {
            self.giver.handle_quiet(at(now));
            if self.giver.poll_timeout().is_some_and(|due| due <= at(now)) {
                self.giver.handle_timeout(at(now));
            }
            // Its socket answers at once.
            self.giver.handle_proven(at(now));
            self.act();
        }
    }

    fn kill_new(&mut self) {
        if self.taker.take().is_none() {
            return; // It has taken over: that is a restart, and no handover any more.
        }
        self.died_at = Some(self.now);
        self.say("new: dies");
        self.up.clear();
        self.giver.handle_lost();
        self.act();
    }

    fn kill_old(&mut self) {
        self.died_at = Some(self.now);
        self.say("old: dies");
        self.old = None;
        if let Some(heard) = self.giver.heard() {
            self.marked = heard.get(&0).map_or(self.marked, |heard| heard.as_micros() / 1_000);
        }
        self.lose_old();
    }

    /// The new process hears that the old one is gone.
    fn lose_old(&mut self) {
        self.up.clear();
        self.down.clear();
        let Some(mut taker) = self.taker.take() else { return };
        taker.handle_lost(at(self.now));
        let outcome = taker.outcome().cloned();
        let legacy = taker.into_legacy();
        let mut new = arbiter();
        new.know(legacy.past.window, legacy.past.at);
        for (leg, shard, _, began) in legacy.past.earlier {
            new.begin(Leg(leg), shard, began);
        }
        show(&mut new, legacy.past.known);
        new.hand_over(legacy.past.at);
        match outcome {
            Some(Outcome::TakeOver) => self.say("new: takes over"),
            Some(Outcome::Restart) => {
                self.say("new: names a gap, and goes on");
                new.orphan(at(self.now));
                // Where it had not settled, it does so later.
                let certain = self.joined_at.map_or(self.now + 500, |joined| joined + 200);
                // What was under way to the old one may have reached us earlier, by less than a hold.
                self.gaps.push((self.marked.saturating_sub(400), certain.max(self.now)));
                self.began = true;
                self.joined_at = self.joined_at.or(Some(self.now + 300));
                new.begin(Leg(7), 0, at(self.now));
            }
            other => panic!("{other:?}\n{}", self.transcript),
        }
        show(&mut new, legacy.rest);
        publish(&mut new, &mut self.journal);
        self.new = Some(new);
    }

    fn act(&mut self) {
        let now = self.now;
        while let Some(act) = self.giver.poll() {
            let Some(old) = &mut self.old else { return };
            match act {
                Act::Freeze => self.say("old: freezes"),
                Act::Thaw => self.say("old: thaws"),
                Act::Greet => {
                    let welcome = Welcome {
                        version: "1".into(),
                        epoch: "e".into(),
                        client: None,
                        taken: 1,
                        combined: false,
                    };
                    let placed = Message::Placed { shard: 0, topics: vec![QUEUE.into()] };
                    for message in [placed, Message::Welcome(welcome)] {
                        self.down.push_back((now + self.script.link * STEP, message));
                    }
                }
                Act::Say(message) => {
                    self.down.push_back((now + self.script.link * STEP, message));
                }
                Act::Begin { leg, shard, .. } => {
                    old.begin(Leg(GUEST | leg), shard, at(now));
                    self.say("old: follows the new one");
                }
                Act::Sight { leg, notification } => {
                    old.admit(Leg(GUEST | leg), notification, at(now));
                }
                Act::End { leg } => old.end(Leg(GUEST | leg), at(now)),
                Act::Probe => {}
                Act::Mute => {
                    old.end(OWN, at(now));
                    self.muted_at = Some(now);
                    self.say("old: falls silent");
                }
                Act::Unmute { heard } => {
                    old.begin(OWN, 0, at(now));
                    let muted_at = self.muted_at.take().unwrap();
                    let heard = heard.get(&0).map_or(0, |heard| heard.as_micros() / 1_000);
                    let from = muted_at.max(heard.saturating_sub(400));
                    self.gaps.push((from, now));
                    self.say("old: is heard again, and names a gap");
                }
                Act::Cut => return self.cut(),
                Act::Hang => self.down.clear(),
                Act::Failed { detail } => self.say(&format!("old: no handover: {detail}")),
            }
            if let Some(old) = &mut self.old {
                publish(old, &mut self.journal);
            }
        }
    }

    /// The journal is closed, the cut said, and the old process ends.
    fn cut(&mut self) {
        let (relayed, muted) = self.giver.cut();
        let mut old = self.old.take().unwrap();
        old.end(Leg(GUEST | 7), at(self.now));
        publish(&mut old, &mut self.journal);
        self.say("old: closes the journal, and ends");
        let ends_within = Duration::from_secs(10);
        let taker = self.taker.as_mut().unwrap();
        for (_, message) in std::mem::take(&mut self.down) {
            taker.handle(message, at(self.now));
        }
        taker.handle(Message::Window(old.published(at(self.now))), at(self.now));
        taker.handle(Message::Cut { relayed, muted, ends_within }, at(self.now));
        self.lose_old();
    }

    /// Each event once, or excused by a gap; in order, but for what is marked late; and marked where it is doubled.
    fn judge(&self) {
        let last = self.journal.iter().map(|(number, _)| *number).max().unwrap();
        assert!(last > 300, "it ends early\n{}", self.transcript);
        let doubtful = |marks: &Marks| marks.possible_duplicate;
        for number in 1..=last {
            let copies = self.journal.iter().filter(|(own, _)| *own == number);
            let copies: Vec<bool> = copies.map(|(_, marks)| doubtful(marks)).collect();
            let (sent, lag) = (number * 10, self.script.lag);
            let seen = [sent, sent + lag.0 * STEP, sent + lag.1 * STEP];
            let excuses = |(from, to): &(u64, u64)| seen.iter().any(|at| from <= at && at <= to);
            // At the moment of a death an event may be under way on one socket and have arrived on the other.
            let fine = match copies.as_slice() {
                [_] => true,
                [] => self.gaps.iter().any(excuses),
                [_, again @ ..] => again.iter().all(|doubtful| *doubtful),
            };
            let (script, gaps) = (self.script, &self.gaps);
            assert!(fine, "{number}: {copies:?}\n{script:?}\n{gaps:?}\n{}", self.transcript);
        }
        let mut youngest = None;
        for (number, marks) in &self.journal {
            let (script, around) = (self.script, *number);
            let fine =
                Some(*number) > youngest || marks.late || doubtful(marks) || self.died_at.is_some();
            assert!(fine, "{around} after {youngest:?}: {script:?}\n{}", self.transcript);
            youngest = youngest.max(Some(*number));
        }
    }
}

fn show(arbiter: &mut Arbiter, items: VecDeque<Item>) {
    for Item { at, what } in items {
        match what {
            Relayed::Began { leg, shard, .. } => arbiter.begin(Leg(leg), shard, at),
            Relayed::Sight { leg, notification } => arbiter.admit(Leg(leg), notification, at),
            Relayed::Ended { leg } => arbiter.end(Leg(leg), at),
            Relayed::Heard(_) | Relayed::Settled(_) => {}
        }
    }
}

fn publish(arbiter: &mut Arbiter, journal: &mut Vec<Published>) {
    while let Some(verdict) = arbiter.poll() {
        if let Verdict::Publish { notification, marks } = verdict {
            let number = notification.correlation_id.unwrap().parse().unwrap();
            journal.push((number, marks));
        }
    }
}

const PLAIN: Script = Script { lag: (1, 2), link: 1, death: None };

#[test]
fn a_handover_as_it_should_be() {
    let world = World::new(PLAIN).run(4_000);
    world.judge();
    assert!(world.gaps.is_empty());
    insta::assert_snapshot!(world.transcript, @r"
    1000 ms  new: starts
    1005 ms  old: freezes
    1010 ms  new: is welcome, and opens a channel
    1115 ms  old: follows the new one
    1915 ms  old: falls silent
    2715 ms  old: closes the journal, and ends
    2715 ms  new: takes over
    ");
}

#[test]
fn the_new_process_dies_before_the_old_one_is_silent() {
    let world = World::new(Script { death: Some(Death::New(20)), ..PLAIN }).run(4_000);
    world.judge();
    assert!(world.gaps.is_empty());
    insta::assert_snapshot!(world.transcript, @r"
    1000 ms  new: starts
    1005 ms  old: freezes
    1010 ms  new: is welcome, and opens a channel
    1115 ms  old: follows the new one
    1285 ms  new: dies
    1285 ms  old: thaws
    1285 ms  old: no handover: the new process is gone
    ");
}

#[test]
fn the_new_process_dies_while_it_alone_is_heard() {
    let world = World::new(Script { death: Some(Death::New(130)), ..PLAIN }).run(4_000);
    world.judge();
    assert_eq!(world.gaps.len(), 1);
    insta::assert_snapshot!(world.transcript, @r"
    1000 ms  new: starts
    1005 ms  old: freezes
    1010 ms  new: is welcome, and opens a channel
    1115 ms  old: follows the new one
    1915 ms  old: falls silent
    2275 ms  new: dies
    2275 ms  old: is heard again, and names a gap
    2275 ms  old: thaws
    2275 ms  old: no handover: the new process is gone
    ");
}

#[test]
fn the_old_process_dies_before_it_has_handed_over() {
    let world = World::new(Script { death: Some(Death::Old(130)), ..PLAIN }).run(4_000);
    world.judge();
    assert_eq!(world.gaps.len(), 1);
    insta::assert_snapshot!(world.transcript, @r"
    1000 ms  new: starts
    1005 ms  old: freezes
    1010 ms  new: is welcome, and opens a channel
    1115 ms  old: follows the new one
    1915 ms  old: falls silent
    2275 ms  old: dies
    2275 ms  new: names a gap, and goes on
    ");
}

#[test]
fn no_message_is_one_at_which_a_death_costs_more_than_a_named_gap() {
    for read in 1..260 {
        for death in [Death::Old(read), Death::New(read)] {
            let world = World::new(Script { death: Some(death), ..PLAIN }).run(4_000);
            world.judge();
            assert!(world.gaps.len() <= 1, "{death:?}\n{}", world.transcript);
        }
    }
}

proptest! {
    #[test]
    fn whoever_dies_whenever_nothing_is_lost_or_doubled_outside_one_named_gap(
        old_lag in 0..20_u64,
        new_lag in 0..20_u64,
        link in 0..6_u64,
        death in prop::option::of((any::<bool>(), 1..260_usize)),
    ) {
        let death = death.map(|(old, read)| if old { Death::Old(read) } else { Death::New(read) });
        let world = World::new(Script { lag: (old_lag, new_lag), link, death }).run(4_000);
        world.judge();
        prop_assert!(world.gaps.len() <= 1, "{}", world.transcript);
    }
}
