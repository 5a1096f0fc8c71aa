//! The occurrences of one body on one topic that are still of interest: from the first sight until `hold` after publication.

use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// One bit per leg of a shard; what a bit stands for is the shard's business.
pub(super) type Legs = u64;

#[derive(Debug)]
pub(super) struct Entry {
    /// When the chain began: there was no sight of the body for at least `hold` before. A chain that began `hold` after a leg
    /// did is counted exactly between that leg and those before it; in an older one the leg may have missed the first ones.
    born: Time,
    /// When the body was last seen on any leg.
    touched: Time,
    /// The fingerprint of the topic's key.
    pub(super) key: u64,
    /// Oldest first.
    occurrences: VecDeque<Occurrence>,
    /// For each leg: at most how many sights of earlier legs it may have missed because it began too late for them.
    early: Vec<(Legs, usize)>,
}

#[derive(Debug)]
struct Occurrence {
    /// When it was first seen.
    born: Time,
    /// When it was published; when it was first seen, while it is held.
    at: Time,
    /// Which legs have shown it.
    seen: Legs,
    /// Which legs have shown something younger of its key instead: they never will.
    passed: Legs,
    state: State,
    /// Its place in the order in which things went out; 0 while it is held.
    number: u64,
    /// Whether it went out in the true order of its key.
    in_order: bool,
}

/// Which occurrence a sight was paired with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paired {
    pub(super) state: State,
    /// As `Occurrence::number`.
    pub(super) number: u64,
    /// Whether it went out in the true order of its key.
    pub(super) in_order: bool,
    /// When the occurrence was first seen.
    pub(super) born: Time,
}

/// An occurrence that is of interest no longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    pub(super) seen: Legs,
    pub(super) number: u64,
    pub(super) born: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A follower has shown it; the number is that of the held sight.
    Held(u64),
    /// It went out.
    Published,
    /// It went out, and whether the leading leg's next sight is this occurrence or the one after it cannot be told.
    Doubted,
}

impl Entry {
    pub(super) fn new(born: Time, key: u64) -> Self {
        Self { born, touched: born, key, occurrences: VecDeque::new(), early: Vec::new() }
    }

    /// Whether nothing is left of it and the body has not been seen since `until`.
    pub(super) fn is_over(&self, until: Time) -> bool {
        self.occurrences.is_empty() && self.touched <= until
    }

    /// The body was seen.
    pub(super) fn touch(&mut self, now: Time) {
        self.touched = self.touched.max(now);
    }

    pub(super) fn push(&mut self, at: Time, seen: Legs, state: State, number: u64, in_order: bool) {
        self.touch(at);
        let passed = 0;
        self.occurrences.push_back(Occurrence {
            born: at,
            at,
            seen,
            passed,
            state,
            number,
            in_order,
        });
    }

    /// Whether something went out that `leg` has neither shown nor passed over.
    pub(super) fn has_unseen(&self, leg: Legs) -> bool {
        self.occurrences.iter().any(|o| o.number > 0 && (o.seen | o.passed) & leg == 0)
    }

    /// Whether something went out that `leg` has passed over.
    pub(super) fn has_passed(&self, leg: Legs) -> bool {
        self.occurrences.iter().any(|o| o.passed & leg != 0)
    }

    /// Pairs a sight on `leg` with the oldest occurrence that the leg has neither shown nor passed over. With `held_only` nothing
    /// that went out is considered.
    pub(super) fn pair(&mut self, leg: Legs, held_only: bool) -> Option<Paired> {
        let mut eligible = self.occurrences.iter_mut().filter(|o| !held_only || o.number == 0);
        let occurrence = eligible.find(|o| (o.seen | o.passed) & leg == 0)?;
        occurrence.seen |= leg;
        let Occurrence { state, number, in_order, born, .. } = *occurrence;
        Some(Paired { state, number, in_order, born })
    }

    /// As `pair`, for what is known to have gone out already: what is held is left alone. Answers its number, if there was any.
    pub(super) fn pair_published(&mut self, leg: Legs) -> Option<u64> {
        let mut went_out =
            self.occurrences.iter_mut().filter(|o| !matches!(o.state, State::Held(_)));
        let occurrence = went_out.find(|o| o.seen & leg == 0)?;
        occurrence.seen |= leg;
        Some(occurrence.number)
    }

    /// `leg` has shown something younger of the key than the occurrence of that number.
    pub(super) fn pass(&mut self, leg: Legs, number: u64) {
        let mut occurrences = self.occurrences.iter_mut();
        let Some(occurrence) = occurrences.find(|o| o.number == number && o.seen & leg == 0) else {
            return;
        };
        occurrence.passed |= leg;
        self.missed_one(leg);
    }

