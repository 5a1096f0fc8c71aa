//! Channels that change hands: what is asked for may not come, and what is said may come when nobody waits for it any more.

use super::makers::crowd;
use super::world::{World, config, refusal};
use crate::lifecycle::{Call, Command, Config, Reason, Refusal, Reply, SessionId, State};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn throttled(wait: Duration) -> Refusal {
    Refusal { retry_after: Some(wait), ..refusal(Reason::Throttled) }
}

#[test]
fn a_channel_gives_its_place_only_to_one_that_comes() {
    let unmade = [Reason::Unreachable, Reason::Throttled, Reason::Timeout, Reason::Unavailable];
    for (seed, reason) in unmade.into_iter().enumerate() {
        for failures in [1, 2, 3] {
            let mut world = crowd(19, 1);
            // Refused at the turns that the end of the first maker calls for, at every one of which there is no room.
            world.serial += seed as u64;
            world.run(HOUR - MINUTE * 10);
            world.refuse_open.extend(vec![refusal(reason); failures]);
            world.run(HOUR + MINUTE * 10);
            assert_eq!(world.refuse_open.len(), 0, "there were turns");
            assert_eq!(world.gaps, [], "{reason} {failures}\n{}", world.transcript);
            assert_eq!((world.unnamed(), world.evicted_live), (None, 0), "{reason} {failures}");
            let (known, counted) = (world.channels.len(), world.lifecycle.channels(world.now));
            assert!(known <= counted && counted <= 20, "{known} of {counted}");
        }
    }
}

#[test]
fn room_is_not_made_before_the_platform_knows_that_a_socket_is_closed() {
    for closing in [0, 300, 900] {
        let mut world = crowd(19, 1);
        world.closing = Duration::from_millis(closing);
        world.run(HOUR * 2);
        assert!(world.evicted > 0);
        assert_eq!((world.evicted_live, world.gaps.len()), (0, 0), "{closing} ms");
    }
}

#[test]
fn a_channel_that_is_being_made_for_a_shard_that_is_gone_is_not_lost_from_sight() {
    let mut world = World::with(Config { queues_refresh: MINUTE, ..config() }, 1);
    world.shards = 2;
    world.slow_channels = Duration::from_secs(50);
    let all = super::platform::topics(2);
    world.run(Duration::from_secs(1));
    assert_eq!(world.count(|command| matches!(command, Command::OpenChannel { .. })), 2);
    // What two lists in a row lack, is gone.
    world.listed = Some(all[..10].to_vec());
    world.choose();
    world.run(Duration::from_secs(20));
    assert_eq!(world.lifecycle.sessions().count(), 1);
    world.run(MINUTE * 3);
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    let (known, counted) = (world.channels.len(), world.lifecycle.channels(world.now));
    assert_eq!((known, counted), (2, 2), "{}", world.transcript);
}

#[test]
fn what_an_answer_says_of_the_client_holds_although_its_session_is_gone() {
    let wait = MINUTE * 3;
    for call in [Call::Rest, Call::Channel] {
        let mut world = World::live(1);
        world.say(Reply::Refused { session: SessionId(99), call, refusal: throttled(wait) });
        world.order_rotation();
        world.run(wait - Duration::from_secs(1));
        let is_call = |command: &Command| {
            matches!(command, Command::OpenChannel { .. } | Command::ListChannels { .. })
        };
        assert_eq!(world.count(is_call), 0, "{}", world.transcript);
        world.run(MINUTE);
        assert_eq!(world.told("rotation over"), 1);
    }
    let mut world = World::live(1);
    let call = Call::Handshake;
    world.say(Reply::Refused { session: SessionId(99), call, refusal: throttled(wait) });
    let session = world.session();
    world.lose(session, Reason::Cut);
    world.run(wait - Duration::from_secs(1));
    assert_eq!(world.count(|command| matches!(command, Command::Connect { .. })), 0);
    world.run(MINUTE);
    assert!(world.lifecycle.is_covered());
}

#[test]
fn an_answer_to_an_earlier_call_is_not_taken_for_one_to_the_call_under_way() {
    let mut world = World::live(1);
    let session = world.session();
    world.lose(session, Reason::Cut);
    let connects = |world: &World| {
        let mut sessions = world.lifecycle.sessions();
        sessions.any(|session| matches!(session.state, State::Connecting { .. }))
    };
    while !connects(&world) {
        world.run(Duration::from_millis(1));
    }
    // That a channel could not be made for it is old.
    world.say(Reply::Refused { session, call: Call::Rest, refusal: refusal(Reason::Forbidden) });
    world.run(Duration::from_secs(1));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
}

#[test]
fn who_is_alone_takes_a_doubtful_channel_rather_than_wait_for_a_list_that_does_not_come() {
    let mut world = World::live(1);
    world.run(MINUTE * 5);
    let session = world.session();
    world.silent_lists = true;
    // The channel is there in truth: a gateway was mistaken.
    world.refuse_handshake.push_back(refusal(Reason::ChannelGone));
    world.lose(session, Reason::Cut);
    world.run(Duration::from_secs(8));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!(world.count(|command| matches!(command, Command::OpenChannel { .. })), 0);
}

#[test]
fn a_list_that_comes_in_time_is_waited_for() {
    let mut world = World::live(1);
    world.run(MINUTE * 5);
    let session = world.session();
    world.refuse_handshake.push_back(refusal(Reason::ChannelGone));
    world.lose(session, Reason::Cut);
    world.run(Duration::from_secs(4));
    assert!(world.lifecycle.is_covered(), "{}", world.transcript);
    assert_eq!(world.count(|command| matches!(command, Command::OpenChannel { .. })), 1);
}
