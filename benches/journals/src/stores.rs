//! The stores that are compared, each behind the same few calls; how each is used is as its documentation advises.
//!
//! Errors end the run: this measures, and stores nothing that anybody needs.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// What the journal needs of a store.
pub trait Store {
    fn append(&mut self, index: u64, event: &[u8]);
    /// Everything appended is on the disk afterwards.
    fn commit(&mut self);
    /// Shows the events from `from` up to, without, `to`.
    fn read(&mut self, from: u64, to: u64, visit: &mut dyn FnMut(&[u8]));
    /// Events before `before` are not needed any more.
    fn trim(&mut self, before: u64);
}

pub type Open = fn(&Path) -> Box<dyn Store>;

pub const ALL: &[(&str, Open)] = &[
    ("segments", |dir| Box::new(Segments::open(dir).expect("segments"))),
    ("fjall", |dir| Box::new(Fjall::open(dir))),
    ("redb", |dir| Box::new(Redb::open(dir))),
    ("raft-engine", |dir| Box::new(Raft::open(dir))),
    ("okaywal", |dir| Box::new(Okay::open(dir))),
];

/// A log in files of 8 MiB: length, checksum, event. What is young is read from memory.
struct Segments {
    dir: PathBuf,
    /// First index, file, and where in it each event begins.
    files: VecDeque<(u64, File, Vec<u32>)>,
    buffer: Vec<u8>,
    length: u64,
}

const SEGMENT: u64 = 8 << 20;

impl Segments {
    fn open(dir: &Path) -> io::Result<Self> {
        let mut names: Vec<PathBuf> = std::fs::read_dir(dir)?
            .map(|entry| entry.map(|it| it.path()))
            .collect::<io::Result<_>>()?;
        names.sort();
        let mut files = VecDeque::new();
        let mut length = 0;
        for name in names {
            let mut file = OpenOptions::new().read(true).append(true).open(&name)?;
            let first = name
                .file_name()
                .and_then(|it| it.to_str())
                .and_then(|it| it.parse().ok())
                .unwrap_or(0);
            let (mut text, mut starts, mut at) = (Vec::new(), Vec::new(), 0);
            file.read_to_end(&mut text)?;
            while let Some(head) = text.get(at..at + 12) {
                let size = u32::from_le_bytes(head[..4].try_into().expect("four")) as usize;
                let Some(event) = text.get(at + 12..at + 12 + size) else { break };
                if xxh3_64(event).to_le_bytes() != head[4..] {
                    break;
                }
                starts.push(at as u32);
                at += 12 + size;
            }
            length = at as u64;
            files.push_back((first, file, starts));
        }
        Ok(Self { dir: dir.into(), files, buffer: Vec::new(), length })
    }

    fn write(&mut self) {
        if let Some((_, file, _)) = self.files.back_mut() {
            file.write_all(&self.buffer).expect("written");
        }
        self.buffer.clear();
    }
}

impl Store for Segments {
    fn append(&mut self, index: u64, event: &[u8]) {
        if self.files.is_empty() || self.length >= SEGMENT {
            self.commit();
            let path = self.dir.join(format!("{index:020}"));
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .open(path)
                .expect("a segment");
            File::open(&self.dir).and_then(|dir| dir.sync_all()).expect("the folder on the disk");
            self.files.push_back((index, file, Vec::new()));
            self.length = 0;
        }
        if let Some((_, _, starts)) = self.files.back_mut() {
            starts.push(self.length as u32);
        }
        self.buffer.extend_from_slice(&(event.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&xxh3_64(event).to_le_bytes());
        self.buffer.extend_from_slice(event);
        self.length += 12 + event.len() as u64;
        if self.buffer.len() >= 64 << 10 {
            self.write();
        }
    }

    fn commit(&mut self) {
        self.write();
        if let Some((_, file, _)) = self.files.back() {
            file.sync_data().expect("on the disk");
        }
    }

    fn read(&mut self, from: u64, to: u64, visit: &mut dyn FnMut(&[u8])) {
        let mut block = Vec::new();
        for (first, file, starts) in &self.files {
            let begin = (from.max(*first) - first) as usize;
            let end = (to.saturating_sub(*first) as usize).min(starts.len());
            if begin >= end {
                continue;
            }
            let base = starts[begin] as usize;
            let until = match starts.get(end) {
                Some(start) => *start as usize,
                None => file.metadata().expect("its length").len() as usize,
            };
            block.resize(until - base, 0);
            file.read_exact_at(&mut block, base as u64).expect("read");
            let mut at = 0;
            for _ in begin..end {
                let size = u32::from_le_bytes(block[at..at + 4].try_into().expect("four")) as usize;
                visit(&block[at + 12..at + 12 + size]);
                at += 12 + size;
            }
        }
    }

    fn trim(&mut self, before: u64) {
        while self.files.get(1).is_some_and(|(first, _, _)| *first <= before) {
            if let Some((first, _, _)) = self.files.pop_front() {
                std::fs::remove_file(self.dir.join(format!("{first:020}"))).expect("removed");
            }
        }
    }
}

/// An LSM tree with a journal of its own.
struct Fjall {
    database: fjall::Database,
    events: fjall::Keyspace,
    trimmed: u64,
}

impl Fjall {
    fn open(dir: &Path) -> Self {
        let database = fjall::Database::builder(dir.join("fjall")).open().expect("fjall");
        let events =
            database.keyspace("events", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
        Self { database, events, trimmed: 0 }
    }
}

impl Store for Fjall {
    fn append(&mut self, index: u64, event: &[u8]) {
        self.events.insert(index.to_be_bytes(), event).expect("inserted");
    }

