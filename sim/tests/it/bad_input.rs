//! What no client should send: the simulator answers it, and goes on.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Client, quiet};

/// Says these bytes on a connection of their own, and reads what is answered until its end.
async fn say(client: &Client, bytes: &[u8]) -> String {
    let address = client.sim.api_url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let client = Client::start(quiet()).await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"hello\r\n\r\n"] {
        let answer = say(&client, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let plain = b"GET /channels/none HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n";
    assert!(say(&client, plain).await.starts_with("HTTP/1.1 400"));
    assert_eq!(client.raw("HEAD", "tokens/me", None).await.status(), 200);
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let client = Client::start(quiet()).await;
    let (id, _) = client.channel().await;
    let url = format!("{}/api/v2/notifications/channels/{id}/subscriptions", client.sim.api_url());
    let put = async |body: Vec<u8>| {
        let request = client.http.put(&url).bearer_auth(&client.token).body(body);
        request.send().await.map(|reply| reply.status().as_u16())
    };
    for body in ["", "{", "{}", "null", "[1]", "[{\"id\":1}]"] {
        assert_eq!(put(body.into()).await.unwrap(), 400, "{body}");
    }
    assert_eq!(put(b"[{\"id\":\"\xff\"}]".into()).await.unwrap(), 400);
    // The platform may hang up before it has read all of a body that it will not take.
    let large = put(vec![b' '; 600_000]).await;
    assert!(large.is_err() || large.unwrap() == 413);
    assert_eq!(client.raw("HEAD", "tokens/me", None).await.status(), 200);
}

#[tokio::test]
async fn control_calls_refuse_what_makes_no_sense_and_survive_any_number() {
    let client = Client::start(quiet()).await;
    let _socket = client.listen(&[]).await;
    let post = async |name: &str, body: &str| {
        let url = format!("{}/sim/{name}", client.sim.control_url());
        client.http.post(url).body(body.to_owned()).send().await.unwrap().status().as_u16()
    };
    let reason = format!("{{\"mode\":\"code\",\"reason\":\"{}\"}}", "x".repeat(124));
    for (name, body) in [
        ("close", "{"),
        ("close", "{\"mode\":\"hard\"}"),
        ("close", "{\"mode\":\"rst\",\"more\":1}"),
        ("close", &reason),
        ("switch", "[]"),
        ("switch", "{\"refused_with\":200}"),
        ("frame", "{\"what\":\"oversized\",\"bytes\":18446744073709551615}"),
        ("blast", "{\"bytes\":18446744073709551615}"),
        ("throttle", "{\"what\":\"rest\",\"status\":200,\"for_ms\":1}"),
        ("forbid", "{\"code\":\"no.such.code\"}"),
    ] {
        assert_eq!(post(name, body).await, 400, "{name} {body}");
    }
    assert_eq!(post("no-such-call", "{}").await, 404);
    let ever = u64::MAX;
    for (name, body) in [
        ("socket-closing", format!("{{\"after_ms\":{ever}}}")),
        ("disturb", format!("{{\"what\":\"drop\",\"for_ms\":{ever}}}")),
        ("throttle", format!("{{\"what\":\"token\",\"for_ms\":{ever}}}")),
        ("stall", format!("{{\"for_ms\":{ever}}}")),
        ("forbid", format!("{{\"topics\":[\"none\"],\"for_ms\":{ever}}}")),
    ] {
        assert_eq!(post(name, &body).await, 200, "{name} {body}");
    }
    assert_eq!(client.sim.journal().faults.len(), 5);
}

#[tokio::test]
async fn a_socket_ignores_nonsense_and_ends_at_a_broken_frame() {
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    for text in ["", "{", "[]", "{\"message\":1}", "{\"message\":\"dance\"}"] {
        socket.send(Message::text(text)).await;
    }
    socket.send(Message::binary(vec![0_u8; 100_000])).await;
    socket.ping().await;
    socket.say(json!({"message": "subscribe", "topics": [7], "correlationId": "c"})).await;
    let answer = socket.hear().await;
    assert_eq!((&answer["result"], &answer["correlationId"]), (&json!("400"), &json!("c")));

    let (id, uri) = client.channel().await;
    let mut socket = client.connect(&id, &uri).await;
    socket.ping().await;
    socket.break_off().await;
    match socket.next().await {
        None | Some(Err(Error::Io(_) | Error::Protocol(_)) | Ok(Message::Close(_))) => {}
        other => panic!("{other:?}"),
    }
    client.connect(&id, &uri).await.ping().await;
}
