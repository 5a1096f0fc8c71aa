//! Every body the simulator emits, and every answer of its API, against the official schemas.
//!
//! The schemas carry no list of required fields, so that this holds types, words and formats, and
//! that no field is invented.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tieline_sim::{Families, Options, rehearse};

use crate::harness::{Client, quiet};

#[test]
fn every_emitted_body_is_valid() {
    let schemas = Schemas::read(include_str!("../schemas/topics.json"));
    for seed in 0..4 {
        let families = Families { users: true, details: true };
        let options = Options { seed, queues: 4, rate: 50.0, families, ..Options::default() };
        let emissions = rehearse(&options, Duration::from_secs(120)).unwrap();
        assert!(emissions.len() > 5000);
        let mut seen = BTreeSet::new();
        for emission in &emissions {
            let template = emission.topic.replace(&emission.key, "{id}");
            let schema = schemas.all["topics"][&template].as_str().expect(&template);
            let body: Value = serde_json::from_str(emission.body.get()).unwrap();
            schemas.hold(schema, &body);
            seen.insert(template);
        }
        assert_eq!(seen.len(), 13, "{seen:?}");
    }
}

#[tokio::test]
async fn every_system_message_is_valid() {
    let schemas = Schemas::read(include_str!("../schemas/topics.json"));
    let client = Client::start(quiet()).await;
    let mut socket = client.listen(&[]).await;
    client.control("socket-closing", json!({"close": false})).await;
    client.control("revoke", json!({})).await;
    for _ in 0..2 {
        schemas.hold("SystemMessageSystemMessage", &socket.hear().await["eventBody"]);
    }
}

#[tokio::test]
async fn every_answer_of_the_api_is_valid() {
    let schemas = Schemas::read(include_str!("../schemas/rest.json"));
    let client = Client::start(Options { queues: 3, rate: 500.0, ..Options::default() }).await;
    let hold = async |name: &str, method: &str, path: &str, body: Option<Value>| {
        let (_, answer) = client.api(method, path, body).await;
        assert_ne!(answer, Value::Null, "{path}");
        schemas.hold(name, &answer);
        answer
    };
    let channel = hold("Channel", "POST", "notifications/channels", None).await;
    let id = channel["id"].as_str().unwrap();
    hold("ChannelEntityListing", "GET", "notifications/channels", None).await;
    let path = format!("notifications/channels/{id}/subscriptions?ignoreErrors=true");
    let topics = json!([{"id": client.users_topic()}, {"id": "nonsense"}]);
    hold("ChannelTopicEntityListing", "PUT", &path, Some(topics)).await;
    let all = "description,enforced,visibility,transports,requiresPermissions,permissionDetails,\
               publicApiTemplateUriPaths,topicParameters";
    let path = format!("notifications/availabletopics?expand={all}");
    hold("AvailableTopicEntityListing", "GET", &path, None).await;
    let queue = &client.sim.queues()[0].id;
    let asked = json!({
        "filter": {"type": "or", "predicates": [{"dimension": "queueId", "value": queue}]},
        "metrics": ["oWaiting", "oInteracting", "oUserRoutingStatuses", "oMemberUsers"],
        "detailMetrics": ["oInteracting"],
    });
    let path = "analytics/queues/observations/query";
    hold("QueueObservationQueryResponse", "POST", path, Some(asked)).await;
    let now = client.sim.journal().emissions[0].time.clone();
    let asked = json!({"interval": format!("{now}/{now}"), "paging": {"pageSize": 100}});
    let path = "analytics/conversations/details/query";
    hold("AnalyticsConversationQueryResponse", "POST", path, Some(asked)).await;
    hold("TokenInfo", "GET", "tokens/me", None).await;
    let path = format!("oauth/clients/{}/secret", client.sim.client_id());
    hold("OAuthClient", "POST", &path, None).await;
    hold("ErrorBody", "GET", "nothing/here", None).await;
}

#[test]
fn an_invented_field_and_a_wrong_word_are_found() {
    let schemas = Schemas::read(include_str!("../schemas/topics.json"));
    let member = &schemas.all["definitions"]["QueueUserEventTopicQueueMember"];
    assert!(schemas.check(member, &json!({"joined": true}), "").is_ok());
    assert!(schemas.check(member, &json!({"joined": "yes"}), "").is_err());
    assert!(schemas.check(member, &json!({"left": true}), "").is_err());
}

struct Schemas {
    all: Value,
}

impl Schemas {
    fn read(text: &str) -> Self {
        Self { all: serde_json::from_str(text).unwrap() }
    }

    /// Panics with the path of whatever the schema does not allow.
    fn hold(&self, name: &str, body: &Value) {
        let schema = &self.all["definitions"][name];
        assert!(schema.is_object(), "there is no schema {name}");
        if let Err(wrong) = self.check(schema, body, name) {
            panic!("{wrong} in {body}");
        }
    }

    fn check(&self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.check(&self.all["definitions"][name], value, path);
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{path}: {value} is none of its words"));
        }
        let fits = match schema["type"].as_str() {
            Some("string") => is_string(schema, value),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("array") => return self.check_array(schema, value, path),
            Some("object") => return self.check_object(schema, value, path),
            Some(other) => return Err(format!("{path}: unknown type {other}")),
            None => true,
        };
        if fits { Ok(()) } else { Err(format!("{path}: {value} is no {}", schema["type"])) }
    }

    fn check_array(&self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        let elements = value.as_array().ok_or_else(|| format!("{path}: no array"))?;
        elements.iter().enumerate().try_for_each(|(at, element)| {
            self.check(&schema["items"], element, &format!("{path}[{at}]"))
        })
    }

    fn check_object(&self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        let members = value.as_object().ok_or_else(|| format!("{path}: no object"))?;
        for (name, member) in members {
            let path = format!("{path}.{name}");
            let known = &schema["properties"][name];
            let other = &schema["additionalProperties"];
            if known.is_object() {
                self.check(known, member, &path)?;
            } else if other.is_object() {
                self.check(other, member, &path)?;
            } else if schema["properties"].is_object() {
                return Err(format!("{path}: there is no such field"));
            }
        }
        Ok(())
    }
}

fn is_string(schema: &Value, value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    let is_time = schema["format"] == "date-time";
    !is_time || (humantime::parse_rfc3339(text).is_ok() && text.len() == 24)
}
