//! What the bridge says of itself: built by the driver, read by the doors for operators.
//!
//! The driver publishes a new one through `tokio::sync::watch` at least each second; moments are named anew each time, so that a
//! calendar that was set is right again a second later. Nothing here is a secret, a token or a connectUri.

pub use super::configured::{Changed, Configuration, OverriddenKey, Reload};
use super::history::History;
pub use super::sessions::{Parked, Session};
use crate::sequence::Gap;
use crate::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How many refused topics are named; the rest are only counted.
pub const REFUSALS_MAX: usize = 100;

/// How many ended gaps `/api/v1/state` names; `/api/v1/gaps` has all that are kept.
pub const GAPS_MAX: usize = 50;

/// The driver speaks each second; after so long without a word it is taken to hang.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(5);

/// An event that waits longer than this for its acknowledgement means that the sink does not acknowledge.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// The bridge as of one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// The journal's epoch.
    pub epoch: String,
    /// When the process started.
    pub started: Timestamp,
    /// When this was written.
    pub as_of: Timestamp,
    /// Whether the process is draining, and will end.
    pub draining: bool,
    /// How long a shard may go without a frame before it counts as dead; `lifecycle.dead_after`.
    #[serde(skip)]
    pub dead_after: Duration,
    /// What the process was told, and whether it is what its file says now.
    pub configuration: Configuration,
    /// Credentials and token.
    pub login: Login,
    /// How many shards the topics take; 0 until the topics are known.
    pub shards: u16,
    /// Their numbers: one that nothing is left of leaves a hole.
    pub shard_numbers: Vec<u16>,
    /// How many sessions carry each shard when all is well; `lifecycle.redundancy`.
    pub redundancy: usize,
    /// Channels at the platform.
    pub channels: Channels,
    /// What is asked of the platform, against what may be.
    pub budgets: Vec<Budget>,
    /// Every session, oldest first.
    pub sessions: Vec<Session>,
    /// What is subscribed to.
    pub topics: Topics,
    /// Where notifications may have been missed.
    pub gaps: Gaps,
    /// Every sink, in the order of the registry.
    pub sinks: Vec<Sink>,
    /// What went through since the start.
    pub stream: Stream,
    /// The last hours; `/api/v1/history` shows them.
    #[serde(skip)]
    pub history: Arc<History>,
}

/// How often something was done, against how often it may be.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Budget {
    /// What, and in which time.
    pub name: &'static str,
    /// How often it was.
    pub used: u64,
    /// How often it may be, by our own measure and the platform's.
    pub most: u64,
}

/// Channels at the platform, of which an OAuth client has few, and of which one too many silently ends another.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Channels {
    /// How many the platform holds for this process.
    pub used: u64,
    /// How many an OAuth client may have, other programs included; 0 before anything is known.
    pub most: u64,
    /// When the oldest that delivers was subscribed; a subscription renews its life.
    pub oldest: Option<Timestamp>,
    /// When the first of those that deliver expires.
    pub first_expires: Option<Timestamp>,
}

/// Credentials and token; none of them itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Login {
    /// The OAuth client's id, once it is known.
    pub client_id: Option<String>,
    /// Where the secret comes from: `file`, `env` or `vault`.
    pub source: &'static str,
    /// Which secret the token in use was bought with, from 1.
    pub secret: Option<u64>,
    /// The newest secret that the source has shown, from 1.
    pub newest_secret: Option<u64>,
    /// When the source first showed it.
    pub newest_secret_seen: Option<Timestamp>,
    /// When the source first showed the one in use.
    pub secret_seen: Option<Timestamp>,
    /// Why the source cannot be read; `None` while it can.
    pub source_error: Option<String>,
    /// When the token in use expires.
    pub token_expires: Option<Timestamp>,
    /// Whether Genesys refuses the newest secret.
    pub credentials_rejected: bool,
    /// When the next token request is due, while one is put off.
    pub retry_at: Option<Timestamp>,
    /// Why the last token request failed; `None` since it succeeded.
    pub last_error: Option<String>,
    /// The same as one of `lifecycle::Reason`.
    pub last_reason: Option<&'static str>,
}

