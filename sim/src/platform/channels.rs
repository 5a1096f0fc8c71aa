//! Channels: made, found, subscribed, evicted, expired; and the one socket each may have.
//!
//! There is no way to delete a channel: it ends by its time, or when a 21st is made.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::chance;
use crate::clock::{self, Millis};
use crate::journal::key_of;
use crate::socket::{Blast, Cut, Item, Order, Socket, frames};
use crate::switches::Evicted;

use super::State;
use super::disturb::{self, Fate};
use super::topics;

/// Channels one OAuth client may have; one more evicts the least recently used.
pub(crate) const CHANNELS_MAX: usize = 20;

/// Topics one channel may have; a combined topic counts once.
pub(crate) const TOPICS_MAX: usize = 1000;

/// The size of a frame of `--blast`: that of every measurement of this project.
const BLAST_BYTES: usize = 900;

/// One channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) client_id: String,
    /// The token that made it.
    pub(crate) token: String,
    pub(crate) expires: Millis,
    /// The topics as they were asked for, in that order.
    pub(crate) topics: Vec<String>,
    /// The single topics those stand for.
    expanded: HashSet<String>,
    /// The single topics that were refused though they are part of a combined one.
    refused: HashSet<String>,
    /// When it was used last, as a count of uses: the smallest goes first.
    pub(crate) used: u64,
    pub(crate) socket: Option<Socket>,
    /// The socket that `--blast` has been done to.
    blasted: u64,
    /// When the last late frame of each key goes out.
    late: HashMap<String, Instant>,
}

/// Why a socket, or a whole channel, comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Another socket was opened on the same channel.
    Replaced,
    /// A 21st channel was made.
    Evicted,
    ChannelExpired,
    TokenExpired,
    TokenRevoked,
}

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// With this status, as the switches say.
    NoSuchChannel(u16),
}

impl Channel {
    /// Whether this single topic is subscribed.
    pub(crate) fn hears(&self, topic: &str) -> bool {
        self.expanded.contains(topic)
    }

    /// Hands an emission to the socket, if there is one and the topic is subscribed.
    pub(super) fn deliver(&mut self, topic: &str, number: u64, frame: &Utf8Bytes, fate: &Fate) {
        if fate.dropped || !self.hears(topic) {
            return;
        }
        let Some(socket) = &self.socket else { return };
        let due = disturb::due(&mut self.late, key_of(topic), fate.lag);
        socket.send(number, frame.clone(), due);
        if fate.doubled {
            socket.send(number, frame.clone(), due);
        }
    }

    /// Makes `topics` the whole subscription, to take effect with [`Channel::settle`].
    pub(crate) fn replace(&mut self, topics: Vec<String>) {
        self.topics = topics;
    }

    /// Notes which single topics of the combined ones in `asked` were refused; all others of them
    /// are no longer.
    pub(crate) fn refuse(&mut self, asked: &[String], refused: impl Iterator<Item = String>) {
        for part in asked.iter().flat_map(|topic| topics::expand(topic)) {
            self.refused.remove(&part);
        }
        self.refused.extend(refused);
    }

    /// Lets the subscription that was asked for last take effect.
    pub(crate) fn settle(&mut self) {
        let all = self.topics.iter().flat_map(|topic| topics::expand(topic));
        self.expanded = all.filter(|topic| !self.refused.contains(topic)).collect();
    }

    /// Adds topics that are not there yet.
    pub(crate) fn add(&mut self, topics: Vec<String>) {
        let mut all = std::mem::take(&mut self.topics);
        for topic in topics {
            if !all.contains(&topic) {
                all.push(topic);
            }
        }
        self.replace(all);
    }

    /// How many topics there would be after adding `topics`.
    pub(crate) fn count_with(&self, topics: &[String]) -> usize {
        let all: HashSet<&String> = self.topics.iter().chain(topics).collect();
        all.len()
    }
}

impl State {
    /// Makes a channel for a token of `client_id`, and evicts one if that makes too many. Answers
    /// the new id.
    pub(crate) fn make_channel(&mut self, client_id: &str, token: &str) -> String {
        let mine = self.channels.values().filter(|channel| channel.client_id == client_id);
        if mine.clone().count() >= CHANNELS_MAX {
            let victim = mine
                .min_by_key(|channel| (channel.socket.is_some(), channel.used))
                .map(|channel| channel.id.clone());
            if let Some(victim) = victim {
                self.end_channel(&victim, Ending::Evicted);
            }
        }
        self.channels_made += 1;
        let shard = self.channels_made % 8;
        let id = format!("streaming-{shard}-{}", chance::token(&mut self.chance, 26));
        let channel = Channel {
            id: id.clone(),
            client_id: client_id.to_owned(),
            token: token.to_owned(),
            expires: clock::now().saturating_add(self.channel_ttl()),
            topics: Vec::new(),
            expanded: HashSet::new(),
            refused: HashSet::new(),
            used: self.next_use(),
            socket: None,
            blasted: 0,
            late: HashMap::new(),
        };
        self.channels.insert(id.clone(), channel);
        id
    }

