//! A session as the status shows it: what it does, since when, what it waits for, and its last words.

use crate::clock::Clock;
use crate::lifecycle::{self, Lifecycle, State};
use crate::time::{Time, Timestamp};
use serde::Serialize;

/// One channel and its socket.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Session {
    /// Its name, such as `s3`.
    pub id: String,
    /// Whose topics it carries.
    pub shard: u16,
    /// Which of the shard's legs it belongs to, from 1; without redundancy there is the first alone.
    pub leg: usize,
    /// What it does: one of `telemetry::metrics::STATES`.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Until when it waits, in whatever state.
    pub deadline: Option<Timestamp>,
    /// For what: one of `lifecycle::Awaited`.
    pub deadline_of: Option<&'static str>,
    /// When the platform drops its channel; a subscription renews that.
    pub channel_expires: Option<Timestamp>,
    /// When a successor is begun at the latest, be it because its channel nears its end or because the back-off is over; `None` while it
    /// does not deliver, or has one.
    pub successor_at: Option<Timestamp>,
    /// When the last frame of any kind came.
    pub last_frame: Option<Timestamp>,
    /// When the last notification came.
    pub last_event: Option<Timestamp>,
    /// When it tries again, while it waits.
    pub retry_at: Option<Timestamp>,
    /// Why it is parked, while it is: waiting alone is not expected to help.
    pub parked: Option<Parked>,
    /// Why it was last lost or refused: one of `lifecycle::Reason`.
    pub last_reason: Option<&'static str>,
    /// The same in words.
    pub last_words: Option<String>,
}

/// Why a session is parked.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parked {
    /// One of `lifecycle::Reason`.
    pub reason: Option<&'static str>,
    /// When it is looked at again at the latest.
    pub again: Timestamp,
}

impl Session {
    /// The session as of `now`; `trouble` is why it was last lost or refused.
    pub(super) fn of(
        session: &lifecycle::Session,
        lifecycle: &Lifecycle,
        trouble: Option<&'static str>,
        clock: &Clock,
        now: Time,
    ) -> Self {
        let at = |time| clock.timestamp_of(time);
        let (deadline, awaited) = lifecycle.awaited(session);
        let waits = if let State::Waiting { until, parked } = session.state {
            Some((at(until), parked))
        } else {
            None
        };
        let parked = waits.filter(|(_, parked)| *parked);
        Self {
            id: session.id.to_string(),
            shard: session.shard.0,
            leg: session.leg + 1,
            state: session.state.as_str(),
            since: at(session.entered),
            deadline: Some(at(deadline)),
            deadline_of: Some(awaited.as_str()),
            channel_expires: session.channel.map(|channel| at(channel.expires_at)),
            successor_at: lifecycle.succeeded_at(session).map(|due| at(due.max(now))),
            last_frame: session.heard_at.map(at),
            last_event: session.data_at.map(at),
            retry_at: waits.map(|(until, _)| until),
            parked: parked.map(|(again, _)| Parked { reason: trouble, again }),
            last_reason: trouble,
            last_words: session.last_words.clone(),
        }
    }

    /// Whether notifications reach us through it for certain: a loss from then on is a gap.
    pub fn delivers(&self) -> bool {
        matches!(self.state, "live" | "draining")
    }

    /// Whether its socket is open on a channel that has its topics.
    pub fn is_subscribed(&self) -> bool {
        matches!(self.state, "settling" | "live" | "draining")
    }
}
