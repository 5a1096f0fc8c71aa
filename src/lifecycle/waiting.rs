//! A session that failed or may not go on yet: how long it waits, what it gives up meanwhile, and what wakes it.

use super::channel::Channel;
use super::output::Output;
use super::reasons::Answer;
use super::session::{PARKED, Session};
use super::state::State;
use super::{Command, Reason, Refusal};
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;
use std::time::Duration;

impl Session {
    /// Waits as the reason asks, and gives up what is of no use any more.
    pub(super) fn fail(
        &mut self,
        reason: Reason,
        words: &str,
        retry_after: Option<Duration>,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) {
        let answer = self.answer_to(reason);
        let mut wait = self.backoff.next(retry_after, rng);
        let parked = answer == Answer::Park;
        if parked {
            wait = wait.max(PARKED);
        }
        self.give_up_channel(reason, answer, output);
        self.failures += 1;
        self.last_words = Some(words.into());
        self.enter(State::Waiting { until: now + wait, parked }, now, output);
        output.observe(Observation::RetryScheduled {
            session: self.id.to_string(),
            shard: self.shard.0,
            reason: reason.as_str(),
            detail: words.into(),
            answer: answer.as_str(),
            retry_in: wait,
        });
    }

    /// What a failure calls for: the table's answer, save that another channel is tried before a list of topics is parked that the
    /// platform refuses on one which was made for another session.
    fn answer_to(&self, reason: Reason) -> Answer {
        let subscribing = matches!(self.state, State::Subscribing { .. });
        let suspect = self.channel.is_some_and(|channel| channel.suspect);
        let answer = reason.answer();
        let elsewhere = answer == Answer::Park && subscribing && suspect;
        if elsewhere { Answer::NewChannel } else { answer }
    }

    /// Gives up what the platform no longer knows. A refused handshake and a word on the socket say so less surely than a refused call:
    /// such a channel is left to others, and counts for as long as it may be there.
    fn give_up_channel(&mut self, reason: Reason, answer: Answer, output: &mut Output) {
        if reason == Reason::TokenRevoked {
            self.subscribed = false;
            if let Some(channel) = &mut self.channel {
                channel.orphan();
            }
        }
        if answer != Answer::NewChannel {
            return;
        }
        let certain = reason.ends_channel() && matches!(self.state, State::Subscribing { .. });
        let busy_until = self.busy_until();
        if let Some(channel) = self.channel.take() {
            self.subscribed = false;
            if certain {
                output.command(Command::Forget { channel: channel.id });
            } else {
                // A change of its topics may still be on its way.
                let busy_until = busy_until.unwrap_or(channel.busy_until);
                self.left = Some(Channel { doubtful: true, suspect: false, busy_until, ..channel });
            }
        }
    }

    /// Waits because something is not allowed yet; nothing failed.
    pub fn hold(&mut self, until: Time, now: Time, output: &mut Output) {
        self.enter(State::Waiting { until, parked: false }, now, output);
    }

    /// Waits for a channel, and says so once where it is `told`.
    pub fn hold_for(
        &mut self,
        words: String,
        told: bool,
        until: Time,
        now: Time,
        output: &mut Output,
    ) {
        if told && self.last_words.as_ref() != Some(&words) {
            let (session, shard, detail) = (self.id.to_string(), self.shard.0, words.clone());
            let retry_in = until.since(now);
            output.observe(Observation::ChannelAwaited { session, shard, detail, retry_in });
        }
        self.last_words = Some(words);
        self.hold(until, now, output);
    }

    /// Waits for the client's channels to be counted, which was `refused` when it was last asked for. That is told once for all.
    pub fn hold_for_count(
        &mut self,
        refused: Option<&Refusal>,
        until: Time,
        now: Time,
        output: &mut Output,
    ) {
        let why = refused.map(|refused| format!(": {}", refused.detail)).unwrap_or_default();
        let words = format!("the list of the client's channels is awaited before one is made{why}");
        self.hold_for(words, false, until, now, output);
        self.awaits_count = true;
    }

    /// Whether it waits for the client's channels to be counted.
    pub const fn awaits_count(&self) -> bool {
        self.awaits_count
    }

    /// The client's channels are counted.
    pub fn wake_counted(&mut self, now: Time) {
        if let State::Waiting { until, .. } = &mut self.state
            && std::mem::take(&mut self.awaits_count)
        {
            *until = now;
        }
    }

    /// The channel that was to give its place to one that has not come.
    pub fn take_unreplaced(&mut self) -> Option<Channel> {
        let waits = matches!(self.state, State::Opening { .. });
        self.replaces.take_if(|_| !waits)
    }

    /// Every channel of it that the platform may know, when it is closed.
    pub fn into_channels(mut self) -> impl Iterator<Item = Channel> {
        let replaced = self.replaces.take().map(|idle| Channel { doubtful: true, ..idle });
        let left = self.left.take();
        replaced.into_iter().chain(left).chain(self.into_channel())
    }

    /// Its channel, for others to use once nothing of this session can reach it any more.
    pub fn into_channel(self) -> Option<Channel> {
        let busy_until = self.busy_until().unwrap_or(Time::START);
        self.channel.map(|channel| Channel {
            busy_until,
            inherited: false,
            suspect: true,
            ..channel
        })
    }

    /// Looks again now at what waiting alone does not mend.
    pub fn wake(&mut self, now: Time) {
        if let State::Waiting { until, parked: true } = &mut self.state {
            *until = now;
        }
    }
}
