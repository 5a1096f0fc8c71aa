//! The new process before it has a journal: its sessions settle as the lifecycle says, and what they say is relayed to the old one, as `Taker` says.
//!
//! A loop like the driver's, with the old process in the place of the stream. It writes nothing in the folder that the old process still owns.

use super::heir::{Heir, Unread};
use super::link::{Link, Word};
use crate::bridge::report::{self, Report};
use crate::bridge::stall::Stall;
use crate::clock::Clock;
use crate::event::Topic;
use crate::genesys::{Genesys, Incoming};
use crate::handover::{Message, Outcome, Refusal, Taker, Welcome};
use crate::lifecycle::{
    CHANNELS_PER_CLIENT, Command, Heard, Lifecycle, Note, Plan, Reply, SessionId, ShardId,
};
use crate::observation::{Handover, Observation};
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many frames are taken at once, as the driver does.
const BATCH: usize = 256;

/// How often the old process is told what each shard has heard.
const BEAT: Duration = Duration::from_secs(1);

/// There is no handover: the process that runs goes on, and this one ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no handover: {}", .0.reason)]
pub struct Declined(pub Refusal);

/// What the new process has by then.
#[derive(Debug)]
pub struct Taking {
    /// The process's clock.
    pub clock: Clock,
    /// Decides what is asked of the platform.
    pub lifecycle: Lifecycle,
    /// Carries it out.
    pub genesys: Genesys,
    /// What comes of it.
    pub incoming: mpsc::Receiver<Incoming>,
    /// What secret sources observe.
    pub observed: mpsc::Receiver<Observation>,
    /// What is told of it all.
    pub report: Report,
    /// Whether what cannot be reached ends the process.
    pub fail_fast: bool,
    /// Where the old process keeps its channels.
    pub folder: PathBuf,
}

/// The loop.
#[derive(Debug)]
struct Run {
    parts: Taking,
    taker: Taker,
    link: Link,
    say: Option<mpsc::Sender<Message>>,
    welcome: Option<Welcome>,
    stall: Stall,
    /// Sessions whose frames count.
    open: BTreeSet<SessionId>,
    /// Each with the number of the last thing that was relayed before it.
    notes: Vec<(u64, Note)>,
    doubts: Vec<(u64, Unread)>,
    refused: BTreeSet<Box<str>>,
}

impl Taking {
    /// Runs until the old process is gone, whatever it did before.
    ///
    /// # Errors
    /// When the old process goes on instead.
    pub async fn run(self, taker: Taker, link: Link) -> Result<(Self, Heir), Declined> {
        let mut run = Run {
            parts: self,
            taker,
            link,
            say: None,
            welcome: None,
            stall: Stall::default(),
            open: BTreeSet::new(),
            notes: Vec::new(),
            doubts: Vec::new(),
            refused: BTreeSet::new(),
        };
        run.relay().await;
        run.finish()
    }
}

impl Run {
    async fn relay(&mut self) {
        let (mut batch, mut words) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut beat_at = Time::START;
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        while self.taker.outcome().is_none() {
            let now = self.parts.clock.now();
            self.flush(now);
            if beat_at <= now {
                beat_at = now + BEAT;
                self.beat(now);
            }
            let is_full = self.speak();
            let lifecycle = self.welcome.as_ref().and_then(|_| self.parts.lifecycle.poll_timeout());
            let due = [lifecycle, self.taker.poll_timeout(), Some(beat_at)];
            let next = due.into_iter().flatten().min().unwrap_or(beat_at);
            let next = self.stall.grace(now).map_or(next, |grace| grace.max(next));
            timer.as_mut().reset(self.parts.clock.instant_of(next));
            tokio::select! {
                biased;
                _ = self.link.words.recv_many(&mut words, BATCH) => self.hear(&mut words),
                _ = self.parts.incoming.recv_many(&mut batch, BATCH), if self.welcome.is_some() => {
                    self.take(&mut batch);
                }
                Some(observation) = self.parts.observed.recv() => self.observe(&observation),
                () = room(self.say.as_ref()), if is_full => {}
                () = &mut timer => {}
            }
            self.stall.woke(now, next, self.parts.clock.now());
            self.tick();
        }
        let now = self.parts.clock.now();
        self.flush(now);
    }

