//! What must hold in every world.

use super::super::Arbiter;
use super::world::{
    BodyHashWindow, Carrier, HOLD, Judge, Occurrence, by_key, config, counts, run, schedule, topic,
};
use crate::event::{Family, Marks, Topic};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Gap to the one before, key, topic, body.
type Seed = (u64, usize, usize, usize);

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    prop::collection::vec((0..400u64, 0..2usize, 0..3usize, 0..2usize), 1..90)
}

/// Occurrences with legal repeats, save in families that name theirs and where `is_unique` says so.
fn truth(seeds: &[Seed], is_unique: impl Fn(u64) -> bool) -> Vec<Occurrence> {
    let mut now = 0;
    let mut truth = Vec::new();
    for (number, (gap, key, kind, body)) in seeds.iter().enumerate() {
        now += gap;
        let topic = topic(*key, *kind);
        let unique = is_unique(now) || topic.family() == Family::Keyed;
        let body = if unique { 1_000 + number } else { *body };
        truth.push(Occurrence { at: now, topic, body: format!("{{\"n\":{body}}}") });
    }
    truth
}

fn carrier(
    lag: u64,
    loss: impl Strategy<Value = bool> + 'static,
) -> impl Strategy<Value = Carrier> {
    (
        0..10_000u64,
        0..12_000u64,
        0..(lag / 2).min(HOLD / 2),
        prop::collection::vec(0..lag, 1..5),
        prop::collection::vec(loss, 1..11),
    )
        .prop_map(|(from, length, connect, lags, losses)| Carrier {
            from,
            to: from + length,
            connect,
            lags,
            losses,
        })
}

fn carriers(
    lag: u64,
    loss: impl Strategy<Value = bool> + Clone + 'static,
) -> impl Strategy<Value = Vec<Carrier>> {
    prop::collection::vec(carrier(lag, loss), 1..4).prop_map(|mut carriers| {
        carriers.sort_by_key(|carrier| carrier.from);
        carriers[0].from = 0;
        let mut begun = 0;
        for carrier in &mut carriers {
            // The platform knows sessions in the order in which we do.
            begun = begun.max(carrier.from + carrier.connect);
            carrier.connect = begun - carrier.from;
        }
        carriers
    })
}

/// Stretches lives until every overlap outlasts its beginning, and every absence is one.
fn settle(mut carriers: Vec<Carrier>) -> Vec<Carrier> {
    for _ in 0..4 {
        for at in 0..carriers.len() {
            for later in at + 1..carriers.len() {
                let begins = carriers[later].from;
                let is_near = begins <= carriers[at].to + 3 * HOLD;
                if is_near && carriers[at].to < begins + 4 * HOLD {
                    carriers[at].to = begins + 4 * HOLD;
                }
            }
        }
    }
    carriers
}

/// Stretches lives until no leg ends between another's beginning and the moment at which that is known: there would be no overlap
/// to arbitrate in.
fn known_in_time(mut carriers: Vec<Carrier>) -> Vec<Carrier> {
    for at in 1..carriers.len() {
        let (earlier, later) = carriers.split_at_mut(at);
        let begins = later[0].from + later[0].connect;
        for earlier in earlier.iter_mut().filter(|earlier| earlier.to >= later[0].from) {
            earlier.to = earlier.to.max(begins + 1);
        }
    }
    carriers
}

/// Legs without loss whose lag is under the hold: each occurrence once, in the true order of its key, without a mark.
fn each_once_in_order(
    judge: &mut impl Judge,
    seeds: &[Seed],
    carriers: Vec<Carrier>,
) -> Result<(), TestCaseError> {
    let carriers = settle(carriers);
    // Around a beginning a body that repeats cannot be told from its repeat; `cases` shows what is done about those.
    let truth = truth(seeds, |at| {
        let near = |begins: u64| at + 2 * HOLD > begins && at < begins + 3 * HOLD;
        carriers.iter().skip(1).any(|carrier| near(carrier.from))
    });
    let published = run(judge, &truth, &schedule(&truth, &carriers));
    let carried = truth.iter().filter(|occurrence| {
        let has = |carrier: &Carrier| (carrier.from..=carrier.to).contains(&occurrence.at);
        carriers.iter().any(has)
    });
    let expected = by_key(carried.map(|o| (o.topic.clone(), o.body.clone())));
    let got = by_key(published.iter().map(|p| (p.topic.clone(), p.body.clone())));
    prop_assert_eq!(got, expected);
    prop_assert!(published.iter().all(|p| p.marks == Marks::default()));
    Ok(())
}

