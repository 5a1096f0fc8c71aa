//! What is delivered, and what happens to it on the way: traffic, emissions by hand, disturbances,
//! frames that are none of the platform's.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Done, Problem, faulted, resolve, sockets};
use crate::clock::{self, Millis};
use crate::platform::{Disturbance, Platform, What};
use crate::socket::{Blast, Item, frames};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrafficAsked {
    state: TrafficState,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TrafficState {
    Run,
    Pause,
}

pub(super) fn traffic(platform: &Platform, asked: TrafficAsked) -> Done {
    let running = matches!(asked.state, TrafficState::Run);
    platform.traffic.set_running(running);
    Ok(json!({"state": if running { "run" } else { "pause" }}))
}

/// An emission by hand, or one of a scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmitAsked {
    pub(crate) topic: String,
    pub(crate) body: Box<RawValue>,
    pub(crate) correlation_id: Option<String>,
}

pub(super) fn emit(platform: &Platform, asked: EmitAsked) -> Done {
    let mut state = platform.state();
    let id = asked.correlation_id.unwrap_or_else(|| state.uuid());
    let number = state.emit(&asked.topic, asked.body.get(), clock::now(), id.clone());
    Ok(json!({"number": number, "correlation_id": id}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DisturbAsked {
    what: What,
    channel: Option<String>,
    #[serde(default = "each")]
    every: u64,
    count: Option<u64>,
    for_ms: Option<Millis>,
    #[serde(default)]
    lag_ms: Millis,
}

fn each() -> u64 {
    1
}

pub(super) fn disturb(platform: &Platform, asked: DisturbAsked) -> Done {
    if asked.every == 0 {
        return Err(Problem::new(400, "invalid.value", "every must be at least 1"));
    }
    let disturbance = Disturbance {
        every: asked.every,
        left: asked.count,
        lag: Duration::from_millis(asked.lag_ms),
        ..Disturbance::of(asked.what)
    };
    let name = format!("disturb.{}", asked.what.name());
    begin(platform, name, disturbance, asked.channel.as_deref(), asked.for_ms)
}

/// Disturbs one channel or all from now on, for so long where that is said.
fn begin(
    platform: &Platform,
    name: impl Into<String>,
    disturbance: Disturbance,
    channel: Option<&str>,
    for_ms: Option<Millis>,
) -> Done {
    let mut state = platform.state();
    let sockets = sockets(&state, channel)?;
    let now = clock::now();
    let to = for_ms.map(|length| now.saturating_add(length));
    let channel = resolve(&state, channel)?;
    let until = to.unwrap_or(Millis::MAX);
    state.disturbances.push(Disturbance { channel, until, ..disturbance });
    Ok(faulted(&mut state, name, now, to, sockets))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WithholdAsked {
    /// Topics, or parts of topics such as a queue's id.
    topics: Vec<String>,
    channel: Option<String>,
    for_ms: Option<Millis>,
}

/// Nothing of these topics is sent any more, as if their subscription had been forgotten: nobody is
/// told, and everything else goes on.
pub(super) fn withhold(platform: &Platform, asked: WithholdAsked) -> Done {
    if asked.topics.is_empty() {
        return Err(Problem::new(400, "invalid.value", "topics must name at least one"));
    }
    let disturbance = Disturbance { topics: asked.topics, ..Disturbance::of(What::Drop) };
    begin(platform, "withhold", disturbance, asked.channel.as_deref(), asked.for_ms)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeAsked {
    /// What was withheld; all of it unless said.
    #[serde(default)]
    topics: Vec<String>,
}

/// Sends again what was withheld: those named, or all.
pub(super) fn resume(platform: &Platform, asked: &ResumeAsked) -> Value {
    let mut state = platform.state();
    state.disturbances.retain_mut(|disturbance| {
        let is_withheld = !disturbance.topics.is_empty();
        disturbance
            .topics
            .retain(|topic| !asked.topics.is_empty() && !asked.topics.contains(topic));
        !is_withheld || !disturbance.topics.is_empty()
    });
    let topics = state.disturbances.iter().flat_map(|disturbance| &disturbance.topics);
    json!({"withheld": topics.collect::<Vec<_>>()})
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrameAsked {
    channel: Option<String>,
    what: Strange,
    /// Size of an oversized frame.
    bytes: Option<usize>,
    /// The text of `text`.
    text: Option<String>,
}

/// A frame no client should choke on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Strange {
    /// Text that is not JSON.
    NotJson,
    /// JSON that is no envelope.
    NotEnvelope,
    Empty,
    Binary,
    Oversized,
    UnknownTopic,
    UnknownVersion,
    InvalidUtf8,
    /// A frame with a mask, which a server must not send.
    Masked,
    ReservedBit,
    /// An RFC 6455 ping.
    Ping,
    /// Whatever is in `text`.
    Text,
}

/// The largest frame that can be asked for, in bytes.
const BYTES_MAX: usize = 64 << 20;

fn bounded(bytes: usize) -> Result<usize, Problem> {
    let reason = || Problem::new(400, "invalid.value", format!("bytes may be at most {BYTES_MAX}"));
    (bytes <= BYTES_MAX).then_some(bytes).ok_or_else(reason)
}

pub(super) fn frame(platform: &Platform, asked: FrameAsked) -> Done {
    bounded(asked.bytes.unwrap_or_default())?;
    let mut state = platform.state();
    let sockets = sockets(&state, asked.channel.as_deref())?;
    for (_, socket) in &sockets {
        socket.queue(strange(&asked));
    }
    let now = clock::now();
    Ok(faulted(&mut state, format!("frame.{:?}", asked.what), now, Some(now), sockets))
}

/// The size of a frame that common clients refuse: their bound is 16 MiB.
const OVERSIZED: usize = (16 << 20) + 1;

fn strange(asked: &FrameAsked) -> Item {
    let text = |text: &str| Item::Text(text.into());
    let raw = |bytes: &'static [u8]| Item::Raw(Bytes::from_static(bytes));
    match asked.what {
        Strange::NotJson => text("this is not JSON"),
        Strange::NotEnvelope => text("{\"hello\":\"world\"}"),
        Strange::Empty => text(""),
        Strange::Binary => Item::Binary(Bytes::from_static(b"\x00\x01\x02\xff")),
        Strange::Oversized => {
            let filler = "x".repeat(asked.bytes.unwrap_or(OVERSIZED));
            let body = json!({"filler": filler}).to_string();
            Item::Text(frames::notification("v2.oversized", &body, "oversized").0.into())
        }
        Strange::UnknownTopic => {
            Item::Text(frames::notification("v2.unheard.of", "{}", "unheard of").0.into())
        }
        Strange::UnknownVersion => text(
            "{\"topicName\":\"v3.future\",\"version\":\"3\",\"eventBody\":{\"new\":[1,2]},\
             \"metadata\":{\"CorrelationId\":\"future\"}}",
        ),
        Strange::InvalidUtf8 => raw(b"\x81\x02\xc3\x28"),
        Strange::Masked => raw(b"\x81\x82\x01\x02\x03\x04\x7a\x7f"),
        Strange::ReservedBit => raw(b"\xc1\x02{}"),
        Strange::Ping => raw(b"\x89\x03sim"),
        Strange::Text => text(asked.text.as_deref().unwrap_or_default()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlastAsked {
    channel: Option<String>,
    #[serde(default = "million")]
    frames: u64,
    #[serde(default = "usual")]
    bytes: usize,
    topic: Option<String>,
}

fn million() -> u64 {
    1_000_000
}

/// The size of a notification in every measurement of this project.
fn usual() -> usize {
    900
}

pub(super) fn blast(platform: &Platform, asked: BlastAsked) -> Done {
    let queue = platform.traffic.queues().first().map_or("none", |queue| queue.id.as_str());
    let topic = asked.topic.unwrap_or_else(|| format!("v2.routing.queues.{queue}.conversations"));
    let blast = Blast { frames: asked.frames, bytes: bounded(asked.bytes)?, topic };
    let sockets = sockets(&platform.state(), asked.channel.as_deref())?;
    for (_, socket) in &sockets {
        socket.queue(Item::Blast(blast.clone()));
    }
    Ok(json!({"sockets": sockets.len(), "frames": asked.frames, "bytes": asked.bytes}))
}
