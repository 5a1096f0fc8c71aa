//! What one process leaves to the next: what each shard had heard last, and the gap that begins there.

use super::causes::{FEED_SILENT, LOST, RESTART};
use super::marks::{self, Mark, Marks, Print};
use super::{Gaps, Heard};
use crate::journal::Journal;
use crate::sequence::Cover;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// The last process's word of what it heard is no older than this.
const LAG: Duration = Duration::from_secs(3);

impl Gaps {
    /// The process did not run: what each shard heard last, by the last process's own word, and what the journal has of a later
    /// time. That word lags; where one session was all there was, the last notification in the journal was its, or came after a gap that
    /// was open when the process ended, which begins where that session was heard last.
    pub fn restarted(
        &mut self,
        mut heard: Marks,
        journalled: Option<Timestamp>,
        now: Timestamp,
        journal: &mut Journal,
    ) {
        self.continued(&heard);
        self.is_restarted = true;
        let count = heard.len();
        if let (Some(mut only), 1) = (heard.first_entry(), count)
            && only.get().alone
        {
            let word = only.get().at;
            let later = journalled.filter(|at| *at > word && at.since(word) <= LAG && *at <= now);
            only.get_mut().at = later.unwrap_or(word);
        }
        for (shard, mark) in &heard {
            // What was suspected of a session ends with it.
            self.close(*shard, FEED_SILENT, mark.at, LOST, now, journal);
            // A gap that was open when the process ended goes on, and says all that this one would.
            if self.cover(*shard, RESTART).is_none() {
                self.open(*shard, RESTART, mark.at, Vec::new(), now, journal);
            }
        }
        // Of topics that are on another shard now, whose gap is their only one, nothing is known for longer than that.
        for (shard, mark) in &mut heard {
            let number = self.cover(*shard, RESTART).map(|at| self.covers[at].number());
            let open = self.ledger.open_gaps().find(|gap| Some(gap.number) == number);
            mark.at = open.map_or(mark.at, |gap| gap.from.min(mark.at));
        }
        self.left = heard;
    }

    /// Another process went on until this one did: what it had heard is what there is to know, until this one knows better.
    pub fn continued(&self, heard: &Marks) {
        if let Some(keeper) = &self.keeper {
            keeper.found(heard);
        }
    }

    /// The gap between two processes is one of each shard there is now, whichever shards there were.
    pub(super) fn unpack(&mut self, gone: &[Cover], now: Timestamp, journal: &mut Journal) {
        let mut left = std::mem::take(&mut self.left);
        for cover in gone {
            let open = self.ledger.open_gaps().find(|gap| gap.number == cover.number());
            let from = open.map_or(now, |gap| gap.from);
            let unknown = Mark { at: from, topics: Print::default(), alone: false };
            let mark = left.entry(cover.shard()).or_insert(unknown);
            mark.at = from.min(mark.at);
        }
        for (shard, topics) in self.topics.clone() {
            let Some(from) = marks::since(&left, shard, &topics) else { continue };
            match self.cover(shard, RESTART) {
                // Its topics are added with that beginning, as soon as all shards have their gap.
                Some(at) => {
                    self.ledger.extend(self.covers[at].number(), from, 0);
                }
                None => self.open(shard, RESTART, from, Vec::new(), now, journal),
            }
        }
    }

    /// What each shard with certain delivery has heard last, for the next process.
    pub fn mark(&mut self, heard: &BTreeMap<u16, Heard>) {
        if self.is_unkept {
            self.save();
        }
        if let Some(keeper) = &self.keeper {
            keeper.mark(self.marks(heard), &self.topics.keys().copied().collect());
        }
    }

    /// A shard delivers for certain, and whatever it missed before lies in a gap that has ended.
    pub fn begin(&self, shard: u16, at: Timestamp) {
        let heard = BTreeMap::from([(shard, Heard { at, alone: false })]);
        if let (Some(keeper), Some(mark)) = (&self.keeper, self.marks(&heard).get(&shard)) {
            keeper.begin(shard, *mark, &self.topics.keys().copied().collect());
        }
    }

    /// The same at an orderly end: nothing more will be heard, and all of it is in the journal.
    pub fn mark_last(&self, heard: &BTreeMap<u16, Heard>) {
        if let Some(keeper) = &self.keeper {
            keeper.mark_last(self.marks(heard), &self.topics.keys().copied().collect());
        }
    }

    /// What is kept for the next process.
    #[cfg(test)]
    pub fn marked(&self) -> Marks {
        self.keeper.as_ref().map(super::Keeper::marked).unwrap_or_default()
    }

    fn marks(&self, heard: &BTreeMap<u16, Heard>) -> Marks {
        let mark = |(shard, heard): (&u16, &Heard)| {
            let topics = Print::of(self.topics.get(shard)?);
            Some((*shard, Mark { at: heard.at, topics, alone: heard.alone }))
        };
        heard.iter().filter_map(mark).collect()
    }
}
