//! The oracle is clean on a run that kept every promise, and is not after any one of them is broken.

use super::*;
use serde_json::value::to_raw_value;
use tieline_sim::journal::{Delivery, Emission, Fault, Release, Session};

const QUEUES: [&str; 2] = ["queue-a", "queue-b"];

/// Emissions, one each 100 ms.
const EMITTED: u64 = 100;

/// The socket is cut after 2 s and is back 300 ms later: three emissions are heard by nobody.
const CUT: std::ops::RangeInclusive<u64> = 21..=23;

/// A closing notice comes after 5 s; the successor is there 500 ms later, the predecessor leaves after 2 s more.
const NOTICE: u64 = 50;

#[test]
fn a_run_that_kept_every_promise_is_clean() {
    let findings = Run::new().judge();
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!((findings.emitted, findings.delivered, findings.missed), (100, 97, 3));
    assert_eq!((findings.rotations, findings.late), (1, 0));
    let gap = &findings.gaps[0];
    assert_eq!((gap.fault.as_deref(), gap.missed), (Some("close.rst"), 3));
}

#[test]
fn an_event_that_is_not_in_the_sink_is_lost() {
    let mut run = Run::new();
    let gone = run.held.remove(40);
    run.renumber();
    let findings = run.judge();
    assert_eq!(kinds(&findings), ["lost"]);
    assert_eq!(findings.lost[0].topic, gone.topic);
    assert_eq!((findings.delivered, findings.missed), (96, 3));
}

#[test]
fn an_event_heard_twice_and_stored_nowhere_is_lost_unless_both_lie_in_a_gap() {
    let mut run = Run::new();
    // Emission 22 falls into the gap; a second socket heard it after that.
    run.journal.deliveries.push(delivery(22, 2, at(3_000)));
    run.journal.deliveries.push(delivery(22, 1, at(2_200)));
    assert_eq!(kinds(&run.judge()), ["lost"]);
}

#[test]
fn an_event_that_is_missing_without_a_named_gap_is_lost() {
    let mut run = Run::new();
    run.gaps.clear();
    let findings = run.judge();
    assert_eq!(kinds(&findings), ["lost"]);
    assert_eq!((findings.lost.len(), findings.missed), (3, 0));
}

#[test]
fn a_second_copy_is_doubled() {
    let mut run = Run::new();
    let copy = run.held[10].clone();
    run.held.insert(15, copy);
    run.renumber();
    let findings = run.judge();
    assert_eq!(kinds(&findings), ["doubled"]);
    assert_eq!(findings.delivered, 97);
}

#[test]
fn two_events_of_a_key_that_changed_places_are_disordered_unless_marked_late() {
    let mut run = Run::new();
    // Queues take turns, so neighbours of one key are two apart.
    run.held.swap(60, 62);
    run.renumber();
    assert_eq!(kinds(&run.judge()), ["disordered"]);

    run.held[62].late = true;
    let findings = run.judge();
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!(findings.late, 1);
}

#[test]
fn keys_have_no_order_between_them() {
    let mut run = Run::new();
    run.held.swap(60, 61);
    assert!(run.judge().is_clean());
}

#[test]
fn an_event_that_was_never_emitted_is_unknown() {
    let mut run = Run::new();
    run.held[30].correlation_id = "c-from-elsewhere".to_owned();
    let findings = run.judge();
    assert_eq!(kinds(&findings), ["lost", "unknown"]);
}

#[test]
fn another_body_is_altered_but_white_space_is_not() {
    let mut run = Run::new();
    let number = number_of(&run.held[30]);
    run.held[30].body = raw(&format!("{{ \"n\" : {number} }}"));
    assert!(run.judge().is_clean());
    run.held[30].body = raw(&format!("{{\"n\":{}}}", number + 1));
    assert_eq!(kinds(&run.judge()), ["altered"]);
}

#[test]
fn numbers_with_a_hole_or_a_repeat_are_told() {
    let mut run = Run::new();
    run.held[30].sequence += 1;
    let findings = run.judge();
    assert_eq!(kinds(&findings), ["misnumbered"]);
    assert_eq!(findings.misnumbered.len(), 2, "a hole, and the step back");
    run.held[30].sequence -= 2;
    assert_eq!(kinds(&run.judge()), ["misnumbered"]);
}

