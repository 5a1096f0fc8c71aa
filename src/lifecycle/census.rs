//! How many channels the platform holds for the client: counted before one is made, and when the answer to a request for one went
//! missing.
//!
//! Another process of the client may have some, and a request without an answer may have made one whose name we do not know. There is
//! no way to delete one, and one too many silently evicts a sibling; so none is asked for before the list is known.

use super::backoff::Backoff;
use super::login::Token;
use super::output::Output;
use super::{ChannelId, Command, Config, Reason, Refusal};
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;
use std::time::Duration;

/// The shell answers within its own time-outs; this bounds the wait should it not.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a channel that we cannot name counts: no channel lives longer without a subscription.
const STRANGER_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long the list is waited for before something else must do, where there is something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a list tells enough to make a channel: another process of the client may begin at any time.
const COUNT_LIFE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is asked, and nothing of ours is in doubt.
    Certain,
    /// The list is asked for at `due`, when nothing else is under way. Its maker alone is shown the channel's name.
    Wanted { due: Time, maker: Token },
    /// It is being asked for with `asking`.
    Asked { deadline: Time, maker: Token, asking: Token },
}

/// What is known of our channels.
#[derive(Clone, Debug)]
pub struct Census {
    state: State,
    /// Since when a list is wanted, while one is.
    wanted_at: Time,
    backoff: Backoff,
    /// Requests whose answers went missing since the last list.
    doubts: usize,
    strangers: usize,
    strangers_until: Time,
    /// Channels that another process of ours uses while this one takes over from it.
    shared: usize,
    /// When the last list came.
    counted_at: Option<Time>,
    /// Those of ours that were taken for alive when it came.
    taken_for_alive: Vec<ChannelId>,
    /// How the last question was refused, if it was.
    failing: Option<Refusal>,
}

impl Census {
    /// A client that has asked for nothing yet.
    pub fn new(config: &Config) -> Self {
        Self {
            state: State::Certain,
            wanted_at: Time::START,
            backoff: Backoff::new(config),
            doubts: 0,
            strangers: 0,
            strangers_until: Time::START,
            shared: 0,
            counted_at: None,
            taken_for_alive: Vec::new(),
            failing: None,
        }
    }

    /// Whether nothing of ours is in doubt, nor asked for.
    pub const fn is_certain(&self) -> bool {
        matches!(self.state, State::Certain)
    }

    /// Whether it is known how many channels there are, well enough to ask for one more.
    pub fn is_counted(&self, now: Time) -> bool {
        self.is_certain() && self.counted_at.is_some_and(|at| now < at + COUNT_LIFE)
    }

    /// Whether the list is long in coming.
    pub fn is_slow(&self, now: Time) -> bool {
        !self.is_certain() && now.since(self.wanted_at) >= PATIENCE
    }

    /// Whether the list was refused when it was last asked for.
    pub const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Why there is no list, while it is asked for again and again.
    pub const fn refusal(&self) -> Option<&Refusal> {
        self.failing.as_ref()
    }

    /// Asks for the list once, before anything may be made.
    pub fn begin(&mut self, token: Token, now: Time) {
        if self.counted_at.is_none() {
            self.want(token, now);
        }
    }

    /// A channel is about to be made.
    pub const fn want(&mut self, token: Token, now: Time) {
        if let State::Certain = self.state {
            self.wanted_at = now;
            self.state = State::Wanted { due: now, maker: token };
        }
    }

    /// A channel of ours is not there any more. Where it was gone already when the list came, another was counted in its place.
    pub fn miss(&mut self, channel: ChannelId, token: Token, now: Time) {
        if let Some(at) = self.taken_for_alive.iter().position(|known| *known == channel) {
            self.taken_for_alive.swap_remove(at);
            self.strangers += 1;
            self.strangers_until = self.strangers_until.max(now + STRANGER_LIFE);
            self.want(token, now);
        }
    }

    /// Channels of the client that we cannot use: made by another process, or by a token that has ended.
    pub fn strangers(&self, now: Time) -> usize {
        let known = if now < self.strangers_until { self.strangers } else { 0 };
        known.max(self.shared)
    }

    /// Another process of ours uses so many channels; what was listed meanwhile named them too.
    pub const fn share(&mut self, channels: usize) {
        self.strangers = self.strangers.saturating_sub(self.shared);
        self.shared = channels;
    }

    /// Another process may have made channels, or given some up, since they were counted.
    pub const fn outdate(&mut self) {
        self.counted_at = None;
    }

