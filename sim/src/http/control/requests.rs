//! Faults of REST, login and handshake, and the switches.

use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Done, Problem, faulted};
use crate::clock::{self, Millis};
use crate::platform::{Effect, Platform, Target, Throttle};
use crate::switches::Switches;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThrottleAsked {
    what: Target,
    /// 429 unless it only delays.
    status: Option<u16>,
    /// The code in its body, such as `client.timeout`; the usual one of the status unless said.
    code: Option<String>,
    retry_after_s: Option<u64>,
    #[serde(default)]
    delay_ms: Millis,
    #[serde(default)]
    hang: bool,
    /// Only each n-th request is hit: 2 makes a login that flaps.
    #[serde(default = "each")]
    every: u64,
    for_ms: Millis,
}

fn each() -> u64 {
    1
}

pub(super) fn throttle(platform: &Platform, asked: ThrottleAsked) -> Done {
    if asked.status.is_some_and(|status| !(400..600).contains(&status)) || asked.every == 0 {
        let reason = "status must be from 400 to 599, every at least 1";
        return Err(Problem::new(400, "invalid.value", reason));
    }
    let refuses = asked.delay_ms == 0 && !asked.hang;
    let effect = Effect {
        status: asked.status.or(refuses.then_some(429)),
        code: asked.code,
        retry_after: asked.retry_after_s,
        delay: Duration::from_millis(asked.delay_ms),
        hangs: asked.hang,
    };
    let kind = match (effect.status, effect.hangs) {
        (_, true) => "hang".to_owned(),
        (Some(status), false) => status.to_string(),
        (None, false) => "delay".to_owned(),
    };
    let now = clock::now();
    let until = now.saturating_add(asked.for_ms);
    let mut state = platform.state();
    let (target, every) = (asked.what, asked.every);
    state.throttles.push(Throttle { target, effect, every, until, seen: 0 });
    let kind = format!("throttle.{}.{kind}", target.name());
    Ok(faulted(&mut state, kind, now, Some(until), Vec::new()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForbidAsked {
    /// Topics, or parts of topics such as a queue's id.
    #[serde(default)]
    topics: Vec<String>,
    /// One of [`REFUSALS`]; the first unless said.
    code: Option<String>,
    for_ms: Option<Millis>,
}

/// The codes with which the platform answers 403 to a subscription.
const REFUSALS: &[&str] = &[
    "notification.unauthorized.topic",
    "notification.unauthorized.divisioned.topic",
    "notification.forbidden.topic",
    "missing.permissions",
    "missing.any.permissions",
    "missing.division.permission",
    "missing.any.division.permissions",
    "app.not.authorized.for.scope",
    "not.authorized",
    "authz.policy.denied",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowAsked {
    /// What was forbidden; all of it unless said.
    #[serde(default)]
    topics: Vec<String>,
}

/// Takes permissions away, for a while or for good: topics already subscribed stay.
pub(super) fn forbid(platform: &Arc<Platform>, asked: ForbidAsked) -> Done {
    let code = asked.code.as_deref().unwrap_or(REFUSALS[0]);
    let code = REFUSALS.iter().find(|known| **known == code).ok_or_else(|| {
        Problem::new(400, "invalid.value", format!("code is one of {}", REFUSALS.join(", ")))
    })?;
    let mut state = platform.state();
    state.forbidden.extend(asked.topics.iter().map(|topic| (topic.clone(), *code)));
    let now = clock::now();
    if let Some(length) = asked.for_ms {
        let topics = asked.topics;
        platform.later(Duration::from_millis(length), move |platform| {
            let mut state = platform.state();
            state.forbidden.retain(|topic, _| !topics.contains(topic));
        });
    }
    let to = asked.for_ms.map(|length| now.saturating_add(length));
    Ok(faulted(&mut state, "forbid", now, to, Vec::new()))
}

/// Gives permissions back: those named, or all.
pub(super) fn allow(platform: &Platform, asked: AllowAsked) -> Done {
    let mut state = platform.state();
    if asked.topics.is_empty() {
        state.forbidden.clear();
    }
    state.forbidden.retain(|topic, _| !asked.topics.contains(topic));
    Ok(json!({"forbidden": state.forbidden.len()}))
}

/// The switches to turn, and no others.
#[derive(Debug)]
pub(crate) struct SwitchAsked(Value);

impl<'de> Deserialize<'de> for SwitchAsked {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let changes = Value::deserialize(from)?;
        Switches::default().with(&changes).map_err(D::Error::custom)?;
        Ok(Self(changes))
    }
}

/// Turns switches, and answers where all of them are.
pub(super) fn switch(platform: &Platform, asked: SwitchAsked) -> Done {
    let mut state = platform.state();
    let turned = state
        .switches
        .with(&asked.0)
        .map_err(|error| Problem::new(400, "invalid.value", error.to_string()))?;
    state.switches = turned;
    Ok(json!(state.switches))
}