/// Topics by whether the platform took them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Topics {
    /// How many it took.
    pub permitted: u64,
    /// How many it refused.
    pub rejected: u64,
    /// The first `REFUSALS_MAX` of those that it refused.
    pub refusals: Vec<Refusal>,
}

/// A topic that the platform refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// The topic's name.
    pub topic: String,
    /// The platform's reason.
    pub reason: String,
}

/// Intervals in which notifications may have been missed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gaps {
    /// How many there have been since the ledger was begun, the open ones included.
    pub total: u64,
    /// Those that have not ended.
    pub open: Vec<Gap>,
    /// Those that have ended and are kept, newest first.
    pub recent: Vec<Gap>,
}

/// One sink and what waits for it.
#[derive(Clone, Debug, Serialize)]
pub struct Sink {
    /// Its kind: `jsonl`, `kafka`, `nats`.
    pub name: &'static str,
    /// Whether it is connected and takes events.
    pub connected: bool,
    /// How many events it has not acknowledged.
    pub waiting_events: u64,
    /// Their size in bytes.
    pub waiting_bytes: u64,
    /// When the oldest of them was received.
    pub oldest_waiting: Option<Timestamp>,
    /// How many events it has acknowledged.
    pub delivered: u64,
    /// How many it can never take.
    pub parked: u64,
    /// How many were lost to it because its journal was full.
    pub refused: u64,
    /// Why it last failed; `None` since it is well again.
    pub last_error: Option<String>,
}

/// What went through since the start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stream {
    /// Notifications heard on all sessions.
    pub received: u64,
    /// Events that the journal took.
    pub published: u64,
    /// Notifications dropped as duplicates.
    pub duplicates: u64,
}

impl Status {
    /// The bridge as it begins at `started`: nothing known, nothing subscribed.
    pub fn new(
        version: &'static str,
        epoch: impl Into<String>,
        started: Timestamp,
        dead_after: Duration,
    ) -> Self {
        Self {
            version,
            epoch: epoch.into(),
            started,
            as_of: started,
            draining: false,
            dead_after,
            configuration: Configuration::new(started),
            login: Login::default(),
            shards: 0,
            shard_numbers: Vec::new(),
            redundancy: 1,
            channels: Channels::default(),
            budgets: Vec::new(),
            sessions: Vec::new(),
            topics: Topics::default(),
            gaps: Gaps::default(),
            sinks: Vec::new(),
            stream: Stream::default(),
            history: Arc::default(),
        }
    }

    /// How many sessions are live when all is well; 0 until the topics are known.
    pub fn wanted(&self) -> u64 {
        u64::from(self.shards).saturating_mul(self.redundancy as u64)
    }

    /// How many sessions carry a shard's topics over an open socket.
    pub fn subscribed(&self, shard: u16) -> usize {
        let of_shard = self.sessions.iter().filter(|session| session.shard == shard);
        of_shard.filter(|session| session.is_subscribed()).count()
    }

    /// Why the process is not ready at `now`: empty when it is subscribed, hears frames, and every sink acknowledges.
    pub fn unready(&self, now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        let silence = since(self.as_of, now);
        if silence > SILENCE_MAX {
            reasons.push(format!("the bridge has not reported for {} s", silence.as_secs()));
        }
        if self.draining {
            reasons.push("the process is draining and will end".to_owned());
        }
        if self.shards == 0 {
            let why = self.login.last_error.as_deref();
            reasons.push(match why {
                Some(why) => format!("not subscribed yet: {why}"),
                None => "not subscribed yet".to_owned(),
            });
        }
        reasons.extend(self.numbers().filter_map(|shard| self.deaf(shard, now)));
        if self.shards > 0 && self.topics.permitted == 0 && self.topics.rejected > 0 {
            let why = self.topics.refusals.first().map(|first| first.reason.as_str());
            let why = why.unwrap_or("it gives no reason");
            reasons.push(format!("the platform refused every topic: {why}"));
        }
        reasons.extend(self.sinks.iter().filter_map(|sink| sink.unready(now)));
        reasons
    }

