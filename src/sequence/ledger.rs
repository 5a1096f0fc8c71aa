//! The gap ledger: which intervals may lack notifications, why, and what was done about it.
//!
//! Bounded. It names gaps; it neither finds nor fills them, and is kept on disk by `bridge`.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How sure it is that notifications could not be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// No session carried the topics.
    Certain,
    /// A session was there, but may not have heard everything.
    Possible,
}

impl Certainty {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Certain, Self::Possible];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Possible => "possible",
        }
    }
}

/// What came of re-basing after a gap, counted in topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebased {
    /// A snapshot was published.
    pub snapshots: u64,
    /// Live events kept overtaking the snapshot, or another gap asked again.
    pub superseded: u64,
    /// REST did not show it.
    pub failed: u64,
    /// There is no snapshot of such a topic: what was missed stays missed.
    pub without: u64,
}

/// An interval in which notifications may have been missed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// From 1, in the order in which gaps were opened.
    pub number: u64,
    /// Whose topics.
    pub shard: u16,
    /// The sink whose events are missing; none where they are missing to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<&'static str>,
    /// Why.
    pub cause: &'static str,
    /// How sure.
    pub certainty: Certainty,
    /// The last moment that is known to be complete.
    pub from: Timestamp,
    /// The first moment that is known to be complete again; none while the gap is open.
    pub to: Option<Timestamp>,
    /// How long it was, in seconds; none while the gap is open.
    pub seconds: Option<f64>,
    /// How many topics it concerns.
    pub topics: usize,
    /// How delivery came back; none while the gap is open.
    pub action: Option<&'static str>,
    /// What came of re-basing; none until that is known, or where it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebased: Option<Rebased>,
}

/// All open gaps and the latest closed ones.
#[derive(Debug)]
pub struct Ledger {
    /// By number.
    gaps: VecDeque<Gap>,
    opened: u64,
    dropped: u64,
    closed_max: usize,
}

impl Ledger {
    /// A ledger that keeps at most `closed_max` closed gaps. Open ones are always kept: a shard has at most one of each cause.
    pub fn new(closed_max: usize) -> Self {
        Self { gaps: VecDeque::new(), opened: 0, dropped: 0, closed_max }
    }

    /// A ledger as it was left: `gaps` by number, of `opened` that there have been.
    pub fn restored(gaps: Vec<Gap>, opened: u64, closed_max: usize) -> Self {
        let opened = gaps.last().map_or(0, |last| last.number).max(opened);
        let dropped = opened - gaps.len() as u64;
        Self { gaps: gaps.into(), opened, dropped, closed_max }
    }

    /// Opens a gap and returns its number.
    pub fn open(
        &mut self,
        shard: u16,
        cause: &'static str,
        certainty: Certainty,
        from: Timestamp,
        topics: usize,
    ) -> u64 {
        self.opened += 1;
        self.gaps.push_back(Gap {
            number: self.opened,
            shard,
            sink: None,
            cause,
            certainty,
            from,
            to: None,
            seconds: None,
            topics,
            action: None,
            rebased: None,
        });
        self.opened
    }

    /// Says that an open gap concerns one sink alone.
    pub fn concern(&mut self, number: u64, sink: &'static str) {
        if let Some(gap) = self.find_open(number) {
            gap.sink = Some(sink);
        }
    }

    /// Widens an open gap: it began earlier, or concerns more topics than was known. Says whether there was such a gap.
    pub fn extend(&mut self, number: u64, from: Timestamp, topics: usize) -> bool {
        let Some(gap) = self.find_open(number) else {
            return false;
        };
        gap.from = gap.from.min(from);
        gap.topics = gap.topics.max(topics);
        true
    }

    /// Closes an open gap and returns it as it stands; none when there is no such open gap.
    pub fn close(&mut self, number: u64, to: Timestamp, action: &'static str) -> Option<Gap> {
        let gap = self.find_open(number)?;
        // The calendar may have been set back meanwhile; a gap never has a negative length.
        let to = to.max(gap.from);
        let micros = to.as_micros() - gap.from.as_micros();
        gap.to = Some(to);
        gap.seconds = Some(micros as f64 / 1e6);
        gap.action = Some(action);
        let closed = gap.clone();
        self.drop_oldest_closed();
        Some(closed)
    }

    /// Says what came of re-basing after a gap; false when the gap is no longer kept.
    pub fn rebase(&mut self, number: u64, rebased: Rebased) -> bool {
        let at = self.gaps.binary_search_by_key(&number, |gap| gap.number);
        let gap = at.ok().and_then(|at| self.gaps.get_mut(at));
        gap.map(|gap| gap.rebased = Some(rebased)).is_some()
    }

    /// All gaps that are kept, oldest first.
    pub fn list(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// The gaps that are open, oldest first.
    pub fn open_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.to.is_none())
    }

    /// How many gaps there have been, dropped ones included.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// How many closed gaps are no longer kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn find_open(&mut self, number: u64) -> Option<&mut Gap> {
        let at = self.gaps.binary_search_by_key(&number, |gap| gap.number).ok()?;
        self.gaps.get_mut(at).filter(|gap| gap.to.is_none())
    }

    fn drop_oldest_closed(&mut self) {
        let is_closed = |gap: &Gap| gap.to.is_some();
        if self.gaps.iter().filter(|gap| is_closed(gap)).count() > self.closed_max
            && let Some(oldest) = self.gaps.iter().position(is_closed)
        {
            self.gaps.remove(oldest);
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn a_gap_is_opened_extended_and_closed_once() {
        let mut ledger = Ledger::new(10);
        let number = ledger.open(2, "cut", Certainty::Certain, at(10), 5);
        assert!(ledger.extend(number, at(9), 7));
        let gap = ledger.close(number, at(12), "rebased").expect("open");
        assert_eq!(
            (gap.from, gap.to, gap.seconds, gap.topics),
            (at(9), Some(at(12)), Some(3.0), 7)
        );
        assert_eq!(ledger.close(number, at(13), "again"), None);
        assert!(!ledger.extend(number, at(1), 1));
    }

    #[test]
    fn only_closed_gaps_make_room_and_they_are_counted() {
        let mut ledger = Ledger::new(2);
        let open = ledger.open(0, "silent", Certainty::Possible, at(0), 1);
        for second in 1..=4 {
            let number = ledger.open(1, "cut", Certainty::Certain, at(second), 1);
            ledger.close(number, at(second + 1), "none");
        }
        let kept: Vec<u64> = ledger.list().map(|gap| gap.number).collect();
        assert_eq!(kept, [open, 4, 5]);
        assert_eq!((ledger.opened(), ledger.dropped()), (5, 2));
        assert_eq!(ledger.open_gaps().count(), 1);
        assert!(ledger.close(open, at(9), "none").is_some());
    }

    #[test]
    fn the_api_shows_it_as_promised() {
        let mut ledger = Ledger::new(2);
        ledger.open(3, "cut", Certainty::Certain, at(0), 12);
        let shown = serde_json::to_string(ledger.list().next().expect("one")).expect("plain");
        assert_eq!(
            shown,
            r#"{"number":1,"shard":3,"cause":"cut","certainty":"certain","from":"1970-01-01T00:00:00.000000Z","to":null,"seconds":null,"topics":12,"action":null}"#
        );
    }
}
