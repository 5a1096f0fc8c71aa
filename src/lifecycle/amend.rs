//! Changing the topics of a session that is live: what joins is added, what left is removed, and the socket stays open.
//!
//! A change that fails is tried again with back-off and never costs the session. Which topics are wanted is the shard's business.

use super::backoff::Backoff;
use super::budget::Budget;
use super::login::Token;
use super::output::Output;
use super::plan::{ShardTopics, expand};
use super::reasons::Answer;
use super::session::Session;
use super::state::State;
use super::{Change, Command, Config, Reason, Refusal, RejectedTopic};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// As for every other REST call of a session.
const DEADLINE: Duration = Duration::from_secs(60);

/// How soon a change that is due looks again whether there is a token.
const TOKEN_WAIT: Duration = Duration::from_secs(1);

/// The topics of a session's channel, as far as they are known.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What the platform was last given.
    topics: ShardTopics,
    /// Whether that is uncertain, so that only the whole list settles it.
    unsure: bool,
    /// What the platform refused, each topic by itself.
    rejected: BTreeSet<Box<str>>,
    /// What it lacks of what its shard has delivered and still wants, and of which lists that was found.
    lacking: (Vec<Topic>, Option<[ShardTopics; 3]>),
    /// Refused topics that are asked for again.
    again: bool,
    /// The change under way.
    asked: Option<(ShardTopics, Time, Token)>,
    /// No change before this.
    not_before: Time,
    backoff: Backoff,
}

impl Carried {
    /// Nothing.
    pub fn new(config: &Config) -> Self {
        Self {
            topics: ShardTopics::default(),
            unsure: false,
            rejected: BTreeSet::new(),
            lacking: (Vec::new(), None),
            again: false,
            asked: None,
            not_before: Time::START,
            backoff: Backoff::new(config),
        }
    }

    /// The whole list is given to the channel.
    pub fn give(&mut self, topics: &ShardTopics) {
        self.topics = topics.clone();
        // A change that was under way may reach the platform after this.
        self.unsure = self.asked.take().is_some();
        self.again = false;
    }

    /// What it lacks of what its shard has delivered.
    pub fn lacking(&self) -> &[Topic] {
        &self.lacking.0
    }

    /// The platform's answer to the list, or to a part of it.
    fn note_rejected(
        &mut self,
        whole: bool,
        again: &[Box<str>],
        rejected: &[RejectedTopic],
    ) -> Vec<Topic> {
        let parts = |topic: &Topic| expand(topic).into_iter().map(|part| part.name().into());
        let refused: BTreeSet<Box<str>> =
            rejected.iter().flat_map(|rejected| parts(&rejected.topic)).collect();
        let asked: BTreeSet<Box<str>> =
            again.iter().flat_map(|name| parts(&Topic::new(name))).collect();
        let before = std::mem::take(&mut self.rejected);
        let (kept, asked_again): (BTreeSet<_>, BTreeSet<_>) =
            before.into_iter().partition(|name| !whole && !asked.contains(name));
        self.rejected = kept.into_iter().chain(refused).collect();
        asked_again
            .iter()
            .filter(|name| !self.rejected.contains(*name))
            .map(|name| Topic::new(name))
            .collect()
    }

    fn is_amiss(&self, wanted: &ShardTopics) -> bool {
        self.again || !self.is(wanted)
    }

    fn is(&self, wanted: &ShardTopics) -> bool {
        !self.unsure && (Arc::ptr_eq(&self.topics, wanted) || self.topics == *wanted)
    }

    /// The smallest change that leads to `wanted`: additions alone where nothing is to be removed.
    fn change(&self, wanted: &ShardTopics) -> Change {
        let carried: HashSet<&str> = self.topics.iter().map(|name| &**name).collect();
        let kept: HashSet<&str> = wanted.iter().map(|name| &**name).collect();
        if self.unsure || carried.iter().any(|name| !kept.contains(name)) {
            return Change::Replace(wanted.clone());
        }
        let is_refused = |name: &str| {
            self.again
                && expand(&Topic::new(name)).iter().any(|part| self.rejected.contains(part.name()))
        };
        let added = wanted.iter().filter(|name| !carried.contains(&***name) || is_refused(name));
        Change::Add(added.cloned().collect::<Vec<_>>().into())
    }
}

