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
    /// How long before that end a successor is made.
    pub maker_margin: Duration,
    /// Whether it may be gone: a socket on it was refused. It counts until its next use shows that it is.
    pub doubtful: bool,
    /// Until when a list of topics that its last session gave it may still take effect.
    pub busy_until: Time,
    /// Since when no session has it; only used while none does.
    pub idle_since: Time,
    /// Whether an earlier process has left it, and no session of this one has had it.
    pub inherited: bool,
    /// Whether a refusal of its topics may be its own fault: it was made for another session, and none was refused since.
    pub suspect: bool,
}

impl Channel {
    /// How long before the end of its maker a successor is made at most; for a token that lives shorter it is a tenth of its life.
    const MAKER_MARGIN: Duration = Duration::from_secs(60);

    /// How long after its maker's end a socket on it is safe: the platform's clock may be a little behind.
    const MAKER_GRACE: Duration = Duration::from_secs(2);

    /// How long after its session was closed the platform may still see a socket on it.
    const CLOSING: Duration = Duration::from_secs(1);

    /// A channel that was made just now, and lives for `life` from each subscription.
    ///
    /// A maker that is not known counts as ended.
    pub fn new(id: ChannelId, life: Duration, maker: Option<Token>, now: Time) -> Self {
        let (ends, margin) = maker.map_or((Time::START, Duration::ZERO), |maker| {
            (maker.expires_at, Self::MAKER_MARGIN.min(maker.life / 10))
        });
        Self {
            id,
            life,
            expires_at: now + life,
            maker_expires_at: ends,
            maker_margin: margin,
            doubtful: false,
            busy_until: Time::START,
            idle_since: now,
            inherited: false,
            suspect: false,
        }
    }

    /// Whether nothing of its last session can reach it any more.
    pub fn is_free(&self, now: Time) -> bool {
        self.busy_until <= now
    }

    /// No session has it any more.
    pub fn retire(self, now: Time) -> Self {
        Self { idle_since: now, ..self }
    }

    /// From when on the platform knows that no socket is on it.
    pub fn rested_at(&self) -> Time {
        self.idle_since + Self::CLOSING
    }

    /// Whether what a process that was killed has given it may still reach it.
    pub fn awaits_end_of_list(&self, now: Time) -> bool {
        self.inherited && !self.is_free(now)
    }

    /// Whether a session may take it now: nothing of its last session can reach it any more, and it need not be left soon because its
    /// maker ends; one that has ended cannot end again. `turns` is how much earlier sessions leave that must take turns.
    pub fn is_usable(&self, turns: Duration, now: Time) -> bool {
        let maker_is_over = self.maker_expires_at + Self::MAKER_GRACE <= now;
        let maker_lives = self.maker_expires_at.since(now) > self.maker_margin * 2 + turns;
        self.is_free(now) && (maker_is_over || maker_lives)
    }

    /// When a session that lives on it `since` must have a successor under way with a channel of its own, given how long one settles,
    /// and how much earlier sessions leave that must take turns.
    pub fn leave_by(&self, since: Time, settle: Duration, turns: Duration) -> Time {
        let hurry = (self.maker_margin / 4).max(settle * 2) + turns;
        let expires = self.expires_at - Self::MAKER_MARGIN.min(self.life / 10) - turns;
        // A maker that had ended before cannot end again.
        let maker_ends = (self.maker_expires_at > since).then(|| self.maker_expires_at - hurry);
        maker_ends.map_or(expires, |ends| ends.min(expires))
    }

    /// The token that made it is gone; whatever that does to a socket is done.
    pub const fn orphan(&mut self) {
        self.maker_expires_at = Time::START;
    }
}
