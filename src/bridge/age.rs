//! How old notifications are when they are heard, where their body says when it happened.
//!
//! Looks at ten a second at most: what it costs is bounded, and a median needs no more. Decides nothing.

use crate::event::{Notification, occurred};
use crate::time::Time;
use std::time::Duration;

/// How often a body is looked into.
const EVERY: Duration = Duration::from_millis(100);

/// When the next may be looked into.
#[derive(Debug, Default)]
pub(super) struct Ages(Time);

impl Ages {
    /// The age of this notification; `None` when it is none's turn, or the body does not say. A platform whose clock is ahead of ours
    /// shows as 0.
    pub(super) fn sample(&mut self, notification: &Notification, now: Time) -> Option<Duration> {
        if now < self.0 {
            return None;
        }
        let happened = occurred(&notification.topic, &notification.body)?;
        self.0 = now + EVERY;
        let micros = notification.received.as_micros().saturating_sub(happened.as_micros());
        Some(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;
    use crate::time::Timestamp;

    #[test]
    fn ten_a_second_are_looked_into_and_those_without_a_time_take_no_turn() {
        let heard = |name: &str, body: &'static str| Notification {
            topic: Topic::new(name),
            body: body.into(),
            correlation_id: None,
            received: Timestamp::from_micros(5_000_000),
        };
        let dated = heard("v2.detail.events.conversation.7.acd.start", r#"{"eventTime":3500}"#);
        let mut ages = Ages::default();
        assert_eq!(ages.sample(&heard("v2.routing.queues.7.users", "{}"), Time::START), None);
        assert_eq!(ages.sample(&dated, Time::START), Some(Duration::from_millis(1500)));
        assert_eq!(ages.sample(&dated, Time::START + Duration::from_millis(99)), None);
        assert!(ages.sample(&dated, Time::START + EVERY).is_some());
    }
}
