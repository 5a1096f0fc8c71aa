//! The end of the token that made the channels, where there are fewer channels for successors than sessions.

use super::world::{World, config, refusal};
use crate::lifecycle::{CHANNELS_PER_CLIENT, Config, Reason};
use proptest::prelude::*;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// A world of so many sessions whose tokens live for an hour.
pub(super) fn crowd(shards: usize, redundancy: usize) -> World {
    let mut world = World::with(Config { redundancy, ..config() }, 1);
    (world.shards, world.token_life) = (shards, HOUR);
    world.run(Duration::from_secs(60));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    world
}

#[test]
fn the_end_of_a_token_that_made_all_channels_costs_no_gap_however_few_spares_there_are() {
    for (shards, redundancy) in [(10, 1), (11, 1), (15, 1), (19, 1), (9, 2)] {
        let mut world = crowd(shards, redundancy);
        // The first token ends after an hour, the second after an hour and three quarters.
        world.run(HOUR * 2);
        assert_eq!(world.gaps, [], "{shards} shards\n{}", world.transcript);
        assert_eq!(world.unnamed(), None);
        assert_eq!(world.evicted_live, 0, "{shards} shards");
        assert!(shards * redundancy > 10 || world.evicted == 0);
        assert!(world.channels.len() <= CHANNELS_PER_CLIENT);
    }
}

#[test]
fn where_another_process_has_channels_a_crowd_makes_no_room_and_names_its_gaps() {
    let mut world = crowd(15, 1);
    world.set_strangers(2);
    world.run(HOUR * 2);
    assert_eq!((world.evicted, world.unnamed()), (0, None));
    assert!(world.gaps.iter().all(|gap| gap.to.is_some()), "{}", world.transcript);
    assert!(world.lifecycle.is_covered());
}

#[test]
fn a_crowd_that_is_restarted_just_before_its_makers_end_does_not_wait_for_it() {
    let mut world = crowd(15, 1);
    world.run(HOUR - Duration::from_secs(60 + 100));
    world.restart(2);
    world.run(Duration::from_secs(10));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    world.run(HOUR);
    assert!(world.lifecycle.is_covered());
    assert_eq!((world.evicted_live, world.unnamed()), (0, None));
}

proptest! {
    // Each is a crowd of thousands of topics that lives for three hours.
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn whatever_becomes_of_the_requests_for_channels_a_crowd_keeps_its_channels_in_sight(
        shards in 11_usize..20,
        closing in 0_u64..900,
        faults in prop::collection::vec(
            (
                prop::sample::select(vec![
                    Reason::Unreachable,
                    Reason::Timeout,
                    Reason::Unavailable,
                    Reason::Throttled,
                    Reason::Unauthorized,
                ]),
                0_usize..3,
                0_usize..2,
                any::<bool>(),
                60_u64..1_500,
            ),
            1..12,
        ),
    ) {
        let mut world = crowd(shards, 1);
        world.closing = Duration::from_millis(closing);
        for (reason, refused, lost, rotates, pause) in faults {
            world.refuse_open.extend(vec![refusal(reason); refused]);
            world.lose_answers += lost;
            if rotates {
                world.rotate();
            }
            world.run(Duration::from_secs(pause));
        }
        world.refuse_open.clear();
        world.lose_answers = 0;
        world.run(HOUR);
        prop_assert!(world.lifecycle.is_covered(), "{}", world.transcript);
        let (known, counted) = (world.channels.len(), world.lifecycle.channels(world.now));
        prop_assert!(known <= counted, "{} leaked\n{}", known - counted, world.transcript);
        prop_assert_eq!((world.unnamed(), world.evicted_live), (None, 0));
    }
}
