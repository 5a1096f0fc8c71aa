//! The bodies of notifications, by the official schemas.
//!
//! Times are RFC 3339 and media types lower case in all of these families. Nothing is decided
//! here: the world is shown as it is.

use serde_json::{Map, Value, json};

use super::conversation::{Conversation, Media, Party, Stage};
use super::world::{Agent, Desk};
use crate::clock::{Millis, rfc3339};

/// `v2.routing.queues.{id}.users`.
pub(super) fn member(queue_id: &str, agent: &Agent) -> String {
    json!({
        "id": agent.id,
        "user": {"id": agent.id},
        "queueId": queue_id,
        "joined": agent.joined,
    })
    .to_string()
}

/// `v2.analytics.queues.{id}.activity`.
pub(super) fn activity(desk: &Desk) -> String {
    let results: Vec<Value> = media_of(desk)
        .into_iter()
        .map(|media| {
            let count = |stage| count(desk, Some(media), stage);
            json!({
                "mediaType": media.name(),
                "data": [
                    {"metric": "oWaiting", "count": count(Stage::Waiting)},
                    {"metric": "oAlerting", "count": count(Stage::Alerting)},
                    {"metric": "oInteracting", "count": count(Stage::Connected)},
                ],
            })
        })
        .collect();
    json!({"results": results}).to_string()
}

/// `v2.analytics.queues.{id}.observations` of the kind that says how it is now.
pub(super) fn instant(desk: &Desk, now: Millis) -> String {
    let users = |joined: bool, busy: bool| {
        desk.agents.iter().filter(|agent| agent.joined == joined && agent.busy == busy).count()
    };
    let metric = |metric: &str, count: usize| json!({"metric": metric, "stats": {"count": count}});
    let qualified = |qualifier: &str, count: usize| {
        json!({
            "metric": "oUserRoutingStatuses",
            "qualifier": qualifier,
            "stats": {"count": count},
        })
    };
    let time = rfc3339(now);
    json!({
        "group": {"queueId": desk.queue.id},
        "data": [{
            "interval": format!("{time}/{time}"),
            "metrics": [
                metric("oWaiting", count(desk, None, Stage::Waiting)),
                metric("oAlerting", count(desk, None, Stage::Alerting)),
                metric("oInteracting", count(desk, None, Stage::Connected)),
                qualified("IDLE", users(true, false)),
                qualified("INTERACTING", users(true, true)),
                qualified("OFF_QUEUE", users(false, false)),
            ],
        }],
    })
    .to_string()
}

/// `v2.analytics.queues.{id}.observations` of the kind that grows until the half hour ends.
pub(super) fn growing(desk: &Desk) -> String {
    let tally = &desk.tally;
    let (from, to) = tally.interval();
    json!({
        "group": {"queueId": desk.queue.id, "mediaType": "voice"},
        "data": [{
            "interval": format!("{}/{}", rfc3339(from), rfc3339(to)),
            "metrics": [
                {"metric": "nOffered", "stats": {"count": tally.offered}},
                {"metric": "tAnswered", "stats": {
                    "count": tally.answered,
                    "sum": tally.waited_ms,
                }},
                {"metric": "tAbandon", "stats": {"count": tally.abandoned}},
                {"metric": "oServiceLevel", "stats": {
                    "numerator": tally.in_time,
                    "denominator": tally.answered,
                    "ratio": ratio(tally.in_time, tally.answered),
                    "target": 0.8,
                }},
            ],
        }],
    })
    .to_string()
}

/// `v2.routing.queues.{id}.conversations`: the whole state.
pub(super) fn conversation(
    conversation: &Conversation,
    agents: &[Agent],
    queue_id: &str,
    division: &str,
) -> String {
    let mut participants = vec![customer(conversation), acd(conversation, queue_id)];
    if let Some((place, party)) = &conversation.agent {
        let user_id = agents.get(*place).map_or("", |agent| agent.id.as_str());
        participants.push(agent(conversation, party, user_id, queue_id));
    }
    json!({
        "id": conversation.id,
        "maxParticipants": participants.len(),
        "participants": participants,
        "recordingState": "none",
        "securePause": false,
        "divisions": [{
            "division": {"id": division},
            "entities": [{"id": queue_id}],
        }],
    })
    .to_string()
}

