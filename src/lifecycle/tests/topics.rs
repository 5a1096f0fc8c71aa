//! A list of topics that changes while sessions live.

use super::world::{World, config, refusal};
use crate::event::Topic;
use crate::lifecycle::{Command, Config, Reason, SessionId};
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
fn an_empty_listing_of_what_was_wanted_before_is_made_again_at_once() {
    let mut world = five(1);
    world.listed = Some(Vec::new());
    world.choose();
    // Its answer is on its way when somebody chooses again.
    world.listed = Some(queues(3..8));
    world.choose();
    world.run(Duration::from_secs(5));
    assert_eq!(carried(&world), names(3..8), "{}", world.transcript);
}

#[test]
fn a_swap_of_queues_near_the_limit_is_taken_up_when_those_that_left_are_confirmed() {
    let refresh = MINUTE * 60;
    let config = Config { queues_refresh: refresh, redundancy: 2, ..config() };
    let mut world = World::with(config, 1);
    world.listed = Some(queues(0..9_000));
    world.run(MINUTE);
    assert!(world.lifecycle.is_covered());
    world.listed = Some(queues(500..9_500));
    // Both together are too many until it is certain that the first five hundred are gone.
    world.run(refresh + MINUTE * 2);
    let plan = world.lifecycle.topics();
    let topics: BTreeSet<&str> = plan.all().map(Topic::name).collect();
    let wanted = names(500..9_500);
    assert!(topics.iter().all(|name| wanted.contains(*name)) && topics.len() == 9_000);
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

/// Two legs with five queues, of which the first alone was told that two more have joined.
fn one_leg_ahead() -> (World, [SessionId; 2]) {
    let config = Config { redundancy: 2, queues_refresh: MINUTE * 5, ..config() };
    let mut world = World::with(config, 1);
    world.listed = Some(queues(0..5));
    world.run(MINUTE);
    let legs: Vec<SessionId> = world.lifecycle.sessions().map(|session| session.id).collect();
    world.fixed.insert(legs[1]);
    world.listed = Some(queues(0..7));
    world.run(MINUTE * 5);
    assert!(world.lifecycle.is_covered() && world.gaps.is_empty());
    world.transcript.clear();
    (world, [legs[0], legs[1]])
}

/// What was told of gaps, without the queues' ids.
fn told_of_gaps(world: &World) -> String {
    let lines = world.transcript.lines().filter(|line| line.contains("gap "));
    let short = |line: &str| line.replace("v2.routing.queues.00000000-0000-4000-8000-", "");
    lines.map(short).collect::<Vec<_>>().join("\n")
}

#[test]
fn topics_that_one_leg_alone_carries_are_missed_when_it_is_lost_and_the_others_are_not() {
    let (mut world, [ahead, _]) = one_leg_ahead();
    world.lose(ahead, Reason::Cut);
    world.run(MINUTE);
    insta::assert_snapshot!(told_of_gaps(&world), @r"
    360.000 gap opened of [000000000005.users, 000000000006.users]: cut, from 345.120
    360.060 gap closed: resumed
    ");
    assert_eq!(world.gaps.len(), 1);
}

#[test]
fn a_leg_that_lacks_topics_ends_their_gap_when_it_is_told_of_them() {
    let (mut world, [ahead, behind]) = one_leg_ahead();
    world.refuse_handshake.extend(vec![refusal(Reason::Unreachable); 1_000]);
    world.lose(ahead, Reason::Cut);
    world.run(MINUTE);
    world.fixed.clear();
    world.run(MINUTE * 2);
    assert!(world.gaps.len() == 1 && world.gaps[0].to.is_some(), "{}", world.transcript);
    world.fixed.insert(behind);
    world.listed = Some(queues(0..9));
    world.run(MINUTE * 5);
    assert_eq!(world.gaps.len(), 1, "what nobody has carried is missed by nobody");
}

#[test]
fn a_leg_that_lacks_topics_must_answer_too_before_its_process_falls_silent() {
    let (mut world, [ahead, behind]) = one_leg_ahead();
    world.refuse_handshake.extend(vec![refusal(Reason::Unreachable); 1_000]);
    world.lose(ahead, Reason::Cut);
    world.run(Duration::from_secs(3));
    let since = world.now;
    world.lifecycle.probe(since);
    assert!(!world.lifecycle.is_proven(since), "it has not answered");
    world.run(Duration::from_secs(1));
    assert!(world.lifecycle.is_proven(since));
    world.mute.insert(behind);
    world.run(Duration::from_secs(1));
    let since = world.now;
    world.lifecycle.probe(since);
    world.run(Duration::from_secs(1));
    assert!(!world.lifecycle.is_proven(since));
}

#[test]
fn a_gap_of_some_topics_is_one_of_all_when_the_leg_that_had_the_others_is_lost_too() {
    let (mut world, [ahead, behind]) = one_leg_ahead();
    world.refuse_handshake.extend(vec![refusal(Reason::Unreachable); 20]);
    world.lose(ahead, Reason::Cut);
    world.run(Duration::from_secs(3));
    world.lose(behind, Reason::Closed);
    world.run(MINUTE * 5);
    let told = told_of_gaps(&world);
    let opened: Vec<bool> = told
        .lines()
        .filter(|line| line.contains("opened"))
        .map(|line| line.contains(" of ["))
        .collect();
    assert_eq!(opened, [true, false], "{told}");
    assert_eq!(world.unnamed(), None);
}

#[test]
fn a_successor_from_before_a_change_is_given_the_topics_before_its_predecessor_drains() {
    let mut world = five(1);
    world.order_rotation();
    world.run(Duration::from_secs(1));
    let successor = world.session();
    world.fixed.insert(successor);
    world.listed = Some(queues(0..7));
    world.choose();
    world.run(MINUTE);
    assert_eq!(world.sockets.len(), 2, "{}", world.transcript);
    world.fixed.clear();
    world.run(MINUTE * 2);
    assert_eq!(world.sockets.values().collect::<Vec<_>>(), [&successor]);
    assert_eq!((carried(&world), world.gaps.len()), (names(0..7), 0));
}
