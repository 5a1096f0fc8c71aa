//! The one loop: replies, frames and time go into the pure parts; commands, events and observations come out.
//!
//! It never waits for a sink: the journal takes an event or refuses it at once. Order of work, when several things are due:
//! 1. the order to stop; 2. what came from the platform, in batches; 3. what the other parts observed; 4. the order to rotate;
//! 5. what has changed of the configuration; 6. a process that takes over; 7. time.

use super::doubt::{Carrier, Doubt, Doubts};
use super::gaps::{Closed, Heard as Mark};
use super::handover::Giving;
use super::renewal::Renewal;
use super::report::Report;
use super::stall::Stall;
use super::status::Status;
use super::stream::Stream;
use crate::clock::Clock;
use crate::genesys::{Genesys, Incoming, Shown};
use crate::lifecycle::{Command, Heard, Lifecycle, Note, Reply, SessionId, ShardId};
use crate::observation::Observation;
use crate::sequence::Rebased;
use crate::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How many frames are taken at once: enough to spread the cost of a step, few enough to keep time.
const BATCH: usize = 256;

/// The status is written at least this often, so that its readers can tell a bridge that hangs.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// And so soon after something happened, but no more often.
const REPORT_WITHIN: Duration = Duration::from_millis(100);

/// The parts that the driver joins.
#[derive(Debug)]
pub struct Driver {
    /// The process's clock.
    pub clock: Clock,
    /// Decides what is asked of the platform.
    pub lifecycle: Lifecycle,
    /// Carries it out.
    pub genesys: Genesys,
    /// What comes of it.
    pub incoming: mpsc::Receiver<Incoming>,
    /// What secret sources and publishers observe.
    pub observed: mpsc::Receiver<Observation>,
    /// From a notification to the journal.
    pub stream: Stream,
    /// What is told of it all.
    pub report: Report,
    /// When the process last stood still.
    pub stall: Stall,
    /// Frames that could not be read, before it is known whether their sessions have ended with them.
    pub doubts: Doubts,
    /// Where the status is shown.
    pub status: watch::Sender<Arc<Status>>,
    /// Whether REST is asked for what it can show after a gap.
    pub rebase: bool,
    /// A person's order to replace every session.
    pub rotate: Arc<Notify>,
    /// Lets another process take over.
    pub giving: Giving,
    /// What has changed of the configuration.
    pub renewals: mpsc::Receiver<Renewal>,
    /// Whether what cannot be reached at the start ends the process.
    pub fail_fast: bool,
}

/// Why the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to.
    Stopped,
    /// Another process goes on.
    HandedOver,
    /// Something needed could not be reached at the start, and `--fail-fast` was given.
    Unreachable(String),
    /// The configuration can never work.
    Misconfigured(String),
}

impl Driver {
    /// Runs until `stop`, then takes what was heard and closes every session and the journal; goes on telling until `end`.
    pub async fn run(mut self, stop: CancellationToken, end: CancellationToken) -> Ending {
        let ending = self.bridge(stop).await;
        let now = self.clock.now();
        self.close(now);
        if ending == Ending::HandedOver {
            self.hand_over().await;
        }
        if matches!(ending, Ending::Stopped | Ending::HandedOver) {
            self.tell(end).await;
        }
        ending
    }

