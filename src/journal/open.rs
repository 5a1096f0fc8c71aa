//! Opens a journal: takes the lock, reads what is there, decides whether its epoch goes on, and starts the writer.

use super::lock::Lock;
use super::opening::{self, reason};
use super::recovery::{self, Recovered, Unsettled};
use super::shared::Shared;
use super::storage::{Folder, Storage};
use super::syncer::Syncer;
use super::tail::Tail;
use super::writer::{BEAT, Dirt, RETRY, Writer};
use super::{Config, Error, Journal, Reader, SINKS_MAX, Work};
use crate::clock::Clock;
use crate::event::Epoch;
use crate::sequence::Sequencer;
use crate::time::{Time, Timestamp};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// What a journal is opened with.
pub struct Opening<'a> {
    /// The `[journal]` table.
    pub config: Config,
    /// The journal lies in its folder `journal`, the lock beside that.
    pub data_dir: &'a Path,
    /// The sinks, each with a reader.
    pub sinks: &'a [&'static str],
    /// The process's clock.
    pub clock: Clock,
    /// Chance, for the names of epochs.
    pub salt: Box<dyn FnMut() -> u32 + Send>,
}

impl std::fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// What was found of an earlier life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The epoch before, if there was one.
    pub last_epoch: Option<String>,
    /// Why a new epoch begins, if an old one does not go on.
    pub renewed: Option<&'static str>,
    /// Whether the journal was closed as it should be.
    pub was_closed: bool,
    /// Events that wait for each sink.
    pub waiting: Vec<(&'static str, u64)>,
    /// Sinks that are not configured any more, and how many events they will never get.
    pub released: Vec<(String, u64)>,
    /// Sinks that begin at the journal's end.
    pub added: Vec<&'static str>,
    /// Bytes of torn writes that were cut off.
    pub torn_bytes: u64,
    /// Positions that are damaged or missing, the first and the last of each stretch.
    pub lost: Vec<(u64, u64)>,
    /// When the last event was received.
    pub last_received: Option<Timestamp>,
    /// When the last notification was.
    pub last_heard: Option<Timestamp>,
}