    fn finish(self) -> Result<(Taking, Heir), Declined> {
        let Self { parts, taker, notes, doubts, refused, .. } = self;
        let outcome = taker.outcome().cloned().unwrap_or(Outcome::Restart);
        if let Outcome::GiveUp(refusal) = outcome {
            return Err(Declined(refusal));
        }
        let is_ours = |number: &u64| taker.is_ours(*number);
        let notes = notes.into_iter().filter(|(number, _)| is_ours(number)).collect();
        let doubts = doubts.into_iter().filter(|(number, _)| is_ours(number)).collect();
        Ok((parts, Heir { outcome, legacy: taker.into_legacy(), notes, doubts, refused }))
    }

    /// Says what is to be said. Answers whether there is more than the link takes now.
    fn speak(&mut self) -> bool {
        let Some(say) = &self.say else { return false };
        loop {
            match say.try_reserve() {
                Ok(room) => match self.taker.poll_message() {
                    Some(message) => room.send(message),
                    None => return false,
                },
                // Closed: that is heard as the link's end.
                Err(error) => return matches!(error, mpsc::error::TrySendError::Full(())),
            }
        }
    }

    fn hear(&mut self, words: &mut Vec<(u64, Word)>) {
        let now = self.parts.clock.now();
        if words.is_empty() {
            self.taker.handle_lost(now);
        }
        for (_, word) in words.drain(..) {
            match word {
                Word::Opened(voice, _) => self.say = Some(voice.say),
                Word::Said(message) => self.taker.handle(message, now),
                Word::Gone => self.taker.handle_lost(now),
            }
        }
        if let Some((welcome, placed)) = self.taker.poll_welcome() {
            self.begin(welcome, placed);
        }
    }

    /// The old process lets us begin: where it has its topics, and on channels that it does not use.
    fn begin(&mut self, welcome: Welcome, placed: BTreeMap<u16, Vec<String>>) {
        let topics = |names: Vec<String>| names.iter().map(|name| Topic::new(name)).collect();
        let placed = placed.into_iter().map(|(shard, names)| (ShardId(shard), topics(names)));
        let Welcome { version, epoch, .. } = welcome.clone();
        self.parts.lifecycle.join(Plan::placed(placed, welcome.combined), welcome.taken);
        self.parts.genesys.keep_channels(&self.parts.folder);
        self.parts.report.record(&Observation::Handover(Handover::Joined { version, epoch }));
        self.welcome = Some(welcome);
    }

    fn tick(&mut self) {
        let now = self.parts.clock.now();
        if self.stall.grace(now).is_some() {
            return;
        }
        let lifecycle = &mut self.parts.lifecycle;
        if self.welcome.is_some() && lifecycle.poll_timeout().is_some_and(|due| due <= now) {
            lifecycle.handle_timeout(now);
        }
        self.taker.handle_timeout(now);
    }

    fn beat(&mut self, now: Time) {
        // What is read after a standstill may be old.
        if self.welcome.is_none() || self.stall.grace(now).is_some() {
            return;
        }
        let complete = self.parts.lifecycle.complete_until().into_iter();
        let mut heard: BTreeMap<u16, Timestamp> =
            complete.map(|(shard, at)| (shard.0, self.parts.clock.timestamp_of(at))).collect();
        for (_, unread) in &self.doubts {
            if let Some(at) = heard.get_mut(&unread.shard) {
                *at = unread.complete.min(*at);
            }
        }
        self.taker.handle_heard(heard, now);
    }

    fn take(&mut self, batch: &mut Vec<Incoming>) {
        let now = self.parts.clock.now();
        // As in the driver: the lifecycle is told once for a run of notifications.
        let mut run = None;
        for incoming in batch.drain(..) {
            if let Incoming::Notification { session, at, notification } = incoming {
                if self.open.contains(&session) {
                    self.taker.handle_sight(session.0, notification, now);
                }
                if let Some((of, until)) = run.replace((session, at))
                    && of != session
                {
                    self.heard(of, until, now);
                }
                continue;
            }
            if let Some((session, at)) = run.take() {
                self.heard(session, at, now);
            }
            match incoming {
                Incoming::Reply(reply) => self.reply(reply, now),
                Incoming::Observation(observation) => self.observe(&observation),
                // Nothing is read after a gap before there is a ledger.
                Incoming::Notification { .. } | Incoming::Snapshots { .. } => {}
            }
        }
        if let Some((session, at)) = run {
            self.heard(session, at, now);
        }
    }

