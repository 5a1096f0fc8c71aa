//! `/sim/…`: the instrument's own calls, by hand over HTTP or by a scenario.
//!
//! Every call that injects a fault writes it into the journal, planned ones included. Only calls
//! that read (`state`, `journal`) are GET; the rest is POST with JSON, all fields optional unless
//! said. A call without `channel` is about every channel that has a socket.

mod connection;
mod delivery;
mod identity;
mod requests;

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Answer, Call, Problem, Reply};
use crate::clock::{self, Millis};
use crate::platform::{Platform, State};
use crate::socket::Socket;

pub(crate) use self::delivery::EmitAsked;
pub(super) use self::identity::rotated;

/// What a call of this instrument answers.
type Done = Result<Value, Problem>;

/// Answers one control call.
pub(super) fn answer(platform: &Arc<Platform>, call: &Call, name: &str) -> Answer {
    match (&call.method, name) {
        (&Method::GET, "state") => Ok(Reply::json(&state(platform))),
        (&Method::GET, "journal") => {
            let from = call.number("from", 1)?;
            let journal = platform.state().log.read(from as u64);
            Ok(Reply::json(&journal))
        }
        (&Method::GET, "switches") => Ok(Reply::json(&platform.state().switches)),
        (&Method::POST, _) => {
            let body = if call.body.is_empty() {
                json!({})
            } else {
                call.json()?
            };
            perform(platform, name, body).map(|value| Reply::json(&value))
        }
        (_, _) => Err(Problem::method_not_allowed()),
    }
}

/// Every call that [`perform`] knows.
pub(crate) const CALLS: &[&str] = &[
    "allow",
    "blast",
    "close",
    "disturb",
    "emit",
    "evict",
    "expire",
    "forbid",
    "fragment",
    "frame",
    "half-open",
    "heartbeats",
    "revoke",
    "rotate",
    "silence",
    "slow",
    "socket-closing",
    "stall",
    "switch",
    "throttle",
    "traffic",
];

/// Does what a control call asks for. Scenarios come in here too.
pub(crate) fn perform(platform: &Arc<Platform>, name: &str, body: Value) -> Done {
    match name {
        "allow" => requests::allow(platform, read(body)?),
        "blast" => delivery::blast(platform, read(body)?),
        "close" => connection::close(platform, read(body)?),
        "disturb" => delivery::disturb(platform, read(body)?),
        "emit" => delivery::emit(platform, read(body)?),
        "evict" => identity::evict(platform, read(body)?),
        "expire" => identity::expire(platform, read(body)?),
        "forbid" => requests::forbid(platform, read(body)?),
        "fragment" => connection::fragment(platform, read(body)?),
        "frame" => delivery::frame(platform, read(body)?),
        "half-open" => connection::half_open(platform, read(body)?),
        "heartbeats" => connection::heartbeats(platform, read(body)?),
        "revoke" => Ok(identity::revoke(platform)),
        "rotate" => identity::rotate(platform, read(body)?),
        "silence" => connection::silence(platform, read(body)?),
        "slow" => connection::slow(platform, read(body)?),
        "socket-closing" => connection::socket_closing(platform, read(body)?),
        "stall" => connection::stall(platform, read(body)?),
        "switch" => requests::switch(platform, &body),
        "throttle" => requests::throttle(platform, read(body)?),
        "traffic" => delivery::traffic(platform, read(body)?),
        _ => Err(Problem::new(
            404,
            "not.found",
            format!("there is no control call {name:?}"),
        )),
    }
}

/// Reads through text, because raw JSON can be taken from text alone.
fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_str(&body.to_string())
        .map_err(|error| Problem::new(400, "bad.request", error.to_string()))
}

/// A call that asks for a channel and no more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelAsked {
    channel: Option<String>,
}

/// The open sockets that a call means: one channel's, or all.
fn sockets(state: &State, channel: Option<&str>) -> Result<Vec<(String, Socket)>, Problem> {
    if let Some(id) = channel
        && !state.channels.contains_key(id)
    {
        return Err(no_channel(id));
    }
    Ok(state
        .channels
        .values()
        .filter(|entry| channel.is_none_or(|id| id == entry.id))
        .filter_map(|entry| Some((entry.id.clone(), entry.socket.clone()?)))
        .collect())
}

fn no_channel(id: &str) -> Problem {
    Problem::new(404, "not.found", format!("there is no channel {id:?}"))
}

/// Writes a fault down and answers its number and whom it hit.
fn faulted(
    state: &mut State,
    kind: impl Into<String>,
    from: Millis,
    to: Option<Millis>,
    hit: Vec<(String, Socket)>,
) -> Value {
    let channels: Vec<String> = hit.into_iter().map(|(id, _)| id).collect();
    let number = state.log.fault(kind, from, to, channels.clone());
    json!({"fault": number, "channels": channels})
}

fn state(platform: &Platform) -> Value {
    let state = platform.state();
    let channels: Vec<Value> = state
        .channels
        .values()
        .map(|channel| {
            json!({
                "id": channel.id,
                "client_id": channel.client_id,
                "expires": clock::rfc3339(channel.expires),
                "topics": channel.topics.len(),
                "session": channel.socket.as_ref().map(|socket| socket.serial),
            })
        })
        .collect();
    json!({
        "traffic": if platform.traffic.is_running() { "run" } else { "pause" },
        "seed": platform.options.seed,
        "rate": platform.options.rate,
        "time": clock::rfc3339(clock::now()),
        "emitted": state.log.emitted_count(),
        "delivered": state.log.delivered_count(),
        "clients": state.clients.iter().map(|client| client.id.as_str()).collect::<Vec<_>>(),
        "tokens": state.tokens.len(),
        "throttles": state.throttles.len(),
        "disturbances": state.disturbances.len(),
        "switches": state.switches,
        "channels": channels,
        "queues": platform.traffic.queues(),
    })
}
