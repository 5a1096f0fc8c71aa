//! Which topics the configuration stands for: queues by id, by name or all of them, times the topics.
//!
//! How topics are dealt out to channels is the lifecycle's business.

use super::refusal::refusal;
use super::rest::PAGES_MAX;
use super::wire::{Queue, QueuePage};
use crate::event::Topic;
use crate::lifecycle::{Reason, Refusal};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What `queues` says when it means every queue.
pub(super) const ALL: &str = "all";

/// What stands for a queue's id in a topic.
pub(super) const PLACEHOLDER: &str = "{id}";

/// Whether the queues must be listed over REST: ids stand for themselves.
pub(super) fn need_listing(queues: &[String], topics: &[String]) -> bool {
    topics.iter().any(|topic| topic.contains(PLACEHOLDER)) && queues.iter().any(|q| !is_id(q))
}

/// The pages that have been read of the list of queues.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Vec<Vec<Queue>>>);

impl Pages {
    /// Takes a page by its number, from 1, in place of whatever was read from there on; answers all queues once it was the last.
    ///
    /// A list that is shorter than the platform says it is, is refused: to believe it would unsubscribe what was left out.
    pub(super) fn take(&self, number: u32, page: QueuePage) -> Result<Option<Vec<Queue>>, Refusal> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused =
            |reason, words: &str| Err(refusal(reason, format!("the list of queues {words}")));
        let before = (number as usize).saturating_sub(1);
        if read.len() < before {
            return refused(Reason::Unavailable, "lacks a page");
        }
        read.truncate(before);
        let is_last = page.entities.is_empty() || number >= page.page_count.unwrap_or(1);
        read.push(page.entities);
        if !is_last {
            let more = number < PAGES_MAX;
            return if more { Ok(None) } else { refused(Reason::Unexpected, "has too many pages") };
        }
        let queues: Vec<Queue> = std::mem::take(&mut *read).into_iter().flatten().collect();
        if page.total.is_some_and(|total| queues.len() < total) {
            return refused(Reason::Unavailable, "ends before its time");
        }
        Ok(Some(queues))
    }
}

/// Every topic once, and the names that no listed queue has.
///
/// In the order of the configuration: for each queue its topics, and before them the topics that are for no queue.
pub(super) fn expand(
    queues: &[String],
    topics: &[String],
    listed: &[Queue],
) -> (Vec<Topic>, Vec<String>) {
    let (ids, unknown) = chosen(queues, listed);
    let (templates, plain): (Vec<_>, Vec<_>) =
        topics.iter().partition(|topic| topic.contains(PLACEHOLDER));
    let plain = plain.into_iter().cloned();
    let expanded = ids
        .iter()
        .flat_map(|id| templates.iter().map(move |template| template.replace(PLACEHOLDER, id)));
    let mut seen = HashSet::new();
    let topics = plain
        .chain(expanded)
        .map(|name| Topic::new(&name))
        .filter(|topic| seen.insert(topic.clone()))
        .collect();
    (topics, unknown)
}

/// The ids of the chosen queues, each once, and the names that are unknown.
fn chosen(queues: &[String], listed: &[Queue]) -> (Vec<String>, Vec<String>) {
    let mut ids = Vec::new();
    let mut unknown = Vec::new();
    for queue in queues {
        if queue == ALL {
            // The platform's order may change from one listing to the next.
            let mut all: Vec<_> = listed.iter().map(|queue| queue.id.clone()).collect();
            all.sort();
            ids.extend(all);
        } else if is_id(queue) {
            ids.push(queue.to_ascii_lowercase());
        } else {
            let name = queue.to_lowercase();
            let before = ids.len();
            let named = listed.iter().filter(|one| one.name.to_lowercase() == name);
            ids.extend(named.map(|queue| queue.id.clone()));
            if ids.len() == before {
                unknown.push(queue.clone());
            }
        }
    }
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    (ids, unknown)
}

