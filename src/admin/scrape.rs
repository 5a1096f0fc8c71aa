//! Shows the bridge's status as gauges, at the moment of a scrape, so that ages are true when they are read.
//!
//! Moves no counter: those are moved where things happen.

use crate::bridge::status::Status;
use crate::telemetry::metrics::{Backlog, Metrics};
use crate::time::Timestamp;

/// Sets every gauge that the status tells of.
pub(super) fn show(metrics: &Metrics, status: &Status, now: Timestamp) {
    metrics.show_ready(status.unready(now).is_empty());
    metrics.login.show(
        status.login.credentials_rejected,
        status.login.secret,
        status.login.token_expires,
    );
    let sessions = &metrics.sessions;
    sessions.show_states(status.sessions.iter().map(|session| session.state));
    sessions.show_ages(status.last_frame_age(now), status.last_event_age(now));
    sessions.show_topics(status.topics.permitted, status.topics.rejected);
    let open = status.gaps.open.len();
    metrics.stream.show_open_gaps(open.try_into().unwrap_or(u64::MAX));
    for sink in &status.sinks {
        if let Some(shown) = metrics.sink(sink.name) {
            shown.show(
                sink.connected,
                Backlog {
                    events: sink.waiting_events,
                    bytes: sink.waiting_bytes,
                    oldest: sink.oldest_age(now),
                },
            );
        }
    }
}
