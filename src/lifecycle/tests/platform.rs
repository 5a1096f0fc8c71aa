//! The platform's side of the world: what each command is answered, which channels and tokens there are, and when they end.

use super::world::{DAY, QUEUE, Said, Shown, World, refusal};
use crate::event::Topic;
use crate::lifecycle::{
    CHANNELS_PER_CLIENT, Call, Change, ChannelId, Command, FoundChannel, Heard, Reason, Refusal,
    RejectedTopic, Reply, SessionId, TOPICS_PER_CHANNEL, TokenId,
};
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Whoever makes the channels of another process.
const STRANGER: TokenId = TokenId(u64::MAX);

/// A channel as the platform knows it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    maker: TokenId,
    used: u64,
    expires: Time,
}

/// The kinds of requests, as places in `World::forbidden`.
fn kind(command: &Command) -> Option<usize> {
    match command {
        Command::RequestToken => Some(0),
        Command::ListTopics { .. }
        | Command::ListChannels { .. }
        | Command::OpenChannel { .. }
        | Command::Subscribe { .. }
        | Command::Amend { .. }
        | Command::ReadSnapshots { .. } => Some(1),
        Command::Connect { .. } => Some(2),
        Command::Ping { .. } | Command::Close { .. } | Command::Forget { .. } => None,
    }
}

impl World {
    /// Answers a command after a round trip, as far as it is answered.
    pub(super) fn answer(&mut self, command: Command) {
        let asked = kind(&command);
        if asked.is_some_and(|kind| self.now < self.forbidden[kind]) {
            self.hasty.push((self.now, command.clone()));
        }
        if asked == Some(1) {
            self.count_call();
        }
        let Some(said) = self.answer_to(command) else {
            return;
        };
        let forbids = asked.zip(refusal_of(&said).and_then(|refusal| refusal.retry_after));
        self.asked_to_wait =
            forbids.map_or(Duration::ZERO, |(_, wait)| wait).max(self.asked_to_wait);
        let slow = matches!(said, Said::Reply(Reply::ChannelOpened { .. }));
        let slow = if slow { self.slow_channels } else { Duration::ZERO };
        self.later(ROUND_TRIP + slow, said);
        self.forbidding.extend(forbids.map(|forbids| (self.serial, forbids)));
    }

    /// Counts a call in this minute of the platform's clock, and says with its answer how many there may be.
    fn count_call(&mut self) {
        let Some(allowed) = self.allows else { return };
        let seconds = self.now.since(Time::START).as_secs();
        let (minute, resets_in) = (seconds / 60, Duration::from_secs(60 - seconds % 60));
        let before = if self.called.0 == minute { self.called.1 } else { 0 };
        self.called = (minute, before + 1);
        self.excessive += usize::from(before >= allowed);
        let left = allowed.saturating_sub(before + 1);
        self.later(ROUND_TRIP, Reply::Allowance { allowed, left, resets_in });
    }

    fn answer_to(&mut self, command: Command) -> Option<Said> {
        if let Command::ReadSnapshots { read, topics, page, .. } = command {
            self.serial += 1;
            let shown = match self.refuse_rest.pop_front() {
                Some(refusal) => Shown::Refused(refusal),
                None if page < self.pages => Shown::Page,
                None if self.serial.is_multiple_of(7) => Shown::Overtaken,
                None => Shown::Whole,
            };
            return Some(Said::Shown { read, topics, shown });
        }
        self.reply_to(command).map(Said::Reply)
    }

    fn reply_to(&mut self, command: Command) -> Option<Reply> {
        Some(match command {
            Command::RequestToken => {
                self.tell("request token");
                self.grant()
            }
            Command::ListTopics { page, .. } => match self.refuse_list.pop_front() {
                Some(refusal) => {
                    let anew = std::mem::take(&mut self.mixed_list);
                    Reply::TopicsRefused { refusal, anew }
                }
                None if page < self.list_pages => Reply::TopicsPage { page },
                None => {
                    let topics = self.listed.clone().unwrap_or_else(|| topics(self.shards));
                    Reply::TopicsListed { topics, unknown: Vec::new() }
                }
            },
            Command::ListChannels { token } => {
                self.tell("list channels");
                return (!self.silent_lists).then(|| self.list_channels(token));
            }
            Command::OpenChannel { session, token } => {
                self.tell(&format!("{session} open channel"));
                self.open_channel(session, token)
            }
            Command::Amend { session, channel, change, .. } => self.amend(session, channel, change),
            Command::Subscribe { session, channel, topics, .. } => {
                self.tell(&format!("{session} subscribe"));
                self.carried.insert(channel, topics.iter().cloned().collect());
                self.subscribe(session, channel)
            }
            Command::Connect { session, channel } => {
                self.tell(&format!("{session} connect"));
                self.connect(session, channel)
            }
            Command::Ping { session } => Reply::Heard { session, what: Heard::Pong, at: self.now },
            Command::Close { session } => {
                self.tell(&format!("{session} close"));
                let until = self.now + self.closing;
                let closed = self.sockets.iter().filter(|(_, of)| **of == session);
                self.lingering.extend(closed.map(|(channel, _)| (*channel, until)));
                self.sockets.retain(|_, of| *of != session);
                self.due.retain(|_, said| session_of(said) != Some(session));
                return None;
            }
            Command::ReadSnapshots { .. } | Command::Forget { .. } => return None,
        })
    }

