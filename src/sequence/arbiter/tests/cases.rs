//! The cases that docs/decisions/0003-arbitration-counts-sights.md argues about, one by one.

use super::super::{Arbiter, Config, Leg, Score, Verdict};
use super::world::{HOLD, Occurrence, config, notification, topic};
use crate::time::Time;

const A: Leg = Leg(1);
const B: Leg = Leg(2);
const C: Leg = Leg(3);

/// An arbiter whose verdicts are read as text: the body, `~` late, `?` possible duplicate, `=` duplicate and its leg.
struct Bench(Arbiter);

impl Bench {
    fn new() -> Self {
        Self(Arbiter::new(&config()))
    }

    fn begin(&mut self, leg: Leg, at: u64) {
        self.0.begin(leg, 0, Time::from_micros(at));
    }

    fn end(&mut self, leg: Leg, at: u64) -> String {
        self.0.end(leg, Time::from_micros(at));
        self.said()
    }

    /// Bodies that start with `k` are of a keyed family; all have one key.
    fn see(&mut self, leg: Leg, body: &str, at: u64) -> String {
        let topic = topic(0, if body.starts_with('k') { 2 } else { 0 });
        let body = format!("\"{body}\"");
        let occurrence = Occurrence { at, topic, body };
        let now = Time::from_micros(at);
        self.0.admit(leg, notification(&occurrence, 0), now);
        self.said()
    }

    fn wait(&mut self, until: u64) -> String {
        let until = Time::from_micros(until);
        while let Some(due) = self.0.poll_timeout().filter(|due| *due <= until) {
            self.0.handle_timeout(due);
        }
        self.said()
    }

    fn said(&mut self) -> String {
        let mut said = Vec::new();
        while let Some(verdict) = self.0.poll() {
            said.push(match verdict {
                Verdict::Publish { notification, marks } => {
                    let body = String::from_utf8_lossy(&notification.body).replace('"', "");
                    let late = if marks.late { "~" } else { "" };
                    let doubt = if marks.possible_duplicate { "?" } else { "" };
                    format!("{body}{late}{doubt}")
                }
                Verdict::Duplicate { leg, .. } => format!("={}", leg.0),
            });
        }
        said.join(" ")
    }
}

/// Two legs whose overlap began long ago.
fn settled() -> Bench {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, 0);
    bench
}

/// A moment long after `settled`.
const T: u64 = 10 * HOLD;

#[test]
fn one_leg_passes_repeats_untouched() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    assert_eq!(bench.see(A, "x", 1), "x");
    assert_eq!(bench.see(A, "x", 1), "x");
    assert_eq!(bench.0.poll_timeout(), None);
}

#[test]
fn the_leader_is_published_and_the_follower_is_its_duplicate_whoever_is_first() {
    let mut bench = settled();
    assert_eq!(bench.see(A, "x", T), "x");
    assert_eq!(bench.see(B, "x", T + 1), "=2");
    assert_eq!(bench.see(B, "y", T + 2), "");
    assert_eq!(bench.see(A, "y", T + 3), "y =2");
    assert_eq!(bench.wait(20 * HOLD), "");
}

#[test]
fn the_nth_sight_on_one_leg_is_the_nth_on_the_other() {
    let mut bench = settled();
    assert_eq!(bench.see(A, "x", T), "x");
    assert_eq!(bench.see(A, "x", T + 1), "x");
    assert_eq!(bench.see(B, "x", T + 2), "=2");
    assert_eq!(bench.see(B, "x", T + 3), "=2");
    assert_eq!(bench.see(B, "x", T + 4), "", "the third is new, and held");
    assert_eq!(bench.wait(T + 4 + HOLD), "x");
}

#[test]
fn what_the_leader_has_passed_over_goes_out_before_what_it_shows() {
    let mut bench = settled();
    assert_eq!(bench.see(B, "x", T), "");
    assert_eq!(bench.see(B, "y", T + 1), "");
    assert_eq!(bench.see(A, "y", T + 2), "x y =2");
}

