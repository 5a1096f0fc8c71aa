//! Messages as bytes: four bytes of length, one that says what it is, and the rest. Sights and identities are binary, because there are
//! many; all else is JSON.
//!
//! What comes is another process's word: nothing in it is believed but what can be read.

use super::message::{Hello, Message, PROTOCOL, Refusal, Welcome};
use crate::event::{Notification, Topics};
use crate::time::Timestamp;
use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How many bytes say how long a message is.
pub const HEADER: usize = 4;

/// What a message may have beside a notification's body, which `genesys.frame_max` bounds; far more than 1,000 topics take.
const ROOM: usize = 16 << 20;

/// Bytes of one identity and its age.
const IDENTITY: usize = 16 + 8;

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the handover cannot be read")]
pub struct Unreadable;

mod kind {
    pub const HELLO: u8 = 1;
    pub const BEGAN: u8 = 2;
    pub const SIGHT: u8 = 3;
    pub const ENDED: u8 = 4;
    pub const HEARD: u8 = 5;
    pub const SETTLED: u8 = 6;
    pub const REFUSED: u8 = 16;
    pub const PLACED: u8 = 17;
    pub const WELCOME: u8 = 18;
    pub const TAKEN: u8 = 19;
    pub const WINDOW: u8 = 20;
    pub const CUT: u8 = 21;
}

/// How long the message behind that header is, where the largest frame of a session has `frame_max` bytes.
pub fn length(header: [u8; HEADER], frame_max: usize) -> Result<usize, Unreadable> {
    let length = usize::try_from(u32::from_be_bytes(header)).map_err(|_| Unreadable)?;
    if length == 0 || length > frame_max.saturating_add(ROOM) {
        Err(Unreadable)
    } else {
        Ok(length)
    }
}

/// Appends a message, its header first.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    match message {
        Message::Hello(hello) => json(out, kind::HELLO, hello),
        Message::Began { leg, shard, place } => json(out, kind::BEGAN, &(leg, shard, place)),
        Message::Sight { leg, notification } => sight(out, *leg, notification),
        Message::Ended { leg } => json(out, kind::ENDED, leg),
        Message::Heard(heard) => {
            let heard: Vec<(u16, u64)> =
                heard.iter().map(|(shard, at)| (*shard, at.as_micros())).collect();
            json(out, kind::HEARD, &heard);
        }
        Message::Settled(settled) => json(out, kind::SETTLED, settled),
        Message::Refused(refusal) => json(out, kind::REFUSED, refusal),
        Message::Placed { shard, topics } => json(out, kind::PLACED, &(shard, topics)),
        Message::Welcome(welcome) => json(out, kind::WELCOME, welcome),
        Message::Taken(number) => json(out, kind::TAKEN, number),
        Message::Window(known) => {
            out.push(kind::WINDOW);
            for (identity, age) in known {
                out.extend_from_slice(&identity.to_be_bytes());
                out.extend_from_slice(&micros(*age).to_be_bytes());
            }
        }
        Message::Cut { relayed, muted, ends_within } => {
            json(out, kind::CUT, &(relayed, muted, micros(*ends_within)));
        }
    }
    // A frame of a session is far shorter than this can say; one that were not would be refused by its reader.
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn json(out: &mut Vec<u8>, kind: u8, value: &impl Serialize) {
    out.push(kind);
    serde_json::to_writer(out, value)
        .expect("names and numbers are valid JSON, and a Vec takes all of it");
}

