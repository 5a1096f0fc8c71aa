//! Two sinks, one of which takes only what its filter accepts: whichever of them is away, and whatever becomes of the process and the disk
//! meanwhile, what a sink wants is accepted for it and delivered, or refused and counted. And who lives is not refused for who is away.

use super::rehearsal::{Model, block_on, config, open};
use super::{Config, Journal, Reader};
use crate::event::{Entry, Kind, Marks, Notification, Topic};
use crate::route::{Filter, Routes};
use crate::size::Size;
use crate::time::Timestamp;
use proptest::prelude::*;
use std::io::ErrorKind;
use std::sync::Arc;

const SINKS: [&str; 2] = ["kafka", "nats"];

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// What the second sink takes.
const FILTER: &str = r#"event.topic != "b""#;

#[derive(Clone, Debug)]
enum Step {
    /// An event of that topic and length comes. Who lives takes it at once, where it is there.
    Append(usize, usize),
    /// Who is mostly away takes so many of what it has to get.
    Take(usize),
    /// The process is killed, and another begins.
    Kill,
    /// The disk takes nothing from now on.
    Fail,
    /// It does again.
    Mend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..TOPICS.len(), 0..400_usize).prop_map(|(topic, length)| Step::Append(topic, length)),
        2 => (1..4_usize).prop_map(Step::Take),
        1 => Just(Step::Kill),
        1 => Just(Step::Fail),
        2 => Just(Step::Mend),
    ]
}

/// What became of the events that one sink wants, by its own reckoning.
#[derive(Debug, Default)]
struct Account {
    wanted: usize,
    refused: usize,
    /// Those that the journal has accepted for it: topic, and what the body says.
    accepted: Vec<(usize, u64)>,
    /// So many of them are acknowledged.
    acknowledged: usize,
    /// Which comes next; not known where the process has just begun, as it may offer again what was acknowledged last.
    next: Option<usize>,
}

struct Desk {
    disk: Arc<Model>,
    journal: Journal,
    readers: Vec<Reader>,
    routes: Routes,
    accounts: [Account; 2],
    /// The place of the sink that lives.
    lives: usize,
    events: u64,
}

/// So small that four events fill a sink, and that there are many segments.
fn small() -> Config {
    Config { max_bytes: Size(2_000), segment_bytes: Size(900), sync_bytes: Size(700), ..config() }
}

impl Desk {
    fn new(lives: usize) -> Self {
        let disk: Arc<Model> = Arc::default();
        let (journal, readers, _) = open(&small(), &disk, "boot", &SINKS);
        let filter = Filter::parse(FILTER).expect("a good filter");
        let routes = Routes::new(vec![None, Some(filter)]);
        Self { disk, journal, readers, routes, accounts: Default::default(), lives, events: 0 }
    }

    async fn play(&mut self, step: &Step) {
        match *step {
            Step::Append(topic, length) => {
                self.append(topic, length);
                self.take(self.lives, usize::MAX).await;
            }
            Step::Take(count) => self.take(1 - self.lives, count).await,
            Step::Kill => {
                self.kill();
                // What it is offered again counts as waiting until then.
                self.take(self.lives, usize::MAX).await;
            }
            Step::Fail => self.disk.fail(Some(ErrorKind::StorageFull)),
            Step::Mend => self.mend(),
        }
    }

    fn append(&mut self, topic: usize, length: usize) {
        self.events += 1;
        let notification = Notification {
            topic: Topic::new(TOPICS[topic]),
            body: format!("{}{}", self.events, " ".repeat(length)).into(),
            correlation_id: None,
            received: Timestamp::from_micros(self.events),
        };
        let wanted = self.routes.wanted(&notification, Marks::default());
        let entry = Entry::pushed(notification, Marks::default());
        let appended = self.journal.append_for(wanted, entry);
        for (place, account) in self.accounts.iter_mut().enumerate() {
            if !wanted.by(place) {
                continue;
            }
            account.wanted += 1;
            if appended.refused_by.contains(&SINKS[place]) {
                account.refused += 1;
                assert!(appended.by_disk || place != self.lives, "{} has room", SINKS[place]);
            } else {
                account.accepted.push((topic, self.events));
            }
        }
        self.hear_of_refused();
    }

    /// What was accepted and then could not be written counts as refused; nobody has seen it.
    fn hear_of_refused(&mut self) {
        for refused in self.journal.take_refused() {
            let place = SINKS.iter().position(|sink| *sink == refused.sink).expect("a sink");
            let account = &mut self.accounts[place];
            for _ in 0..refused.count {
                let is_its = |(topic, _): &(usize, u64)| TOPICS[*topic] == refused.topic.name();
                let last = account.accepted.iter().rposition(is_its).expect("it was accepted");
                assert!(last >= account.acknowledged, "what was delivered is called refused");
                account.accepted.remove(last);
                account.refused += 1;
            }
        }
    }

