//! The texts the platform writes to a socket: notifications, metadata, system messages.
//!
//! It writes JSON by hand around a body that is JSON already, so that a body reaches every socket
//! and the journal byte for byte.

use std::ops::Range;

use serde_json::{Value, json};

/// A notification's frame, and where in it the body lies.
pub(crate) fn notification(
    topic: &str,
    body: &str,
    correlation_id: &str,
) -> (String, Range<usize>) {
    let mut text = String::with_capacity(body.len() + topic.len() + 128);
    text.push_str("{\"topicName\":");
    text.push_str(&quoted(topic));
    text.push_str(",\"version\":\"2\",\"eventBody\":");
    let from = text.len();
    text.push_str(body);
    let range = from..text.len();
    text.push_str(",\"metadata\":{\"CorrelationId\":");
    text.push_str(&quoted(correlation_id));
    text.push_str("}}");
    (text, range)
}

/// The heartbeat of an idle socket.
pub(crate) fn heartbeat() -> String {
    metadata("WebSocket Heartbeat")
}

/// The answer to `{"message":"ping"}`.
pub(crate) fn pong() -> String {
    metadata("pong")
}

fn metadata(message: &str) -> String {
    json!({"topicName": "channel.metadata", "eventBody": {"message": message}}).to_string()
}

/// A `v2.system.{kind}` message about a channel.
pub(crate) fn system(kind: &str, channel: &str, client_id: &str, correlation_id: &str) -> String {
    let topic = match kind {
        "socket_closing" => "v2.system.socket_closing".to_owned(),
        other => format!("v2.system.{other}.{channel}"),
    };
    let mut body = json!({
        "channelId": channel,
        "oauthClientId": client_id,
        "correlationId": correlation_id,
    });
    match kind {
        "no_longer_subscribed" => {
            body["systemTopicType"] = Value::from(kind);
            body["reason"] = Value::from("another_channel_subscribed");
        }
        "token_revoked" => {
            body["systemTopicType"] = Value::from(kind);
            body["reason"] = Value::from("user_tokens_revoked");
        }
        // The official enumeration has no word for it, so the field stays away.
        "socket_closing" => {
            body["message"] = Value::from("This socket will be closed in about one minute.");
        }
        _ => {}
    }
    notification(&topic, &body.to_string(), correlation_id).0
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_lies_where_it_is_said_to() {
        let (text, range) = notification("v2.a.b", "{\"x\":1}", "c");
        assert_eq!(&text[range], "{\"x\":1}");
        let frame: Value = serde_json::from_str(&text).expect("the frame is JSON");
        assert_eq!(frame["metadata"]["CorrelationId"], "c");
        assert_eq!(frame["version"], "2");
    }
}
