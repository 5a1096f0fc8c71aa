//! What one process leaves to the next: marks of what was heard, and the gap that begins there.

use super::*;
use crate::bridge::gaps::{Heard, Mark, Print};

fn mark(micros: u64, alone: bool) -> Mark {
    Mark { at: Timestamp::from_micros(micros), topics: Print::default(), alone }
}

#[test]
fn the_last_word_of_a_process_is_made_up_for_by_its_journal_where_one_session_alone_was_heard() {
    let at = Timestamp::from_micros;
    let from = |heard: &[(u16, Mark)], journalled| {
        let mut gaps = Gaps::new(Kept::default(), 10, true, None);
        let (mut journal, _) = rehearsal::journal(1_000_000, &["kafka"]);
        let heard = heard.iter().copied().collect();
        gaps.restarted(heard, Some(at(journalled)), at(9_000_000), &mut journal);
        gaps.ledger().open_gaps().map(|gap| gap.from.as_micros()).collect::<Vec<_>>()
    };
    let first = mark(1_000_000, true);
    assert_eq!(from(&[(0, first)], 2_500_000), [2_500_000]);
    assert_eq!(from(&[(0, first)], 900_000), [1_000_000]);
    assert_eq!(from(&[(0, first)], 4_500_000), [1_000_000], "of whoever was not certain");
    assert_eq!(from(&[(0, mark(1_000_000, false))], 2_500_000), [1_000_000], "something was held");
    let both = [(0, first), (1, mark(2_000_000, true))];
    assert_eq!(from(&both, 2_500_000), [1_000_000, 2_000_000]);
}

#[test]
fn a_gap_that_was_open_when_the_process_died_goes_on_from_where_it_began() {
    let at = |millis: u64| Timestamp::from_micros(millis * 1_000);
    let topics = vec![Topic::new("v2.a")];
    let from = |alone: bool, journalled| {
        let mut ledger = Ledger::new(10);
        let number = ledger.open(0, "cut", Certainty::Certain, at(3_000), 1);
        let kept = Kept {
            gaps: ledger.list().cloned().collect(),
            opened: 1,
            named: BTreeMap::from([(number, topics.clone())]),
            ..Kept::default()
        };
        let mut gaps = Gaps::new(kept, 10, true, None);
        let (mut journal, _) = rehearsal::journal(1_000_000, &["kafka"]);
        let word = Mark { topics: Print::of(&topics), ..mark(1_200_000, alone) };
        gaps.restarted(BTreeMap::from([(0, word)]), Some(at(journalled)), at(9_000), &mut journal);
        gaps.plan(BTreeMap::from([(0, topics.clone())]), at(9_100), &mut journal);
        gaps.ledger().open_gaps().map(|gap| (gap.number, gap.from)).collect::<Vec<_>>()
    };
    assert_eq!(from(true, 2_999), [(1, at(2_999))], "the last notification before the cut");
    assert_eq!(from(true, 3_900), [(1, at(3_000))], "another socket had shown something");
    assert_eq!(from(true, 1_000), [(1, at(1_200))], "the journal lacks what came after its word");
    assert_eq!(from(false, 2_999), [(1, at(1_200))], "something was held");
}

#[test]
fn topics_that_have_moved_since_a_kill_with_an_open_gap_lack_what_they_missed_since_it_began() {
    let at = |millis: u64| Timestamp::from_micros(millis * 1_000);
    let [a, b] = ["v2.a", "v2.b"].map(Topic::new);
    let mut ledger = Ledger::new(10);
    ledger.open(0, "cut", Certainty::Certain, at(1_000), 2);
    let gaps = ledger.list().cloned().collect();
    let mut gaps = Gaps::new(Kept { gaps, opened: 1, ..Kept::default() }, 10, true, None);
    let (mut journal, _) = rehearsal::journal(1_000_000, &["kafka"]);
    // The session that came after the cut had shown something, and was not certain yet.
    let word = Mark { topics: Print::of(&[a.clone(), b.clone()]), ..mark(1_000_000, true) };
    gaps.restarted(BTreeMap::from([(0, word)]), Some(at(2_500)), at(9_000), &mut journal);
    gaps.plan(BTreeMap::from([(0, vec![a]), (1, vec![b])]), at(9_100), &mut journal);
    let open = gaps.ledger().open_gaps().map(|gap| (gap.shard, gap.from));
    assert_eq!(open.collect::<Vec<_>>(), [(0, at(1_000)), (1, at(1_000))]);
}

