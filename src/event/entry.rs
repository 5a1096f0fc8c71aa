//! What is handed to the journal: an event that has no place and no numbers yet.

use super::{Kind, Marks, Notification, Topic};
use crate::time::Timestamp;
use bytes::Bytes;

/// An event before the journal has placed it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it tells.
    pub kind: Kind,
    /// The topic it is about; gives its key. [`Topic::control`] for what concerns the whole sink.
    pub topic: Topic,
    /// The event's data, JSON.
    pub body: Bytes,
    /// The envelope's `metadata.CorrelationId`, for a notification.
    pub correlation_id: Option<Box<str>>,
    /// When the frame was read, or the answer.
    pub received: Timestamp,
    /// How it came to be published.
    pub marks: Marks,
    /// The one sink that it is for; none where it is for all.
    pub sink: Option<&'static str>,
}

impl Entry {
    /// What Genesys pushed.
    pub fn pushed(notification: Notification, marks: Marks) -> Self {
        Self {
            kind: Kind::Notification,
            topic: notification.topic,
            body: notification.body,
            correlation_id: notification.correlation_id,
            received: notification.received,
            marks,
            sink: None,
        }
    }

    /// Something of our own, for all sinks.
    pub fn own(kind: Kind, topic: Topic, body: Bytes, received: Timestamp) -> Self {
        let (correlation_id, marks, sink) = (None, Marks::default(), None);
        Self { kind, topic, body, correlation_id, received, marks, sink }
    }

    /// The same, for one sink alone.
    #[must_use]
    pub fn only_for(self, sink: &'static str) -> Self {
        Self { sink: Some(sink), ..self }
    }
}
