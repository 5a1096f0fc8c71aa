//! What crosses from one process to another in a handover: the identities of keyed families, and that somebody else has published the rest.

use super::{Arbiter, Desk};
use crate::time::Time;
use std::time::Duration;

impl Arbiter {
    /// What keyed families have published, and how long ago; oldest first.
    pub fn published(&self, now: Time) -> Vec<(u128, Duration)> {
        self.desk.window.ages(now).collect()
    }

    /// Somebody else has published these, oldest first.
    pub fn know(&mut self, published: impl IntoIterator<Item = (u128, Duration)>, now: Time) {
        for (identity, age) in published {
            self.desk.window.insert(identity, now - age);
        }
    }

    /// Somebody else has published all that waits; legs that show it later show a duplicate.
    pub fn hand_over(&mut self, now: Time) {
        for shard in self.shards.values_mut() {
            let Desk { held_bytes, .. } = &mut self.desk;
            *held_bytes -=
                shard.kept.drain(..).map(|kept| kept.notification.body.len()).sum::<usize>();
            while let Some((number, _)) = shard.held.first_key_value() {
                let number = *number;
                shard.publish_held(number, now, &mut self.desk);
            }
        }
        self.desk.verdicts.clear();
    }

    /// Somebody else has published until now, and died: what it had published is not known for what is under way to us. That arrives
    /// within a hold, and waits for no longer than another.
    pub fn orphan(&mut self, now: Time) {
        self.desk.orphaned_until = Some(now + self.desk.hold + self.desk.hold);
    }

    /// As soon as that is over, nothing is in doubt for it.
    pub(super) fn outlive(&mut self, now: Time) {
        self.desk.orphaned_until = self.desk.orphaned_until.filter(|until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Notification, Topic};
    use crate::sequence::arbiter::{Leg, Verdict};
    use bytes::Bytes;

    const HOLD: Duration = Duration::from_secs(1);
    const QUEUE: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";

    fn arbiter() -> Arbiter {
        let config = crate::sequence::Config {
            hold: HOLD,
            window: Duration::from_secs(600),
            window_events: 100,
        };
        Arbiter::new(&config)
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(10_000_000 + millis * 1_000)
    }

    fn said(kind: &str, body: &'static str) -> Notification {
        Notification {
            topic: Topic::new(&kind.replace("{id}", QUEUE)),
            body: Bytes::from_static(body.as_bytes()),
            correlation_id: None,
            received: Default::default(),
        }
    }

    fn published(arbiter: &mut Arbiter) -> Vec<Bytes> {
        let verdicts = std::iter::from_fn(|| arbiter.poll());
        let published = verdicts.filter_map(|verdict| match verdict {
            Verdict::Publish { notification, .. } => Some(notification.body),
            Verdict::Duplicate { .. } => None,
        });
        published.collect()
    }

    #[test]
    fn what_one_leg_showed_before_the_cut_the_other_does_not_double_behind_it() {
        let mut arbiter = arbiter();
        let topic = "v2.routing.queues.{id}.users";
        arbiter.begin(Leg(1), 0, at(0));
        arbiter.begin(Leg(2), 0, at(1));
        // The leader's is out, the follower's is held when the other process is cut off.
        arbiter.admit(Leg(1), said(topic, "1"), at(5_000));
        arbiter.admit(Leg(2), said(topic, "2"), at(5_001));
        arbiter.hand_over(at(5_010));
        assert!(arbiter.poll().is_none());
        arbiter.admit(Leg(2), said(topic, "1"), at(5_020));
        arbiter.admit(Leg(1), said(topic, "2"), at(5_020));
        assert!(published(&mut arbiter).is_empty());
        arbiter.admit(Leg(1), said(topic, "2"), at(5_030));
        arbiter.admit(Leg(2), said(topic, "2"), at(5_031));
        assert_eq!(published(&mut arbiter), ["2"]);
    }

    #[test]
    fn what_a_process_that_died_may_have_published_is_marked_and_no_more() {
        let mut arbiter = arbiter();
        arbiter.begin(Leg(1), 0, at(0));
        arbiter.orphan(at(5_000));
        let mut marked = |kind, millis| {
            arbiter.admit(Leg(1), said(kind, "1"), at(millis));
            match arbiter.poll() {
                Some(Verdict::Publish { marks, .. }) => Some(marks.possible_duplicate),
                Some(Verdict::Duplicate { .. }) | None => None,
            }
        };
        let keyless = "v2.routing.queues.{id}.users";
        assert_eq!(marked(keyless, 5_001), Some(true));
        assert_eq!(marked("v2.users.{id}.presence", 6_000), Some(true));
        assert_eq!(marked(keyless, 6_999), Some(true));
        assert_eq!(marked(keyless, 7_000), Some(false));
    }

    #[test]
    fn an_identity_is_as_old_there_as_it_was_here() {
        let topic = "v2.users.{id}.presence";
        let mut old = arbiter();
        old.begin(Leg(1), 0, at(0));
        old.admit(Leg(1), said(topic, "1"), at(1_000));
        assert_eq!(published(&mut old), ["1"]);
        let known = old.published(at(61_000));
        assert_eq!(known.iter().map(|(_, age)| *age).collect::<Vec<_>>(), [60 * HOLD]);
        let mut new = arbiter();
        new.know(known, at(100_000));
        new.begin(Leg(7), 0, at(100_000));
        new.admit(Leg(7), said(topic, "1"), at(100_001));
        assert!(published(&mut new).is_empty());
        new.admit(Leg(7), said(topic, "1"), at(640_000));
        assert_eq!(published(&mut new), ["1"]);
    }
}