    /// When something is due, while a token is at hand.
    pub const fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Certain => None,
            State::Wanted { due, .. } => Some(due),
            State::Asked { deadline, .. } => Some(deadline),
        }
    }

    /// A request for a channel ended so that one may have been made.
    pub fn doubt(&mut self, maker: Token, now: Time) {
        let due = match self.state {
            State::Wanted { due, .. } => due,
            State::Certain | State::Asked { .. } => now,
        };
        self.doubts += 1;
        if let State::Certain = self.state {
            self.wanted_at = now;
        }
        self.state = State::Wanted { due, maker };
    }

    /// The maker whose list is due, if one is.
    pub fn due(&self, now: Time) -> Option<Token> {
        match self.state {
            State::Wanted { due, maker } if due <= now => Some(maker),
            State::Certain | State::Wanted { .. } | State::Asked { .. } => None,
        }
    }

    /// Asks for the list with `token`: the maker's own while it is valid, else another, which is at least told how many there are.
    pub fn ask(&mut self, token: Token, maker: Token, now: Time, output: &mut Output) {
        self.state = State::Asked { deadline: now + DEADLINE, maker, asking: token };
        output.command(Command::ListChannels { token: token.id });
    }

    /// Puts the question off.
    pub fn hold(&mut self, until: Time) {
        if let State::Wanted { due, .. } = &mut self.state {
            *due = until.max(*due);
        }
    }

    /// The list is known: so many channels there are, and these are ours. Returns the maker of those that were found.
    pub fn handle_listed(&mut self, total: usize, own: Vec<ChannelId>, now: Time) -> Option<Token> {
        let State::Asked { maker, .. } = self.state else {
            return None;
        };
        self.doubts = 0;
        self.count(total.saturating_sub(own.len()), now);
        self.taken_for_alive = own;
        Some(maker)
    }

    fn count(&mut self, strangers: usize, now: Time) {
        self.state = State::Certain;
        self.backoff.reset();
        self.failing = None;
        (self.strangers, self.strangers_until) = (strangers, now + STRANGER_LIFE);
        self.counted_at = Some(now);
    }

    /// There is no list. Where the platform gives none at all, the channels in doubt are counted as if they had been made. Returns the
    /// token that was asked with when it is the token that is not accepted: a maker that has ended says nothing of the newest.
    pub fn handle_refused(
        &mut self,
        refusal: &Refusal,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        let State::Asked { mut maker, asking, .. } = self.state else {
            return None;
        };
        if refusal.reason.answer() == super::Answer::Park {
            let until = self.strangers_until;
            let doubts = std::mem::take(&mut self.doubts);
            self.count(self.strangers(now) + doubts, now);
            if doubts == 0 {
                // What was in doubt before is a day older for all that.
                self.strangers_until = until;
            }
            tell(refusal, None, output);
            return None;
        }
        self.failing = Some(refusal.clone());
        let refused = refusal.reason.answer() == super::Answer::NewToken;
        if refused && asking.id == maker.id {
            maker.expires_at = maker.expires_at.min(now);
        }
        let wait = self.backoff.next(refusal.retry_after, rng);
        tell(refusal, Some(wait), output);
        self.state = State::Wanted { due: now + wait, maker };
        refused.then_some(asking)
    }

    /// What an answer that did not come in time is.
    pub fn overdue(&self, now: Time) -> Option<Refusal> {
        let detail = || format!("no list of channels within {DEADLINE:?}");
        match self.state {
            State::Asked { deadline, .. } if deadline <= now => {
                Some(Refusal { reason: Reason::Timeout, retry_after: None, detail: detail() })
            }
            State::Certain | State::Wanted { .. } | State::Asked { .. } => None,
        }
    }
}

fn tell(refusal: &Refusal, retry_in: Option<Duration>, output: &mut Output) {
    let (reason, detail) = (refusal.reason.as_str(), refusal.detail.clone());
    output.observe(Observation::ChannelsRefused { reason, detail, retry_in });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{SecretVersion, TokenId};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_maker_that_is_not_accepted_any_more_is_not_the_newest_tokens_fault() {
        let now = Time::from_micros(1_000_000);
        let token = |id| Token {
            id: TokenId(id),
            secret: SecretVersion(1),
            life: STRANGER_LIFE,
            expires_at: now + STRANGER_LIFE,
        };
        let (maker, newest) = (token(1), token(2));
        let mut census = Census::new(&crate::lifecycle::tests::config());
        let (mut output, mut rng) = (Output::default(), StdRng::seed_from_u64(1));
        census.doubt(maker, now);
        census.ask(maker, maker, now, &mut output);
        let refusal =
            Refusal { reason: Reason::Unauthorized, retry_after: None, detail: "401".into() };
        let refused = census.handle_refused(&refusal, now, &mut rng, &mut output);
        assert_eq!(refused.map(|token| token.id), Some(maker.id));
        // It is asked for again, and with the newest from now on.
        let known = census.due(now + DEADLINE).expect("wanted");
        assert!(known.expires_at <= now && newest.expires_at > now);
        assert!(!output.notes.is_empty(), "a list that does not come is told");
    }
}
