//! What is asked of REST after a gap, and when: of each topic that can be shown, how it stands now.
//!
//! One request at a time, paced, within the client's budget, on the newest token. Whether an answer is still true when it comes
//! (no live event of that topic came meanwhile) is judged by whoever publishes it; what is not is asked for again, a few times.

use super::backoff::Backoff;
use super::budget::Budget;
use super::login::Token;
use super::output::{Note, Output};
use super::{Answer, Command, Config, Reason, Refusal};
use crate::event::Topic;
use crate::observation::Observation;
use crate::time::Time;
use rand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What REST can show of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Snapshot {
    /// How a queue's observations stand.
    Observations,
    /// Who is a member of a queue.
    Members,
}

impl Snapshot {
    /// What can be shown of that topic; most can not: of conversations there is no snapshot.
    pub fn of(topic: &Topic) -> Option<Self> {
        let kind = topic.kind();
        if kind.eq_ignore_ascii_case("com.genesys.cloud.v2.analytics.queues.observations") {
            Some(Self::Observations)
        } else if kind.eq_ignore_ascii_case("com.genesys.cloud.v2.routing.queues.users") {
            Some(Self::Members)
        } else {
            None
        }
    }

    /// In words, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observations => "observations",
            Self::Members => "members",
        }
    }

    /// How many topics one request can ask about.
    const fn batch(self) -> usize {
        match self {
            Self::Observations => 50,
            Self::Members => 1,
        }
    }
}

/// One request for snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadId(pub u64);

/// How often one topic is asked for, when live events overtake its answers or REST refuses.
const ATTEMPTS: u32 = 4;

/// The least pause between two requests: at most half of the platform's 300 a minute.
const PACE: Duration = Duration::from_millis(400);

/// How soon what was overtaken is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// The shell answers REST calls within its own time-outs; this bounds the wait should it not.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many gaps may wait for one topic; a younger one answers for the older ones.
const GAPS_MAX: usize = 8;

#[derive(Clone, Debug)]
struct Job {
    what: Snapshot,
    topic: Topic,
    gaps: Vec<u64>,
    attempts: u32,
    /// Which page is to be read next, from 1; the first request begins anew whatever was read before.
    page: u32,
}

#[derive(Debug)]
struct Asked {
    id: ReadId,
    token: Token,
    jobs: Vec<Job>,
    deadline: Time,
}

/// Topics of one gap by what came of them, and how many are open.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    open: u64,
    snapshots: u64,
    superseded: u64,
    failed: u64,
    without: u64,
}

/// What became of one topic.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Shown,
    Superseded,
    Failed,
}

/// Decides what is asked of REST after gaps.
#[derive(Debug)]
pub struct Rebase {
    jobs: VecDeque<Job>,
    asked: Option<Asked>,
    /// The last request's number.
    last: u64,
    due: Time,
    backoff: Backoff,
    tallies: BTreeMap<u64, Tally>,
    /// What the client may not read; told once.
    forbidden: Vec<Snapshot>,
}

impl Rebase {
    /// Nothing to be asked.
    pub fn new(config: &Config) -> Self {
        Self {
            jobs: VecDeque::new(),
            asked: None,
            last: 0,
            due: Time::START,
            backoff: Backoff::new(config),
            tallies: BTreeMap::new(),
            forbidden: Vec::new(),
        }
    }

    /// A gap of these topics has ended.
    pub fn want(&mut self, gap: u64, topics: &[Topic], output: &mut Output) {
        let tally = self.tallies.entry(gap).or_default();
        let mut superseded = Vec::new();
        for topic in topics {
            let Some(what) = Snapshot::of(topic) else {
                tally.without += 1;
                continue;
            };
            if self.forbidden.contains(&what) {
                tally.failed += 1;
                continue;
            }
            tally.open += 1;
            let Some(job) = self.jobs.iter_mut().find(|job| job.topic == *topic) else {
                let (topic, gaps) = (topic.clone(), vec![gap]);
                self.jobs.push_back(Job { what, topic, gaps, attempts: 0, page: 1 });
                continue;
            };
            // Pages that were read within this gap prove nothing of its end.
            job.page = 1;
            job.gaps.push(gap);
            if job.gaps.len() > GAPS_MAX {
                superseded.push(job.gaps.remove(0));
            }
        }
        self.tell(gap, output);
        for gap in superseded {
            self.count(&[gap], Outcome::Superseded, output);
        }
    }

