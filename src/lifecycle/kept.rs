//! The client's channels as they outlive the process: a restart takes up those that the last one left, before it makes any.
//!
//! Keeps nothing on disk: `genesys` does, which also knows their names. A channel that is gone meanwhile is found out by its first use:
//! the platform's list hides the names of channels that another token made, and so cannot tell.

use super::ChannelId;
use super::channel::Channel;
use super::machine::Lifecycle;
use super::plan::CHANNELS_PER_CLIENT;
use super::session::DEADLINE;
use crate::time::Time;
use std::time::Duration;

/// A channel, and what the next process must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptChannel {
    /// Its handle.
    pub channel: ChannelId,
    /// How long it lives from each subscription.
    pub life: Duration,
    /// When the platform drops it.
    pub expires_at: Time,
    /// When the token that made it ends.
    pub maker_expires_at: Time,
    /// How long before that end a successor is made.
    pub maker_margin: Duration,
    /// Whether a session has it.
    pub in_use: bool,
    /// Until when a list of topics that a session gave it may still take effect.
    pub busy_until: Time,
}

impl Lifecycle {
    /// Every channel that the platform knows and we can name.
    pub fn kept(&self) -> Vec<KeptChannel> {
        let used = self.sessions().flat_map(|session| {
            // One that gives its place to another may be there until that is.
            let left = session.left.into_iter().chain(session.replaces);
            let left = left.map(|channel| (channel, false));
            let busy = session.busy_until().unwrap_or(Time::START);
            let own = session.channel.map(|channel| {
                (Channel { busy_until: channel.busy_until.max(busy), ..channel }, true)
            });
            own.into_iter().chain(left)
        });
        let free = self.retired.iter().chain(self.lent.iter().flatten());
        let retired = free.map(|channel| (*channel, false));
        let kept = used.chain(retired).map(|(channel, in_use)| KeptChannel {
            channel: channel.id,
            life: channel.life,
            expires_at: channel.expires_at,
            maker_expires_at: channel.maker_expires_at,
            maker_margin: channel.maker_margin,
            in_use,
            busy_until: channel.busy_until,
        });
        kept.collect()
    }

    /// Takes up channels that an earlier process has left; no more than a client can have.
    pub fn take_up(&mut self, kept: &[KeptChannel], now: Time) {
        for kept in kept.iter().filter(|kept| now < kept.expires_at) {
            if self.own_channels() >= CHANNELS_PER_CLIENT || self.knows(kept.channel) {
                continue;
            }
            self.retired.push(Channel {
                id: kept.channel,
                life: kept.life,
                expires_at: kept.expires_at,
                maker_expires_at: kept.maker_expires_at,
                maker_margin: kept.maker_margin,
                doubtful: false,
                // No longer than a call takes at most, whatever the clocks of the two processes have to say.
                busy_until: kept.busy_until.min(now + DEADLINE),
                // When its last socket was closed, is not known.
                idle_since: now,
                inherited: true,
                suspect: true,
            });
        }
    }
}
