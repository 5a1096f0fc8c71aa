//! What a new epoch opens with: one or more events for each sink that name the last epoch and its last numbers, as far as they are known.
//!
//! Each is far below what a broker takes in one message.

use crate::event::{Entry, Epoch, Kind, Topic};
use crate::sequence::Sequencer;
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// About how many bytes of numbers one event holds: a quarter of the least limit among the brokers.
const PART: usize = 240 << 10;

/// Why a new epoch began: names that never change.
pub(super) mod reason {
    /// There was none before. No new epoch in place of another, so that it is not counted.
    pub(in crate::journal) const FIRST: &str = "first";
    /// The journal was not closed, and the system has been started anew since: the disk may lack what was told.
    pub(in crate::journal) const UNCLEAN: &str = "unclean";
    /// Part of the journal is damaged or missing.
    pub(in crate::journal) const DAMAGED: &str = "damaged";
    /// A sink is new here, or was away: its old numbers are not known.
    pub(in crate::journal) const SINK_ADDED: &str = "sink_added";
    /// So many keys have numbers that memory would not be bounded.
    pub(in crate::journal) const KEYS: &str = "keys";
    /// A sink holds more of the epoch than the journal: the journal is an old copy.
    pub(in crate::journal) const BEHIND: &str = "behind";
}

/// The data of one event.
#[derive(Serialize)]
struct Body<'a> {
    epoch: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Last<'a>>,
    part: usize,
    parts: usize,
    /// The last number of each key.
    numbers: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct Last<'a> {
    epoch: &'a str,
    position: u64,
    /// Whether these are surely the last numbers; else there may have been more.
    complete: bool,
}

/// What is told of the epoch that ends.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) epoch: &'a Epoch,
    pub(super) position: u64,
    pub(super) sequencer: &'a Sequencer,
}

/// The bodies for the sink at that place.
pub(super) fn bodies(ended: &Ended<'_>, epoch: &Epoch, reason: &str, sink: usize) -> Vec<Vec<u8>> {
    let mut parts: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::new()];
    let mut length = 0;
    for (key, numbers) in ended.sequencer.list().filter(|(_, numbers)| numbers[sink] > 0) {
        length += key.len() + 24;
        if length > PART {
            parts.push(BTreeMap::new());
            length = key.len() + 24;
        }
        if let Some(part) = parts.last_mut() {
            part.insert(key, numbers[sink]);
        }
    }
    let complete = matches!(reason, reason::KEYS | reason::SINK_ADDED);
    let count = parts.len();
    let body = |(at, numbers)| Body {
        epoch: epoch.as_str(),
        reason,
        last: Some(Last { epoch: ended.epoch.as_str(), position: ended.position, complete }),
        part: at + 1,
        parts: count,
        numbers,
    };
    let bodies = parts.into_iter().enumerate().map(body);
    // Strings and numbers are always JSON.
    bodies.map(|body| serde_json::to_vec(&body).unwrap_or_default()).collect()
}

/// What the first epoch of a folder opens with, for every sink.
pub(super) fn first(epoch: &Epoch, now: Timestamp) -> Entry {
    let (epoch, reason) = (epoch.as_str(), reason::FIRST);
    let body = Body { epoch, reason, last: None, part: 1, parts: 1, numbers: BTreeMap::new() };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Entry::own(Kind::Epoch, Topic::control(), body.into(), now)
}

#[cfg(test)]
mod tests {
    use super::reason;
    use crate::telemetry::metrics::EPOCH_REASONS;

    #[test]
    fn every_reason_for_a_new_epoch_has_its_series_from_the_start() {
        let reasons =
            [reason::UNCLEAN, reason::DAMAGED, reason::SINK_ADDED, reason::KEYS, reason::BEHIND];
        assert_eq!(reasons, EPOCH_REASONS);
    }
}
