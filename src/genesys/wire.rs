//! The only mirror of the platform's JSON.
//!
//! Frames are read without a document tree: an envelope borrows from the frame, and its body stays raw. Every field that we
//! can do without is optional, and unknown ones are ignored.

use crate::lifecycle::Heard;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The platform's probe.
pub(super) const PING: &str = r#"{"message":"ping"}"#;

/// The topic of heartbeats and pongs.
const METADATA_TOPIC: &str = "channel.metadata";

/// What every system topic starts with, in lower case.
const SYSTEM_PREFIX: &str = "v2.system.";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "topicName")]
    topic_name: Cow<'a, str>,
    #[serde(borrow, rename = "eventBody", default, deserialize_with = "even_if_null")]
    event_body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// A body of `null` is a body; only one that is not there is none.
fn even_if_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, rename = "CorrelationId")]
    correlation_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// A text frame, read.
#[derive(Debug)]
pub enum Frame<'a> {
    /// A notification.
    Data {
        /// The topic as the platform spelt it.
        topic: Cow<'a, str>,
        /// The body as it stands in the frame.
        body: &'a str,
        /// The envelope's `metadata.CorrelationId`.
        correlation_id: Option<Box<str>>,
    },
    /// A heartbeat, a pong or a system topic.
    Word(Heard),
}

/// Reads a text frame.
///
/// # Errors
/// Says what is wrong with the frame and quotes nothing of it.
pub fn read(text: &str) -> Result<Frame<'_>, String> {
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|error| place(&error, "an envelope"))?;
    if envelope.topic_name.eq_ignore_ascii_case(METADATA_TOPIC) {
        return Ok(Frame::Word(metadata_word(envelope.event_body)));
    }
    if let Some(word) = system_word(&envelope.topic_name) {
        return Ok(Frame::Word(word));
    }
    let Some(body) = envelope.event_body else {
        return Err("it is an envelope without an eventBody".to_owned());
    };
    Ok(Frame::Data {
        topic: envelope.topic_name,
        body: body.get(),
        correlation_id: envelope.metadata.and_then(correlation_id),
    })
}

/// Metadata of another shape costs the correlation id, never the event.
fn correlation_id(metadata: &RawValue) -> Option<Box<str>> {
    let metadata: Metadata<'_> = serde_json::from_str(metadata.get()).ok()?;
    metadata.correlation_id.map(|id| id.into_owned().into_boxed_str())
}

fn metadata_word(body: Option<&RawValue>) -> Heard {
    let message: Option<Message<'_>> = body.and_then(|body| serde_json::from_str(body.get()).ok());
    let said = message.and_then(|message| message.message);
    match said.as_deref() {
        Some("pong") => Heard::Pong,
        Some(_) | None => Heard::Sign,
    }
}

/// System topics are told apart by their names, since the enum in their bodies does not list them all.
fn system_word(topic: &str) -> Option<Heard> {
    let head = topic.get(..SYSTEM_PREFIX.len())?;
    if !head.eq_ignore_ascii_case(SYSTEM_PREFIX) {
        return None;
    }
    let rest = topic[SYSTEM_PREFIX.len()..].to_ascii_lowercase();
    let kind = rest.split('.').next().unwrap_or_default();
    Some(match kind {
        "socket_closing" => Heard::ClosingNotice,
        "no_longer_subscribed" => Heard::NoLongerSubscribed,
        "token_revoked" => Heard::TokenRevoked,
        _ => Heard::Sign,
    })
}

/// Where JSON broke, without the words of `serde_json`, which may quote what it read.
pub(super) fn place(error: &serde_json::Error, wanted: &str) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            format!("it is JSON but not {wanted} (line {line}, column {column})")
        }
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => {
            format!("it is not JSON (line {line}, column {column})")
        }
    }
}

/// The answer of `/oauth/token`.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) access_token: SecretString,
    /// Seconds.
    pub(super) expires_in: u64,
}

/// A refusal of `/oauth/token`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OAuthError {
    pub(super) error: Option<String>,
    pub(super) description: Option<String>,
    pub(super) error_description: Option<String>,
}

/// A channel that was made. Its id alone suffices to build its address, so both are credentials.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Channel {
    pub(super) id: SecretString,
    pub(super) connect_uri: SecretString,
    /// ISO 8601.
    pub(super) expires: Option<String>,
}

/// The client's channels.
#[derive(Deserialize)]
pub(super) struct Channels {
    #[serde(default)]
    pub(super) entities: Vec<ListedChannel>,
}

/// A channel as it is listed: one that another token made has no name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedChannel {
    pub(super) id: Option<SecretString>,
    pub(super) connect_uri: Option<SecretString>,
    /// ISO 8601.
    pub(super) expires: Option<String>,
}

