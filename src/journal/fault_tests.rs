//! A disk that fails, fills up and loses power, at every operation of a story one by one; what the journal has promised must hold.

use super::rehearsal::{Model, config, open};
use super::{Config, Journal, Reader, Sync};
use crate::clock::Clock;
use crate::event::{Entry, Kind, Marks, Notification, Topic};
use crate::size::Size;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// An event as a sink saw it.
type Sight = (String, String, u64, String);

/// What a sink saw, by position, and what became of the rest.
#[derive(Debug, Default)]
struct Told {
    seen: BTreeMap<u64, Sight>,
    acknowledged: u64,
    accepted: u64,
    refused: u64,
}

/// Small segments, so that a story of forty events has many of everything.
fn small(sync: Sync) -> Config {
    Config { segment_bytes: Size(900), sync_bytes: Size(700), sync, ..config() }
}

fn lazy() -> Config {
    small(Sync::Within(Duration::from_secs(3600)))
}

const EVENTS: u64 = 36;

fn entry(number: u64) -> Entry {
    let notification = Notification {
        topic: Topic::new(["a", "b", "c"][number as usize % 3]),
        body: format!("{number}").repeat(20).into(),
        correlation_id: None,
        received: Timestamp::from_micros(number + 1),
    };
    Entry::pushed(notification, Marks::default())
}

impl Told {
    /// Notes what the reader shows, and acknowledges the first `count` of it. What was seen before must be the same.
    async fn look(&mut self, reader: &mut Reader, count: usize) {
        let mut batch = Vec::new();
        reader.peek(100, &mut batch).await.expect("a disk that can be read");
        for record in &batch {
            let event = &record.event;
            let body = String::from_utf8_lossy(&event.body).into_owned();
            let sight =
                (event.epoch.to_string(), event.topic.key().to_owned(), record.number, body);
            let known = self.seen.entry(event.position).or_insert_with(|| sight.clone());
            assert_eq!(*known, sight, "position {} is another event", event.position);
        }
        let count = count.min(batch.len());
        reader.advance(count);
        reader.acknowledge(count);
        if let Some(last) = batch[..count].last() {
            self.acknowledged = self.acknowledged.max(last.event.position);
        }
        reader.rewind();
    }

    async fn look_at_all(&mut self, reader: &mut Reader) {
        while reader.unacknowledged() > 0 {
            let before = reader.unacknowledged();
            self.look(reader, 100).await;
            assert!(reader.unacknowledged() < before, "something is waited for that never comes");
        }
    }

