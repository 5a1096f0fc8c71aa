//! The conformance suite that every sink passes: `conformance!` names what is promised.
//!
//! A `Place` is what a sink writes into, read back by other means than the sink's own.

use super::*;
use crate::harness::eventually;

/// The password in the configuration of places that cannot be reached.
pub(super) const SECRET: &str = "hush-hush";

/// What a sink writes into.
pub(super) trait Place: Sized + Send + 'static {
    /// Whether a resend doubles nothing, also over a restart of the process.
    const ONCE: bool;
    /// Whether events can be too large.
    const BOUNDED: bool;

    /// A place of its own for one test; the broker may be shared.
    fn new() -> Self;
    /// A place on a broker of its own, which may be killed.
    fn alone() -> Self {
        Self::new()
    }
    /// The same where nothing that was acknowledged may be hidden by the broker's death, whenever it comes.
    fn sturdy() -> Self {
        Self::alone()
    }
    /// A place that cannot be reached, and how its errors must call it.
    fn unreachable() -> (Box<dyn Sink>, String);
    /// Another sink into the place.
    fn sink(&self) -> Box<dyn Sink>;
    /// Ends the broker as a crash does.
    fn crash(&mut self);
    /// Brings the broker back.
    fn restart(&mut self);
    /// All that is stored; in order at least within each key.
    async fn read(&self) -> Vec<Stored>;
}

macro_rules! conformance {
    ($place:ty: $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                crate::sinks::conformance::$promise::<$place>().await;
            }
        )+
    };
    ($place:ty) => {
        $crate::sinks::conformance! { $place:
            order_per_key_is_kept,
            the_contract_holds_byte_for_byte,
            acknowledged_means_readable,
            an_event_too_large_is_refused_and_the_others_go_on,
            an_unreachable_place_is_named_and_tried_again,
            a_crash_with_a_window_in_flight_loses_nothing_and_keeps_order,
            what_was_given_up_is_not_doubled,
            a_restart_resumes_where_the_broker_is,
            an_old_copy_is_told_of_the_younger_epoch,
            nothing_in_flight_means_waiting,
            neither_body_nor_secret_is_shown,
            a_rejected_event_parks_with_its_reason,
            a_dead_place_is_waited_for_and_a_drain_delivers_what_is_in_hand,
        }
    };
}
pub(super) use super::published::{
    a_dead_place_is_waited_for_and_a_drain_delivers_what_is_in_hand,
    a_rejected_event_parks_with_its_reason,
};
pub(super) use conformance;

pub(super) async fn order_per_key_is_kept<P: Place>() {
    let place = P::new();
    let records = records(1..=1000);
    deliver(&mut place.sink(), &records).await;
    assert_complete::<P>(&place.read().await, &records);
}

pub(super) async fn the_contract_holds_byte_for_byte<P: Place>() {
    let place = P::new();
    let mut records = records(1..=4);
    Arc::make_mut(&mut records[2].event).kind = Kind::MembersSnapshot;
    let closed = Arc::make_mut(&mut records[3].event);
    (closed.kind, closed.topic) = (Kind::GapClosed, Topic::control());
    let event = Arc::make_mut(&mut records[1].event);
    event.topic = Topic::new("v2.größe \"of\" 100%.{all}");
    event.body = r#"{ "n" : 1.50, "text":"ü\n" }"#.into();
    event.correlation_id = Some("c-1".into());
    event.marks.late = true;
    deliver(&mut place.sink(), &records).await;

    let stored = place.read().await;
    for record in &records {
        let found = stored.iter().find(|stored| stored.place().0 == record.event.position).unwrap();
        assert_eq!(found.body.as_bytes(), record.event.body);
        assert_eq!(found.key, record.event.topic.key());
        let mut expected = BTreeMap::new();
        tieline::sink::cloudevents::Encoder::new(SOURCE).attributes(record, |name, value| {
            expected.insert(name.bare.to_owned(), value.as_str().to_owned());
        });
        assert_eq!(found.attributes, expected);
    }
}

pub(super) async fn acknowledged_means_readable<P: Place>() {
    let place = P::new();
    let records = records(1..=300);
    let mut sink = place.sink();
    // The sink stays open: nothing may wait for the end to be stored.
    let (first, second) = records.split_at(100);
    deliver(&mut sink, first).await;
    assert_complete::<P>(&place.read().await, first);
    deliver_on(&mut sink, second).await;
    assert_complete::<P>(&place.read().await, &records);
    sink.close().await.unwrap();
}

pub(super) async fn an_event_too_large_is_refused_and_the_others_go_on<P: Place>() {
    let place = P::new();
    let mut records = records(1..=30);
    let event = Arc::make_mut(&mut records[10].event);
    event.body = format!("\"{}\"", "x".repeat(2 << 20)).into();
    let verdicts = deliver(&mut place.sink(), &records).await;
    let refused: Vec<usize> = (0..verdicts.len())
        .filter(|&at| matches!(&verdicts[at], Verdict::Refused { reason } if !reason.is_empty()))
        .collect();
    if P::BOUNDED {
        assert_eq!(refused, [10]);
        records.remove(10);
    } else {
        assert!(refused.is_empty(), "{verdicts:?}");
    }
    let mut found: Vec<u64> = place.read().await.iter().map(|stored| stored.place().0).collect();
    found.sort_unstable();
    let sent: Vec<u64> = records.iter().map(|record| record.event.position).collect();
    assert_eq!(found, sent);
}

