//! Another process of the same OAuth client: the twenty channels are shared, and nobody's is evicted.

use super::world::{World, config, refusal};
use crate::lifecycle::{CHANNELS_PER_CLIENT, Command, Reason};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn beside(strangers: usize) -> World {
    let mut world = World::with(config(), 1);
    world.set_strangers(strangers);
    world.run(MINUTE);
    world
}

fn made(world: &World) -> usize {
    world.count(|command| matches!(command, Command::OpenChannel { .. }))
}

#[test]
fn the_channels_are_counted_once_before_the_first_is_made() {
    let world = beside(3);
    let is_count = |command: &Command| matches!(command, Command::ListChannels { .. });
    let is_make = |command: &Command| matches!(command, Command::OpenChannel { .. });
    let place = |is: &dyn Fn(&Command) -> bool| world.asked.iter().position(|(_, one)| is(one));
    assert_eq!((world.count(is_count), world.count(is_make)), (1, 1));
    assert!(place(&is_count) < place(&is_make));
    assert_eq!(world.lifecycle.channels(world.now), 4);
}

#[test]
fn a_session_that_waits_for_a_count_says_why_there_is_none() {
    let mut world = World::with(config(), 1);
    world.refuse_rest.extend((0..100).map(|_| refusal(Reason::Dns)));
    world.run(Duration::from_secs(20));
    let session = world.lifecycle.sessions().next().expect("one that waits");
    let words = session.last_words.as_deref().expect("it says what it waits for");
    let why = refusal(Reason::Dns).detail;
    assert!(words.contains("awaited before one is made") && words.ends_with(&why), "{words}");
    assert_eq!(world.lifecycle.trouble_of(session), Some(Reason::Dns));
    assert_eq!(made(&world), 0);
    world.refuse_rest.clear();
    world.run(MINUTE);
    let session = world.lifecycle.sessions().next().expect("one that lives");
    assert!(world.lifecycle.is_covered() && world.lifecycle.trouble_of(session).is_none());
}

#[test]
fn without_room_for_a_successor_the_session_lives_on_and_nobody_is_evicted() {
    let mut world = beside(CHANNELS_PER_CLIENT - 1);
    assert!(world.lifecycle.is_covered());
    world.rotate();
    world.run(MINUTE * 10);
    assert_eq!((made(&world), world.evicted, world.gaps.len()), (1, 0, 0), "{}", world.transcript);
    // The other process has ended, and its channels with it.
    world.set_strangers(0);
    world.run(MINUTE * 2);
    assert_eq!((made(&world), world.told("rotation over")), (2, 1), "{}", world.transcript);
}

#[test]
fn a_client_whose_channels_are_all_taken_is_told_the_sum_and_the_way_out() {
    let mut world = beside(CHANNELS_PER_CLIENT);
    world.run(MINUTE * 10);
    assert_eq!((made(&world), world.evicted), (0, 0));
    let words = world.lifecycle.sessions().find_map(|session| session.last_words.clone());
    let words = words.expect("it says what it waits for");
    assert!(words.contains("20 of 20") && words.contains("a client of its own"), "{words}");
    // It asks no more often than a count is good for.
    let counts = world.count(|command| matches!(command, Command::ListChannels { .. }));
    assert!(counts <= 12, "{counts}");
    world.set_strangers(CHANNELS_PER_CLIENT - 1);
    world.run(MINUTE * 2);
    assert!(world.lifecycle.is_covered() && world.evicted == 0, "{}", world.transcript);
}

#[test]
fn a_process_that_begins_beside_a_running_one_is_seen_before_the_next_channel_is_made() {
    let mut world = beside(0);
    world.set_strangers(CHANNELS_PER_CLIENT - 1);
    world.rotate();
    world.run(MINUTE * 5);
    assert_eq!((made(&world), world.evicted), (1, 0), "{}", world.transcript);
}
