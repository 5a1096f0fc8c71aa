//! Restarts: what the last process left is used before anything is made.

use super::world::{World, config, refusal};
use crate::event::Topic;
use crate::lifecycle::{ChannelId, Command, Config, Lifecycle, Reason, Session, State};
use proptest::prelude::*;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    /// The process is killed, and the next one knows what the last had written down.
    pub fn restart(&mut self, seed: u64) {
        let kept = self.lifecycle.kept();
        self.sockets.clear();
        self.due.clear();
        self.forbidding.clear();
        self.told_states.clear();
        self.unfed.clear();
        self.gaps.clear();
        self.begun.clear();
        self.lifecycle = Lifecycle::new(config(), seed);
        self.lifecycle.take_up(&kept, self.now);
    }

    /// Whether a channel is asked for whose answer the next process would never hear.
    fn asks_for_a_channel(&self) -> bool {
        self.lifecycle.sessions().any(|session| matches!(session.state, State::Opening { .. }))
    }
}

fn made(world: &World) -> usize {
    world.count(|command| matches!(command, Command::OpenChannel { .. }))
}

#[test]
fn a_restart_takes_up_the_channel_that_it_finds() {
    let mut world = World::new(7);
    world.run(Duration::from_secs(60));
    assert_eq!(made(&world), 1);
    for seed in 0..50 {
        world.restart(seed);
        world.run(Duration::from_secs(600));
        assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    }
    assert_eq!((made(&world), world.evicted), (1, 0));
}

#[test]
fn a_channel_that_is_gone_meanwhile_is_replaced_by_one() {
    let mut world = World::new(7);
    world.run(Duration::from_secs(60));
    world.drop_channels();
    world.restart(8);
    world.run(Duration::from_secs(60));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!(made(&world), 2);
    assert_eq!(world.lifecycle.kept().len(), 1);
}

/// Runs until the first session gives its channel the topics.
fn run_to_subscribing(world: &mut World) {
    let subscribes = |world: &World| {
        let mut sessions = world.lifecycle.sessions();
        sessions.any(|session| matches!(session.state, State::Subscribing { .. }))
    };
    for _ in 0..20_000 {
        if subscribes(world) {
            return;
        }
        world.run(Duration::from_millis(5));
    }
    panic!("no session subscribes\n{}", world.transcript);
}

/// The channels that were given topics, in order.
fn given(world: &World) -> Vec<ChannelId> {
    let given = world.asked.iter().filter_map(|(_, command)| {
        if let Command::Subscribe { channel, .. } = command { Some(*channel) } else { None }
    });
    given.collect()
}

#[test]
fn a_list_that_a_killed_process_was_sending_cannot_replace_that_of_the_next() {
    let mut world = World::new(7);
    run_to_subscribing(&mut world);
    world.restart(8);
    run_to_subscribing(&mut world);
    let killed_at = world.now;
    assert_ne!(given(&world)[0], given(&world)[1]);
    // Both may still be given what the dead have sent. A third is not made: that is waited for.
    world.restart(9);
    world.run(Duration::from_secs(50));
    assert_eq!(given(&world).len(), 2, "{}", world.transcript);
    world.run(Duration::from_secs(20));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    let taken_up = world.asked.iter().rev();
    let mut taken_up = taken_up.filter(|(_, command)| matches!(command, Command::Subscribe { .. }));
    let (at, _) = taken_up.next().expect("subscribed");
    assert!(at.since(killed_at) <= Duration::from_secs(61));
    assert_eq!((made(&world), world.evicted), (2, 0));
}

#[test]
fn a_change_of_topics_that_was_under_way_keeps_its_channel_from_the_next_process() {
    let mut world = World::with(Config { queues_refresh: MINUTE * 5, ..config() }, 7);
    let queue = |nth: usize| format!("v2.routing.queues.00000000-0000-4000-8000-{nth:012}.users");
    world.listed = Some((0..3).map(|nth| Topic::new(&queue(nth))).collect());
    world.run(MINUTE);
    world.listed = Some((0..4).map(|nth| Topic::new(&queue(nth))).collect());
    world.choose();
    // The listing's answer is there, that to the change is not.
    world.run(Duration::from_millis(30));
    world.restart(8);
    world.run(MINUTE);
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_ne!(given(&world)[0], given(&world)[1]);
}

#[test]
fn a_kept_channel_whose_topics_are_refused_is_left_for_another() {
    let mut world = World::new(7);
    world.run(MINUTE);
    world.refuse_channels.extend(given(&world));
    world.restart(8);
    world.run(Duration::from_secs(10));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!((made(&world), world.evicted), (2, 0));
    // The next process finds both, and is not kept long by the one.
    world.restart(9);
    world.run(Duration::from_secs(10));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!(made(&world), 2);
}

#[test]
fn topics_that_no_channel_takes_are_parked_after_one_was_made() {
    let mut world = World::new(7);
    world.run(MINUTE);
    world.refuse_rest.extend(vec![refusal(Reason::Forbidden); 50]);
    world.lists_no_channels = true;
    world.restart(8);
    let before = given(&world).len();
    world.run(MINUTE * 4);
    let waits = |session: &Session| matches!(session.state, State::Waiting { parked: true, .. });
    assert!(world.lifecycle.sessions().all(waits), "{}", world.transcript);
    // The one that was kept, and the one that was made, if that was not refused as well.
    assert!(given(&world).len() - before <= 2, "{}", world.transcript);
    world.refuse_rest.clear();
    world.run(MINUTE * 6);
    assert!(world.lifecycle.is_covered() && made(&world) <= 3, "{}", world.transcript);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whenever they are killed: after a minute, within a rotation, before the first session has settled.
    #[test]
    fn restarts_make_no_more_channels_than_shards_and_one(
        seed in any::<u64>(),
        shards in 1_usize..4,
        lives in prop::collection::vec((0_u64..100_000, any::<bool>()), 1..20),
    ) {
        let mut world = World::new(seed);
        world.shards = shards;
        for (nth, (millis, rotates)) in lives.into_iter().enumerate() {
            world.run(Duration::from_secs(60));
            if rotates {
                world.rotate();
            }
            world.run(Duration::from_millis(millis));
            while world.asks_for_a_channel() {
                world.run(Duration::from_millis(50));
            }
            world.restart(seed.wrapping_add(nth as u64));
        }
        world.run(Duration::from_secs(120));
        prop_assert!(world.lifecycle.is_covered(), "{}", world.transcript);
        prop_assert!(made(&world) <= shards + 1, "{} for {shards}", made(&world));
        prop_assert_eq!(world.evicted, 0);
    }
}
