//! The list of topics: asked for again and again, and taken over with the smallest change.
//!
//! Which shard a topic goes to is the plan's business, how a live session comes to it the session's.

use super::coverage::Coverage;
use super::login::Token;
use super::machine::Lifecycle;
use super::output::{Note, Place};
use super::plan::{Plan as Topics, expand};
use super::shard::Shard;
use super::{Command, Reason, Refusal};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::Time;
use std::collections::btree_map::Entry;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

/// The shell answers a listing within its own time-outs; many pages may be needed.
const DEADLINE: Duration = Duration::from_secs(300);

/// How soon a listing that lacks what an earlier one had is made again at the latest: what two in a row lack, is gone.
const CONFIRM: Duration = Duration::from_secs(60);

/// The same after somebody has chosen other topics, and knows what he has left out.
const CONFIRM_CHOSEN: Duration = Duration::from_secs(2);

/// How soon an empty or refused plan is looked at again.
const REPLAN: Duration = Duration::from_secs(300);

/// When the topics are listed.
#[derive(Clone, Copy, Debug)]
pub enum Listing {
    /// They are asked for at `due`, once there is a token; a fresh token only hurries what is parked.
    Wanted { due: Time, parked: bool },
    /// They are being asked for with `token`.
    Asked { deadline: Time, token: Token },
}

impl Default for Listing {
    fn default() -> Self {
        Self::Wanted { due: Time::START, parked: false }
    }
}

impl Listing {
    /// When something is due; to ask takes a token.
    pub const fn poll_timeout(self) -> Option<Time> {
        match self {
            Self::Wanted { due, .. } => Some(due),
            Self::Asked { deadline, .. } => Some(deadline),
        }
    }

    /// Whether an answer is awaited.
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// A fresh token may mend what waiting does not.
    pub fn wake(&mut self, now: Time) {
        if let Self::Wanted { due, parked: true } = self {
            *due = now.min(*due);
        }
    }

    /// What an answer that did not come in time is.
    pub fn overdue(self, now: Time) -> Option<Refusal> {
        let detail = || format!("no list of topics within {DEADLINE:?}");
        match self {
            Self::Asked { deadline, .. } if deadline <= now => {
                Some(Refusal { reason: Reason::Timeout, retry_after: None, detail: detail() })
            }
            Self::Wanted { .. } | Self::Asked { .. } => None,
        }
    }
}

impl Lifecycle {
    /// Asks for the list when it is due. Returns whether other calls may be made: the list goes before them.
    pub(super) fn list_topics(&mut self, now: Time) -> bool {
        if let (Listing::Wanted { due, parked }, Some(token)) = (self.plan, self.login.token(now))
            && due <= now
            && !self.is_frozen()
        {
            let allowed = self.rest.next(now);
            if allowed > now {
                self.plan = Listing::Wanted { due: allowed, parked };
                return false;
            }
            self.rest.spend(now);
            self.plan = Listing::Asked { deadline: now + DEADLINE, token };
            self.outdated = false;
            self.output.command(Command::ListTopics { token: token.id });
        }
        true
    }

    pub(super) fn handle_topics(&mut self, listed: &[Topic], unknown: Vec<String>, now: Time) {
        let unknown: BTreeSet<String> = unknown.into_iter().collect();
        for queue in unknown.difference(&self.unknown) {
            self.output.observe(Observation::QueueUnknown { queue: queue.clone() });
        }
        self.unknown = unknown;
        self.plan_backoff.reset();
        let first = self.topics.is_empty();
        let wait = if first { REPLAN } else { self.config.queues_refresh };
        self.plan = Listing::Wanted { due: now + wait, parked: first };
        if listed.is_empty() {
            if self.outdated {
                self.plan = Listing::Wanted { due: now, parked: false };
            } else if !first {
                // An error of the platform would look the same, and what runs is worth more than what it says.
                self.tell_plan_refused(
                    "the list of queues is empty; nothing is removed".into(),
                    wait,
                );
            }
            return;
        }
        let wanted = self.with_leaving(listed);
        let carried = if first { &self.placement } else { &self.topics };
        match carried.next(&wanted, self.config.redundancy) {
            Ok(next) => {
                let wait = self.config.queues_refresh.min(self.confirm_within());
                self.plan = Listing::Wanted { due: now + wait, parked: false };
                self.adopt(next, now);
            }
            Err(refused) if first => self.output.notes.push_back(Note::Misplanned(refused)),
            Err(refused) => {
                // What leaves counts until it is confirmed; without it the rest may fit.
                let wait = wait.min(self.confirm_within());
                self.plan = Listing::Wanted { due: now + wait, parked: false };
                self.tell_plan_refused(refused.to_string(), wait);
                let carried: HashSet<&Topic> = self.topics.all().collect();
                let kept: Vec<Topic> = wanted
                    .iter()
                    .flat_map(expand)
                    .filter(|topic| carried.contains(topic))
                    .collect();
                if let Ok(next) = self.topics.next(&kept, self.config.redundancy) {
                    self.adopt(next, now);
                }
            }
        }
        self.shards.iter_mut().for_each(Shard::ask_again);
    }

    /// Asks for the topics anew; an answer that is on its way may be of what was wanted before.
    pub(super) fn choose(&mut self, now: Time) {
        self.chosen = true;
        match self.plan {
            Listing::Wanted { .. } => self.plan = Listing::Wanted { due: now, parked: false },
            Listing::Asked { .. } => self.outdated = true,
        }
    }

