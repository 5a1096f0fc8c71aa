//! What a shard's only leg has shown lately, so that a follower that begins now can be paired with it.
//!
//! Remembers bodies, not digests: most of what is remembered is never looked at.

use crate::event::{Notification, Topic};
use crate::time::Time;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// Above a hold's worth (1 s) of the greatest load the program is built for, 10,000 notifications a second.
const SIGHTS_MAX: usize = 65_536;
/// A quarter of the program's memory budget.
const BYTES_MAX: usize = 16 << 20;

/// What was shown, and whether in the true order of its key.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) at: Time,
    pub(super) topic: Topic,
    pub(super) body: Bytes,
    pub(super) in_order: bool,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    sights: VecDeque<Sight>,
    bytes: usize,
    /// When a sight was last dropped for want of room, and not of age.
    cut: Option<Time>,
}

impl Recent {
    pub(super) fn push(
        &mut self,
        notification: &Notification,
        in_order: bool,
        now: Time,
        hold: Duration,
    ) {
        let (topic, body) = (notification.topic.clone(), notification.body.clone());
        self.bytes += body.len();
        self.sights.push_back(Sight { at: now, topic, body, in_order });
        while let Some(Sight { at: since, body, .. }) = self.sights.front() {
            let full = self.sights.len() > SIGHTS_MAX || self.bytes > BYTES_MAX;
            if now.since(*since) < hold && !full {
                break;
            }
            if now.since(*since) < hold {
                self.cut = Some(now);
            }
            self.bytes -= body.len();
            self.sights.pop_front();
        }
    }

    /// Whether a sight that is younger than `hold` is missing.
    pub(super) fn is_cut(&self, now: Time, hold: Duration) -> bool {
        self.cut.is_some_and(|cut| now.since(cut) < hold)
    }

    /// Hands out the sights, oldest first, and forgets them.
    pub(super) fn take(&mut self) -> VecDeque<Sight> {
        self.bytes = 0;
        self.cut = None;
        std::mem::take(&mut self.sights)
    }
}
