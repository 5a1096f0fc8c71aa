//! Where people may watch events go by: after the journal has taken them, and so after every rule that changes them.
//!
//! Never slows the stream: nobody watching costs one look at a counter, and who watches too slowly misses events and is told how
//! many.

use crate::event::{Entry, Kind, Marks, Topic};
use crate::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::broadcast;

/// How many events a watcher may lag behind.
const LAG_MAX: usize = 256;

/// Bodies larger than this are not shown, so that a lagging watcher holds at most `LAG_MAX` times as much.
pub const BODY_MAX: usize = 64 * 1024;

/// An event as the journal took it.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// What it tells: what Genesys pushed, or something of our own.
    pub kind: Kind,
    /// How manyth it is of what Genesys pushed and the journal took since the process began; none for our own.
    pub nth: Option<u64>,
    /// The topic it came on.
    pub topic: Topic,
    /// Its body, byte for byte; none where it is larger than `BODY_MAX`.
    pub body: Option<Bytes>,
    /// The body's length in bytes.
    pub length: usize,
    /// When the frame was read.
    pub received: Timestamp,
    /// How it came to be published.
    pub marks: Marks,
}

impl Tapped {
    /// Its CloudEvents `type`, without the prefix of notifications.
    pub fn name(&self) -> &str {
        if self.kind == Kind::Notification { self.topic.kind() } else { self.kind.name() }
    }
}

/// Something of our own; bodies of ours are small.
impl From<Entry> for Tapped {
    fn from(entry: Entry) -> Self {
        let Entry { kind, topic, body, received, marks, .. } = entry;
        let length = body.len();
        let body = Some(body).filter(|_| length <= BODY_MAX);
        Self { kind, nth: None, topic, body, length, received, marks }
    }
}

/// The place to watch from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tap(broadcast::Sender<Arc<Tapped>>);

impl Default for Tap {
    fn default() -> Self {
        Self(broadcast::Sender::new(LAG_MAX))
    }
}

impl Tap {
    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Shows an event to whoever watches.
    pub fn show(&self, event: Tapped) {
        // Who has just left needs no event.
        self.0.send(Arc::new(event)).ok();
    }

    /// Watches from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Tapped>> {
        self.0.subscribe()
    }
}