/// Per body never fewer than the best leg showed, and never more than all legs together.
fn between_the_best_leg_and_the_sum(
    judge: &mut impl Judge,
    seeds: &[Seed],
    carriers: &[Carrier],
) -> Result<(), TestCaseError> {
    let truth = truth(seeds, |_| false);
    let steps = schedule(&truth, carriers);
    let published = run(judge, &truth, &steps);
    for (body, (out, best, sum)) in counts(&truth, &steps, &published) {
        prop_assert!(best <= out && out <= sum, "{:?}: {} <= {} <= {}", body, best, out, sum);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn without_loss_each_occurrence_goes_out_once_in_true_order(
        seeds in seeds(), carriers in carriers(HOLD, Just(false)),
    ) {
        each_once_in_order(&mut Arbiter::new(&config()), &seeds, carriers)?;
    }

    #[test]
    fn whatever_is_lost_the_best_leg_and_the_sum_are_the_bounds(
        seeds in seeds(), carriers in carriers(3 * HOLD, prop::bool::weighted(0.3)), roomy in any::<bool>(),
    ) {
        let mut config = config();
        if !roomy {
            config.window_events = 4;
        }
        between_the_best_leg_and_the_sum(&mut Arbiter::new(&config), &seeds, &carriers)?;
    }

    #[test]
    fn with_loss_what_is_not_marked_late_is_in_true_order(
        seeds in seeds(), carriers in carriers(HOLD, prop::bool::weighted(0.3)),
    ) {
        let carriers = known_in_time(carriers);
        let truth = truth(&seeds, |_| true);
        let steps = schedule(&truth, &carriers);
        let published = run(&mut Arbiter::new(&config()), &truth, &steps);
        for key in 0..2 {
            let key = topic(key, 0);
            let order: Vec<usize> = published
                .iter()
                .filter(|p| p.topic.key() == key.key() && p.marks == Marks::default())
                .map(|p| p.occurrence)
                .collect();
            prop_assert!(order.is_sorted(), "{:?}", order);
        }
    }

    #[test]
    fn with_loss_a_second_copy_is_marked(
        seeds in seeds(), carriers in carriers(HOLD, prop::bool::weighted(0.3)),
    ) {
        let truth = truth(&seeds, |_| true);
        let steps = schedule(&truth, &carriers);
        let published = run(&mut Arbiter::new(&config()), &truth, &steps);
        for (body, (out, _, _)) in counts(&truth, &steps, &published) {
            let marked = published.iter().filter(|p| p.body == body.1 && p.marks.possible_duplicate);
            prop_assert!(out <= 1 + marked.count(), "{:?}", body);
        }
    }

    /// However short the overlap and however repetitive the bodies: as long as the legs differ by less than the time
    /// between two notifications, no repeat is swallowed, and a second copy is marked.
    #[test]
    fn close_legs_swallow_no_repeat_wherever_they_begin_and_end(
        seeds in seeds(), carriers in carriers(40, Just(false)),
    ) {
        let seeds: Vec<Seed> = seeds.into_iter().map(|(gap, key, kind, body)| (gap + 50, key, kind, body)).collect();
        let truth = truth(&seeds, |_| false);
        let steps = schedule(&truth, &carriers);
        let published = run(&mut Arbiter::new(&config()), &truth, &steps);
        for (body, (out, _, _)) in counts(&truth, &steps, &published) {
            let is_it = |topic: &Topic, text: &str| topic.name() == body.0 && text == body.1;
            let carried = |at: u64| carriers.iter().any(|c| (c.from..=c.to).contains(&at));
            let real = truth.iter().filter(|o| is_it(&o.topic, &o.body) && carried(o.at)).count();
            let copies = published.iter().filter(|p| is_it(&p.topic, &p.body) && p.marks.possible_duplicate).count();
            prop_assert!(real <= out && out <= real + copies, "{:?}: {} <= {} <= {}", body, real, out, real + copies);
        }
    }

    /// A planned change under traffic that is mostly repeats: as long as each key shows a body of its own now and then, and legs
    /// differ by no more than the time between two notifications, nothing is marked, not even around the beginning and the end.
    #[test]
    fn a_planned_change_marks_nothing_however_many_bodies_repeat(
        seeds in prop::collection::vec((25..75u64, 0..2usize, 0..2usize, 0..2usize), 200..300),
        from in 500..2_500u64, lags in prop::collection::vec((0..25u64, 0..25u64), 1..5),
    ) {
        let number = std::cell::Cell::new(0_usize);
        let truth = truth(&seeds, |_| {
            number.set(number.get() + 1);
            number.get().is_multiple_of(3)
        });
        let of_leg = |leg: usize| lags.iter().map(|both| if leg == 0 { both.0 } else { both.1 }).collect();
        let carrier = |from, to, leg| Carrier { from, to, connect: 0, lags: of_leg(leg), losses: vec![false] };
        let carriers = [carrier(0, from + 5 * HOLD, 0), carrier(from, 100_000, 1)];
        let steps = schedule(&truth, &carriers);
        let published = run(&mut Arbiter::new(&config()), &truth, &steps);
        let marked: Vec<_> = published.iter().filter(|p| p.marks != Marks::default()).collect();
        prop_assert!(marked.is_empty(), "{:?}", marked);
        let expected = by_key(truth.iter().map(|o| (o.topic.clone(), o.body.clone())));
        let got = by_key(published.iter().map(|p| (p.topic.clone(), p.body.clone())));
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn outside_overlaps_nothing_keyless_is_touched(seeds in seeds(), lags in prop::collection::vec(0..HOLD, 1..5)) {
        let truth = truth(&seeds, |_| false);
        let carrier = Carrier { from: 0, to: 100_000, connect: 0, lags, losses: vec![false] };
        let steps = schedule(&truth, &[carrier]);
        let published = run(&mut Arbiter::new(&config()), &truth, &steps);
        let order: Vec<usize> = published.iter().map(|p| p.occurrence).collect();
        prop_assert_eq!(order, (0..truth.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_body_hash_window_fails_these_properties() {
    let runner = || {
        TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(200)
        })
    };
    let strategy = (seeds(), carriers(HOLD, Just(false)));
    let verdict = runner().run(&strategy, |(seeds, carriers)| {
        each_once_in_order(&mut BodyHashWindow::default(), &seeds, carriers)
    });
    assert!(verdict.is_err(), "the properties would not notice a swallowed repeat");
    let strategy = (seeds(), carriers(3 * HOLD, prop::bool::weighted(0.3)));
    let verdict = runner().run(&strategy, |(seeds, carriers)| {
        between_the_best_leg_and_the_sum(&mut BodyHashWindow::default(), &seeds, &carriers)
    });
    assert!(verdict.is_err(), "the bounds would not notice a swallowed repeat");
}
