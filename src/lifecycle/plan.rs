//! Packs topics into shards: slices that fit one channel each, and changes as little as possible when the list changes.
//!
//! It knows neither sessions nor channels; which channel carries a shard, and how it comes to its topics, is the shard's business.

use super::ShardId;
use crate::event::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The platform's limit on topics per channel; a combined topic counts once.
pub const TOPICS_PER_CHANNEL: usize = 1_000;

/// The platform's limit on channels per OAuth client: one more silently evicts a live one.
pub const CHANNELS_PER_CLIENT: usize = 20;

/// The longest topic that the platform takes, in characters.
const TOPIC_LENGTH_MAX: usize = 200;

/// The topics of one shard, as they are subscribed to.
pub type ShardTopics = Arc<[Box<str>]>;

/// Why a list of topics cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{topics} topics in {subscriptions} subscriptions need {shards} shards; with redundancy {redundancy} and one channel for \
     successors that is {} channels, but an OAuth client has {CHANNELS_PER_CLIENT}: divide the queues between two OAuth clients",
    self.channels()
)]
pub struct TooMany {
    /// How many topics there are.
    pub topics: usize,
    /// How many subscriptions they take, combined where it helps.
    pub subscriptions: usize,
    /// How many shards those fill.
    pub shards: usize,
    /// How many sessions carry each shard.
    pub redundancy: usize,
}

impl TooMany {
    const fn channels(&self) -> usize {
        self.shards * self.redundancy + 1
    }
}

/// All topics of one key.
type Group = Vec<Topic>;

/// What each shard carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    shards: BTreeMap<ShardId, BTreeMap<Box<str>, Group>>,
    /// Whether the topics of a key are subscribed to as few combined ones. Once it is so, it stays so.
    combined: bool,
}

impl Plan {
    /// The next plan for `wanted`: what a shard carries stays there, what is gone leaves, what is new goes to the first shard
    /// with room, and only when there is none to another.
    ///
    /// All topics of one key are on one shard, because two sockets have no order between them. Topics are combined when they
    /// would fill more than one channel otherwise, or where the list names combined ones itself. The same lists give the
    /// same plan.
    pub fn next(&self, wanted: &[Topic], redundancy: usize) -> Result<Self, TooMany> {
        let (groups, asked) = groups(wanted);
        let combined = self.combined || asked;
        let plan = self.pack(&groups, combined);
        let plan = if combined || plan.shards.len() <= self.shards.len().max(1) {
            plan
        } else {
            self.pack(&groups, true)
        };
        if plan.shards.len() * redundancy + 1 > CHANNELS_PER_CLIENT {
            return Err(TooMany {
                topics: plan.topics(),
                subscriptions: plan.subscriptions(),
                shards: plan.shards.len(),
                redundancy,
            });
        }
        Ok(plan)
    }

    fn pack(&self, groups: &BTreeMap<Box<str>, Group>, combined: bool) -> Self {
        let mut shards = self.shards.clone();
        let mut placed: BTreeSet<Box<str>> = BTreeSet::new();
        for carried in shards.values_mut() {
            carried.retain(|key, _| groups.contains_key(key));
            for (key, group) in carried.iter_mut() {
                group.clone_from(&groups[key]);
                placed.insert(key.clone());
            }
        }
        shards.retain(|_, carried| !carried.is_empty());
        let mut room: BTreeMap<ShardId, usize> = shards
            .iter()
            .map(|(id, carried)| {
                let taken: usize = carried.values().map(|group| weight(group, combined)).sum();
                (*id, TOPICS_PER_CHANNEL.saturating_sub(taken))
            })
            .collect();
        for (key, group) in groups.iter().filter(|(key, _)| !placed.contains(*key)) {
            let weight = weight(group, combined);
            let fits = room.iter().find(|(_, room)| **room >= weight).map(|(id, _)| *id);
            let id = fits.unwrap_or_else(|| lowest_free(&shards));
            let left = room.entry(id).or_insert(TOPICS_PER_CHANNEL);
            *left = left.saturating_sub(weight);
            shards.entry(id).or_default().insert(key.clone(), group.clone());
        }
        Self { shards, combined }
    }

    /// Topics as another process has divided them.
    pub fn placed(shards: impl IntoIterator<Item = (ShardId, Vec<Topic>)>, combined: bool) -> Self {
        let group = |topics: Vec<Topic>| groups(&topics).0;
        Self {
            shards: shards.into_iter().map(|(id, topics)| (id, group(topics))).collect(),
            combined,
        }
    }

    /// The shards, in the order of their numbers.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.shards.keys().copied()
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Whether keys are subscribed to by combined topics.
    pub const fn is_combined(&self) -> bool {
        self.combined
    }

    /// How many topics there are, each by itself.
    pub fn topics(&self) -> usize {
        self.shards.keys().map(|id| self.topics_of(*id)).sum()
    }

