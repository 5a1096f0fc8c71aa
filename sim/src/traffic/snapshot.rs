//! The world as REST shows it, now: what a client fills its gaps with.
//!
//! It agrees with what has been emitted so far, because both are read from the same world.

use serde_json::{Value, json};

use super::conversation::{Conversation, Media, Party, Stage};
use super::world::{Agent, Desk, Past, World};
use crate::clock::{Millis, rfc3339};

/// What an observation query asks for.
pub(super) struct Asked<'a> {
    pub(super) media: &'a dyn Fn(&str) -> bool,
    pub(super) metric: &'a dyn Fn(&str) -> bool,
    pub(super) detailed: &'a dyn Fn(&str) -> bool,
}

/// A conversation for a details query, and what it can be found by.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) id: String,
    pub(crate) queue_id: String,
    pub(crate) media: &'static str,
    pub(crate) start: Millis,
    pub(crate) end: Option<Millis>,
    pub(crate) body: Value,
}

/// The results about one queue: users first, then one group for each media type.
pub(super) fn observations(desk: &Desk, asked: &Asked<'_>) -> Vec<Value> {
    let users = users(desk, asked);
    let mut results = Vec::new();
    if !users.is_empty() {
        results.push(json!({"group": {"queueId": desk.queue.id}, "data": users}));
    }
    for media in Media::ALL.into_iter().filter(|media| (asked.media)(media.name())) {
        let stages = [
            ("oWaiting", Stage::Waiting),
            ("oAlerting", Stage::Alerting),
            ("oInteracting", Stage::Connected),
        ];
        let data: Vec<Value> = stages
            .into_iter()
            .filter(|(metric, _)| (asked.metric)(metric) || (asked.detailed)(metric))
            .map(|(metric, stage)| observed(desk, media, metric, stage, asked))
            .collect();
        if !data.is_empty() {
            let group = json!({"queueId": desk.queue.id, "mediaType": media.name()});
            results.push(json!({"group": group, "data": data}));
        }
    }
    results
}

fn users(desk: &Desk, asked: &Asked<'_>) -> Vec<Value> {
    let count =
        |wanted: &dyn Fn(&Agent) -> bool| desk.agents.iter().filter(|agent| wanted(agent)).count();
    let rows = [
        ("oMemberUsers", None, count(&|_| true)),
        ("oActiveUsers", None, count(&|agent| agent.joined)),
        ("oOnQueueUsers", Some("IDLE"), count(&|agent| agent.joined && !agent.busy)),
        ("oOnQueueUsers", Some("INTERACTING"), count(&|agent| agent.busy)),
        ("oOffQueueUsers", Some("AVAILABLE"), count(&|agent| !agent.joined)),
        ("oUserRoutingStatuses", Some("IDLE"), count(&|agent| agent.joined && !agent.busy)),
        ("oUserRoutingStatuses", Some("INTERACTING"), count(&|agent| agent.busy)),
        ("oUserRoutingStatuses", Some("OFF_QUEUE"), count(&|agent| !agent.joined)),
    ];
    rows.into_iter()
        .filter(|(metric, _, _)| (asked.metric)(metric))
        .map(|(metric, qualifier, count)| {
            let mut row = json!({"metric": metric, "stats": {"count": count}});
            if let Some(qualifier) = qualifier {
                row["qualifier"] = qualifier.into();
            }
            row
        })
        .collect()
}

fn observed(desk: &Desk, media: Media, metric: &str, stage: Stage, asked: &Asked<'_>) -> Value {
    let all: Vec<&Conversation> =
        desk.live.iter().filter(|entry| entry.media == media && entry.stage == stage).collect();
    let mut row = json!({"metric": metric, "stats": {"count": all.len()}});
    if (asked.detailed)(metric) {
        row["truncated"] = false.into();
        row["observations"] = all
            .into_iter()
            .map(|entry| {
                let mut row = json!({
                    "observationDate": rfc3339(entry.customer.began),
                    "conversationId": entry.id,
                    "sessionId": entry.customer.communication,
                    "routingPriority": entry.priority,
                    "direction": "inbound",
                });
                if let Some((place, party)) = &entry.agent {
                    row["sessionId"] = party.communication.clone().into();
                    row["userId"] = agent_id(desk, *place).into();
                }
                row
            })
            .collect();
    }
    row
}

