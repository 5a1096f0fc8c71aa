//! Faults asked for by hand.

use std::time::Duration;

use serde_json::json;
use tieline_sim::Options;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Client, eventually, quiet};

#[tokio::test]
async fn a_socket_ends_as_it_is_told_to() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    socket.ping().await;
    client.control("close", json!({"channel": socket.channel, "mode": "rst"})).await;
    assert!(matches!(socket.next().await, Some(Err(Error::Io(_)))));

    let mut socket = client.listen(&[]).await;
    socket.ping().await;
    client.control("close", json!({"channel": socket.channel, "mode": "fin"})).await;
    let lost = socket.next().await;
    assert!(
        matches!(&lost, Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))),
        "{lost:?}"
    );

    let mut socket = client.listen(&[]).await;
    socket.ping().await;
    client.control("close", json!({"mode": "code", "code": 1012, "reason": "restart"})).await;
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("no close") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1012, "restart"));

    let kinds: Vec<String> =
        client.sim.journal().faults.into_iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, ["close.rst", "close.fin", "close.1012"]);
}

#[tokio::test]
async fn a_silenced_socket_drops_what_it_should_have_said() {
    let client = Client::start(quiet()).await;
    let topic = client.users_topic();
    let mut silenced = client.listen(std::slice::from_ref(&topic)).await;
    silenced.ping().await;
    client.control("silence", json!({"for_ms": 60_000})).await;
    let mut other = client.listen(std::slice::from_ref(&topic)).await;
    client.emit(&topic, json!({"joined": true})).await;
    other.hear().await;
    let journal = client.sim.journal();
    let heard = |channel: &str| journal.deliveries.iter().any(|entry| entry.channel == channel);
    eventually(|| {
        let delivered = client.sim.journal().deliveries;
        delivered.iter().any(|entry| entry.channel == other.channel).then_some(())
    })
    .await;
    assert!(!heard(&silenced.channel));
}

#[tokio::test]
async fn a_silence_that_resumes_lets_later_notifications_through() {
    let client = Client::start(quiet()).await;
    let topic = client.users_topic();
    let mut socket = client.listen(std::slice::from_ref(&topic)).await;
    socket.ping().await;
    client.control("silence", json!({"for_ms": 1500, "resume": true})).await;
    client.emit(&topic, json!({"heard": false})).await;
    let mut tick = tokio::time::interval(Duration::from_millis(40));
    loop {
        tokio::select! {
            _ = tick.tick() => { client.emit(&topic, json!({"heard": true})).await; }
            frame = socket.hear() => {
                assert_eq!(frame["eventBody"]["heard"], true);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_closing_notice_is_followed_by_the_close() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    socket.ping().await;
    client.control("socket-closing", json!({"after_ms": 50})).await;
    assert_eq!(socket.hear().await["topicName"], "v2.system.socket_closing");
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(_))))));
    let fault = &client.sim.journal().faults[0];
    assert_eq!((fault.kind.as_str(), fault.to.is_some()), ("socket-closing", true));
}

#[tokio::test]
async fn a_throttle_refuses_handshakes_and_says_when_to_come_back() {
    let client = Client::start(quiet()).await;
    let (_, uri) = client.channel().await;
    let asked = json!({"what": "handshake", "retry_after_s": 7, "for_ms": 60_000});
    client.control("throttle", asked).await;
    match tokio_tungstenite::connect_async(&uri).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()["retry-after"], "7");
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(client.raw("GET", "routing/queues", None).await.status(), 200);
}

#[tokio::test]
async fn a_rotation_makes_the_old_secret_wrong_and_kills_nothing() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    let rotated = client.control("rotate", json!({"secret": "second"})).await;
    assert_eq!(rotated["client_secret"], "second");
    assert_eq!(client.ask_token(client.sim.client_id(), client.sim.client_secret()).await.0, 401);
    assert_eq!(client.ask_token(client.sim.client_id(), "second").await.0, 200);
    assert_eq!(client.raw("GET", "routing/queues", None).await.status(), 200);
    socket.ping().await;
}

