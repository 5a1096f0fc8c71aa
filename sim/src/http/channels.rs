//! `/api/v2/notifications/channels`: make one, list them, ask whether one lives.

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Call, Caller, Problem, Reply};
use crate::clock;
use crate::platform::{Platform, State};

/// The collection: `POST` and `GET`.
pub(super) fn collection(platform: &Platform, call: &Call, caller: &Caller) -> Answer {
    if call.method == Method::POST {
        // Clients send no body, JSON `null`, or `{}`; none of them means anything.
        let mut state = platform.state();
        let id = state.make_channel(&caller.client_id, &caller.token);
        return Ok(Reply::json(&channel(&state, &id)));
    }
    if call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let all = match call.query("includechannels") {
        None | Some("token") => false,
        Some("oauthclient") => true,
        Some(_) => {
            return Err(Problem::new(400, "invalid.value", "includechannels is not valid"));
        }
    };
    let state = platform.state();
    let entities: Vec<Value> = state
        .channels
        .values()
        .filter(|channel| channel.client_id == caller.client_id)
        .filter_map(|entry| match (entry.token == caller.token, all) {
            (true, _) => Some(channel(&state, &entry.id)),
            // Channels of other tokens are counted, not given away.
            (false, true) => Some(json!({"expires": clock::rfc3339(entry.expires)})),
            (false, false) => None,
        })
        .collect();
    Ok(Reply::json(&json!({"entities": entities})))
}

/// One channel: `HEAD`, and `GET` for people.
pub(super) fn one(platform: &Platform, call: &Call, caller: &Caller, id: &str) -> Answer {
    if call.method != Method::HEAD && call.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let mut state = platform.state();
    if state.channel(id, &caller.client_id, &caller.token).is_none() {
        return Err(Problem::not_found());
    }
    if call.method == Method::HEAD {
        return Ok(Reply::empty(200));
    }
    Ok(Reply::json(&channel(&state, id)))
}

fn channel(state: &State, id: &str) -> Value {
    let expires = state.channels.get(id).map_or(0, |channel| channel.expires);
    json!({
        "id": id,
        "connectUri": state.connect_uri(id),
        "expires": clock::rfc3339(expires),
    })
}
