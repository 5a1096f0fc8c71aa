//! `/sim/…`: the instrument's own calls, by hand over HTTP or by a scenario.
//!
//! Every call that injects a fault writes it into the journal, planned ones included. Only calls
//! that read (`state`, `journal`) are GET; the rest is POST with JSON, all fields optional unless
//! said.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Answer, Call, Problem, Reply};
use crate::clock::{self, Millis};
use crate::platform::{Ending, Platform, State, Target, Throttle};
use crate::socket::{Cut, Order, Socket, frames};

/// Answers one control call.
pub(super) fn answer(platform: &Arc<Platform>, call: &Call, name: &str) -> Answer {
    match (&call.method, name) {
        (&Method::GET, "state") => Ok(Reply::json(&state(platform))),
        (&Method::GET, "journal") => {
            let from = call.number("from", 1)?;
            let journal = platform.state().log.read(from as u64);
            Ok(Reply::json(&journal))
        }
        (&Method::POST, _) => {
            let body = if call.body.is_empty() { json!({}) } else { call.json()? };
            perform(platform, name, body).map(|value| Reply::json(&value))
        }
        (_, _) => Err(Problem::method_not_allowed()),
    }
}

/// Does what a control call asks for. Scenarios come in here too.
pub(crate) fn perform(platform: &Arc<Platform>, name: &str, body: Value) -> Result<Value, Problem> {
    match name {
        "traffic" => traffic(platform, read(body)?),
        "emit" => emit(platform, read(body)?),
        "close" => close(platform, read(body)?),
        "socket-closing" => socket_closing(platform, read(body)?),
        "silence" => silence(platform, read(body)?),
        "half-open" => half_open(platform, read(body)?),
        "throttle" => throttle(platform, read(body)?),
        "rotate" => rotate(platform, read(body)?),
        "revoke" => Ok(revoke(platform)),
        "expire" => end(platform, read(body)?, "expire", Ending::ChannelExpired),
        "evict" => end(platform, read(body)?, "evict", Ending::Evicted),
        _ => Err(Problem::new(404, "not.found", format!("there is no control call {name:?}"))),
    }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body)
        .map_err(|error| Problem::new(400, "bad.request", error.to_string()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrafficAsked {
    state: TrafficState,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TrafficState {
    Run,
    Pause,
}

fn traffic(platform: &Platform, asked: TrafficAsked) -> Result<Value, Problem> {
    let running = matches!(asked.state, TrafficState::Run);
    platform.traffic.set_running(running);
    Ok(json!({"state": if running { "run" } else { "pause" }}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmitAsked {
    topic: String,
    body: Box<RawValue>,
    correlation_id: Option<String>,
}

fn emit(platform: &Platform, asked: EmitAsked) -> Result<Value, Problem> {
    let mut state = platform.state();
    let id = asked.correlation_id.unwrap_or_else(|| state.uuid());
    let number = state.emit(&asked.topic, asked.body.get(), clock::now(), id.clone());
    Ok(json!({"number": number, "correlation_id": id}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseAsked {
    channel: Option<String>,
    mode: CloseMode,
    code: Option<u16>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CloseMode {
    Rst,
    Fin,
    Code,
}

fn close(platform: &Platform, asked: CloseAsked) -> Result<Value, Problem> {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    let code = asked.code.unwrap_or(1001);
    let reason: Utf8Bytes = asked.reason.unwrap_or_else(|| "closed by hand".to_owned()).into();
    for (_, socket) in &sockets {
        match asked.mode {
            CloseMode::Rst => socket.cut(Cut::Reset),
            CloseMode::Fin => socket.cut(Cut::Finish),
            CloseMode::Code => socket.close(code, reason.clone()),
        }
    }
    let kind = match asked.mode {
        CloseMode::Rst => "close.rst".to_owned(),
        CloseMode::Fin => "close.fin".to_owned(),
        CloseMode::Code => format!("close.{code}"),
    };
    let now = clock::now();
    Ok(faulted(&mut state, &kind, now, Some(now), sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosingAsked {
    channel: Option<String>,
    #[serde(default = "minute")]
    after_ms: Millis,
    #[serde(default = "yes")]
    close: bool,
}

fn minute() -> Millis {
    60_000
}

fn yes() -> bool {
    true
}

fn socket_closing(platform: &Arc<Platform>, asked: ClosingAsked) -> Result<Value, Problem> {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    for (id, socket) in &sockets {
        let correlation_id = state.uuid();
        let client_id = state.channels.get(id).map_or("", |channel| channel.client_id.as_str());
        let text = frames::system("socket_closing", id, client_id, &correlation_id);
        socket.say(text.into());
    }
    if asked.close {
        let closing: Vec<Socket> = sockets.iter().map(|(_, socket)| socket.clone()).collect();
        platform.later(Duration::from_millis(asked.after_ms), move |_| {
            for socket in closing {
                socket.close(1001, "socket closing".into());
            }
        });
    }
    let now = clock::now();
    let to = asked.close.then_some(now + asked.after_ms);
    Ok(faulted(&mut state, "socket-closing", now, to, sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceAsked {
    channel: Option<String>,
    for_ms: Option<Millis>,
    #[serde(default)]
    resume: bool,
}

fn silence(platform: &Platform, asked: SilenceAsked) -> Result<Value, Problem> {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    let resume = asked.for_ms.filter(|_| asked.resume).map(Duration::from_millis);
    for (_, socket) in &sockets {
        socket.order(Order::Mute { resume });
    }
    let now = clock::now();
    let to = asked.for_ms.map(|length| now + length);
    Ok(faulted(&mut state, "silence", now, to, sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HalfOpenAsked {
    channel: Option<String>,
}

fn half_open(platform: &Platform, asked: HalfOpenAsked) -> Result<Value, Problem> {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    for (_, socket) in &sockets {
        socket.cut(Cut::Vanish);
    }
    Ok(faulted(&mut state, "half-open", clock::now(), None, sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThrottleAsked {
    what: Target,
    #[serde(default = "too_many")]
    status: u16,
    retry_after_s: Option<u64>,
    for_ms: Millis,
}

fn too_many() -> u16 {
    429
}

fn throttle(platform: &Platform, asked: ThrottleAsked) -> Result<Value, Problem> {
    if !(400..600).contains(&asked.status) {
        return Err(Problem::new(400, "invalid.value", "status must be from 400 to 599"));
    }
    let now = clock::now();
    let until = now + asked.for_ms;
    let mut state = platform.state();
    let (target, status, retry_after) = (asked.what, asked.status, asked.retry_after_s);
    state.throttles.push(Throttle { target, status, retry_after, until });
    let kind = format!("throttle.{}.{status}", target.name());
    Ok(faulted(&mut state, &kind, now, Some(until), Vec::new()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateAsked {
    client_id: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    kill_tokens: bool,
    #[serde(default)]
    kill_sockets: bool,
}

fn rotate(platform: &Platform, asked: RotateAsked) -> Result<Value, Problem> {
    let mut state = platform.state();
    let client = state.rotate(asked.client_id.as_deref(), asked.secret);
    let mut hit = Vec::new();
    if asked.kill_tokens {
        state.forget_tokens(&client.id);
    }
    if asked.kill_sockets {
        hit = sockets(&state, None)?;
        for (id, _) in &hit {
            state.end_socket(id, Ending::TokenRevoked);
        }
    }
    let now = clock::now();
    let fault = faulted(&mut state, "rotate", now, Some(now), hit);
    Ok(json!({
        "client_id": client.id,
        "client_secret": client.secret,
        "fault": fault["fault"],
    }))
}

fn revoke(platform: &Platform) -> Value {
    let mut state = platform.state();
    let before = sockets(&state, None).unwrap_or_default();
    let count = state.end_tokens(None);
    let hit = before
        .into_iter()
        .filter(|(id, _)| state.channels.get(id).is_some_and(|channel| channel.socket.is_none()))
        .collect();
    let now = clock::now();
    let mut answer = faulted(&mut state, "revoke", now, Some(now), hit);
    answer["tokens"] = count.into();
    answer
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelAsked {
    channel: String,
}

fn end(
    platform: &Platform,
    asked: ChannelAsked,
    kind: &str,
    ending: Ending,
) -> Result<Value, Problem> {
    let mut state = platform.state();
    let channel = state.channels.get(&asked.channel).ok_or_else(|| no_channel(&asked.channel))?;
    let id = channel.id.clone();
    let hit = channel.socket.clone().map(|socket| (id.clone(), socket)).into_iter().collect();
    state.end_channel(&id, ending);
    let now = clock::now();
    Ok(faulted(&mut state, kind, now, Some(now), hit))
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

fn faulted(
    state: &mut State,
    kind: &str,
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
        "channels": channels,
        "queues": platform.traffic.queues(),
    })
}
