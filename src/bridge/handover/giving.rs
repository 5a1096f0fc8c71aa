//! The old process: the driver lets another take over, as `Giver` says.
//!
//! The new process's sessions are sessions of the stream like our own, under numbers that ours never reach.

use super::super::driver::{Driver, Ending};
use super::super::gaps::HANDOVER;
use super::link::{Numbered, Voice, Word};
use crate::event::Topic;
use crate::handover::{Act, Giver, Message, Welcome};
use crate::lifecycle::SessionId;
use crate::observation::{Handover, Observation};
use crate::time::{Time, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Where the numbers of the new process's sessions begin.
const GUESTS: u64 = 1 << 63;

/// How often it is looked whether everything has come to rest, or been heard.
const LOOK: Duration = Duration::from_millis(10);

/// How long the disk may take for what the journal still holds, and the new process to hear of it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// How much longer than its drain the process may need to end.
const EPILOGUE: Duration = Duration::from_secs(20);

/// Identities in one message.
const WINDOW: usize = 10_000;

/// Messages that wait because the new process does not read; only the welcome is more than a few.
const UNSAID_MAX: usize = 256;

/// The process that goes on in this one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its number, as far as the system knows.
    pub pid: Option<u32>,
    /// Whether it was told to go on. One that was not may be gone, and then nobody does.
    pub is_told: bool,
}

/// What a driver needs to hand over.
#[derive(Debug)]
pub struct Giving {
    giver: Giver,
    /// What comes of links; closed where there is no socket.
    words: mpsc::Receiver<Numbered>,
    link: Option<(u64, Voice)>,
    unsaid: VecDeque<Message>,
    /// Channels that the new process must do without.
    taken: usize,
    /// Whether what our own sessions say counts for nothing.
    pub(in crate::bridge) muted: bool,
    /// What they had heard of each shard by then.
    own: BTreeMap<u16, Timestamp>,
    /// Whether the new process is to go on behind what is in the journal.
    is_cut: bool,
    drain: Duration,
    /// The process on the other side.
    pid: Option<u32>,
    /// Tells that this process is to end, and which goes on.
    handed: watch::Sender<Option<Successor>>,
}

impl Giving {
    /// A driver that hands over to whoever asks by `words`, as `giver` says; then `handed` is told, and the process ends within `drain`.
    pub fn new(
        giver: Giver,
        words: mpsc::Receiver<Numbered>,
        drain: Duration,
        handed: watch::Sender<Option<Successor>>,
    ) -> Self {
        let (link, unsaid) = (None, VecDeque::new());
        Self {
            pid: None,
            giver,
            words,
            link,
            unsaid,
            taken: 0,
            muted: false,
            own: BTreeMap::new(),
            is_cut: false,
            drain,
            handed,
        }
    }

    /// The next words; without a socket there are none. Cancel-safe.
    pub async fn recv_many(&mut self, batch: &mut Vec<Numbered>, limit: usize) {
        if self.words.recv_many(batch, limit).await == 0 {
            std::future::pending().await
        }
    }

    /// When something is due.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let waits = self.giver.awaits_quiet() || self.giver.awaits_proof().is_some();
        let looks = waits.then(|| now + LOOK);
        looks.into_iter().chain(self.giver.poll_timeout()).min()
    }

    /// Whether it waits for everything to come to rest.
    #[cfg(test)]
    pub const fn waits_for_quiet(&self) -> bool {
        self.giver.awaits_quiet()
    }

    /// What the next process must know of what was heard, while that is not our own sessions' affair.
    pub fn heard(&self) -> Option<BTreeMap<u16, Timestamp>> {
        self.giver.heard().cloned()
    }

    fn say(&mut self, message: Message) {
        // How far we are is said again; all else there is once.
        if self.unsaid.len() < UNSAID_MAX || !matches!(message, Message::Taken(_)) {
            self.unsaid.push_back(message);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let Some((_, voice)) = &self.link else { return self.unsaid.clear() };
        while let Some(message) = self.unsaid.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(message)) = voice.say.try_send(message) {
                return self.unsaid.push_front(message);
            }
        }
    }

    /// Whether the new process is still there; nothing else that it says counts any more.
    fn is_heard(&mut self) -> bool {
        let Some((own, _)) = &self.link else { return false };
        while let Ok((number, word)) = self.words.try_recv() {
            if number == *own && matches!(word, Word::Gone) {
                self.link = None;
                return false;
            }
        }
        true
    }

    fn hang(&mut self) {
        self.flush();
        if let Some((_, voice)) = self.link.take() {
            voice.hang();
        }
        // One that is so far behind learns it from the link's end.
        self.unsaid.clear();
    }
}