#[tokio::test]
async fn topics_that_are_packed_otherwise_now_lack_something_since_the_oldest_word_and_once() {
    let (mut journal, mut readers) = rehearsal::journal(1_000_000, &["kafka"]);
    let mut gaps = Gaps::new(Kept::default(), 10, true, None);
    let at = Timestamp::from_micros;
    let [a, b, c, d] = ["v2.a", "v2.b", "v2.c", "v2.d"].map(Topic::new);
    let known = Mark { topics: Print::of(std::slice::from_ref(&a)), ..mark(5, true) };
    let heard = BTreeMap::from([(0, known), (1, mark(6, true)), (3, mark(3, true))]);
    gaps.restarted(heard, None, at(9), &mut journal);
    // Shard 0 is as it was, shard 1 has other topics, shard 2 is new, shard 3 is no more.
    let plan = BTreeMap::from([(0, vec![a]), (1, vec![b, c]), (2, vec![d])]);
    assert_eq!(gaps.plan(plan, at(10), &mut journal), []);
    let open: Vec<_> = gaps.ledger().open_gaps().map(|gap| (gap.shard, gap.from)).collect();
    assert_eq!(open, [(0, at(5)), (1, at(3)), (2, at(3))]);
    use Kind::{Gap, GapClosed, GapOpened};
    let opened = [GapOpened; 4];
    assert_eq!(rest(&mut readers[0]).await, [&opened[..], &[GapClosed]].concat());
    for shard in 0..3 {
        gaps.close(shard, RESTART, at(20), "resubscribed", at(20), &mut journal);
    }
    let told = rest(&mut readers[0]).await.into_iter().filter(|kind| *kind == Gap);
    assert_eq!(told.count(), 4, "each topic once");
}

#[tokio::test]
async fn a_shard_that_is_dissolved_tells_of_its_own_topics_alone() {
    let (mut stream, mut reader, topics) = live(0);
    let gone = Topic::new("v2.gone");
    stream.plan(BTreeMap::from([(0, topics.to_vec()), (1, vec![gone.clone()])]));
    stream.open_gap(1, "cut", stream.clock.timestamp(), Vec::new());
    stream.plan(BTreeMap::from([(0, topics.to_vec())]));
    assert_eq!(stream.ledger().open_gaps().count(), 0);
    assert_eq!(stream.poll_closed(), None, "nobody asks for what is not wanted");
    use Kind::{Gap, GapClosed, GapOpened};
    assert_eq!(rest(&mut reader).await, [GapOpened, Gap, GapClosed]);
    assert_eq!(told(&stream, &mut reader, &gone).await.len(), 1);
}

#[test]
fn a_topic_that_the_platform_refused_before_has_no_gap_after_a_restart() {
    let (mut journal, _) = rehearsal::journal(1_000_000, &["kafka"]);
    let [taken, refused] = ["v2.a", "v2.b"].map(Topic::new);
    let kept = Kept { refused: vec![refused.clone()], ..Kept::default() };
    let mut gaps = Gaps::new(kept, 10, true, None);
    let at = Timestamp::from_micros;
    gaps.restarted(BTreeMap::from([(0, mark(5, true))]), None, at(9), &mut journal);
    gaps.plan(BTreeMap::from([(0, vec![taken.clone(), refused])]), at(10), &mut journal);
    let closed = gaps.close(0, RESTART, at(20), "resubscribed", at(20), &mut journal);
    assert_eq!(closed, Some(Closed { number: 1, topics: vec![taken] }));
    // It may be taken this time, and nobody says so.
    gaps.open(0, "cut", at(30), Vec::new(), at(30), &mut journal);
    let closed = gaps.close(0, "cut", at(40), "resumed", at(40), &mut journal);
    assert_eq!(closed.map(|closed| closed.topics.len()), Some(2));
}

#[tokio::test]
async fn a_suspicion_ends_with_its_process_and_concerns_its_own_topics() {
    let (mut journal, mut readers) = rehearsal::journal(1_000_000, &["kafka"]);
    let at = Timestamp::from_micros;
    let mut ledger = Ledger::new(10);
    let number = ledger.open(0, FEED_SILENT, Certainty::Possible, at(2), 1);
    let kept = Kept {
        gaps: ledger.list().cloned().collect(),
        opened: 1,
        named: BTreeMap::from([(number, vec![Topic::new("v2.a")])]),
        ..Kept::default()
    };
    let mut gaps = Gaps::new(kept, 10, true, None);
    gaps.restarted(BTreeMap::from([(0, mark(5, true))]), None, at(9), &mut journal);
    let known: Vec<_> = gaps.ledger().list().map(|gap| (gap.cause, gap.from, gap.to)).collect();
    assert_eq!(known, [(FEED_SILENT, at(2), Some(at(5))), (RESTART, at(5), None)]);
    use Kind::{Gap, GapClosed, GapOpened};
    assert_eq!(rest(&mut readers[0]).await, [Gap, GapClosed, GapOpened]);
}

