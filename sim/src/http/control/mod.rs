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
            let body = std::str::from_utf8(&call.body)
                .map_err(|error| Problem::new(400, "bad.request", error.to_string()))?;
            Asked::read(name, if body.is_empty() { "{}" } else { body })?
                .perform(platform)
                .map(|value| Reply::json(&value))
        }
        (_, _) => Err(Problem::method_not_allowed()),
    }
}

/// A control call, read and understood but not done yet.
#[derive(Debug)]
pub(crate) enum Asked {
    Allow(requests::AllowAsked),
    Blast(delivery::BlastAsked),
    Close(connection::CloseAsked),
    Disturb(delivery::DisturbAsked),
    Emit(EmitAsked),
    Evict(ChannelAsked),
    Expire(ChannelAsked),
    Forbid(requests::ForbidAsked),
    Fragment(connection::FragmentAsked),
    Frame(delivery::FrameAsked),
    HalfOpen(ChannelAsked),
    Heartbeats(connection::HeartbeatsAsked),
    Queues(identity::QueuesAsked),
    Revoke(NothingAsked),
    Resume(delivery::ResumeAsked),
    Rotate(identity::RotateAsked),
    Silence(connection::SilenceAsked),
    Slow(connection::SlowAsked),
    SocketClosing(connection::ClosingAsked),
    Stall(connection::StallAsked),
    Switch(requests::SwitchAsked),
    Throttle(requests::ThrottleAsked),
    Traffic(delivery::TrafficAsked),
    Withhold(delivery::WithholdAsked),
}

/// The name of every call that [`Asked::read`] knows.
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
    "queues",
    "resume",
    "revoke",
    "rotate",
    "silence",
    "slow",
    "socket-closing",
    "stall",
    "switch",
    "throttle",
    "traffic",
    "withhold",
];

impl Asked {
    /// Reads the fields of a call, a JSON object. Text, because the body of an emission is kept to
    /// the byte.
    pub(crate) fn read(name: &str, fields: &str) -> Result<Self, Problem> {
        Ok(match name {
            "allow" => Self::Allow(read(fields)?),
            "blast" => Self::Blast(read(fields)?),
            "close" => Self::Close(read(fields)?),
            "disturb" => Self::Disturb(read(fields)?),
            "emit" => Self::Emit(read(fields)?),
            "evict" => Self::Evict(read(fields)?),
            "expire" => Self::Expire(read(fields)?),
            "forbid" => Self::Forbid(read(fields)?),
            "fragment" => Self::Fragment(read(fields)?),
            "frame" => Self::Frame(read(fields)?),
            "half-open" => Self::HalfOpen(read(fields)?),
            "heartbeats" => Self::Heartbeats(read(fields)?),
            "queues" => Self::Queues(read(fields)?),
            "resume" => Self::Resume(read(fields)?),
            "revoke" => Self::Revoke(read(fields)?),
            "rotate" => Self::Rotate(read(fields)?),
            "silence" => Self::Silence(read(fields)?),
            "slow" => Self::Slow(read(fields)?),
            "socket-closing" => Self::SocketClosing(read(fields)?),
            "stall" => Self::Stall(read(fields)?),
            "switch" => Self::Switch(read(fields)?),
            "throttle" => Self::Throttle(read(fields)?),
            "traffic" => Self::Traffic(read(fields)?),
            "withhold" => Self::Withhold(read(fields)?),
            _ => {
                let message = format!("there is no control call {name:?}");
                return Err(Problem::new(404, "not.found", message));
            }
        })
    }

    /// Does it. Scenarios come in here too.
    pub(crate) fn perform(self, platform: &Arc<Platform>) -> Done {
        match self {
            Self::Allow(asked) => requests::allow(platform, asked),
            Self::Blast(asked) => delivery::blast(platform, asked),
            Self::Close(asked) => connection::close(platform, asked),
            Self::Disturb(asked) => delivery::disturb(platform, asked),
            Self::Emit(asked) => delivery::emit(platform, asked),
            Self::Evict(asked) => identity::evict(platform, asked),
            Self::Expire(asked) => identity::expire(platform, asked),
            Self::Forbid(asked) => requests::forbid(platform, asked),
            Self::Fragment(asked) => connection::fragment(platform, asked),
            Self::Frame(asked) => delivery::frame(platform, asked),
            Self::HalfOpen(asked) => connection::half_open(platform, asked),
            Self::Heartbeats(asked) => connection::heartbeats(platform, asked),
            Self::Queues(asked) => identity::queues(platform, asked),
            Self::Resume(asked) => Ok(delivery::resume(platform, &asked)),
            Self::Revoke(asked) => identity::revoke(platform, asked),
            Self::Rotate(asked) => identity::rotate(platform, asked),
            Self::Silence(asked) => connection::silence(platform, asked),
            Self::Slow(asked) => connection::slow(platform, asked),
            Self::SocketClosing(asked) => connection::socket_closing(platform, asked),
            Self::Stall(asked) => connection::stall(platform, asked),
            Self::Switch(asked) => requests::switch(platform, asked),
            Self::Throttle(asked) => requests::throttle(platform, asked),
            Self::Traffic(asked) => delivery::traffic(platform, asked),
            Self::Withhold(asked) => delivery::withhold(platform, asked),
        }
    }
}

fn read<T: DeserializeOwned>(fields: &str) -> Result<T, Problem> {
    serde_json::from_str(fields)
        .map_err(|error| Problem::new(400, "bad.request", error.to_string()))
}

/// A call that asks for nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NothingAsked {}

/// A call that asks for a channel and no more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChannelAsked {
    channel: Option<String>,
}

/// The id of the channel that a call names. Scenarios cannot know ids: `#1` is the channel whose
/// socket is the oldest, `#2` the next.
fn resolve(state: &State, channel: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(name) = channel else { return Ok(None) };
    let id = match name.strip_prefix('#') {
        None => state.channels.contains_key(name).then(|| name.to_owned()),
        Some(place) => {
            let mut open: Vec<(u64, &String)> = state
                .channels
                .values()
                .filter_map(|entry| Some((entry.socket.as_ref()?.serial, &entry.id)))
                .collect();
            open.sort_unstable();
            let place = place.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
            place.and_then(|place| open.get(place)).map(|(_, id)| (*id).clone())
        }
    };
    let reason = || Problem::new(404, "not.found", format!("there is no channel {name:?}"));
    id.map(Some).ok_or_else(reason)
}

/// The open sockets that a call means: one channel's, or all.
fn sockets(state: &State, channel: Option<&str>) -> Result<Vec<(String, Socket)>, Problem> {
    let channel = resolve(state, channel)?;
    Ok(state
        .channels
        .values()
        .filter(|entry| channel.as_ref().is_none_or(|id| *id == entry.id))
        .filter_map(|entry| Some((entry.id.clone(), entry.socket.clone()?)))
        .collect())
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
