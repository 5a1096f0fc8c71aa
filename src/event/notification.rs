//! What Genesys pushed, taken off the wire and not yet numbered.

use super::Topic;
use crate::time::Timestamp;
use bytes::Bytes;

/// One notification, as one socket said it.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The topic it came on, as the platform spelt it.
    pub topic: Topic,
    /// The envelope's `eventBody`, byte for byte: a slice of the frame.
    pub body: Bytes,
    /// The envelope's `metadata.CorrelationId`. It names a cause, not an occurrence, so it never counts as identity.
    pub correlation_id: Option<Box<str>>,
    /// When the frame was read.
    pub received: Timestamp,
}
