//! Each switch of undocumented behaviour in its other position, and faults of REST.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tieline_sim::{Evicted, Options, RetryAfter, Switches, TokenEnd};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Client, quiet};

async fn with(switches: Switches) -> Client {
    Client::start(Options { switches, ..quiet() }).await
}

#[tokio::test]
async fn a_rotation_may_kill_tokens_and_sockets() {
    let client = with(Switches {
        rotation_kills_tokens: true,
        rotation_kills_sockets: true,
        ..Switches::default()
    })
    .await;
    let mut socket = client.listen(&[]).await;
    client.control("rotate", json!({})).await;
    socket.hear().await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    assert_eq!(client.raw("HEAD", "tokens/me", None).await.status(), 401);
}

#[tokio::test]
async fn the_end_of_a_token_may_end_its_channels_or_nothing_at_all() {
    let ends = with(Switches { token_end: TokenEnd::EndsChannels, ..Switches::default() }).await;
    let (_, uri) = ends.channel().await;
    ends.control("revoke", json!({})).await;
    assert!(tokio_tungstenite::connect_async(uri).await.is_err());

    let nothing = with(Switches { token_end: TokenEnd::Nothing, ..Switches::default() }).await;
    let mut socket = nothing.listen(&[]).await;
    nothing.control("revoke", json!({})).await;
    socket.ping().await;
}

#[tokio::test]
async fn a_channel_may_belong_to_its_token_alone() {
    let mut client = with(Switches { channel_needs_its_token: true, ..Switches::default() }).await;
    let (id, _) = client.channel().await;
    let path = format!("notifications/channels/{id}");
    assert_eq!(client.raw("HEAD", &path, None).await.status(), 200);
    client.token = client.log_in().await;
    assert_eq!(client.raw("HEAD", &path, None).await.status(), 404);
}

#[tokio::test]
async fn an_evicted_socket_may_see_a_close_or_a_reset_or_nothing() {
    for (evicted_sees, expected) in
        [(Evicted::Close, "close"), (Evicted::Reset, "reset"), (Evicted::Silence, "silence")]
    {
        let client = with(Switches { evicted_sees, ..Switches::default() }).await;
        let (id, uri) = client.channel().await;
        let mut first = client.connect(&id, &uri).await;
        first.ping().await;
        let mut second = client.connect(&id, &uri).await;
        second.ping().await;
        let seen = match expected {
            "silence" => {
                first.say(json!({"message": "ping"})).await;
                second.ping().await;
                "silence"
            }
            _ => match first.next().await {
                Some(Ok(Message::Close(_))) => "close",
                Some(Err(Error::Io(_))) => "reset",
                other => panic!("{other:?}"),
            },
        };
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_changed_subscription_may_take_its_time() {
    let client = with(Switches { settle_ms: 1500, ..Switches::default() }).await;
    let topic = client.users_topic();
    let mut socket = client.listen(std::slice::from_ref(&topic)).await;
    client.emit(&topic, json!({"early": true})).await;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let frame = loop {
        tokio::select! {
            frame = socket.hear() => break frame,
            _ = tick.tick() => { client.emit(&topic, json!({"early": false})).await; }
        }
    };
    assert_eq!(frame["eventBody"]["early"], false);
}

#[tokio::test]
async fn subscribing_may_leave_the_expiry_alone() {
    let client = with(Switches { subscribing_extends: false, ..Switches::default() }).await;
    let (id, _) = client.channel().await;
    let expires = async || {
        client.api("GET", &format!("notifications/channels/{id}"), None).await.1["expires"].clone()
    };
    let before = expires().await;
    client.subscribe(&id, &[client.users_topic()]).await;
    assert_eq!(before, expires().await);
}

#[tokio::test]
async fn a_handshake_may_be_refused_in_other_words_and_a_wait_given_as_a_date() {
    let client =
        with(Switches { refused_with: 410, retry_after: RetryAfter::Date, ..Switches::default() })
            .await;
    let (_, uri) = client.channel().await;
    match tokio_tungstenite::connect_async(format!("{uri}x")).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 410),
        other => panic!("{other:?}"),
    }
    let asked = json!({"what": "rest", "retry_after_s": 30, "for_ms": 60_000});
    client.control("throttle", asked).await;
    let reply = client.raw("GET", "routing/queues", None).await;
    let date = reply.headers()["retry-after"].to_str().unwrap();
    assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
}