    /// How soon a listing must be made again because of what this one has brought.
    fn confirm_within(&mut self) -> Duration {
        if self.outdated {
            return Duration::ZERO;
        }
        match (self.leaving.is_empty(), std::mem::take(&mut self.chosen)) {
            (true, _) => Duration::MAX,
            (false, true) => CONFIRM_CHOSEN,
            (false, false) => CONFIRM,
        }
    }

    fn tell_plan_refused(&mut self, detail: String, retry_in: Duration) {
        self.plan_failed = true;
        let reason = Reason::Unexpected.as_str();
        self.output.observe(Observation::PlanRefused { reason, detail, retry_in });
    }

    /// What is listed, and what is missing for the first time: pages shift while they are read.
    fn with_leaving(&mut self, listed: &[Topic]) -> Vec<Topic> {
        let mut wanted: Vec<Topic> = listed.iter().flat_map(expand).collect();
        let combined = listed.iter().any(|topic| topic.name().contains('?'));
        let known: HashSet<Topic> = wanted.iter().cloned().collect();
        let missing = self.topics.all().filter(|topic| !known.contains(*topic));
        let missing: Vec<Topic> =
            missing.filter(|topic| !self.leaving.contains(*topic)).cloned().collect();
        self.leaving = missing.iter().cloned().collect();
        if combined {
            wanted = listed.to_vec();
        }
        wanted.extend(missing);
        wanted
    }

    /// Changes over to a plan: what stays is not touched.
    fn adopt(&mut self, next: Topics, now: Time) {
        let first = self.topics.is_empty();
        let recombined = next.is_combined() != self.topics.is_combined();
        self.tell_plan(&next, first);
        let legs = self.config.redundancy;
        let gone: Vec<_> = self.topics.shards().filter(|id| next.topics_of(*id) == 0).collect();
        for id in gone {
            if self.output.coverage.remove(&id).is_some_and(|coverage| coverage.has_gap()) {
                let (shard, to, action) = (id, now, "no longer wanted");
                self.output.notes.push_back(Note::GapClosed { shard, to, action });
            }
            self.output.forget(id);
            for shard in self.shards.extract_if(.., |shard| shard.place().shard == id) {
                let mut shard = shard;
                self.retired.extend(shard.dissolve(&mut self.output));
            }
        }
        for id in next.shards() {
            let (topics, count) = (next.subscriptions_of(id), next.topics_of(id));
            if let Entry::Vacant(entry) = self.output.coverage.entry(id) {
                entry.insert(Coverage::new(legs));
                let place = |leg| Place { shard: id, leg, topics: count };
                let config = &self.config;
                let legs = (0..legs).map(|leg| Shard::new(place(leg), topics.clone(), config));
                self.shards.extend(legs);
            } else {
                let of_shard = self.shards.iter_mut().filter(|shard| shard.place().shard == id);
                of_shard.for_each(|shard| shard.want(topics.clone(), count, recombined));
            }
        }
        self.shards.sort_by_key(|shard| (shard.place().shard, shard.place().leg));
        self.topics = next;
    }

    fn tell_plan(&mut self, next: &Topics, first: bool) {
        let (topics, shards) = (next.topics(), next.shards().count());
        if std::mem::take(&mut self.plan_failed) || first {
            self.output.observe(Observation::PlanMade { topics, shards });
        }
        if first {
            return;
        }
        let (before, after) = (self.topics.keys(), next.keys());
        let names =
            |keys: BTreeSet<&&str>| keys.into_iter().map(|key| (**key).to_owned()).collect();
        let joined: Vec<String> = names(after.difference(&before).collect());
        let left: Vec<String> = names(before.difference(&after).collect());
        // Other topics of the same keys are told as well: gaps are named by what is subscribed to.
        let each = |plan: &Topics| plan.all().cloned().collect::<HashSet<Topic>>();
        let (before, after) = (each(&self.topics), each(next));
        let (added, removed) =
            (after.difference(&before).count(), before.difference(&after).count());
        if added + removed > 0 {
            let told = Observation::PlanChanged { joined, left, added, removed, topics, shards };
            self.output.observe(told);
        }
    }

    pub(super) fn handle_topics_refused(&mut self, refusal: &Refusal, now: Time) {
        let asking = match self.plan {
            Listing::Asked { token, .. } => Some(token),
            Listing::Wanted { .. } => None,
        };
        let wait = self.plan_backoff.next(refusal.retry_after, &mut self.rng);
        // What was asked for with another token, or is not wanted any more, says nothing of the next attempt.
        let newest = self.login.token(now);
        let is_outdated = std::mem::take(&mut self.outdated)
            || newest.is_some_and(|newest| asking.is_some_and(|tried| tried.id != newest.id));
        let parked = !is_outdated && refusal.reason.answer() == super::Answer::Park;
        let wait = if parked { wait.max(REPLAN) } else { wait };
        self.plan = Listing::Wanted { due: now + wait, parked };
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        self.plan_failed = true;
        self.output.observe(Observation::PlanRefused {
            reason: refusal.reason.as_str(),
            detail: refusal.detail.clone(),
            retry_in: wait,
        });
        if refusal.reason == Reason::Unauthorized {
            self.refuse_token(asking, now);
        }
    }
}
