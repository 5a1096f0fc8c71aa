//! Longer stories than `transcripts` has: what fails again and again, what comes twice, legs that rotate in turn, restarts, age.

use super::world::{DAY, World, config, refusal};
use crate::lifecycle::{Command, Config, Heard, Reason, Refusal, Reply, State};
use crate::time::Time;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_channel_is_replaced_before_its_age_ends_it() {
    // The token outlives the channels that it made.
    let mut world = World::new(1);
    world.token_life = DAY * 10;
    world.run(MINUTE);
    world.transcript.clear();
    world.run(DAY * 3);
    insta::assert_snapshot!(world.transcript, @r#"
     85500.080 rotation: channel_expiry
     85500.080 list channels
     85500.100 s2 open channel
     85500.120 s2 subscribe
     85500.140 s2 connect
     85504.160 rotation over: channel_expiry, after 2.000 s of both
     85504.160 s1 close
    171000.140 rotation: channel_expiry
    171000.140 list channels
    171000.160 s3 open channel
    171000.180 s3 subscribe
    171000.200 s3 connect
    171004.220 rotation over: channel_expiry, after 2.000 s of both
    171004.220 s2 close
    256500.200 rotation: channel_expiry
    256500.200 list channels
    256500.220 s4 open channel
    256500.240 s4 subscribe
    256500.260 s4 connect
    256504.280 rotation over: channel_expiry, after 2.000 s of both
    256504.280 s3 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_successor_that_fails_is_tried_ever_more_rarely_while_the_predecessor_delivers() {
    let mut world = World::live(1);
    world.refuse_handshake.extend(vec![refusal(Reason::Unavailable); 9]);
    world.order_rotation();
    world.run(MINUTE * 3);
    insta::assert_snapshot!(world.transcript, @r#"
     60.000 rotation: operator
     60.000 s2 open channel
     60.020 s2 subscribe
     60.040 s2 connect
     60.157 s2 connect
     60.523 s2 connect
     60.971 s2 connect
     61.342 s2 connect
     62.380 s2 connect
     70.101 s2 connect
     76.339 s2 connect
     97.614 s2 connect
    113.245 s2 connect
    117.265 rotation over: operator, after 2.000 s of both
    117.265 s1 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn two_secrets_in_a_row_are_two_rotations_and_the_second_waits_for_the_first() {
    let mut world = World::live(1);
    world.rotate();
    world.run(Duration::from_secs(3));
    world.rotate();
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    62.923 request token
    62.943 rotation: secret
    62.943 list channels
    62.963 s2 open channel
    62.983 s2 subscribe
    63.003 s2 connect
    65.074 request token
    65.094 rotation: secret
    67.023 rotation over: secret, after 2.000 s of both
    67.023 s1 close
    67.094 s3 subscribe
    67.114 s3 connect
    71.134 rotation over: secret, after 2.000 s of both
    71.134 s2 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn two_legs_rotate_one_after_the_other() {
    let mut world = World::live_as(Config { redundancy: 2, ..config() }, 1, 1);
    world.order_rotation();
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 rotation: operator
    60.000 rotation: operator
    60.000 s3 open channel
    60.020 s3 subscribe
    60.040 s3 connect
    64.060 rotation over: operator, after 2.000 s of both
    64.060 s1 close
    65.000 s4 subscribe
    65.020 s4 connect
    69.040 rotation over: operator, after 2.000 s of both
    69.040 s2 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_restart_goes_on_with_the_channel_that_it_finds() {
    let mut world = World::live(1);
    world.restart(2);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 request token
    60.020 list channels
    60.040 s1 subscribe
    60.060 s1 connect
    "#);
}

/// Each socket is cut as soon as it lives, for so long each time; answers when it was.
fn flap(lives: Duration) -> Vec<Time> {
    let mut world = World::live(1);
    let mut cuts = Vec::new();
    while cuts.len() < 12 {
        if let Some(session) = world.sockets.values().next().copied() {
            world.run(lives);
            cuts.push(world.now);
            world.lose(session, Reason::Cut);
        }
        world.run(Duration::from_millis(10));
    }
    cuts
}

#[test]
fn failures_are_forgotten_only_after_ten_stable_seconds() {
    let longest = |lives: Duration| {
        let cuts = flap(lives);
        let waits = cuts.windows(2).map(|pair| pair[1].since(pair[0]).saturating_sub(lives));
        waits.max().unwrap_or_default()
    };
    // The first wait is 100 ms at most, and two round trips follow.
    assert!(longest(Duration::from_secs(11)) < Duration::from_millis(200));
    assert!(longest(Duration::from_secs(9)) > Duration::from_secs(8), "it grows to its cap");
}

#[test]
fn a_configuration_that_changes_wakes_what_is_parked() {
    // The login, the list of topics and a session, each refused for want of a permission.
    let parked = |at: fn(&mut World)| {
        let mut world = World::new(1);
        at(&mut world);
        world.run(MINUTE);
        assert!(!world.lifecycle.is_covered(), "{}", world.transcript);
        world.choose();
        world.run(Duration::from_secs(5));
        assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    };
    parked(|world| world.refuse_login.push_back(refusal(Reason::Forbidden)));
    parked(|world| world.refuse_list.push_back(refusal(Reason::Forbidden)));
    // The first of these is the list of channels.
    parked(|world| world.refuse_rest.extend(vec![refusal(Reason::Forbidden); 2]));
}

#[test]
fn a_change_of_topics_that_waits_for_a_token_waits_at_rest() {
    // The change is refused for its token, and no other is to be had for a while.
    let mut world = World::live(1);
    world.refuse_rest.push_back(refusal(Reason::Unauthorized));
    world.refuse_login.extend(vec![refusal(Reason::Unavailable); 6]);
    super::properties::choose(&mut world, 3);
    world.run(MINUTE * 2);
    let changes = world.count(|command| matches!(command, Command::Amend { .. }));
    assert_eq!((changes, world.told("s1 replace by 4")), (2, 1), "{}", world.transcript);
    assert!(world.gaps.is_empty());
}

/// Found by the thousand days, seed 0.
#[test]
fn what_a_gap_has_missed_waits_at_rest_for_a_token_when_the_last_has_ended() {
    let mut world = World::new(1);
    (world.token_life, world.pages) = (MINUTE * 10, 1_000);
    world.run(MINUTE * 5);
    world.refuse_login.extend(vec![refusal(Reason::CredentialsRejected); 1_000]);
    world.run(MINUTE * 4);
    let session = world.session();
    world.lose(session, Reason::Cut);
    // Its thousand pages are being read when the token ends; a deadline that does not move ends the test.
    world.run(MINUTE * 10);
    let reads =
        |world: &World| world.count(|command| matches!(command, Command::ReadSnapshots { .. }));
    let before = reads(&world);
    assert!(before > 50 && before < 1_000, "{before}");
    world.refuse_login.clear();
    world.run(MINUTE * 15);
    assert!(reads(&world) > before && world.rebased.0 > 0, "{:?}", world.rebased);
}

#[test]
fn a_wake_does_not_shorten_a_retry_after() {
    let mut world = World::new(1);
    let refused = Refusal { retry_after: Some(MINUTE * 2), ..refusal(Reason::Forbidden) };
    world.refuse_login.push_back(refused.clone());
    world.run(MINUTE);
    world.choose();
    world.run(MINUTE * 2);
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    world.refuse_rest.push_back(refused);
    world.order_rotation();
    world.run(MINUTE);
    world.choose();
    world.run(MINUTE * 2);
    assert_eq!(world.hasty, [], "{}", world.transcript);
    assert_eq!(world.told("rotation over: operator"), 1, "{}", world.transcript);
}

#[test]
fn what_the_last_secret_was_answered_is_not_held_against_the_next() {
    for reason in [Reason::Forbidden, Reason::CredentialsRejected, Reason::Unexpected] {
        let mut world = World::new(1);
        world.refuse_login.push_back(refusal(reason));
        // The request is under way when the source shows another secret.
        world.run(Duration::from_millis(5));
        world.rotate();
        world.run(Duration::from_millis(100));
        assert_eq!(world.lifecycle.login().refused(), None, "{reason}");
        world.run(MINUTE / 6);
        assert!(world.lifecycle.is_covered(), "{reason}: {}", world.transcript);
    }
}

#[test]
fn what_the_last_token_was_answered_is_not_held_against_the_next() {
    let mut world = World::live(1);
    world.refuse_rest.push_back(refusal(Reason::Forbidden));
    world.order_rotation();
    // The answer is on its way when another token comes.
    let token = crate::lifecycle::TokenId(9_999);
    let secret = world.secret;
    world.say(Reply::TokenGranted { token, expires_in: DAY, secret });
    world.run(MINUTE / 6);
    let waits =
        |session: &crate::lifecycle::Session| matches!(session.state, State::Waiting { .. });
    assert!(!world.lifecycle.sessions().any(waits), "{}", world.transcript);
    assert_eq!(world.told("rotation over: operator"), 1, "{}", world.transcript);
}

#[test]
fn where_a_rotation_kills_the_sockets_each_is_one_named_gap() {
    let mut world = World::live(1);
    world.rotation_kills = true;
    for nth in 1..=100 {
        world.rotate();
        world.run(MINUTE);
        assert_eq!(world.gaps.len(), nth, "{:?}", world.gaps);
    }
    assert!(world.gaps.iter().all(|gap| gap.cause == Reason::Closed && gap.to.is_some()));
    assert_eq!(world.unnamed(), None);
    // Back on the channel that it had, and replaced make before break by the fresh secret's.
    assert_eq!(world.count(|command| matches!(command, Command::OpenChannel { .. })), 1);
}

#[test]
fn a_closing_notice_on_one_leg_is_answered_on_that_leg_alone() {
    let mut world = World::live_as(Config { redundancy: 2, ..config() }, 1, 1);
    let session = world.session();
    world.hear(session, Heard::ClosingNotice);
    world.run(MINUTE);
    assert_eq!(world.told("rotation: "), 1, "{}", world.transcript);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_handshake_that_parks_is_not_tried_hot_because_a_token_is_fresh() {
    let mut world = World::live(1);
    world.refuse_handshake.extend(vec![refusal(Reason::Unexpected); 50]);
    let session = world.session();
    world.lose(session, Reason::Cut);
    world.run(Duration::from_secs(5));
    world.rotate();
    world.run(MINUTE * 4);
    assert!(world.refuse_handshake.len() > 40, "{}", world.transcript);
}
