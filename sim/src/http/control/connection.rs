//! Faults of the connection itself: how it ends, falls silent, stalls or crawls.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{ChannelAsked, Done, Problem, faulted, sockets};
use crate::clock::{self, Millis};
use crate::platform::{Platform, State};
use crate::socket::{Cut, Order, Socket, frames};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseAsked {
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

/// Bytes that a Close frame has room for beside its code.
const REASON_MAX: usize = 123;

pub(super) fn close(platform: &Platform, asked: CloseAsked) -> Done {
    if asked.reason.as_ref().is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(Problem::new(400, "invalid.value", "reason may have at most 123 bytes"));
    }
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
    Ok(faulted(&mut state, kind, now, Some(now), sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClosingAsked {
    channel: Option<String>,
    #[serde(default = "minute")]
    after_ms: Millis,
    #[serde(default = "yes")]
    close: bool,
    /// The notice itself may be left out: a close that nobody announced.
    #[serde(default = "yes")]
    notice: bool,
}

fn minute() -> Millis {
    60_000
}

fn yes() -> bool {
    true
}

pub(super) fn socket_closing(platform: &Arc<Platform>, asked: ClosingAsked) -> Done {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    for (id, socket) in sockets.iter().filter(|_| asked.notice) {
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
    let to = asked.close.then_some(now.saturating_add(asked.after_ms));
    Ok(faulted(&mut state, "socket-closing", now, to, sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceAsked {
    channel: Option<String>,
    for_ms: Option<Millis>,
    #[serde(default)]
    resume: bool,
}

pub(super) fn silence(platform: &Platform, asked: SilenceAsked) -> Done {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    let resume = asked.for_ms.filter(|_| asked.resume).map(Duration::from_millis);
    for (_, socket) in &sockets {
        socket.order(Order::Mute { resume });
    }
    let now = clock::now();
    let to = asked.for_ms.map(|length| now.saturating_add(length));
    Ok(faulted(&mut state, "silence", now, to, sockets))
}

pub(super) fn half_open(platform: &Platform, asked: ChannelAsked) -> Done {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    for (_, socket) in &sockets {
        socket.cut(Cut::Vanish);
    }
    Ok(faulted(&mut state, "half-open", clock::now(), None, sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StallAsked {
    channel: Option<String>,
    for_ms: Option<Millis>,
}

pub(super) fn stall(platform: &Arc<Platform>, asked: StallAsked) -> Done {
    let on = Order::Deaf(true);
    for_a_while(platform, "stall", asked.channel, asked.for_ms, on, Order::Deaf(false))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlowAsked {
    channel: Option<String>,
    /// Bytes that go out at a time: 1 splits frames wherever they can be split.
    #[serde(default = "few")]
    bytes: usize,
    #[serde(default = "short")]
    pause_ms: Millis,
    for_ms: Option<Millis>,
}

fn few() -> usize {
    16
}

fn short() -> Millis {
    10
}

pub(super) fn slow(platform: &Arc<Platform>, asked: SlowAsked) -> Done {
    let on = Order::Pace(Some((asked.bytes, Duration::from_millis(asked.pause_ms))));
    for_a_while(platform, "slow", asked.channel, asked.for_ms, on, Order::Pace(None))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FragmentAsked {
    channel: Option<String>,
    #[serde(default = "few")]
    bytes: usize,
    for_ms: Option<Millis>,
}

pub(super) fn fragment(platform: &Arc<Platform>, asked: FragmentAsked) -> Done {
    let on = Order::Fragment(Some(asked.bytes));
    for_a_while(platform, "fragment", asked.channel, asked.for_ms, on, Order::Fragment(None))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatsAsked {
    channel: Option<String>,
    /// How many are left out; all of them unless said.
    skip: Option<u32>,
    /// How much later each of the others comes.
    #[serde(default)]
    delay_ms: Millis,
}

pub(super) fn heartbeats(platform: &Platform, asked: HeartbeatsAsked) -> Done {
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    let all = if asked.delay_ms == 0 { u32::MAX } else { 0 };
    let skip = asked.skip.unwrap_or(all);
    for (_, socket) in &sockets {
        socket.order(Order::Heartbeats { skip, delay: Duration::from_millis(asked.delay_ms) });
    }
    Ok(faulted(&mut state, "heartbeats", clock::now(), None, sockets))
}

/// Gives an order now and takes it back later.
fn for_a_while(
    platform: &Arc<Platform>,
    kind: &str,
    channel: Option<String>,
    for_ms: Option<Millis>,
    on: Order,
    off: Order,
) -> Done {
    let mut state = platform.state();
    let sockets = sockets(&state, channel.as_deref())?;
    order(&sockets, on);
    if let Some(length) = for_ms {
        let hit = sockets.clone();
        platform.later(Duration::from_millis(length), move |_| order(&hit, off));
    }
    Ok(ended(&mut state, kind, for_ms, sockets))
}

fn order(sockets: &[(String, Socket)], order: Order) {
    for (_, socket) in sockets {
        socket.order(order);
    }
}

fn ended(
    state: &mut State,
    kind: &str,
    for_ms: Option<Millis>,
    hit: Vec<(String, Socket)>,
) -> serde_json::Value {
    let now = clock::now();
    faulted(state, kind, now, for_ms.map(|length| now.saturating_add(length)), hit)
}
