//! What is told of the bridge: each observation to telemetry, and all of it together as the status.

use super::driver::is_waiting;
use super::status::{self, Status};
use super::stream::Stream;
use crate::clock::Clock;
use crate::event::Topic;
use crate::lifecycle::{Lifecycle, Reply, expand};
use crate::observation::Observation;
use crate::telemetry::Telemetry;
use crate::time::Time;
use std::collections::BTreeMap;

/// Gathers what the status page shows and other parts do not remember.
#[derive(Debug)]
pub struct Report {
    telemetry: Telemetry,
    /// The last status; what is known only from observations is kept in it.
    status: Status,
    /// Topics that the platform refused, by name.
    refused: BTreeMap<String, String>,
    topics: u64,
    ready: bool,
    was_ready: bool,
}

impl Report {
    /// A report that begins with `status` and tells through `telemetry`.
    pub const fn new(telemetry: Telemetry, status: Status) -> Self {
        Self {
            telemetry,
            status,
            refused: BTreeMap::new(),
            topics: 0,
            ready: false,
            was_ready: false,
        }
    }

    /// Whether the bridge was ready once.
    pub const fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// From now on the bridge drains.
    pub const fn drain(&mut self) {
        self.status.draining = true;
    }

    /// Tells what happened, and remembers what the status shows of it.
    pub fn record(&mut self, observation: &Observation) {
        self.remember(observation);
        let again = matches!(observation, Observation::TopicRejected { topic, .. }
            if self.refused.contains_key(topic.name()));
        if let Observation::TopicRejected { topic, reason } = observation {
            self.refused.insert(topic.name().to_owned(), reason.clone());
        }
        // Each leg is told; the first one's word is enough.
        let known = !matches!(observation, Observation::TopicPermitted { topic }
            if self.refused.remove(topic.name()).is_none());
        // A topic stays refused through every reconnect; it is told once.
        if !again && known {
            self.telemetry.record(observation);
        }
    }

    /// Takes note of what only a reply tells.
    pub fn note_reply(&mut self, reply: &Reply) {
        if let Reply::TopicsListed { topics, .. } = reply
            && !topics.is_empty()
            && !self.refused.is_empty()
        {
            // What is wanted no longer is not refused any more either.
            let wanted: std::collections::HashSet<_> = topics.iter().flat_map(expand).collect();
            self.refused.retain(|name, _| wanted.contains(&Topic::new(name)));
        }
    }

    fn remember(&mut self, observation: &Observation) {
        if let Observation::TokenGranted { .. } | Observation::PlanMade { .. } = observation {
            self.status.login.last_error = None;
        }
        if let Observation::TokenRefused { detail, .. } | Observation::PlanRefused { detail, .. } =
            observation
        {
            self.status.login.last_error = Some(detail.clone());
        }
        // A sink fails for want of its dead-letter file too, and is well when that takes events again.
        if let Observation::SinkReady { sink, .. } | Observation::EventParked { sink, .. } =
            observation
        {
            self.sink(sink, |sink| (sink.connected, sink.last_error) = (true, None));
        }
        if let Observation::SinkFailed { sink, detail, .. } = observation {
            let words = Some(detail.clone());
            self.sink(sink, |sink| (sink.connected, sink.last_error) = (false, words));
        }
    }

    fn sink(&mut self, name: &str, change: impl FnOnce(&mut status::Sink)) {
        if let Some(sink) = self.status.sinks.iter_mut().find(|sink| sink.name == name) {
            change(sink);
        }
    }

    /// The bridge as of `now`; tells when readiness comes or goes.
    pub fn status(
        &mut self,
        lifecycle: &Lifecycle,
        stream: &Stream,
        clock: &Clock,
        now: Time,
    ) -> Status {
        let as_of = clock.timestamp();
        self.status.as_of = as_of;
        self.show_login(lifecycle, clock, now);
        self.show_sessions(lifecycle, clock);
        self.show_stream(stream);
        let unready = self.status.unready(as_of);
        if unready.is_empty() != self.ready {
            self.ready = unready.is_empty();
            self.was_ready |= self.ready;
            self.telemetry.record(&if self.ready {
                Observation::Ready
            } else {
                Observation::Unready { reasons: unready }
            });
        }
        self.status.clone()
    }

    fn show_login(&mut self, lifecycle: &Lifecycle, clock: &Clock, now: Time) {
        let login = lifecycle.login();
        let token = login.token(now);
        let shown = &mut self.status.login;
        shown.secret = token.map(|token| token.secret.0);
        shown.token_expires = token.map(|token| clock.timestamp_of(token.expires_at));
        shown.credentials_rejected = login.refused().is_some();
        let due = login.poll_timeout();
        shown.retry_at = shown.last_error.as_ref().map(|_| clock.timestamp_of(due));
    }

