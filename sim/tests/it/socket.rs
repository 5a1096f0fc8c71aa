//! What a well-behaved socket does.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Client, eventually, quiet};

#[tokio::test]
async fn a_notification_reaches_every_channel_that_asked_for_it_and_the_journal() {
    let client = Client::start(quiet()).await;
    let topic = client.users_topic();
    let mut one = client.listen(std::slice::from_ref(&topic)).await;
    let mut two = client.listen(std::slice::from_ref(&topic)).await;
    let mut none = client.listen(&[]).await;
    let number = client.emit(&topic, json!({"joined": true})).await;
    let frame = one.hear().await;
    assert_eq!(frame["topicName"], topic);
    assert_eq!(frame["eventBody"], json!({"joined": true}));
    assert_eq!(frame, two.hear().await);
    none.ping().await;

    let journal = eventually(|| {
        let journal = client.sim.journal();
        (journal.deliveries.len() == 2).then_some(journal)
    })
    .await;
    assert!(journal.deliveries.iter().all(|delivery| delivery.number == number));
    assert_eq!(journal.emissions[0].body.get(), "{\"joined\":true}");
    assert_eq!(journal.emissions[0].key, client.sim.queues()[0].id);
    assert_eq!(frame["metadata"]["CorrelationId"], journal.emissions[0].correlation_id);
}

#[tokio::test]
async fn the_second_socket_of_a_channel_evicts_the_first() {
    let client = Client::start(quiet()).await;
    let (id, uri) = client.channel().await;
    let mut first = client.connect(&id, &uri).await;
    first.ping().await;
    let mut second = client.connect(&id, &uri).await;
    let told = first.hear().await;
    assert_eq!(told["topicName"], format!("v2.system.no_longer_subscribed.{id}"));
    assert!(matches!(first.next().await, Some(Ok(Message::Close(Some(_))))));
    second.ping().await;
}

#[tokio::test]
async fn an_unknown_channel_is_refused_at_the_handshake() {
    let client = Client::start(quiet()).await;
    let (_, uri) = client.channel().await;
    let refused = tokio_tungstenite::connect_async(format!("{uri}x")).await;
    match refused {
        Err(Error::Http(response)) => assert_eq!(response.status(), 404),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn combined_topics_are_delivered_under_their_own_names() {
    let client = Client::start(quiet()).await;
    let queue = client.sim.queues()[0].id.clone();
    let mut socket =
        client.listen(&[format!("v2.routing.queues.{queue}?users&conversations")]).await;
    client.emit(&client.users_topic(), json!({})).await;
    assert_eq!(socket.hear().await["topicName"], client.users_topic());
}

#[tokio::test]
async fn a_time_stamp_instead_of_a_message_is_ignored() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    socket.say(json!("2026-11-24T15:00:00Z")).await;
    socket.ping().await;
}

#[tokio::test]
async fn a_socket_may_subscribe_for_itself_and_is_answered_in_strings() {
    let client = Client::start(quiet()).await;
    let topic = client.users_topic();
    let mut socket = client.listen(&[]).await;
    socket.say(json!({"message": "subscribe", "topics": [topic], "correlationId": "c1"})).await;
    let answer = socket.hear().await;
    let expected = json!({"result": "200", "status": "subscribed", "correlationId": "c1"});
    assert_eq!(answer, expected);
    client.emit(&topic, json!({})).await;
    assert_eq!(socket.hear().await["topicName"], topic);
    socket.say(json!({"message": "subscribe", "topics": ["nonsense"]})).await;
    let answer = socket.hear().await;
    assert_eq!((&answer["result"], &answer["status"]), (&json!("400"), &json!("failure")));
}

#[tokio::test]
async fn the_heart_beats_on_the_metadata_topic() {
    let options = tieline_sim::Options { heartbeat: Duration::from_millis(50), ..quiet() };
    let client = Client::start(options).await;
    let mut socket = client.listen(&[]).await;
    for _ in 0..2 {
        let beat = socket.hear().await;
        assert_eq!(beat["topicName"], "channel.metadata");
        assert_eq!(beat["eventBody"]["message"], "WebSocket Heartbeat");
    }
    client.control("heartbeats", json!({"skip": 1000})).await;
    socket.say(json!({"message": "ping"})).await;
    // A beat may have been under way.
    while socket.hear().await["eventBody"]["message"] != "pong" {}
}

#[tokio::test]
async fn an_rfc_6455_ping_is_answered_at_once() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    socket.send(Message::Ping("hello".into())).await;
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("hello".into()));
}

#[tokio::test]
async fn an_expired_channel_is_refused_and_subscribing_makes_it_live_longer() {
    let channel_ttl = Duration::from_secs(3);
    let client = Client::start(tieline_sim::Options { channel_ttl, ..quiet() }).await;
    let (id, uri) = client.channel().await;
    let mut socket = client.connect(&id, &uri).await;
    client.subscribe(&id, &[client.users_topic()]).await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(_))))));
    assert!(tokio_tungstenite::connect_async(&uri).await.is_err());
    let sessions = client.sim.journal().sessions;
    let time = |text: &str| humantime::parse_rfc3339(text).unwrap();
    let closed = eventually(|| client.sim.journal().sessions[0].closed.clone()).await;
    assert!(time(&closed).duration_since(time(&sessions[0].opened)).unwrap() >= channel_ttl);
}

#[tokio::test]
async fn the_journal_says_why_each_socket_ended() {
    let client = Client::start(quiet()).await;
    let (id, uri) = client.channel().await;
    let first = client.connect(&id, &uri).await;
    let second = client.connect(&id, &uri).await;
    client.control("close", json!({"mode": "rst"})).await;
    let ended = eventually(|| {
        let sessions = client.sim.journal().sessions;
        sessions.iter().all(|session| session.closed.is_some()).then_some(sessions)
    })
    .await;
    let reasons: Vec<_> = ended.into_iter().filter_map(|session| session.reason).collect();
    assert_eq!(reasons, ["another socket was opened", "reset"]);
    drop((first, second));
}

#[tokio::test]
async fn subscribing_on_a_socket_fails_when_the_token_of_its_channel_is_over() {
    let mut client = Client::start(quiet()).await;
    let (id, uri) = client.channel().await;
    client.control("revoke", json!({})).await;
    client.token = client.log_in().await;
    let mut socket = client.connect(&id, &uri).await;
    socket.say(json!({"message": "subscribe", "topics": [client.users_topic()]})).await;
    assert_eq!(socket.hear().await["result"], "404");
}
