//! One file of the journal as its readers see it: what it holds from which position on, and where.
//!
//! The writer lengthens it, readers read below `end`. Neither decides here when it is removed.

use super::storage::Page;
use crate::event::Epoch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Every so many bytes a place is remembered, so that finding a position reads no more than this in vain.
const STRIDE: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Segment {
    /// Its number; a younger segment has a greater one.
    pub(super) number: u64,
    pub(super) epoch: Epoch,
    /// The sinks that its numbers are for, in their order.
    pub(super) sinks: Vec<String>,
    /// Positions from here on are not in older segments, even where those hold a copy.
    pub(super) first: u64,
    pub(super) page: Arc<dyn Page>,
    end: AtomicU64,
    /// Positions and where their frames begin, both rising.
    places: Mutex<Vec<(u64, u64)>>,
}

impl Segment {
    /// A segment whose head ends at `end`.
    pub(super) fn new(
        number: u64,
        epoch: Epoch,
        sinks: Vec<String>,
        first: u64,
        page: Arc<dyn Page>,
        end: u64,
    ) -> Self {
        let places = Mutex::new(vec![(first, end)]);
        Self { number, epoch, sinks, first, page, end: AtomicU64::new(end), places }
    }

    /// The file's name.
    pub(super) fn name(number: u64) -> String {
        format!("{number:012}.log")
    }

    /// The number in a file's name, if it is the name of a segment.
    pub(super) fn number(name: &str) -> Option<u64> {
        name.strip_suffix(".log").filter(|stem| stem.len() >= 12)?.parse().ok()
    }

    /// Where what may be read ends.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// More may be read.
    pub(super) fn lengthen(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// The event at `position` begins at `offset`; called for each in order.
    pub(super) fn remember(&self, position: u64, offset: u64) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.last().is_none_or(|last| offset >= last.1 + STRIDE) {
            places.push((position, offset));
        }
    }

    /// A place at or before that of `position`.
    pub(super) fn place(&self, position: u64) -> u64 {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let after = places.partition_point(|place| place.0 <= position);
        places.get(after.saturating_sub(1)).map_or(0, |place| place.1)
    }
}
