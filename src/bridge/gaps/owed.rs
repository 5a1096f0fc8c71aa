//! What one sink could not be told yet, because its journal was full: for each topic one interval that grows.
//!
//! Bounded by the number of topics; decides nothing.

use crate::event::Topic;
use crate::sequence::Interval;
use std::collections::BTreeMap;
use std::collections::btree_map::IntoValues;

/// More topics than 20 channels have; what comes beyond is named by the gap's control events alone.
pub const TOPICS_MAX: usize = 65_536;

/// By the topic's name, so that records are made in an order that depends on nothing else.
#[derive(Debug, Default)]
pub struct Owed(BTreeMap<Box<str>, (Topic, Interval)>);

impl Owed {
    /// The sink lacks this too.
    pub fn add(&mut self, topic: &Topic, interval: &Interval) {
        if let Some((_, owed)) = self.0.get_mut(topic.name()) {
            owed.merge(interval);
        } else if self.0.len() < TOPICS_MAX {
            self.0.insert(topic.name().into(), (topic.clone(), interval.clone()));
        }
    }

    /// What the sink lacks of a topic; it is about to be told.
    pub fn take(&mut self, topic: &Topic) -> Option<Interval> {
        self.0.remove(topic.name()).map(|(_, interval)| interval)
    }

    /// Whether the sink lacks something of a topic.
    pub fn has(&self, topic: &Topic) -> bool {
        self.0.contains_key(topic.name())
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Owed {
    type Item = (Topic, Interval);
    type IntoIter = IntoValues<Box<str>, (Topic, Interval)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_values()
    }
}