#[test]
fn what_goes_out_after_a_younger_one_is_late() {
    let mut bench = settled();
    assert_eq!(bench.see(B, "x", T), "");
    assert_eq!(bench.see(A, "y", T + 1), "y");
    assert_eq!(bench.see(B, "y", T + 2), "=2");
    assert_eq!(bench.wait(T + HOLD), "x~");
}

#[test]
fn a_leader_that_shows_it_after_the_hold_is_the_duplicate() {
    let mut bench = settled();
    assert_eq!(bench.see(B, "x", T), "");
    assert_eq!(bench.wait(T + HOLD), "x");
    assert_eq!(bench.see(A, "x", T + HOLD + 1), "=1");
}

#[test]
fn when_the_leader_ends_the_followers_sights_go_out_in_order() {
    let mut bench = settled();
    assert_eq!(bench.see(B, "x", T), "");
    assert_eq!(bench.see(B, "y", T + 1), "");
    assert_eq!(bench.end(A, T + 2), "x y");
}

#[test]
fn a_follower_that_lags_behind_an_ended_leader_doubles_nothing() {
    let mut bench = settled();
    assert_eq!(bench.see(A, "x", T), "x");
    assert_eq!(bench.end(A, T + 1), "");
    assert_eq!(bench.see(B, "x", T + 2), "=2");
    assert_eq!(bench.see(B, "x", T + 3), "x");
}

#[test]
fn a_new_leader_that_shows_something_older_is_late() {
    let mut bench = settled();
    assert_eq!(bench.see(A, "y", T), "y");
    assert_eq!(bench.end(A, T + 1), "");
    assert_eq!(bench.see(B, "x", T + 2), "x~");
    assert_eq!(bench.see(B, "y", T + 3), "=2");
    assert_eq!(bench.see(B, "z", T + 4), "z");
}

#[test]
fn a_follower_may_show_what_the_leader_showed_just_before_it_began() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    assert_eq!(bench.see(A, "x", T), "x");
    bench.begin(B, T + 1);
    assert_eq!(bench.see(B, "x", T + 2), "=2");
}

#[test]
fn a_leaders_sight_that_the_follower_began_too_late_for_swallows_nothing() {
    // While the leader lives it shows the repeat itself.
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    assert_eq!(bench.see(A, "x", T + 1), "x");
    assert_eq!(bench.see(B, "x", T + 2), "=2");
    assert_eq!(bench.see(A, "x", T + 3), "x");
    // Once it has ended, the follower's next sight may be either.
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    assert_eq!(bench.see(A, "x", T + 1), "x");
    assert_eq!(bench.end(A, T + 2), "");
    assert_eq!(bench.see(B, "x", T + 3), "x?");
    assert_eq!(bench.see(B, "x", T + 4), "x");
    // And after the hold it can only be a repeat.
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    assert_eq!(bench.see(A, "x", T + 1), "x");
    assert_eq!(bench.see(B, "x", T + 1 + HOLD), "");
    assert_eq!(bench.wait(T + 1 + 2 * HOLD), "x");
}

#[test]
fn a_session_that_begins_as_the_last_one_ends_is_doubted_and_not_dropped() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    assert_eq!(bench.see(A, "x", T), "x");
    assert_eq!(bench.end(A, T + 1), "");
    bench.begin(B, T + 2);
    assert_eq!(bench.see(B, "x", T + 3), "x?");
    assert_eq!(bench.see(B, "x", T + 4), "x");
    assert_eq!(bench.see(B, "y", T + 5), "y");
}

#[test]
fn keyed_families_are_published_once_with_and_without_overlap() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    assert_eq!(bench.see(A, "k1", 1), "k1");
    assert_eq!(bench.see(A, "k1", 2), "=1");
    bench.begin(B, 3);
    assert_eq!(bench.see(B, "k1", 4), "=2");
    assert_eq!(bench.see(B, "k2", 5), "", "held, so that its key stays in order");
    assert_eq!(bench.see(B, "k2", 6), "");
    assert_eq!(bench.see(A, "k2", 7), "k2 =2");
    assert_eq!(bench.wait(5 * HOLD), "=2");
    assert_eq!(bench.end(A, 6 * HOLD), "");
    bench.begin(C, 7 * HOLD);
    assert_eq!(bench.see(C, "k2", 8 * HOLD), "=3");
}

