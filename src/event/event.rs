//! What we publish: an entry that the journal has accepted and placed.

use super::{Entry, Family, Kind, Topic};
use crate::time::Timestamp;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// One life of the journal. A new journal is a new epoch; numbers are only compared within one.
///
/// Shape: `20261124T150000Z-3f9a1c2b`, so that epochs sort by age and fit in headers and ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// The epoch that begins at `began`; `salt` tells apart two that begin in one second.
    pub fn new(began: Timestamp, salt: u32) -> Self {
        let second: String =
            began.to_string().chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        Self(format!("{second}Z-{salt:08x}").into())
    }

    /// The epoch of that name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Whether a text is the name of an epoch, such as `20261124T150000Z-0000002a`: whatever else a broker holds is not ours.
    pub fn is_name(text: &str) -> bool {
        let bytes = text.as_bytes();
        bytes.len() == 25
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 => *byte == b'T',
                15 => *byte == b'Z',
                16 => *byte == b'-',
                17.. => byte.is_ascii_hexdigit(),
                _ => byte.is_ascii_digit(),
            })
    }

    /// The epoch's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a consumer should know about how an event came to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Published after a younger event of its key, because only a lagging session showed it.
    pub late: bool,
    /// Could not be told apart from an event already published.
    pub possible_duplicate: bool,
}

/// An event that the journal has accepted.
#[derive(Clone, Debug)]
pub struct Event {
    /// The life of the journal that placed it.
    pub epoch: Epoch,
    /// Its place in that journal, from 1, without holes.
    pub position: u64,
    /// What it tells.
    pub kind: Kind,
    /// The topic it came on or is about; gives its key.
    pub topic: Topic,
    /// The data: of a notification the `eventBody`, byte for byte.
    pub body: Bytes,
    /// The envelope's `metadata.CorrelationId`.
    pub correlation_id: Option<Box<str>>,
    /// When the frame was read, or the answer.
    pub received: Timestamp,
    /// How it came to be published.
    pub marks: Marks,
}

impl Event {
    /// The event that `entry` becomes at that place.
    pub fn placed(epoch: Epoch, position: u64, entry: Entry) -> Self {
        Self {
            epoch,
            position,
            kind: entry.kind,
            topic: entry.topic,
            body: entry.body,
            correlation_id: entry.correlation_id,
            received: entry.received,
            marks: entry.marks,
        }
    }

    /// The CloudEvents `type`.
    pub fn type_name(&self) -> &str {
        if self.kind == Kind::Notification { self.topic.kind() } else { self.kind.name() }
    }

    /// The CloudEvents `id`.
    ///
    /// For notifications of families whose body names its occurrence: a hash of topic, key and body (32 hex digits), so that two processes
    /// agree. For all others its `place`, which is handed in because it costs an allocation and is wanted more than once.
    pub fn id<'a>(&self, place: &'a str) -> Cow<'a, str> {
        match self.topic.family() {
            Family::Keyed if self.kind == Kind::Notification => {
                let body = super::digest(&self.body).to_be_bytes();
                let name = self.topic.name().to_ascii_lowercase();
                format!("{:032x}", xxh3_128(&[name.as_bytes(), &[0], &body[..]].concat())).into()
            }
            Family::Keyed | Family::Keyless => place.into(),
        }
    }

    /// Epoch and journal position: unique for ever, and the same when the event is sent again.
    pub fn place(&self) -> String {
        format!("{}-{}", self.epoch, self.position)
    }
}

/// The W3C `traceparent` under which consumers can join: derived from an event's place, so that a resend carries the same.
///
/// Its flags say `sampled`, although nothing is recorded here: OpenTelemetry's default sampler decides by the parent, and under
/// `00` would drop every span of every consumer.
pub fn traceparent(place: &str) -> String {
    let trace = xxh3_128(place.as_bytes());
    // Zero ids are invalid in W3C trace context; a set low bit rules them out.
    let span = ((trace >> 32) as u64) | 1;
    format!("00-{:032x}-{span:016x}-01", trace | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_named_after_its_second() {
        let began = Timestamp::from_micros(1_700_000_000_000_000);
        let name = Epoch::new(began, 0xAB);
        assert_eq!(name.as_str(), "20231114T221320Z-000000ab");
        assert!(Epoch::is_name(name.as_str()));
        for other in [
            "",
            "stranger",
            "20231114T221320Z",
            "2023-11-14T22:13:20Z-0000ab",
            "20231114T221320Z-000000äb",
        ] {
            assert!(!Epoch::is_name(other), "{other}");
        }
    }
}