#[tokio::test]
async fn a_revoked_token_closes_the_sockets_of_its_channels_and_the_channels_live_on() {
    let mut client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    client.control("revoke", json!({})).await;
    let told = socket.hear().await;
    assert_eq!(told["topicName"], format!("v2.system.token_revoked.{}", socket.channel));
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(_))))));
    assert_eq!(client.raw("GET", "routing/queues", None).await.status(), 401);
    client.token = client.log_in().await;
    let path = format!("notifications/channels/{}", socket.channel);
    assert_eq!(client.raw("HEAD", &path, None).await.status(), 200);
}

#[tokio::test]
async fn an_expired_token_closes_the_sockets_of_its_channels() {
    let options = Options { token_ttl: Duration::from_secs(3), ..quiet() };
    let client = Client::start(options).await;
    let mut socket = client.listen(&[]).await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(_))))));
}

#[tokio::test]
async fn headers_are_spelt_as_clients_look_them_up() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let client = Client::start(quiet()).await;
    let asked = json!({"what": "token", "retry_after_s": 7, "for_ms": 60_000});
    client.control("throttle", asked).await;
    let address = client.sim.login_url().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"POST /oauth/token HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("\r\nRetry-After: 7\r\n"), "{reply}");
}

#[tokio::test]
async fn a_channel_can_be_meant_by_the_age_of_its_socket() {
    let client = Client::start(quiet()).await;
    let mut first = client.listen(&[]).await;
    let mut second = client.listen(&[]).await;
    first.ping().await;
    let hit = client.control("close", json!({"channel": "#1", "mode": "code"})).await;
    assert_eq!(hit["channels"], json!([first.channel]));
    assert!(matches!(first.next().await, Some(Ok(Message::Close(_)))));
    second.ping().await;
    let url = format!("{}/sim/close", client.sim.control_url());
    let wrong = json!({"channel": "#9", "mode": "rst"});
    assert_eq!(client.http.post(url).json(&wrong).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_channel_can_be_evicted_or_expire_in_mid_stream() {
    let client = Client::start(quiet()).await;
    for (call, reason) in [("evict", "channel evicted"), ("expire", "channel expired")] {
        let (id, uri) = client.channel().await;
        let mut socket = client.connect(&id, &uri).await;
        socket.ping().await;
        let hit = client.control(call, json!({"channel": id})).await;
        assert_eq!(hit["channels"], json!([id]));
        if call == "evict" {
            let told = socket.hear().await;
            assert_eq!(told["topicName"], format!("v2.system.no_longer_subscribed.{id}"));
        }
        let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("no close") };
        assert_eq!(frame.reason.as_str(), reason);
        assert!(tokio_tungstenite::connect_async(&uri).await.is_err());
        let path = format!("notifications/channels/{id}");
        assert_eq!(client.raw("HEAD", &path, None).await.status(), 404);
    }
}

#[tokio::test]
async fn a_notice_may_come_without_a_close_and_a_close_without_a_notice() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    client.control("socket-closing", json!({"close": false})).await;
    assert_eq!(socket.hear().await["topicName"], "v2.system.socket_closing");
    socket.ping().await;
    client.control("socket-closing", json!({"notice": false, "after_ms": 0})).await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(_))))));
}

#[tokio::test]
async fn heartbeats_can_be_dropped_and_delayed() {
    let heartbeat = Duration::from_millis(200);
    let client = Client::start(Options { heartbeat, ..quiet() }).await;
    let mut socket = client.listen(&[]).await;
    let began = std::time::Instant::now();
    client.control("heartbeats", json!({"skip": 2, "delay_ms": 300})).await;
    assert_eq!(socket.hear().await["eventBody"]["message"], "WebSocket Heartbeat");
    // Two of 500 ms are left out before it; the first of them may have been due a little earlier.
    assert!(began.elapsed() >= Duration::from_millis(1200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_by_hand_is_told_to_the_byte() {
    let client = Client::start(quiet()).await;
    let topic = client.users_topic();
    let mut socket = client.listen(std::slice::from_ref(&topic)).await;
    let body = r#"{"z":1.50, "a":123456789012345678901234567890,"é":"\u00e9"}"#;
    let url = format!("{}/sim/emit", client.sim.control_url());
    let asked = format!("{{\"topic\":\"{topic}\",\"body\":{body}}}");
    assert_eq!(client.http.post(url).body(asked).send().await.unwrap().status(), 200);
    let heard = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(heard.contains(&format!("\"eventBody\":{body},")), "{heard}");
    assert_eq!(client.sim.journal().emissions[0].body.get(), body);
}