    fn append(&mut self, journal: &mut Journal, number: u64) {
        let appended = journal.append(entry(number));
        if appended.is_accepted {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }

    fn hear_of_refused(&mut self, journal: &mut Journal) {
        for refused in journal.take_refused() {
            self.refused += refused.count;
            self.accepted -= refused.count;
        }
    }

    /// No number was used twice, and none is missing.
    fn judge(&self, what: &str) {
        let mut numbers: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
        for (epoch, key, number, _) in self.seen.values() {
            numbers.entry((epoch, key)).or_default().push(*number);
        }
        for (key, numbers) in numbers {
            let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
            assert_eq!(numbers, expected, "{what}: {key:?}");
        }
    }

    fn pushed(&self) -> u64 {
        self.seen.values().filter(|sight| sight.1 != "tieline.control").count() as u64
    }
}

/// The story: events come, a sink takes some of them now and then, the journal is closed. Ends early when the process is killed.
async fn play(disk: &Arc<Model>, config: &Config, killed: usize) -> Told {
    let mut told = Told::default();
    let (mut journal, mut readers, _) = open(config, disk, "boot", &["kafka"]);
    for number in 0..EVENTS {
        told.append(&mut journal, number);
        told.hear_of_refused(&mut journal);
        if disk.operations() > killed {
            return told;
        }
        told.look(&mut readers[0], usize::from(number % 4 == 3) * 3).await;
        journal.flush();
        told.hear_of_refused(&mut journal);
        if disk.operations() > killed {
            return told;
        }
    }
    drop(journal);
    told
}

#[tokio::test]
async fn killed_at_any_operation_nothing_that_was_shown_is_lost_or_numbered_anew() {
    for config in [lazy(), small(Sync::Always)] {
        let whole: Arc<Model> = Arc::default();
        play(&whole, &config, usize::MAX).await;
        assert!(whole.operations() > 60, "the story is long enough");
        for killed in 0..=whole.operations() {
            let disk: Arc<Model> = Arc::default();
            disk.die_at(killed);
            let told = play(&disk, &config, killed).await;
            outlived(told, &config, &disk.after_kill(), &format!("killed at {killed}")).await;
        }
    }
}

/// Checks that the next life of a process that was killed has all that its sink saw and had not acknowledged, and numbers anew nothing.
async fn outlived(mut told: Told, config: &Config, left: &Arc<Model>, what: &str) {
    let shown: Vec<u64> = told.seen.keys().copied().collect();
    let (mut journal, mut readers, found) = open(config, left, "boot", &["kafka"]);
    assert_eq!((found.renewed, found.lost.len()), (None, 0), "{what}");
    let mut again = Told::default();
    again.look_at_all(&mut readers[0]).await;
    for position in shown.iter().filter(|at| **at > told.acknowledged) {
        assert!(again.seen.contains_key(position), "{what}: {position} is lost");
    }
    // The cursor is kept with the next flush, so that what one look acknowledged is all that is offered again.
    let twice = again.seen.keys().filter(|at| **at <= told.acknowledged).count();
    assert!(twice <= 3, "{what}: {twice} are offered again");
    for number in 0..5 {
        again.append(&mut journal, number);
    }
    again.look_at_all(&mut readers[0]).await;
    for (position, sight) in again.seen {
        let known = told.seen.entry(position).or_insert_with(|| sight.clone());
        assert_eq!(*known, sight, "{what}");
    }
    told.judge(what);
}

#[tokio::test]
async fn killed_again_at_any_operation_of_the_next_start_nothing_is_lost_or_numbered_anew() {
    for config in [lazy(), small(Sync::Always)] {
        let whole: Arc<Model> = Arc::default();
        play(&whole, &config, usize::MAX).await;
        for killed in 0..=whole.operations() {
            let mut again = 0;
            loop {
                let disk: Arc<Model> = Arc::default();
                disk.die_at(killed);
                let told = play(&disk, &config, killed).await;
                let second = disk.after_kill();
                second.die_at(again);
                // It finds what there is, and ends at once.
                drop(open(&config, &second, "boot", &["kafka"]));
                let what = format!("killed at {killed}, and at {again} of the next start");
                outlived(told, &config, &second.after_kill(), &what).await;
                again += 1;
                if again > second.operations() {
                    assert!(again > 2, "a start changes something");
                    break;
                }
            }
        }
    }
}

/// What is written is on the disk within the interval: without another event, and without the bytes that would have it waited for sooner.
#[tokio::test]
async fn the_disk_is_waited_for_within_the_interval_and_not_for_each_event() {
    let kept = async |disk: &Arc<Model>| {
        let left = disk.after_power_cut(true, |_, _| false);
        let (_journal, mut readers, _) = open(&lazy(), &left, "another", &["kafka"]);
        let mut told = Told::default();
        told.look_at_all(&mut readers[0]).await;
        told.pushed()
    };
    let clock = Clock::start();
    for (interval, is_due) in [(Duration::from_millis(1), true), (Duration::from_secs(3600), false)]
    {
        let sync_bytes = Size(1 << 40);
        let config = Config { sync: Sync::Within(interval), sync_bytes, ..config() };
        let disk: Arc<Model> = Arc::default();
        let (mut journal, _readers, _) = open(&config, &disk, "boot", &["kafka"]);
        let mut told = Told::default();
        // A start is waited for; what follows is grouped.
        told.append(&mut journal, 0);
        journal.flush();
        let first = kept(&disk).await;
        told.append(&mut journal, 1);
        assert!(is_due || kept(&disk).await == first, "not for each event");
        let begun = clock.now();
        let mut looks = 0;
        while kept(&disk).await < 2 && (is_due || looks < 100) {
            assert!(clock.now().since(begun) < Duration::from_secs(30), "{interval:?} has passed");
            journal.flush();
            looks += 1;
        }
        assert_eq!(kept(&disk).await, if is_due { 2 } else { first }, "{interval:?}");
        assert_eq!(told.refused, 0);
    }
}

#[tokio::test]
async fn without_power_at_any_operation_no_number_is_used_twice_and_what_was_kept_is_delivered() {
    for config in [lazy(), small(Sync::Always)] {
        let whole: Arc<Model> = Arc::default();
        play(&whole, &config, usize::MAX).await;
        for cut in 0..=whole.operations() {
            for variant in 0..5 {
                let disk: Arc<Model> = Arc::default();
                disk.die_at(cut);
                let mut told = play(&disk, &config, cut).await;
                let left = disk.after_power_cut(variant != 1, |file, at| match variant {
                    0 | 1 => false,
                    2 => true,
                    3 => at % 512 < 300,
                    _ => file % 2 == 0,
                });
                let what = format!("cut at {cut}, variant {variant}, {:?}", config.sync);
                let (mut journal, mut readers, _) = open(&config, &left, "another", &["kafka"]);
                let mut again = Told::default();
                again.look_at_all(&mut readers[0]).await;
                if config.sync == Sync::Always {
                    for (position, sight) in told.seen.range(told.acknowledged + 1..) {
                        assert_eq!(again.seen.get(position), Some(sight), "{what}");
                    }
                }
                for number in 0..5 {
                    again.append(&mut journal, number);
                }
                again.look_at_all(&mut readers[0]).await;
                let mut used: BTreeMap<(String, String, u64), String> = BTreeMap::new();
                for (epoch, key, number, body) in told.seen.values().chain(again.seen.values()) {
                    let place = (epoch.clone(), key.clone(), *number);
                    let known = used.entry(place).or_insert_with(|| body.clone());
                    assert_eq!(known, body, "{what}: a number is used twice");
                }
                told.seen.clear();
            }
        }
    }
}

/// Plays the story on, and checks that each event was either delivered or counted as refused.
async fn all_is_accounted_for(disk: &Arc<Model>, config: &Config, what: &str) {
    let mut told = Told::default();
    let (mut journal, mut readers, _) = open(config, disk, "boot", &["kafka"]);
    for number in 0..EVENTS {
        told.append(&mut journal, number);
        told.hear_of_refused(&mut journal);
        told.look(&mut readers[0], usize::from(number % 4 == 3) * 3).await;
        journal.flush();
    }
    disk.fail(None);
    disk.room(None);
    // Two looks: one tells what was refused, the next finds the disk well.
    for _ in 0..3 {
        journal.flush();
        told.hear_of_refused(&mut journal);
    }
    assert_eq!(journal.trouble(), None, "{what}: it recovers by itself");
    told.append(&mut journal, EVENTS);
    told.look_at_all(&mut readers[0]).await;
    assert_eq!(told.pushed(), told.accepted, "{what}");
    assert_eq!(told.accepted + told.refused, EVENTS + 1, "{what}");
    told.judge(what);
    let epoch = journal.epoch();
    drop((journal, readers));
    let (journal, readers, found) = open(config, disk, "another", &["kafka"]);
    assert_eq!((found.renewed, journal.epoch()), (None, epoch), "{what}: it was closed");
    assert_eq!(readers[0].unacknowledged(), 0, "{what}");
}

#[tokio::test]
async fn any_operation_may_fail_once_and_every_event_is_delivered_or_counted() {
    for config in [lazy(), small(Sync::Always)] {
        let whole: Arc<Model> = Arc::default();
        play(&whole, &config, usize::MAX).await;
        // What fails while it is closed is told at the next start.
        for failing in 0..whole.operations() - 8 {
            for error in [ErrorKind::Other, ErrorKind::StorageFull] {
                let disk: Arc<Model> = Arc::default();
                disk.fail_at(failing, error);
                let what = format!("operation {failing} fails with {error}, {:?}", config.sync);
                all_is_accounted_for(&disk, &config, &what).await;
            }
        }
    }
}

#[tokio::test]
async fn a_disk_that_turns_read_only_refuses_new_events_and_comes_back() {
    for from in 0..40 {
        let disk: Arc<Model> = Arc::default();
        disk.fail_from(from, ErrorKind::ReadOnlyFilesystem);
        all_is_accounted_for(&disk, &lazy(), &format!("read-only from {from} on")).await;
    }
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_new_events_and_comes_back() {
    for room in (0..6_000).step_by(97) {
        let disk: Arc<Model> = Arc::default();
        disk.room(Some(room));
        all_is_accounted_for(&disk, &lazy(), &format!("{room} bytes")).await;
    }
}

#[tokio::test]
async fn what_is_our_own_waits_for_a_full_disk_and_is_not_refused() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, mut readers, _) = open(&lazy(), &disk, "boot", &["kafka"]);
    disk.fail(Some(ErrorKind::StorageFull));
    let mut told = Told::default();
    told.append(&mut journal, 1);
    told.hear_of_refused(&mut journal);
    let gap = Entry::own(Kind::GapOpened, Topic::control(), "{}".into(), Timestamp::default());
    assert!(journal.append(gap).is_accepted);
    told.append(&mut journal, 2);
    assert_eq!((told.accepted, told.refused), (0, 2));
    disk.fail(None);
    journal.flush();
    told.hear_of_refused(&mut journal);
    told.append(&mut journal, 3);
    told.look_at_all(&mut readers[0]).await;
    let bodies: Vec<&str> = told.seen.values().map(|sight| sight.3.as_str()).collect();
    assert_eq!(bodies, ["{}", &"3".repeat(20)], "the gap stands where the events are missing");
}