/// The platform's ids are UUIDs in their 36-character form.
fn is_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "11111111-4c52-4b0e-9d3a-0c5b6e1f2a4d";
    const TWO: &str = "22222222-4c52-4b0e-9d3a-0c5b6e1f2a4d";

    fn listed() -> Vec<Queue> {
        [(TWO, "Sales"), (ONE, "Support")]
            .map(|(id, name)| Queue { id: id.into(), name: name.into() })
            .into()
    }

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    fn names(queues: &[&str], topics: &[&str]) -> (Vec<String>, Vec<String>) {
        let (topics, unknown) = expand(&strings(queues), &strings(topics), &listed());
        let names = topics.iter().map(|topic| topic.name().to_owned());
        (names.collect(), unknown)
    }

    /// A page of as many queues, of a list that has so many pages and queues in all.
    fn page(first: usize, queues: usize, pages: u32, total: usize) -> QueuePage {
        let queue = |nth: usize| Queue { id: nth.to_string(), name: String::new() };
        let entities = (first..first + queues).map(queue).collect();
        QueuePage { entities, page_count: Some(pages), total: Some(total) }
    }

    #[test]
    fn pages_are_listed_together_and_a_page_that_is_read_again_counts_once() {
        let pages = Pages::default();
        let take = |number, page| pages.take(number, page);
        assert!(take(2, page(100, 100, 3, 203)).is_err(), "no page before it");
        for number in [1, 2, 2, 1, 2] {
            let first = (number as usize - 1) * 100;
            assert!(matches!(take(number, page(first, 100, 3, 203)), Ok(None)));
        }
        let all = take(3, page(200, 3, 3, 203)).expect("whole").expect("the last");
        let ids: Vec<String> = (0..203).map(|nth| nth.to_string()).collect();
        assert_eq!(all.into_iter().map(|queue| queue.id).collect::<Vec<_>>(), ids);
        assert!(take(4, page(203, 1, 4, 204)).is_err(), "it is over");
    }

    #[test]
    fn a_list_that_ends_before_its_time_or_never_is_refused() {
        let pages = Pages::default();
        assert!(matches!(pages.take(1, page(0, 100, 2, 150)), Ok(None)));
        let short = pages.take(2, page(100, 0, 2, 150)).expect_err("fifty are missing");
        assert_eq!(short.reason, Reason::Unavailable);
        for number in 1..PAGES_MAX {
            assert!(matches!(pages.take(number, page(0, 1, u32::MAX, 0)), Ok(None)));
        }
        let endless = pages.take(PAGES_MAX, page(0, 1, u32::MAX, 0)).expect_err("no end");
        assert_eq!(endless.reason, Reason::Unexpected);
    }

    #[test]
    fn ids_alone_need_no_listing() {
        let topics = strings(&["v2.routing.queues.{id}.users"]);
        assert!(!need_listing(&strings(&[ONE, TWO]), &topics));
        assert!(need_listing(&strings(&[ONE, "Sales"]), &topics));
        assert!(need_listing(&strings(&["all"]), &topics));
        assert!(!need_listing(&strings(&["all"]), &strings(&["v2.x"])));
    }

    #[test]
    fn each_queue_gets_each_topic_and_a_plain_topic_comes_once() {
        let (topics, unknown) = names(&["all"], &["v2.a.{id}.x", "v2.plain", "v2.a.{id}?y&z"]);
        let expected = [
            "v2.plain".to_owned(),
            format!("v2.a.{ONE}.x"),
            format!("v2.a.{ONE}?y&z"),
            format!("v2.a.{TWO}.x"),
            format!("v2.a.{TWO}?y&z"),
        ];
        assert_eq!(topics, expected);
        assert!(unknown.is_empty());
    }

    #[test]
    fn a_queue_named_twice_counts_once_and_unknown_names_are_told() {
        let (topics, unknown) = names(&["sales", TWO, "Billing"], &["v2.a.{id}"]);
        assert_eq!(topics, [format!("v2.a.{TWO}")]);
        assert_eq!(unknown, ["Billing"]);
    }
}
