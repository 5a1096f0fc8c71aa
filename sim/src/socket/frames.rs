//! The texts the platform writes to a socket: notifications, metadata, system messages.
//!
//! It writes JSON by hand around a body that is JSON already, so that a body reaches every socket
//! and the journal byte for byte.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::platform::Fate;

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

/// The frame of an emission as one channel alone sees it: the same body in other words, or another
/// CorrelationId.
pub(crate) fn rewritten(
    frame: &str,
    topic: &str,
    body: &str,
    fate: &Fate,
    correlation_id: Option<String>,
) -> String {
    let mut body = body.to_owned();
    if fate.respelled {
        body = respelled(&body);
    }
    if fate.spaced {
        body = spaced(&body);
    }
    let correlation_id = correlation_id.unwrap_or_else(|| correlation_of(frame));
    notification(topic, &body, &correlation_id).0
}

/// The same JSON with the members of every object in the opposite of alphabetical order. Numbers
/// and strings keep their text.
fn respelled(body: &str) -> String {
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(body) else {
        return match serde_json::from_str::<Vec<&RawValue>>(body) {
            Ok(elements) => {
                let elements = elements.iter().map(|element| respelled(element.get()));
                format!("[{}]", elements.collect::<Vec<_>>().join(","))
            }
            Err(_) => body.to_owned(),
        };
    };
    let members: Vec<String> = members
        .iter()
        .rev()
        .map(|(name, value)| format!("{}:{}", quoted(name), respelled(value.get())))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// The same JSON with white space around it and after its first character.
fn spaced(body: &str) -> String {
    match body.split_at_checked(1) {
        Some((open @ ("{" | "["), rest)) => format!(" {open} \n\t{rest}\n"),
        Some(_) | None => format!(" {body} "),
    }
}

fn correlation_of(frame: &str) -> String {
    let frame: Value = serde_json::from_str(frame).unwrap_or_default();
    frame["metadata"]["CorrelationId"].as_str().unwrap_or_default().to_owned()
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

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_other_words_is_the_same_json() {
        let body = r#"{"a":1.50,"b":[{"c":"x","d":null}],"e":"\u00e4"}"#;
        let other = respelled(body);
        assert_eq!(other, r#"{"e":"\u00e4","b":[{"d":null,"c":"x"}],"a":1.50}"#);
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(read(body), read(&other));
        assert_eq!(read(body), read(&spaced(body)));
    }

    #[test]
    fn the_body_lies_where_it_is_said_to() {
        let (text, range) = notification("v2.a.b", "{\"x\":1}", "c");
        assert_eq!(&text[range], "{\"x\":1}");
        let frame: Value = serde_json::from_str(&text).expect("the frame is JSON");
        assert_eq!(frame["metadata"]["CorrelationId"], "c");
        assert_eq!(frame["version"], "2");
    }
}