#[tokio::test]
async fn after_a_failed_sync_what_the_disk_may_lack_is_written_anew() {
    let disk: Arc<Model> = Arc::default();
    let eager = Config { sync_bytes: Size(1), ..lazy() };
    let (mut journal, readers, _) = open(&eager, &disk, "boot", &["kafka"]);
    let mut told = Told::default();
    told.append(&mut journal, 1);
    // A write, and then the wait for the disk.
    disk.fail_at(disk.operations() + 1, ErrorKind::Other);
    told.append(&mut journal, 2);
    told.append(&mut journal, 3);
    assert_eq!(journal.news().failures.len(), 1);
    assert_eq!(told.refused, 0, "memory had it all");
    // The disk has forgotten the first file's end; the second has a copy.
    let left = disk.after_power_cut(true, |_, _| false);
    drop((journal, readers));
    let (_journal, mut readers, _) = open(&eager, &left, "boot", &["kafka"]);
    let mut again = Told::default();
    again.look_at_all(&mut readers[0]).await;
    assert_eq!(again.pushed(), 3);
    again.judge("after a failed sync");
}

#[tokio::test]
async fn a_journal_that_another_process_goes_on_with_is_not_written_any_more() {
    let disk: Arc<Model> = Arc::default();
    let (mut journal, mut readers, _) = open(&lazy(), &disk, "boot", &["kafka"]);
    let mut told = Told::default();
    told.append(&mut journal, 0);
    // Where the lock did not hold: another process has begun the next segment.
    let (mut other, _other_readers, _) = open(&lazy(), &disk, "boot", &["kafka"]);
    for number in 1..20 {
        told.append(&mut journal, number);
        told.hear_of_refused(&mut journal);
    }
    assert!(journal.trouble().is_some(), "it finds the other's segment");
    assert!(told.refused > 0);
    assert!(other.append(entry(1)).is_accepted);
    journal.flush();
    told.hear_of_refused(&mut journal);
    assert!(journal.trouble().is_some(), "and does not try again");
    told.look(&mut readers[0], 0).await;
}

