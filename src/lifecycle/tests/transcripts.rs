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
    0.020 list channels
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
    world.hear(session, Heard::ClosingNotice);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 rotation: closing_notice
    60.000 s2 open channel
    60.020 s2 subscribe
    60.040 s2 connect
    64.060 rotation over: closing_notice, after 2.000 s of both
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
    62.943 list channels
    62.963 s2 open channel
    62.983 s2 subscribe
    63.003 s2 connect
    67.023 rotation over: secret, after 2.000 s of both
    67.023 s1 close
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
     85500.040 list channels
     85500.060 s2 open channel
     85500.080 s2 subscribe
     85500.100 s2 connect
     85504.120 rotation over: token_expiry, after 2.000 s of both
     85504.120 s1 close
    171000.040 request token
    171000.060 rotation: token_expiry
    171000.060 list channels
    171000.080 s3 open channel
    171000.100 s3 subscribe
    171000.120 s3 connect
    171004.140 rotation over: token_expiry, after 2.000 s of both
    171004.140 s2 close
    256500.060 request token
    256500.080 rotation: token_expiry
    256500.080 list channels
    256500.100 s4 open channel
    256500.120 s4 subscribe
    256500.140 s4 connect
    256504.160 rotation over: token_expiry, after 2.000 s of both
    256504.160 s3 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn an_evicted_channel_is_replaced_by_another() {
    let mut world = World::live(1);
    let session = world.session();
    world.channels.clear();
    world.hear(session, Heard::NoLongerSubscribed);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: evicted, from 60.000
    60.000 s1 close
    60.097 list channels
    60.117 s1 open channel
    60.137 s1 subscribe
    60.157 s1 connect
    62.177 gap closed: resubscribed
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
    60.463 list channels
    60.483 s1 open channel
    60.503 s1 subscribe
    60.523 s1 connect
    62.543 gap closed: resubscribed
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
    70.990 list channels
    71.010 s2 open channel
    71.030 s2 subscribe
    71.050 s2 connect
    75.070 rotation over: secret, after 2.000 s of both
    75.070 s1 close
    "#);
    assert!(world.gaps.is_empty());
}

#[test]
fn a_missing_permission_parks_the_session_and_a_fresh_token_wakes_it() {
    let mut world = World::new(1);
    // The channels are counted by then.
    world.run(Duration::from_millis(30));
    world.refuse_rest.push_back(refusal(Reason::Forbidden));
    world.run(MINUTE);
    world.rotate();
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
     0.000 request token
     0.020 list channels
     0.040 s1 open channel
    62.104 request token
    62.124 list channels
    62.144 s1 open channel
    62.164 s1 subscribe
    62.184 s1 connect
    "#);
}

#[test]
fn a_revoked_token_costs_a_named_gap_and_no_channel() {
    let mut world = World::live(1);
    let session = world.session();
    world.hear(session, Heard::TokenRevoked);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: token_revoked, from 60.000
    60.000 s1 close
    60.069 request token
    60.097 s1 subscribe
    60.117 s1 connect
    62.137 gap closed: resubscribed
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
    62.943 list channels
    62.963 s2 open channel
    62.983 s2 subscribe
    63.003 s2 connect
    80.120 gap opened: silent, from 45.120
    80.120 gap closed: resubscribed
    80.120 rotation over: secret, after 15.097 s of both
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
    // The platform closes the socket with the token; the channel is still there.
    let causes: Vec<Reason> = world.gaps.iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [Reason::Closed], "{:?}", world.gaps);
    assert!(world.lifecycle.is_covered());
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
    world.say(Reply::TopicsRefused { refusal: refusal(Reason::Timeout), anew: false });
    world.say(Reply::TopicsListed { topics: Vec::new(), unknown: Vec::new() });
    world.run(MINUTE * 10);
    assert!(world.lifecycle.is_covered());
    assert_eq!(world.count(|command| matches!(command, Command::ListTopics { .. })), 0);
    assert_eq!(world.transcript, "");
}

#[test]
fn a_channel_that_is_being_made_is_waited_for_although_a_successor_lives() {
    let mut world = World::live(1);
    let session = world.session();
    world.hear(session, Heard::ClosingNotice);
    world.run(Duration::from_millis(1_900));
    world.channels.remove(world.sockets.iter().find(|(_, of)| **of == session).expect("open").0);
    world.slow_channels = Duration::from_secs(30);
    world.hear(session, Heard::NoLongerSubscribed);
    world.run(MINUTE * 2);
    let made = world.count(|command| matches!(command, Command::OpenChannel { .. }));
    // The one that was evicted counts until its next use shows that it is gone.
    assert_eq!((made, world.lifecycle.channels(world.now)), (2, 3), "{}", world.transcript);
}