#[test]
fn another_epoch_begins_again_with_one() {
    let mut run = Run::new();
    for held in &mut run.held[50..] {
        held.epoch = "20261124T150000Z-00000002".to_owned();
    }
    assert_eq!(kinds(&run.judge()), ["misnumbered"]);
    run.renumber();
    assert!(run.judge().is_clean());
}

#[test]
fn a_gap_may_be_35_seconds_longer_than_its_fault_and_no_more() {
    let mut run = Run::new();
    run.gaps[0].to = Some(at(2_000 + 35_000));
    assert!(run.judge().is_clean());
    run.gaps[0].to = Some(at(2_000 + 35_100));
    complains(&run, "claims 35.1s, but its fault (close.rst) lasted 0.0ns");

    // A handshake that was refused for 10 s adds to the fault.
    run.journal.faults.push(fault("throttle.handshake.429", at(2_010), Some(at(12_010)), &[]));
    let findings = run.judge();
    assert!(findings.is_clean(), "{findings:?}");
    let named = findings.gaps[0].fault.as_deref();
    assert_eq!(named, Some("close.rst + throttle.handshake.429"));
}

#[test]
fn a_gap_for_a_planned_change_is_told() {
    let mut run = Run::new();
    run.gaps.push(claim(2, "closing_notice", at(5_400), Some(at(5_600))));
    complains(&run, "gap 2 (closing_notice) is claimed for a planned change (socket-closing)");
}

#[test]
fn a_gap_without_a_fault_is_told() {
    let mut run = Run::new();
    run.journal.faults.retain(|fault| fault.kind != "socket-closing");
    run.gaps.push(claim(2, "cut", at(8_000), Some(at(8_200))));
    complains(&run, "gap 2 (cut) has no fault behind it");
}

#[test]
fn a_gap_without_an_end_is_told() {
    let mut run = Run::new();
    run.gaps[0].to = None;
    complains(&run, "gap 1 (cut) did not end");
}

#[test]
fn a_planned_change_without_an_overlap_is_told() {
    let mut run = Run::new();
    // The predecessor leaves before the successor comes.
    run.journal.sessions[1].closed = Some(written(at(5_400)));
    complains(&run, "after socket-closing");
    assert_eq!(run.judge().rotations, 0);

    let mut run = Run::new();
    run.journal.sessions[1].reason = Some("closed by the platform".to_owned());
    complains(&run, "after socket-closing");
}

#[test]
fn what_was_not_subscribed_or_came_too_early_does_not_count() {
    let mut run = Run::new();
    run.since = at(1_000);
    run.held.retain(|held| number_of(held) > 9);
    run.renumber();
    run.journal.emissions[90].topic = "v2.routing.queues.queue-a.activity".to_owned();
    run.held.retain(|held| number_of(held) != 91);
    run.renumber();
    let findings = run.judge();
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!(findings.emitted, EMITTED - 9 - 1);
}

#[test]
fn a_time_that_is_none_is_an_error() {
    let mut run = Run::new();
    run.journal.faults[0].from = "soon".to_owned();
    assert!(judge(&run.books()).is_err());
}

/// A run of ten seconds, and what is said about it.
struct Run {
    journal: Journal,
    topics: BTreeSet<String>,
    since: Timestamp,
    gaps: Vec<Claim>,
    held: Vec<Held>,
}

