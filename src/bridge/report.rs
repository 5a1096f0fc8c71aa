//! What is told of the bridge: each observation to telemetry, and all of it together as the status.

use super::history::History;
use super::status::{self, Status};
use super::stream::Stream;
use crate::clock::Clock;
use crate::event::Topic;
use crate::lifecycle::{CHANNELS_PER_CLIENT, Lifecycle, Reply, expand};
use crate::observation::Observation;
use crate::telemetry::Telemetry;
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Of so many of the newest secrets it is known when the source first showed them: a login takes the newest it knows.
const SECRETS_MAX: usize = 16;

/// Gathers what the status page shows and other parts do not remember.
#[derive(Debug)]
pub struct Report {
    telemetry: Telemetry,
    clock: Clock,
    /// The last status; what is known only from observations is kept in it.
    status: Status,
    /// Topics that the platform refused when it was asked last, with its reasons.
    refused: BTreeMap<String, String>,
    /// When the source first showed each of its last secrets.
    secrets: BTreeMap<u64, Timestamp>,
    /// Why each session last failed.
    troubles: BTreeMap<String, &'static str>,
    topics: u64,
    ready: bool,
    was_ready: bool,
    news: bool,
}

impl Report {
    /// A report that begins with `status` and tells through `telemetry`; `clock` says when.
    pub const fn new(telemetry: Telemetry, status: Status, clock: Clock) -> Self {
        Self {
            telemetry,
            clock,
            status,
            refused: BTreeMap::new(),
            secrets: BTreeMap::new(),
            troubles: BTreeMap::new(),
            topics: 0,
            ready: false,
            was_ready: false,
            news: false,
        }
    }