#[tokio::test]
async fn a_disk_that_writes_and_keeps_nothing_takes_no_more_than_memory_may_hold() {
    for config in [lazy(), small(Sync::Always)] {
        let disk: Arc<Model> = Arc::default();
        let (mut journal, mut readers, _) = open(&config, &disk, "boot", &["kafka"]);
        let mut told = Told::default();
        for number in 0..10 {
            told.append(&mut journal, number);
        }
        disk.keep_nothing(true);
        for number in 10..300 {
            told.append(&mut journal, number);
            told.hear_of_refused(&mut journal);
            told.look(&mut readers[0], 0).await;
            journal.flush();
        }
        assert!(journal.trouble().is_some(), "nothing new is accepted");
        assert!(told.refused > 270, "{told:?}");
        let unsynced = journal.shared.unsynced().len();
        assert!(unsynced < 30 && disk.files().len() < 10, "{unsynced}, {:?}", disk.files());
        disk.keep_nothing(false);
        for _ in 0..3 {
            journal.flush();
            told.hear_of_refused(&mut journal);
        }
        assert_eq!(journal.trouble(), None, "it recovers by itself");
        told.append(&mut journal, 300);
        told.look_at_all(&mut readers[0]).await;
        assert_eq!((told.pushed(), told.accepted + told.refused), (told.accepted, 301));
        told.judge("a disk that keeps nothing");
    }
}

