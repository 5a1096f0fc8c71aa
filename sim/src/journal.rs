//! What happened, for whoever wants to judge a client: emissions, deliveries, faults, sessions, logins, subscriptions.
//!
//! Emissions are planned and repeat with the seed; all the rest is observed. Nothing is ever
//! forgotten, so that a run of an hour at 10,000 a second needs tens of gigabytes: use `--blast`
//! to measure, and this to judge.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::clock::{self, Millis};

/// The whole journal as `GET /sim/journal` answers it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Journal {
    /// Every notification that was made, heard or not, by number.
    pub emissions: Vec<Emission>,
    /// When each emission was handed to the sockets that were open: later than its `time` by what
    /// the machine was late.
    pub releases: Vec<Release>,
    /// Every frame that was written to a socket and flushed without error.
    pub deliveries: Vec<Delivery>,
    /// Every fault that was injected, planned ones included.
    pub faults: Vec<Fault>,
    /// Every socket that was accepted.
    pub sessions: Vec<Session>,
    /// Every token request that named a client and a secret, granted or not.
    pub logins: Vec<Login>,
    /// Every change of a channel's topics that was granted.
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
}

/// One notification.
#[derive(Debug, Serialize, Deserialize)]
pub struct Emission {
    /// 1, 2, 3 and so on, over all topics.
    pub number: u64,
    /// The topic it went out under.
    pub topic: String,
    /// The last id in the topic (the queue), else the whole topic: the unit of order.
    pub key: String,
    /// Its scheduled time, RFC 3339 with milliseconds.
    pub time: String,
    /// The `eventBody`, byte for byte.
    pub body: Box<RawValue>,
    /// `metadata.CorrelationId`.
    pub correlation_id: String,
}

/// The moment at which an emission was handed to the open sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// The emission.
    pub number: u64,
    /// RFC 3339 with milliseconds.
    pub at: String,
}

/// One frame on one socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// The emission.
    pub number: u64,
    /// The channel it went to.
    pub channel: String,
    /// The serial number of the socket.
    pub session: u64,
    /// When the frame had been flushed, RFC 3339 with milliseconds.
    pub at: String,
}

/// One injected fault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// The control call or scenario step that made it, such as `close.rst` or `silence`.
    pub kind: String,
    /// When it began, RFC 3339 with milliseconds.
    pub from: String,
    /// When it ends, or nothing when it has no end of its own.
    pub to: Option<String>,
    /// The channels that had an open socket and were hit; empty for faults of REST.
    pub channels: Vec<String>,
}

/// One accepted socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// The serial number of the socket.
    pub session: u64,
    /// Its channel.
    pub channel: String,
    /// When the handshake was answered, RFC 3339 with milliseconds.
    pub opened: String,
    /// When it ended, RFC 3339 with milliseconds.
    pub closed: Option<String>,
    /// Why it ended, in the simulator's words.
    pub reason: Option<String>,
}

/// One token request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// When it was answered, RFC 3339 with milliseconds.
    pub at: String,
    /// The client that it named.
    pub client_id: String,
    /// What it was answered: 200, 400 for an unknown client, 401 for a wrong secret.
    pub status: u16,
}

/// One change of the topics of a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscription {
    /// When it was granted, RFC 3339 with milliseconds.
    pub at: String,
    /// The channel.
    pub channel: String,
    /// How it was asked for: `PUT`, `POST`, `DELETE`, or `socket`.
    pub method: String,
    /// How many topics were named and granted.
    pub named: usize,
    /// How many the channel has since.
    pub topics: usize,
}

/// The journal while it is being written: compact, without text that can be made later.
#[derive(Debug, Default)]
pub(crate) struct Log {
    emissions: Vec<Emitted>,
    releases: Vec<Millis>,
    deliveries: Vec<Delivered>,
    faults: Vec<Fault>,
    sessions: Vec<Session>,
    logins: Vec<Login>,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug)]
struct Emitted {
    topic: String,
    time: Millis,
    /// The whole frame, shared with the sockets, and where in it the body lies.
    frame: Utf8Bytes,
    body: std::ops::Range<usize>,
    correlation_id: String,
}

#[derive(Debug)]
struct Delivered {
    number: u64,
    channel: Utf8Bytes,
    session: u64,
    at: Millis,
}

impl Log {
    /// Writes an emission and answers its number.
    pub(crate) fn emitted(
        &mut self,
        topic: String,
        time: Millis,
        frame: Utf8Bytes,
        body: std::ops::Range<usize>,
        correlation_id: String,
    ) -> u64 {
        self.emissions.push(Emitted { topic, time, frame, body, correlation_id });
        self.releases.push(clock::now());
        self.emitted_count()
    }