    /// The sink takes and acknowledges so much of what it is offered.
    async fn take(&mut self, place: usize, count: usize) {
        let (reader, account) = (&mut self.readers[place], &mut self.accounts[place]);
        let mut batch = Vec::new();
        reader.peek(count.min(100), &mut batch).await.expect("a disk that can be read");
        for record in batch.iter().filter(|record| record.event.kind == Kind::Notification) {
            let body = String::from_utf8_lossy(&record.event.body);
            let event: u64 = body.trim_end().parse().expect("a number");
            let found = account.accepted.iter().position(|(_, one)| *one == event);
            let found = found.unwrap_or_else(|| panic!("{event} is not for {}", SINKS[place]));
            match account.next {
                Some(next) => assert_eq!(found, next, "in order, and each of them"),
                None => assert!(found <= account.acknowledged, "an accepted one was passed over"),
            }
            let topic = account.accepted[found].0;
            let before = account.accepted[..=found].iter().filter(|(one, _)| *one == topic);
            assert_eq!(record.number, before.count() as u64, "numbers have no hole");
            account.next = Some(found + 1);
            account.acknowledged = account.acknowledged.max(found + 1);
        }
        reader.advance(batch.len());
        reader.acknowledge(batch.len());
    }

    fn kill(&mut self) {
        self.disk.die_at(self.disk.operations());
        let left = self.disk.after_kill();
        let (journal, readers, found) = open(&small(), &left, "boot", &SINKS);
        assert_eq!((found.renewed, found.lost.len()), (None, 0), "the epoch goes on");
        // The old one ends on the disk that nobody listens to any more.
        (self.disk, self.journal, self.readers) = (left, journal, readers);
        for account in &mut self.accounts {
            account.next = None;
        }
    }

    fn mend(&mut self) {
        self.disk.fail(None);
        // One look tells what was refused, the next finds the disk well.
        for _ in 0..3 {
            self.journal.flush();
            self.hear_of_refused();
        }
        assert_eq!(self.journal.trouble(), None, "it recovers by itself");
    }

    /// Both sinks are there to the end.
    async fn balance(mut self) {
        self.mend();
        self.append(0, 1);
        for (place, sink) in SINKS.into_iter().enumerate() {
            while self.readers[place].unacknowledged() > 0 {
                let before = self.readers[place].unacknowledged();
                self.take(place, usize::MAX).await;
                assert!(self.readers[place].unacknowledged() < before, "{sink} waits for nothing");
            }
            let account = &self.accounts[place];
            assert_eq!(account.acknowledged, account.accepted.len(), "{sink}: delivered");
            assert_eq!(account.accepted.len() + account.refused, account.wanted, "{sink}: counted");
        }
        let (epoch, disk) = (self.journal.epoch(), self.disk);
        drop((self.journal, self.readers));
        let (journal, readers, found) = open(&small(), &disk, "another", &SINKS);
        assert_eq!((found.renewed, journal.epoch()), (None, epoch), "it was closed");
        assert!(readers.iter().all(|reader| reader.unacknowledged() == 0));
    }
}

fn run(lives: usize, steps: &[Step]) {
    block_on(async {
        let mut desk = Desk::new(lives);
        for step in steps {
            desk.play(step).await;
        }
        desk.balance().await;
    });
}

proptest! {
    #[test]
    fn with_one_sink_away_all_is_accounted_for_and_the_other_goes_on(
        lives in 0..SINKS.len(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        run(lives, &steps);
    }
}

/// The same where it is certain that the bound is met.
#[tokio::test]
async fn a_sink_that_is_away_for_long_is_refused_at_its_bound_and_the_other_never() {
    for lives in 0..SINKS.len() {
        let mut desk = Desk::new(lives);
        for event in 0..60 {
            desk.play(&Step::Append(event % TOPICS.len(), 100)).await;
        }
        let [one, other] = [lives, 1 - lives].map(|place| &desk.accounts[place]);
        assert_eq!((one.refused, one.acknowledged), (0, one.wanted));
        assert!(other.refused > 20 && other.acknowledged == 0, "{other:?}");
        assert!(other.accepted.len() >= 3, "{other:?}");
        desk.play(&Step::Kill).await;
        desk.balance().await;
    }
}
