//! A channel: the platform's side of a session, which outlives sockets and can be taken up again.

use super::ChannelId;
use super::login::Token;
use crate::time::Time;
use std::time::Duration;

/// A channel as the session holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its handle.
    pub id: ChannelId,
    /// How long it lives from each subscription.
    pub life: Duration,
    /// When the platform drops it.
    pub expires_at: Time,
    /// When the token that made it ends, and with it perhaps its socket.
    pub maker_expires_at: Time,
    /// How long before that end the socket is given up.
    pub maker_margin: Duration,
}

impl Channel {
    /// How long before the end of its maker a socket is given up at most; a token that lives shorter gets a tenth of its life.
    const MAKER_MARGIN: Duration = Duration::from_secs(60);

    /// A channel that was made just now, and lives for `life` from each subscription.
    ///
    /// A maker that is not known counts as ended.
    pub fn new(id: ChannelId, life: Duration, maker: Option<Token>, now: Time) -> Self {
        let (ends, margin) = maker.map_or((now, Duration::ZERO), |maker| {
            (maker.expires_at, Self::MAKER_MARGIN.min(maker.life / 10))
        });
        Self { id, life, expires_at: now + life, maker_expires_at: ends, maker_margin: margin }
    }

    /// Whether a session that takes it now need not leave it soon because its maker ends.
    pub fn is_usable(&self, now: Time) -> bool {
        self.maker_expires_at <= now || self.maker_expires_at.since(now) > self.maker_margin * 2
    }
}
