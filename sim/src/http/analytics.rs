//! Analytics queries, answered from the world that the traffic tells of: what they say agrees with
//! what the sockets have said so far.
//!
//! Only the filters that a bridge needs to fill a gap are understood: queue, media type,
//! conversation and its end. Aggregates and asynchronous jobs are not simulated.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Call, Problem, Reply};
use crate::clock::{self, Millis};
use crate::platform::Platform;
use crate::traffic::Details;

/// Beyond this many rows the platform refuses to turn pages.
const DEPTH_MAX: usize = 100_000;

const DAY: Millis = 86_400_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    predicates: Vec<Predicate>,
    clauses: Vec<Filter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Predicate {
    dimension: String,
    operator: Option<String>,
    value: Option<String>,
}

impl Filter {
    fn predicates(&self) -> Vec<&Predicate> {
        let nested = self.clauses.iter().flat_map(Self::predicates);
        self.predicates.iter().chain(nested).collect()
    }

    /// The values a dimension may have; none means any.
    fn values(&self, dimension: &str) -> Vec<&str> {
        self.predicates()
            .into_iter()
            .filter(|predicate| predicate.dimension == dimension)
            .filter_map(|predicate| predicate.value.as_deref())
            .collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObservationQuery {
    filter: Filter,
    metrics: Vec<String>,
    #[serde(default)]
    detail_metrics: Vec<String>,
}

/// `POST /api/v2/analytics/queues/observations/query`: how it is now.
pub(super) fn observations(platform: &Platform, call: &Call) -> Answer {
    if call.method != Method::POST {
        return Err(Problem::method_not_allowed());
    }
    let query: ObservationQuery = call.json()?;
    if query.metrics.is_empty() && query.detail_metrics.is_empty() {
        return Err(Problem::new(400, "bad.request", "metrics are required"));
    }
    let queues = query.filter.values("queueId");
    let media = query.filter.values("mediaType");
    let results = platform.traffic.observations(
        |queue| queues.is_empty() || queues.contains(&queue),
        |name| media.is_empty() || media.contains(&name),
        |metric| query.metrics.iter().any(|asked| asked == metric),
        |metric| query.detail_metrics.iter().any(|asked| asked == metric),
    );
    Ok(Reply::json(&json!({"results": results})))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DetailQuery {
    interval: String,
    #[serde(default)]
    segment_filters: Vec<Filter>,
    #[serde(default)]
    conversation_filters: Vec<Filter>,
    #[serde(default)]
    paging: Paging,
    #[serde(default)]
    order: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Paging {
    page_size: usize,
    page_number: usize,
}

impl Default for Paging {
    fn default() -> Self {
        Self { page_size: 25, page_number: 1 }
    }
}

/// `POST /api/v2/analytics/conversations/details/query`: conversations that *started* on a day that
/// the interval touches.
pub(super) fn details(platform: &Platform, call: &Call) -> Answer {
    if call.method != Method::POST {
        return Err(Problem::method_not_allowed());
    }
    let query: DetailQuery = call.json()?;
    let (from, to) = interval(&query.interval).ok_or_else(|| {
        Problem::new(400, "invalid.value", "interval must be two times with a slash between")
    })?;
    let Paging { page_size: size, page_number: number } = query.paging;
    if size == 0 || size > 100 || number == 0 {
        return Err(Problem::new(400, "invalid.value", "pageSize is 1 to 100, pageNumber from 1"));
    }
    if size.saturating_mul(number) > DEPTH_MAX {
        return Err(Problem::new(400, "bad.request", "the page lies too deep"));
    }
    let (first_day, last_day) = (from - from % DAY, to - to % DAY + DAY);
    let mut found: Vec<Details> = platform.traffic.details();
    found.retain(|details| {
        (first_day..last_day).contains(&details.start)
            && query.segment_filters.iter().all(|filter| is_segment(details, filter))
            && query.conversation_filters.iter().all(|filter| is_conversation(details, filter))
    });
    found.sort_by_key(|details| details.start);
    if query.order.as_deref() == Some("desc") {
        found.reverse();
    }
    let total = found.len();
    let page: Vec<Value> = found
        .into_iter()
        .skip((number - 1) * size)
        .take(size)
        .map(|details| details.body)
        .collect();
    // An empty page has no `conversations` at all.
    let mut reply = json!({"totalHits": total});
    if !page.is_empty() {
        reply["conversations"] = page.into();
    }
    Ok(Reply::json(&reply))
}

fn is_segment(details: &Details, filter: &Filter) -> bool {
    let queues = filter.values("queueId");
    let media = filter.values("mediaType");
    (queues.is_empty() || queues.contains(&details.queue_id.as_str()))
        && (media.is_empty() || media.contains(&details.media))
}

fn is_conversation(details: &Details, filter: &Filter) -> bool {
    let ids = filter.values("conversationId");
    let ended = filter.predicates().into_iter().all(|predicate| {
        match (predicate.dimension.as_str(), predicate.operator.as_deref()) {
            ("conversationEnd", Some("exists")) => details.end.is_some(),
            ("conversationEnd", Some("notExists")) => details.end.is_none(),
            _ => true,
        }
    });
    let in_interval = filter
        .values("conversationEnd")
        .into_iter()
        .filter_map(interval)
        .all(|(from, to)| details.end.is_some_and(|end| (from..to).contains(&end)));
    ended && in_interval && (ids.is_empty() || ids.contains(&details.id.as_str()))
}

fn interval(text: &str) -> Option<(Millis, Millis)> {
    let (from, to) = text.split_once('/')?;
    let time = |text: &str| humantime::parse_rfc3339(text).ok().map(clock::millis);
    Some((time(from)?, time(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_through_their_clauses() {
        let filter: Filter = serde_json::from_value(json!({
            "type": "or",
            "clauses": [{"type": "or", "predicates": [
                {"type": "dimension", "dimension": "queueId", "operator": "matches", "value": "a"},
            ]}],
            "predicates": [{"dimension": "queueId", "value": "b"}],
        }))
        .expect("a filter");
        assert_eq!(filter.values("queueId"), ["b", "a"]);
        assert!(filter.values("mediaType").is_empty());
    }
}
