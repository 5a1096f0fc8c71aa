//! Transactions: who may write, what is committed, and that readers see each event once whatever is killed.

use super::cluster::Cluster;
use super::*;
use crate::books::Held;
use crate::harness::eventually;
use crate::journal::each_once;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use tokio_util::task::TaskTracker;

crate::sinks::conformance!(Once);

/// Where the child of the next test finds the brokers.
const CHILD: &str = "TIELINE_TEST_EXACTLY_ONCE";

/// Where it writes, and how many events.
const TOPIC: &str = "killed";
const EVENTS: u64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_each_event_once_whatever_is_killed() {
    if let Ok(told) = std::env::var(CHILD) {
        return write_as_a_child(&told).await;
    }
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let mut writer = Writer::start(&cluster);
    for (kills, mark) in [1_000, 5_000, 9_000, 14_000, 19_000, 24_000].into_iter().enumerate() {
        assert!(writer.reaches(mark), "the writer has failed before {mark}");
        match kills % 3 {
            0 => writer.child.kill().unwrap(),
            // The broker dies under the writer, and comes back to another.
            1 => {
                cluster.second.kill();
                writer.child.kill().unwrap();
                cluster.second.restart();
            }
            // It comes back in time.
            _ => {
                cluster.second.kill();
                cluster.second.restart();
                writer.child.kill().unwrap();
            }
        }
        writer.child.wait().unwrap();
        writer = Writer::start(&cluster);
    }
    assert!(writer.reaches(EVENTS), "the last writer has failed");
    assert!(writer.child.wait().unwrap().success());
    let stored = cluster.read(TOPIC).await;
    let records = records(1..=EVENTS);
    assert_complete::<Once>(&stored, &records);
    assert_eq!(stored.len(), records.len());
}

/// A process that may be killed, and what it says.
struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(cluster: &Cluster) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("sinks::kafka::exactly_once::readers_see_each_event_once_whatever_is_killed")
            .env(CHILD, cluster.brokers())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Whether it says that so many events are acknowledged, before it ends.
    fn reaches(&mut self, mark: u64) -> bool {
        self.lines.any(|line| {
            let line = line.unwrap();
            let count = line.strip_prefix("acknowledged ");
            count.is_some_and(|count| count.parse::<u64>().unwrap() >= mark)
        })
    }
}