impl Driver {
    /// Takes what came over the link.
    pub(in crate::bridge) fn hear_out(&mut self, words: &mut Vec<Numbered>) {
        let now = self.clock.now();
        for (number, word) in words.drain(..) {
            let is_current = self.giving.link.as_ref().is_some_and(|(own, _)| *own == number);
            match word {
                Word::Opened(voice, pid) => {
                    self.giving.link = Some((number, voice));
                    self.giving.pid = pid;
                }
                Word::Said(message) if is_current => self.giving.giver.handle(message, now),
                Word::Gone if is_current => {
                    self.giving.link = None;
                    self.giving.giver.handle_lost();
                }
                Word::Said(_) | Word::Gone => {}
            }
            // In the order in which things were said: what one asks for may concern the next.
            self.give(now);
        }
    }

    /// Lets time pass for the handover.
    pub(in crate::bridge) fn give_in_time(&mut self, now: Time) {
        if self.giving.giver.poll_timeout().is_some_and(|due| due <= now) {
            self.giving.giver.handle_timeout(now);
        }
        if self.giving.giver.awaits_quiet()
            && let Some(taken) = self.lifecycle.lend(now)
        {
            self.giving.taken = taken;
            self.genesys.note_channels(self.lifecycle.kept());
            if self.genesys.has_channels_written() {
                self.giving.giver.handle_quiet(now);
            }
        }
        if let Some(since) = self.giving.giver.awaits_proof()
            && self.lifecycle.is_proven(since)
        {
            self.giving.giver.handle_proven(now);
        }
        self.give(now);
        self.giving.flush();
    }

    fn give(&mut self, now: Time) {
        let guest = |leg: u64| SessionId(GUESTS | leg);
        while let Some(act) = self.giving.giver.poll() {
            match act {
                Act::Freeze => {
                    self.lifecycle.freeze();
                    self.report.record(&Observation::Handover(Handover::Asked));
                }
                Act::Thaw => self.lifecycle.thaw(now),
                Act::Greet => self.greet(now),
                Act::Say(message) => self.giving.say(message),
                Act::Begin { leg, shard, place } => {
                    self.stream.begin(guest(leg), shard, usize::from(place), now);
                }
                Act::Sight { leg, notification } => self.stream.take(guest(leg), notification, now),
                Act::End { leg } => self.stream.end(guest(leg), now),
                Act::Probe => self.lifecycle.probe(now),
                Act::Mute => self.mute(now),
                Act::Unmute { heard } => self.unmute(&heard, now),
                Act::Cut => match self.stream.journal().trouble() {
                    None => self.giving.is_cut = true,
                    Some(detail) => {
                        self.giving.giver.uncut(&format!("the disk takes nothing: {detail}"), now);
                    }
                },
                Act::Hang => self.giving.hang(),
                Act::Failed { detail } => {
                    self.report
                        .record(&Observation::Handover(Handover::Failed { detail, ends: false }));
                }
            }
        }
    }

    /// Says where each topic is, and that the new process may begin.
    fn greet(&mut self, now: Time) {
        let topics = self.lifecycle.topics();
        let names = |topics: &mut dyn Iterator<Item = &Topic>| {
            topics.map(|topic| topic.name().to_owned()).collect()
        };
        let placed = topics
            .shards()
            .map(|id| Message::Placed { shard: id.0, topics: names(&mut topics.each_of(id)) });
        let placed: Vec<Message> = placed.collect();
        let token = self.lifecycle.login().token(now);
        let client = token.and_then(|token| self.genesys.client(token.id));
        let welcome = Welcome {
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: self.stream.journal().epoch().to_string(),
            client: client.map(|client| client.as_ref().into()),
            taken: self.giving.taken,
            combined: topics.is_combined(),
        };
        placed.into_iter().for_each(|message| self.giving.say(message));
        self.giving.say(Message::Welcome(welcome));
    }