    fn grant(&mut self) -> Reply {
        self.serial += 1;
        if let Some(refusal) = self.refuse_login.pop_front() {
            if refusal.reason == Reason::CredentialsRejected {
                self.refused_logins.push((self.now, self.secret));
            }
            return Reply::TokenRefused { refusal, secret: Some(self.secret) };
        }
        let (token, expires_in) = (TokenId(self.serial), self.token_life);
        self.tokens.insert((self.now + ROUND_TRIP + expires_in, token));
        Reply::TokenGranted { token, expires_in, secret: self.secret }
    }

    fn subscribe(&mut self, session: SessionId, channel: ChannelId) -> Reply {
        let refused = |refusal| Reply::Refused { session, call: Call::Channel, refusal };
        if self.refuse_rest.front().is_some_and(|next| next.reason == Reason::ChannelGone) {
            // What a call is told is gone, is gone.
            self.channels.remove(&channel);
            self.dropped += 1;
        }
        self.expire();
        self.serial += 1;
        let (used, expires) = (self.serial, self.now + self.channel_life);
        if let Some(next) = self.refuse_rest.pop_front() {
            return refused(next);
        }
        if self.refuse_channels.contains(&channel) {
            return refused(refusal(Reason::Forbidden));
        }
        match self.channels.get_mut(&channel) {
            Some(known) => {
                *known = Known { used, expires, ..*known };
                Reply::Subscribed { session, rejected: Vec::new() }
            }
            None => refused(refusal(Reason::ChannelGone)),
        }
    }

    /// The channels that the token made by name, and how many there are.
    fn list_channels(&mut self, token: TokenId) -> Reply {
        if self.lists_no_channels {
            return Reply::ChannelsRefused { refusal: refusal(Reason::Forbidden) };
        }
        if let Some(refusal) = self.refuse_rest.pop_front() {
            return Reply::ChannelsRefused { refusal };
        }
        self.expire();
        let mine = self.channels.iter().filter(|(_, known)| known.maker == token);
        let found = mine
            .map(|(channel, known)| FoundChannel {
                channel: *channel,
                expires_in: known.expires.since(self.now),
            })
            .collect();
        Reply::ChannelsListed { found, total: self.channels.len() }
    }

    /// Makes a channel, and evicts another where there are too many. A refusal that leaves open whether it was made comes half of the
    /// time after it was.
    fn open_channel(&mut self, session: SessionId, maker: TokenId) -> Reply {
        self.expire();
        let refusals = [&mut self.refuse_open, &mut self.refuse_rest];
        let refused = refusals.into_iter().find_map(VecDeque::pop_front);
        self.serial += 1;
        let (channel, used) = (ChannelId(self.serial), self.serial);
        let made = refused
            .as_ref()
            .is_none_or(|refusal| refusal.reason.may_have_been_done() && used.is_multiple_of(2));
        if made {
            if self.channels.len() >= CHANNELS_PER_CLIENT {
                self.evict();
            }
            let expires = self.now + self.channel_life;
            self.channels.insert(channel, Known { maker, used, expires });
        }
        if self.lose_answers > 0 {
            self.lose_answers -= 1;
            let refusal = refusal(Reason::Timeout);
            return Reply::Refused { session, call: Call::Rest, refusal };
        }
        match refused {
            Some(refusal) => Reply::Refused { session, call: Call::Rest, refusal },
            None => Reply::ChannelOpened { session, channel, expires_in: self.channel_life },
        }
    }

    /// Drops the channel that was unused for longest, and one with a socket only where there is no other.
    fn evict(&mut self) {
        let lingers =
            |id: &ChannelId| self.lingering.get(id).is_some_and(|until| self.now < *until);
        let live = |id: &ChannelId, known: &Known| {
            known.maker == STRANGER || self.sockets.contains_key(id) || lingers(id)
        };
        let victims = self.channels.iter().map(|(id, known)| (live(id, known), known.used, *id));
        if let Some((live, _, victim)) = victims.min() {
            self.evicted += 1;
            self.evicted_live += usize::from(live);
            self.channels.remove(&victim);
        }
    }