    async fn bridge(&mut self, stop: CancellationToken) -> Ending {
        let (mut batch, mut words) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let (mut reported, mut report_at) = (Time::START, Time::START);
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            let now = self.clock.now();
            if let Some(ending) = self.flush(now).or_else(|| self.is_cut()) {
                return ending;
            }
            if self.report.has_news() {
                report_at = report_at.min(reported + REPORT_WITHIN);
            }
            if report_at <= now {
                (reported, report_at) = (now, now + REPORT_EVERY);
                self.look(now);
                self.stream.show_legs();
                // Sessions also give channels up, or take one, by time alone.
                self.genesys.note_channels(self.lifecycle.kept());
                self.show(now);
            }
            let due = [self.lifecycle.poll_timeout(), self.stream.poll_timeout()];
            let due = due.into_iter().chain([self.giving.poll_timeout(now)]);
            let next = due.flatten().chain([report_at]).min().unwrap_or(report_at);
            let next = self.stall.grace(now).map_or(next, |grace| grace.max(next));
            timer.as_mut().reset(self.clock.instant_of(next));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ending::Stopped,
                _ = self.incoming.recv_many(&mut batch, BATCH) => self.take(&mut batch),
                Some(observation) = self.observed.recv() => {
                    if let Some(ending) = self.observe(&observation) {
                        return ending;
                    }
                }
                () = self.rotate.notified() => self.lifecycle.handle_rotate(self.clock.now()),
                Some(renewal) = self.renewals.recv() => self.renew(renewal),
                () = self.giving.recv_many(&mut words, BATCH) => self.hear_out(&mut words),
                () = &mut timer => {}
            }
            self.stall.woke(now, next, self.clock.now());
            self.tick();
        }
    }

    /// Looks at what nobody tells, and keeps what the next process must know.
    fn look(&mut self, now: Time) {
        self.judge_doubts(now);
        self.stream.look(now);
        let heard = self.heard(now);
        if !heard.is_empty() {
            self.stream.mark(heard);
        }
    }

    /// What each shard with certain delivery has heard last.
    pub(super) fn heard(&self, now: Time) -> BTreeMap<u16, Mark> {
        let Some(heard) = self.giving.heard() else { return self.own_heard(now) };
        let mark = |(shard, at)| (shard, Mark { at, alone: false });
        heard.into_iter().map(mark).collect()
    }

    /// The same by our own sessions, whether they count or not.
    pub(super) fn own_heard(&self, now: Time) -> BTreeMap<u16, Mark> {
        if self.stalled(now) {
            return BTreeMap::new();
        }
        let complete = self.lifecycle.complete_until().into_iter();
        let mut heard: BTreeMap<u16, Mark> = complete
            .map(|(shard, at)| {
                let own = self.lifecycle.sessions().filter(|session| session.shard == shard);
                (shard.0, Mark { at: self.clock.timestamp_of(at), alone: own.count() == 1 })
            })
            .collect();
        for (shard, heard) in &mut heard {
            if let Some(complete) = self.doubts.since(*shard) {
                heard.at = heard.at.min(self.clock.timestamp_of(complete));
            }
        }
        heard
    }

    /// Whether what is read now may be old.
    fn stalled(&self, now: Time) -> bool {
        self.stall.grace(now).is_some()
    }

    /// Asks REST for what it can show of topics that were in a gap. Says whether it did.
    fn rebase(&mut self, now: Time) -> bool {
        let mut is_asked = false;
        while let Some(Closed { number, topics }) = self.stream.poll_closed() {
            if self.rebase {
                self.lifecycle.rebase(number, &topics, now);
                is_asked = true;
            }
        }
        is_asked
    }

    /// Tells what the publishers observe while they deliver the rest, and how they stand.
    async fn tell(&mut self, end: CancellationToken) {
        let mut beat = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                biased;
                Some(observation) = self.observed.recv() => self.report.record(&observation),
                () = end.cancelled() => return self.tell_late(),
                _ = beat.tick() => {
                    self.tell_late();
                    self.show(self.clock.now());
                }
            }
        }
    }

    /// What the disk did not take of the last events is counted and told too. A gap that this opens is left to the next process.
    fn tell_late(&mut self) {
        self.stream.look_for_room();
        while let Some(observation) = self.stream.poll_observation() {
            self.report.record(&observation);
        }
        self.stream.flush();
    }

    /// Lets the pure parts do what time asks for. Called after every wait, so that a flood of frames cannot hold up time.
    fn tick(&mut self) {
        let now = self.clock.now();
        if self.stall.grace(now).is_some() {
            return;
        }
        if self.lifecycle.poll_timeout().is_some_and(|due| due <= now) {
            self.lifecycle.handle_timeout(now);
        }
        if self.stream.poll_timeout().is_some_and(|due| due <= now) {
            self.stream.handle_timeout(now);
        }
        self.give_in_time(now);
    }

    /// Takes what came from the platform.
    fn take(&mut self, batch: &mut Vec<Incoming>) {
        let now = self.clock.now();
        // The lifecycle is told once for a run of notifications that a session's feed is alive, and when the last of them came.
        let mut run = None;
        for incoming in batch.drain(..) {
            match incoming {
                Incoming::Notification { session, at, notification } => {
                    self.stream.take(session, notification, now);
                    if let Some((of, until)) = run.replace((session, at))
                        && of != session
                    {
                        self.hear(of, until, now);
                    }
                }
                Incoming::Reply(reply) => {
                    if let Some((session, at)) = run.take() {
                        self.hear(session, at, now);
                    }
                    self.note_outlived(&reply, now);
                    self.reply(reply, now);
                }
                Incoming::Observation(observation) => {
                    if let Some((session, at)) = run.take() {
                        self.hear(session, at, now);
                    }
                    self.note_unreadable(&observation, now);
                    self.report.record(&observation);
                }
                Incoming::Snapshots { read, what, received, shown } => match shown {
                    Ok(Shown::Page) => self.lifecycle.handle_snapshots_page(read, now),
                    Ok(Shown::Whole(shown)) => {
                        let stale = self.stream.publish_snapshots(what, shown, received);
                        self.lifecycle.handle_snapshots(read, &stale, now);
                    }
                    Err(refusal) => self.lifecycle.handle_snapshots_refused(read, &refusal, now),
                },
            }
        }
        if let Some((session, at)) = run {
            self.hear(session, at, now);
        }
    }

    /// Takes over what has changed of the configuration, between two events.
    fn renew(&mut self, renewal: Renewal) {
        let Renewal { privacy, choice, told, shown } = renewal;
        if let Some(privacy) = privacy {
            self.stream.guard(privacy);
        }
        told.iter().for_each(|observation| self.report.record(observation));
        self.report.note_configuration(shown);
        if let Some(choice) = choice {
            self.genesys.choose(choice);
            self.lifecycle.handle_chosen(self.clock.now());
        }
    }

    fn hear(&mut self, session: SessionId, at: Time, now: Time) {
        self.lifecycle.handle_reply(Reply::Heard { session, what: Heard::Data, at }, now);
    }

    /// What could not be read may have been a notification. Remembers the frame before it.
    fn note_unreadable(&mut self, observation: &Observation, now: Time) {
        let Observation::FrameUnreadable { session, .. } = observation else {
            return;
        };
        // While another process is heard in our place, what we cannot read is not missing.
        if self.giving.muted {
            return;
        }
        let mut sessions = self.lifecycle.sessions();
        if let Some(own) = sessions.find(|own| own.id.to_string() == *session) {
            let complete = self.stall.complete_until(own.heard_at.unwrap_or(now));
            self.doubts.add(own.id, own.shard.0, complete, now);
        }
    }

    /// A gap, unless the session has ended with that frame: then there is one anyway.
    fn note_outlived(&mut self, reply: &Reply, now: Time) {
        if let Reply::Heard { session, .. } = reply {
            self.doubts.outlived(*session);
        } else if let Reply::Lost { session, .. } = reply {
            self.doubts.ended(*session);
        }
        self.judge_doubts(now);
    }

    fn judge_doubts(&mut self, now: Time) {
        if self.doubts.is_empty() {
            return;
        }
        let carriers: Vec<Carrier> = self.lifecycle.sessions().filter_map(Carrier::of).collect();
        for Doubt { shard, complete, at, .. } in self.doubts.judge(&carriers) {
            let [complete, at] = [complete, at].map(|time| self.clock.timestamp_of(time));
            self.stream.unreadable(shard, complete, at, now);
        }
    }

    fn reply(&mut self, reply: Reply, now: Time) {
        let connected =
            if let Reply::Connected { session } = &reply { Some(*session) } else { None };
        self.note(&reply, now);
        let is_heard = matches!(reply, Reply::Heard { .. });
        self.lifecycle.handle_reply(reply, now);
        if !is_heard {
            self.genesys.note_channels(self.lifecycle.kept());
        }
        // What the reply asks for comes first: a session that closes leaves the stream before another joins it.
        self.execute(now);
        if let Some(session) = connected.filter(|_| !self.giving.muted)
            && let Some((shard, leg)) = self.place_of(session)
        {
            self.stream.begin(session, shard, leg, now);
        }
    }

    /// Takes note of what only a reply tells.
    fn note(&mut self, reply: &Reply, now: Time) {
        if let Reply::TokenGranted { token, .. } = reply {
            self.lifecycle.take_up(&self.genesys.recall_channels(*token), now);
        }
        self.report.note_reply(reply);
    }

    /// The shard and the leg of a session whose socket is open.
    fn place_of(&self, session: SessionId) -> Option<(u16, usize)> {
        let mut sessions = self.lifecycle.sessions();
        let open = sessions.find(|own| own.id == session && own.has_socket())?;
        Some((open.shard.0, open.leg))
    }

    fn execute(&mut self, now: Time) {
        while let Some(command) = self.lifecycle.poll_command() {
            if let Command::Close { session } = &command {
                self.stream.end(*session, now);
                self.doubts.ended(*session);
            }
            if let Command::ReadSnapshots { topics, page: 1, .. } = &command {
                self.stream.await_snapshots(topics);
            }
            self.genesys.execute(command);
        }
    }

    /// Carries out and tells what the pure parts have left. Returns why the process must end, if it must.
    fn flush(&mut self, now: Time) -> Option<Ending> {
        let mut ending = None;
        loop {
            self.execute(now);
            while let Some(note) = self.lifecycle.poll_note() {
                ending = ending.or(self.note_down(note, now));
            }
            // What REST is asked then is asked at once.
            if !self.rebase(now) {
                break;
            }
        }
        while let Some(observation) = self.stream.poll_observation() {
            self.report.record(&observation);
        }
        self.stream.flush();
        ending
    }

    /// Does what a note says. Returns why the process must end, if it must.
    pub(super) fn note_down(&mut self, note: Note, now: Time) -> Option<Ending> {
        match note {
            Note::Observed(observation) => {
                self.heed(&observation, now);
                return self.observe(&observation);
            }
            // While another process is heard in our place, what we miss is not missing.
            Note::GapOpened { .. } if self.giving.muted => {}
            Note::GapOpened { shard, cause, from, only, .. } => {
                let from = self.clock.timestamp_of(self.stall.complete_until(from));
                self.stream.open_gap(shard.0, cause.as_str(), from, only);
            }
            Note::GapClosed { shard, to, action } => self.end_gap(shard, to, action, now),
            Note::Covered { shard, at } => self.end_gap(shard, at, "resubscribed", now),
            Note::Rebased { gap, snapshots, superseded, failed, without } => {
                self.stream.rebased(gap, Rebased { snapshots, superseded, failed, without });
            }
            Note::Misplanned(refused) => return Some(Ending::Misconfigured(refused.to_string())),
        }
        None
    }

    fn end_gap(&mut self, shard: ShardId, to: Time, action: &'static str, now: Time) {
        let to = self.clock.timestamp_of(to);
        if self.giving.muted {
            self.stream.end_gap(shard.0, to, action, now);
        } else {
            self.stream.close_gap(shard.0, to, action, now);
        }
    }

    /// Tells the stream which topics there are.
    pub(super) fn plan(&mut self) {
        let topics = self.lifecycle.topics();
        let shards = topics.shards().map(|id| (id.0, topics.each_of(id).cloned().collect()));
        self.stream.plan(shards.collect());
    }

    /// Takes from an observation what the stream must know.
    fn heed(&mut self, observation: &Observation, now: Time) {
        if let Observation::PlanMade { .. } | Observation::PlanChanged { .. } = observation {
            self.plan();
        } else if let Observation::TopicRejected { topic, .. } = observation {
            self.stream.refuse(topic);
        } else if let Observation::TopicPermitted { topic } = observation {
            self.stream.permit(topic);
        } else if let Observation::RotationFinished { shard, .. } = observation {
            self.stream.rotated(*shard, now);
        }
    }

    /// Tells an observation; with `--fail-fast` a failure before the first readiness ends the process.
    fn observe(&mut self, observation: &Observation) -> Option<Ending> {
        self.report.record(observation);
        if !self.fail_fast || self.report.was_ready() {
            return None;
        }
        super::report::failure_of(observation).map(Ending::Unreachable)
    }

    fn show(&mut self, now: Time) {
        let status = self.report.status(&self.lifecycle, &self.stream, &self.clock, now);
        self.status.send_replace(Arc::new(status));
    }

    /// Takes what was heard, closes every session, then the journal, so that its readers see the end.
    fn close(&mut self, now: Time) {
        self.look(now);
        let mut batch = Vec::new();
        while let Ok(incoming) = self.incoming.try_recv() {
            batch.push(incoming);
        }
        self.take(&mut batch);
        let heard = self.heard(now);
        if !heard.is_empty() {
            self.stream.mark_last(&heard);
        }
        self.genesys.note_channels(self.lifecycle.kept());
        self.lifecycle.close();
        self.flush(now);
        self.stream.close_journal(now);
        // What closing has brought about is told too.
        self.flush(now);
        self.report.drain();
        self.show(now);
    }
}