impl Opening<'_> {
    /// Opens it. The readers are in the order of the sinks.
    ///
    /// # Errors
    /// When another process has it, another version wrote it, or it cannot be read. A disk that is full is none: what is there is
    /// delivered, and new events are refused.
    pub fn open(self) -> Result<(Journal, Vec<Reader>, Found), Error> {
        std::fs::create_dir_all(self.data_dir)?;
        let lock = Lock::take(self.data_dir)?;
        let folder: Arc<dyn Storage> = Arc::new(Folder::new(self.data_dir.join("journal"))?);
        let clock = self.clock;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let (mut writer, found) = self.prepare(Arc::clone(&folder), boot.trim())?;
        let shared = Arc::clone(&writer.shared);
        writer.syncer = Some(Syncer::start(Arc::clone(&shared), folder, clock)?);
        let work = thread::Builder::new().name("journal".into()).spawn(move || writer.run())?;
        let readers = readers(&shared);
        let mut journal = Journal { shared, writer: Work::Thread(Some(work)), _lock: Some(lock) };
        if journal.shared.began == 0 {
            // Also where a process died before it had said so.
            journal.append(opening::first(&journal.epoch(), clock.timestamp()));
        }
        Ok((journal, readers, found))
    }

    /// Everything but the lock and the threads.
    pub(super) fn prepare(
        mut self,
        storage: Arc<dyn Storage>,
        boot: &str,
    ) -> Result<(Writer, Found), Error> {
        if self.sinks.len() > SINKS_MAX {
            return Err(Error::Sinks(self.sinks.len()));
        }
        let recovered = recovery::recover(&*storage, boot)?;
        let found = self.found(&recovered, boot);
        let sequencer = match recovered.segments.last() {
            Some(last) => recovery::numbers(last, self.sinks)?,
            None => Sequencer::default(),
        };
        let epoch = match &recovered.last {
            Some(head) => Epoch::named(&head.epoch),
            None => Epoch::new(self.clock.timestamp(), (self.salt)()),
        };
        let tails = self.tails(&recovered);
        let kept = if recovered.is_clean { Ok(()) } else { keep(&recovered, &*storage) };
        let (segments, count) = (recovered.segments, found.waiting.len());
        let (bytes, files) = (recovered.bytes, segments.len() as u64);
        let shared = Arc::new(Shared::new(self.config, tails, segments, recovered.position));
        {
            let mut facts = shared.facts();
            (facts.bytes, facts.segments) = (bytes, files);
            if let Err(error) = kept {
                facts.failed("sync", error.to_string());
            }
            facts.epoch = Some(epoch.clone());
        }
        let mut writer = Writer {
            shared,
            storage,
            clock: self.clock,
            salt: self.salt,
            boot: boot.to_owned(),
            epoch,
            position: recovered.position,
            sequencer,
            renew: found.renewed,
            renumbering: None,
            next: recovered.next,
            segment: None,
            fenced: false,
            buffer: Vec::new(),
            dirt: Dirt::default(),
            syncer: None,
            cursors: vec![0; count],
            cursors_at: Time::START,
            retry_at: Time::START,
            beat: BEAT,
            retry: RETRY,
        };
        if let Err(error) = writer.roll(false) {
            writer.fail("open", &error, Vec::new());
        }
        Ok((writer, found))
    }

    fn found(&self, recovered: &Recovered, boot: &str) -> Found {
        let last = recovered.last.as_ref();
        let named =
            |sink: &str| last.is_some_and(|head| head.sinks.iter().any(|(name, _)| name == sink));
        let added: Vec<&'static str> =
            self.sinks.iter().copied().filter(|sink| !named(sink)).collect();
        let is_same_boot = last.is_some_and(|head| !boot.is_empty() && head.boot == boot);
        let renewed = match last {
            None => None,
            Some(_) if !recovered.lost.is_empty() => Some(reason::DAMAGED),
            Some(_) if !recovered.is_clean && !is_same_boot => Some(reason::UNCLEAN),
            Some(_) if !added.is_empty() => Some(reason::SINK_ADDED),
            Some(_) => None,
        };
        let gone =
            |sink: &&Unsettled| named(&sink.name) && !self.sinks.contains(&sink.name.as_str());
        let waiting = |sink: &&'static str| {
            let known = recovered.sinks.iter().find(|known| known.name == *sink && named(sink));
            (*sink, known.map_or(0, |known| known.events))
        };
        Found {
            last_epoch: last.map(|head| head.epoch.clone()),
            renewed,
            was_closed: recovered.is_clean,
            waiting: self.sinks.iter().map(waiting).collect(),
            released: recovered
                .sinks
                .iter()
                .filter(gone)
                .map(|sink| (sink.name.clone(), sink.events))
                .collect(),
            added: if last.is_some() { added } else { Vec::new() },
            torn_bytes: recovered.torn,
            lost: recovered.lost.clone(),
            last_received: recovered.received,
            last_heard: recovered.heard,
        }
    }

    fn tails(&self, recovered: &Recovered) -> Vec<Tail> {
        let named = |sink: &str| {
            let last = recovered.last.as_ref();
            last.is_some_and(|head| head.sinks.iter().any(|(name, _)| name == sink))
        };
        let tail = |sink: &&'static str| {
            let most = self.config.max_bytes.0;
            // One that was away begins at the end, as a new one does: what came meanwhile was not for it.
            let known = recovered.sinks.iter().find(|known| known.name == *sink && named(sink));
            let tail =
                Tail::new(sink, most, known.map_or(recovered.position, |known| known.cursor));
            if let Some(known) = known {
                tail.restore(known.events, known.bytes);
            }
            tail
        };
        self.sinks.iter().map(tail).collect()
    }
}

/// Has the disk keep what a process left that was killed: the system has it all, and nobody waited for the last of it. A power cut would
/// cost more of it than `journal.sync` says.
fn keep(recovered: &Recovered, storage: &dyn Storage) -> io::Result<()> {
    recovered.segments.iter().try_for_each(|segment| segment.page.sync())?;
    storage.sync_folder()
}

/// A reader for each sink.
pub(super) fn readers(shared: &Arc<Shared>) -> Vec<Reader> {
    (0..shared.tails.len()).map(|sink| Reader::new(Arc::clone(shared), sink)).collect()
}