    /// The shards' numbers: those that are told, else counted from 0.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u16> {
        let counted = if self.shard_numbers.is_empty() { 0..self.shards } else { 0..0 };
        self.shard_numbers.iter().copied().chain(counted)
    }

    /// Why a shard does not hear, if it does not.
    pub(super) fn deaf(&self, shard: u16, now: Timestamp) -> Option<String> {
        let sessions = || self.sessions.iter().filter(|session| session.shard == shard);
        let heard = sessions()
            .filter(|session| session.delivers())
            .map(|session| session.last_frame.unwrap_or(session.since))
            .max();
        let Some(heard) = heard else {
            if let Some(session) = sessions().find(|session| session.is_subscribed()) {
                return Some(format!(
                    "shard {shard} is not certain yet; {} is {}",
                    session.id, session.state
                ));
            }
            let words = sessions().rev().find_map(|session| {
                let words = session.last_words.as_deref()?;
                Some(format!("; {} is {}: {words}", session.id, session.state))
            });
            return Some(format!("shard {shard} is not subscribed{}", words.unwrap_or_default()));
        };
        let quiet = since(heard, now);
        (quiet > self.dead_after)
            .then(|| format!("shard {shard} has heard no frame for {} s", quiet.as_secs()))
    }

    /// How long ago the last frame came, on the shard that has waited longest; since the start where none has.
    pub fn last_frame_age(&self, now: Timestamp) -> Duration {
        self.longest_wait(now, |session| session.last_frame)
    }

    /// How long ago the last notification came, on the shard that has waited longest; since the start where none has.
    pub fn last_event_age(&self, now: Timestamp) -> Duration {
        self.longest_wait(now, |session| session.last_event)
    }

    fn longest_wait(
        &self,
        now: Timestamp,
        heard: impl Fn(&Session) -> Option<Timestamp>,
    ) -> Duration {
        let newest = |shard| {
            let of_shard = self.sessions.iter().filter(|session| session.shard == shard);
            of_shard.filter_map(&heard).max().unwrap_or(self.started)
        };
        let oldest = self.numbers().map(newest).min();
        since(oldest.unwrap_or(self.started), now)
    }
}

impl Sink {
    /// A sink that has not connected yet.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            connected: false,
            waiting_events: 0,
            waiting_bytes: 0,
            oldest_waiting: None,
            delivered: 0,
            parked: 0,
            refused: 0,
            last_error: None,
        }
    }

    /// How long the oldest unacknowledged event has waited; zero when none waits.
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        since(self.oldest_waiting.unwrap_or(now), now)
    }

    /// Why it does not take or acknowledge events, if it does not.
    pub(super) fn unready(&self, now: Timestamp) -> Option<String> {
        let Self { name, .. } = self;
        let age = self.oldest_age(now);
        if !self.connected {
            let words = self.last_error.as_deref();
            let words = words.map(|words| format!(": {words}")).unwrap_or_default();
            return Some(format!("sink {name} is not connected{words}"));
        }
        (age > ACKNOWLEDGED_WITHIN)
            .then(|| format!("sink {name} has acknowledged nothing for {} s", age.as_secs()))
    }
}

