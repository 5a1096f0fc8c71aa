//! Whether a shard is covered, and which intervals were not: what all of its legs missed at once.
//!
//! A leg's outage begins with its last frame, and is often found out long after: a dead peer says nothing. So what a leg missed is
//! remembered until the other is known to have been alive after it. It neither keeps sessions nor decides anything about them.

use super::Reason;
use crate::time::Time;
use std::collections::VecDeque;

/// Outages that are remembered for each leg; more of them within the time in which a dead peer is noticed are taken as one.
const OUTAGES_MAX: usize = 64;

/// An interval in which a leg may have missed notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outage {
    from: Time,
    /// None while it lasts.
    to: Option<Time>,
    /// None before the leg first delivered.
    cause: Option<Reason>,
}

/// What a shard's legs missed.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// The outages of each leg, oldest first; only the last may last on.
    legs: Vec<VecDeque<Outage>>,
    /// Whether a leg ever delivered: before that nothing is missed.
    began: bool,
    /// Whether a gap is open.
    gap: bool,
    /// When the last gap ended, or delivery began: what was missed before is told.
    told: Time,
}

/// What follows for the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No leg delivers any more.
    Opened {
        /// The last frame of any leg.
        from: Time,
        /// Why the leg ended that had it.
        cause: Reason,
    },
    /// A leg delivers again.
    Closed,
    /// No leg delivered, as is found out now.
    Missed {
        /// The last frame of any leg.
        from: Time,
        /// The first certain delivery of any leg.
        to: Time,
        /// Why the leg ended that had that frame.
        cause: Reason,
    },
}

impl Coverage {
    /// A shard with so many legs, none of which delivers yet.
    pub fn new(legs: usize) -> Self {
        let not_begun = Outage { from: Time::START, to: None, cause: None };
        Self {
            legs: vec![VecDeque::from([not_begun]); legs],
            began: false,
            gap: false,
            told: Time::START,
        }
    }

    /// Whether a leg delivers.
    pub fn is_covered(&self) -> bool {
        self.legs.iter().any(|leg| open(leg).is_none())
    }

    /// Whether a gap is open.
    pub const fn has_gap(&self) -> bool {
        self.gap
    }

    /// A leg that delivered does so no more. `from` is its last frame.
    pub fn lost(&mut self, leg: usize, from: Time, cause: Reason) -> Vec<Finding> {
        let outage = Outage { from, to: None, cause: Some(cause) };
        let mut findings = self.compare(leg, outage);
        self.tell(&findings);
        self.push(leg, outage);
        if self.began && !self.gap && !self.is_covered() {
            let last = self.legs.iter().filter_map(open).max_by_key(|outage| outage.from);
            let last = last.unwrap_or(outage);
            self.gap = true;
            findings.push(Finding::Opened { from: last.from, cause: last.cause.unwrap_or(cause) });
        }
        findings
    }

    /// A leg delivers for certain from `to` on.
    pub fn back(&mut self, leg: usize, to: Time) -> Option<Finding> {
        if !self.began || self.gap {
            self.told = to;
        }
        self.began = true;
        let outages = &mut self.legs[leg];
        if let Some(last) = outages.back_mut().filter(|last| last.to.is_none()) {
            last.to = Some(to);
        }
        if self.legs.len() == 1 {
            self.legs[leg].clear();
        }
        std::mem::take(&mut self.gap).then_some(Finding::Closed)
    }

    /// A leg missed what came from `from` to `to`, as is found out now.
    pub fn missed(&mut self, leg: usize, from: Time, to: Time, cause: Reason) -> Vec<Finding> {
        let outage = Outage { from, to: Some(to), cause: Some(cause) };
        let findings = if self.legs.len() == 1 {
            vec![Finding::Missed { from, to, cause }]
        } else {
            self.compare(leg, outage)
        };
        self.tell(&findings);
        let lasts = open(&self.legs[leg]);
        if lasts.is_some() {
            self.legs[leg].pop_back();
        }
        if self.legs.len() > 1 {
            self.push(leg, outage);
        }
        self.legs[leg].extend(lasts);
        findings
    }

    /// A leg that delivers was alive at `until` and ever since its last outage: what others missed before that, it did not.
    pub fn proven(&mut self, leg: usize, until: Time) {
        if self.legs.len() > 1 && open(&self.legs[leg]).is_none() {
            for (other, outages) in self.legs.iter_mut().enumerate() {
                if other != leg {
                    outages.retain(|outage| outage.to.is_none_or(|to| to > until));
                }
            }
        }
    }

    /// Until when nothing can have been missed but what is told, if each leg that delivers was alive at the time that is handed over:
    /// from there on, no leg is known to have carried the topics. None where no leg delivers.
    pub fn complete_until(&self, alive: &[Option<Time>]) -> Option<Time> {
        let latest = alive.iter().flatten().max().copied()?;
        let carried = |at: Time| {
            self.legs.iter().zip(alive).any(|(outages, alive)| {
                let is_out = |out: &Outage| out.from <= at && out.to.is_none_or(|to| at < to);
                alive.is_some_and(|alive| at < alive) && !outages.iter().any(is_out)
            })
        };
        let ends = self.legs.iter().flatten().map(|outage| outage.from);
        let ends = ends.chain(alive.iter().flatten().copied());
        ends.filter(|at| self.told <= *at && !carried(*at)).min().or(Some(latest))
    }

