//! The client's channels: none is lost from sight, and none is made while it is open how many there are.

use super::channel::Channel;
use super::machine::{Lifecycle, find};
use super::plan::CHANNELS_PER_CLIENT;
use super::session::Session;
use super::shard::Shard;
use super::state::State;
use super::{ChannelId, Command, FoundChannel, Reason, Refusal, SessionId};
use crate::time::Time;
use std::time::Duration;

/// How soon the list of channels is thought of again while a request for one is under way.
const CENSUS_WAIT: Duration = Duration::from_millis(100);

impl Lifecycle {
    /// A channel is never lost from sight: one that comes too late for its session is kept for another.
    pub(super) fn handle_opened(
        &mut self,
        session: SessionId,
        channel: ChannelId,
        life: Duration,
        now: Time,
    ) {
        if self.knows(channel) {
            return;
        }
        let topics = self.shards.iter().find_map(|shard| {
            shard.sessions().iter().any(|own| own.id == session).then(|| shard.topics().clone())
        });
        let waiting = find(&mut self.shards, session)
            .filter(|session| matches!(session.state, State::Opening { .. }));
        match (waiting.and_then(|waiting| waiting.token.map(|token| (waiting, token))), topics) {
            (Some((session, token)), Some(topics)) => {
                let channel = Channel::new(channel, life, Some(token), now);
                if let Some(gone) = session.replaces.take() {
                    self.output.command(Command::Forget { channel: gone.id });
                }
                let allowed = self.rest.next(now);
                if allowed > now {
                    session.channel = Some(channel);
                    session.hold(allowed, now, &mut self.output);
                } else {
                    self.rest.spend(now);
                    session.subscribe(channel, token, &topics, now, &mut self.output);
                }
            }
            _ => {
                self.retired.push(Channel::new(channel, life, self.login.token(now), now));
                self.drop_evicted();
            }
        }
    }

    /// More than twenty there cannot be: what was to give its place to one that came after all, has given it.
    fn drop_evicted(&mut self) {
        while self.named().count() > CHANNELS_PER_CLIENT
            && let Some(at) = self.retired.iter().position(|channel| channel.doubtful)
        {
            let channel = self.retired.remove(at).id;
            self.output.command(Command::Forget { channel });
        }
    }

    /// A shard is no more: its channels are left to others. One that is being made for it may be made all the same.
    pub(super) fn dissolve(&mut self, mut shard: Shard, now: Time) {
        let opening = |session: &&Session| matches!(session.state, State::Opening { .. });
        let makers = shard.sessions().iter().filter(opening).filter_map(|session| session.token);
        makers.for_each(|maker| self.census.doubt(maker, now));
        self.retired.extend(shard.dissolve(now, &mut self.output));
    }

    /// Whether the channel is one of ours already: a list may name it before the answer that makes it known comes.
    pub(super) fn knows(&self, channel: ChannelId) -> bool {
        self.named().any(|known| known.id == channel)
    }

    pub(super) fn handle_listed(&mut self, found: &[FoundChannel], total: usize, now: Time) {
        let found = found.iter().filter(|found| !self.knows(found.channel));
        let found: Vec<FoundChannel> = found.copied().collect();
        let own = self.named().map(|channel| channel.id);
        let own = own.chain(found.iter().map(|found| found.channel)).collect();
        let Some(maker) = self.census.handle_listed(total, own, now) else {
            return;
        };
        let channels = found.into_iter().map(|found| {
            let channel = Channel::new(found.channel, found.expires_in, Some(maker), now);
            Channel { suspect: true, ..channel }
        });
        self.retired.extend(channels);
        self.drop_evicted();
        self.shards.iter_mut().for_each(|shard| shard.wake_counted(now));
    }

    /// What is in the way of a session that waits for the client's channels to be counted.
    pub fn trouble_of(&self, session: &Session) -> Option<Reason> {
        let refusal = self.census.refusal().filter(|_| session.awaits_count());
        refusal.map(|refusal| refusal.reason)
    }

    /// The channels of ours that we can name.
    fn named(&self) -> impl Iterator<Item = Channel> {
        let left =
            self.sessions().flat_map(|session| session.left.into_iter().chain(session.replaces));
        let held = self.sessions().filter_map(|session| session.channel);
        let free = self.retired.iter().chain(self.lent.iter().flatten());
        held.chain(left).chain(free.copied())
    }

    pub(super) fn handle_unlisted(&mut self, refusal: &Refusal, now: Time) {
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        let refused = self.census.handle_refused(refusal, now, &mut self.rng, &mut self.output);
        self.refuse_token(refused, now);
        // Where none is given, or something else must do meanwhile, nobody waits for it.
        self.shards.iter_mut().for_each(|shard| shard.wake_counted(now));
    }

    /// Asks for the list of channels when it is due, and no request for another is under way.
    pub(super) fn count_channels(&mut self, now: Time) {
        let opening = |session: &Session| matches!(session.state, State::Opening { .. });
        let (Some(maker), Some(newest)) = (self.census.due(now), self.login.token(now)) else {
            return;
        };
        let allowed = self.rest.next(now);
        if allowed > now || self.sessions().any(opening) {
            return self.census.hold(allowed.max(now + CENSUS_WAIT));
        }
        self.rest.spend(now);
        // Only its maker is shown a channel's name, while it is valid; a younger token is at least told how many there are.
        let asks = if now < maker.expires_at { maker } else { newest };
        self.census.ask(asks, maker, now, &mut self.output);
    }
}
