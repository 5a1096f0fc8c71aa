//! Topics beside the queues' own that the traffic can tell of as well: detail events of each
//! conversation, presence and routing status of each agent.
//!
//! These have a true occurrence key, so that a client may drop what it sees twice. Detail events
//! write media types in upper case and times as milliseconds, unlike every other family here.

use serde_json::{Value, json};

use super::Notification;
use super::conversation::{Conversation, Party, Stage};
use super::world::Agent;
use crate::clock::{Millis, rfc3339};

/// One step of a conversation, seen from both of its ends.
pub(super) struct Change<'a> {
    pub(super) before: Option<&'a Conversation>,
    pub(super) after: &'a Conversation,
    pub(super) agents: &'a [Agent],
    pub(super) queue_id: &'a str,
    pub(super) division: &'a str,
    pub(super) now: Millis,
}

impl Change<'_> {
    /// The detail events of this step.
    pub(super) fn details(&self) -> Vec<Notification> {
        let after = self.after;
        match (self.before.map(|before| before.stage), after.stage) {
            (None, _) => vec![
                self.event("customer.start", &after.customer, json!({})),
                self.event("acd.start", &after.acd, self.routing()),
            ],
            (Some(Stage::Waiting), Stage::Alerting) => {
                self.agent(after).map(|agent| self.user_start(agent)).into_iter().collect()
            }
            (Some(Stage::Alerting), Stage::Waiting) => {
                let agent = self.before.and_then(|before| self.agent(before));
                let alerting = |agent| self.user_end(agent, "alertingDurationMs", "TIMEOUT");
                agent.map(alerting).into_iter().collect()
            }
            (Some(Stage::Alerting), Stage::Connected) => {
                vec![self.acd_end("ANSWERED", "TRANSFER")]
            }
            (Some(Stage::Connected), Stage::WrappingUp) => {
                let agent = self.agent(after);
                let talking = |agent| self.user_end(agent, "interactingDurationMs", "PEER");
                agent.map(talking).into_iter().chain([self.customer_end()]).collect()
            }
            (Some(Stage::WrappingUp), Stage::Finished) => {
                self.agent(after).map(|(_, party)| self.wrapup(party)).into_iter().collect()
            }
            (Some(Stage::Waiting), Stage::Abandoned) => {
                vec![self.customer_end(), self.acd_end("ABANDON", "PEER")]
            }
            (Some(_), _) => Vec::new(),
        }
    }

    fn agent<'a>(&'a self, conversation: &'a Conversation) -> Option<(&'a Agent, &'a Party)> {
        let (place, party) = conversation.agent.as_ref()?;
        Some((self.agents.get(*place)?, party))
    }

    fn user_start(&self, (agent, party): (&Agent, &Party)) -> Notification {
        self.event("user.start", party, json!({"userId": agent.id, "queueId": self.queue_id}))
    }

    fn user_end(&self, (agent, party): (&Agent, &Party), spent: &str, why: &str) -> Notification {
        let since = party.connected.unwrap_or(party.began);
        let more = json!({
            "userId": agent.id,
            "queueId": self.queue_id,
            "disconnectType": why,
            spent: self.now.saturating_sub(since),
        });
        self.event("user.end", party, more)
    }

    fn customer_end(&self) -> Notification {
        let customer = &self.after.customer;
        let more = json!({
            "disconnectType": "CLIENT",
            "interactingDurationMs": self.now.saturating_sub(customer.began),
        });
        self.event("customer.end", customer, more)
    }

    fn acd_end(&self, outcome: &str, why: &str) -> Notification {
        let mut more = self.routing();
        more["acdOutcome"] = outcome.into();
        more["disconnectType"] = why.into();
        more["connectedDurationMs"] = self.now.saturating_sub(self.after.acd.began).into();
        if let (Some((agent, _)), "ANSWERED") = (self.agent(self.after), outcome) {
            more["answeredUserId"] = agent.id.clone().into();
            more["usedRouting"] = "STANDARD".into();
        }
        self.event("acd.end", &self.after.acd, more)
    }

    fn wrapup(&self, party: &Party) -> Notification {
        let more = json!({
            "queueId": self.queue_id,
            "wrapupCode": self.after.wrapup_code,
            "wrapupNotes": "",
            "wrapupDurationMs": self.now.saturating_sub(party.ended.unwrap_or(self.now)),
        });
        self.event("wrapup", party, more)
    }

    fn routing(&self) -> Value {
        json!({
            "queueId": self.queue_id,
            "routingPriority": self.after.priority,
            "requestedRoutingSkillIds": [],
        })
    }

    fn event(&self, kind: &str, party: &Party, more: Value) -> Notification {
        let id = &self.after.id;
        let mut body = json!({
            "eventTime": self.now,
            "conversationId": id,
            "participantId": party.id,
            "sessionId": party.communication,
            "mediaType": self.after.media.name().to_uppercase(),
            "provider": "Edge",
            "direction": "INBOUND",
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
            // Of these events wrap-up alone belongs to no division.
            if kind != "wrapup" {
                body.insert("divisionId".into(), self.division.into());
            }
        }
        Notification {
            topic: format!("v2.detail.events.conversation.{id}.{kind}"),
            body: body.to_string(),
        }
    }
}

/// What changed about an agent: the routing status, and with coming and going the presence too.
pub(super) fn agent(before: &Agent, after: &Agent, now: Millis) -> Vec<Notification> {
    let mut said = Vec::new();
    if before.status() != after.status() {
        said.push(Notification {
            topic: format!("v2.users.{}.routingStatus", after.id),
            body: json!({
                "id": after.id,
                "routingStatus": {"status": after.status(), "startTime": rfc3339(now)},
            })
            .to_string(),
        });
    }
    if before.joined != after.joined {
        said.push(Notification {
            topic: format!("v2.users.{}.presence", after.id),
            body: presence(after.joined, now).to_string(),
        });
    }
    said
}

fn presence(joined: bool, now: Millis) -> Value {
    // The ids of the platform's own presences are the same in every organisation.
    let (id, name) = if joined {
        ("e08eaf1b-ee47-4fa9-a231-1200e284798f", "ON_QUEUE")
    } else {
        ("6a3af858-942f-489d-9700-5f9bcdcdae9b", "AVAILABLE")
    };
    json!({
        "source": "PURECLOUD",
        "presenceDefinition": {"id": id, "systemPresence": name},
        "primary": true,
        "message": "",
        "modifiedDate": rfc3339(now),
    })
}
