//! `/api/v2/notifications/channels/{id}/subscriptions`: read, replace, add, drop.
//!
//! Without `ignoreErrors=true` one bad topic fails the whole call and changes nothing; with it the
//! good ones stick and each bad one is answered as Rejected.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Call, Caller, Problem, Reply};
use crate::platform::topics::{self, Subject};
use crate::platform::{Platform, State, TOPICS_MAX};

/// The longest topic, in characters.
const TOPIC_CHARS_MAX: usize = 200;

/// A topic that cannot be had.
#[derive(Debug)]
pub(crate) struct Flaw {
    status: u16,
    code: &'static str,
    topic: String,
    reason: String,
    missing: Vec<&'static str>,
}

/// Answers all four methods.
pub(super) fn answer(platform: &Arc<Platform>, call: &Call, caller: &Caller, id: &str) -> Answer {
    let mut state = platform.state();
    let channel =
        state.channel(id, &caller.client_id, &caller.token).ok_or_else(Problem::not_found)?;
    if call.method == Method::GET {
        return Ok(Reply::json(&entities(channel.topics.iter(), &[])));
    }
    if call.method == Method::DELETE {
        channel.replace(Vec::new());
        state.log.subscribed(id, "DELETE", 0, 0);
        settle(platform, state, id);
        return Ok(Reply::empty(200));
    }
    if call.method != Method::PUT && call.method != Method::POST {
        return Err(Problem::method_not_allowed());
    }
    drop(state);
    let asked = asked(call.json()?)?;
    let ignore = call.query("ignoreErrors").is_some_and(|value| value == "true");
    subscribe(platform, id, asked, call.method.as_str(), ignore).map(|body| Reply::json(&body))
}

/// The topics in a body: of each element only the id counts, since clients send back what they got.
fn asked(body: Vec<Value>) -> Result<Vec<String>, Problem> {
    body.into_iter()
        .map(|element| match element.get("id") {
            Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
            Some(_) => Err(Problem::new(400, "invalid.value", "id must be the name of a topic")),
            None => Err(Problem::new(400, "constraint.validation", "each topic needs an id")),
        })
        .collect()
}

/// What `{"message":"subscribe"}` does on a channel's own socket: it adds, all or nothing.
pub(super) fn subscribe_on_socket(
    platform: &Arc<Platform>,
    id: &str,
    topics: Vec<String>,
) -> Result<(), Problem> {
    subscribe(platform, id, topics, "socket", false).map(drop)
}

fn subscribe(
    platform: &Arc<Platform>,
    id: &str,
    asked: Vec<String>,
    method: &str,
    ignore: bool,
) -> Result<Value, Problem> {
    let replaces = method == Method::PUT.as_str();
    let flaws: Vec<Flaw> = asked.iter().flat_map(|topic| check(platform, topic)).collect();
    if let Some(flaw) = flaws.first().filter(|_| !ignore) {
        return Err(flaw.problem(replaces));
    }
    // A combined topic sticks as long as one of its parts is good.
    let good: Vec<String> = asked
        .into_iter()
        .filter(|topic| {
            topics::expand(topic).iter().any(|part| !flaws.iter().any(|flaw| flaw.is(topic, part)))
        })
        .collect();
    let mut state = platform.state();
    let channel = state.channels.get_mut(id).ok_or_else(Problem::not_found)?;
    let count = if replaces { good.len() } else { channel.count_with(&good) };
    if count > TOPICS_MAX {
        return Err(Problem::new(
            400,
            "notification.subscription.too.many.subscriptions",
            format!("A channel may have at most {TOPICS_MAX} topics, and this makes {count}."),
        ));
    }
    let answered = entities(good.iter(), &flaws);
    channel.refuse(&good, flaws.into_iter().map(|flaw| flaw.topic));
    let named = good.len();
    if replaces {
        channel.replace(good);
    } else {
        channel.add(good);
    }
    let topics = channel.topics.len();
    state.log.subscribed(id, method, named, topics);
    state.extend(id);
    settle(platform, state, id);
    Ok(answered)
}

/// Lets a changed subscription take effect: at once, or as late as the switches say.
fn settle(platform: &Arc<Platform>, mut state: MutexGuard<'_, State>, id: &str) {
    let delay = Duration::from_millis(state.switches.settle_ms);
    if delay.is_zero() {
        state.settle(id);
        return;
    }
    let id = id.to_owned();
    platform.later(delay, move |platform| platform.state().settle(&id));
}

/// What is wrong with a topic, part by part.
pub(crate) fn check(platform: &Platform, topic: &str) -> Vec<Flaw> {
    if topic.chars().count() > TOPIC_CHARS_MAX {
        return vec![Flaw::invalid(topic, "the topic is longer than 200 characters")];
    }
    topics::expand(topic).iter().filter_map(|part| check_single(platform, part)).collect()
}

fn check_single(platform: &Platform, topic: &str) -> Option<Flaw> {
    let Some((template, id)) = topics::find(topic) else {
        return Some(Flaw::invalid(topic, "the topic is not known"));
    };
    if !template.on_sockets {
        return Some(Flaw {
            code: "notification.transport.not.allowed",
            ..Flaw::invalid(topic, "the topic cannot be had over a socket")
        });
    }
    let known = match template.subject {
        Subject::Queue => platform.traffic.has_queue(id),
        Subject::User => platform.traffic.has_user(id),
        Subject::Other => true,
    };
    if !known {
        return Some(Flaw {
            status: 404,
            code: "not.found",
            ..Flaw::invalid(topic, "the entity in the topic was not found")
        });
    }
    let forbidden = &platform.state().forbidden;
    let refused = forbidden.iter().find(|(part, _)| topic.contains(part.as_str()));
    refused.map(|(_, code)| Flaw {
        status: 403,
        code,
        missing: template.permissions.to_vec(),
        ..Flaw::invalid(topic, "the caller is not permitted to subscribe to this topic")
    })
}

fn entities<'a>(permitted: impl Iterator<Item = &'a String>, flaws: &[Flaw]) -> Value {
    let mut entities: Vec<Value> = permitted
        .map(|topic| json!({"id": topic, "state": "Permitted", "selfUri": self_uri(topic)}))
        .collect();
    entities.extend(flaws.iter().map(|flaw| {
        json!({
            "id": flaw.topic,
            "state": "Rejected",
            "rejectionReason": flaw.reason,
            "missingPermissions": flaw.missing,
            "selfUri": self_uri(&flaw.topic),
        })
    }));
    json!({"entities": entities})
}

fn self_uri(topic: &str) -> String {
    format!("/api/v2/notifications/availabletopics/{topic}")
}

impl Flaw {
    fn invalid(topic: &str, reason: &str) -> Self {
        Self {
            status: 400,
            code: "notification.invalid.topic",
            topic: topic.to_owned(),
            reason: reason.to_owned(),
            missing: Vec::new(),
        }
    }

    /// Whether this flaw is about `part` of `topic`, or about the whole.
    fn is(&self, topic: &str, part: &str) -> bool {
        self.topic == topic || self.topic == part
    }

    /// The error of the whole call. `PUT` has a code of its own for an entity that is not there.
    fn problem(&self, replaces: bool) -> Problem {
        let message = format!("{}: {}", self.reason, self.topic);
        let code = match (self.code, replaces) {
            ("not.found", true) => "entity.not.found",
            (code, _) => code,
        };
        Problem::new(self.status, code, message).details(json!([{
            "errorCode": self.code,
            "fieldName": "id",
            "entityId": self.topic,
        }]))
    }
}
