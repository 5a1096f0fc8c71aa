//! The doors of the lifecycle: what it asks for, and what came of it.
//!
//! Secrets never pass through here: tokens and channels are named by handles that only `genesys` can resolve.

use super::{Call, ReadId, ReadTopics, Snapshot};
use crate::event::Topic;
use crate::time::Time;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One channel and its socket, from the first request to the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A slice of the topic list that fits one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A handle on an access token; `genesys` holds the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u64);

/// A handle on a channel; `genesys` holds its id and connectUri, which are credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// Which secret a token was bought with: counts each fresh secret that the source has shown, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretVersion(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the lifecycle asks the shell to do. Each is answered by exactly one `Reply`, but for `Ping` and `Close`, which have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the newest secret and buy a token with it. Answered by `TokenGranted` or `TokenRefused`.
    RequestToken,
    /// Find out which topics the configuration stands for, reading a page of the queues where they are chosen by name. Answered by
    /// `TopicsListed`, `TopicsPage` where more pages follow, or `TopicsRefused`.
    ListTopics {
        /// On whose authority.
        token: TokenId,
        /// Which page, from 1. The first begins anew.
        page: u32,
    },
    /// Find out which channels the platform holds for the client. Answered by `ChannelsListed` or `ChannelsRefused`.
    ListChannels {
        /// On whose authority: the channels that it made come with their names.
        token: TokenId,
    },
    /// Make a channel. Answered by `ChannelOpened` or `Refused`.
    OpenChannel {
        /// For whom.
        session: SessionId,
        /// On whose authority.
        token: TokenId,
    },
    /// Replace the channel's topics. Answered by `Subscribed` or `Refused`.
    Subscribe {
        /// For whom.
        session: SessionId,
        /// On whose authority.
        token: TokenId,
        /// Which channel.
        channel: ChannelId,
        /// The whole list of topic ids, combined ones as they are subscribed to.
        topics: Arc<[Box<str>]>,
    },
    /// Change the topics of a channel whose socket is open. Answered by `Amended` or `AmendRefused`, also when the session has
    /// lost its socket meanwhile.
    Amend {
        /// For whom.
        session: SessionId,
        /// On whose authority.
        token: TokenId,
        /// Which channel.
        channel: ChannelId,
        /// What is to be changed.
        change: Change,
    },
    /// Open the socket. Answered by `Connected` or `Refused`; after `Connected`, frames follow until one `Lost`.
    Connect {
        /// For whom.
        session: SessionId,
        /// Which channel.
        channel: ChannelId,
    },
    /// Send the platform's probe, `{"message":"ping"}`.
    Ping {
        /// On whose socket.
        session: SessionId,
    },
    /// Forget the session: abandon its request, or close its socket. Nothing more is heard from it.
    Close {
        /// Whose.
        session: SessionId,
    },
    /// Read over REST how these topics stand now. Answered by the shell, which publishes what comes, through
    /// `Lifecycle::handle_snapshots`, `handle_snapshots_page` where more pages follow, or `handle_snapshots_refused`.
    ReadSnapshots {
        /// Names the request.
        read: ReadId,
        /// On whose authority.
        token: TokenId,
        /// What is asked.
        what: Snapshot,
        /// About which topics; their keys are queues.
        topics: ReadTopics,
        /// Which page of the answer, from 1. The first begins anew.
        page: u32,
    },
    /// Forget a channel's id and connectUri; the platform drops it by expiry.
    Forget {
        /// Which channel.
        channel: ChannelId,
    },
}

/// A change of a channel's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These join what the channel has.
    Add(Arc<[Box<str>]>),
    /// These replace what the channel has.
    Replace(Arc<[Box<str>]>),
}

/// What came of a command, or what a socket said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A token was granted.
    TokenGranted {
        /// Its handle.
        token: TokenId,
        /// How long it lives from now.
        expires_in: Duration,
        /// The secret it was bought with.
        secret: SecretVersion,
    },
    /// No token: the secret could not be read, or Genesys refused it, or could not be reached.
    TokenRefused {
        /// Why, and how long to wait at least.
        refusal: Refusal,
        /// The secret that was tried, when one was at hand.
        secret: Option<SecretVersion>,
    },
    /// The topics that the configuration stands for.
    TopicsListed {
        /// Every topic once, in a stable order.
        topics: Vec<Topic>,
        /// Queues of the configuration that the platform does not know.
        unknown: Vec<String>,
    },
    /// A page of the queues was read, and more follow.
    TopicsPage {
        /// Which.
        page: u32,
    },
    /// The queues could not be listed.
    TopicsRefused {
        /// Why, and how long to wait at least.
        refusal: Refusal,
        /// Whether the pages that were read do not belong together: the list is to be read from its beginning.
        anew: bool,
    },
    /// The channels that the platform holds.
    ChannelsListed {
        /// Those that the token made.
        found: Vec<FoundChannel>,
        /// How many the client has, those of other tokens included.
        total: usize,
    },
    /// The channels could not be listed.
    ChannelsRefused {
        /// Why, and how long to wait at least.
        refusal: Refusal,
    },
    /// What the platform says of its limit on REST calls, with any answer.
    Allowance {
        /// How many calls a minute it allows.
        allowed: u32,
        /// How many of them are left.
        left: u32,
        /// When all are allowed again.
        resets_in: Duration,
    },
    /// A channel was made.
    ChannelOpened {
        /// Whose request.
        session: SessionId,
        /// Its handle.
        channel: ChannelId,
        /// How long it lives from now.
        expires_in: Duration,
    },
    /// The channel has its topics.
    Subscribed {
        /// Whose request.
        session: SessionId,
        /// Topics that the platform refused; the rest are permitted.
        rejected: Vec<RejectedTopic>,
    },
    /// The channel's topics were changed.
    Amended {
        /// Whose.
        session: SessionId,
        /// On which channel.
        channel: ChannelId,
        /// Of what was asked for, the topics that the platform refused.
        rejected: Vec<RejectedTopic>,
    },
    /// The channel's topics were not changed.
    AmendRefused {
        /// Whose.
        session: SessionId,
        /// On which channel.
        channel: ChannelId,
        /// Why, and how long to wait at least.
        refusal: Refusal,
    },
    /// The socket is open.
    Connected {
        /// Whose.
        session: SessionId,
    },
    /// A REST call or a handshake failed.
    Refused {
        /// Whose.
        session: SessionId,
        /// Which: `Rest` made a channel, `Channel` gave it its topics.
        call: Call,
        /// Why, and how long to wait at least.
        refusal: Refusal,
    },
    /// The socket said something; whatever it was, the peer is alive.
    Heard {
        /// Whose.
        session: SessionId,
        /// What kind of thing.
        what: Heard,
        /// When its reader had it, which may be earlier than it is told.
        at: Time,
    },
    /// The socket is gone.
    Lost {
        /// Whose.
        session: SessionId,
        /// Why.
        reason: Reason,
        /// In words, for people; never a secret.
        detail: String,
    },
    /// The secret's source has shown a fresh secret.
    SecretChanged {
        /// Its number.
        secret: SecretVersion,
    },
}