    /// From now on the new process alone is heard.
    fn mute(&mut self, now: Time) {
        // What is still on its way to us counts for nothing from now on.
        let heard = self.own_heard(now);
        let at = self.clock.timestamp_of(now);
        let until = |shard| (shard, heard.get(&shard).map_or(at, |mark| mark.at));
        self.giving.own = self.lifecycle.shards().map(until).collect();
        self.giving.muted = true;
        let open = self.lifecycle.sessions().filter(|session| session.has_socket());
        for session in open.map(|session| session.id).collect::<Vec<_>>() {
            self.stream.end(session, now);
        }
        self.report.record(&Observation::Handover(Handover::Silent));
    }

    /// The new process is gone, and our own sessions count again. What they said meanwhile was not taken in, and is missing.
    fn unmute(&mut self, heard: &BTreeMap<u16, Timestamp>, now: Time) {
        self.giving.muted = false;
        let sessions = self.lifecycle.sessions().filter(|session| session.has_socket());
        let open: Vec<_> = sessions
            .map(|session| (session.id, session.shard.0, session.leg, session.is_whole()))
            .collect();
        for (session, shard, leg, _) in &open {
            self.stream.begin(*session, *shard, *leg, now);
        }
        let at = self.clock.timestamp_of(now);
        for shard in self.lifecycle.shards().collect::<Vec<_>>() {
            // Of what the new process had not heard by then, ours may have come earlier: by less than a hold.
            let heard = heard.get(&shard).map(|heard| heard.before(self.giving.giver.hold()));
            let own = self.giving.own.get(&shard).copied();
            let from = heard.max(own).unwrap_or(at);
            self.stream.open_gap(shard, HANDOVER, from, Vec::new());
            // Where no session carries all of its topics, the lifecycle says when one does again.
            if open.iter().any(|(_, of, _, whole)| *of == shard && *whole) {
                self.stream.close_gap(shard, at, "resumed", now);
            }
        }
    }

    /// Why the process must end, if it is cut off.
    pub(in crate::bridge) const fn is_cut(&self) -> Option<Ending> {
        if self.giving.is_cut { Some(Ending::HandedOver) } else { None }
    }

    /// The journal is closed. As soon as all of it is written the new process may go on, and this one is to end.
    pub(in crate::bridge) async fn hand_over(&mut self) {
        let (relayed, muted) = self.giving.giver.cut();
        let until = self.clock.now() + WRITTEN_WITHIN;
        while !self.stream.journal().is_written() && self.clock.now() < until {
            tokio::time::sleep(LOOK).await;
        }
        let mut is_told = self.stream.journal().is_written() && self.giving.is_heard();
        if let Some((_, voice)) = self.giving.link.as_ref().filter(|_| is_told) {
            let published = self.stream.published(self.clock.now());
            let ends_within = self.giving.drain + EPILOGUE;
            let cut = Message::Cut { relayed, muted, ends_within };
            let window = published.chunks(WINDOW).map(|known| Message::Window(known.to_vec()));
            let messages: Vec<Message> = window.chain([cut]).collect();
            is_told = said(voice.say.clone(), messages).await;
        }
        is_told &= self.giving.is_heard();
        // Where it could not be told, the new process takes this one's end for a restart, with its gap.
        let untold = || "the new process could not be told of the cut".to_owned();
        let came = match is_told {
            true => Handover::HandedOver { relayed },
            false => Handover::Failed { detail: untold(), ends: true },
        };
        self.report.record(&Observation::Handover(came));
        let pid = self.giving.pid.filter(|_| is_told);
        self.giving.handed.send_replace(Some(Successor { pid, is_told }));
    }
}

/// Says these, if the new process takes them in time.
async fn said(say: mpsc::Sender<Message>, messages: Vec<Message>) -> bool {
    let say = async {
        for message in messages {
            say.send(message).await?;
        }
        Ok::<(), mpsc::error::SendError<Message>>(())
    };
    matches!(timeout(WRITTEN_WITHIN, say).await, Ok(Ok(())))
}