fn customer(conversation: &Conversation) -> Value {
    let state = match conversation.stage {
        Stage::Waiting | Stage::Alerting | Stage::Connected => "connected",
        Stage::WrappingUp | Stage::Finished | Stage::Abandoned => "disconnected",
    };
    let party = &conversation.customer;
    let mut body = participant(party, "customer");
    body.insert("name".into(), format!("Caller {:07}", conversation.caller).into());
    body.insert("address".into(), format!("tel:+1555{:07}", conversation.caller).into());
    with_media(body, conversation, party, state)
}

fn acd(conversation: &Conversation, queue_id: &str) -> Value {
    let party = &conversation.acd;
    let state = if party.ended.is_some() { "disconnected" } else { "connected" };
    let mut body = participant(party, "acd");
    body.insert("queueId".into(), queue_id.into());
    body.insert(
        "conversationRoutingData".into(),
        json!({"queue": {"id": queue_id}, "priority": conversation.priority, "skills": []}),
    );
    with_media(body, conversation, party, state)
}

fn agent(conversation: &Conversation, party: &Party, user_id: &str, queue_id: &str) -> Value {
    let state = match conversation.stage {
        Stage::Waiting | Stage::Alerting => "alerting",
        Stage::Connected => "connected",
        Stage::WrappingUp | Stage::Finished | Stage::Abandoned => "disconnected",
    };
    let mut body = participant(party, "agent");
    body.insert("userId".into(), user_id.into());
    body.insert("queueId".into(), queue_id.into());
    body.insert("wrapupRequired".into(), true.into());
    body.insert("alertingTimeoutMs".into(), 8000.into());
    if let Some(ended) = party.ended {
        body.insert("startAcwTime".into(), rfc3339(ended).into());
        if conversation.stage == Stage::Finished {
            body.insert(
                "wrapup".into(),
                json!({"code": conversation.wrapup_code, "notes": "", "tags": []}),
            );
        }
    }
    with_media(body, conversation, party, state)
}

fn participant(party: &Party, purpose: &str) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("id".into(), party.id.clone().into());
    body.insert("purpose".into(), purpose.into());
    body.insert("attributes".into(), json!({}));
    if let Some(connected) = party.connected {
        body.insert("connectedTime".into(), rfc3339(connected).into());
    }
    if let Some(ended) = party.ended {
        body.insert("endTime".into(), rfc3339(ended).into());
    }
    body
}

/// Adds the one communication of a participant in the array of its media type.
fn with_media(
    mut body: Map<String, Value>,
    conversation: &Conversation,
    party: &Party,
    state: &str,
) -> Value {
    let mut media = json!({
        "id": party.communication,
        "state": state,
        "held": conversation.held,
        "provider": "Edge",
    });
    // Schemas differ by media type: an e-mail or a message has no `initialState` "offering" and a
    // chat no direction.
    match conversation.media {
        Media::Voice => {
            media["direction"] = "inbound".into();
            media["muted"] = false.into();
            media["recording"] = false.into();
        }
        Media::Callback | Media::Email | Media::Message => media["direction"] = "inbound".into(),
        Media::Chat => {}
    }
    if let Some(connected) = party.connected {
        media["connectedTime"] = rfc3339(connected).into();
    }
    if let Some(ended) = party.ended {
        media["disconnectedTime"] = rfc3339(ended).into();
        media["disconnectType"] = "client".into();
    }
    body.insert(conversation.media.field().into(), json!([media]));
    Value::Object(body)
}

fn media_of(desk: &Desk) -> Vec<Media> {
    Media::ALL
        .into_iter()
        .filter(|media| {
            *media == Media::Voice || desk.live.iter().any(|entry| entry.media == *media)
        })
        .collect()
}

fn count(desk: &Desk, media: Option<Media>, stage: Stage) -> usize {
    desk.live
        .iter()
        .filter(|entry| entry.stage == stage && media.is_none_or(|media| media == entry.media))
        .count()
}

/// A share rounded to three digits.
#[expect(clippy::cast_precision_loss, reason = "counts of half an hour are small")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { (part as f64 / whole as f64 * 1000.0).round() / 1000.0 }
}
