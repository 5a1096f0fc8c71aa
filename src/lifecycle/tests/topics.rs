//! A list of topics that changes while sessions live.

use super::world::{World, config, refusal};
use crate::event::Topic;
use crate::lifecycle::{Command, Config, Reason};
use std::collections::BTreeSet;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn queues(ids: impl IntoIterator<Item = usize>) -> Vec<Topic> {
    let topic = |queue| format!("v2.routing.queues.00000000-0000-4000-8000-{queue:012}.users");
    ids.into_iter().map(|queue| Topic::new(&topic(queue))).collect()
}

/// A world with five queues, listed each five minutes.
fn five(seed: u64) -> World {
    let mut world = World::with(Config { queues_refresh: MINUTE * 5, ..config() }, seed);
    world.listed = Some(queues(0..5));
    world.run(MINUTE);
    assert!(world.lifecycle.is_covered());
    world.transcript.clear();
    world
}

/// What the channel with a socket carries.
fn carried(world: &World) -> BTreeSet<String> {
    let channel = world.sockets.keys().next().expect("open");
    world.carried[channel].iter().map(|name| name.to_string()).collect()
}

fn names(ids: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    queues(ids).iter().map(|topic| topic.name().to_owned()).collect()
}

#[test]
fn what_joins_is_added_and_what_left_twice_is_removed_on_the_live_channel() {
    let mut world = five(1);
    world.listed = Some(queues(1..7));
    world.run(MINUTE * 10);
    insta::assert_snapshot!(world.transcript, @r#"
    300.060 plan: 2 joined, 0 left
    300.060 s1 add 2
    360.080 plan: 0 joined, 1 left
    360.080 s1 replace by 6
    "#);
    assert_eq!(carried(&world), names(1..7));
    assert!(world.gaps.is_empty());
}

#[test]
fn other_topics_that_somebody_chooses_are_taken_up_at_once_on_the_live_channel() {
    let mut world = five(1);
    world.listed = Some(queues(2..7));
    world.choose();
    world.run(Duration::from_secs(5));
    assert_eq!(carried(&world), names(2..7));
    assert!(world.gaps.is_empty());
}

#[test]
fn a_listing_of_what_was_wanted_before_is_made_again_at_once() {
    let mut world = World::with(Config { queues_refresh: MINUTE * 5, ..config() }, 1);
    world.listed = Some(queues(0..5));
    // Chosen again and again while the process begins: whatever is on its way then is old.
    for _ in 0..40 {
        world.choose();
        world.run(Duration::from_millis(25));
    }
    world.listed = Some(queues(3..8));
    world.choose();
    world.run(Duration::from_secs(10));
    assert_eq!(carried(&world), names(3..8));
}

#[test]
fn a_listing_that_fails_or_is_empty_or_lacks_a_page_once_removes_nothing() {
    let mut world = five(1);
    world.refuse_list.push_back(refusal(Reason::Unavailable));
    world.run(MINUTE * 5);
    world.listed = Some(Vec::new());
    world.run(MINUTE * 15);
    world.listed = Some(queues(0..2));
    world.run(MINUTE * 4 + Duration::from_secs(58));
    world.listed = Some(queues(0..5));
    world.run(MINUTE * 20);
    assert_eq!(carried(&world), names(0..5), "{}", world.transcript);
    assert!(!world.transcript.contains("replace") && !world.transcript.contains("left"));
}

#[test]
fn a_change_that_is_refused_is_repeated_and_costs_the_session_nothing() {
    let mut world = five(1);
    world.listed = Some(queues(0..8));
    world.run(MINUTE * 3 + Duration::from_secs(59));
    for reason in [Reason::Unavailable, Reason::Forbidden, Reason::Throttled] {
        world.refuse_rest.push_back(refusal(reason));
    }
    world.run(MINUTE * 10);
    assert_eq!(carried(&world), names(0..8), "{}", world.transcript);
    let asked = |command: &Command| matches!(command, Command::Connect { .. });
    assert_eq!((world.count(asked), world.gaps.len()), (1, 0), "{}", world.transcript);
}

#[test]
fn a_refused_topic_is_told_and_asked_for_again_at_each_listing_until_it_is_taken() {
    let mut world = five(1);
    world.forbid = Some("000000000006".to_owned());
    world.listed = Some(queues(0..7));
    world.run(MINUTE * 11);
    world.forbid = None;
    world.run(MINUTE * 11);
    insta::assert_snapshot!(world.transcript, @r#"
    300.060 plan: 2 joined, 0 left
    300.060 s1 add 2
    300.080 rejected v2.routing.queues.00000000-0000-4000-8000-000000000006.users
    600.080 s1 add 1
    600.100 rejected v2.routing.queues.00000000-0000-4000-8000-000000000006.users
    900.100 s1 add 1
    900.120 permitted v2.routing.queues.00000000-0000-4000-8000-000000000006.users
    "#);
    assert_eq!(carried(&world), names(0..7));
}

#[test]
fn a_list_that_outgrows_its_channel_takes_another_and_leaves_the_first_alone() {
    let mut world = five(1);
    world.listed = Some(queues(0..1_003));
    world.run(MINUTE * 10);
    let sizes: Vec<usize> =
        world.sockets.keys().map(|channel| world.carried[channel].len()).collect();
    assert_eq!(sizes, [1_000, 3]);
    assert!(world.gaps.is_empty() && world.lifecycle.is_covered());
}

#[test]
fn topics_that_are_combined_later_change_over_make_before_break() {
    let mut world = five(1);
    let both = |ids: std::ops::Range<usize>| {
        let other = |topic: &Topic| Topic::new(&topic.name().replace("users", "conversations"));
        queues(ids).iter().flat_map(|topic| [topic.clone(), other(topic)]).collect::<Vec<_>>()
    };
    world.listed = Some(both(0..600));
    world.run(MINUTE * 10);
    assert_eq!(carried(&world).len(), 600);
    assert!(world.transcript.contains("rotation: topics"), "{}", world.transcript);
    assert_eq!((world.sockets.len(), world.gaps.len()), (1, 0));
}

#[test]
fn more_than_fits_is_refused_while_what_runs_goes_on() {
    let mut world = five(1);
    world.listed = Some(queues(2..20_000));
    world.run(MINUTE * 12);
    assert!(world.transcript.contains("two OAuth clients"), "{}", world.transcript);
    assert_eq!(carried(&world), names(2..5));
    assert!(world.gaps.is_empty());
}

#[test]
fn the_last_topic_of_a_shard_takes_its_session_along() {
    let mut world = World::with(Config { queues_refresh: MINUTE, ..config() }, 1);
    world.listed = Some(queues(0..1_001));
    world.run(MINUTE);
    assert_eq!(world.sockets.len(), 2);
    world.listed = Some(queues(0..1_000));
    world.run(MINUTE * 3);
    assert_eq!(world.sockets.len(), 1, "{}", world.transcript);
    assert!(world.gaps.is_empty() && world.lifecycle.is_covered());
}
