//! What holds whatever happens.

use super::platform::topics;
use super::rules::most_in_window;
use super::world::{World, config, refusal};
use crate::event::Topic;
use crate::lifecycle::{
    CHANNELS_PER_CLIENT, Command, Config, Heard, Reason, Refusal, SecretVersion,
};
use crate::time::Time;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Fault {
    Lose(Reason),
    Mute,
    Hear(Heard),
    Evict,
    MuteOldest,
    Throttle(usize, u64),
    Rotate,
    LoseAnswers(usize),
    Operator,
    Choose(usize),
    RefuseLogin(Reason, usize),
    RefuseList(Reason, usize),
    RefuseRest(Reason, usize),
    RefuseHandshake(Reason, usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    let lost = prop::sample::select(vec![Reason::Closed, Reason::Cut, Reason::Protocol]);
    let refused = prop::sample::select(vec![
        Reason::Unreachable,
        Reason::Dns,
        Reason::Proxy,
        Reason::Tls,
        Reason::Timeout,
        Reason::Throttled,
        Reason::Unavailable,
        Reason::Forbidden,
        Reason::Unauthorized,
        Reason::ChannelGone,
        Reason::Unexpected,
    ]);
    prop_oneof![
        lost.prop_map(Fault::Lose),
        Just(Fault::Mute),
        Just(Fault::Hear(Heard::ClosingNotice)),
        Just(Fault::Hear(Heard::NoLongerSubscribed)),
        Just(Fault::Hear(Heard::TokenRevoked)),
        Just(Fault::Evict),
        Just(Fault::MuteOldest),
        (0_usize..3, 1_u64..90).prop_map(|(kind, wait)| Fault::Throttle(kind, wait)),
        Just(Fault::Rotate),
        Just(Fault::Operator),
        (1_usize..8).prop_map(Fault::LoseAnswers),
        (0_usize..8).prop_map(Fault::Choose),
        (refused.clone(), 1_usize..4).prop_map(|(reason, n)| Fault::RefuseList(reason, n)),
        (1_usize..20).prop_map(|n| Fault::RefuseLogin(Reason::CredentialsRejected, n)),
        (refused.clone(), 1_usize..6).prop_map(|(reason, n)| Fault::RefuseRest(reason, n)),
        (refused, 1_usize..6).prop_map(|(reason, n)| Fault::RefuseHandshake(reason, n)),
    ]
}

/// What a planned change is, and what may go wrong with it while the sockets live.
fn change() -> impl Strategy<Value = Fault> {
    let planned = prop_oneof![
        Just(Fault::Rotate),
        Just(Fault::Operator),
        Just(Fault::Hear(Heard::ClosingNotice)),
        (0_usize..8).prop_map(Fault::Choose),
    ];
    let cuts = |fault: &Fault| {
        matches!(
            fault,
            Fault::Lose(_) | Fault::Mute | Fault::MuteOldest | Fault::Hear(_) | Fault::Evict
        )
    };
    prop_oneof![planned, fault().prop_filter("sockets live", move |fault| !cuts(fault))]
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
        Fault::MuteOldest => world.mute.extend(world.sockets.values().min().copied()),
        Fault::Throttle(kind, wait) => {
            let retry_after = Some(Duration::from_secs(wait));
            let refusal = Refusal { retry_after, ..refusal(Reason::Throttled) };
            match kind {
                0 => world.refuse_login.push_back(refusal),
                1 => world.refuse_rest.push_back(refusal),
                _ => world.refuse_handshake.push_back(refusal),
            }
        }
        Fault::Hear(what) => {
            if let Some(session) = session.filter(|session| !world.mute.contains(session)) {
                world.hear(session, what);
            }
        }
        Fault::Evict => world.drop_channels(),
        Fault::LoseAnswers(n) => world.lose_answers += n,
        Fault::Operator => world.order_rotation(),
        Fault::Choose(n) => choose(world, n),
        Fault::RefuseList(reason, n) => world.refuse_list.extend(vec![refusal(reason); n]),
        Fault::Rotate => world.rotate(),
        Fault::RefuseLogin(reason, n) => world.refuse_login.extend(vec![refusal(reason); n]),
        Fault::RefuseRest(reason, n) => world.refuse_rest.extend(vec![refusal(reason); n]),
        Fault::RefuseHandshake(reason, n) => {
            world.refuse_handshake.extend(vec![refusal(reason); n]);
        }
    }
}