pub(super) async fn an_unreachable_place_is_named_and_tried_again<P: Place>() {
    let (mut sink, name) = P::unreachable();
    let error = timeout(DEADLINE, sink.open(&epoch())).await.unwrap().unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    assert!(error.operation.contains(&name), "{error:?} does not name {name}");
    assert!(error.source.is_some(), "{error:?} does not say why");
}

pub(super) async fn a_crash_with_a_window_in_flight_loses_nothing_and_keeps_order<P: Place>() {
    let mut place = P::sturdy();
    let mut sink = place.sink();
    let records = records(1..=6000);
    let (go, gone) = std::sync::mpsc::channel();
    let crash = tokio::task::spawn_blocking(move || {
        gone.recv().unwrap();
        place.crash();
        place.restart();
        place
    });
    let delivery = async {
        sink.open(&epoch()).await.unwrap();
        let (mut verdicts, mut submitted) = (Vec::new(), 0);
        while verdicts.len() < 2000 {
            submitted += sink.submit(&records[submitted..]).await.unwrap();
            sink.settle(&mut verdicts).await.unwrap();
        }
        // Windows come and go while the broker dies.
        go.send(()).unwrap();
        continue_delivery(&mut sink, &records, verdicts, submitted).await;
    };
    let (place, ()) = tokio::join!(crash, delivery);
    let place = place.unwrap();
    // A broker that has only just come back may not show all that it has.
    let stored = eventually("as much is readable as was delivered", async || {
        let stored = place.read().await;
        (stored.len() >= records.len()).then_some(stored)
    });
    assert_complete::<P>(&stored.await, &records);
}

pub(super) async fn what_was_given_up_is_not_doubled<P: Place>() {
    let place = P::new();
    let records = records(1..=500);
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    let taken = sink.submit(&records).await.unwrap();
    assert!(taken > 0);
    drop(sink);
    deliver(&mut place.sink(), &records).await;
    assert_complete::<P>(&place.read().await, &records);
}

pub(super) async fn a_restart_resumes_where_the_broker_is<P: Place>() {
    let place = P::new();
    deliver(&mut place.sink(), &records(1..=7)).await;
    let resumed = |epoch| {
        let mut sink = place.sink();
        async move { sink.open(&epoch).await.unwrap().last_position }
    };
    assert_eq!(resumed(epoch()).await, P::ONCE.then_some(7));
    let another = Epoch::new(Timestamp::from_micros(1_800_000_000_000_000), 1);
    assert_eq!(resumed(another).await, None);
}

/// A process that begins with an old copy of its data must not take up numbers that were given since.
pub(super) async fn an_old_copy_is_told_of_the_younger_epoch<P: Place>() {
    let place = P::new();
    let younger = Epoch::new(Timestamp::from_micros(1_800_000_000_000_000), 1);
    let mut last = records(1..=1);
    Arc::make_mut(&mut last[0].event).epoch = younger.clone();
    let mut sink = place.sink();
    assert_eq!(sink.open(&younger).await.unwrap(), Resume::default());
    deliver_on(&mut sink, &last).await;
    sink.close().await.unwrap();
    drop(sink);
    let told = place.sink().open(&epoch()).await.unwrap();
    assert_eq!(told, Resume { last_position: None, younger: Some(younger).filter(|_| P::ONCE) });
}

pub(super) async fn nothing_in_flight_means_waiting<P: Place>() {
    let place = P::new();
    let mut sink = place.sink();
    let mut verdicts = Vec::new();
    sink.open(&epoch()).await.unwrap();
    assert_eq!(sink.submit(&[]).await.unwrap(), 0);
    let settled = timeout(Duration::from_millis(200), sink.settle(&mut verdicts)).await;
    assert!(settled.is_err(), "{settled:?}");
    // Giving up a wait costs nothing.
    deliver_on(&mut sink, &records(1..=10)).await;
}

pub(super) async fn neither_body_nor_secret_is_shown<P: Place>() {
    let place = P::new();
    let mut sink = place.sink();
    sink.open(&epoch()).await.unwrap();
    sink.submit(&records(1..=10)).await.unwrap();
    let shown = format!("{sink:?}");
    assert!(!shown.contains("state"), "{shown}");

    // Whoever has a password configured has this one.
    let (mut sink, _) = P::unreachable();
    let error = timeout(DEADLINE, sink.open(&epoch())).await.unwrap().unwrap_err();
    let shown =
        format!("{sink:?} {error:?} {error} {:?}", error.source.as_ref().map(|it| it.to_string()));
    assert!(!shown.contains(SECRET), "{shown}");
}

/// Nothing lost, order kept, and nothing doubled where the sink promises that.
pub(super) fn assert_complete<P: Place>(stored: &[Stored], records: &[Record]) {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in stored {
        let (_, number) = event.place();
        let seen = numbers.entry(&event.key).or_default();
        // At least once: a resend repeats a stretch, but never jumps ahead of what it has shown.
        let next = seen.last().map_or(1, |last| last + 1);
        if P::ONCE {
            assert_eq!(number, next, "key {}", event.key);
        } else {
            assert!(number <= next, "key {}: {number} after {}", event.key, next - 1);
        }
        seen.push(number);
    }
    for record in records {
        let found =
            numbers.get(record.event.topic.key()).is_some_and(|seen| seen.contains(&record.number));
        assert!(found, "position {} is lost", record.event.position);
    }
}