    /// Whether anything was told since the last status.
    pub const fn has_news(&self) -> bool {
        self.news
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
            self.tell(observation);
        }
    }

    fn tell(&mut self, observation: &Observation) {
        self.news = true;
        let told = self.telemetry.record(observation);
        let now = self.clock.timestamp();
        self.history().note(observation, told, now);
    }

    fn history(&mut self) -> &mut History {
        Arc::make_mut(&mut self.status.history)
    }

    /// The configuration was read again.
    pub fn note_configuration(&mut self, configuration: status::Configuration) {
        self.status.configuration = configuration;
        self.news = true;
    }

    /// Takes note of what only a reply tells.
    pub fn note_reply(&mut self, reply: &Reply) {
        if let Reply::TopicsListed { topics, .. } = reply
            && !topics.is_empty()
            && !self.refused.is_empty()
        {
            // What is wanted no longer is not refused any more either.
            let wanted: HashSet<_> = topics.iter().flat_map(expand).collect();
            self.refused.retain(|name, _| wanted.contains(&Topic::new(name)));
        }
    }

    fn remember(&mut self, observation: &Observation) {
        let login = &mut self.status.login;
        if let Observation::TokenGranted { .. } | Observation::PlanMade { .. } = observation {
            (login.last_error, login.last_reason) = (None, None);
        }
        if let Observation::TokenRefused { reason, detail, .. }
        | Observation::PlanRefused { reason, detail, .. } = observation
        {
            (login.last_error, login.last_reason) = (Some(detail.clone()), Some(*reason));
        }
        if let Observation::SecretSeen { version, .. } = observation {
            let now = self.clock.timestamp();
            login.newest_secret = Some(*version);
            login.newest_secret_seen = Some(now);
            self.secrets.insert(*version, now);
            if self.secrets.len() > SECRETS_MAX {
                self.secrets.pop_first();
            }
        }
        if let Observation::SecretSourceFailed { detail, .. } = observation {
            login.source_error = Some(detail.clone());
        }
        if let Observation::SecretSourceRecovered { .. } | Observation::SecretSeen { .. } =
            observation
        {
            login.source_error = None;
        }
        if let Observation::RetryScheduled { session, reason, .. } = observation {
            self.troubles.insert(session.clone(), reason);
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
        self.news = false;
        self.show_login(lifecycle, clock, now);
        self.show_sessions(lifecycle, clock, now);
        self.show_stream(stream);
        let unready = self.status.unready(as_of);
        if unready.is_empty() != self.ready {
            self.ready = unready.is_empty();
            self.was_ready |= self.ready;
            let observation = match self.ready {
                true => Observation::Ready,
                false => Observation::Unready { reasons: unready },
            };
            self.tell(&observation);
        }
        self.status.clone()
    }

    fn show_login(&mut self, lifecycle: &Lifecycle, clock: &Clock, now: Time) {
        let login = lifecycle.login();
        let token = login.token(now);
        let shown = &mut self.status.login;
        let secret = token.map(|token| token.secret.0);
        if secret != shown.secret {
            shown.secret_seen = secret.and_then(|secret| self.secrets.get(&secret).copied());
        }
        shown.secret = secret;
        shown.token_expires = token.map(|token| clock.timestamp_of(token.expires_at));
        shown.credentials_rejected = login.refused().is_some();
        let due = login.poll_timeout();
        shown.retry_at = shown.last_error.as_ref().map(|_| clock.timestamp_of(due));
    }

    fn show_sessions(&mut self, lifecycle: &Lifecycle, clock: &Clock, now: Time) {
        let sessions = lifecycle.sessions().map(|session| {
            let trouble = match lifecycle.trouble_of(session) {
                Some(reason) => Some(reason.as_str()),
                None => self.troubles.get(&session.id.to_string()).copied(),
            };
            status::Session::of(session, lifecycle, trouble, clock, now)
        });
        self.status.sessions = sessions.collect();
        self.status.shard_numbers = lifecycle.shards().collect();
        self.status.shards = self.status.shard_numbers.len().try_into().unwrap_or(u16::MAX);
        self.topics = lifecycle.topics().topics() as u64;
        self.status.channels.used = lifecycle.channels(now) as u64;
        self.status.channels.most = CHANNELS_PER_CLIENT as u64;
        let delivering = lifecycle.sessions().filter(|session| session.delivers());
        let channels: Vec<_> = delivering.filter_map(|session| session.channel).collect();
        let ends = channels.iter().map(|channel| channel.expires_at);
        let begins = channels.iter().map(|channel| channel.expires_at - channel.life);
        self.status.channels.first_expires = ends.min().map(|at| clock.timestamp_of(at));
        self.status.channels.oldest = begins.min().map(|at| clock.timestamp_of(at));
        let names = ["REST calls in a minute", "Handshakes in a second"];
        let budgets = names.into_iter().zip(lifecycle.budgets(now));
        self.status.budgets = budgets
            .map(|(name, (used, most))| status::Budget {
                name,
                used: used as u64,
                most: most as u64,
            })
            .collect();
        let sessions = &self.status.sessions;
        self.troubles.retain(|session, _| sessions.iter().any(|one| one.id == *session));
        self.show_coverage();
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

    /// Takes note of how many sessions carry each shard; what nobody notes by itself leaves `history` as it is.
    fn show_coverage(&mut self) {
        let now = self.status.as_of;
        for shard in self.status.numbers().collect::<Vec<_>>() {
            let sessions = self.status.subscribed(shard);
            if self.status.history.covers(shard) != Some(sessions) {
                self.history().cover(shard, sessions, now);
            }
        }
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
        self.status.epoch = stream.journal().epoch().to_string();
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
    } else if let Observation::ChannelsRefused { detail, retry_in: Some(_), .. } = observation {
        Some(format!("the client's channels cannot be counted: {detail}"))
    } else if let Observation::RetryScheduled { session, detail, .. } = observation {
        Some(format!("{session} could not be opened: {detail}"))
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
    use std::time::Duration;

    fn report() -> Report {
        let mut status = Status::new("test", "", Timestamp::default(), Duration::ZERO);
        status.sinks.push(status::Sink::new("kafka"));
        let telemetry = Telemetry::new(Arc::new(Metrics::new("test", &["kafka"])));
        Report::new(telemetry, status, Clock::start())
    }

    fn failed(sink: &'static str) -> Observation {
        let detail = "write the dead letter: no space left".into();
        Observation::SinkFailed { sink, kind: "park", detail, retry_in: Duration::ZERO }
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
    fn a_topic_that_is_permitted_later_or_wanted_no_longer_is_forgotten() {
        let mut report = report();
        for topic in ["a", "b", "c"].map(Topic::new) {
            report.record(&Observation::TopicRejected { topic, reason: "no".into() });
        }
        report.record(&Observation::TopicPermitted { topic: Topic::new("a") });
        let names = |report: &Report| report.refused.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&report), ["b", "c"]);
        let topics = ["a", "b"].map(Topic::new).to_vec();
        report.note_reply(&Reply::TopicsListed { topics, unknown: Vec::new() });
        assert_eq!(names(&report), ["b"]);
    }

    #[test]
    fn so_many_of_the_newest_secrets_are_remembered_with_their_time() {
        let mut report = report();
        for version in 1..=SECRETS_MAX as u64 + 3 {
            report.record(&Observation::SecretSeen { source: "vault", version });
        }
        assert_eq!(report.status.login.newest_secret, Some(SECRETS_MAX as u64 + 3));
        assert_eq!(report.secrets.len(), SECRETS_MAX);
        assert_eq!(report.secrets.first_key_value().map(|(version, _)| *version), Some(4));
    }

    #[test]
    fn a_list_of_channels_is_a_failure_only_while_it_is_waited_for() {
        let refused = |retry_in| Observation::ChannelsRefused {
            reason: "dns",
            detail: "no such host".into(),
            retry_in,
        };
        let failure = failure_of(&refused(Some(Duration::ZERO))).expect("nothing is opened");
        assert!(failure.contains("no such host"), "{failure}");
        assert_eq!(failure_of(&refused(None)), None, "it goes on without");
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
