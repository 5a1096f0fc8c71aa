//! Faults of who one is: new secrets, revoked tokens, channels that end.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ChannelAsked, Done, NothingAsked, Problem, faulted, resolve, sockets};
use crate::clock;
use crate::platform::{Client, Ending, Platform, State};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateAsked {
    client_id: Option<String>,
    secret: Option<String>,
    /// As the switches say unless said here.
    kill_tokens: Option<bool>,
    kill_sockets: Option<bool>,
}

pub(super) fn rotate(platform: &Platform, asked: RotateAsked) -> Done {
    let mut state = platform.state();
    let kill_tokens = asked.kill_tokens.unwrap_or(state.switches.rotation_kills_tokens);
    let kill_sockets = asked.kill_sockets.unwrap_or(state.switches.rotation_kills_sockets);
    let client = state.rotate(asked.client_id.as_deref(), asked.secret);
    let fault = rotated(&mut state, &client, kill_tokens, kill_sockets);
    Ok(json!({
        "client_id": client.id,
        "client_secret": client.secret,
        "fault": fault["fault"],
    }))
}

/// What a new secret does to what the old one made; written down as a fault.
pub(in crate::http) fn rotated(
    state: &mut State,
    client: &Client,
    kill_tokens: bool,
    kill_sockets: bool,
) -> Value {
    let mut hit = Vec::new();
    if kill_tokens {
        state.forget_tokens(&client.id);
    }
    if kill_sockets {
        hit = sockets(state, None).unwrap_or_default();
        hit.retain(|(id, _)| {
            state.channels.get(id).is_some_and(|channel| channel.client_id == client.id)
        });
        for (id, _) in &hit {
            state.end_socket(id, Ending::TokenRevoked);
        }
    }
    let now = clock::now();
    faulted(state, "rotate", now, Some(now), hit)
}

pub(super) fn revoke(platform: &Platform, _: NothingAsked) -> Done {
    let mut state = platform.state();
    let before = sockets(&state, None).unwrap_or_default();
    let count = state.end_tokens(None);
    let hit = before
        .into_iter()
        .filter(|(id, _)| state.channels.get(id).is_none_or(|channel| channel.socket.is_none()))
        .collect();
    let now = clock::now();
    let mut answer = faulted(&mut state, "revoke", now, Some(now), hit);
    answer["tokens"] = count.into();
    Ok(answer)
}

/// The channel's time is over.
pub(super) fn expire(platform: &Platform, asked: ChannelAsked) -> Done {
    end(platform, asked, "expire", Ending::ChannelExpired)
}

/// As if a sibling had made one channel too many.
pub(super) fn evict(platform: &Platform, asked: ChannelAsked) -> Done {
    end(platform, asked, "evict", Ending::Evicted)
}

fn end(platform: &Platform, asked: ChannelAsked, kind: &str, ending: Ending) -> Done {
    let mut state = platform.state();
    // Scenarios leave the channel out and mean the first that has a socket.
    let name = asked.channel.as_deref().unwrap_or("#1");
    let id = resolve(&state, Some(name))?.unwrap_or_default();
    let socket = state.channels.get(&id).and_then(|channel| channel.socket.clone());
    let hit = socket.map(|socket| (id.clone(), socket)).into_iter().collect();
    state.end_channel(&id, ending);
    let now = clock::now();
    Ok(faulted(&mut state, kind, now, Some(now), hit))
}

/// Which queues are not there, as far as lists tell.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueuesAsked {
    #[serde(default)]
    hidden: Vec<String>,
}

pub(super) fn queues(platform: &Platform, asked: QueuesAsked) -> Done {
    let known = |id: &String| platform.traffic.queues().iter().any(|queue| queue.id == *id);
    if let Some(unknown) = asked.hidden.iter().find(|id| !known(id)) {
        return Err(Problem::new(404, "not.found", format!("there is no queue {unknown:?}")));
    }
    let answer = json!({"hidden": asked.hidden});
    platform.state().hidden = asked.hidden;
    Ok(answer)
}