    /// Changes what a channel carries.
    fn amend(&mut self, session: SessionId, channel: ChannelId, change: Change) -> Reply {
        let refusal = self.fixed.contains(&session).then(|| refusal(Reason::Unavailable));
        if let Some(refusal) = refusal.or_else(|| self.refuse_rest.pop_front()) {
            self.tell(&format!("{session} amend refused"));
            return Reply::AmendRefused { session, channel, refusal };
        }
        let carried = self.carried.entry(channel).or_default();
        let told = match change {
            Change::Add(topics) => {
                carried.extend(topics.iter().cloned());
                format!("{session} add {}", topics.len())
            }
            Change::Replace(topics) => {
                *carried = topics.iter().cloned().collect();
                format!("{session} replace by {}", topics.len())
            }
        };
        let refused = |name: &str| self.forbid.as_ref().is_some_and(|word| name.contains(word));
        let rejected = carried
            .iter()
            .filter(|name| refused(name))
            .map(|name| RejectedTopic { topic: Topic::new(name), reason: "forbidden".to_owned() });
        let rejected = rejected.collect();
        self.tell(&told);
        Reply::Amended { session, channel, rejected }
    }

    fn connect(&mut self, session: SessionId, channel: ChannelId) -> Reply {
        let refused = |refusal| Reply::Refused { session, call: Call::Handshake, refusal };
        if self.door.as_ref().is_some_and(|door| !door.borrow_mut().opens(self.now)) {
            let retry_after = Some(Duration::from_secs(1));
            return refused(Refusal { retry_after, ..refusal(Reason::Throttled) });
        }
        if let Some(refusal) = self.refuse_handshake.pop_front() {
            return refused(refusal);
        }
        self.expire();
        self.serial += 1;
        match self.channels.get_mut(&channel) {
            Some(known) => known.used = self.serial,
            None => return refused(refusal(Reason::ChannelGone)),
        }
        self.mute.remove(&session);
        self.sockets.insert(channel, session);
        Reply::Connected { session }
    }

    /// A token ends, and the sockets of the channels that it made are closed.
    pub(super) fn end_token(&mut self) {
        let Some((_, token)) = self.tokens.pop_first() else { return };
        let made =
            |channel: &ChannelId| self.channels.get(channel).is_some_and(|c| c.maker == token);
        let closed: Vec<SessionId> = self
            .sockets
            .iter()
            .filter(|(channel, session)| made(channel) && !self.mute.contains(session))
            .map(|(_, session)| *session)
            .collect();
        for session in closed {
            self.tell(&format!("the token ends that made the channel of {session}"));
            self.lose(session, Reason::Closed);
        }
    }

    /// Drops what has expired.
    fn expire(&mut self) {
        let (now, before) = (self.now, self.channels.len());
        self.channels.retain(|_, channel| now < channel.expires);
        self.dropped += before - self.channels.len();
    }

    /// Another process of the client makes so many channels, or has none any more.
    pub fn set_strangers(&mut self, count: usize) {
        self.channels.retain(|_, known| known.maker != STRANGER);
        for _ in 0..count {
            self.serial += 1;
            let known = Known { maker: STRANGER, used: self.serial, expires: self.now + DAY * 365 };
            self.channels.insert(ChannelId(self.serial), known);
        }
    }

    /// Drops every channel without a word.
    pub fn drop_channels(&mut self) {
        self.dropped += self.channels.len();
        self.channels.clear();
        self.mute.extend(self.sockets.values().copied());
    }
}

/// Whose answer it is, if a session's.
fn session_of(said: &Said) -> Option<SessionId> {
    if let Said::Reply(
        Reply::ChannelOpened { session, .. }
        | Reply::Subscribed { session, .. }
        | Reply::Connected { session }
        | Reply::Refused { session, .. },
    ) = said
    {
        Some(*session)
    } else {
        None
    }
}

/// Why something was refused, if it was.
const fn refusal_of(said: &Said) -> Option<&Refusal> {
    if let Said::Reply(
        Reply::Refused { refusal, .. }
        | Reply::AmendRefused { refusal, .. }
        | Reply::TokenRefused { refusal, .. }
        | Reply::ChannelsRefused { refusal }
        | Reply::TopicsRefused { refusal, .. },
    )
    | Said::Shown { shown: Shown::Refused(refusal), .. } = said
    {
        Some(refusal)
    } else {
        None
    }
}

/// So many topics that they fill this number of shards.
pub(super) fn topics(shards: usize) -> Vec<Topic> {
    if shards == 1 {
        return vec![Topic::new(&format!("v2.routing.queues.{QUEUE}.users"))];
    }
    (0..shards * TOPICS_PER_CHANNEL)
        .map(|queue| {
            Topic::new(&format!("v2.routing.queues.00000000-0000-4000-8000-{queue:012}.users"))
        })
        .collect()
}
