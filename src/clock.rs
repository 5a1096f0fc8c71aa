//! The only place that reads a clock.

use crate::time::{Time, Timestamp};
use std::time::{Duration, Instant, SystemTime};

/// The process's clock: a monotone start, and the calendar beside it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose `Time::START` is now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotone clock")]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The present on the monotone clock.
    pub fn now(&self) -> Time {
        Time::START + self.started.elapsed()
    }

    /// The present on the calendar.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the calendar")]
    pub fn timestamp(&self) -> Timestamp {
        SystemTime::now().into()
    }

    /// The calendar's name for a moment, as the calendar stands now.
    pub fn timestamp_of(&self, moment: Time) -> Timestamp {
        let now = self.now();
        self.timestamp().before(now.since(moment)).after(moment.since(now))
    }

    /// The moment as tokio's timers want it.
    pub fn instant_of(&self, moment: Time) -> tokio::time::Instant {
        (self.started + Duration::from_micros(moment.as_micros())).into()
    }
}