    /// How many topics a shard carries, each by itself.
    pub fn topics_of(&self, id: ShardId) -> usize {
        self.groups_of(id).map(Vec::len).sum()
    }

    /// How many subscriptions there are; a combined topic is one.
    pub fn subscriptions(&self) -> usize {
        self.shards
            .values()
            .flat_map(BTreeMap::values)
            .map(|group| weight(group, self.combined))
            .sum()
    }

    /// What is subscribed to on a shard's channel.
    pub fn subscriptions_of(&self, id: ShardId) -> ShardTopics {
        let names = self.groups_of(id).flat_map(|group| names(group, self.combined));
        names.collect::<Vec<_>>().into()
    }

    /// The topics of a shard, each by itself.
    pub fn each_of(&self, id: ShardId) -> impl Iterator<Item = &Topic> {
        self.groups_of(id).flatten()
    }

    /// The keys of all shards.
    pub fn keys(&self) -> BTreeSet<&str> {
        self.shards.values().flat_map(BTreeMap::keys).map(|key| &**key).collect()
    }

    /// Every topic by itself.
    pub fn all(&self) -> impl Iterator<Item = &Topic> {
        self.shards.values().flat_map(BTreeMap::values).flatten()
    }

    fn groups_of(&self, id: ShardId) -> impl Iterator<Item = &Group> {
        self.shards.get(&id).into_iter().flat_map(BTreeMap::values)
    }
}

fn lowest_free(shards: &BTreeMap<ShardId, BTreeMap<Box<str>, Group>>) -> ShardId {
    let free = (0..u16::MAX).map(ShardId).find(|id| !shards.contains_key(id));
    free.unwrap_or(ShardId(u16::MAX))
}

/// The topics of each key, each once and by itself; and whether the list names combined ones.
///
/// A key with more topics than a channel takes, which the platform does not have, is divided.
fn groups(wanted: &[Topic]) -> (BTreeMap<Box<str>, Group>, bool) {
    let mut groups: BTreeMap<Box<str>, Group> = BTreeMap::new();
    let mut seen = std::collections::HashSet::new();
    let mut asked = false;
    for topic in wanted {
        let parts = expand(topic);
        asked |= parts.len() > 1 || topic.name().contains('?');
        for part in parts {
            if seen.insert(part.clone()) {
                groups.entry(part.key().to_ascii_lowercase().into()).or_default().push(part);
            }
        }
    }
    let too_long: Vec<Box<str>> = groups
        .iter()
        .filter(|(_, group)| group.len() > TOPICS_PER_CHANNEL)
        .map(|(key, _)| key.clone())
        .collect();
    for key in too_long {
        let group = groups.remove(&key).unwrap_or_default();
        for (number, part) in group.chunks(TOPICS_PER_CHANNEL).enumerate() {
            groups.insert(format!("{key}#{number}").into(), part.to_vec());
        }
    }
    (groups, asked)
}

/// The topics that a combined one stands for, under the names by which their notifications come.
pub fn expand(topic: &Topic) -> Vec<Topic> {
    match topic.name().split_once('?') {
        Some((prefix, parts)) => {
            let parts = parts.split('&').filter(|part| !part.is_empty());
            parts.map(|part| Topic::new(&format!("{prefix}.{part}"))).collect()
        }
        None => vec![topic.clone()],
    }
}

/// How many subscriptions a key takes.
fn weight(group: &Group, combined: bool) -> usize {
    if combined { names(group, true).len() } else { group.len() }
}