/// One topic of a subscription, as it is asked for.
#[derive(Serialize)]
pub(super) struct Subscription<'a> {
    pub(super) id: &'a str,
}

/// The answer to a subscription.
#[derive(Deserialize)]
pub(super) struct Subscriptions {
    #[serde(default)]
    pub(super) entities: Vec<SubscribedTopic>,
}

/// One topic of a subscription, as it is answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubscribedTopic {
    pub(super) id: String,
    pub(super) state: Option<String>,
    pub(super) rejection_reason: Option<String>,
    #[serde(default)]
    pub(super) missing_permissions: Option<Vec<String>>,
}

/// One page of queues.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueuePage {
    #[serde(default)]
    pub(super) entities: Vec<Queue>,
    pub(super) page_count: Option<u32>,
    pub(super) total: Option<usize>,
}

/// A queue.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
}

/// The answer to a query for queues' observations; each result as it was spelt.
#[derive(Debug, Deserialize)]
pub(super) struct Observations {
    #[serde(default)]
    pub(super) results: Vec<Box<RawValue>>,
}

/// What a result is about.
#[derive(Debug, Deserialize)]
pub(super) struct Grouped<'a> {
    #[serde(borrow)]
    pub(super) group: Group<'a>,
}

/// The queue of a result.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group<'a> {
    #[serde(borrow)]
    pub(super) queue_id: Cow<'a, str>,
}

/// One page of a queue's members.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberPage {
    #[serde(default)]
    pub(super) entities: Vec<Member>,
    pub(super) next_uri: Option<String>,
}

/// A member of a queue: whether its person has joined it, which is to say takes its conversations.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Member {
    pub(super) id: String,
    #[serde(default)]
    pub(super) joined: bool,
}

/// The catalogue of topics.
#[derive(Deserialize)]
pub(super) struct Catalogue {
    #[serde(default)]
    pub(super) entities: Vec<Offered>,
}

/// A topic that the platform offers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Offered {
    pub(super) id: String,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) transports: Vec<String>,
    pub(super) requires_permissions: Option<Vec<String>>,
}

/// The platform's refusals over REST.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ErrorBody {
    pub(super) message: Option<String>,
    pub(super) code: Option<String>,
    pub(super) context_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! frame {
        ($name:literal) => {
            include_str!(concat!("../../tests/fixtures/frames/", $name, ".json"))
        };
    }

    fn word(text: &str) -> Heard {
        match read(text).expect("readable") {
            Frame::Word(word) => word,
            Frame::Data { .. } => panic!("{text} was taken for data"),
        }
    }

    #[test]
    fn a_notification_keeps_its_body_byte_for_byte() {
        for (text, topic, correlation) in [
            (frame!("queue_conversation"), "conversations", true),
            (frame!("queue_user_joined"), "users", true),
            (frame!("queue_observation"), "observations", false),
            (frame!("odd_metadata"), "users", false),
            (frame!("escaped_topic"), "users", true),
        ] {
            let Ok(Frame::Data { topic: name, body, correlation_id }) = read(text) else {
                panic!("{text} was not taken for data");
            };
            assert!(name.ends_with(topic), "{name}");
            assert!(text.contains(body), "{body}");
            assert!(body.starts_with('{') && body.ends_with('}'), "{body}");
            assert_eq!(correlation_id.is_some(), correlation, "{text}");
        }
    }

    #[test]
    fn a_null_body_is_a_body() {
        let Ok(Frame::Data { body, .. }) = read(frame!("null_body")) else {
            panic!("not data");
        };
        assert_eq!(body, "null");
    }

    #[test]
    fn words_are_told_apart_by_their_topics() {
        assert_eq!(word(frame!("heartbeat")), Heard::Sign);
        assert_eq!(word(frame!("pong")), Heard::Pong);
        assert_eq!(word(frame!("socket_closing")), Heard::ClosingNotice);
        let evicted = frame!("no_longer_subscribed");
        assert_eq!(word(evicted), Heard::NoLongerSubscribed);
        assert_eq!(word(frame!("token_revoked")), Heard::TokenRevoked);
        assert_eq!(word(frame!("system_unknown")), Heard::Sign);
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        for text in [
            frame!("not_json"),
            frame!("truncated"),
            frame!("no_topic"),
            frame!("topic_is_a_number"),
            frame!("no_body"),
            "",
            "[]",
        ] {
            let Err(detail) = read(text) else {
                panic!("{text} was read");
            };
            assert!(!detail.contains("hunter2"), "{detail}");
        }
    }
}
