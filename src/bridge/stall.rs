//! Notices that the process stood still (stopped, starved, suspended) and lets what waited be read before time is judged.
//!
//! Frames that came meanwhile lie unread in the system: by the clock their sessions would be dead. And a frame that is read now
//! may be old, so that a gap cannot be said to begin with it. Closes and opens nothing itself.

use crate::time::Time;
use std::time::Duration;

/// Woken so much too late, the process stood still.
const LATE: Duration = Duration::from_secs(1);

/// How long it may take to read what has waited.
const GRACE: Duration = Duration::from_secs(1);

/// The last time that the process stood still.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stall(Option<Standstill>);

#[derive(Clone, Copy, Debug)]
struct Standstill {
    from: Time,
    until: Time,
}

impl Stall {
    /// A wait that began at `since` and was to end at `due` at the latest has ended at `now`.
    pub fn woke(&mut self, since: Time, due: Time, now: Time) {
        if now.since(due.max(since)) >= LATE {
            // One standstill in the grace of another is the same one, longer.
            let from = self.0.filter(|last| since < last.until).map_or(since, |last| last.from);
            self.0 = Some(Standstill { from, until: now + GRACE });
        }
    }

    /// Until when time is not judged, if that lies ahead.
    pub fn grace(&self, now: Time) -> Option<Time> {
        self.0.map(|last| last.until).filter(|until| now < *until)
    }

    /// The last moment that is known to be complete, where the last frame was read at `read`.
    pub fn complete_until(&self, read: Time) -> Time {
        match self.0 {
            Some(last) if (last.from..=last.until).contains(&read) => last.from,
            Some(_) | None => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn waking_on_time_or_a_little_late_is_nothing() {
        let mut stall = Stall::default();
        stall.woke(at(0), at(1_000), at(1_900));
        stall.woke(at(5_000), at(1_000), at(5_100)); // What was due long ago is done at once.
        assert_eq!(stall.grace(at(5_100)), None);
        assert_eq!(stall.complete_until(at(5_100)), at(5_100));
    }

    #[test]
    fn after_a_standstill_time_is_judged_a_second_later() {
        let mut stall = Stall::default();
        stall.woke(at(0), at(1_000), at(60_000));
        assert_eq!(stall.grace(at(60_000)), Some(at(61_000)));
        assert_eq!(stall.grace(at(61_000)), None);
    }

    #[test]
    fn what_is_read_after_a_standstill_proves_only_what_lies_before_it() {
        let mut stall = Stall::default();
        stall.woke(at(10), at(1_000), at(60_000));
        for (read, complete) in [(9, 9), (10, 10), (60_500, 10), (61_001, 61_001)] {
            assert_eq!(stall.complete_until(at(read)), at(complete), "{read}");
        }
        stall.woke(at(60_400), at(60_900), at(70_000));
        assert_eq!(stall.complete_until(at(70_500)), at(10), "the two are one");
    }
}