    /// What is found to be missing is told, and needs no telling again.
    fn tell(&mut self, findings: &[Finding]) {
        for finding in findings {
            if let Finding::Missed { to, .. } = finding {
                self.told = self.told.max(*to);
            }
        }
    }

    /// What the others missed within an outage that is new to us, where one of the two is over.
    fn compare(&self, leg: usize, new: Outage) -> Vec<Finding> {
        let others = self.legs.iter().enumerate().filter(|(other, _)| *other != leg);
        let overlap = |known: &Outage| {
            let from = known.from.max(new.from);
            let to = [known.to, new.to].into_iter().flatten().min()?;
            let later = if known.from > new.from { known.cause } else { new.cause };
            let cause = later.or(new.cause).or(known.cause)?;
            (self.began && from < to).then_some(Finding::Missed { from, to, cause })
        };
        others.flat_map(|(_, outages)| outages.iter().filter_map(overlap)).collect()
    }

    fn push(&mut self, leg: usize, outage: Outage) {
        let outages = &mut self.legs[leg];
        outages.push_back(outage);
        if outages.len() > OUTAGES_MAX
            && let Some(oldest) = outages.pop_front()
            && let Some(next) = outages.front_mut()
        {
            next.from = oldest.from.min(next.from);
        }
    }
}

fn open(leg: &VecDeque<Outage>) -> Option<Outage> {
    leg.back().copied().filter(|last| last.to.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Reason = Reason::Cut;
    const SILENT: Reason = Reason::Silent;

    fn at(second: u64) -> Time {
        Time::from_micros(second * 1_000_000)
    }

    fn both_live() -> Coverage {
        let mut coverage = Coverage::new(2);
        assert_eq!(coverage.back(0, at(1)), None);
        assert_eq!(coverage.back(1, at(2)), None);
        coverage
    }

    #[test]
    fn one_leg_alone_is_a_gap_and_so_is_what_it_missed_unnoticed() {
        let mut coverage = Coverage::new(1);
        assert_eq!(coverage.back(0, at(1)), None);
        let opened = Finding::Opened { from: at(5), cause: CUT };
        assert_eq!(coverage.lost(0, at(5), CUT), [opened]);
        assert_eq!(coverage.back(0, at(6)), Some(Finding::Closed));
        let missed = Finding::Missed { from: at(7), to: at(8), cause: SILENT };
        assert_eq!(coverage.missed(0, at(7), at(8), SILENT), [missed]);
    }

    #[test]
    fn the_loss_of_either_leg_is_no_gap_and_the_loss_of_both_is() {
        let mut coverage = both_live();
        assert_eq!(coverage.lost(0, at(5), CUT), []);
        assert!(coverage.is_covered());
        let opened = Finding::Opened { from: at(6), cause: SILENT };
        assert_eq!(coverage.lost(1, at(6), SILENT), [opened]);
        assert_eq!(coverage.back(0, at(7)), Some(Finding::Closed));
        assert_eq!(coverage.back(1, at(8)), None);
    }

    #[test]
    fn a_leg_that_was_dead_while_the_other_was_away_is_found_out_later() {
        let mut coverage = both_live();
        assert_eq!(coverage.lost(0, at(10), CUT), []);
        assert_eq!(coverage.back(0, at(12)), None);
        // The second leg had its last frame at 5, and is found dead at 40.
        let missed = Finding::Missed { from: at(10), to: at(12), cause: CUT };
        assert_eq!(coverage.lost(1, at(5), SILENT), [missed]);
        assert!(coverage.is_covered());
    }

    #[test]
    fn nothing_is_vouched_for_that_a_leg_missed_and_the_other_may_have_missed_too() {
        let mut coverage = both_live();
        let until = |coverage: &Coverage, alive: [Option<u64>; 2]| {
            coverage.complete_until(&alive.map(|second| second.map(at)))
        };
        assert_eq!(until(&coverage, [Some(8), Some(9)]), Some(at(9)));
        // The first leg is cut; the second was last heard before that, or is heard ever since.
        coverage.lost(0, at(10), CUT);
        assert_eq!(until(&coverage, [None, Some(9)]), Some(at(9)));
        assert_eq!(until(&coverage, [None, Some(11)]), Some(at(11)));
        // It is back, and the second leg has said nothing since.
        coverage.back(0, at(12));
        assert_eq!(
            until(&coverage, [Some(20), Some(9)]),
            Some(at(10)),
            "as far as the first was there"
        );
        assert_eq!(until(&coverage, [Some(20), Some(11)]), Some(at(11)));
        assert_eq!(until(&coverage, [Some(20), Some(13)]), Some(at(20)));
        // Both are lost: that is told, whatever comes back first.
        coverage.lost(1, at(21), CUT);
        coverage.lost(0, at(22), CUT);
        assert_eq!(until(&coverage, [None, None]), None);
        coverage.back(1, at(25));
        assert_eq!(until(&coverage, [None, Some(26)]), Some(at(26)));
    }

    #[test]
    fn a_leg_that_was_heard_after_the_others_outage_vouches_for_it() {
        let mut coverage = both_live();
        coverage.lost(0, at(10), CUT);
        coverage.back(0, at(12));
        coverage.proven(1, at(11));
        coverage.proven(1, at(13));
        assert_eq!(coverage.lost(1, at(13), SILENT), []);
    }
}