/// The time from `earlier` to `now`; zero when the calendar was set back in between.
pub(super) fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(now.as_micros().saturating_sub(earlier.as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
    }

    #[test]
    fn a_session_is_wanted_for_each_leg_of_each_shard() {
        let mut status = well();
        assert_eq!(status.wanted(), 1);
        (status.shards, status.shard_numbers, status.redundancy) = (2, vec![0, 2], 2);
        assert_eq!(status.wanted(), 4);
        status.shards = 0;
        assert_eq!(status.wanted(), 0, "nothing is wanted before the topics are known");
    }

    /// Live, and all acknowledged, as of second 100.
    fn well() -> Status {
        let epoch = "20261124T150000Z-3f9a1c2b";
        let mut status = Status::new("1.2.3", epoch, at(0), Duration::from_secs(35));
        status.as_of = at(100);
        (status.shards, status.shard_numbers) = (1, vec![0]);
        status.sessions = vec![session("s1", 0, "live", Some(90))];
        status.sinks = vec![Sink::new("kafka")];
        status.sinks[0].connected = true;
        status
    }

    fn session(id: &str, shard: u16, state: &'static str, heard: Option<u64>) -> Session {
        Session {
            id: id.to_owned(),
            shard,
            leg: 1,
            state,
            since: at(1),
            last_frame: heard.map(at),
            last_reason: Some("cut"),
            last_words: Some("cut: connection reset".to_owned()),
            ..Session::default()
        }
    }

    #[test]
    fn what_is_well_is_ready() {
        assert_eq!(well().unready(at(100)), Vec::<String>::new());
    }

    #[test]
    fn what_has_just_begun_is_not_ready() {
        let status = Status::new("1.2.3", "", at(0), Duration::from_secs(35));
        assert_eq!(status.unready(at(0)), ["not subscribed yet"]);
    }

    #[test]
    fn a_successor_that_is_not_yet_subscribed_does_not_spoil_readiness() {
        let mut status = well();
        status.sessions.push(session("s2", 0, "opening", None));
        assert_eq!(status.unready(at(100)), Vec::<String>::new());
    }

    #[test]
    fn a_shard_without_a_subscribed_session_says_its_last_words() {
        let mut status = well();
        (status.shards, status.shard_numbers) = (2, vec![0, 1]);
        status.sessions.push(session("s2", 1, "waiting", Some(99)));
        assert_eq!(
            status.unready(at(100)),
            ["shard 1 is not subscribed; s2 is waiting: cut: connection reset"]
        );
    }

    #[test]
    fn a_bridge_with_every_topic_refused_is_not_ready() {
        let mut status = well();
        let refusal = Refusal { topic: "a".to_owned(), reason: "no permission".to_owned() };
        status.topics = Topics { permitted: 0, rejected: 1, refusals: vec![refusal] };
        let refused = "the platform refused every topic: no permission";
        assert_eq!(status.unready(at(100)), [refused]);
        status.topics.permitted = 1;
        assert_eq!(status.unready(at(100)), Vec::<String>::new());
    }

    #[test]
    fn a_session_that_settles_first_is_not_ready_because_its_loss_would_be_no_gap() {
        let mut status = well();
        status.sessions[0].state = "settling";
        assert_eq!(status.unready(at(100)), ["shard 0 is not certain yet; s1 is settling"]);
    }

    #[test]
    fn silence_is_not_ready() {
        let mut status = well();
        status.as_of = at(126);
        assert_eq!(status.unready(at(126)), ["shard 0 has heard no frame for 36 s"]);
    }

    #[test]
    fn a_bridge_that_hangs_is_not_ready() {
        assert_eq!(well().unready(at(110)), ["the bridge has not reported for 10 s"]);
    }

    #[test]
    fn a_sink_that_is_away_or_does_not_acknowledge_is_not_ready() {
        let mut status = well();
        status.sinks[0].oldest_waiting = Some(at(60));
        assert_eq!(status.unready(at(100)), ["sink kafka has acknowledged nothing for 40 s"]);
        status.sinks[0].connected = false;
        status.sinks[0].last_error = Some("connect to 127.0.0.1:9092".to_owned());
        assert_eq!(
            status.unready(at(100)),
            ["sink kafka is not connected: connect to 127.0.0.1:9092"]
        );
    }

    #[test]
    fn before_the_topics_are_known_the_login_says_why() {
        let mut status = well();
        status.shards = 0;
        status.login.last_error = Some("credentials rejected".to_owned());
        assert_eq!(status.unready(at(100)), ["not subscribed yet: credentials rejected"]);
    }

    #[test]
    fn ages_are_those_of_the_shard_that_has_waited_longest() {
        let mut status = well();
        (status.shards, status.shard_numbers) = (2, vec![0, 1]);
        status.sessions.push(session("s2", 0, "draining", Some(95)));
        status.sessions.push(session("s3", 1, "live", Some(80)));
        assert_eq!(status.last_frame_age(at(100)), Duration::from_secs(20));
        assert_eq!(status.last_event_age(at(100)), Duration::from_secs(100));
    }
}
