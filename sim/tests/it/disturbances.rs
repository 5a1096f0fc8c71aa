//! What happens to notifications on the way to one channel, and frames no client should choke on.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_sim::Options;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Client, Socket, eventually, quiet};

/// Two sockets that hear the first queue's members, and the topic.
async fn two(client: &Client) -> (Socket, Socket, String) {
    let topic = client.users_topic();
    let one = client.listen(std::slice::from_ref(&topic)).await;
    let two = client.listen(std::slice::from_ref(&topic)).await;
    (one, two, topic)
}

#[tokio::test]
async fn a_frame_can_be_lost_on_one_channel_alone() {
    let client = Client::start(quiet()).await;
    let (mut one, mut two, topic) = two(&client).await;
    client.control("disturb", json!({"what": "drop", "channel": one.channel, "count": 1})).await;
    client.emit(&topic, json!({"n": 1})).await;
    client.emit(&topic, json!({"n": 2})).await;
    assert_eq!(two.hear().await["eventBody"]["n"], 1);
    assert_eq!(one.hear().await["eventBody"]["n"], 2);
}

#[tokio::test]
async fn a_topic_can_fall_silent_while_its_socket_lives() {
    let client = Client::start(Options { queues: 2, ..quiet() }).await;
    let topics: Vec<String> = client
        .sim
        .queues()
        .iter()
        .map(|queue| format!("v2.routing.queues.{}.users", queue.id))
        .collect();
    let (mut one, mut two) = (client.listen(&topics).await, client.listen(&topics).await);
    let named = json!({"topics": [topics[0]], "channel": one.channel});
    client.control("withhold", named).await;
    for (n, topic) in [(1, &topics[0]), (2, &topics[1])] {
        client.emit(topic, json!({"n": n})).await;
    }
    assert_eq!(one.hear().await["eventBody"]["n"], 2);
    assert_eq!(two.hear().await["eventBody"]["n"], 1);
    one.ping().await;
    let left = client.control("resume", json!({"topics": ["another"]})).await;
    assert_eq!(left["withheld"], json!([topics[0]]));
    client.emit(&topics[0], json!({"n": 3})).await;
    assert_eq!(client.control("resume", json!({})).await["withheld"], json!([]));
    client.emit(&topics[0], json!({"n": 4})).await;
    assert_eq!(one.hear().await["eventBody"]["n"], 4);
    let faults = client.sim.journal().faults;
    assert_eq!(faults.iter().filter(|fault| fault.kind == "withhold").count(), 1);
}

#[tokio::test]
async fn a_frame_can_come_twice_and_counts_twice() {
    let client = Client::start(quiet()).await;
    let (mut one, mut two, topic) = two(&client).await;
    client.control("disturb", json!({"what": "double", "channel": one.channel, "count": 1})).await;
    client.emit(&topic, json!({"n": 1})).await;
    assert_eq!(one.hear().await, one.hear().await);
    two.hear().await;
    two.ping().await;
    eventually(|| (client.sim.journal().deliveries.len() == 3).then_some(())).await;
}

#[tokio::test]
async fn a_body_can_be_told_in_other_words_under_another_correlation_id() {
    let client = Client::start(quiet()).await;
    let (mut one, mut two, topic) = two(&client).await;
    for what in ["spell", "space", "correlate"] {
        client.control("disturb", json!({"what": what, "channel": one.channel})).await;
    }
    client.emit(&topic, json!({"a": 1, "b": {"c": 2, "d": 3}})).await;
    let (one, two) = (one.next().await.unwrap().unwrap(), two.next().await.unwrap().unwrap());
    let (one, two) = (one.into_text().unwrap(), two.into_text().unwrap());
    assert!(one.contains("\"d\":3,\"c\":2") && two.contains("\"c\":2,\"d\":3"));
    let read = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    assert_eq!(read(&one)["eventBody"], read(&two)["eventBody"]);
    assert_ne!(read(&one)["metadata"], read(&two)["metadata"]);
}

#[tokio::test]
async fn channels_differ_in_the_order_of_keys_and_each_keeps_a_keys_order() {
    let client = Client::start(Options { queues: 8, ..quiet() }).await;
    let topics: Vec<String> = client
        .sim
        .queues()
        .iter()
        .map(|queue| format!("v2.routing.queues.{}.users", queue.id))
        .collect();
    let mut sockets = [client.listen(&topics).await, client.listen(&topics).await];
    client.control("disturb", json!({"what": "shuffle", "lag_ms": 300})).await;
    for n in 0..3 {
        for topic in &topics {
            client.emit(topic, json!({"n": n})).await;
        }
    }
    let mut orders = Vec::new();
    for socket in &mut sockets {
        let mut order = Vec::new();
        let mut last = std::collections::HashMap::new();
        for _ in 0..24 {
            let frame = socket.hear().await;
            let topic = frame["topicName"].as_str().unwrap().to_owned();
            let n = frame["eventBody"]["n"].as_i64().unwrap();
            assert_eq!(last.insert(topic.clone(), n).unwrap_or(-1), n - 1);
            order.push((topic, n));
        }
        orders.push(order);
    }
    assert_ne!(orders[0], orders[1]);
}