#[test]
fn with_three_legs_the_second_inherits_and_the_third_waits_on() {
    let mut bench = settled();
    bench.begin(C, 1);
    assert_eq!(bench.see(C, "x", T), "");
    assert_eq!(bench.see(C, "y", T + 1), "");
    assert_eq!(bench.see(B, "x", T + 2), "=2");
    assert_eq!(bench.end(A, T + 3), "x");
    assert_eq!(bench.see(B, "y", T + 4), "y =3");
}

#[test]
fn scores_tell_who_won_who_followed_how_late_and_who_missed() {
    let scores = |bench: &mut Bench| {
        let mut scores = bench.0.take_scores();
        scores.sort_by_key(|(leg, _)| *leg);
        scores
    };
    let micros = std::time::Duration::from_micros;
    let mut bench = settled();
    assert_eq!(scores(&mut bench), [], "nothing was shown");
    bench.see(A, "x", T);
    bench.see(B, "x", T + 5);
    bench.see(B, "y", T + 10);
    bench.see(A, "y", T + 13);
    bench.see(A, "z", T + 20);
    bench.wait(T + 20 + 3 * HOLD);
    let a = Score { won: 2, followed: 1, lag: micros(3), missed: 0 };
    let b = Score { won: 1, followed: 1, lag: micros(5), missed: 1 };
    assert_eq!(scores(&mut bench), [(A, a), (B, b)]);
    assert_eq!(scores(&mut bench), [], "each is told once");
    let later = T + 10 * HOLD;
    bench.see(A, "u", later);
    bench.see(B, "u", later + 7);
    bench.end(B, later + 8);
    let a = Score { won: 1, ..Score::default() };
    let b = Score { followed: 1, lag: micros(7), ..Score::default() };
    assert_eq!(scores(&mut bench), [(A, a), (B, b)], "also of a leg that has ended");
}

#[test]
fn shards_do_not_follow_each_other() {
    let mut arbiter = Bench::new();
    arbiter.begin(A, 0);
    arbiter.0.begin(B, 1, Time::START);
    assert_eq!(arbiter.see(A, "x", 1), "x");
    assert_eq!(arbiter.see(B, "x", 2), "x");
}

#[test]
fn an_unknown_leg_is_heard_and_doubted() {
    let mut bench = Bench::new();
    assert_eq!(bench.see(A, "x", 1), "x?");
}

/// Nobody can tell whether the follower showed what the leader did or an equal one emitted later; swallowing that would be loss.
#[test]
fn what_may_be_a_repeat_that_the_leader_never_showed_goes_out_marked() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    // Emitted before B began, and heard after.
    assert_eq!(bench.see(A, "x", T + 1), "x");
    // A repeat, heard by B first …
    assert_eq!(bench.see(B, "x", T + 2), "=2");
    // … and never by A.
    assert_eq!(bench.end(A, T + 3), "x?");
}

#[test]
fn a_body_that_is_counted_exactly_settles_what_came_before_it_on_its_key() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    assert_eq!(bench.see(A, "x", T + 1), "x", "B began too late for it");
    let later = T + HOLD;
    assert_eq!(bench.see(A, "x", later), "x");
    assert_eq!(bench.see(B, "x", later + 1), "=2", "paired with the first, wrongly");
    assert_eq!(bench.see(A, "y", later + 2), "y");
    assert_eq!(bench.see(B, "y", later + 3), "=2");
    assert_eq!(bench.end(A, later + 4), "");
    assert_eq!(bench.see(B, "x", later + 5), "x", "neither doubted nor late nor swallowed");
}

