//! By chance: three sinks, each with what its filter takes, over lives that end in every way, on a disk that fails, fills up and loses
//! power again and again. Numbers have no hole and are not used twice, and what was accepted is delivered, but for what the rules give up.

use super::rehearsal::{Model, block_on, config, open};
use super::shared::Written;
use super::{Config, Journal, Reader, Sync};
use crate::event::{Entry, Marks, Notification, Topic};
use crate::route::Wanted;
use crate::sink::Record;
use crate::size::Size;
use crate::time::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

const SINKS: [&str; 3] = ["jsonl", "kafka", "nats"];

/// What is left of bytes that nobody waited for.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    All,
    /// The beginnings of blocks.
    Torn,
    /// Those of every other file.
    Some,
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed { reboots: bool },
    Killed,
    Powerless { names_kept: bool, left: Left },
}

#[derive(Clone, Debug)]
enum Step {
    /// An event of a key, for the sinks whose bits are set.
    Append {
        key: usize,
        takers: u8,
    },
    /// A sink is shown so many, and settles some of them.
    Look {
        sink: usize,
        shown: usize,
        settled: usize,
    },
    Flush,
    Fail(Option<ErrorKind>),
    Room(Option<usize>),
    KeepNothing(bool),
    /// The process ends in the midst of what it does to the disk, after so many operations more.
    Dies(usize),
    End(End),
}