#[test]
fn an_answer_that_arrives_just_before_a_retry_after_is_still_acted_upon() {
    // The topics of s2 are taken in the instant in which s3 is told to wait, and a moment before it.
    let mut world = World::live_with(4, 3);
    let throttled = |wait| {
        let retry_after = Some(Duration::from_secs(wait));
        Refusal { retry_after, ..refusal(Reason::Throttled) }
    };
    let sessions: Vec<_> = world.sockets.values().copied().collect();
    world.refuse_handshake.push_back(throttled(1));
    world.hear(sessions[0], Heard::NoLongerSubscribed);
    world.hear(sessions[2], Heard::NoLongerSubscribed);
    // The channels are counted by then.
    world.run(Duration::from_millis(60));
    world.refuse_rest.push_back(throttled(10));
    world.run(Duration::from_millis(940));
    world.hear(sessions[1], Heard::NoLongerSubscribed);
    world.run(MINUTE * 2);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 gap opened: evicted, from 60.000
    60.000 s1 close
    60.000 gap opened: evicted, from 60.000
    60.000 s3 close
    60.053 list channels
    60.073 s1 open channel
    60.073 s3 open channel
    61.000 gap opened: evicted, from 61.000
    61.000 s2 close
    70.093 s2 open channel
    70.093 s3 subscribe
    70.113 s2 subscribe
    70.113 s3 connect
    70.133 s2 connect
    70.380 s1 open channel
    70.400 s1 subscribe
    71.133 s1 connect
    71.445 s3 connect
    72.153 gap closed: resubscribed
    73.153 gap closed: resubscribed
    73.465 gap closed: resubscribed
    "#);
    assert_eq!(world.hasty, []);
}

#[test]
fn an_operators_order_replaces_every_session_in_turn() {
    let mut world = World::live_with(1, 2);
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
fn sessions_that_are_announced_to_close_as_soon_as_they_live_are_replaced_ever_more_rarely() {
    let mut world = World::live(1);
    let end = world.now + MINUTE * 10;
    let mut noticed = None;
    while world.now < end {
        let newest = world.session();
        if noticed != Some(newest) && world.lifecycle.sessions().all(|session| session.delivers()) {
            noticed = Some(newest);
            world.hear(newest, Heard::ClosingNotice);
        }
        world.run(Duration::from_millis(100));
    }
    let (begun, ended) = (world.told("rotation: "), world.told("rotation over: "));
    assert!((25..80).contains(&begun), "{begun} rotations in ten minutes\n{}", world.transcript);
    assert!(begun - ended <= 1, "{begun} began, {ended} ended");
    assert_eq!(world.gaps, []);
}

#[test]
fn a_chain_of_rotations_tells_the_end_of_each() {
    let mut world = World::live(1);
    world.hear(world.session(), Heard::ClosingNotice);
    world.run(Duration::from_millis(2_200));
    world.hear(world.session(), Heard::ClosingNotice);
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    60.000 rotation: closing_notice
    60.000 s2 open channel
    60.020 s2 subscribe
    60.040 s2 connect
    62.200 rotation: closing_notice
    64.060 rotation over: closing_notice, after 2.000 s of both
    64.060 s1 close
    64.200 s3 subscribe
    64.220 s3 connect
    68.240 rotation over: closing_notice, after 2.000 s of both
    68.240 s2 close
    "#);
}

#[test]
fn a_request_for_a_channel_without_an_answer_is_looked_into_before_another_is_made() {
    let mut world = World::new(1);
    world.lose_answers = 1;
    world.run(MINUTE);
    insta::assert_snapshot!(world.transcript, @r#"
    0.000 request token
    0.020 list channels
    0.040 s1 open channel
    0.060 list channels
    0.157 s1 subscribe
    0.177 s1 connect
    "#);
    assert_eq!((world.channels.len(), world.lifecycle.channels(world.now)), (1, 1));
}

#[test]
fn where_the_platform_lists_no_channels_what_is_in_doubt_counts() {
    let mut world = World::new(1);
    world.lose_answers = 3;
    world.lists_no_channels = true;
    world.run(MINUTE);
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!(world.channels.len(), 4);
    assert!(world.lifecycle.channels(world.now) >= 4);
}

#[test]
fn a_rotation_waits_for_the_spare_whose_maker_is_about_to_end() {
    // The two channels were made by two tokens that end five minutes apart; the first is the spare, a minute before its maker's end.
    let mut world = World::live(1);
    world.run(Duration::from_secs(300));
    world.rotate();
    world.run(Duration::from_secs(86_400) - Duration::from_secs(410));
    world.transcript.clear();
    world.order_rotation();
    world.run(MINUTE * 10);
    insta::assert_snapshot!(world.transcript, @r#"
    86350.000 rotation: operator
    86403.000 s5 subscribe
    86403.020 s5 connect
    86407.040 rotation over: operator, after 2.000 s of both
    86407.040 s4 close
    "#);
    assert!(world.gaps.is_empty());
}