#[tokio::test]
async fn without_power_soon_after_a_start_no_number_of_the_life_before_is_given_again() {
    for config in [lazy(), small(Sync::Always)] {
        let whole: Arc<Model> = Arc::default();
        play(&whole, &config, usize::MAX).await;
        let before = whole.operations();
        for cut in before..before + 40 {
            for names_kept in [false, true] {
                let disk: Arc<Model> = Arc::default();
                let mut told = play(&disk, &config, usize::MAX).await;
                disk.die_at(cut);
                let second = play(&disk, &config, cut).await;
                told.seen.extend(second.seen);
                let left = disk.after_power_cut(names_kept, |_, _| false);
                let (mut journal, mut readers, _) = open(&config, &left, "another", &["kafka"]);
                let mut again = Told::default();
                for number in 100..105 {
                    again.append(&mut journal, number);
                }
                again.look_at_all(&mut readers[0]).await;
                let mut used: BTreeMap<(String, String, u64), String> = BTreeMap::new();
                for (epoch, key, number, body) in told.seen.values().chain(again.seen.values()) {
                    let place = (epoch.clone(), key.clone(), *number);
                    let known = used.entry(place).or_insert_with(|| body.clone());
                    assert_eq!(known, body, "cut at {cut}: a number is used twice");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_placed_anew_is_not_refused_by_a_disk_that_is_full_meanwhile() {
    let disk: Arc<Model> = Arc::default();
    let mut told = Told::default();
    let (mut journal, mut readers, _) = open(&lazy(), &disk, "boot", &["kafka"]);
    for number in 0..10 {
        told.append(&mut journal, number);
    }
    let before = journal.epoch();
    // The file has room for its head alone.
    let mut renewal = Box::pin(readers[0].renew(None));
    let mut step = async |is_full: bool, rounds: usize| {
        disk.room(is_full.then_some(0));
        for _ in 0..rounds {
            let waiting = tokio::time::timeout(Duration::ZERO, &mut renewal).await;
            if waiting.is_ok() {
                return true;
            }
            journal.flush();
            assert_eq!(journal.take_refused(), [], "they were accepted");
        }
        false
    };
    assert!(!step(true, 20).await);
    assert!(step(false, 20).await, "it goes on when there is room");
    drop(renewal);
    assert!(journal.epoch().as_str() > before.as_str());
    told.look_at_all(&mut readers[0]).await;
    assert_eq!(told.pushed(), 10);
    told.judge("placed anew");
}