fn end() -> impl Strategy<Value = End> {
    let left = proptest::sample::select(vec![Left::Nothing, Left::All, Left::Torn, Left::Some]);
    let powerless = (any::<bool>(), left);
    prop_oneof![
        1 => any::<bool>().prop_map(|reboots| End::Closed { reboots }),
        2 => Just(End::Killed),
        3 => powerless.prop_map(|(names_kept, left)| End::Powerless { names_kept, left }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let errors = [None, None, Some(ErrorKind::Other), Some(ErrorKind::StorageFull)];
    let look = (0..SINKS.len(), 1_usize..8, 0_usize..8);
    prop_oneof![
        16 => (0_usize..3, 0_u8..8).prop_map(|(key, takers)| Step::Append { key, takers }),
        8 => look.prop_map(|(sink, shown, settled)| Step::Look { sink, shown, settled }),
        3 => Just(Step::Flush),
        1 => proptest::sample::select(errors.to_vec()).prop_map(Step::Fail),
        1 => proptest::option::weighted(0.3, 0_usize..9_000).prop_map(Step::Room),
        1 => proptest::bool::weighted(0.3).prop_map(Step::KeepNothing),
        1 => (0_usize..12).prop_map(Step::Dies),
        3 => end().prop_map(Step::End),
    ]
}

/// What one sink was promised and has seen, over all lives.
#[derive(Debug, Default)]
struct Book {
    /// Accepted, and not settled.
    due: BTreeSet<u64>,
    /// Of these, what a power cut may have cost.
    doubtful: BTreeSet<u64>,
    /// By epoch, key and number.
    seen: BTreeMap<(String, String, u64), String>,
}

/// The world in which a journal lives again and again.
struct World {
    config: Config,
    disk: Arc<Model>,
    boots: u32,
    /// The operation at which the process dies.
    dies_at: usize,
    /// What the disk did not have before that.
    unsure: Vec<(usize, u64)>,
    events: u64,
    life: Option<(Journal, Vec<Reader>)>,
    books: [Book; 3],
    /// Epochs of which something was damaged, as was named.
    damaged: BTreeSet<String>,
}

impl World {
    fn new(config: Config) -> Self {
        let mut world = Self {
            config,
            disk: Arc::default(),
            boots: 1,
            dies_at: usize::MAX,
            unsure: Vec::new(),
            events: 0,
            life: None,
            books: Default::default(),
            damaged: BTreeSet::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let boot = format!("boot {}", self.boots);
        let (journal, readers, found) = open(&self.config, &self.disk, &boot, &SINKS);
        if !found.lost.is_empty() {
            let seen = self.books.iter().flat_map(|book| book.seen.keys());
            self.damaged.extend(seen.map(|(epoch, _, _)| epoch.clone()).chain(found.last_epoch));
        }
        self.dies_at = usize::MAX;
        self.life = Some((journal, readers));
    }

    /// Whether the process talks to nobody any more.
    fn is_dead(&self) -> bool {
        self.disk.operations() > self.dies_at
    }

    fn life(&mut self) -> &mut (Journal, Vec<Reader>) {
        self.life.as_mut().expect("a journal")
    }

    async fn take(&mut self, step: &Step) {
        let (was_dead, unsynced) = (self.is_dead(), self.unsynced());
        self.perform(step).await;
        if !was_dead && self.is_dead() {
            // Whatever it hears of the disk since then is not so.
            self.unsure = unsynced;
        }
    }

    /// What the disk may not have, and whose it is. An epoch's own event may be on its way at any time.
    fn unsynced(&mut self) -> Vec<(usize, u64)> {
        let unsynced = self.life().0.shared.unsynced().into_iter();
        let of_sinks = |one: Written| {
            let sinks = (0..SINKS.len()).filter(move |sink| one.numbers[*sink] > 0);
            id(&one.event.body)
                .into_iter()
                .flat_map(move |id| sinks.clone().map(move |sink| (sink, id)))
        };
        unsynced.flat_map(of_sinks).collect()
    }

    async fn perform(&mut self, step: &Step) {
        match *step {
            Step::End(End::Closed { .. }) if self.is_dead() => self.end(End::Killed),
            Step::End(end) => self.end(end),
            _ if self.is_dead() => {}
            Step::Append { key, takers } => self.append(key, takers),
            Step::Look { sink, shown, settled } => {
                self.look(sink, shown, settled).await;
            }
            Step::Flush => {
                self.life().0.flush();
                assert_eq!(self.life().0.take_refused(), [], "nothing was waiting");
            }
            Step::Fail(error) => self.disk.fail(error),
            Step::Room(bytes) => self.disk.room(bytes),
            Step::KeepNothing(keeps_nothing) => self.disk.keep_nothing(keeps_nothing),
            Step::Dies(operations) => {
                self.dies_at = self.disk.operations() + operations;
                self.disk.die_at(self.dies_at);
            }
        }
    }

    fn append(&mut self, key: usize, takers: u8) {
        self.events += 1;
        let id = self.events;
        let notification = Notification {
            topic: Topic::new(["a", "b", "c"][key]),
            body: format!("{id:060}").into(),
            correlation_id: None,
            received: Timestamp::from_micros(id),
        };
        let mut wanted = Wanted::ALL;
        for sink in (0..SINKS.len()).filter(|sink| takers & 1 << sink == 0) {
            wanted = wanted.without(sink);
        }
        let (journal, _) = self.life();
        let appended = journal.append_for(wanted, Entry::pushed(notification, Marks::default()));
        // It is written at once, or refused: nothing else waits.
        let mut refused = appended.refused_by;
        refused.extend(journal.take_refused().iter().map(|refused| refused.sink));
        for (sink, name) in SINKS.iter().enumerate() {
            if appended.is_accepted && wanted.by(sink) && !refused.contains(name) {
                self.books[sink].due.insert(id);
            }
        }
        if self.is_dead() {
            // Nobody saw it.
            for book in &mut self.books {
                book.due.remove(&id);
            }
        }
    }

    async fn look(&mut self, sink: usize, shown: usize, settled: usize) -> usize {
        let mut batch = Vec::new();
        let reader = &mut self.life().1[sink];
        reader.peek(shown, &mut batch).await.expect("a disk that can be read");
        let settled = settled.min(batch.len());
        reader.advance(settled);
        reader.acknowledge(settled);
        reader.rewind();
        let book = &mut self.books[sink];
        for record in &batch {
            book.see(record);
        }
        for record in &batch[..settled] {
            book.settle(record);
        }
        settled
    }

    fn end(&mut self, end: End) {
        let unsynced = if self.is_dead() { self.unsure.clone() } else { self.unsynced() };
        let (journal, readers) = self.life.take().expect("a journal");
        if let End::Powerless { .. } = end {
            let is_safe = self.config.sync != Sync::Always || unsynced.is_empty();
            assert!(is_safe, "the disk has all that is shown");
            for (sink, id) in unsynced {
                self.books[sink].doubtful.insert(id);
            }
        }
        self.disk = match end {
            End::Closed { reboots } => {
                self.boots += u32::from(reboots);
                drop(journal);
                let left = self.disk.after_kill();
                drop(readers);
                left
            }
            End::Killed => self.disk.after_kill(),
            End::Powerless { names_kept, left } => {
                self.boots += 1;
                self.disk.after_power_cut(names_kept, |file, at| match left {
                    Left::Nothing => false,
                    Left::All => true,
                    Left::Torn => at % 512 < 300,
                    Left::Some => file % 2 == 0,
                })
            }
        };
        self.begin();
    }

    /// The disk is well, and everybody takes what there is.
    async fn settle(&mut self) {
        if self.is_dead() {
            self.end(End::Killed);
        }
        self.disk.fail(None);
        self.disk.room(None);
        self.disk.keep_nothing(false);
        for _ in 0..3 {
            self.life().0.flush();
            self.life().0.take_refused();
        }
        assert_eq!(self.life().0.trouble(), None, "it recovers by itself");
        for (sink, name) in SINKS.iter().enumerate() {
            while self.look(sink, 100, 100).await > 0 {}
            assert_eq!(self.life().1[sink].unacknowledged(), 0, "of {name}");
        }
    }

    fn judge(&self) {
        for (sink, book) in SINKS.iter().zip(&self.books) {
            let lost: Vec<&u64> = book.due.difference(&book.doubtful).collect();
            assert!(lost.is_empty(), "{sink} never had {lost:?}, which were accepted");
            let mut numbers: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
            for (epoch, key, number) in book.seen.keys() {
                numbers.entry((epoch, key)).or_default().push(*number);
            }
            for ((epoch, key), numbers) in numbers {
                let whole: Vec<u64> = (1..=numbers.len() as u64).collect();
                let is_damaged = self.damaged.contains(epoch);
                assert!(numbers == whole || is_damaged, "{sink}, {key} in {epoch}: {numbers:?}");
            }
        }
    }
}

fn id(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.parse().ok()
}

impl Book {
    fn see(&mut self, record: &Record) {
        let event = &record.event;
        let place = (event.epoch.to_string(), event.topic.key().to_owned(), record.number);
        let body = String::from_utf8_lossy(&event.body).into_owned();
        let known = self.seen.entry(place).or_insert_with(|| body.clone());
        assert_eq!(*known, body, "number {} of {} is used twice", record.number, event.topic.key());
    }

    fn settle(&mut self, record: &Record) {
        if let Some(id) = id(&record.event.body) {
            self.due.remove(&id);
        }
    }
}

async fn play(steps: &[Step], sync: Sync, max_bytes: u64) {
    let (segment_bytes, sync_bytes) = (Size(900), Size(700));
    let max_bytes = Size(max_bytes);
    let mut world = World::new(Config { segment_bytes, sync_bytes, sync, max_bytes, ..config() });
    for step in steps {
        world.take(step).await;
    }
    world.settle().await;
    world.judge();
}

proptest! {
    #[test]
    fn numbers_have_no_hole_and_are_used_once_and_what_was_accepted_is_delivered(
        steps in proptest::collection::vec(step(), 1..160),
        is_careful in any::<bool>(),
        is_bound in any::<bool>(),
    ) {
        let max_bytes = if is_bound { 3_000 } else { 1 << 20 };
        run(&steps, if is_careful { Sync::Always } else { LAZY }, max_bytes);
    }
}

const LAZY: Sync = Sync::Within(Duration::from_secs(3600));

fn run(steps: &[Step], sync: Sync, max_bytes: u64) {
    block_on(play(steps, sync, max_bytes));
}

#[test]
fn what_a_killed_process_wrote_outlives_a_power_cut_once_the_next_one_has_begun() {
    let cut = End::Powerless { names_kept: false, left: Left::Nothing };
    let steps = [Step::Append { key: 0, takers: 7 }, Step::End(End::Killed), Step::End(cut)];
    run(&steps, LAZY, 1 << 20);
}