/// What a frame was, as far as the lifecycle cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A notification: the feed is alive.
    Data,
    /// The platform's heartbeat, or a frame that could not be read: the peer is alive.
    Sign,
    /// The answer to our probe.
    Pong,
    /// `v2.system.socket_closing`: the socket will be closed in about a minute.
    ClosingNotice,
    /// `v2.system.no_longer_subscribed`: the channel was evicted or lost its topics.
    NoLongerSubscribed,
    /// `v2.system.token_revoked`: the token of the channel is gone.
    TokenRevoked,
}

impl Heard {
    /// Why the channel ends, if that is what was said.
    pub const fn ends(self) -> Option<Reason> {
        match self {
            Self::NoLongerSubscribed => Some(Reason::Evicted),
            Self::TokenRevoked => Some(Reason::TokenRevoked),
            Self::Data | Self::Sign | Self::Pong | Self::ClosingNotice => None,
        }
    }
}

/// A channel as the platform lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundChannel {
    /// Its handle; a channel that was known has the one that it had.
    pub channel: ChannelId,
    /// How long it lives from now.
    pub expires_in: Duration,
}

/// A topic that the platform refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedTopic {
    /// The topic, as subscribed or, for a part of a combined one, expanded.
    pub topic: Topic,
    /// The platform's reason and the missing permissions, in words.
    pub reason: String,
}

/// A failure with its consequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure; decides what comes next.
    pub reason: Reason,
    /// The platform's `Retry-After`; never shortened.
    pub retry_after: Option<Duration>,
    /// In words, for people: what was asked, status, error code, contextId; never a secret.
    pub detail: String,
}

/// Why a session ended or an attempt failed. A closed set: metric labels and the table in `reasons` are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The peer closed the socket with a close frame.
    Closed,
    /// The connection broke without a close frame (reset, end of stream, I/O error).
    Cut,
    /// Nothing was heard for too long.
    Silent,
    /// The platform closed the socket after its closing notice.
    ClosingNotice,
    /// The channel was evicted, or another socket took it.
    Evicted,
    /// The channel's token was revoked.
    TokenRevoked,
    /// A frame broke the protocol or was larger than the limit.
    Protocol,
    /// The host could not be reached.
    Unreachable,
    /// The host's name could not be resolved.
    Dns,
    /// The proxy could not be reached, or refused.
    Proxy,
    /// TLS could not be agreed upon: certificate, name or version.
    Tls,
    /// No answer within the deadline.
    Timeout,
    /// 401 on a REST call: the token is not accepted.
    Unauthorized,
    /// The login refused the client id or secret (400 or 401 `invalid_client`).
    CredentialsRejected,
    /// The secret's source has no secret to give.
    SecretUnavailable,
    /// 403: a permission is missing.
    Forbidden,
    /// 404 or 410, or a handshake refused with 401, 403, 404 or 410: the channel is gone.
    ChannelGone,
    /// 429.
    Throttled,
    /// 5xx.
    Unavailable,
    /// Another 4xx, or an answer that could not be read.
    Unexpected,
}

impl Reason {
    /// All reasons, in the order of the enum.
    pub const ALL: [Self; 20] = [
        Self::Closed,
        Self::Cut,
        Self::Silent,
        Self::ClosingNotice,
        Self::Evicted,
        Self::TokenRevoked,
        Self::Protocol,
        Self::Unreachable,
        Self::Dns,
        Self::Proxy,
        Self::Tls,
        Self::Timeout,
        Self::Unauthorized,
        Self::CredentialsRejected,
        Self::SecretUnavailable,
        Self::Forbidden,
        Self::ChannelGone,
        Self::Throttled,
        Self::Unavailable,
        Self::Unexpected,
    ];

    /// The label's value, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::Silent => "silent",
            Self::ClosingNotice => "closing_notice",
            Self::Evicted => "evicted",
            Self::TokenRevoked => "token_revoked",
            Self::Protocol => "protocol",
            Self::Unreachable => "unreachable",
            Self::Dns => "dns",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::CredentialsRejected => "credentials_rejected",
            Self::SecretUnavailable => "secret_unavailable",
            Self::Forbidden => "forbidden",
            Self::ChannelGone => "channel_gone",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
