//! Topics: parsed once, shared by every notification that comes on them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// How occurrences on a topic can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The body names its occurrence (a record id, or a time and the ids it belongs to): two equal bodies are one occurrence.
    Keyed,
    /// Equal bodies are legal repeats: only two sessions that overlap can double one.
    Keyless,
}

/// A topic such as `v2.routing.queues.{id}.conversations`, with what follows from its name.
///
/// Cheap to clone; equal when the names are equal but for case, as the platform compares them.
#[derive(Clone)]
pub struct Topic(Arc<Parts>);

struct Parts {
    name: Box<str>,
    folded: Box<str>,
    key: Box<str>,
    kind: Box<str>,
    family: Family,
    fingerprint: u128,
    key_fingerprint: u64,
}

/// The topic of what concerns a whole sink; its own key, so that all of it has one order.
const CONTROL: &str = "tieline.control";

/// What every event type starts with: CloudEvents asks for a reverse-DNS name.
const KIND_PREFIX: &str = "com.genesys.cloud.";

impl Topic {
    /// Parses a topic's name. Any text is a topic; what has no id in it is its own key.
    pub fn new(name: &str) -> Self {
        let folded = name.to_ascii_lowercase();
        let key = name.split('.').rev().find(|part| is_id(part)).unwrap_or(name);
        let kind: Vec<&str> = name.split('.').filter(|part| !is_id(part)).collect();
        Self(Arc::new(Parts {
            key: key.into(),
            kind: format!("{KIND_PREFIX}{}", kind.join(".")).into(),
            family: family(&folded),
            fingerprint: xxh3_128(folded.as_bytes()),
            key_fingerprint: xxh3_64(key.to_ascii_lowercase().as_bytes()),
            folded: folded.into(),
            name: name.into(),
        }))
    }

    /// The topic of what concerns a whole sink.
    pub fn control() -> Self {
        Self::new(CONTROL)
    }

    /// The name as it was spelt.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The unit of order: the last id in the name (queue, user, conversation), else the whole name.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// The CloudEvents `type`: the name without its ids, such as `com.genesys.cloud.v2.routing.queues.conversations`.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The name without its ids, such as `v2.routing.queues.conversations`: what people call a family of topics.
    pub fn family_name(&self) -> &str {
        self.kind().strip_prefix(KIND_PREFIX).unwrap_or(self.kind())
    }

    /// How occurrences can be told apart.
    pub fn family(&self) -> Family {
        self.0.family
    }

    /// A hash of the name without its case: equal for equal topics, computed once.
    pub fn fingerprint(&self) -> u128 {
        self.0.fingerprint
    }

    /// A hash of the key without its case.
    pub fn key_fingerprint(&self) -> u64 {
        self.0.key_fingerprint
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.folded == other.0.folded
    }
}

impl Eq for Topic {}

impl std::hash::Hash for Topic {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.folded.hash(state);
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// The platform's ids are UUIDs in their 36-character form.
fn is_id(part: &str) -> bool {
    part.len() == 36
        && part.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Families whose bodies carry an occurrence key (genesys.md §4).
fn family(folded: &str) -> Family {
    let keyed = folded.starts_with("v2.detail.events.")
        || (folded.starts_with("v2.analytics.conversation.") && folded.ends_with(".metrics"))
        || (folded.starts_with("v2.analytics.flow.") && folded.ends_with(".metrics"))
        || (folded.starts_with("v2.users.")
            && (folded.ends_with(".presence") || folded.ends_with(".routingstatus")));
    if keyed { Family::Keyed } else { Family::Keyless }
}

/// Topics already parsed, so that a frame costs one look-up and no allocation.
#[derive(Debug, Default)]
pub struct Topics(HashMap<Box<str>, Topic>);

impl Topics {
    /// Enough for a client's 20 channels of 1,000 combined topics, and a bound on what a peer can make us remember.
    const MOST: usize = 65_536;

    /// The topic of that name, parsed at most once.
    pub fn get(&mut self, name: &str) -> Topic {
        if let Some(topic) = self.0.get(name) {
            return topic.clone();
        }
        let topic = Topic::new(name);
        if self.0.len() < Self::MOST {
            self.0.insert(name.into(), topic.clone());
        }
        topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";

    #[test]
    fn the_key_is_the_last_id_and_the_kind_has_none() {
        let topic = Topic::new(&format!("v2.routing.queues.{QUEUE}.conversations"));
        assert_eq!(topic.key(), QUEUE);
        assert_eq!(topic.kind(), "com.genesys.cloud.v2.routing.queues.conversations");
        assert_eq!(topic.family(), Family::Keyless);
    }

    #[test]
    fn a_topic_without_an_id_is_its_own_key() {
        let topic = Topic::new("v2.analytics.conversations.details.jobs.availability");
        assert_eq!(topic.key(), topic.name());
    }

    #[test]
    fn case_does_not_tell_topics_apart() {
        let lower = Topic::new(&format!("v2.users.{QUEUE}.routingstatus"));
        let mixed = Topic::new(&format!("v2.users.{QUEUE}.routingStatus"));
        assert_eq!(lower, mixed);
        assert_eq!(mixed.family(), Family::Keyed);
    }
}