impl Run {
    fn new() -> Self {
        let emissions: Vec<Emission> = (1..=EMITTED).map(emission).collect();
        let heard = |number: &u64| !CUT.contains(number);
        let first = |number: &u64| *number < NOTICE + 25 && heard(number);
        let second = |number: &u64| *number > NOTICE + 5;
        let on = |channel, number: u64| delivery(number, channel, at(number * 100 + 1));
        let mut deliveries: Vec<Delivery> =
            (1..=EMITTED).filter(first).map(|number| on(1, number)).collect();
        deliveries.extend((1..=EMITTED).filter(second).map(|number| on(2, number)));
        let release = |number| Release { number, at: written(at(number * 100)) };
        let mut run = Self {
            topics: emissions.iter().map(|emission| emission.topic.clone()).collect(),
            since: at(0),
            gaps: vec![claim(1, "cut", at(2_001), Some(at(2_350)))],
            held: emissions.iter().filter(|e| heard(&e.number)).map(held).collect(),
            journal: Journal {
                releases: (1..=EMITTED).map(release).collect(),
                emissions,
                deliveries,
                logins: Vec::new(),
                subscriptions: Vec::new(),
                faults: vec![
                    fault("close.rst", at(2_050), Some(at(2_050)), &["channel-1"]),
                    fault("socket-closing", at(5_000), Some(at(65_000)), &["channel-1"]),
                ],
                sessions: vec![
                    session(1, "channel-1", 0, Some((2_050, "reset"))),
                    session(2, "channel-1", 2_340, Some((7_500, "closed by the client"))),
                    session(3, "channel-2", 5_500, None),
                ],
            },
        };
        run.renumber();
        run
    }

    /// Gives every event the number that follows the one before.
    fn renumber(&mut self) {
        let mut last = std::collections::HashMap::new();
        for held in &mut self.held {
            let last = last.entry((held.key.clone(), held.epoch.clone())).or_insert(0);
            *last += 1;
            held.sequence = *last;
        }
    }

    fn books(&self) -> Books<'_> {
        Books {
            journal: &self.journal,
            topics: &self.topics,
            since: self.since,
            gaps: &self.gaps,
            held: &self.held,
        }
    }

    fn judge(&self) -> Findings {
        judge(&self.books()).unwrap()
    }
}

/// The kinds of mishap that were found, and `complaints`.
fn kinds(findings: &Findings) -> Vec<&'static str> {
    let found = findings.mishaps().filter(|(_, mishaps)| !mishaps.is_empty());
    let mut kinds: Vec<&str> = found.map(|(kind, _)| kind).collect();
    if !findings.complaints.is_empty() {
        kinds.push("complaints");
    }
    kinds
}

fn complains(run: &Run, words: &str) {
    let findings = run.judge();
    assert_eq!(kinds(&findings), ["complaints"], "{findings:?}");
    let said = &findings.complaints;
    assert!(said.iter().any(|complaint| complaint.contains(words)), "{said:?}");
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000_000 + millis) * 1_000)
}

fn written(at: Timestamp) -> String {
    at.to_string()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn emission(number: u64) -> Emission {
    let key = QUEUES[usize::try_from(number % 2).unwrap()];
    Emission {
        number,
        topic: format!("v2.routing.queues.{key}.users"),
        key: key.to_owned(),
        time: written(at(number * 100)),
        body: to_raw_value(&serde_json::json!({ "n": number })).unwrap(),
        correlation_id: format!("c-{number}"),
    }
}

fn held(emission: &Emission) -> Held {
    Held {
        own: false,
        topic: emission.topic.clone(),
        key: emission.key.clone(),
        correlation_id: emission.correlation_id.clone(),
        epoch: "20261124T150000Z-00000001".to_owned(),
        sequence: 0,
        late: false,
        body: emission.body.clone(),
    }
}

fn number_of(held: &Held) -> u64 {
    held.correlation_id.trim_start_matches("c-").parse().unwrap()
}

fn delivery(number: u64, channel: u64, at: Timestamp) -> Delivery {
    Delivery { number, channel: format!("channel-{channel}"), session: channel, at: written(at) }
}

fn fault(kind: &str, from: Timestamp, to: Option<Timestamp>, channels: &[&str]) -> Fault {
    Fault {
        number: 1,
        kind: kind.to_owned(),
        from: written(from),
        to: to.map(written),
        channels: channels.iter().map(|&channel| channel.to_owned()).collect(),
    }
}

fn session(serial: u64, channel: &str, opened: u64, closed: Option<(u64, &str)>) -> Session {
    Session {
        session: serial,
        channel: channel.to_owned(),
        opened: written(at(opened)),
        closed: closed.map(|(at_millis, _)| written(at(at_millis))),
        reason: closed.map(|(_, reason)| reason.to_owned()),
    }
}

fn claim(number: u64, cause: &str, from: Timestamp, to: Option<Timestamp>) -> Claim {
    Claim { number, cause: cause.to_owned(), from, to }
}
