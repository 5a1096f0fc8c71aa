//! What the two processes say to each other.

use crate::event::Notification;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The form of the messages, and of the identities of keyed families. Another one is refused.
pub const PROTOCOL: u32 = 1;

/// The first word of the new process.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// Which form of messages it speaks.
    pub protocol: u32,
    /// Its own version, for people.
    pub version: String,
    /// Where its client logs in.
    pub login_url: String,
}

/// The old process lets the new one begin.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// Its own version, for people.
    pub version: String,
    /// The epoch that goes on.
    pub epoch: String,
    /// The OAuth client that it is logged in as, if it is.
    pub client: Option<String>,
    /// How many channels it uses itself, or cannot name: the new process must do without them.
    pub taken: usize,
    /// Whether it subscribes to combined topics.
    pub combined: bool,
}

/// Why the old process does not hand over.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Whether that lies in the configuration, and waiting does not mend it.
    pub permanent: bool,
}

/// One message. Those that are relayed are numbered by their order, from 1: all from `Began` to `Heard`.
#[derive(Clone, Debug)]
pub enum Message {
    /// New to old: the first.
    Hello(Hello),
    /// New to old: a session of a shard has a socket.
    Began {
        /// The session's number in the new process.
        leg: u64,
        /// Whose topics it carries.
        shard: u16,
        /// Which leg of the shard it is.
        place: u8,
    },
    /// New to old: a session said something.
    Sight {
        /// Which session.
        leg: u64,
        /// What.
        notification: Notification,
    },
    /// New to old: nothing more comes from a session.
    Ended {
        /// Which session.
        leg: u64,
    },
    /// New to old, each second: what each shard with certain delivery has heard last. All that came before was said before.
    Heard(BTreeMap<u16, Timestamp>),
    /// New to old: whether every shard is delivered for certain.
    Settled(bool),

    /// Old to new: no handover.
    Refused(Refusal),
    /// Old to new: the topics of one shard, each by itself; before the welcome.
    Placed {
        /// Which shard.
        shard: u16,
        /// Their names.
        topics: Vec<String>,
    },
    /// Old to new: begin.
    Welcome(Welcome),
    /// Old to new, now and then: what was relayed up to that number has been taken in.
    Taken(u64),
    /// Old to new, before the cut: identities that keyed families have published, and how long ago, oldest first.
    Window(Vec<(u128, Duration)>),
    /// Old to new: all that was relayed up to `relayed` is in the journal, and the journal is closed.
    Cut {
        /// The number of the last relayed message that counts.
        relayed: u64,
        /// The same when the old process muted its sessions: from there on the new one alone was heard.
        muted: u64,
        /// How long the old process may need to end.
        ends_within: Duration,
    },
}
