//! What filters accept, refuse, and cannot be made to do.

use super::*;
use crate::clock::Clock;
use crate::event::Topic;
use crate::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

const QUEUE: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";

fn notification(family: &str, body: &str) -> Notification {
    Notification {
        topic: Topic::new(&family.replace("{id}", QUEUE)),
        body: body.to_owned().into(),
        correlation_id: Some("c-1".into()),
        received: Timestamp::from_micros(1_700_000_000_000_000),
    }
}

fn answer(filter: &str, body: &str) -> Result<bool, Trouble> {
    let notification = notification("v2.routing.queues.{id}.conversations", body);
    let marks = Marks { late: true, ..Marks::default() };
    Filter::parse(filter).expect("a good filter").accepts(&notification, marks)
}

fn refusal(filter: &str) -> String {
    let problem = Filter::parse(filter).expect_err("a bad filter");
    format!("{}; {}", problem.problem, problem.fix)
}

#[test]
fn attributes_and_body_can_be_asked_for() {
    let body = r#"{"n":3,"x":1.5,"big":18446744073709551615,"no":null,"ok":true,
        "participants":[{"purpose":"agent","calls":[{"state":"alerting"}]},{"purpose":"customer"}]}"#;
    for filter in [
        r#"event.type == "com.genesys.cloud.v2.routing.queues.conversations""#,
        r#"event.type.contains(".queues.") && event.topic.endsWith(".conversations")"#,
        r#"event.subject in ["a", "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d"]"#,
        r#"event.correlationid == "c-1" && event.time.startsWith("2023-11-14T22")"#,
        "event.late && !event.possibleduplicate",
        "event.data.n == 3 && event.data.n > 2.5 && event.data.x < 2 && event.data.ok",
        "event.data.big > 1 && event.data.no == null",
        "!has(event.data.missing) && size(event.data.participants) == 2",
        r#"event.data.participants.exists(p, has(p.calls) && p.calls.all(c, c.state == "alerting"))"#,
        r#"event.data["n"] - 1 == 2 && event.data.participants[1].purpose == "customer""#,
    ] {
        assert_eq!(answer(filter, body), Ok(true), "{filter}");
    }
}

#[test]
fn an_expression_that_has_no_answer_says_why_without_the_value() {
    for (filter, trouble) in [
        ("event.data.missing == 1", Trouble::Missing),
        ("event.data.name.x == 1", Trouble::Type),
        ("event.data.name < 1", Trouble::Type),
        ("event.data.name", Trouble::Answer),
        ("event.data.list[7] == 1", Trouble::Other),
    ] {
        assert_eq!(answer(filter, r#"{"name":"Jo","list":[]}"#), Err(trouble), "{filter}");
    }
    assert_eq!(answer("event.data == 1", "no json"), Err(Trouble::Unreadable));
    let large = format!("\"{}\"", "x".repeat(filter::BODY_MAX));
    assert_eq!(answer("event.data == 1", &large), Err(Trouble::Large));
    assert_eq!(answer("event.late", &large), Ok(true), "its body is not wanted");
}

#[test]
fn every_name_is_checked_at_the_start_and_the_nearest_is_named() {
    let told = [
        "event.tpye == \"a\"",
        "type.startsWith(\"a\")",
        "evnt.subject == \"a\"",
        "queue == \"a\"",
        "event.sequence > 5",
        "event.snapshot",
        "event == 1",
        "has(event.dta.x)",
        "event.type == \"queueEvent\"",
        "event.type in [\"com.genesys.cloud.v2.users.presence\", \"user\"]",
        "event.data.matches(\"a\")",
        "event.data.a + event.data.b == 2",
        "event.data.list.map(x, x)",
        "event.data.list.exists(x, x == event.data.y)",
        "event.data.a.exists(x, x.b.exists(y, y == x.c))",
        "event.data.a.exists(event, true)",
        "event.type ==",
        "",
    ]
    .map(refusal)
    .join("\n");
    insta::assert_snapshot!(told);
    assert!(Filter::parse(&format!("event.late{}", " && true".repeat(600))).is_err());
}

#[test]
fn sinks_without_a_filter_take_all_and_cost_nothing() {
    let mut none = Routes::new(vec![None, None]);
    assert!(none.filters.is_empty());
    let users = notification("v2.routing.queues.{id}.users", "{}");
    assert_eq!(none.wanted(&users, Marks::default()), Wanted::ALL);
    let only = |filter| Some(Filter::parse(filter).expect("good"));
    let mut routes = Routes::new(vec![
        None,
        only("event.topic.endsWith(\".conversations\")"),
        only("event.data.joined"),
    ]);
    let wanted = routes.wanted(&users, Marks::default());
    assert_eq!([0, 1, 2].map(|place| wanted.by(place)), [true, false, true]);
    assert_eq!(routes.troubles(), [(2, Trouble::Missing)], "what errs passes, and is told");
    let joined = notification("v2.routing.queues.{id}.users", r#"{"joined":false}"#);
    assert!(!routes.wanted(&joined, Marks::default()).by(2));
    assert_eq!(routes.troubles(), []);
}

#[test]
fn the_worst_body_holds_nobody_up() {
    let item = r#"{"a":[1,2,3,4],"b":"xxxxxxxxxxxx"},"#;
    let items = item.repeat(filter::BODY_MAX / item.len() - 1);
    let body = format!("[{}]", items.trim_end_matches(','));
    let clause = "event.data.all(x, x.a.all(y, y != 9) && !x.b.contains(\"y\"))";
    let clock = Clock::start();
    let began = clock.now();
    assert_eq!(answer(clause, &body), Ok(true));
    // Tens of milliseconds where nothing else runs; the bound is for a machine that does much else.
    let took = clock.now().since(began);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,60}") {
        drop(Filter::parse(&text));
    }

    #[test]
    fn no_expression_like_text_makes_the_reader_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "event", ".data", ".type", "(", ")", "[", "]", "{", "}", "&&", "||", "!", "-", "==", "in", " x", ", ",
                "\"a\"", "1", "1u", "'", "\\", ".exists(x, x)", "has(", "?", ":", "1e999", "9223372036854775808",
            ]),
            0..24,
        )
    ) {
        if let Ok(mut filter) = Filter::parse(&parts.concat()) {
            let one = notification("v2.users.{id}.presence", r#"{"a":[1]}"#);
            filter.accepts(&one, Marks::default()).ok();
        }
    }
}