/// A person chooses so many topics more, or fewer where the channels are full: the live sessions' topics are amended.
pub(super) fn choose(world: &mut World, n: usize) {
    let mut topics = topics(world.shards);
    if world.shards > 1 {
        topics.drain(..n);
    } else {
        let more = |queue| format!("v2.routing.queues.00000000-0000-4000-9000-{queue:012}.users");
        topics.extend((0..n).map(|queue| Topic::new(&more(queue))));
    }
    world.listed = Some(topics);
    world.choose();
}

/// No window holds more requests than the platform, or we ourselves, allow.
fn budgets_hold(world: &World) -> Result<(), TestCaseError> {
    let asked = |is: fn(&Command) -> bool| -> Vec<Time> {
        world.asked.iter().filter(|(_, command)| is(command)).map(|(at, _)| *at).collect()
    };
    let logins = asked(|command| *command == Command::RequestToken);
    prop_assert!(most_in_window(&logins, Duration::from_secs(10)) <= 10);
    let handshakes = asked(|command| matches!(command, Command::Connect { .. }));
    prop_assert!(most_in_window(&handshakes, Duration::from_secs(1)) <= 10);
    let calls = asked(|command| {
        matches!(
            command,
            Command::ListTopics { .. }
                | Command::ListChannels { .. }
                | Command::OpenChannel { .. }
                | Command::Subscribe { .. }
                | Command::Amend { .. }
                | Command::ReadSnapshots { .. }
        )
    });
    prop_assert!(most_in_window(&calls, Duration::from_secs(60)) <= 240);
    let reads = asked(|command| matches!(command, Command::ReadSnapshots { .. }));
    prop_assert!(most_in_window(&reads, Duration::from_secs(60)) <= 150);
    let secrets: BTreeSet<SecretVersion> =
        world.refused_logins.iter().map(|(_, secret)| *secret).collect();
    for secret in secrets {
        let of_it = world.refused_logins.iter().filter(|(_, of)| *of == secret);
        let refused: Vec<Time> = of_it.map(|(at, _)| *at).collect();
        prop_assert!(most_in_window(&refused, Duration::from_secs(300)) <= 12);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_back_within_the_platforms_limits(
        seed: u64,
        shards in 1_usize..4,
        redundancy in 1_usize..3,
        faults in prop::collection::vec((fault(), 0_u64..120_000), 1..40),
    ) {
        let mut world = World::live_as(Config { redundancy, ..config() }, seed, shards);
        for (fault, pause) in faults {
            strike(&mut world, fault);
            world.run(Duration::from_millis(pause));
            prop_assert!(world.lifecycle.poll_timeout().is_some(), "no deadline");
            prop_assert!(world.lifecycle.channels(world.now) <= CHANNELS_PER_CLIENT);
        }
        // Nothing is wrong any more: within a parked session's five minutes and the longest back-offs all is well.
        world.refuse_login.clear();
        world.refuse_rest.clear();
        world.refuse_handshake.clear();
        world.refuse_list.clear();
        world.lose_answers = 0;
        world.run(Duration::from_secs(900));
        prop_assert!(world.lifecycle.is_covered(), "{}", world.transcript);
        prop_assert!(world.gaps.iter().all(|gap| gap.to.is_some()));
        prop_assert_eq!(world.unnamed(), None, "{:?}\n{}", world.gaps, world.transcript);
        prop_assert!(world.excess() <= Duration::from_secs(37), "{:?} {:?}\n{}",
            world.excess(), world.gaps, world.transcript);
        prop_assert_eq!(&world.hasty, &[], "{}", world.transcript);
        prop_assert_eq!(world.evicted, 0, "{}", world.transcript);
        let (known, counted) = (world.channels.len(), world.lifecycle.channels(world.now));
        prop_assert!(known <= counted, "{} leaked\n{}", known - counted, world.transcript);
        budgets_hold(&world)?;
    }

    #[test]
    fn planned_changes_leave_no_gap(
        seed: u64,
        shards in 1_usize..4,
        aged: bool,
        changes in prop::collection::vec((0..4, 0_u64..90_000), 1..30),
    ) {
        let mut world = World::new(seed);
        world.shards = shards;
        // Either the tokens end, or the channels do.
        let ends = if aged { &mut world.channel_life } else { &mut world.token_life };
        *ends = Duration::from_secs(3_600);
        world.token_life = if aged { Duration::from_secs(100 * 86_400) } else { world.token_life };
        world.run(Duration::from_secs(60));
        let announced = changes.iter().any(|(change, _)| *change == 3);
        let token_ends = changes.iter().any(|(change, _)| *change == 2);
        for (change, pause) in changes {
            match change {
                0 => world.rotate(),
                1 => world.order_rotation(),
                // To the time in which tokens, or channels, end.
                2 => world.run(Duration::from_secs(3_000)),
                _ => {
                    let sessions: Vec<_> = world.sockets.values().copied().collect();
                    sessions.into_iter().for_each(|own| world.hear(own, Heard::ClosingNotice));
                }
            }
            world.run(Duration::from_millis(pause));
        }
        world.run(Duration::from_secs(120));
        prop_assert_eq!(&world.gaps, &[], "{}", world.transcript);
        prop_assert!(world.lifecycle.is_covered());
        let expiries = world.told("rotation: channel_expiry");
        prop_assert!(!aged || !token_ends || expiries >= shards, "{}", world.transcript);
        // One spare for all. Where the token ends that made them all, none of them can be left for another of them; and an announced
        // end cannot always wait for its turn.
        let made = world.count(|command| matches!(command, Command::OpenChannel { .. }));
        let most = if announced {
            CHANNELS_PER_CLIENT
        } else if token_ends && !aged {
            2 * shards + 1
        } else {
            shards + 1
        };
        prop_assert!(made <= most + world.dropped, "{} channels\n{}", made, world.transcript);
        budgets_hold(&world)?;
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// The sockets live; whatever else fails delays a planned change and costs nothing.
    #[test]
    fn planned_changes_whose_successors_fail_leave_no_gap(
        seed: u64,
        shards in prop_oneof![5 => Just(1_usize), 1 => Just(2)],
        redundancy in 1_usize..3,
        changes in prop::collection::vec((change(), 0_u64..90_000), 1..30),
    ) {
        let mut world = World::live_as(Config { redundancy, ..config() }, seed, shards);
        for (change, pause) in changes {
            strike(&mut world, change);
            world.run(Duration::from_millis(pause));
        }
        world.refuse_login.clear();
        world.refuse_rest.clear();
        world.refuse_handshake.clear();
        world.refuse_list.clear();
        world.lose_answers = 0;
        world.order_rotation();
        world.run(Duration::from_secs(900));
        prop_assert_eq!(&world.gaps, &[], "{}", world.transcript);
        let begun = world.told("rotation: ");
        prop_assert_eq!(begun, world.told("rotation over: "), "{}", world.transcript);
        prop_assert!(begun > 0 && world.lifecycle.sessions().count() == shards * redundancy);
        prop_assert_eq!(&world.hasty, &[], "{}", world.transcript);
        prop_assert_eq!(world.evicted, 0, "{}", world.transcript);
        budgets_hold(&world)?;
    }
}

proptest! {
    // Each reads for an hour or two, 150 times a minute.
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn rebasing_leaves_the_platforms_limits_to_what_keeps_sessions_alive(
        seed: u64,
        shards in 1_usize..3,
        pages in 1_u32..12,
        faults in prop::collection::vec((fault(), 0_u64..120_000), 1..40),
    ) {
        let mut world = World::live_with(seed, shards);
        world.pages = pages;
        for (fault, pause) in faults {
            strike(&mut world, fault);
            world.run(Duration::from_millis(pause));
        }
        world.refuse_login.clear();
        world.refuse_rest.clear();
        world.refuse_handshake.clear();
        world.lose_answers = 0;
        world.run(Duration::from_secs(900));
        // One gap at least, whatever came before.
        let session = world.session();
        world.lose(session, Reason::Cut);
        world.run(Duration::from_secs(300));
        prop_assert!(world.lifecycle.is_covered(), "{}", world.transcript);
        prop_assert_eq!(&world.hasty, &[], "{}", world.transcript);
        // One topic of `pages` pages, or a thousand of them.
        let reads = world.count(|command| matches!(command, Command::ReadSnapshots { .. }));
        prop_assert!(reads >= if shards == 1 { pages as usize } else { 500 }, "{}", reads);
        prop_assert!(shards > 1 || world.rebased.1 > 0, "{:?}", world.rebased);
        budgets_hold(&world)?;
    }
}

#[test]
fn ten_thousand_rotations_of_the_secret_leave_no_gap_and_make_one_channel_more_than_there_are_sessions()
 {
    // Four days of one shard, in which three tokens that made a channel end, and a day of three shards.
    for (shards, rotations) in [(1, 10_000), (3, 2_500)] {
        let mut world = World::live_with(1, shards);
        for _ in 0..rotations {
            world.rotate();
            world.run(Duration::from_secs(30));
            world.transcript.clear();
        }
        assert_eq!(world.gaps, []);
        assert_eq!(world.unnamed(), None);
        // The first of each shard was made before the count began.
        let made = shards + world.count(|command| matches!(command, Command::OpenChannel { .. }));
        assert!(made <= shards + 1 + world.dropped, "{made} channels, {} dropped", world.dropped);
        assert_eq!(world.lifecycle.channels(world.now), shards + 1);
    }
}

/// `TIELINE_WORLD_SEED=7 cargo test a_thousand_days` repeats the world of that seed alone; `TIELINE_WORLD_SEED_FROM` chooses the
/// first of the hundred.
#[test]
fn a_thousand_days_of_random_faults_leave_nothing_unnamed() {
    let number = |name| std::env::var(name).ok().and_then(|seed| seed.parse::<u64>().ok());
    let only = number("TIELINE_WORLD_SEED");
    let first = number("TIELINE_WORLD_SEED_FROM").unwrap_or_default();
    let seeds = only.map_or(first..first + 100, |seed| seed..seed + 1);
    let (mut struck, mut rebased) = (0, 0);
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| live_days(seed, 10, |_| ()));
        let (faults, snapshots) = lived.unwrap_or_else(|_| {
            panic!("TIELINE_WORLD_SEED={seed} cargo test a_thousand_days repeats it")
        });
        (struck, rebased) = (struck + faults, rebased + snapshots);
    }
    assert!(only.is_some() || struck > 10_000, "{struck} faults");
    assert!(only.is_some() || rebased > 1_000, "{rebased} snapshots");
}

