//! A list of queues of many pages: each is a call, and none is one too many.

use super::rules::most_in_window;
use super::world::{World, config, refusal};
use crate::lifecycle::{Command, Config, Reason, Refusal, Reply};
use crate::time::Time;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// 19,000 queues, a hundred on each.
const PAGES: u32 = 190;

fn many(seed: u64) -> World {
    let mut world = World::with(Config { queues_refresh: MINUTE * 5, ..config() }, seed);
    world.list_pages = PAGES;
    world
}

/// The pages that were asked for, by their numbers.
fn pages(world: &World) -> Vec<u32> {
    let number = |command: &Command| {
        if let Command::ListTopics { page, .. } = command { Some(*page) } else { None }
    };
    world.asked.iter().filter_map(|(_, command)| number(command)).collect()
}

fn calls(world: &World) -> Vec<Time> {
    let is_call = |command: &Command| {
        !matches!(
            command,
            Command::RequestToken
                | Command::Connect { .. }
                | Command::Ping { .. }
                | Command::Close { .. }
                | Command::Forget { .. }
        )
    };
    world.asked.iter().filter(|(_, command)| is_call(command)).map(|(at, _)| *at).collect()
}

#[test]
fn a_list_of_190_pages_is_read_at_once_at_the_start_and_at_leisure_later() {
    let mut world = many(1);
    world.run(Duration::from_secs(10));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!(pages(&world), (1..=PAGES).collect::<Vec<_>>());
    world.run(MINUTE * 5);
    let begun = pages(&world).len();
    assert!(begun > PAGES as usize, "the next list has begun");
    // What keeps sessions alive does not wait for its pages.
    world.transcript.clear();
    world.order_rotation();
    world.run(Duration::from_secs(8));
    assert_eq!(world.told("rotation over"), 1, "{}", world.transcript);
    world.run(MINUTE * 20);
    assert!(most_in_window(&calls(&world), MINUTE) <= 240);
    let later: Vec<Time> =
        calls(&world).into_iter().filter(|at| *at > Time::START + MINUTE).collect();
    assert!(most_in_window(&later, MINUTE) <= 160);
    assert!(pages(&world).len() > 4 * PAGES as usize, "{}", pages(&world).len());
    assert!(world.gaps.is_empty() && world.hasty.is_empty());
}

#[test]
fn the_pages_of_a_list_stay_within_what_the_platform_says_it_allows() {
    for allowed in [60, 180, 300] {
        let mut world = many(2);
        (world.allows, world.pages) = (Some(allowed), 3);
        world.run(MINUTE * 6);
        assert!(world.lifecycle.is_covered(), "{allowed}: {}", world.transcript);
        world.choose();
        world.run(MINUTE * 10);
        assert_eq!(world.excessive, 0, "{allowed}");
        assert!(pages(&world).len() >= 2 * PAGES as usize, "{allowed}: {}", pages(&world).len());
    }
}

#[test]
fn a_list_goes_on_at_the_page_that_was_throttled_and_not_before_it_may() {
    let mut world = many(3);
    world.run(Duration::from_millis(500));
    let before = pages(&world);
    let retry_after = Some(Duration::from_secs(30));
    world.refuse_list.push_back(Refusal { retry_after, ..refusal(Reason::Throttled) });
    world.refuse_list.push_back(refusal(Reason::Unavailable));
    world.run(MINUTE);
    let after = pages(&world);
    assert!(before.len() > 5 && before.len() < PAGES as usize);
    // Each refused page is asked for again, and nothing else.
    assert_eq!(after.len(), PAGES as usize + 2);
    assert!(after.is_sorted(), "{after:?}");
    assert_eq!(world.hasty, []);
    assert!(world.lifecycle.is_covered());
}

#[test]
fn a_list_begins_anew_after_any_other_refusal_and_when_its_pages_have_grown_old() {
    let cases = [
        (Reason::Unauthorized, false, 30),
        (Reason::Unexpected, false, 330),
        // Queues came or went while it was read: that is no reason to wait for minutes.
        (Reason::Unavailable, true, 30),
    ];
    for (reason, mixed, wait) in cases {
        let mut world = many(4);
        world.mixed_list = mixed;
        world.run(Duration::from_millis(500));
        let before = pages(&world).len();
        world.refuse_list.push_back(refusal(reason));
        world.run(Duration::from_secs(wait));
        let after = pages(&world);
        assert_eq!(after[before + 1..], (1..=PAGES).collect::<Vec<_>>(), "{reason}");
    }
    let mut world = many(4);
    world.run(Duration::from_millis(500));
    let before = pages(&world).len();
    let retry_after = Some(MINUTE * 6);
    world.refuse_list.push_back(Refusal { retry_after, ..refusal(Reason::Throttled) });
    world.run(MINUTE * 7);
    assert_eq!(pages(&world)[before + 1..], (1..=PAGES).collect::<Vec<_>>());
}

#[test]
fn an_answer_to_a_page_that_comes_too_late_is_nobodys_but_what_it_says_of_the_client_holds() {
    let mut world = many(5);
    world.run(Duration::from_secs(30));
    let before = pages(&world).len();
    world.say(Reply::TopicsPage { page: 7 });
    let retry_after = Some(MINUTE * 10);
    let refusal = Refusal { retry_after, ..refusal(Reason::Throttled) };
    world.say(Reply::TopicsRefused { refusal, anew: false });
    world.run(MINUTE * 9);
    assert_eq!(pages(&world).len(), before, "nothing is asked before the platform allows it");
    assert!(world.lifecycle.is_covered() && world.gaps.is_empty());
}
