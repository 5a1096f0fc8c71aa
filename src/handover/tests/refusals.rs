//! What ends a handover before it has begun, how long each side waits, and what no longer ends it.

use super::super::Hello;
use super::*;

#[test]
fn another_form_another_platform_and_nonsense_are_refused() {
    let hello = |protocol, login_url: &str| {
        Message::Hello(Hello { protocol, version: "2".into(), login_url: login_url.into() })
    };
    for (message, permanent) in
        [(hello(99, URL), true), (hello(1, "https://else/"), true), (Message::Settled(true), false)]
    {
        let mut giver = Giver::new(URL.into(), HOLD);
        giver.handle(message, at(1));
        let acts: Vec<Act> = std::iter::from_fn(|| giver.poll()).collect();
        let [Act::Say(Message::Refused(refusal)), Act::Hang] = acts.as_slice() else {
            panic!("{acts:?}")
        };
        assert_eq!(refusal.permanent, permanent, "{refusal:?}");
        giver.handle(hello(1, URL), at(2));
        assert!(matches!(giver.poll(), Some(Act::Freeze)), "it can be asked again");
    }
}

#[test]
fn every_wait_ends() {
    let mut giver = Giver::new(URL.into(), HOLD);
    let hello = Taker::new(URL.into(), "2", HOLD, at(0)).poll_message().unwrap();
    giver.handle(hello.clone(), at(0));
    let due = giver.poll_timeout().unwrap();
    giver.handle_timeout(due);
    assert!(std::iter::from_fn(|| giver.poll()).any(|act| matches!(act, Act::Thaw)));
    giver.handle(hello, due);
    giver.handle_quiet(due);
    let silent = giver.poll_timeout().unwrap();
    assert_eq!(silent, due + Duration::from_secs(10));
    giver.handle_timeout(silent);
    assert!(std::iter::from_fn(|| giver.poll()).any(|act| matches!(act, Act::Failed { .. })));
    assert_eq!(giver.poll_timeout(), None);

    let mut taker = Taker::new(URL.into(), "2", HOLD, at(0));
    taker.handle_timeout(taker.poll_timeout().unwrap());
    assert!(matches!(taker.outcome(), Some(Outcome::GiveUp(_))));
}

/// A new process that the old one lets begin, without 11 channels.
fn welcomed() -> Taker {
    let mut taker = Taker::new(URL.into(), "2", HOLD, at(0));
    taker.handle(Message::Placed { shard: 0, topics: vec![QUEUE.into()] }, at(1));
    let welcome = Welcome {
        version: "1".into(),
        epoch: "e".into(),
        client: None,
        taken: 11,
        combined: false,
    };
    taker.handle(Message::Welcome(welcome), at(1));
    taker
}

#[test]
fn a_plan_that_cannot_be_joined_is_given_up_with_the_sum() {
    let topic = Topic::new(QUEUE);
    let mut taker = welcomed();
    taker.handle_plan([(0, &topic)].into_iter(), 9, 20);
    assert_eq!(taker.outcome(), None);
    taker.handle_plan([(0, &topic)].into_iter(), 10, 20);
    let Some(Outcome::GiveUp(refusal)) = taker.outcome() else { panic!("taken") };
    assert!(refusal.permanent && refusal.reason.contains("10 channels beside 11"), "{refusal:?}");
    let mut taker = welcomed();
    taker.handle_plan([(1, &topic)].into_iter(), 1, 20);
    assert!(matches!(taker.outcome(), Some(Outcome::GiveUp(refusal)) if refusal.permanent));
}

#[test]
fn what_troubles_the_new_process_after_the_cut_is_waited_for_and_not_given_up() {
    let mut taker = welcomed();
    let ends_within = Duration::from_secs(40);
    taker.handle(Message::Cut { relayed: 0, muted: 0, ends_within }, at(1_000));
    taker.give_up("nothing can be reached", false);
    let topic = Topic::new(QUEUE);
    taker.handle_plan([(1, &topic)].into_iter(), 19, 20);
    assert_eq!(taker.outcome(), None, "nobody else would go on");
    taker.handle_lost(at(2_000));
    assert_eq!(taker.outcome(), Some(&Outcome::TakeOver));
}

#[test]
fn the_old_process_falls_silent_only_when_its_own_sessions_were_heard_since_the_new_ones_were() {
    let mut giver = Giver::new(URL.into(), HOLD);
    giver.handle(Taker::new(URL.into(), "2", HOLD, at(0)).poll_message().unwrap(), at(0));
    giver.handle_quiet(at(0));
    let began = |giver: &mut Giver, leg, millis| {
        giver.handle(Message::Began { leg, shard: 0, place: 0 }, at(millis));
        giver.handle(Message::Settled(true), at(millis));
        std::iter::from_fn(|| giver.poll()).count();
    };
    began(&mut giver, 7, 100);
    giver.handle_timeout(at(900));
    assert!(matches!(giver.poll(), Some(Act::Probe)) && giver.poll().is_none());
    assert_eq!(giver.awaits_proof(), Some(at(900)));
    giver.handle_timeout(at(1_700));
    assert!(giver.poll().is_none(), "no answer, and nothing is asked again");
    // Another session of the new process has to be followed first.
    began(&mut giver, 8, 1_800);
    assert_eq!(giver.awaits_proof(), None);
    giver.handle_proven(at(1_900));
    assert!(giver.poll().is_none());
    giver.handle_timeout(at(2_600));
    assert!(matches!(giver.poll(), Some(Act::Probe)));
    giver.handle_proven(at(2_610));
    assert!(matches!(giver.poll(), Some(Act::Mute)) && giver.heard().is_some());
}