    /// The address of a channel's socket: whoever knows it may listen.
    pub(crate) fn connect_uri(&self, channel_id: &str) -> String {
        let base = self.base_url.replacen("http", "ws", 1);
        format!("{base}/channels/{channel_id}")
    }

    /// A living channel that this caller may use, marked as used.
    pub(crate) fn channel(
        &mut self,
        id: &str,
        client_id: &str,
        token: &str,
    ) -> Option<&mut Channel> {
        let used = self.next_use();
        let now = clock::now();
        let channel = self
            .channels
            .get_mut(id)
            .filter(|channel| channel.client_id == client_id && channel.expires > now)
            .filter(|channel| !self.switches.channel_needs_its_token || channel.token == token)?;
        channel.used = used;
        Some(channel)
    }

    /// Lets a channel's subscription take effect, and starts what waits for one.
    pub(crate) fn settle(&mut self, id: &str) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.settle();
        }
        self.blast(id);
    }

    /// Sends a socket what `--blast` asks for, once, when its channel has a subscription.
    fn blast(&mut self, id: &str) {
        let Some(frames) = self.options.blast else {
            return;
        };
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        let Some(topic) = channel.topics.first().cloned() else {
            return;
        };
        if let Some(socket) = channel.socket.as_ref()
            && channel.blasted != socket.serial
        {
            channel.blasted = socket.serial;
            socket.queue(Item::Blast(Blast { frames, bytes: BLAST_BYTES, topic }));
        }
    }

    /// Lets a channel live its full time again, as subscribing does.
    pub(crate) fn extend(&mut self, id: &str) {
        if !self.switches.subscribing_extends {
            return;
        }
        let expires = clock::now().saturating_add(self.channel_ttl());
        if let Some(channel) = self.channels.get_mut(id) {
            channel.expires = expires;
        }
    }

    /// Gives a channel its new socket; the one it had is evicted. Answers the serial number.
    pub(crate) fn open(&mut self, id: &str, socket: Socket) -> Result<u64, Refused> {
        let used = self.next_use();
        let now = clock::now();
        let channel = self.channels.get(id);
        if channel.is_none_or(|channel| channel.expires <= now) {
            return Err(Refused::NoSuchChannel(self.switches.refused_with));
        }
        self.end_socket(id, Ending::Replaced);
        self.sessions += 1;
        let serial = self.sessions;
        self.log.opened(serial, id);
        if let Some(channel) = self.channels.get_mut(id) {
            channel.used = used;
            channel.socket = Some(socket.numbered(serial));
        }
        self.blast(id);
        Ok(serial)
    }

    /// Notes that a socket has ended; a younger one on the same channel stays.
    pub(crate) fn close(&mut self, id: &str, serial: u64, reason: &str) {
        self.log.closed(serial, reason);
        if let Some(channel) = self.channels.get_mut(id)
            && channel.socket.as_ref().is_some_and(|socket| socket.serial == serial)
        {
            channel.socket = None;
        }
    }

    /// Ends a channel and its socket.
    pub(crate) fn end_channel(&mut self, id: &str, ending: Ending) {
        self.end_socket(id, ending);
        self.channels.remove(id);
    }

    /// Tells a channel's socket why it must go, and closes it.
    pub(crate) fn end_socket(&mut self, id: &str, ending: Ending) {
        let correlation_id = self.uuid();
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        let Some(socket) = channel.socket.take() else {
            return;
        };
        let (system, code, reason) = match ending {
            Ending::Replaced => (Some("no_longer_subscribed"), 1001, "another socket was opened"),
            Ending::Evicted => (Some("no_longer_subscribed"), 1001, "channel evicted"),
            Ending::ChannelExpired => (None, 1001, "channel expired"),
            Ending::TokenExpired => (None, 1001, "token expired"),
            Ending::TokenRevoked => (Some("token_revoked"), 1001, "token revoked"),
        };
        let evicted = matches!(ending, Ending::Replaced | Ending::Evicted);
        match (self.switches.evicted_sees, evicted) {
            (Evicted::Reset, true) => return socket.cut(Cut::Reset),
            (Evicted::Silence, true) => return socket.order(Order::Mute { resume: None }),
            (Evicted::Close, true) => return socket.close(code, reason.into()),
            (Evicted::Message, true) | (_, false) => {}
        }
        if let Some(kind) = system {
            let text = frames::system(kind, &channel.id, &channel.client_id, &correlation_id);
            socket.say(Utf8Bytes::from(text));
        }
        socket.close(code, reason.into());
    }

    fn channel_ttl(&self) -> Millis {
        u64::try_from(self.options.channel_ttl.as_millis()).unwrap_or(u64::MAX)
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}