/// Delivers what the broker does not hold yet, and says how far it got.
async fn write_as_a_child(brokers: &str) {
    let mut config = config(brokers, TOPIC, false, true);
    config.replication = 2;
    let mut sink = config.build(SOURCE);
    let records = records(1..=EVENTS);
    let mut verdicts = Vec::new();
    open(&mut sink, &records, &mut verdicts).await;
    let mut submitted = verdicts.len();
    tell(submitted);
    while verdicts.len() < records.len() {
        // In small bites, so that there are many transactions.
        let end = records.len().min(submitted + 200);
        let step = async {
            submitted += sink.submit(&records[submitted..end]).await?;
            sink.settle(&mut verdicts).await
        };
        let step: Result<(), Error> = timeout(DEADLINE, step).await.expect("no progress");
        if step.is_err() {
            open(&mut sink, &records, &mut verdicts).await;
            submitted = verdicts.len();
        }
        tell(verdicts.len());
    }
    sink.close().await.unwrap();
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn tell(acknowledged: usize) {
    println!("acknowledged {acknowledged}");
}

/// Everything that lies in the topic, whether its transaction was committed or not.
async fn uncommitted(place: &Once) -> Vec<Held> {
    let (brokers, topic) = (place.brokers(), place.topic.clone());
    let read = move || read_as("read_uncommitted", &brokers, &topic, false);
    let read = tokio::task::spawn_blocking(read).await.unwrap();
    read.iter().map(|(_, event)| killed::held(event)).collect()
}

/// The same of what is committed alone.
async fn committed(place: &Once) -> Vec<Held> {
    place.read().await.iter().map(killed::held).collect()
}

/// Two transactions are given up with events in them: one by a process that hangs and is fenced, one by a process that dies. Both lie in
/// the log for good, where only readers of what is committed do not see them.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_seen_by_those_who_read_uncommitted_and_by_nobody_else() {
    let place = Once::new();
    let records = records(1..=40);
    let lie = async |count: usize| {
        eventually("they lie in the log", async || {
            (uncommitted(&place).await.len() == count).then_some(())
        })
        .await;
        assert!(committed(&place).await.len() < count, "and are not committed");
    };
    let mut zombie = place.sink();
    deliver(&mut zombie, &records[..10]).await;
    // Nobody asks what became of them, so that nothing is committed.
    zombie.submit(&records[10..20]).await.unwrap();
    lie(20).await;
    let mut killed = place.sink();
    deliver(&mut killed, &records[..30]).await;
    assert_eq!((committed(&place).await.len(), uncommitted(&place).await.len()), (30, 40));
    killed.submit(&records[30..]).await.unwrap();
    lie(50).await;
    drop(killed);
    deliver(&mut place.sink(), &records).await;

    let settled = timeout(DEADLINE, zombie.settle(&mut Vec::new())).await.unwrap();
    let reason = settled.unwrap_err().source.unwrap().to_string();
    assert!(reason.contains("another process writes as id-"), "{reason}");
    let (committed, uncommitted) = (committed(&place).await, uncommitted(&place).await);
    each_once(&committed);
    assert_eq!((committed.len(), uncommitted.len()), (40, 60));
    let twice: BTreeSet<u64> = (11..=20).chain(31..=40).collect();
    for record in &records {
        let place = (record.event.topic.key(), record.number);
        let seen = uncommitted.iter().filter(|event| (&*event.key, event.sequence) == place);
        let expected = if twice.contains(&record.event.position) { 2 } else { 1 };
        assert_eq!(seen.count(), expected, "{place:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_epoch_is_over_is_fenced_and_stays_out() {
    let place = Once::new();
    let old = records(1..=20);
    let mut zombie = place.sink();
    deliver(&mut zombie, &old[..10]).await;
    // Its next transaction is open while another process begins.
    zombie.submit(&old[10..]).await.unwrap();

    let younger = Epoch::new(Timestamp::from_micros(1_800_000_000_000_000), 1);
    let mut successor = place.sink();
    let resume = successor.open(&younger).await.unwrap();
    assert_eq!(resume.last_position, None);

    let settled = timeout(DEADLINE, zombie.settle(&mut Vec::new())).await.unwrap();
    let reason = settled.unwrap_err().source.unwrap().to_string();
    assert!(reason.contains("another process writes as id-"), "{reason}");
    for _ in 0..3 {
        let error = zombie.open(&epoch()).await.unwrap_err();
        let reason = error.source.unwrap().to_string();
        assert!(reason.contains(younger.as_str()), "{reason}");
    }
    // The successor was not disturbed by that.
    let mut event = records(1..=1).remove(0);
    Arc::make_mut(&mut event.event).epoch = younger;
    deliver_on(&mut successor, &[event]).await;
    assert_eq!(place.read().await.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_behind_an_event_that_was_not_yet_told_as_refused() {
    let place = Once::new();
    let mut records = records(1..=4);
    Arc::make_mut(&mut records[1].event).body = format!("\"{}\"", "x".repeat(2 << 20)).into();
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    let mut verdicts = Vec::new();
    let mut rest = &records[..];
    for taken in [1, 1, 2] {
        assert_eq!(sink.submit(rest).await.unwrap(), taken);
        assert_eq!(sink.submit(&rest[taken..]).await.unwrap(), 0, "not while that is in flight");
        rest = &rest[taken..];
        while verdicts.len() < records.len() - rest.len() {
            sink.settle(&mut verdicts).await.unwrap();
        }
        if rest.is_empty() {
            break;
        }
    }
    assert!(matches!(verdicts[1], Verdict::Refused { .. }), "{verdicts:?}");
    let mut stored: Vec<u64> = place.read().await.iter().map(|stored| stored.place().0).collect();
    stored.sort_unstable();
    assert_eq!(stored, [1, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_another_installation_hides_no_cursor() {
    let place = Once::new();
    deliver(&mut place.sink(), &records(1..=7)).await;
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", place.brokers())
        .set("transactional.id", format!("other-{}", place.topic))
        .create()
        .unwrap();
    other.init_transactions(DEADLINE).unwrap();
    other.begin_transaction().unwrap();
    let topic = format!("{}.cursors", place.topic);
    let record = BaseRecord::to(&topic).key("other").payload("{}").partition(0);
    other.send(record).unwrap();
    other.flush(DEADLINE).unwrap();

    // What it commits now lies behind the other's transaction.
    let mut sink = place.sink();
    let mut opening = TaskTracker::new().spawn(async move {
        let resume = sink.open(&epoch()).await.unwrap();
        (sink, resume)
    });
    let early = timeout(Duration::from_secs(1), &mut opening).await;
    assert!(early.is_err(), "{early:?}");
    other.commit_transaction(DEADLINE).unwrap();
    let (_, resume) = timeout(DEADLINE, opening).await.unwrap().unwrap();
    assert_eq!(resume.last_position, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_topic_that_forgets_is_a_mistake() {
    let place = Once::new();
    let mut config = place.config();
    config.cursor_topic = format!("{}.forgetful", place.topic);
    create(&place.brokers(), &config.cursor_topic, "1000000").await;
    let error = config.build(SOURCE).open(&epoch()).await.unwrap_err();
    assert_eq!(error.disposition, Disposition::Misconfigured, "{error:?}");
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains("cleanup.policy is delete"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_took_too_long_is_begun_again() {
    let place = Once::alone();
    let server = place.own.as_ref().unwrap();
    let mut config = place.config();
    config.options.insert("transaction.timeout.ms".into(), "2000".into());
    config.options.insert("socket.timeout.ms".into(), "1500".into());
    let mut sink = config.build(SOURCE);
    let records = records(1..=200);
    let first = deliver(&mut sink, &records[..100]).await;
    let submitted = 100 + sink.submit(&records[100..]).await.unwrap();
    server.signal("STOP");
    let mut verdicts = first;
    let settled = timeout(Duration::from_secs(4), sink.settle(&mut verdicts)).await;
    assert!(!matches!(settled, Ok(Ok(()))), "nothing can be committed");
    server.signal("CONT");
    let submitted = if settled.is_ok() {
        open(&mut sink, &records, &mut verdicts).await;
        verdicts.len()
    } else {
        submitted
    };
    continue_delivery(&mut sink, &records, verdicts, submitted).await;
    let stored = place.read().await;
    assert_complete::<Once>(&stored, &records);
    assert_eq!(stored.len(), records.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_with_a_transaction_open_commits_each_event_once() {
    let place = tokio::task::spawn_blocking(Once::alone).await.unwrap();
    let mut stand = killed::stand().await;
    stand.config.set("sink.kafka.brokers", place.brokers());
    stand.config.set("sink.kafka.topic", &*place.topic);
    stand.config.set("sink.kafka.delivery", "exactly_once");
    // Long enough that there is hardly a moment without one.
    stand.config.set("sink.kafka.linger", "100ms");
    let committed = async || {
        let (brokers, topic) = (place.brokers(), place.topic.clone());
        let read = move || read_topic(&brokers, &topic, false);
        let stored = tokio::task::spawn_blocking(read).await.unwrap();
        stored.into_iter().map(|(_, event)| event).collect()
    };
    let server = place.own.as_ref().unwrap();
    killed::each_event_is_there_once(&stand, server, committed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_stores_each_event_once() {
    let place = tokio::task::spawn_blocking(Once::alone).await.unwrap();
    let mut stand = killed::stand().await;
    stand.config.set("sink.kafka.brokers", place.brokers());
    stand.config.set("sink.kafka.topic", &*place.topic);
    stand.config.set("sink.kafka.delivery", "exactly_once");
    let committed = async || {
        let (brokers, topic) = (place.brokers(), place.topic.clone());
        let read = move || read_topic(&brokers, &topic, false);
        let stored = tokio::task::spawn_blocking(read).await.unwrap();
        stored.into_iter().map(|(_, event)| event).collect()
    };
    crate::sinks::handed::each_event_is_there_once(&stand, committed).await;
}