impl Session {
    /// When a change of its topics is due or given up.
    pub fn amends_at(&self, wanted: &ShardTopics) -> Option<Time> {
        let carried = self.carried_if_live()?;
        match carried.asked {
            Some((_, deadline, _)) => Some(deadline),
            None => carried.is_amiss(wanted).then_some(carried.not_before),
        }
    }

    /// Whether its channel has exactly these, for certain.
    pub fn carries(&self, wanted: &ShardTopics) -> bool {
        self.carried.is(wanted)
    }

    /// Finds out what it lacks of what was `delivered` and is still wanted. Lists that did not change are not looked at again.
    pub fn find_lacking(&mut self, delivered: &ShardTopics, wanted: &ShardTopics) {
        let lists = [self.carried.topics.clone(), delivered.clone(), wanted.clone()];
        let (lacking, known) = &mut self.carried.lacking;
        let is_known = |known: &[ShardTopics; 3]| {
            known.iter().zip(&lists).all(|(known, list)| Arc::ptr_eq(known, list))
        };
        if known.as_ref().is_some_and(is_known) {
            return;
        }
        lacking.clear();
        if lists[0] != lists[1] {
            let [carried, delivered, wanted] = lists.each_ref().map(|list| {
                let topics = list.iter().flat_map(|name| expand(&Topic::new(name)));
                topics.collect::<HashSet<Topic>>()
            });
            let is_missing = |topic: &&Topic| wanted.contains(*topic) && !carried.contains(*topic);
            lacking.extend(delivered.iter().filter(is_missing).cloned());
            lacking.sort_by(|one, other| one.name().cmp(other.name()));
        }
        *known = Some(lists);
    }

    fn carried_if_live(&self) -> Option<&Carried> {
        matches!(self.state, State::Live { .. }).then_some(&self.carried)
    }

    /// Knows what the platform refused its predecessor, so as to tell what it permits now.
    pub fn know_refused(&mut self, predecessor: &Self) {
        self.carried.rejected.clone_from(&predecessor.carried.rejected);
    }

    /// Whether a change is under way.
    pub const fn is_amending(&self) -> bool {
        self.carried.asked.is_some()
    }

    /// Until when a list that was given to its channel may still reach the platform.
    pub fn busy_until(&self) -> Option<Time> {
        let changed = self.carried.asked.as_ref().map(|(_, deadline, _)| *deadline);
        if let State::Subscribing { deadline } = self.state { Some(deadline) } else { changed }
    }

    /// Asks again for what the platform refused.
    pub fn ask_again(&mut self) {
        self.carried.again = !self.carried.rejected.is_empty();
    }

    /// Begins the change that is due, if one is and the budget allows it.
    pub fn amend(
        &mut self,
        wanted: &ShardTopics,
        token: Option<Token>,
        rest: &mut Budget,
        now: Time,
        output: &mut Output,
    ) {
        if self.amends_at(wanted).is_none_or(|due| due > now) {
            return;
        }
        if self.carried.asked.take().is_some() {
            self.carried.unsure = true;
            let retry_in = DEADLINE;
            self.carried.not_before = now + retry_in;
            let detail = format!("no answer within {DEADLINE:?}");
            return self.tell_refused(Reason::Timeout, detail, retry_in, output);
        }
        let (Some(token), Some(channel)) = (token, self.channel) else {
            self.carried.not_before = now + TOKEN_WAIT;
            return;
        };
        let allowed = rest.next(now);
        if allowed > now {
            self.carried.not_before = allowed;
            return;
        }
        rest.spend(now);
        let change = self.carried.change(wanted);
        self.carried.asked = Some((wanted.clone(), now + DEADLINE, token));
        let (session, token, channel) = (self.id, token.id, channel.id);
        output.command(Command::Amend { session, token, channel, change });
    }

