//! What holds whatever happens.

use super::world::{World, config, refusal};
use crate::lifecycle::{CHANNELS_PER_CLIENT, Command, Heard, Reason, Reply};
use crate::time::Time;
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Fault {
    Lose(Reason),
    Mute,
    Hear(Heard),
    Evict,
    Rotate,
    RefuseLogin(Reason, usize),
    RefuseRest(Reason, usize),
    RefuseHandshake(Reason, usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    let lost = prop::sample::select(vec![Reason::Closed, Reason::Cut, Reason::Protocol]);
    let refused = prop::sample::select(vec![
        Reason::Unreachable,
        Reason::Tls,
        Reason::Timeout,
        Reason::Throttled,
        Reason::Unavailable,
        Reason::Forbidden,
        Reason::Unauthorized,
        Reason::ChannelGone,
    ]);
    prop_oneof![
        lost.prop_map(Fault::Lose),
        Just(Fault::Mute),
        Just(Fault::Hear(Heard::ClosingNotice)),
        Just(Fault::Hear(Heard::NoLongerSubscribed)),
        Just(Fault::Hear(Heard::TokenRevoked)),
        Just(Fault::Evict),
        Just(Fault::Rotate),
        (1_usize..20).prop_map(|n| Fault::RefuseLogin(Reason::CredentialsRejected, n)),
        (refused.clone(), 1_usize..6).prop_map(|(reason, n)| Fault::RefuseRest(reason, n)),
        (refused, 1_usize..6).prop_map(|(reason, n)| Fault::RefuseHandshake(reason, n)),
    ]
}

fn strike(world: &mut World, fault: Fault) {
    let session = world.sockets.values().max().copied();
    match fault {
        Fault::Lose(reason) => {
            if let Some(session) = session {
                world.lose(session, reason);
            }
        }
        Fault::Mute => world.mute.extend(session),
        Fault::Hear(what) => {
            if let Some(session) = session {
                world.say(Reply::Heard { session, what });
            }
        }
        Fault::Evict => world.channels.clear(),
        Fault::Rotate => world.rotate(),
        Fault::RefuseLogin(reason, n) => world.refuse_login.extend(vec![refusal(reason); n]),
        Fault::RefuseRest(reason, n) => world.refuse_rest.extend(vec![refusal(reason); n]),
        Fault::RefuseHandshake(reason, n) => {
            world.refuse_handshake.extend(vec![refusal(reason); n]);
        }
    }
}

fn most_in_window(times: &[Time], window: Duration) -> usize {
    let within =
        |end: &Time| times.iter().filter(|t| **t <= *end && end.since(**t) < window).count();
    times.iter().map(within).max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_back_within_the_platforms_limits(
        seed: u64,
        faults in prop::collection::vec((fault(), 0_u64..120_000), 1..40),
    ) {
        let mut world = World::live(seed);
        for (fault, pause) in faults {
            strike(&mut world, fault);
            world.run(Duration::from_millis(pause));
            prop_assert!(world.lifecycle.poll_timeout().is_some(), "no deadline");
            prop_assert!(world.lifecycle.channels() <= CHANNELS_PER_CLIENT);
        }
        // Nothing is wrong any more: within a parked session's five minutes and the longest back-offs all is well.
        world.refuse_login.clear();
        world.refuse_rest.clear();
        world.refuse_handshake.clear();
        world.run(Duration::from_secs(900));
        prop_assert!(world.lifecycle.is_covered(), "{}", world.transcript);
        prop_assert!(world.gaps.iter().all(|gap| gap.to.is_some()));
        let logins: Vec<Time> = world
            .asked
            .iter()
            .filter(|(_, command)| *command == Command::RequestToken)
            .map(|(at, _)| *at)
            .collect();
        prop_assert!(most_in_window(&logins, Duration::from_secs(10)) <= 10);
    }

    #[test]
    fn planned_changes_leave_no_gap(
        seed: u64,
        changes in prop::collection::vec((any::<bool>(), 0_u64..90_000), 1..30),
    ) {
        let mut world = World::live(seed);
        for (rotate, pause) in changes {
            if rotate {
                world.rotate();
            } else if let Some(session) = world.sockets.values().max().copied() {
                world.say(Reply::Heard { session, what: Heard::ClosingNotice });
            }
            world.run(Duration::from_millis(pause));
        }
        world.run(Duration::from_secs(60));
        prop_assert_eq!(&world.gaps, &[]);
        prop_assert!(world.lifecycle.is_covered());
        prop_assert!(world.lifecycle.channels() <= 3, "{} channels", world.lifecycle.channels());
    }

    #[test]
    fn a_gap_claims_no_more_than_the_fault_and_the_time_to_notice(
        seed: u64,
        after in 0_u64..100_000,
        silent: bool,
    ) {
        let mut world = World::live(seed);
        world.run(Duration::from_millis(after));
        let struck = world.now;
        let session = world.session();
        if silent { world.mute.insert(session); } else { world.lose(session, Reason::Cut); }
        world.run(Duration::from_secs(120));
        prop_assert_eq!(world.gaps.len(), 1);
        let gap = world.gaps[0];
        let to = gap.to.expect("closed");
        // The last frame before the fault is at most a probe's interval old.
        prop_assert!(struck.since(gap.from) <= config().ping_interval);
        let notice = if silent { config().dead_after } else { Duration::ZERO };
        prop_assert!(to.since(struck) <= notice + Duration::from_millis(200), "{gap:?} {struck:?}");
    }
}
