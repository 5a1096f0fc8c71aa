//! Two legs for each shard: what costs nothing, what is a gap, and how many channels it takes.

use super::world::{World, config};
use crate::lifecycle::{Command, Config, Heard, Reason, SessionId};
use proptest::prelude::*;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn redundant(seed: u64, shards: usize) -> World {
    World::live_as(Config { redundancy: 2, ..config() }, seed, shards)
}

fn of_leg(world: &World, leg: usize) -> SessionId {
    let mut sessions = world.lifecycle.sessions();
    sessions.find(|session| session.leg == leg && session.has_socket()).expect("live").id
}

#[test]
fn the_loss_of_either_leg_is_no_gap_and_each_comes_back_alone() {
    let mut world = redundant(1, 1);
    let (first, second) = (of_leg(&world, 0), of_leg(&world, 1));
    world.lose(first, Reason::Cut);
    world.run(MINUTE);
    world.lose(second, Reason::Cut);
    world.run(MINUTE);
    world.mute.insert(of_leg(&world, 0));
    world.run(MINUTE);
    assert_eq!(world.gaps, []);
    assert_eq!((of_leg(&world, 0), of_leg(&world, 1)), (first, second));
    assert_eq!(world.unnamed(), None);
}

#[test]
fn the_loss_of_both_is_a_gap_from_the_last_frame_of_either() {
    let mut world = redundant(1, 1);
    world.lose(of_leg(&world, 0), Reason::Cut);
    let lost = world.now;
    world.lose(of_leg(&world, 1), Reason::Closed);
    world.run(MINUTE);
    assert_eq!(world.gaps.len(), 1, "{}", world.transcript);
    assert!(lost.since(world.gaps[0].from) <= config().ping_interval);
}

#[test]
fn a_leg_that_was_dead_while_the_other_was_away_makes_a_named_gap() {
    let mut world = redundant(1, 1);
    world.mute.insert(of_leg(&world, 0));
    world.run(Duration::from_secs(20));
    world.refuse_handshake.extend(vec![super::world::refusal(Reason::Unreachable); 3]);
    world.lose(of_leg(&world, 1), Reason::Cut);
    world.run(MINUTE * 2);
    assert_eq!(world.unnamed(), None, "{:?}\n{}", world.gaps, world.transcript);
    assert!(!world.gaps.is_empty());
}

#[test]
fn rotations_take_turns_with_one_channel_more_than_there_are_legs() {
    let mut world = redundant(1, 3);
    for _ in 0..20 {
        world.rotate();
        world.run(MINUTE * 3);
    }
    assert_eq!(world.gaps, []);
    assert_eq!(world.count(|command| matches!(command, Command::OpenChannel { .. })), 1);
    assert_eq!(world.lifecycle.channels(world.now), 7);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_befalls_one_leg_is_no_gap(
        seed: u64,
        shards in 1_usize..3,
        faults in prop::collection::vec((0_usize..4, 0_usize..2, 70_000_u64..120_000), 1..20),
    ) {
        let mut world = redundant(seed, shards);
        for (fault, leg, pause) in faults {
            let session = of_leg(&world, leg);
            match fault {
                0 => world.lose(session, Reason::Cut),
                1 => drop(world.mute.insert(session)),
                2 => world.hear(session, Heard::ClosingNotice),
                _ => {
                    let evicted = world.sockets.iter().find(|(_, of)| **of == session);
                    let channel = *evicted.expect("open").0;
                    world.channels.remove(&channel);
                    world.hear(session, Heard::NoLongerSubscribed);
                }
            }
            world.run(Duration::from_millis(pause));
        }
        prop_assert_eq!(&world.gaps, &[], "{}", world.transcript);
        prop_assert!(world.lifecycle.is_covered());
    }
}
