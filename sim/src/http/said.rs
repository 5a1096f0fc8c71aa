//! What a client may say on its socket: `ping`, and `subscribe` as on REST.
//!
//! Its replies are not notifications: `result` is a status, and a string.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::subscriptions;
use crate::platform::Platform;
use crate::socket::frames;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    #[serde(default)]
    topics: Vec<Topic>,
    correlation_id: Option<String>,
}

/// Clients write a topic as a string; some as the object that REST takes.
#[derive(Debug)]
struct Topic(String);

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let id = value.as_str().or_else(|| value["id"].as_str());
        id.map(|id| Self(id.to_owned())).ok_or_else(|| serde::de::Error::custom("not a topic"))
    }
}

/// The answer to a text frame, if it deserves one. Some clients send a bare time stamp to keep the
/// line open: whatever is no message is ignored.
pub(crate) fn answer(platform: &Arc<Platform>, channel: &str, text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let message = value.get("message")?.as_str()?;
    match message {
        "ping" => Some(frames::pong()),
        "subscribe" => Some(subscribe(platform, channel, value.clone())),
        _ => None,
    }
}

fn subscribe(platform: &Arc<Platform>, channel: &str, value: Value) -> String {
    let correlation_id = value["correlationId"].clone();
    let said: Said = match serde_json::from_value(value) {
        Ok(said) => said,
        Err(error) => return reply("400", "error", &error.to_string(), correlation_id),
    };
    if !may_subscribe(platform, channel) {
        return reply("404", "error", "The channel was not found.", correlation_id);
    }
    let topics = said.topics.into_iter().map(|topic| topic.0).collect();
    match subscriptions::subscribe_on_socket(platform, channel, topics) {
        Ok(()) => reply("200", "subscribed", "", said.correlation_id.into()),
        Err(problem) => reply("400", "failure", problem.message(), correlation_id),
    }
}

/// Whether the channel is there, and the token that made it still is: a socket has no other.
fn may_subscribe(platform: &Platform, channel: &str) -> bool {
    let state = platform.state();
    state.channels.get(channel).is_some_and(|channel| state.tokens.contains_key(&channel.token))
}

fn reply(result: &str, status: &str, message: &str, correlation_id: Value) -> String {
    let mut reply = json!({"result": result, "status": status});
    if !message.is_empty() {
        reply["message"] = message.into();
    }
    if !correlation_id.is_null() {
        reply["correlationId"] = correlation_id;
    }
    reply.to_string()
}