#[test]
fn a_life_that_is_lived_again_with_the_same_seed_is_the_same_to_the_letter() {
    let life = |seed| {
        let mut life = String::new();
        let note = |world: &World| {
            life.push_str(&format!("{}{:?}{:?}", world.transcript, world.asked, world.gaps));
        };
        live_days(seed, 2, note);
        life
    };
    for seed in [1, 2, 10, 20] {
        let (once, again) = (life(seed), life(seed));
        assert!(once.len() > 1_000 && once == again, "seed {seed}");
    }
    assert_ne!(life(1), life(2));
}

/// Lives through some days with a fault every few hours and answers how many there were, and how many snapshots; `look` sees each
/// stretch.
fn live_days(seed: u64, days: u64, mut look: impl FnMut(&World)) -> (usize, u64) {
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes(seed)),
    );
    // Silence is noticed after 35 s, and what it cost is told then.
    let strategy = (fault(), 0_u64..5_000, fault(), 60_000_u64..8 * 3_600_000);
    let mut world = World::live_with(seed, 1 + usize::from(seed.is_multiple_of(10)));
    // Lists of one page or of several, and what every gap has missed is asked for.
    world.list_pages = 1 + (seed % 4) as u32;
    (world.pages, world.rebased_most) = (1 + (seed % 3) as u32, 50);
    let end = world.now + Duration::from_secs(days * 86_400);
    // Whatever is kept of the past is less than as much again, and what each limit remembers.
    let most = 2 * world.weight() + 100_000;
    let mut faults = 0;
    while world.now < end {
        let tree = strategy.new_tree(&mut runner).expect("faults");
        let (first, between, second, pause) = tree.current();
        let fault = (first.clone(), second.clone());
        strike(&mut world, first);
        world.run(Duration::from_millis(between));
        strike(&mut world, second);
        world.run(Duration::from_millis(pause));
        faults += 2;
        assert!(world.lifecycle.channels(world.now) <= CHANNELS_PER_CLIENT);
        assert_eq!(world.unnamed(), None, "seed {seed}, {fault:?}, {:?}", world.gaps);
        assert_eq!(world.hasty, [], "seed {seed}, {fault:?}");
        assert_eq!(world.evicted, 0, "seed {seed}, {fault:?}");
        assert!(world.excess() <= Duration::from_secs(37), "seed {seed}, {:?}", world.gaps);
        budgets_hold(&world).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!(world.weight() <= most, "seed {seed}: {} letters", world.weight());
        look(&world);
        if world.lifecycle.is_covered() {
            world.forget();
        }
    }
    (faults, world.rebased.1)
}

fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}