#[tokio::test]
async fn a_channel_can_lag_behind_its_sibling() {
    let client = Client::start(quiet()).await;
    let (mut one, mut two, topic) = two(&client).await;
    let asked = json!({"what": "lag", "channel": one.channel, "lag_ms": 400});
    client.control("disturb", asked).await;
    let began = std::time::Instant::now();
    client.emit(&topic, json!({})).await;
    two.hear().await;
    one.hear().await;
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_message_can_come_in_pieces_and_slowly() {
    let client = Client::start(quiet()).await;
    let (mut one, _two, topic) = two(&client).await;
    client.control("fragment", json!({"bytes": 7})).await;
    client.control("slow", json!({"bytes": 11, "pause_ms": 1})).await;
    client.emit(&topic, json!({"whole": true})).await;
    assert_eq!(one.hear().await["eventBody"]["whole"], true);
}

#[tokio::test]
async fn strange_frames_are_sent_as_they_are() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    let send = async |what: &str| client.control("frame", json!({"what": what})).await;
    let text = |heard: Option<Result<Message, Error>>| heard.unwrap().unwrap().into_text().unwrap();
    send("not-json").await;
    assert_eq!(text(socket.next().await).as_str(), "this is not JSON");
    send("binary").await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Binary(_)))));
    send("ping").await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
    send("unknown-version").await;
    assert_eq!(socket.hear().await["version"], "3");
    send("invalid-utf8").await;
    assert!(matches!(socket.next().await, Some(Err(Error::Utf8(_)))));
    for what in ["masked", "reserved-bit"] {
        let mut socket = client.listen(&[]).await;
        send(what).await;
        assert!(matches!(socket.next().await, Some(Err(Error::Protocol(_)))));
    }
}

#[tokio::test]
async fn an_oversized_frame_is_larger_than_common_clients_take() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    client.control("frame", json!({"what": "oversized"})).await;
    let refused = socket.next().await;
    assert!(
        matches!(&refused, Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. })))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_stalled_platform_does_not_hear_pings_and_still_speaks() {
    let client = Client::start(quiet()).await;
    let (mut one, _two, topic) = two(&client).await;
    one.ping().await;
    client.control("stall", json!({"for_ms": 1500})).await;
    one.say(json!({"message": "ping"})).await;
    client.emit(&topic, json!({})).await;
    assert_eq!(one.hear().await["topicName"], topic);
    assert_eq!(one.hear().await["eventBody"]["message"], "pong");
}

#[tokio::test]
async fn a_half_open_socket_is_gone_for_good_and_its_channel_is_not() {
    let client = Client::start(quiet()).await;
    let (id, uri) = client.channel().await;
    let mut gone = client.connect(&id, &uri).await;
    gone.ping().await;
    client.control("half-open", json!({})).await;
    gone.say(json!({"message": "ping"})).await;
    let mut back = client.connect(&id, &uri).await;
    back.ping().await;
    let fault = &client.sim.journal().faults[0];
    assert_eq!((fault.kind.as_str(), &fault.to), ("half-open", &None));
    // It is not even told that another one has its channel, by FIN or otherwise.
    let hears = tokio::time::timeout(Duration::from_millis(300), gone.next());
    assert!(hears.await.is_err());
}

#[tokio::test]
async fn a_blast_is_made_of_whole_and_different_frames() {
    let client = Client::start(Options { blast: Some(1000), ..quiet() }).await;
    let mut socket = client.listen(&[client.users_topic()]).await;
    for n in 1..=1000 {
        let frame = socket.hear().await;
        assert_eq!(frame["topicName"], client.users_topic());
        assert_eq!(frame["eventBody"]["id"], format!("{n:012}"));
    }
    socket.ping().await;
}

#[tokio::test]
async fn a_frame_without_lag_never_overtakes_a_late_one_of_its_key() {
    let client = Client::start(quiet()).await;
    let (mut one, _two, topic) = two(&client).await;
    let asked = json!({"what": "lag", "channel": one.channel, "every": 2, "lag_ms": 3});
    client.control("disturb", asked).await;
    for n in 0..200 {
        client.emit(&topic, json!({"n": n})).await;
    }
    for n in 0..200 {
        assert_eq!(one.hear().await["eventBody"]["n"], n);
    }
}
