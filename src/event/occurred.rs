//! When something happened, by the families whose body says so.
//!
//! For measuring only: nothing is ordered or dropped by it. Where a body says nothing, or nonsense, the answer is none.

use super::Topic;
use crate::time::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;

/// The members that tell a time; all others are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    /// Detail events: milliseconds since 1970.
    event_time: Option<u64>,
    /// Presence.
    #[serde(borrow)]
    modified_date: Option<Cow<'a, str>>,
    /// Routing status.
    #[serde(borrow)]
    routing_status: Option<Status<'a>>,
    /// Observations of a queue.
    #[serde(borrow)]
    data: Option<Vec<Interval<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow)]
    start_time: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Interval<'a> {
    #[serde(borrow)]
    interval: Option<Cow<'a, str>>,
}

/// When what `body` tells on `topic` happened.
pub fn occurred(topic: &Topic, body: &[u8]) -> Option<Timestamp> {
    let family = topic.family_name();
    let is = |name: &str| family.eq_ignore_ascii_case(name);
    let is_detail = family.starts_with("v2.detail.events.");
    let is_observation = is("v2.analytics.queues.observations");
    if !is_detail && !is_observation && !is("v2.users.presence") && !is("v2.users.routingstatus") {
        return None;
    }
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    if is_detail {
        return Some(Timestamp::from_micros(body.event_time?.saturating_mul(1_000)));
    }
    let text = if is_observation {
        // An interval whose ends differ grows until its half hour is over: its end is no moment at which anything happened.
        let interval = body.data?.into_iter().next()?.interval?;
        let (from, to) = interval.split_once('/')?;
        (from == to).then(|| to.to_owned())?
    } else {
        let started = body.routing_status.and_then(|status| status.start_time);
        started.or(body.modified_date)?.into_owned()
    };
    humantime::parse_rfc3339(&text).ok().map(Timestamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d";

    fn told(family: &str, body: &str) -> Option<String> {
        let topic = Topic::new(&family.replace("{id}", ID));
        occurred(&topic, body.as_bytes()).map(|at| at.to_string())
    }

    #[test]
    fn each_family_tells_its_time_in_its_own_member() {
        let moment = Some("2026-11-24T15:00:00.250000Z".to_owned());
        for (family, body) in [
            ("v2.detail.events.conversation.{id}.acd.start", r#"{"eventTime":1795532400250}"#),
            ("v2.users.{id}.presence", r#"{"modifiedDate":"2026-11-24T15:00:00.250Z"}"#),
            (
                "v2.users.{id}.routingStatus",
                r#"{"routingStatus":{"status":"IDLE","startTime":"2026-11-24T15:00:00.250Z"}}"#,
            ),
            (
                "v2.analytics.queues.{id}.observations",
                r#"{"data":[{"interval":"2026-11-24T15:00:00.250Z/2026-11-24T15:00:00.250Z"}]}"#,
            ),
        ] {
            assert_eq!(told(family, body), moment, "{family}");
        }
    }

    #[test]
    fn what_says_no_time_or_nonsense_has_none() {
        for (family, body) in [
            ("v2.routing.queues.{id}.users", r#"{"modifiedDate":"2026-11-24T15:00:00Z"}"#),
            ("v2.users.{id}.presence", "{}"),
            ("v2.users.{id}.presence", r#"{"modifiedDate":"yesterday"}"#),
            ("v2.users.{id}.presence", "not JSON"),
            (
                "v2.analytics.queues.{id}.observations",
                r#"{"data":[{"interval":"2026-11-24T15:00:00Z/2026-11-24T15:30:00Z"}]}"#,
            ),
        ] {
            assert_eq!(told(family, body), None, "{family} {body}");
        }
    }
}