#[test]
fn what_waits_for_a_second_sight_is_not_vouched_for() {
    let (stream, _reader, topics) = live(0);
    let (folder, clock) = (tempfile::tempdir().expect("a folder"), stream.clock);
    let (keeper, _task) = Keeper::new(folder.path(), tokio::sync::mpsc::channel(1).0);
    let mut stream = Stream { gaps: Gaps::new(Kept::default(), 10, true, Some(keeper)), ..stream };
    stream.plan(BTreeMap::from([(0, topics.to_vec())]));
    let second = |second: u64| Time::from_micros(second * 1_000_000);
    stream.begin(SessionId(2), 0, 1, second(1));
    let received = clock.timestamp_of(second(10));
    let (topic, body) = (topics[0].clone(), "{}".into());
    let notification = Notification { topic, body, correlation_id: None, received };
    stream.take(SessionId(2), notification, second(10));
    for at in [12, 13] {
        let at = clock.timestamp_of(second(at));
        stream.mark(BTreeMap::from([(0, Heard { at, alone: false })]));
    }
    let marked = stream.gaps.marked().get(&0).map(|mark| mark.at);
    assert_eq!(marked, Some(received.before(Duration::from_micros(1))));
    stream.handle_timeout(second(15));
    // Asked once: the calendar may be a microsecond off the next time.
    let heard = [16, 17].map(|at| clock.timestamp_of(second(at)));
    for at in heard {
        stream.mark(BTreeMap::from([(0, Heard { at, alone: false })]));
    }
    let marked = stream.gaps.marked().get(&0).map(|mark| mark.at);
    assert_eq!(marked, Some(heard[0]));
}

/// Gaps as a process left them that was still to ask after the first, of two shards, and after the second, of one sink.
fn promised() -> Kept {
    let at = Timestamp::from_micros;
    let mut ledger = Ledger::new(10);
    for shard in 0..2 {
        let number = ledger.open(shard, "cut", Certainty::Certain, at(2), 1);
        if shard == 1 {
            ledger.concern(number, "kafka");
        }
        ledger.close(number, at(3), "resumed");
    }
    Kept {
        gaps: ledger.list().cloned().collect(),
        opened: 2,
        promised: BTreeMap::from([(1, Vec::new()), (2, vec![Topic::new(B)]), (9, Vec::new())]),
        ..Kept::default()
    }
}

const A: &str = "v2.routing.queues.00000000-0000-4000-8000-000000000001.users";
const B: &str = "v2.routing.queues.00000000-0000-4000-8000-000000000002.users";

#[test]
fn what_an_earlier_process_was_still_to_ask_is_asked_again_once_its_topics_are_delivered() {
    let (stream, ..) = live(0);
    let [a, b] = [A, B].map(Topic::new);
    let plan = BTreeMap::from([(0, vec![a.clone()]), (1, vec![b.clone()])]);
    for (kept, rebase) in [(promised(), true), (promised(), false)] {
        let mut gaps = Gaps::new(kept, 10, rebase, None);
        let (mut journal, _) = rehearsal::journal(1_000_000, &["kafka"]);
        assert_eq!(gaps.ask_again(0), [], "the topics are not known yet");
        gaps.plan(plan.clone(), stream.clock.timestamp(), &mut journal);
        let (first, second) = (gaps.ask_again(0), gaps.ask_again(1));
        if rebase {
            assert_eq!(first, [Closed { number: 1, topics: vec![a.clone()] }]);
            assert_eq!(second, [Closed { number: 2, topics: vec![b.clone()] }]);
        } else {
            assert!(first.is_empty() && second.is_empty(), "nobody asks");
        }
        assert_eq!((gaps.ask_again(0), gaps.ask_again(1)), (vec![], vec![]), "once");
    }
}

#[tokio::test]
async fn what_was_announced_and_not_asked_is_left_to_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b] = [A, B].map(Topic::new);
    let (stream, ..) = live(0);
    let (keeper, task) = Keeper::new(folder.path(), tokio::sync::mpsc::channel(1).0);
    let mut stream = Stream { gaps: Gaps::new(Kept::default(), 10, true, Some(keeper)), ..stream };
    stream.plan(BTreeMap::from([(0, vec![a.clone(), b])]));
    let now = stream.clock.timestamp();
    for _ in 0..2 {
        stream.open_gap(0, "cut", now, Vec::new());
        stream.close_gap(0, now, "resumed", Time::START);
    }
    stream.rebased(1, sequence::Rebased::default());
    // The journal is full as the process ends, which ends that gap.
    let missed = Missed { cause: JOURNAL_FULL, count: 1, since: now, until: now };
    stream.note_refusal("kafka", &a, missed);
    stream.close_journal(Time::START);
    drop(stream);
    task.await;
    let kept = Kept::load(folder.path());
    assert_eq!(kept.promised.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(kept.promised[&3], [a]);
}
