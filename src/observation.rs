//! Everything worth telling an operator, as one enum.
//!
//! Parts yield observations; only `telemetry` turns them into log lines and metrics. None carries a secret, a token or a
//! connectUri.

use crate::event::Topic;
use crate::time::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;

/// One thing that happened. Counted and logged by `telemetry::record`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the field names are the log's field names, told in each variant")]
pub enum Observation {
    // --- secret ---
    /// The source shows a secret it did not show before.
    SecretSeen { source: &'static str, version: u64 },
    /// The source could not be read; the last good secret stays in use, if there is one.
    SecretSourceFailed { source: &'static str, detail: String, holding: bool, retry_in: Duration },
    /// The source can be read, but its login cannot be renewed and will end.
    SecretSourceAtRisk { source: &'static str, detail: String },
    /// The source can be read again.
    SecretSourceRecovered { source: &'static str },

    // --- login ---
    /// A token was granted.
    TokenGranted { expires_in: Duration, secret: u64 },
    /// A token request failed; it is repeated after `retry_in`.
    TokenRefused { reason: &'static str, detail: String, retry_in: Duration },
    /// Genesys refuses the newest secret we know. Live sessions are kept.
    CredentialsRejected { secret: u64, detail: String },
    /// Genesys accepts our secret again.
    CredentialsAccepted { secret: u64 },

    /// The queues could not be listed; they are asked for again after `retry_in`.
    PlanRefused { reason: &'static str, detail: String, retry_in: Duration },
    /// The topics are known and divided between so many channels.
    PlanMade { topics: usize, shards: usize },
    /// The list of topics has changed: these keys (queues) joined, those left, and so many topics were added and removed with them or
    /// beside them.
    PlanChanged {
        joined: Vec<String>,
        left: Vec<String>,
        added: usize,
        removed: usize,
        topics: usize,
        shards: usize,
    },
    /// The platform took a change of a live session's topics: so many subscriptions joined, so many left.
    TopicsAmended { session: String, shard: u16, added: usize, removed: usize },
    /// The platform did not take a change of a live session's topics; the session goes on, the change is repeated.
    AmendRefused {
        session: String,
        shard: u16,
        reason: &'static str,
        detail: String,
        retry_in: Duration,
    },

    /// There is no list of the client's channels; without `retry_in` none will be asked for, and those in doubt count as made.
    ChannelsRefused { reason: &'static str, detail: String, retry_in: Option<Duration> },
    /// A session waits for a channel, and no other delivers in its place.
    ChannelAwaited { session: String, shard: u16, detail: String, retry_in: Duration },
    /// An earlier process has left so many channels of this client, which are used before any is made.
    ChannelsFound { channels: usize },
    /// The file of channels could not be read or written, or it is another client's.
    ChannelsUnkept { detail: String },

    // --- session ---
    /// A session entered a state.
    SessionEntered { session: String, shard: u16, from: &'static str, to: &'static str },
    /// A session lost its socket, or failed to get one.
    SessionLost {
        session: String,
        shard: u16,
        reason: &'static str,
        detail: String,
        lived: Duration,
    },
    /// A session will try again; `detail` is what failed, in words. Where `answer` is `park`, waiting alone is not expected to help.
    RetryScheduled {
        session: String,
        shard: u16,
        reason: &'static str,
        detail: String,
        answer: &'static str,
        retry_in: Duration,
    },
    /// The configuration names a queue that the platform does not know; the others are subscribed.
    QueueUnknown { queue: String },
    /// The platform refused a topic; the others are subscribed.
    TopicRejected { topic: Topic, reason: String },
    /// The platform takes a topic that it refused before.
    TopicPermitted { topic: Topic },
    /// A planned change started: a successor is being made.
    RotationStarted { shard: u16, trigger: &'static str, predecessor: String, successor: String },
    /// The successor has settled and the predecessor is closed. `overlap` is how long both delivered.
    RotationFinished { shard: u16, trigger: &'static str, overlap: Duration },

    /// The successor failed and is tried again; the predecessor is kept.
    RotationFailed { shard: u16, trigger: &'static str, detail: String, retry_in: Duration },

    // --- stream ---
    /// A gap began: notifications may be missed from `from` on.
    GapOpened {
        number: u64,
        shard: u16,
        cause: &'static str,
        certainty: &'static str,
        from: Timestamp,
    },
    /// A gap ended.
    GapClosed {
        number: u64,
        shard: u16,
        cause: &'static str,
        certainty: &'static str,
        from: Timestamp,
        to: Timestamp,
        action: &'static str,
    },
    /// Re-basing after a gap is over; counted in topics.
    Rebased { gap: u64, snapshots: u64, superseded: u64, failed: u64, without: u64 },
    /// REST did not give snapshots after a gap; with `given_up` they are not asked for again.
    SnapshotRefused {
        what: &'static str,
        reason: &'static str,
        detail: String,
        retry_in: Duration,
        given_up: bool,
    },
    /// Keys that were lively have fallen silent while their session is well: `keys` altogether.
    FeedSuspected { shard: u16, keys: usize },
    /// The gap ledger's file could not be written, or read; it is tried again each second.
    LedgerFailed { detail: String },
    /// A frame could not be read. It was not delivered; `bytes` is its length.
    FrameUnreadable { session: String, detail: String, bytes: usize },

    // --- sinks ---
    /// A sink is connected and takes events.
    SinkReady { sink: &'static str, resumed_from: Option<u64> },
    /// What weakens or lowers a sink's guarantee as its broker answers now; told once, when the sink is ready. `about` is a finding's name.
    GuaranteeWeakened { sink: &'static str, about: &'static str, text: String },
    /// A sink failed; what it has not acknowledged is sent again after `retry_in`. `kind` is what it did: one of
    /// `telemetry::metrics::FAILURES`.
    SinkFailed { sink: &'static str, kind: &'static str, detail: String, retry_in: Duration },
    /// A sink can never take this event; it is parked.
    EventParked { sink: &'static str, topic: Topic, number: u64, reason: String },
    /// A sink cannot take the marker of a parked event either: this number of its key is missing there.
    MarkerRefused { sink: &'static str, topic: Topic, number: u64, reason: String },
    /// A sink's filter had no answer for an event, which it got therefore. `count` so far; told now and then, not each time.
    FilterErred { sink: &'static str, topic: Topic, problem: String, count: u64 },
    /// The journal could not take events for a sink. `count` so far in this gap.
    JournalFull { sink: &'static str, count: u64 },

    // --- journal ---
    /// An earlier process left a journal. `waiting` events have no acknowledgement of the sink that is furthest behind.
    JournalFound { last_epoch: String, was_closed: bool, waiting: u64, torn_bytes: u64 },
    /// An epoch began in place of the last.
    EpochBegan { epoch: String, reason: &'static str },
    /// A file operation failed.
    JournalFailed { operation: &'static str, detail: String },
    /// So many positions cannot be read any more, from `first` on.
    JournalDamaged { events: u64, first: u64 },
    /// A sink is not configured any more: what waits for it is let go.
    SinkReleased { sink: String, events: u64 },
    /// A sink is new here: it gets what comes from now on.
    SinkAdded { sink: &'static str },

    // --- configuration ---
    /// The configuration was read again. `outcome` is one of `telemetry::metrics::RELOADS`.
    ConfigRead { trigger: &'static str, outcome: &'static str },
    /// A changed key is in force from now on; `was` and `now` are its values as TOML, as a message may show them.
    ConfigApplied { key: String, was: String, now: String },
    /// A changed key takes a restart.
    ConfigPending { key: String, was: String, now: String },
    /// The file changes a key in vain, because a variable stands above it.
    ConfigOverridden { key: String, variable: String },
    /// A mistake in a configuration that was read again, of which nothing is in force.
    ConfigMistaken { key: String, words: String },

    // --- process ---
    /// The process began, and with it an epoch.
    Started { version: &'static str, epoch: String },
    /// The doors for operators are open; `address` is the bound one, also when port 0 was asked for.
    Listening { address: SocketAddr },
    /// The doors are open to the network without token or TLS, as the configuration allows.
    DoorsUnguarded { address: SocketAddr },
    /// A token or certificate of the doors was changed and cannot be used; the last good one stays in use.
    DoorKeyUnusable { detail: String },
    /// A bug ended a connection of the doors, or what renews their keys, which begins again; nothing else notices.
    DoorPanicked { detail: String },
    /// The process is ready: subscribed, hearing, and its sinks acknowledging.
    Ready,
    /// The process is no longer ready, and why.
    Unready { reasons: Vec<String> },
    /// One process takes over from another.
    Handover(Handover),
    /// The process began to drain.
    Draining { reason: &'static str, deadline: Duration },
    /// The drain ended with so many events unacknowledged (0 is a clean end).
    Drained { unacknowledged: u64 },
}

/// What happens while one process takes over from another; the first four are the old one's, the others the new one's.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the field names are the log's field names, told in each variant")]
pub enum Handover {
    /// Nobody can take over from this process: its socket cannot be made.
    Unavailable { detail: String },
    /// Another process asks to take over; planned changes wait from now on.
    Asked,
    /// The other process has settled and is heard alone; as soon as all that is still under way has come, it goes on.
    Silent,
    /// The other process did not take over; this one goes on, unless it had stopped already.
    Failed { detail: String, ends: bool },
    /// Another process goes on behind what is in the journal, with so many of its messages.
    HandedOver { relayed: u64 },
    /// There is no process to take over from: this is an ordinary start.
    Alone,
    /// The process that runs, of that version, lets this one begin.
    Joined { version: String, epoch: String },
    /// This process goes on where the other one was cut off; so many notifications had waited for it.
    TookOver { waited: u64 },
    /// The process that ran died before it had handed over: this is a restart.
    Orphaned,
}

/// What the library that talks to a sink's brokers counts. Sums over brokers; totals since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerFigures {
    /// Events in the library's queue, sent or not.
    pub queued_events: u64,
    /// Their size in bytes.
    pub queued_bytes: u64,
    /// Requests that were sent and not yet answered.
    pub requests: u64,
    /// Bytes sent, protocol included: a total.
    pub sent_bytes: u64,
    /// Requests that were sent again: a total.
    pub retries: u64,
    /// What 99 of 100 requests took at most, at the slowest broker, lately.
    pub round_trip: Duration,
    /// Brokers with a connection that works.
    pub brokers_up: u64,
    /// Brokers that were not needed yet.
    pub brokers_idle: u64,
    /// Brokers that are needed and cannot be reached, or are being connected to.
    pub brokers_down: u64,
}