    /// The platform has taken the list that was given to a channel with it.
    pub fn note_subscribed(&mut self, rejected: &[RejectedTopic], output: &mut Output) {
        let permitted = self.carried.note_rejected(true, &[], rejected);
        tell_answers(rejected, permitted, output);
    }

    /// The platform has taken the change.
    pub fn handle_amended(&mut self, rejected: &[RejectedTopic], output: &mut Output) {
        let Some((topics, ..)) = self.carried.asked.take() else {
            return;
        };
        let before: HashSet<Box<str>> = self.carried.topics.iter().cloned().collect();
        let after: HashSet<Box<str>> = topics.iter().cloned().collect();
        let added = after.difference(&before).count();
        let removed = before.difference(&after).count();
        let whole = self.carried.unsure || removed > 0;
        let asked: Vec<Box<str>> = if whole {
            Vec::new()
        } else {
            topics
                .iter()
                .filter(|name| self.carried.again || !before.contains(*name))
                .cloned()
                .collect()
        };
        let permitted = self.carried.note_rejected(whole, &asked, rejected);
        tell_answers(rejected, permitted, output);
        self.carried.topics = topics;
        (self.carried.unsure, self.carried.again) = (false, false);
        self.carried.backoff.reset();
        if added + removed > 0 {
            output.observe(Observation::TopicsAmended {
                session: self.id.to_string(),
                shard: self.shard.0,
                added,
                removed,
            });
        }
    }

    /// The platform has not taken the change, or has not answered. Returns the token when it is the token that is not accepted.
    pub fn handle_amend_refused(
        &mut self,
        refusal: &Refusal,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        let (_, _, token) = self.carried.asked.take()?;
        self.carried.unsure = true;
        let retry_in = self.carried.backoff.next(refusal.retry_after, rng);
        self.carried.not_before = now + retry_in;
        self.tell_refused(refusal.reason, refusal.detail.clone(), retry_in, output);
        (refusal.reason.answer() == Answer::NewToken).then_some(token)
    }

    fn tell_refused(
        &self,
        reason: Reason,
        detail: String,
        retry_in: Duration,
        output: &mut Output,
    ) {
        output.observe(Observation::AmendRefused {
            session: self.id.to_string(),
            shard: self.shard.0,
            reason: reason.as_str(),
            detail,
            retry_in,
        });
    }
}

fn tell_answers(rejected: &[RejectedTopic], permitted: Vec<Topic>, output: &mut Output) {
    for RejectedTopic { topic, reason } in rejected {
        for topic in expand(topic) {
            output.observe(Observation::TopicRejected { topic, reason: reason.clone() });
        }
    }
    for topic in permitted {
        output.observe(Observation::TopicPermitted { topic });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::channel::Channel;
    use crate::lifecycle::output::Place;
    use crate::lifecycle::tests::config;
    use crate::lifecycle::{ChannelId, SecretVersion, SessionId, ShardId, TokenId};

    #[test]
    fn a_channel_whose_list_is_under_way_is_not_handed_on_before_that_is_over() {
        let (now, day) = (Time::from_micros(1_000_000), Duration::from_secs(86_400));
        let place = Place { shard: ShardId(0), leg: 0, topics: 1 };
        let secret = SecretVersion(1);
        let token = Token { id: TokenId(1), secret, life: day, expires_at: now + day };
        let mut output = Output::default();
        let mut session = Session::new(SessionId(1), place, 0, &config(), now);
        let channel = Channel::new(ChannelId(1), day, Some(token), now);
        let topics: ShardTopics = vec!["v2.a.b".into()].into();
        session.subscribe(channel, token, &topics, now, &mut output);
        let left = session.into_channel().expect("it has one");
        assert!(!left.is_free(now + DEADLINE - Duration::from_secs(1)));
        assert!(left.is_free(now + DEADLINE));
    }
}
