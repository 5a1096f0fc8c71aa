//! `GET /api/v2/notifications/availabletopics`: which topics there are, and what they need.

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Call, Problem, Reply};
use crate::platform::topics::TEMPLATES;

/// Lists every family, with what `expand` asks for.
pub(super) fn list(call: &Call) -> Answer {
    if call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let expand: Vec<&str> = call.query("expand").unwrap_or_default().split(',').collect();
    let entities: Vec<Value> = TEMPLATES
        .iter()
        .map(|template| {
            let transports: &[&str] =
                if template.on_sockets { &["All"] } else { &["EventBridge", "ProcessAutomation"] };
            let mut entity = json!({"id": template.name});
            let mut add = |name: &str, value: Value| {
                if expand.contains(&name) {
                    entity[name] = value;
                }
            };
            add("description", format!("Events of {}", template.name).into());
            add("enforced", true.into());
            add("visibility", "Public".into());
            add("transports", transports.into());
            add("requiresPermissions", template.permissions.into());
            add(
                "permissionDetails",
                json!([{
                    "type": "requiresPermissions",
                    "permissions": template.permissions,
                    "allowsCurrentUser": false,
                    "enforced": true,
                }]),
            );
            add("publicApiTemplateUriPaths", json!([]));
            add("topicParameters", vec!["id"; template.name.matches("{id}").count()].into());
            entity
        })
        .collect();
    Ok(Reply::json(&json!({"entities": entities})))
}