    /// When something is due, given a token.
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.asked {
            Some(asked) => Some(asked.deadline),
            None => (!self.jobs.is_empty()).then_some(self.due),
        }
    }

    /// A fresh token may have permissions that the last one had not.
    pub fn wake(&mut self) {
        self.forbidden.clear();
    }

    /// Asks, if it is time and the budget allows it.
    pub fn step(
        &mut self,
        token: Option<Token>,
        rest: &mut Budget,
        now: Time,
        output: &mut Output,
    ) {
        let (Some(token), None, Some(first)) = (token, &self.asked, self.jobs.front()) else {
            return;
        };
        if self.due > now {
            return;
        }
        self.due = rest.next(now);
        if self.due > now {
            return;
        }
        let (what, page) = (first.what, first.page);
        let (mut jobs, mut others) = (Vec::new(), VecDeque::new());
        for job in self.jobs.drain(..) {
            if job.what == what && jobs.len() < what.batch() {
                jobs.push(job);
            } else {
                others.push_back(job);
            }
        }
        self.jobs = others;
        rest.spend(now);
        self.last += 1;
        let (read, topics) =
            (ReadId(self.last), jobs.iter().map(|job| job.topic.clone()).collect());
        self.asked = Some(Asked { id: read, token, jobs, deadline: now + DEADLINE });
        output.command(Command::ReadSnapshots { read, token: token.id, what, topics, page });
    }

    /// A page came, and it is not the last: each is a request of its own, so that the pace and the budget hold for them too.
    pub fn handle_page(&mut self, read: ReadId, now: Time, output: &mut Output) {
        let Some(asked) = self.take(read) else {
            return;
        };
        self.backoff.reset();
        self.due = now + PACE;
        for mut job in asked.jobs {
            if self.jobs.iter().any(|other| other.topic == job.topic) {
                // A younger gap waits for the same: it wants all pages read after its end.
                self.put_back(job, Outcome::Superseded, output);
            } else {
                job.page += 1;
                self.jobs.push_front(job);
            }
        }
    }

    /// An answer came: `stale` topics were overtaken by live events and have not been published.
    pub fn handle_read(&mut self, read: ReadId, stale: &[Topic], now: Time, output: &mut Output) {
        let Some(asked) = self.take(read) else {
            return;
        };
        self.backoff.reset();
        self.due = now + PACE;
        for mut job in asked.jobs {
            if !stale.contains(&job.topic) {
                self.count(&job.gaps, Outcome::Shown, output);
                continue;
            }
            self.due = now + AGAIN;
            (job.page, job.attempts) = (1, job.attempts + 1);
            self.put_back(job, Outcome::Superseded, output);
        }
    }

    /// A request was refused. Returns the token if it is no longer accepted.
    pub fn handle_refused(
        &mut self,
        read: ReadId,
        refusal: &Refusal,
        now: Time,
        rng: &mut impl Rng,
        output: &mut Output,
    ) -> Option<Token> {
        let asked = self.take(read)?;
        let what = asked.jobs.first()?.what;
        let wait = self.backoff.next(refusal.retry_after, rng);
        let retry_in = wait.max(PACE);
        self.due = now + retry_in;
        let is_parked = refusal.reason.answer() == Answer::Park;
        let is_gone = refusal.reason == Reason::ChannelGone;
        output.observe(Observation::SnapshotRefused {
            what: what.as_str(),
            reason: refusal.reason.as_str(),
            detail: refusal.detail.clone(),
            retry_in,
            given_up: is_parked || is_gone,
        });
        for mut job in asked.jobs {
            job.page = 1;
            job.attempts = if is_parked || is_gone { ATTEMPTS } else { job.attempts + 1 };
            self.put_back(job, Outcome::Failed, output);
        }
        if refusal.reason == Reason::Forbidden {
            self.forbid(what, output);
        }
        (refusal.reason == Reason::Unauthorized).then_some(asked.token)
    }

    /// The shell gave no answer.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl Rng, output: &mut Output) {
        let overdue = self.asked.as_ref().filter(|asked| asked.deadline <= now);
        if let Some(id) = overdue.map(|asked| asked.id) {
            let detail = format!("no snapshot within {DEADLINE:?}");
            let refusal = Refusal { reason: Reason::Timeout, retry_after: None, detail };
            self.handle_refused(id, &refusal, now, rng, output);
        }
    }

    fn take(&mut self, read: ReadId) -> Option<Asked> {
        self.asked.take_if(|asked| asked.id == read)
    }

    /// What is not permitted is not asked for again: each of its topics is given up.
    fn forbid(&mut self, what: Snapshot, output: &mut Output) {
        self.forbidden.push(what);
        let jobs = std::mem::take(&mut self.jobs);
        let (hopeless, others): (VecDeque<Job>, VecDeque<Job>) =
            jobs.into_iter().partition(|job| job.what == what);
        self.jobs = others;
        for job in hopeless {
            self.count(&job.gaps, Outcome::Failed, output);
        }
    }

    /// Asks again, or gives up with that outcome. A younger gap may have asked meanwhile, and then one answer serves both.
    fn put_back(&mut self, job: Job, given_up: Outcome, output: &mut Output) {
        if job.attempts >= ATTEMPTS {
            self.count(&job.gaps, given_up, output);
        } else if let Some(waiting) = self.jobs.iter_mut().find(|other| other.topic == job.topic) {
            let mut gaps = job.gaps;
            gaps.append(&mut waiting.gaps);
            let excess = gaps.len().saturating_sub(GAPS_MAX);
            let superseded: Vec<u64> = gaps.drain(..excess).collect();
            waiting.gaps = gaps;
            self.count(&superseded, Outcome::Superseded, output);
        } else {
            self.jobs.push_back(job);
        }
    }

    fn count(&mut self, gaps: &[u64], outcome: Outcome, output: &mut Output) {
        for gap in gaps {
            if let Some(tally) = self.tallies.get_mut(gap) {
                tally.open -= 1;
                match outcome {
                    Outcome::Shown => tally.snapshots += 1,
                    Outcome::Superseded => tally.superseded += 1,
                    Outcome::Failed => tally.failed += 1,
                }
            }
            self.tell(*gap, output);
        }
    }

    /// Tells of a gap once nothing more will come of it.
    fn tell(&mut self, gap: u64, output: &mut Output) {
        if self.tallies.get(&gap).is_some_and(|tally| tally.open == 0)
            && let Some(Tally { snapshots, superseded, failed, without, .. }) =
                self.tallies.remove(&gap)
        {
            output.notes.push_back(Note::Rebased { gap, snapshots, superseded, failed, without });
        }
    }
}