    /// How many of the earlier legs' sights `leg` may have missed without our knowing which.
    pub(super) fn early(&self, leg: Legs) -> usize {
        self.early.iter().find(|(known, _)| *known == leg).map_or(0, |(_, count)| *count)
    }

    /// `leg` is counted exactly again.
    pub(super) fn clear_early(&mut self, leg: Legs) {
        self.early.retain(|(known, _)| *known != leg);
    }

    /// How many sights of `leg` may have been paired with an occurrence although they were of another that no other leg has shown.
    pub(super) fn unaccounted(&self, leg: Legs) -> usize {
        let unseen =
            |o: &&Occurrence| (o.seen | o.passed) & leg == 0 && !matches!(o.state, State::Held(_));
        self.early(leg).saturating_sub(self.occurrences.iter().filter(unseen).count())
    }

    fn missed_one(&mut self, leg: Legs) {
        if let Some((_, count)) = self.early.iter_mut().find(|(known, _)| *known == leg) {
            *count = count.saturating_sub(1);
        }
    }

    /// The doubt about the occurrence that `leg` has been paired with last is settled: its sight has gone out.
    pub(super) fn clear_doubt(&mut self, leg: Legs) {
        let paired = self.occurrences.iter_mut().rev();
        if let Some(occurrence) =
            paired.filter(|o| o.seen & leg != 0).find(|o| o.state == State::Doubted)
        {
            occurrence.state = State::Published;
        }
    }

    /// The occurrence of that held sight has gone out. Returns which legs have shown it.
    pub(super) fn publish(&mut self, held: u64, now: Time, number: u64, in_order: bool) -> Legs {
        let mut occurrences = self.occurrences.iter_mut();
        let Some(occurrence) = occurrences.find(|o| o.state == State::Held(held)) else {
            return Legs::MAX;
        };
        occurrence.state = State::Published;
        (occurrence.number, occurrence.in_order) = (number, in_order);
        occurrence.at = now;
        occurrence.seen
    }

    /// Forgets the oldest occurrence that went out by `until`.
    pub(super) fn forget(&mut self, until: Time) -> Option<Forgotten> {
        let at = self
            .occurrences
            .iter()
            .position(|o| !matches!(o.state, State::Held(_)) && o.at <= until)?;
        let Occurrence { seen, passed, number, born, .. } = self.occurrences.remove(at)?;
        for (leg, count) in &mut self.early {
            if (seen | passed) & *leg == 0 {
                *count = count.saturating_sub(1);
            }
        }
        Some(Forgotten { seen, number, born })
    }

    /// An earlier leg has shown the body at a time when `leg` may not have carried it yet.
    pub(super) fn count_early(&mut self, leg: Legs) {
        match self.early.iter_mut().find(|(known, _)| *known == leg) {
            Some((_, count)) => *count += 1,
            None => self.early.push((leg, 1)),
        }
    }

    /// `leg` begins: whatever its bit stood for before, it has shown nothing, and may have missed all that went out. Returns
    /// the numbers of that.
    pub(super) fn begin(&mut self, leg: Legs) -> Vec<u64> {
        for occurrence in &mut self.occurrences {
            occurrence.seen &= !leg;
            occurrence.passed &= !leg;
        }
        self.early.retain(|(known, _)| *known != leg);
        let went_out = |o: &&Occurrence| !matches!(o.state, State::Held(_));
        let missed: Vec<u64> = self.occurrences.iter().filter(went_out).map(|o| o.number).collect();
        if !missed.is_empty() {
            self.early.push((leg, missed.len()));
        }
        missed
    }

    /// `leg` leads from now on. Of what it has neither shown nor passed over, as many as it may have missed are in doubt: the
    /// youngest, since a leg shows things in order.
    pub(super) fn doubt(&mut self, leg: Legs) {
        let Some(at) = self.early.iter().position(|(known, _)| *known == leg) else {
            return;
        };
        let (_, count) = self.early.swap_remove(at);
        let unseen = self
            .occurrences
            .iter_mut()
            .rev()
            .filter(|o| (o.seen | o.passed) & leg == 0 && o.state == State::Published);
        for occurrence in unseen.take(count) {
            occurrence.state = State::Doubted;
        }
    }

    /// No leg is left to tell repeats from second sights.
    pub(super) fn doubt_all(&mut self) {
        for occurrence in &mut self.occurrences {
            occurrence.state = State::Doubted;
        }
    }

    /// Whether sights on a leg that began at `began` are counted exactly in this chain.
    pub(super) fn is_certain(&self, began: Time, hold: Duration) -> bool {
        self.born >= began + hold
    }
}
