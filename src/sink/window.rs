//! Records in flight in the order of submission, while their outcomes arrive in any order.
//!
//! Only the contiguous front is told, because a cursor may only move over what is decided without holes. Knows no broker.

use super::Verdict;
use std::collections::VecDeque;

/// What was handed to a broker and not yet told to the publisher.
#[derive(Debug, Default)]
pub struct Window {
    first: usize,
    outcomes: VecDeque<Option<Verdict>>,
}

impl Window {
    /// Admits a record and returns its ticket: counted from 0 since the window was made.
    pub fn admit(&mut self) -> usize {
        self.outcomes.push_back(None);
        self.first + self.outcomes.len() - 1
    }

    /// Admits a record that is already known to be impossible; it is told in its turn.
    pub fn refuse(&mut self, reason: String) {
        self.outcomes.push_back(Some(Verdict::Refused { reason }));
    }

    /// Takes back the record admitted last, which could not be handed over after all.
    pub fn retract(&mut self) {
        self.outcomes.pop_back();
    }

    /// Notes what became of a record. A ticket already told, or never given, is ignored.
    pub fn decide(&mut self, ticket: usize, verdict: Verdict) {
        let slot = ticket.checked_sub(self.first).and_then(|place| self.outcomes.get_mut(place));
        if let Some(slot) = slot {
            *slot = Some(verdict);
        }
    }

    /// Moves the decided front to `verdicts` and returns how many that were.
    pub fn tell(&mut self, verdicts: &mut Vec<Verdict>) -> usize {
        let before = self.first;
        while let Some(Some(_)) = self.outcomes.front() {
            verdicts.extend(self.outcomes.pop_front().flatten());
            self.first += 1;
        }
        self.first - before
    }

    /// How many records are in flight, refused ones not yet told included.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_told_in_the_order_of_submission() {
        let mut window = Window::default();
        let mut told = Vec::new();
        let tickets: Vec<usize> = (0..3).map(|_| window.admit()).collect();
        window.refuse("too large".into());

        window.decide(tickets[2], Verdict::Stored);
        assert_eq!(window.tell(&mut told), 0, "the front is undecided");
        window.decide(tickets[0], Verdict::Stored);
        assert_eq!(window.tell(&mut told), 1);
        window.decide(tickets[1], Verdict::Stored);
        assert_eq!(window.tell(&mut told), 3);
        assert!(matches!(told[3], Verdict::Refused { .. }));
        assert_eq!(window.len(), 0);
    }

    #[test]
    fn a_late_report_decides_nothing() {
        let mut window = Window::default();
        let ticket = window.admit();
        window.decide(ticket, Verdict::Stored);
        window.tell(&mut Vec::new());
        let next = window.admit();
        window.decide(ticket, Verdict::Stored);
        window.decide(next + 1, Verdict::Stored);
        assert_eq!(window.tell(&mut Vec::new()), 0);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_retracted_record_leaves_no_hole() {
        let mut window = Window::default();
        window.admit();
        window.retract();
        let ticket = window.admit();
        window.decide(ticket, Verdict::Stored);
        assert_eq!(window.tell(&mut Vec::new()), 1);
    }
}