    fn heard(&mut self, session: SessionId, at: Time, now: Time) {
        self.parts.lifecycle.handle_reply(Reply::Heard { session, what: Heard::Data, at }, now);
    }

    fn reply(&mut self, reply: Reply, now: Time) {
        let connected =
            if let Reply::Connected { session } = &reply { Some(*session) } else { None };
        if let Reply::TokenGranted { token, .. } = &reply {
            let client = self.parts.genesys.client(*token);
            let theirs = self.welcome.as_ref().and_then(|welcome| welcome.client.as_deref());
            if theirs.is_some() && client.as_deref() != theirs {
                // Once the old process is cut off this is a change like any other, and nobody else would go on.
                self.taker.give_up("it is of another OAuth client: restart instead", true);
            }
            if self.taker.outcome().is_some() {
                return;
            }
            let mut kept = self.parts.genesys.recall_channels(*token);
            // Those in use are the old process's, until it is gone.
            kept.retain(|kept| !kept.in_use);
            self.parts.lifecycle.take_up(&kept, now);
        }
        self.parts.report.note_reply(&reply);
        self.parts.lifecycle.handle_reply(reply, now);
        self.execute(now);
        let place = connected.and_then(|session| {
            let mut sessions = self.parts.lifecycle.sessions();
            sessions.find(|own| own.id == session && own.has_socket())
        });
        if let Some((id, shard, leg)) = place.map(|own| (own.id, own.shard.0, own.leg)) {
            self.open.insert(id);
            self.taker.handle_began(id.0, shard, u8::try_from(leg).unwrap_or(u8::MAX), now);
        }
    }

    fn execute(&mut self, now: Time) {
        while let Some(command) = self.parts.lifecycle.poll_command() {
            if let Command::Close { session } = &command
                && self.open.remove(session)
            {
                self.taker.handle_ended(session.0, now);
            }
            self.parts.genesys.execute(command);
        }
    }

    fn flush(&mut self, now: Time) {
        self.execute(now);
        while let Some(note) = self.parts.lifecycle.poll_note() {
            match note {
                Note::Observed(observation) => self.observe(&observation),
                Note::GapOpened { .. } | Note::GapClosed { .. } => {
                    self.notes.push((self.taker.last() + 1, note));
                }
                Note::Covered { .. } | Note::Rebased { .. } => {}
                Note::Misplanned(refused) => self.taker.give_up(&refused.to_string(), true),
            }
        }
        if self.welcome.is_some() {
            self.taker.handle_settled(self.parts.lifecycle.is_covered(), now);
        }
    }

    fn observe(&mut self, observation: &Observation) {
        self.parts.report.record(observation);
        if let Observation::PlanMade { .. } | Observation::PlanChanged { .. } = observation {
            self.check_plan();
        } else if let Observation::TopicRejected { topic, .. } = observation {
            self.refused.insert(topic.name().into());
        } else if let Observation::TopicPermitted { topic } = observation {
            self.refused.remove(topic.name());
        } else if let Observation::FrameUnreadable { session, .. } = observation {
            self.doubt(session);
        }
        if self.parts.fail_fast
            && let Some(words) = report::failure_of(observation)
        {
            self.taker.give_up(&words, false);
        }
    }

    fn check_plan(&mut self) {
        let topics = self.parts.lifecycle.topics();
        let each =
            topics.shards().flat_map(|id| topics.each_of(id).map(move |topic| (id.0, topic)));
        let channels = topics.shards().count() * self.parts.lifecycle.redundancy();
        self.taker.handle_plan(each, channels, CHANNELS_PER_CLIENT);
    }

    /// A frame of a session could not be read: it may have been a notification.
    fn doubt(&mut self, session: &str) {
        let mut sessions = self.parts.lifecycle.sessions();
        if let Some(own) = sessions.find(|own| own.id.to_string() == session) {
            let heard = own.heard_at.unwrap_or(self.parts.clock.now());
            let complete = self.parts.clock.timestamp_of(self.stall.complete_until(heard));
            let unread = Unread { shard: own.shard.0, complete, at: self.parts.clock.timestamp() };
            self.doubts.push((self.taker.last() + 1, unread));
        }
    }
}

/// Waits until the link takes more.
async fn room(say: Option<&mpsc::Sender<Message>>) {
    match say {
        Some(say) => drop(say.reserve().await),
        None => std::future::pending().await,
    }
}