/// Every conversation, living or remembered.
pub(super) fn details(world: &World) -> Vec<Details> {
    let live = world
        .desks
        .iter()
        .flat_map(|desk| desk.live.iter().map(move |entry| detail(world, desk, entry, None)));
    let past = world.past.iter().filter_map(|Past { desk, conversation, ended }| {
        Some(detail(world, world.desks.get(*desk)?, conversation, Some(*ended)))
    });
    past.chain(live).collect()
}

fn detail(world: &World, desk: &Desk, entry: &Conversation, ended: Option<Millis>) -> Details {
    let start = entry.customer.began;
    // Talk has ended before wrap-up has; the platform counts the conversation's end with the talk.
    let end = entry.customer.ended.or(ended);
    let mut participants = vec![
        participant(entry, &entry.customer, "customer", None, desk),
        participant(entry, &entry.acd, "acd", None, desk),
    ];
    if let Some((place, party)) = &entry.agent {
        let user_id = Some(agent_id(desk, *place));
        participants.push(participant(entry, party, "agent", user_id, desk));
    }
    let mut body = json!({
        "conversationId": entry.id,
        "conversationStart": rfc3339(start),
        "originatingDirection": "inbound",
        "divisionIds": [world.division()],
        "participants": participants,
    });
    if let Some(end) = end {
        body["conversationEnd"] = rfc3339(end).into();
    }
    Details {
        id: entry.id.clone(),
        queue_id: desk.queue.id.clone(),
        media: entry.media.name(),
        start,
        end,
        body,
    }
}

fn participant(
    entry: &Conversation,
    party: &Party,
    purpose: &str,
    user_id: Option<&str>,
    desk: &Desk,
) -> Value {
    let kind = match (purpose, party.connected) {
        ("acd", _) => "delay",
        ("agent", None) => "alert",
        _ => "interact",
    };
    let mut segment = json!({
        "segmentStart": rfc3339(party.began),
        "segmentType": kind,
        "conference": false,
    });
    if purpose != "customer" {
        segment["queueId"] = desk.queue.id.clone().into();
    }
    if let Some(ended) = party.ended {
        segment["segmentEnd"] = rfc3339(ended).into();
        segment["disconnectType"] = "client".into();
    }
    let mut segments = vec![segment];
    if purpose == "agent" && entry.stage == Stage::Finished {
        segments.push(json!({
            "segmentStart": rfc3339(party.ended.unwrap_or(party.began)),
            "segmentType": "wrapup",
            "queueId": desk.queue.id,
            "wrapUpCode": entry.wrapup_code,
        }));
    }
    let mut body = json!({
        "participantId": party.id,
        "purpose": purpose,
        "sessions": [{
            "sessionId": party.communication,
            "mediaType": entry.media.name(),
            "direction": "inbound",
            "segments": segments,
        }],
    });
    if let Some(user_id) = user_id {
        body["userId"] = user_id.into();
    }
    body
}

/// The members of a queue.
pub(super) fn members(desk: &Desk) -> Vec<Value> {
    desk.agents
        .iter()
        .zip(1..)
        .map(|(agent, number)| {
            let name = format!("{} agent {number}", desk.queue.name);
            json!({
                "id": agent.id,
                "name": name,
                "user": {"id": agent.id, "name": name},
                "joined": agent.joined,
                "memberBy": "user",
                "ringNumber": 1,
                "routingStatus": {"userId": agent.id, "status": agent.status()},
                "selfUri": format!("/api/v2/routing/queues/{}/members/{}", desk.queue.id, agent.id),
            })
        })
        .collect()
}

fn agent_id(desk: &Desk, place: usize) -> &str {
    desk.agents.get(place).map_or("", |agent| agent.id.as_str())
}
