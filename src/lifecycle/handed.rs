//! What a handover asks of the lifecycle. In the old process: begin nothing planned, and leave every free channel to the new one. In the new
//! one: begin where the old one has its topics, and with the channels that it leaves.

use super::channel::Channel;
use super::kept::KeptChannel;
use super::machine::Lifecycle;
use super::plan::Plan;
use super::shard::Shard;
use super::state::State;
use crate::time::Time;
use std::time::Duration;

/// How long a list of topics that a process was giving to a channel when it ended may still take effect.
const BUSY: Duration = Duration::from_secs(60);

impl Lifecycle {
    /// Another process takes over: nothing planned begins any more, and no channel is made or taken. Lost sessions come back on their own.
    pub fn freeze(&mut self) {
        if self.lent.is_none() {
            self.lent = Some(Vec::new());
            self.shards.iter_mut().for_each(|shard| shard.freeze(true));
        }
    }

    /// How many sessions carry each shard.
    pub const fn redundancy(&self) -> usize {
        self.config.redundancy
    }

    /// Whether another process takes over.
    pub(super) const fn is_frozen(&self) -> bool {
        self.lent.is_some()
    }

    /// Leaves the free channels to the other process, as soon as nothing is under way that would change which those are. Answers how many
    /// channels it must do without, or `None` until then.
    pub fn lend(&mut self, now: Time) -> Option<usize> {
        let one_each = |shard: &Shard| shard.sessions().len() <= 1;
        let making = self.sessions().any(|session| {
            matches!(session.state, State::Opening { .. } | State::Subscribing { .. })
                || session.left.is_some()
                || session.is_amending()
        });
        let rests = self.shards.iter().all(one_each) && !making && !self.plan.is_asked();
        let lent = self.lent.as_mut().filter(|_| rests && self.census.is_certain())?;
        lent.append(&mut self.retired);
        let lent = lent.len();
        Some(self.channels(now) - lent)
    }

    /// Asks every session that delivers for a sign of life.
    pub fn probe(&mut self, now: Time) {
        let sessions = self.shards.iter_mut().flat_map(|shard| &mut shard.sessions);
        for session in sessions.filter(|session| session.delivers()) {
            session.ping(&self.config, now, &mut self.output);
        }
    }

    /// Whether each shard has been heard since then, or delivers no more: what it missed is told, and nothing is still to be.
    pub fn is_proven(&self, since: Time) -> bool {
        let complete = self.complete_until();
        // A shard that delivers in part is complete at no time, and what it does deliver may still be missing.
        let mut in_part = self
            .sessions()
            .filter(|session| session.delivers() && !complete.contains_key(&session.shard));
        self.output.notes.is_empty()
            && complete.values().all(|until| since <= *until)
            && in_part.all(|session| session.heard_at.is_some_and(|at| since <= at))
    }

    /// The other process did not take over. What it did to the channels that were left to it is not known, nor which it made.
    pub fn thaw(&mut self, now: Time) {
        let Some(lent) = self.lent.take() else { return };
        let busy = |channel: Channel| Channel { busy_until: now + BUSY, ..channel.retire(now) };
        self.retired.extend(lent.into_iter().map(busy));
        self.shards.iter_mut().for_each(|shard| shard.freeze(false));
        self.census.outdate();
        if let Some(token) = self.login.token(now) {
            self.census.doubt(token, now);
        }
        // Sessions that waited for a channel, and what was put off, are looked at now.
        self.handle_timeout(now);
    }

    /// This process takes over from another, which divides the topics like this and uses so many channels itself.
    pub fn join(&mut self, placement: Plan, taken: usize) {
        self.placement = placement;
        self.census.share(taken);
    }

    /// The other process is gone, and these are the channels that it used.
    pub fn inherit(&mut self, kept: &[KeptChannel], now: Time) {
        self.census.share(0);
        self.census.outdate();
        self.take_up(kept, now);
        for channel in &mut self.retired {
            let left = kept.iter().find(|kept| kept.channel == channel.id);
            channel.busy_until = left.map_or(channel.busy_until, |kept| kept.busy_until);
        }
    }
}