/// The names under which the topics of a key are subscribed to.
///
/// Only what differs in one last word after an id is combined, as the platform's documents show it.
fn names(group: &Group, combined: bool) -> Vec<Box<str>> {
    if !combined {
        return group.iter().map(|topic| topic.name().into()).collect();
    }
    let mut names: Vec<Box<str>> = Vec::new();
    let mut open: Vec<(&str, Vec<&str>, usize)> = Vec::new();
    for topic in group {
        let Some((prefix, word)) =
            topic.name().rsplit_once('.').filter(|(prefix, _)| prefix.ends_with(topic.key()))
        else {
            names.push(topic.name().into());
            continue;
        };
        let fits = |(known, _, length): &&mut (&str, Vec<&str>, usize)| {
            *known == prefix && *length + 1 + word.len() <= TOPIC_LENGTH_MAX
        };
        match open.iter_mut().find(fits) {
            Some((_, words, length)) => {
                words.push(word);
                *length += 1 + word.len();
            }
            None => open.push((prefix, vec![word], prefix.len() + 1 + word.len())),
        }
    }
    names.extend(open.into_iter().map(|(prefix, words, _)| match words.as_slice() {
        [word] => format!("{prefix}.{word}").into(),
        words => format!("{prefix}?{}", words.join("&")).into(),
    }));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: [&str; 3] = [
        "v2.routing.queues.{id}.conversations",
        "v2.routing.queues.{id}.users",
        "v2.analytics.queues.{id}.observations",
    ];

    fn queues(ids: impl IntoIterator<Item = usize>, topics: &[&str]) -> Vec<Topic> {
        let id = |queue| format!("00000000-0000-4000-8000-{queue:012}");
        let of_queue = |queue| topics.iter().map(move |topic| topic.replace("{id}", &id(queue)));
        ids.into_iter().flat_map(of_queue).map(|name| Topic::new(&name)).collect()
    }

    fn sizes(plan: &Plan) -> Vec<usize> {
        plan.shards().map(|id| plan.subscriptions_of(id).len()).collect()
    }

    #[test]
    fn what_fits_one_channel_is_not_combined() {
        let plan = Plan::default().next(&queues(0..333, &DEFAULT), 1).unwrap();
        assert_eq!((sizes(&plan), plan.is_combined()), (vec![999], false));
    }

    #[test]
    fn what_does_not_is_combined_and_all_topics_of_a_key_share_a_shard() {
        let plan = Plan::default().next(&queues(0..1_000, &DEFAULT), 1).unwrap();
        assert_eq!((sizes(&plan), plan.topics()), (vec![1_000, 1_000], 3_000));
        let first = plan.subscriptions_of(ShardId(0));
        let id = "00000000-0000-4000-8000-000000000000";
        assert_eq!(
            (&*first[0], &*first[1]),
            (
                &*format!("v2.routing.queues.{id}?conversations&users"),
                &*format!("v2.analytics.queues.{id}.observations")
            )
        );
    }

    #[test]
    fn nineteen_shards_are_taken_and_with_redundancy_nine() {
        let one = ["v2.routing.queues.{id}.users"];
        assert_eq!(sizes(&Plan::default().next(&queues(0..19_000, &one), 1).unwrap()).len(), 19);
        assert_eq!(sizes(&Plan::default().next(&queues(0..9_000, &one), 2).unwrap()).len(), 9);
        let refused = Plan::default().next(&queues(0..9_001, &one), 2).unwrap_err();
        assert_eq!((refused.subscriptions, refused.shards, refused.redundancy), (9_001, 10, 2));
        assert!(refused.to_string().contains("21 channels"), "{refused}");
        let refused = Plan::default().next(&queues(0..19_001, &one), 1).unwrap_err();
        assert_eq!((refused.topics, refused.shards), (19_001, 20));
    }

    #[test]
    fn a_combined_topic_of_the_users_own_counts_once_and_keeps_its_key() {
        let topics =
            queues(0..2, &["v2.users.{id}?presence&routingStatus", "v2.users.{id}.presence"]);
        let plan = Plan::default().next(&topics, 1).unwrap();
        assert_eq!((plan.topics(), plan.subscriptions(), plan.keys().len()), (4, 2, 2));
        let first = plan.subscriptions_of(ShardId(0));
        assert!(first[0].ends_with("?presence&routingStatus"), "{first:?}");
    }

    #[test]
    fn a_combined_topic_is_never_longer_than_the_platform_takes() {
        let words: Vec<String> = (0..30).map(|n| format!("v2.users.{{id}}.topic{n:06}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let plan = Plan::default().next(&queues(0..40, &words), 1).unwrap();
        let names = plan.subscriptions_of(ShardId(0));
        assert!(plan.is_combined() && names.iter().all(|name| name.len() <= TOPIC_LENGTH_MAX));
        let parts: usize = names.iter().map(|name| expand(&Topic::new(name)).len()).sum();
        assert_eq!(parts, 1_200);
    }

    #[test]
    fn a_list_that_outgrows_its_channel_is_combined_on_it_rather_than_divided() {
        let before = Plan::default().next(&queues(0..333, &DEFAULT), 1).unwrap();
        let after = before.next(&queues(0..400, &DEFAULT), 1).unwrap();
        assert_eq!((sizes(&after), after.is_combined()), (vec![800], true));
    }

    proptest! {
        #[test]
        fn what_stays_wanted_stays_on_its_shard(
            before in prop::collection::btree_set(0..3_000usize, 1..1_500),
            after in prop::collection::btree_set(0..3_000usize, 1..1_500),
        ) {
            let first = Plan::default().next(&queues(before.clone(), &DEFAULT), 1).unwrap();
            let second = first.next(&queues(after.clone(), &DEFAULT), 1).unwrap();
            for (id, carried) in &first.shards {
                for key in carried.keys().filter(|key| second.keys().contains(&***key)) {
                    prop_assert!(second.shards[id].contains_key(key));
                }
            }
            prop_assert_eq!(second.keys().len(), after.len());
            prop_assert!(sizes(&second).iter().all(|size| (1..=TOPICS_PER_CHANNEL).contains(size)));
        }
    }
}