    /// How many notifications there have been; also the number of the last one.
    pub(crate) fn emitted_count(&self) -> u64 {
        self.emissions.len() as u64
    }

    /// How many frames reached a socket.
    pub(crate) fn delivered_count(&self) -> u64 {
        self.deliveries.len() as u64
    }

    /// Writes that these emissions were flushed to this socket.
    pub(crate) fn delivered(&mut self, numbers: &[u64], channel: &Utf8Bytes, session: u64) {
        let at = clock::now();
        self.deliveries.extend(numbers.iter().map(|&number| Delivered {
            number,
            channel: channel.clone(),
            session,
            at,
        }));
    }

    /// Writes a fault and answers its number.
    pub(crate) fn fault(
        &mut self,
        kind: impl Into<String>,
        from: Millis,
        to: Option<Millis>,
        channels: Vec<String>,
    ) -> u64 {
        let number = self.faults.len() as u64 + 1;
        self.faults.push(Fault {
            number,
            kind: kind.into(),
            from: clock::rfc3339(from),
            to: to.map(clock::rfc3339),
            channels,
        });
        number
    }

    /// Writes that a socket was accepted.
    pub(crate) fn opened(&mut self, session: u64, channel: &str) {
        self.sessions.push(Session {
            session,
            channel: channel.to_owned(),
            opened: clock::rfc3339(clock::now()),
            closed: None,
            reason: None,
        });
    }

    /// Writes that a socket ended.
    pub(crate) fn closed(&mut self, session: u64, reason: &str) {
        if let Some(entry) = self.sessions.iter_mut().rev().find(|entry| entry.session == session) {
            entry.closed = Some(clock::rfc3339(clock::now()));
            entry.reason = Some(reason.to_owned());
        }
    }

    /// Writes how a token request was answered.
    pub(crate) fn login(&mut self, client_id: String, status: u16) {
        self.logins.push(Login { at: clock::rfc3339(clock::now()), client_id, status });
    }

    /// Writes that a channel's topics were changed.
    pub(crate) fn subscribed(&mut self, channel: &str, method: &str, named: usize, topics: usize) {
        let (channel, method) = (channel.to_owned(), method.to_owned());
        let at = clock::rfc3339(clock::now());
        self.subscriptions.push(Subscription { at, channel, method, named, topics });
    }

    /// The journal from emission number `from` on; faults, sessions, logins and subscriptions are always complete.
    pub(crate) fn read(&self, from: u64) -> Journal {
        let first = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        let numbered = || (1_u64..).zip(&self.emissions).skip(first);
        Journal {
            emissions: numbered().filter_map(|(number, emitted)| emitted.read(number)).collect(),
            releases: (1_u64..)
                .zip(&self.releases)
                .skip(first)
                .map(|(number, &at)| Release { number, at: clock::rfc3339(at) })
                .collect(),
            deliveries: self
                .deliveries
                .iter()
                .filter(|delivered| delivered.number >= from)
                .map(Delivered::read)
                .collect(),
            faults: self.faults.clone(),
            sessions: self.sessions.clone(),
            logins: self.logins.clone(),
            subscriptions: self.subscriptions.clone(),
        }
    }
}

impl Emitted {
    fn read(&self, number: u64) -> Option<Emission> {
        let body = self.frame.as_str().get(self.body.clone())?.to_owned();
        Some(Emission {
            number,
            key: key_of(&self.topic).to_owned(),
            topic: self.topic.clone(),
            time: clock::rfc3339(self.time),
            // A body that is not JSON (a fault asked for by hand) has no place in the journal.
            body: RawValue::from_string(body).ok()?,
            correlation_id: self.correlation_id.clone(),
        })
    }
}

impl Delivered {
    fn read(&self) -> Delivery {
        Delivery {
            number: self.number,
            channel: self.channel.as_str().to_owned(),
            session: self.session,
            at: clock::rfc3339(self.at),
        }
    }
}

/// The last id in a topic, else the whole topic. An id is a part of UUID shape.
pub(crate) fn key_of(topic: &str) -> &str {
    topic.rsplit(['.', '?']).find(|part| is_uuid(part)).unwrap_or(topic)
}

/// Whether `text` has the shape of a UUID.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_last_id_of_a_topic() {
        let id = "0f2a4c6e-0f2a-4c6e-8f2a-4c6e0f2a4c6e";
        assert_eq!(key_of(&format!("v2.routing.queues.{id}.users")), id);
        assert_eq!(key_of("v2.system.socket_closing"), "v2.system.socket_closing");
    }
}
