//! What each queue brings, where an operator asks for it: a series for each of them is paid for in every scrape.
//!
//! Bounded whatever the platform sends: the first `QUEUES_MAX` queues have series of their own, all others share one.

use super::shelf::Shelf;
use crate::event::Topic;
use crate::time::Timestamp;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec};
use std::collections::HashMap;

/// How many queues have series of their own: a thousand lines of a scrape.
pub const QUEUES_MAX: usize = 500;

/// The label of all others, and of what has no queue's id.
pub const OTHER_QUEUES: &str = "other";

/// Families of topics whose key is a queue.
const FAMILIES: [&str; 2] = ["v2.routing.queues.", "v2.analytics.queues."];

/// The series of the queues, as the metrics hold them.
#[derive(Clone, Debug)]
pub(super) struct Board {
    events: IntCounterVec,
    last: GaugeVec,
}

impl Board {
    pub(super) fn new(shelf: &Shelf) -> Self {
        let board = Self {
            events: shelf.counters(
                "tieline_queue_events_total",
                "Events of a queue that the journal took; of all queues beyond the first 500 together.",
                &["queue"],
            ),
            last: shelf.seconds_by(
                "tieline_queue_last_event_timestamp_seconds",
                "When a queue's last event was heard, in seconds since 1970; 0 before the first.",
                &["queue"],
            ),
        };
        board.series(OTHER_QUEUES);
        board
    }

    fn series(&self, queue: &str) -> Series {
        Series {
            events: self.events.with_label_values(&[queue]),
            last: self.last.with_label_values(&[queue]),
        }
    }
}

#[derive(Clone, Debug)]
struct Series {
    events: IntCounter,
    last: Gauge,
}

/// Counts what each queue brings; there is one, and it belongs to the stream.
#[derive(Debug)]
pub struct Queues {
    board: Board,
    known: HashMap<Box<str>, Series>,
    other: Series,
}

impl Queues {
    pub(super) fn new(board: Board) -> Self {
        Self { known: HashMap::new(), other: board.series(OTHER_QUEUES), board }
    }

    /// The journal took an event of this topic.
    pub fn published(&mut self, topic: &Topic, received: Timestamp) {
        let family = topic.family_name().get(..FAMILIES[1].len()).unwrap_or_default();
        let is_queue = FAMILIES
            .iter()
            .any(|of| family.get(..of.len()).is_some_and(|head| head.eq_ignore_ascii_case(of)));
        if is_queue {
            let series = self.series(topic.key());
            series.events.inc();
            series.last.set(received.as_micros() as f64 / 1e6);
        }
    }

    fn series(&mut self, queue: &str) -> &Series {
        let has_room = self.known.len() < QUEUES_MAX && is_id(queue);
        if has_room && !self.known.contains_key(queue) {
            self.known.insert(queue.into(), self.board.series(queue));
        }
        self.known.get(queue).unwrap_or(&self.other)
    }
}

/// Whether it is an id in the platform's form.
fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn id(queue: usize) -> String {
        format!("00000000-0000-4000-8000-{queue:012}")
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.encode().unwrap()).unwrap()
    }

    #[test]
    fn each_queue_is_counted_where_that_is_asked_for_and_the_rest_together() {
        let metrics = Metrics::new("1", &[]).per_queue();
        let mut queues = metrics.queues().expect("asked for");
        let at = Timestamp::from_micros(1_700_000_000_500_000);
        for queue in 0..QUEUES_MAX + 3 {
            queues.published(&Topic::new(&format!("v2.routing.queues.{}.users", id(queue))), at);
        }
        queues.published(&Topic::new(&format!("v2.analytics.queues.{}.observations", id(0))), at);
        queues.published(&Topic::new(&format!("v2.users.{}.presence", id(0))), at);
        let text = text(&metrics);
        for series in [
            format!("tieline_queue_events_total{{queue=\"{}\"}} 2", id(0)),
            format!("tieline_queue_events_total{{queue=\"{}\"}} 1", id(QUEUES_MAX - 1)),
            "tieline_queue_events_total{queue=\"other\"} 3".to_owned(),
            format!(
                "tieline_queue_last_event_timestamp_seconds{{queue=\"{}\"}} 1700000000.5",
                id(0)
            ),
        ] {
            assert!(text.contains(&series), "{series} is missing from\n{text}");
        }
        let count =
            text.lines().filter(|line| line.starts_with("tieline_queue_events_total{")).count();
        assert_eq!(count, QUEUES_MAX + 1);
    }

    #[test]
    fn nothing_of_queues_is_shown_where_nobody_asked() {
        let metrics = Metrics::new("1", &[]);
        assert!(metrics.queues().is_none() && !text(&metrics).contains("tieline_queue"));
    }
}
