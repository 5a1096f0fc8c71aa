//! Shows the bridge's status as gauges, at the moment of a scrape, so that ages are true when they are read.
//!
//! Moves no counter: those are moved where things happen.

use crate::bridge::status::Status;
use crate::telemetry::metrics::{Backlog, Metrics, Shown};
use crate::time::Timestamp;
use std::time::Duration;

/// Sets every gauge that the status tells of.
pub(super) fn show(metrics: &Metrics, status: &Status, now: Timestamp) {
    metrics.show_ready(status.unready(now).is_empty());
    let file = &status.configuration;
    let failed = !file.mistakes().is_empty();
    metrics.configuration.show(failed, file.pending.len(), file.in_force_since);
    let login = &status.login;
    metrics.login.show(Shown {
        rejected: login.credentials_rejected,
        source_up: login.source_error.is_none() && login.newest_secret.is_some(),
        secret: login.secret,
        newest_secret: login.newest_secret,
        newest_secret_seen: login.newest_secret_seen,
        secret_seen: login.secret_seen,
        token_expires: login.token_expires,
    });
    metrics.login.show_budgets(status.budgets.iter().map(|budget| (budget.used, budget.most)));
    let sessions = &metrics.sessions;
    sessions.show_states(status.sessions.iter().map(|session| session.state));
    sessions.show_wanted(status.wanted());
    sessions.show_ages(status.last_frame_age(now), status.last_event_age(now));
    let channels = &status.channels;
    let age = channels.oldest.map(|oldest| now.as_micros().saturating_sub(oldest.as_micros()));
    let age = Duration::from_micros(age.unwrap_or_default());
    sessions.show_channels(channels.used, channels.most, age, channels.first_expires);
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