#[test]
fn what_a_follower_that_ended_has_shown_goes_out_when_the_leader_ends_too() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    assert_eq!(bench.see(A, "x", T + 1), "x");
    assert_eq!(bench.see(B, "x", T + 2), "=2");
    assert_eq!(bench.end(B, T + 3), "", "A lives, and shows the repeat if there was one");
    assert_eq!(bench.end(A, T + 4), "x?");
}

/// Whatever a leg may have missed on one key when it began, long ago, says nothing of another.
#[test]
fn a_doubt_that_nothing_ever_settled_doubles_nothing_of_other_keys() {
    let mut bench = Bench::new();
    bench.begin(A, 0);
    bench.begin(B, T);
    let occurrence = Occurrence { at: T + 1, topic: topic(1, 0), body: "\"z\"".to_owned() };
    bench.0.admit(A, notification(&occurrence, 0), Time::from_micros(T + 1));
    assert_eq!(bench.said(), "z", "B began too late for it, and its key is silent from now on");
    let later = 3 * T;
    assert_eq!(bench.wait(later), "");
    assert_eq!(bench.see(B, "x", later), "", "which A has lost");
    assert_eq!(bench.see(A, "y", later + 1), "y");
    assert_eq!(bench.see(B, "y", later + 2), "=2");
    assert_eq!(bench.wait(later + 2 * HOLD), "x~");
}

/// A body of nearly a mebibyte: seventeen of them weigh more than 16 MiB.
fn heavy(number: usize) -> String {
    format!("{number:04}{}", "x".repeat((1 << 20) - 100))
}

/// What went out, without the padding.
fn light(said: &str) -> String {
    said.replace('x', "")
}

#[test]
fn sights_that_wait_weigh_no_more_than_their_bound_and_the_oldest_goes_out_early() {
    let mut bench = settled();
    for number in 0..16 {
        assert_eq!(bench.see(B, &heavy(number), T), "", "{number} waits");
    }
    assert_eq!(light(&bench.see(B, &heavy(16), T)), "0000", "there is no room for a seventeenth");
    assert_eq!(light(&bench.see(B, &heavy(17), T)), "0001");
    // What went out early is known to the leader's sight; the others go out with theirs.
    assert_eq!(light(&bench.see(A, &heavy(0), T + 1)), "=1");
    assert_eq!(light(&bench.see(A, &heavy(1), T + 1)), "=1");
    for number in 2..18 {
        let said = light(&bench.see(A, &heavy(number), T + 1));
        assert_eq!(said, format!("{number:04} =2"));
    }
    assert_eq!(bench.wait(T + 3 * HOLD), "");
}

/// One leg that has shown these within the hold, and one that begins behind it. There is room for as many pairs as there can be.
fn after(shown: impl Iterator<Item = String>) -> Bench {
    let mut bench = Bench(Arbiter::new(&Config { window_events: 1_000_000, ..config() }));
    bench.begin(A, 0);
    for body in shown {
        assert_eq!(bench.see(A, &body, T), body);
    }
    bench.begin(B, T + 1);
    bench
}

#[test]
fn what_one_leg_showed_beyond_the_bound_on_sights_may_be_a_repeat_and_is_marked() {
    let shown = || (0..65_537).map(|number| number.to_string());
    assert_eq!(after(shown()).see(B, "1", T + 2), "=2", "the oldest that is remembered");
    let mut bench = after(shown());
    assert_eq!(bench.see(B, "0", T + 2), "", "nobody remembers it, so it waits for the leader");
    let said = bench.wait(T + 3 * HOLD);
    assert!(said.starts_with('0') && said.ends_with('?'), "{said}");
}

#[test]
fn what_one_leg_showed_beyond_the_bound_on_bytes_may_be_a_repeat_and_is_marked() {
    let shown = || (0..17).map(heavy);
    let mut bench = after(shown());
    for number in 1..17 {
        assert_eq!(bench.see(B, &heavy(number), T + 2), "=2", "{number}");
    }
    let mut bench = after(shown());
    assert_eq!(bench.see(B, &heavy(0), T + 2), "");
    let said = light(&bench.wait(T + 3 * HOLD));
    assert!(said.starts_with("0000") && said.ends_with('?'), "{said}");
}
