//! One test for each row of the table of reasons: what the lifecycle does next.

use super::world::{World, refusal};
use crate::lifecycle::{Answer, Command, Heard, Reason, SessionId};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Where a failure strikes.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The open socket ends so.
    Socket,
    /// The open socket says it.
    Word(Heard),
    /// It falls silent.
    Silence,
    /// The socket is cut, and the next handshake is refused so.
    Handshake,
    /// A call of the successor of a rotation is refused so.
    Call,
    /// The next logins are refused so.
    Login,
}

/// What was asked for after a failure, in the order of the first times.
fn asked_after(at: At, reason: Reason, time: Duration) -> (World, Vec<&'static str>) {
    let mut world = World::live(1);
    let session = world.session();
    match at {
        At::Socket => world.lose(session, reason),
        At::Word(what) => world.hear(session, what),
        At::Silence => drop(world.mute.insert(session)),
        At::Handshake => {
            world.refuse_handshake.push_back(refusal(reason));
            world.lose(session, Reason::Cut);
        }
        At::Call => {
            world.refuse_rest.push_back(refusal(reason));
            world.order_rotation();
        }
        At::Login => {
            world.refuse_login.extend(vec![refusal(reason); 3]);
            world.rotate();
        }
    }
    world.run(time);
    let mut names = Vec::new();
    for (_, command) in &world.asked {
        let name = match command {
            Command::RequestToken => "login",
            Command::OpenChannel { .. } => "open",
            Command::Subscribe { .. } => "subscribe",
            Command::Connect { .. } => "connect",
            Command::ListTopics { .. }
            | Command::Amend { .. }
            | Command::ListChannels { .. }
            | Command::Ping { .. }
            | Command::Close { .. }
            | Command::Forget { .. }
            | Command::ReadSnapshots { .. } => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (world, names)
}

fn holds(reason: Reason, at: At) {
    let name = reason.as_str();
    match reason.answer() {
        Answer::SameChannel => {
            let (world, asked) = asked_after(at, reason, MINUTE * 3);
            match at {
                // A successor's own failure leaves the predecessor as it is.
                At::Call => assert!(world.gaps.is_empty(), "{name}: {}", world.transcript),
                At::Socket | At::Word(_) | At::Silence | At::Handshake | At::Login => {
                    assert_eq!(asked, ["connect"], "{name}: {}", world.transcript)
                }
            }
            assert_eq!(world.session(), SessionId(if matches!(at, At::Call) { 2 } else { 1 }));
            assert!(world.lifecycle.is_covered(), "{name}: {}", world.transcript);
        }
        Answer::NewChannel => {
            let (world, asked) = asked_after(at, reason, MINUTE);
            let asked: Vec<_> = asked.into_iter().filter(|name| *name != "connect").collect();
            assert_eq!(asked, ["open", "subscribe"], "{name}: {}", world.transcript);
            assert!(world.lifecycle.is_covered(), "{name}: {}", world.transcript);
        }
        Answer::NewToken => {
            let (world, asked) = asked_after(at, reason, MINUTE);
            let first = asked.iter().position(|name| *name == "login");
            let then = asked.iter().position(|name| *name == "subscribe");
            assert!(first.is_some() && first < then, "{name}: {}", world.transcript);
            assert!(world.lifecycle.is_covered(), "{name}: {}", world.transcript);
        }
        Answer::NewSecret => {
            let (world, _) = asked_after(at, reason, MINUTE);
            // Tried again with back-off, and the live session is kept meanwhile.
            assert_eq!(world.told("request token"), 4, "{name}: {}", world.transcript);
            assert!(world.gaps.is_empty(), "{name}: {}", world.transcript);
        }
        Answer::Park => {
            let (mut world, _) = asked_after(at, reason, MINUTE * 4);
            let calls = |world: &World| {
                world.count(|command| {
                    matches!(
                        command,
                        Command::OpenChannel { .. }
                            | Command::Subscribe { .. }
                            | Command::RequestToken
                    )
                })
            };
            assert_eq!(calls(&world), 1, "{name} is tried hot: {}", world.transcript);
            // Looked at again every five minutes, and at once when the secret changes.
            world.rotate();
            world.run(MINUTE / 6);
            assert!(calls(&world) > 1, "{name} sleeps: {}", world.transcript);
            let (world, _) = asked_after(at, reason, MINUTE * 6);
            assert!(calls(&world) > 1, "{name} sleeps: {}", world.transcript);
            assert!(world.gaps.is_empty(), "{name}: {}", world.transcript);
        }
    }
}

macro_rules! rows {
    ($($test:ident: $reason:ident, $($at:expr),+;)+) => {
        $(
            #[test]
            fn $test() {
                for at in [$($at),+] {
                    holds(Reason::$reason, at);
                }
            }
        )+

        #[test]
        fn every_row_of_the_table_has_its_test() {
            let tested = [$(Reason::$reason),+];
            assert_eq!(tested, Reason::ALL);
        }
    };
}

rows! {
    after_a_close_the_channel_is_kept: Closed, At::Socket;
    after_a_cut_the_channel_is_kept: Cut, At::Socket, At::Handshake, At::Call;
    after_silence_the_channel_is_kept: Silent, At::Silence, At::Socket;
    after_an_announced_close_the_channel_is_kept: ClosingNotice, At::Socket;
    after_an_eviction_another_channel_is_taken: Evicted, At::Word(Heard::NoLongerSubscribed), At::Socket;
    after_the_revocation_of_a_token_another_is_bought: TokenRevoked, At::Word(Heard::TokenRevoked), At::Socket;
    after_a_broken_protocol_the_channel_is_kept: Protocol, At::Socket, At::Handshake;
    while_the_host_is_unreachable_the_channel_is_kept: Unreachable, At::Handshake, At::Call;
    while_no_name_is_found_the_channel_is_kept: Dns, At::Handshake, At::Call;
    while_the_proxy_refuses_the_channel_is_kept: Proxy, At::Handshake, At::Call;
    while_tls_fails_the_channel_is_kept: Tls, At::Handshake, At::Call;
    after_a_timeout_the_channel_is_kept: Timeout, At::Handshake, At::Call;
    a_token_that_is_refused_is_replaced: Unauthorized, At::Call;
    a_secret_that_is_refused_is_watched: CredentialsRejected, At::Login;
    a_source_without_a_secret_is_watched: SecretUnavailable, At::Login;
    a_missing_permission_parks: Forbidden, At::Call, At::Login;
    a_channel_that_is_gone_is_replaced: ChannelGone, At::Handshake;
    while_the_platform_throttles_the_channel_is_kept: Throttled, At::Handshake, At::Call;
    while_the_platform_is_unavailable_the_channel_is_kept: Unavailable, At::Handshake, At::Call;
    what_nobody_expects_parks: Unexpected, At::Call, At::Login;
}