    fn show_sessions(&mut self, lifecycle: &Lifecycle, clock: &Clock) {
        let sessions = lifecycle.sessions().map(|session| status::Session {
            id: session.id.to_string(),
            shard: session.shard.0,
            leg: session.leg + 1,
            state: session.state.as_str(),
            since: clock.timestamp_of(session.entered),
            last_frame: session.heard_at.map(|at| clock.timestamp_of(at)),
            last_event: session.data_at.map(|at| clock.timestamp_of(at)),
            retry_at: is_waiting(session.state).map(|at| clock.timestamp_of(at)),
            last_words: session.last_words.clone(),
        });
        self.status.sessions = sessions.collect();
        self.status.shard_numbers = lifecycle.shards().collect();
        self.status.shards = self.status.shard_numbers.len().try_into().unwrap_or(u16::MAX);
        self.topics = lifecycle.topics().topics() as u64;
        let rejected = self.refused.len() as u64;
        let refusals = self.refused.iter().take(status::REFUSALS_MAX);
        self.status.topics = status::Topics {
            permitted: self.topics.saturating_sub(rejected),
            rejected,
            refusals: refusals
                .map(|(topic, reason)| status::Refusal {
                    topic: topic.clone(),
                    reason: reason.clone(),
                })
                .collect(),
        };
    }

    fn show_stream(&mut self, stream: &Stream) {
        let (ledger, counts) = (stream.ledger(), stream.counts());
        let closed = ledger.list().filter(|gap| gap.to.is_some());
        self.status.gaps = status::Gaps {
            total: ledger.opened(),
            open: ledger.open_gaps().cloned().collect(),
            recent: closed.collect::<Vec<_>>().into_iter().rev().cloned().collect(),
        };
        self.status.stream = status::Stream {
            received: counts.received,
            published: counts.published,
            duplicates: counts.duplicates,
        };
        for stats in stream.journal().stats() {
            let metrics = self.telemetry.metrics.sink(stats.sink).cloned();
            self.sink(stats.sink, |sink| {
                if let Some(metrics) = metrics {
                    sink.delivered = metrics.acknowledged();
                    sink.parked = metrics.set_aside();
                    sink.refused = metrics.lost();
                }
                sink.waiting_events = stats.unacknowledged;
                sink.waiting_bytes = stats.bytes;
                sink.oldest_waiting = stats.oldest_unacknowledged;
            });
        }
    }
}

/// The failure that an observation tells of, if it tells of one that `--fail-fast` does not wait out.
pub fn failure_of(observation: &Observation) -> Option<String> {
    if let Observation::SecretSourceFailed { source, detail, .. } = observation {
        Some(format!("the secret cannot be read from {source}: {detail}"))
    } else if let Observation::TokenRefused { detail, .. } = observation {
        Some(format!("no token: {detail}"))
    } else if let Observation::PlanRefused { detail, .. } = observation {
        Some(format!("the queues cannot be listed: {detail}"))
    } else if let Observation::RetryScheduled { session, .. } = observation {
        Some(format!("{session} could not be opened"))
    } else if let Observation::SinkFailed { sink, detail, .. } = observation {
        Some(format!("sink {sink}: {detail}"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;
    use crate::telemetry::metrics::Metrics;
    use crate::time::Timestamp;
    use std::sync::Arc;
    use std::time::Duration;

    fn report() -> Report {
        let mut status = Status::new("test", "", Timestamp::default(), Duration::ZERO);
        status.sinks.push(status::Sink::new("kafka"));
        Report::new(Telemetry::new(Arc::new(Metrics::new("test", &["kafka"]))), status)
    }

    fn failed(sink: &'static str) -> Observation {
        let detail = "write the dead letter: no space left".into();
        Observation::SinkFailed { sink, detail, retry_in: Duration::ZERO }
    }

    #[test]
    fn a_sink_that_could_not_park_is_well_again_when_it_has_parked() {
        let mut report = report();
        report.record(&Observation::SinkReady { sink: "kafka", resumed_from: None });
        report.record(&failed("kafka"));
        assert!(!report.status.sinks[0].connected);
        report.record(&Observation::EventParked {
            sink: "kafka",
            topic: Topic::new("a"),
            number: 1,
            reason: "too large".into(),
        });
        assert!(report.status.sinks[0].connected);
        assert_eq!(report.status.sinks[0].last_error, None);
    }

    #[test]
    fn the_login_forgets_why_queues_could_not_be_listed_when_they_are() {
        let mut report = report();
        report.record(&Observation::PlanRefused {
            reason: "unavailable",
            detail: "503".into(),
            retry_in: Duration::ZERO,
        });
        assert!(report.status.login.last_error.is_some());
        report.record(&Observation::PlanMade { topics: 1, shards: 1 });
        assert_eq!(report.status.login.last_error, None);
    }
}