/// The topics of a request.
pub type ReadTopics = Arc<[Topic]>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{SecretVersion, TokenId};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    struct Bench {
        rebase: Rebase,
        rest: Budget,
        now: Time,
        output: Output,
        rng: StdRng,
        /// Of the last request.
        page: u32,
    }

    fn topic(queue: u32, what: &str) -> Topic {
        Topic::new(&format!(
            "v2.{what}.00000000-0000-4000-8000-{queue:012}.{}",
            match what {
                "analytics.queues" => "observations",
                _ => "users",
            }
        ))
    }

    fn observations(queue: u32) -> Topic {
        topic(queue, "analytics.queues")
    }

    fn members(queue: u32) -> Topic {
        topic(queue, "routing.queues")
    }

    fn refusal(reason: Reason) -> Refusal {
        Refusal { reason, retry_after: None, detail: "scripted".into() }
    }

    impl Bench {
        fn new() -> Self {
            Self {
                rebase: Rebase::new(&crate::lifecycle::tests::config()),
                rest: Budget::new(240, Duration::from_secs(60)),
                now: Time::START,
                output: Output::default(),
                rng: StdRng::seed_from_u64(1),
                page: 0,
            }
        }

        fn want(&mut self, gap: u64, topics: &[Topic]) {
            self.rebase.want(gap, topics, &mut self.output);
        }

        /// The next request, whenever it is due; none when nothing is left to ask.
        fn asked(&mut self) -> Option<(ReadId, Vec<Topic>)> {
            let (secret, expires_at) = (SecretVersion(1), Time::from_micros(u64::MAX));
            let life = Duration::from_secs(86_400);
            let token = Token { id: TokenId(1), secret, life, expires_at };
            while self.output.commands.is_empty() {
                self.now = self.rebase.poll_timeout()?.max(self.now);
                self.rebase.step(Some(token), &mut self.rest, self.now, &mut self.output);
            }
            match self.output.commands.pop_front() {
                Some(Command::ReadSnapshots { read, topics, page, .. }) => {
                    self.page = page;
                    Some((read, topics.to_vec()))
                }
                other => panic!("{other:?}"),
            }
        }

        fn answer(&mut self, read: ReadId, stale: &[Topic]) {
            self.rebase.handle_read(read, stale, self.now, &mut self.output);
        }

        fn refuse(&mut self, read: ReadId, refusal: &Refusal) -> Option<Token> {
            let (now, rng) = (self.now, &mut self.rng);
            self.rebase.handle_refused(read, refusal, now, rng, &mut self.output)
        }

        /// Gap, snapshots, superseded, failed, without.
        fn told(&mut self) -> Vec<[u64; 5]> {
            let notes = self.output.notes.drain(..);
            notes
                .filter_map(|note| match note {
                    Note::Rebased { gap, snapshots, superseded, failed, without } => {
                        Some([gap, snapshots, superseded, failed, without])
                    }
                    Note::Observed(_)
                    | Note::GapOpened { .. }
                    | Note::GapClosed { .. }
                    | Note::Covered { .. }
                    | Note::Misplanned(_) => None,
                })
                .collect()
        }
    }

    #[test]
    fn observations_are_asked_for_together_and_members_queue_by_queue() {
        let mut bench = Bench::new();
        let conversations = Topic::new("v2.routing.queues.x.conversations");
        bench.want(1, &[observations(1), members(1), conversations, observations(2), members(2)]);
        let (read, topics) = bench.asked().expect("a request");
        assert_eq!(topics, [observations(1), observations(2)]);
        bench.answer(read, &[]);
        for queue in [1, 2] {
            let (read, topics) = bench.asked().expect("a request");
            assert_eq!(topics, [members(queue)]);
            assert_eq!(bench.told(), Vec::<[u64; 5]>::new());
            bench.answer(read, &[]);
        }
        assert_eq!(bench.told(), [[1, 4, 0, 0, 1]]);
        assert_eq!(bench.asked(), None);
    }

    /// Ten pages of a hundred: each is a request that the budget counts, and no minute has more than 150 of them.
    #[test]
    fn a_thousand_members_are_read_at_the_same_pace_page_by_page() {
        let mut bench = Bench::new();
        let queues: Vec<Topic> = (0..40).map(members).collect();
        bench.want(1, &queues);
        let mut asked = Vec::new();
        for queue in &queues {
            for page in 1..=10 {
                let (read, topics) = bench.asked().expect("a request");
                assert_eq!((&topics[..], bench.page), (std::slice::from_ref(queue), page));
                asked.push(bench.now);
                match page {
                    10 => bench.answer(read, &[]),
                    _ => bench.rebase.handle_page(read, bench.now, &mut bench.output),
                }
            }
        }
        assert_eq!(bench.asked(), None);
        assert_eq!(bench.told(), [[1, 40, 0, 0, 0]]);
        assert!(asked.windows(2).all(|two| two[1].since(two[0]) >= PACE), "{asked:?}");
        let minute = Duration::from_secs(60);
        let most = asked
            .iter()
            .map(|end| asked.iter().filter(|at| **at <= *end && end.since(**at) < minute).count());
        assert_eq!(most.max(), Some(150));
        assert_eq!(bench.rest.used(bench.now), (150, 240), "all of them are counted");
    }

    #[test]
    fn pages_that_a_younger_gap_or_a_refusal_outdates_are_read_again_from_the_first() {
        let mut bench = Bench::new();
        bench.want(1, &[members(1)]);
        let turn = |bench: &mut Bench| {
            let (read, _) = bench.asked().expect("a request");
            bench.rebase.handle_page(read, bench.now, &mut bench.output);
            bench.page
        };
        assert_eq!((turn(&mut bench), turn(&mut bench)), (1, 2));
        // One that ends between two pages, and one that ends while a page is on its way.
        bench.want(2, &[members(1)]);
        assert_eq!((turn(&mut bench), turn(&mut bench)), (1, 2));
        let (read, _) = bench.asked().expect("a request");
        bench.want(3, &[members(1)]);
        bench.rebase.handle_page(read, bench.now, &mut bench.output);
        assert_eq!((turn(&mut bench), turn(&mut bench)), (1, 2));
        let (read, _) = bench.asked().expect("a request");
        bench.refuse(read, &refusal(Reason::Unavailable));
        let (read, _) = bench.asked().expect("a request");
        assert_eq!(bench.page, 1);
        bench.answer(read, &[]);
        assert_eq!(bench.told(), [[1, 1, 0, 0, 0], [2, 1, 0, 0, 0], [3, 1, 0, 0, 0]]);
    }

    #[test]
    fn a_gap_of_what_has_no_snapshot_is_told_at_once() {
        let mut bench = Bench::new();
        bench.want(3, &[Topic::new("v2.routing.queues.x.conversations")]);
        assert_eq!(bench.told(), [[3, 0, 0, 0, 1]]);
    }

    #[test]
    fn what_live_events_overtake_is_asked_for_again_a_few_times() {
        let mut bench = Bench::new();
        bench.want(1, &[observations(1), observations(2)]);
        let mut asked = Vec::new();
        while let Some((read, topics)) = bench.asked() {
            asked.push(topics.len());
            bench.answer(read, &[observations(2)]);
        }
        assert_eq!(asked, [2, 1, 1, 1]);
        assert_eq!(bench.told(), [[1, 1, 1, 0, 0]]);
    }

    #[test]
    fn a_missing_permission_ends_it_for_all_of_its_kind_and_is_told_once() {
        let mut bench = Bench::new();
        bench.want(1, &[members(1), members(2), observations(1)]);
        let (read, _) = bench.asked().expect("a request");
        assert_eq!(bench.refuse(read, &refusal(Reason::Forbidden)), None);
        bench.want(2, &[members(1)]);
        let told = bench.output.notes.iter();
        assert_eq!(told.filter(|note| matches!(note, Note::Observed(_))).count(), 1);
        let (read, topics) = bench.asked().expect("a request");
        assert_eq!(topics, [observations(1)]);
        bench.answer(read, &[]);
        assert_eq!(bench.told(), [[2, 0, 0, 1, 0], [1, 1, 0, 2, 0]]);
    }

    #[test]
    fn a_retry_after_is_waited_for_and_a_refused_token_is_handed_back() {
        let mut bench = Bench::new();
        bench.want(1, &[members(1)]);
        let (read, _) = bench.asked().expect("a request");
        let asked = Duration::from_secs(30);
        let throttled = Refusal { retry_after: Some(asked), ..refusal(Reason::Throttled) };
        assert_eq!(bench.refuse(read, &throttled), None);
        let before = bench.now;
        let (read, _) = bench.asked().expect("a request");
        assert!(bench.now.since(before) >= asked);
        assert!(bench.refuse(read, &refusal(Reason::Unauthorized)).is_some());
    }

    #[test]
    fn a_platform_that_is_down_is_given_up_after_a_few_attempts() {
        let mut bench = Bench::new();
        bench.want(1, &[members(1)]);
        let mut attempts = 0;
        while let Some((read, _)) = bench.asked() {
            attempts += 1;
            bench.refuse(read, &refusal(Reason::Unavailable));
        }
        assert_eq!((attempts, bench.told()), (4, vec![[1, 0, 0, 1, 0]]));
    }

    #[test]
    fn gaps_that_ask_for_the_same_are_served_by_one_answer() {
        let mut bench = Bench::new();
        for gap in 1..=12 {
            bench.want(gap, &[members(1)]);
        }
        let (read, _) = bench.asked().expect("a request");
        bench.answer(read, &[]);
        assert_eq!(bench.asked(), None);
        let told = bench.told();
        assert_eq!((told.len(), told[0], told[11]), (12, [1, 0, 1, 0, 0], [12, 1, 0, 0, 0]));
    }
}