#[tokio::test]
async fn switches_are_turned_while_it_runs() {
    let client = Client::start(quiet()).await;
    let all = client.control("switch", json!({"refused_with": 403})).await;
    assert_eq!(all["refused_with"], 403);
    let url = format!("{}/sim/switch", client.sim.control_url());
    let wrong = client.http.post(url).json(&json!({"no_such": 1})).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn rest_may_be_slow_or_hang_or_fail() {
    let client = Client::start(quiet()).await;
    client.control("throttle", json!({"what": "rest", "delay_ms": 200, "for_ms": 60_000})).await;
    let began = Instant::now();
    assert_eq!(client.raw("HEAD", "tokens/me", None).await.status(), 200);
    assert!(began.elapsed() >= Duration::from_millis(200));
    client.control("throttle", json!({"what": "rest", "status": 503, "for_ms": 60_000})).await;
    let (status, body) = client.api("GET", "tokens/me", None).await;
    assert_eq!((status, &body["code"]), (503, &json!("service.unavailable")));
    client.control("throttle", json!({"what": "rest", "hang": true, "for_ms": 60_000})).await;
    let hung = client.raw("HEAD", "tokens/me", None);
    assert!(tokio::time::timeout(Duration::from_millis(200), hung).await.is_err());
}

#[tokio::test]
async fn a_login_may_flap() {
    let client = Client::start(quiet()).await;
    let asked = json!({"what": "token", "status": 503, "every": 2, "for_ms": 60_000});
    client.control("throttle", asked).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let (id, secret) = (client.sim.client_id(), client.sim.client_secret());
        told.push(client.ask_token(id, secret).await.0);
    }
    assert_eq!(told, [200, 503, 200, 503]);
}

#[tokio::test]
async fn handshakes_may_be_limited_by_the_second() {
    let client = with(Switches { handshakes_per_second: 2, ..Switches::default() }).await;
    let (id, uri) = client.channel().await;
    let mut refused = 0;
    // Ten in a row take far less than the five seconds that would let all of them in.
    for _ in 0..10 {
        match tokio_tungstenite::connect_async(&uri).await {
            Ok(_) => {}
            Err(Error::Http(response)) => {
                assert_eq!(
                    (response.status().as_u16(), &response.headers()["retry-after"]),
                    (429, &"1".parse().unwrap())
                );
                refused += 1;
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn logins_may_be_limited_by_the_second() {
    let client = with(Switches { logins_per_second: 2, ..Switches::default() }).await;
    let mut refused = 0;
    for _ in 0..10 {
        let (id, secret) = (client.sim.client_id(), client.sim.client_secret());
        refused += usize::from(client.ask_token(id, secret).await.0 == 429);
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_wait_may_be_a_date_on_the_handshake_too() {
    let client = with(Switches { retry_after: RetryAfter::Date, ..Switches::default() }).await;
    let (_, uri) = client.channel().await;
    let asked = json!({"what": "handshake", "retry_after_s": 30, "for_ms": 60_000});
    client.control("throttle", asked).await;
    let before = SystemTime::now();
    match tokio_tungstenite::connect_async(uri).await {
        Err(Error::Http(response)) => {
            let date = response.headers()["retry-after"].to_str().unwrap();
            let date = httpdate::parse_http_date(date).unwrap();
            let soonest = before + Duration::from_secs(29);
            let latest = SystemTime::now() + Duration::from_secs(31);
            assert!((soonest..=latest).contains(&date), "{date:?}");
        }
        other => panic!("{other:?}"),
    }
}
