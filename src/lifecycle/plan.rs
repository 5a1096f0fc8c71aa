//! Packs topics into shards: slices that fit one channel each.

use crate::event::Topic;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The platform's limit on topics per channel.
pub const TOPICS_PER_CHANNEL: usize = 1_000;

/// The platform's limit on channels per OAuth client: one more silently evicts a live one.
pub const CHANNELS_PER_CLIENT: usize = 20;

/// The topics of one shard, as they are subscribed to.
pub type ShardTopics = Arc<[Box<str>]>;

/// Why a list of topics cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{topics} topics need {shards} channels and one for a successor, but an OAuth client has \
     {CHANNELS_PER_CLIENT}: divide the queues between two OAuth clients"
)]
pub struct TooMany {
    /// How many topics there are.
    pub topics: usize,
    /// How many channels they fill.
    pub shards: usize,
}

/// Packs topics into as few shards as fit, all topics of one key on one shard, because two sockets have no order between them.
///
/// Keys are taken in their order, so that the same list gives the same plan. At least one channel stays free for a
/// successor.
pub fn plan(topics: &[Topic]) -> Result<Vec<ShardTopics>, TooMany> {
    let mut by_key: BTreeMap<&str, Vec<&Topic>> = BTreeMap::new();
    for topic in topics {
        by_key.entry(topic.key()).or_default().push(topic);
    }
    let mut shards: Vec<Vec<Box<str>>> = Vec::new();
    for group in by_key.values() {
        // A key with more topics than a channel takes does not exist on the platform; if it did, it would be split.
        for part in group.chunks(TOPICS_PER_CHANNEL) {
            let fits =
                shards.last().is_some_and(|last| last.len() + part.len() <= TOPICS_PER_CHANNEL);
            if !fits {
                shards.push(Vec::new());
            }
            if let Some(last) = shards.last_mut() {
                last.extend(part.iter().map(|topic| topic.name().into()));
            }
        }
    }
    if shards.len() + 1 > CHANNELS_PER_CLIENT {
        return Err(TooMany { topics: topics.len(), shards: shards.len() });
    }
    Ok(shards.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: usize) -> Vec<Topic> {
        (0..count)
            .flat_map(|queue| {
                let id = format!("00000000-0000-4000-8000-{queue:012}");
                ["conversations", "users", "observations"]
                    .map(|what| Topic::new(&format!("v2.routing.queues.{id}.{what}")))
            })
            .collect()
    }

    #[test]
    fn topics_of_one_key_share_a_shard() {
        let shards = plan(&queues(1_000)).unwrap();
        assert_eq!(shards.iter().map(|shard| shard.len()).collect::<Vec<_>>(), [999, 999, 999, 3]);
        for shard in &shards {
            let mut keys: Vec<_> = shard.iter().map(|name| Topic::new(name)).collect();
            keys.dedup_by(|one, other| one.key() == other.key());
            assert_eq!(keys.len() * 3, shard.len());
        }
    }

    #[test]
    fn what_leaves_no_channel_for_a_successor_is_refused_with_the_sum() {
        let refused = plan(&queues(6_400)).unwrap_err();
        assert_eq!((refused.topics, refused.shards), (19_200, 20));
    }
}
