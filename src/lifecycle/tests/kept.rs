//! Restarts: what the last process left is used before anything is made.

use super::world::{World, config};
use crate::lifecycle::{Command, Lifecycle, State};
use proptest::prelude::*;
use std::time::Duration;

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
