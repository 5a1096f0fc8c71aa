//! What happens, as a person would tell it.

use super::world::{World, refusal};
use crate::lifecycle::{Command, Heard, Reason, Refusal, Reply};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_client_comes_to_live() {
    let mut world = World::new(1);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    0.000 request token
    0.040 s1 open channel
    0.060 s1 subscribe
    0.080 s1 connect
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_cut_resumes_on_the_same_channel() {
    let mut world = World::live(1);
    world.lose(world.session(), Reason::Cut);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: cut, from 45.120
    60.000 s1 close
    60.097 s1 connect
    60.137 gap closed: resumed
    "#);
}

#[test]
fn silence_is_noticed_after_35_seconds() {
    let mut world = World::live(1);
    world.mute.insert(world.session());
    world.run(MINUTE * 2);
    insta::assert_snapshot!(world.transcript, @r#"
    80.120 gap opened: silent, from 45.120
    80.120 s1 close
    80.217 s1 connect
    80.257 gap closed: resumed
    "#);
}

#[test]
fn a_closing_notice_is_answered_by_make_before_break() {
    let mut world = World::live(1);
    let session = world.session();
    world.say(Reply::Heard { session, what: Heard::ClosingNotice });
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 rotation: closing_notice
    60.000 s2 open channel
    60.020 s2 subscribe
    60.040 s2 connect
    64.060 s1 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_fresh_secret_leads_to_a_fresh_token_then_a_fresh_session() {
    let mut world = World::live(1);
    world.rotate();
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    62.923 request token
    62.943 rotation: secret
    62.943 s2 open channel
    62.963 s2 subscribe
    62.983 s2 connect
    67.003 s1 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_hundred_rotations_make_two_channels() {
    let mut world = World::live(1);
    for _ in 0..100 {
        world.rotate();
        world.run(MINUTE);
    }
    assert_eq!(world.count(|command| matches!(command, Command::OpenChannel { .. })), 1);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_token_and_a_channel_are_replaced_before_they_end() {
    let mut world = World::live(1);
    world.run(Duration::from_secs(86_400) * 3);
    insta::assert_snapshot!(world.transcript, @r#"
     85500.020 request token
     85500.040 rotation: token_expiry
     85500.040 s2 open channel
     85500.060 s2 subscribe
     85500.080 s2 connect
     85504.100 s1 close
    171000.040 request token
    171000.060 rotation: token_expiry
    171000.060 s3 open channel
    171000.080 s3 subscribe
    171000.100 s3 connect
    171004.120 s2 close
    256500.060 request token
    256500.080 rotation: token_expiry
    256500.080 s4 open channel
    256500.100 s4 subscribe
    256500.120 s4 connect
    256504.140 s3 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn an_evicted_channel_is_replaced_by_another() {
    let mut world = World::live(1);
    let session = world.session();
    world.channels.clear();
    world.say(Reply::Heard { session, what: Heard::NoLongerSubscribed });
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: evicted, from 60.000
    60.000 s1 close
    60.097 s1 open channel
    60.117 s1 subscribe
    60.137 s1 connect
    62.157 gap closed: resubscribed
    "#);
}

#[test]
fn a_channel_that_the_platform_forgot_is_found_out_at_the_handshake() {
    let mut world = World::live(1);
    world.channels.clear();
    world.lose(world.session(), Reason::Closed);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: closed, from 45.120
    60.000 s1 close
    60.097 s1 connect
    60.463 s1 open channel
    60.483 s1 subscribe
    60.503 s1 connect
    62.523 gap closed: resubscribed
    "#);
}

#[test]
fn a_retry_after_on_the_handshake_is_waited_for() {
    let mut world = World::live(1);
    let retry_after = Some(Duration::from_secs(20));
    world.refuse_handshake.push_back(Refusal { retry_after, ..refusal(Reason::Throttled) });
    world.lose(world.session(), Reason::Cut);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: cut, from 45.120
    60.000 s1 close
    60.097 s1 connect
    80.463 s1 connect
    80.503 gap closed: resumed
    "#);
}

#[test]
fn a_rejected_secret_is_tried_with_back_off_and_the_live_session_is_kept() {
    let mut world = World::live(1);
    world.refuse_login.extend(vec![refusal(Reason::CredentialsRejected); 6]);
    world.rotate();
    world.run(MINUTE * 3);
    insta::assert_snapshot!(world.transcript, @r#"
    62.923 request token
    63.012 request token
    63.246 request token
    63.441 request token
    63.971 request token
    67.841 request token
    70.970 request token
    70.990 rotation: secret
    70.990 s2 open channel
    71.010 s2 subscribe
    71.030 s2 connect
    75.050 s1 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_missing_permission_parks_the_session_and_a_fresh_token_wakes_it() {
    let mut world = World::new(1);
    world.refuse_rest.push_back(refusal(Reason::Forbidden));
    world.run(MINUTE);
    world.rotate();
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
     0.000 request token
     0.040 s1 open channel
    62.074 request token
    62.094 s1 open channel
    62.114 s1 subscribe
    62.134 s1 connect
    "#);
}

#[test]
fn a_revoked_token_costs_a_named_gap_and_a_fresh_channel() {
    let mut world = World::live(1);
    let session = world.session();
    world.say(Reply::Heard { session, what: Heard::TokenRevoked });
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: token_revoked, from 60.000
    60.000 s1 close
    60.069 request token
    60.097 s1 open channel
    60.117 s1 subscribe
    60.137 s1 connect
    62.157 gap closed: resubscribed
    "#);
}

#[test]
fn a_predecessor_that_was_dead_before_its_successor_lived_is_a_named_gap() {
    let mut world = World::live(1);
    let session = world.session();
    world.mute.insert(session);
    world.rotate();
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    62.923 request token
    62.943 rotation: secret
    62.943 s2 open channel
    62.963 s2 subscribe
    62.983 s2 connect
    80.120 gap opened: silent, from 45.120
    80.120 gap closed: resubscribed
    80.120 s1 close
    "#);
    assert_eq!(world.unnamed(), None);
}

#[test]
fn a_fresh_secret_does_not_shorten_the_logins_retry_after() {
    let mut world = World::live(1);
    let retry_after = Some(MINUTE * 5);
    world.refuse_login.push_back(Refusal { retry_after, ..refusal(Reason::Throttled) });
    world.rotate();
    world.run(MINUTE);
    world.rotate();
    world.run(MINUTE * 6);
    assert_eq!(world.hasty, []);
    assert_eq!(world.count(|command| *command == Command::RequestToken), 2);
}

#[test]
fn a_retry_after_holds_for_every_shard_of_the_client() {
    let mut world = World::live_with(1, 3);
    let retry_after = Some(MINUTE);
    world.refuse_handshake.push_back(Refusal { retry_after, ..refusal(Reason::Throttled) });
    for session in world.sockets.values().copied().collect::<Vec<_>>() {
        world.lose(session, Reason::Cut);
        world.run(Duration::from_secs(5));
    }
    world.run(MINUTE * 2);
    assert_eq!(world.hasty, []);
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
}

#[test]
fn a_login_that_stays_refused_to_the_tokens_end_makes_one_successor_and_no_more() {
    let mut world = World::live(1);
    world.refuse_login.extend(vec![refusal(Reason::CredentialsRejected); 20_000]);
    world.rotate();
    world.run(Duration::from_secs(86_400) * 2);
    let channels = world.count(|command| matches!(command, Command::OpenChannel { .. }));
    assert!(channels <= 1, "{channels} channels\n{}", world.transcript);
    assert!(world.gaps.is_empty(), "{:?}", world.gaps);
}

#[test]
fn a_list_of_topics_that_401_refuses_is_asked_for_with_back_off() {
    let mut world = World::new(1);
    world.refuse_list.extend(vec![refusal(Reason::Unauthorized); 1_000]);
    world.run(MINUTE * 10);
    let logins = world.count(|command| *command == Command::RequestToken);
    assert!(logins < 60, "{logins} logins in ten minutes");
}

#[test]
fn a_second_list_of_topics_changes_nothing_while_sessions_live() {
    let mut world = World::live(1);
    world.say(Reply::TopicsRefused { refusal: refusal(Reason::Timeout) });
    world.say(Reply::TopicsListed { topics: Vec::new(), unknown: Vec::new(), calls: 1 });
    world.run(MINUTE * 10);
    assert!(world.lifecycle.is_covered());
    assert_eq!(world.count(|command| matches!(command, Command::ListTopics { .. })), 0);
    assert_eq!(world.transcript, "");
}

#[test]
fn a_channel_that_is_being_made_is_waited_for_although_a_successor_lives() {
    let mut world = World::live(1);
    let session = world.session();
    world.say(Reply::Heard { session, what: Heard::ClosingNotice });
    world.run(Duration::from_millis(1_900));
    world.channels.remove(world.sockets.iter().find(|(_, of)| **of == session).expect("open").0);
    world.slow_channels = Duration::from_secs(30);
    world.say(Reply::Heard { session, what: Heard::NoLongerSubscribed });
    world.run(MINUTE * 2);
    let made = world.count(|command| matches!(command, Command::OpenChannel { .. }));
    assert_eq!((made, world.lifecycle.channels()), (2, 2), "{}", world.transcript);
}