    fn commit(&mut self) {
        self.database.persist(fjall::PersistMode::SyncData).expect("on the disk");
    }

    fn read(&mut self, from: u64, to: u64, visit: &mut dyn FnMut(&[u8])) {
        for pair in self.events.range(from.to_be_bytes()..to.to_be_bytes()) {
            visit(&pair.value().expect("a value"));
        }
    }

    fn trim(&mut self, before: u64) {
        for index in self.trimmed..before {
            self.events.remove(index.to_be_bytes()).expect("removed");
        }
        self.trimmed = self.trimmed.max(before);
    }
}

/// A copy-on-write B-tree.
struct Redb {
    database: redb::Database,
    waiting: Vec<(u64, Vec<u8>)>,
}

const TABLE: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("events");

impl Redb {
    fn open(dir: &Path) -> Self {
        Self {
            database: redb::Database::create(dir.join("redb")).expect("redb"),
            waiting: Vec::new(),
        }
    }
}

impl Store for Redb {
    fn append(&mut self, index: u64, event: &[u8]) {
        self.waiting.push((index, event.to_vec()));
    }

    fn commit(&mut self) {
        let transaction = self.database.begin_write().expect("a transaction");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for (index, event) in self.waiting.drain(..) {
                table.insert(index, event.as_slice()).expect("inserted");
            }
        }
        transaction.commit().expect("on the disk");
    }

    fn read(&mut self, from: u64, to: u64, visit: &mut dyn FnMut(&[u8])) {
        use redb::ReadableDatabase;
        let transaction = self.database.begin_read().expect("a transaction");
        let table = transaction.open_table(TABLE).expect("a table");
        for pair in table.range(from..to).expect("a range") {
            visit(pair.expect("a pair").1.value());
        }
    }

    fn trim(&mut self, before: u64) {
        let transaction = self.database.begin_write().expect("a transaction");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            table.retain_in(..before, |_, _| false).expect("removed");
        }
        transaction.commit().expect("on the disk");
    }
}

/// TiKV's log for many Raft groups, here with one.
struct Raft {
    engine: raft_engine::Engine,
    batch: raft_engine::LogBatch,
    waiting: Vec<protobuf::well_known_types::BytesValue>,
}

struct Indexed;

impl raft_engine::MessageExt for Indexed {
    type Entry = protobuf::well_known_types::BytesValue;

    fn index(entry: &Self::Entry) -> u64 {
        u64::from_be_bytes(entry.value[..8].try_into().expect("eight"))
    }
}

impl Raft {
    fn open(dir: &Path) -> Self {
        let config = raft_engine::Config {
            dir: dir.join("raft").display().to_string(),
            target_file_size: raft_engine::ReadableSize::mb(8),
            purge_threshold: raft_engine::ReadableSize::mb(64),
            ..raft_engine::Config::default()
        };
        Self {
            engine: raft_engine::Engine::open(config).expect("raft-engine"),
            batch: Default::default(),
            waiting: Vec::new(),
        }
    }
}

impl Store for Raft {
    fn append(&mut self, _: u64, event: &[u8]) {
        let mut entry = protobuf::well_known_types::BytesValue::new();
        entry.set_value(event.to_vec());
        self.waiting.push(entry);
    }

    fn commit(&mut self) {
        self.batch.add_entries::<Indexed>(1, &self.waiting).expect("added");
        self.waiting.clear();
        self.engine.write(&mut self.batch, true).expect("on the disk");
    }

    fn read(&mut self, from: u64, to: u64, visit: &mut dyn FnMut(&[u8])) {
        let mut entries = Vec::new();
        self.engine.fetch_entries_to::<Indexed>(1, from, to, None, &mut entries).expect("read");
        entries.iter().for_each(|entry| visit(&entry.value));
    }

    fn trim(&mut self, before: u64) {
        self.engine.compact_to(1, before);
        self.engine.purge_expired_files().expect("purged");
    }
}

/// A write-ahead log whose segments are recycled when its owner has checkpointed them: it cannot keep them for a slow reader, so that
/// what it shows is the price of appending and reading alone.
struct Okay {
    log: okaywal::WriteAheadLog,
    waiting: Vec<Vec<u8>>,
    places: std::collections::HashMap<u64, okaywal::LogPosition>,
    next: u64,
}

impl Okay {
    fn open(dir: &Path) -> Self {
        let log = okaywal::Configuration::default_for(dir.join("okay"))
            .checkpoint_after_bytes(u64::MAX)
            .open(okaywal::LogVoid)
            .expect("okaywal");
        Self { log, waiting: Vec::new(), places: Default::default(), next: 0 }
    }
}

impl Store for Okay {
    fn append(&mut self, _: u64, event: &[u8]) {
        self.waiting.push(event.to_vec());
    }

    fn commit(&mut self) {
        let mut entry = self.log.begin_entry().expect("an entry");
        for event in self.waiting.drain(..) {
            let chunk = entry.write_chunk(&event).expect("written");
            self.places.insert(self.next, chunk.position);
            self.next += 1;
        }
        entry.commit().expect("on the disk");
    }

    fn read(&mut self, from: u64, to: u64, visit: &mut dyn FnMut(&[u8])) {
        let mut event = Vec::new();
        for index in from..to {
            let Some(place) = self.places.get(&index) else { continue };
            let Ok(mut chunk) = self.log.read_at(*place) else { continue };
            event.clear();
            if chunk.read_to_end(&mut event).is_ok() {
                visit(&event);
            }
        }
    }

    fn trim(&mut self, before: u64) {
        self.places.retain(|index, _| *index >= before);
    }
}
