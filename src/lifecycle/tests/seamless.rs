//! What rotations cost in notifications: every open socket of the world shows the same numbered ones, and an arbiter makes one
//! stream of them.

use super::world::{World, config};
use crate::event::{Notification, Topic};
use crate::lifecycle::{Config, SessionId};
use crate::sequence::{self, Arbiter, Leg, Verdict};
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How often something happens on the platform.
const PACE: Duration = Duration::from_millis(500);

/// How long after its socket a subscription takes effect: less than a session needs to settle.
const TAKES_EFFECT: Duration = Duration::from_millis(1_500);

/// A world under traffic, and what comes out of it.
struct Traffic {
    world: World,
    arbiter: Arbiter,
    topic: Topic,
    /// Since when each leg's socket is open, and what it has still to show.
    legs: BTreeMap<SessionId, (Time, VecDeque<u64>)>,
    emitted: Vec<Time>,
    published: Vec<u64>,
}

impl Traffic {
    fn new(redundancy: usize) -> Self {
        let arbitration = sequence::Config {
            hold: Duration::from_secs(1),
            window: Duration::from_secs(60),
            window_events: 10_000,
        };
        Self {
            world: World::live_as(Config { redundancy, ..config() }, 1, 1),
            arbiter: Arbiter::new(&arbitration),
            topic: Topic::new(
                "v2.analytics.queues.00000000-0000-4000-8000-000000000001.observations",
            ),
            legs: BTreeMap::new(),
            emitted: Vec::new(),
            published: Vec::new(),
        }
    }

    /// Time passes, with something to tell at each pace.
    fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            self.world.run(PACE);
            self.emit();
        }
    }

    /// One more thing happens, and the legs show it: those of even numbers at once, the others a pace later.
    fn emit(&mut self) {
        let now = self.world.now;
        let open: Vec<SessionId> = self.world.sockets.values().copied().collect();
        let legs = &mut self.legs;
        for gone in legs.extract_if(.., |leg, _| !open.contains(leg)) {
            self.arbiter.end(Leg(gone.0.0), now);
        }
        for leg in open {
            if !self.legs.contains_key(&leg) {
                self.arbiter.begin(Leg(leg.0), 0, now);
                self.legs.insert(leg, (now, VecDeque::new()));
            }
        }
        let number = self.emitted.len() as u64;
        self.emitted.push(now);
        let topic = &self.topic;
        for (leg, (since, pending)) in &mut self.legs {
            let late = usize::from(!leg.0.is_multiple_of(2));
            if now.since(*since) >= TAKES_EFFECT || *since <= Time::START + Duration::from_secs(61)
            {
                pending.push_back(number);
            }
            while pending.len() > late {
                let Some(number) = pending.pop_front() else { break };
                self.arbiter.admit(Leg(leg.0), notification(topic, number), now);
            }
        }
        self.arbiter.handle_timeout(now);
        while let Some(verdict) = self.arbiter.poll() {
            if let Verdict::Publish { notification, .. } = verdict {
                self.published.push(notification.received.as_micros());
            }
        }
    }

    /// The numbers that never came out, and how many came more than once or behind a younger one.
    fn books(&mut self) -> (Vec<u64>, usize) {
        // What is held comes out.
        self.run(Duration::from_secs(5));
        let settled = self.emitted.len() as u64 - 4;
        let mut copies = vec![0_usize; self.emitted.len()];
        self.published.iter().for_each(|number| copies[usize::try_from(*number).unwrap()] += 1);
        let lost = (0..settled).filter(|at| copies[usize::try_from(*at).unwrap()] == 0).collect();
        let doubled: usize = copies.iter().map(|copies| copies.saturating_sub(1)).sum();
        let disordered = self.published.windows(2).filter(|pair| pair[1] < pair[0]).count();
        (lost, doubled + disordered)
    }
}

/// Bodies repeat, as they legally do; the number travels where the arbiter does not look.
fn notification(topic: &Topic, number: u64) -> Notification {
    Notification {
        topic: topic.clone(),
        body: format!("{{\"n\":{}}}", number % 3).into(),
        received: Timestamp::from_micros(number),
        correlation_id: None,
    }
}

#[test]
fn ten_thousand_rotations_lose_nothing_and_double_nothing() {
    for (redundancy, rotations) in [(1, 10_000), (2, 1_000)] {
        let mut traffic = Traffic::new(redundancy);
        for _ in 0..rotations {
            traffic.world.rotate();
            traffic.run(Duration::from_secs(20));
            traffic.world.transcript.clear();
        }
        assert_eq!(traffic.books(), (Vec::new(), 0), "redundancy {redundancy}");
        assert_eq!(traffic.world.gaps, []);
    }
}

#[test]
fn where_rotations_kill_the_sockets_nothing_is_lost_outside_the_named_gaps() {
    let mut traffic = Traffic::new(1);
    traffic.world.rotation_kills = true;
    for _ in 0..200 {
        traffic.world.rotate();
        traffic.run(Duration::from_secs(20));
    }
    let (lost, doubled) = traffic.books();
    let gaps = &traffic.world.gaps;
    let named = |number: &u64| {
        let at = traffic.emitted[usize::try_from(*number).unwrap()];
        gaps.iter().any(|gap| gap.from <= at && gap.to.is_some_and(|to| at <= to))
    };
    let unnamed: Vec<&u64> = lost.iter().filter(|number| !named(number)).collect();
    assert_eq!((unnamed.len(), doubled, gaps.len()), (0, 0, 200), "{unnamed:?} of {lost:?}");
}