fn sight(out: &mut Vec<u8>, leg: u64, notification: &Notification) {
    let Notification { topic, body, correlation_id, received } = notification;
    out.push(kind::SIGHT);
    out.extend_from_slice(&leg.to_be_bytes());
    out.extend_from_slice(&received.as_micros().to_be_bytes());
    out.push(u8::from(correlation_id.is_some()));
    for text in [topic.name(), correlation_id.as_deref().unwrap_or_default()] {
        out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(body);
}

/// Reads what stands behind a header.
pub fn decode(message: Bytes, topics: &mut Topics) -> Result<Message, Unreadable> {
    let Some((kind, rest)) = message.split_first() else { return Err(Unreadable) };
    Ok(match *kind {
        kind::HELLO => Message::Hello(hello(rest)?),
        kind::BEGAN => {
            let (leg, shard, place) = read(rest)?;
            Message::Began { leg, shard, place }
        }
        kind::SIGHT => read_sight(message.slice(1..), topics)?,
        kind::ENDED => Message::Ended { leg: read(rest)? },
        kind::HEARD => {
            let heard: Vec<(u16, u64)> = read(rest)?;
            let at = |(shard, at)| (shard, Timestamp::from_micros(at));
            Message::Heard(heard.into_iter().map(at).collect())
        }
        kind::SETTLED => Message::Settled(read(rest)?),
        kind::REFUSED => Message::Refused(read::<Refusal>(rest)?),
        kind::PLACED => {
            let (shard, topics) = read(rest)?;
            Message::Placed { shard, topics }
        }
        kind::WELCOME => Message::Welcome(read::<Welcome>(rest)?),
        kind::TAKEN => Message::Taken(read(rest)?),
        kind::WINDOW => window(rest)?,
        kind::CUT => {
            let (relayed, muted, within) = read(rest)?;
            Message::Cut { relayed, muted, ends_within: Duration::from_micros(within) }
        }
        _ => return Err(Unreadable),
    })
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(text).map_err(|_| Unreadable)
}

/// The one message that every form shares: of another form only its number counts.
fn hello(text: &[u8]) -> Result<Hello, Unreadable> {
    #[derive(serde::Deserialize)]
    struct Form {
        protocol: u32,
    }
    let Form { protocol } = read(text)?;
    if protocol == PROTOCOL {
        return read(text);
    }
    Ok(Hello { protocol, version: String::new(), login_url: String::new() })
}

fn read_sight(mut rest: Bytes, topics: &mut Topics) -> Result<Message, Unreadable> {
    let leg = rest.try_get_u64().map_err(|_| Unreadable)?;
    let received = Timestamp::from_micros(rest.try_get_u64().map_err(|_| Unreadable)?);
    let correlated = rest.try_get_u8().map_err(|_| Unreadable)? == 1;
    let topic = topics.get(text(&mut rest)?.as_ref());
    let correlation_id = text(&mut rest)?;
    let correlation_id = correlated.then(|| correlation_id.as_ref().into());
    let notification = Notification { topic, body: rest, correlation_id, received };
    Ok(Message::Sight { leg, notification })
}

fn text(rest: &mut Bytes) -> Result<Text, Unreadable> {
    let length = usize::try_from(rest.try_get_u32().map_err(|_| Unreadable)?);
    let length = length.ok().filter(|length| *length <= rest.len()).ok_or(Unreadable)?;
    let text = rest.split_to(length);
    std::str::from_utf8(&text).map_err(|_| Unreadable)?;
    Ok(Text(text))
}

/// Bytes that are known to be text.
struct Text(Bytes);

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn window(mut rest: &[u8]) -> Result<Message, Unreadable> {
    if !rest.len().is_multiple_of(IDENTITY) {
        return Err(Unreadable);
    }
    let mut known = Vec::with_capacity(rest.len() / IDENTITY);
    while !rest.is_empty() {
        let (identity, age) = (rest.get_u128(), rest.get_u64());
        known.push((identity, Duration::from_micros(age)));
    }
    Ok(Message::Window(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn there_and_back(message: &Message) -> Message {
        let mut out = Vec::new();
        encode(message, &mut out);
        let (header, rest) = out.split_first_chunk::<HEADER>().unwrap();
        assert_eq!(length(*header, 0), Ok(rest.len()));
        decode(Bytes::copy_from_slice(rest), &mut Topics::default()).unwrap()
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let topic = Topics::default().get("v2.users.7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d.presence");
        let received = Timestamp::from_micros(7);
        let sight = |correlation_id| Message::Sight {
            leg: 3,
            notification: Notification {
                topic: topic.clone(),
                body: Bytes::from_static(b"{\"a\":1}"),
                correlation_id,
                received,
            },
        };
        let hello =
            Hello { protocol: PROTOCOL, version: "1.0".into(), login_url: "https://x/".into() };
        let welcome = Welcome {
            version: "1.0".into(),
            epoch: "e".into(),
            client: Some("me".into()),
            taken: 2,
            combined: true,
        };
        let all = [
            Message::Hello(hello),
            Message::Began { leg: 3, shard: 1, place: 1 },
            sight(None),
            sight(Some("".into())),
            sight(Some("c".into())),
            Message::Ended { leg: 3 },
            Message::Heard(BTreeMap::from([(0, received), (9, received)])),
            Message::Settled(true),
            Message::Refused(Refusal { reason: "so".into(), permanent: true }),
            Message::Placed { shard: 4, topics: vec!["a".into(), "b".into()] },
            Message::Welcome(welcome),
            Message::Taken(12),
            Message::Window(vec![(1, Duration::from_micros(5)), (u128::MAX, Duration::ZERO)]),
            Message::Window(Vec::new()),
            Message::Cut { relayed: 9, muted: 4, ends_within: Duration::from_secs(3) },
        ];
        for message in all {
            assert_eq!(format!("{:?}", there_and_back(&message)), format!("{message:?}"));
        }
    }

    #[test]
    fn a_hello_of_another_form_is_still_known_as_one() {
        let text = b"\x01{\"protocol\":9,\"anything\":[]}";
        let read = decode(Bytes::from_static(text), &mut Topics::default());
        assert!(matches!(read, Ok(Message::Hello(Hello { protocol: 9, .. }))));
    }

    #[test]
    fn no_length_is_believed_that_nothing_needs() {
        assert_eq!(length([0; HEADER], 8), Err(Unreadable));
        assert_eq!(length([0xff; HEADER], 8 << 20), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in 0..=22 {
                bytes.splice(0..bytes.len().min(1), [kind]);
                drop(decode(Bytes::copy_from_slice(&bytes), &mut Topics::default()));
            }
        }
    }
}
