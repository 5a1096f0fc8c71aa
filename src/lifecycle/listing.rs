//! The list of topics: asked for again and again, and taken over with the smallest change.
//!
//! Which shard a topic goes to is the plan's business, how a live session comes to it the session's.

use super::coverage::Coverage;
use super::login::Token;
use super::machine::Lifecycle;
use super::output::{Note, Place};
use super::plan::{Plan as Topics, expand};
use super::shard::Shard;
use super::{Answer, Command, Reason, Refusal};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::Time;
use std::collections::btree_map::Entry;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

/// The shell answers REST calls within its own time-outs; this bounds the wait should it not.
const DEADLINE: Duration = Duration::from_secs(60);

/// The pause between two pages while sessions live: at most half of the platform's 300 calls a minute.
const PACE: Duration = Duration::from_millis(400);

/// For how long pages that were read are worth going on from; pages shift while they are read.
const PAGES_LIFE: Duration = Duration::from_secs(300);

/// How soon a listing that lacks what an earlier one had is made again at the latest: what two in a row lack, is gone.
const CONFIRM: Duration = Duration::from_secs(60);

/// The same after somebody has chosen other topics, and knows what he has left out.
const CONFIRM_CHOSEN: Duration = Duration::from_secs(2);

/// How soon an empty or refused plan is looked at again.
const REPLAN: Duration = Duration::from_secs(300);

/// When the topics are listed.
#[derive(Clone, Copy, Debug)]
pub enum Listing {
    /// A page is asked for at `due`, once there is a token; a fresh token only hurries what is parked.
    Wanted { due: Time, parked: bool, page: Page },
    /// It is being asked for with `token`.
    Asked { deadline: Time, token: Token, page: Page },
}

/// A page of the list: each is a request of its own, so that the budget holds for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// From 1; the first begins the list anew, whatever was read before.
    number: u32,
    /// When the page before it came.
    since: Time,
}

impl Page {
    const FIRST: Self = Self { number: 1, since: Time::START };
}

impl Default for Listing {
    fn default() -> Self {
        Self::anew(Time::START, false)
    }
}

impl Listing {
    /// The whole list is asked for at `due`.
    pub const fn anew(due: Time, parked: bool) -> Self {
        Self::Wanted { due, parked, page: Page::FIRST }
    }

    /// Whether some of its pages have been read, and others are to be.
    const fn is_under_way(self) -> bool {
        let (Self::Wanted { page, .. } | Self::Asked { page, .. }) = self;
        page.number > 1
    }

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
        if let Self::Wanted { due, parked: true, .. } = self {
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
    /// Begins the list when it is due. Returns whether other calls may be made: it goes before them. So do all of its pages while nothing
    /// is subscribed to.
    pub(super) fn list_topics(&mut self, now: Time) -> bool {
        let waits = self.plan.is_under_way() && !self.topics.is_empty();
        waits || self.list_page(now)
    }

    /// Asks for the page that is due. Returns whether the budget has room.
    pub(super) fn list_page(&mut self, now: Time) -> bool {
        let (Listing::Wanted { due, parked, page }, Some(token)) =
            (self.plan, self.login.token(now))
        else {
            return true;
        };
        if due > now || self.is_frozen() {
            return true;
        }
        let allowed = self.rest.next(now);
        if allowed > now {
            self.plan = Listing::Wanted { due: allowed, parked, page };
            return false;
        }
        self.rest.spend(now);
        let page = if now.since(page.since) < PAGES_LIFE { page } else { Page::FIRST };
        if page.number == 1 {
            self.outdated = false;
        }
        self.plan = Listing::Asked { deadline: now + DEADLINE, token, page };
        self.output.command(Command::ListTopics { token: token.id, page: page.number });
        true
    }

    /// A page came, and it is not the last.
    pub(super) fn handle_topics_page(&mut self, number: u32, now: Time) {
        if !matches!(self.plan, Listing::Asked { page, .. } if page.number == number) {
            return;
        }
        self.plan_backoff.reset();
        // While nothing is subscribed to, or somebody waits for it, nothing but the budget holds it back.
        let is_urgent = self.topics.is_empty() || self.chosen;
        let due = if is_urgent { now } else { now + PACE };
        let page = Page { number: number.saturating_add(1), since: now };
        self.plan = Listing::Wanted { due, parked: false, page };
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
        self.plan = Listing::anew(now + wait, first);
        if listed.is_empty() {
            if self.outdated {
                self.plan = Listing::anew(now, false);
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
                self.plan = Listing::anew(now + wait, false);
                self.adopt(next, now);
            }
            Err(refused) if first => self.output.notes.push_back(Note::Misplanned(refused)),
            Err(refused) => {
                // What leaves counts until it is confirmed; without it the rest may fit.
                let wait = wait.min(self.confirm_within());
                self.plan = Listing::anew(now + wait, false);
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
            Listing::Wanted { .. } => self.plan = Listing::anew(now, false),
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
            let legs = self.shards.extract_if(.., |shard| shard.place().shard == id);
            let legs: Vec<Shard> = legs.collect();
            legs.into_iter().for_each(|leg| self.dissolve(leg, now));
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

    pub(super) fn handle_topics_refused(&mut self, refusal: &Refusal, anew: bool, now: Time) {
        if let Some(asked) = refusal.retry_after {
            self.rest.close_until(now + asked);
        }
        // An answer that comes after the deadline is nobody's.
        let Listing::Asked { token: asking, page, .. } = self.plan else {
            return;
        };
        let wait = self.plan_backoff.next(refusal.retry_after, &mut self.rng);
        // What was asked for with another token, or is not wanted any more, says nothing of the next attempt.
        let newest = self.login.token(now);
        let is_outdated = std::mem::take(&mut self.outdated)
            || newest.is_some_and(|newest| asking.id != newest.id);
        let answer = refusal.reason.answer();
        let parked = !is_outdated && answer == Answer::Park;
        let wait = if parked { wait.max(REPLAN) } else { wait };
        // What only waiting mends does not cost the pages that have been read.
        let keeps = !is_outdated && !anew && answer == Answer::SameChannel;
        let page = if keeps { page } else { Page::FIRST };
        self.plan = Listing::Wanted { due: now + wait, parked, page };
        self.plan_failed = true;
        self.output.observe(Observation::PlanRefused {
            reason: refusal.reason.as_str(),
            detail: refusal.detail.clone(),
            retry_in: wait,
        });
        if refusal.reason == Reason::Unauthorized {
            self.refuse_token(Some(asking), now);
        }
    }
}
