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
    /// When it was published; when it was first seen, while it is held.
    at: Time,
    /// Which legs have shown it.
    seen: Legs,
    state: State,
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

    pub(super) fn push(&mut self, at: Time, seen: Legs, state: State) {
        self.touch(at);
        self.occurrences.push_back(Occurrence { at, seen, state });
    }

    /// Pairs a sight on `leg` with the oldest occurrence that the leg has not shown.
    pub(super) fn pair(&mut self, leg: Legs) -> Option<State> {
        let occurrence = self.occurrences.iter_mut().find(|o| o.seen & leg == 0)?;
        occurrence.seen |= leg;
        Some(occurrence.state)
    }

    /// As `pair`, for what is known to have gone out already: what is held is left alone. Says whether there was any.
    pub(super) fn pair_published(&mut self, leg: Legs) -> bool {
        let mut went_out =
            self.occurrences.iter_mut().filter(|o| !matches!(o.state, State::Held(_)));
        let unseen = went_out.find(|o| o.seen & leg == 0);
        unseen.map(|occurrence| occurrence.seen |= leg).is_some()
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
    pub(super) fn publish(&mut self, held: u64, now: Time) -> Legs {
        let mut occurrences = self.occurrences.iter_mut();
        let Some(occurrence) = occurrences.find(|o| o.state == State::Held(held)) else {
            return Legs::MAX;
        };
        occurrence.state = State::Published;
        occurrence.at = now;
        occurrence.seen
    }

    /// Forgets the oldest occurrence that went out before `until`, and says which legs had shown it.
    pub(super) fn forget(&mut self, until: Time) -> Option<Legs> {
        let at = self
            .occurrences
            .iter()
            .position(|o| !matches!(o.state, State::Held(_)) && o.at <= until)?;
        let seen = self.occurrences.remove(at)?.seen;
        for (leg, count) in &mut self.early {
            if seen & *leg == 0 {
                *count = count.saturating_sub(1);
            }
        }
        Some(seen)
    }

    /// An earlier leg has shown the body at a time when `leg` may not have carried it yet.
    pub(super) fn count_early(&mut self, leg: Legs) {
        match self.early.iter_mut().find(|(known, _)| *known == leg) {
            Some((_, count)) => *count += 1,
            None => self.early.push((leg, 1)),
        }
    }

    /// `leg` begins: whatever its bit stood for before, it has shown nothing, and may have missed all that went out. Returns
    /// how many that are.
    pub(super) fn begin(&mut self, leg: Legs) -> usize {
        for occurrence in &mut self.occurrences {
            occurrence.seen &= !leg;
        }
        self.early.retain(|(known, _)| *known != leg);
        let went_out = |o: &&Occurrence| !matches!(o.state, State::Held(_));
        let missed = self.occurrences.iter().filter(went_out).count();
        self.early.push((leg, missed));
        missed
    }

    /// `leg` leads from now on. Of what it has not shown, as many as it may have missed are in doubt: the youngest, since a leg
    /// shows things in order.
    pub(super) fn doubt(&mut self, leg: Legs) {
        let Some(at) = self.early.iter().position(|(known, _)| *known == leg) else {
            return;
        };
        let (_, count) = self.early.swap_remove(at);
        let unseen = self
            .occurrences
            .iter_mut()
            .rev()
            .filter(|o| o.seen & leg == 0 && o.state == State::Published);
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
