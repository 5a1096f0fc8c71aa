//! What a handover asks of the lifecycle: the old process begins nothing, the new one takes what is free and no more.

use super::world::{World, config};
use crate::event::Topic;
use crate::lifecycle::{CHANNELS_PER_CLIENT, Change, Command, Config, Lifecycle, Plan, ShardId};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn topics(ids: impl IntoIterator<Item = usize>) -> Vec<Topic> {
    let topic = |queue| format!("v2.routing.queues.00000000-0000-4000-8000-{queue:012}.users");
    ids.into_iter().map(|queue| Topic::new(&topic(queue))).collect()
}

fn made(world: &World) -> usize {
    world.count(|command| matches!(command, Command::OpenChannel { .. }))
}

fn frozen(world: &mut World) -> Option<usize> {
    world.lifecycle.freeze();
    world.lifecycle.lend(world.now)
}

#[test]
fn a_frozen_client_rotates_nothing_lists_nothing_and_goes_on() {
    let mut world = World::live_as(Config { queues_refresh: MINUTE, ..config() }, 3, 1);
    assert_eq!(frozen(&mut world), Some(1), "one channel is in use");
    world.order_rotation();
    world.rotate();
    let before = world.asked.len();
    world.run(MINUTE * 10);
    let planned = |command: &Command| {
        matches!(
            command,
            Command::OpenChannel { .. } | Command::ListTopics { .. } | Command::Subscribe { .. }
        ) || matches!(command, Command::Amend { change: Change::Add(_) | Change::Replace(_), .. })
    };
    assert!(!world.asked[before..].iter().any(|(_, command)| planned(command)));
    assert!(world.lifecycle.is_covered() && world.gaps.is_empty(), "{}", world.transcript);
    world.lifecycle.thaw(world.now);
    world.run(MINUTE);
    assert_eq!(made(&world), 1, "now it rotates: {}", world.transcript);
    assert!(world.lifecycle.is_covered() && world.gaps.is_empty(), "{}", world.transcript);
}

#[test]
fn a_rotation_under_way_is_waited_for() {
    let mut world = World::live(3);
    world.order_rotation();
    world.run(Duration::from_secs(1));
    assert_eq!(frozen(&mut world), None);
    world.run(MINUTE);
    assert_eq!(world.lifecycle.lend(world.now), Some(1), "the other one is free, and left");
    let kept = world.lifecycle.kept();
    assert_eq!(kept.iter().map(|kept| kept.in_use).filter(|in_use| *in_use).count(), 1);
    assert_eq!(kept.len(), 2, "what is left is still known");
}

#[test]
fn a_rotation_whose_successor_lacks_topics_is_waited_for_and_comes_to_its_end() {
    let mut world = World::with(Config { queues_refresh: MINUTE * 5, ..config() }, 1);
    world.listed = Some(topics(0..5));
    world.run(MINUTE);
    let predecessor = world.session();
    world.order_rotation();
    world.run(Duration::from_secs(1));
    // Two more topics, of which the predecessor alone can be told before the other process asks.
    let successor = world.lifecycle.sessions().map(|session| session.id).max().unwrap();
    assert_ne!(successor, predecessor);
    world.fixed.insert(successor);
    world.listed = Some(topics(0..7));
    world.choose();
    world.run(Duration::from_secs(5));
    assert_eq!(world.lifecycle.sessions().count(), 2, "{}", world.transcript);
    assert_eq!(frozen(&mut world), None);
    world.fixed.clear();
    world.run(MINUTE / 2);
    assert!(world.lifecycle.lend(world.now).is_some(), "{}", world.transcript);
    assert_eq!(world.lifecycle.sessions().count(), 1);
    assert!(world.lifecycle.is_covered() && world.gaps.is_empty(), "{}", world.transcript);
}

#[test]
fn a_socket_that_had_died_unnoticed_is_found_out_before_its_process_falls_silent() {
    let mut world = World::live(3);
    let since = world.now;
    world.lifecycle.probe(world.now);
    assert!(!world.lifecycle.is_proven(since), "it has not answered");
    world.run(Duration::from_secs(1));
    assert!(world.lifecycle.is_proven(since));

    let dead = world.session();
    world.mute.insert(dead);
    world.run(Duration::from_secs(1));
    let since = world.now;
    world.lifecycle.probe(world.now);
    world.run(Duration::from_secs(10));
    assert!(!world.lifecycle.is_proven(since) && world.gaps.is_empty());
    world.run(Duration::from_secs(40));
    assert!(world.lifecycle.is_proven(since));
    assert!(world.gaps.iter().any(|gap| gap.from < since), "{:?}", world.gaps);
}

#[test]
fn what_was_left_to_a_process_that_failed_rests_before_it_is_used_again() {
    let mut world = World::live(3);
    world.order_rotation();
    world.run(MINUTE);
    assert_eq!(frozen(&mut world), Some(1));
    world.lifecycle.thaw(world.now);
    let busy = world.lifecycle.kept().into_iter().filter(|kept| !kept.in_use);
    assert!(busy.map(|kept| kept.busy_until).all(|until| until == world.now + MINUTE));
}

#[test]
fn the_new_process_begins_where_the_old_one_has_its_topics() {
    let mut world = World::new(5);
    world.listed = Some(topics(0..4));
    let placed = [(ShardId(3), topics(2..4)), (ShardId(1), topics([0, 9]))];
    world.lifecycle.join(Plan::placed(placed, false), 2);
    world.run(MINUTE);
    let plan = world.lifecycle.topics();
    let of = |id| plan.each_of(ShardId(id)).cloned().collect::<Vec<_>>();
    assert_eq!(
        (of(3), of(1)),
        (topics(2..4), topics(0..2)),
        "what is new joins where there is room"
    );
    assert_eq!(plan.shards().count(), 2);
    assert!(world.lifecycle.is_covered());
}

#[test]
fn the_new_process_never_makes_the_channel_that_would_evict_one_of_the_old() {
    let mut world = World::new(5);
    world.lifecycle.join(Plan::default(), CHANNELS_PER_CLIENT);
    world.run(MINUTE);
    assert_eq!(made(&world), 0, "{}", world.transcript);
    assert!(!world.lifecycle.is_covered());
    // The old one is gone.
    world.lifecycle.inherit(&[], world.now);
    world.run(MINUTE);
    assert!(world.lifecycle.is_covered() && made(&world) == 1, "{}", world.transcript);
}

#[test]
fn an_inherited_channel_rests_as_long_as_its_last_list_may_take() {
    let mut old = World::live(6);
    old.run(MINUTE);
    let mut kept = old.lifecycle.kept();
    kept[0].busy_until = old.now + MINUTE;
    let mut new = Lifecycle::new(config(), 7);
    new.join(Plan::default(), 1);
    new.inherit(&kept, old.now);
    assert_eq!(new.kept()[0].busy_until, old.now + MINUTE);
    assert_eq!(new.channels(old.now), 1);
}
