//! Switches: one for every behaviour of the platform that is undocumented or unsettled.
//!
//! The defaults are the readings that the facts speak for. A client that is right is right under
//! every position.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the platform behaves where its documents are silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Whether a new client secret ends the tokens issued with the old one.
    pub rotation_kills_tokens: bool,
    /// Whether a new client secret closes the sockets of that client's channels.
    pub rotation_kills_sockets: bool,
    /// What the end of a token (expiry or revocation) does to the channels it made.
    pub token_end: TokenEnd,
    /// Whether only the token that made a channel may subscribe on it; otherwise any token of the
    /// same client may.
    pub channel_needs_its_token: bool,
    /// Whether `expires` moves when a channel is subscribed again.
    pub subscribing_extends: bool,
    /// What a socket sees when another one takes its channel, or when its channel is evicted.
    pub evicted_sees: Evicted,
    /// The status that refuses the handshake of an unknown or expired channel.
    pub refused_with: u16,
    /// How long after the reply a changed subscription takes effect, in milliseconds.
    pub settle_ms: u64,
    /// Handshakes that are answered in a second, more getting 429 with `Retry-After: 1`; 0 for any
    /// number.
    pub handshakes_per_second: u32,
    /// Token requests that are answered in a second, in the same way.
    pub logins_per_second: u32,
    /// How `Retry-After` is written.
    pub retry_after: RetryAfter,
}

/// What the end of a token does to the channels it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenEnd {
    /// Their sockets are closed; the channels live on for any token of the client.
    ClosesSockets,
    /// The channels end with their sockets.
    EndsChannels,
    /// Nothing at all.
    Nothing,
}

/// What an evicted socket sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evicted {
    /// `v2.system.no_longer_subscribed`, then a close.
    Message,
    /// A close alone.
    Close,
    /// A TCP reset.
    Reset,
    /// Nothing: it stays open and never speaks again.
    Silence,
}

/// How `Retry-After` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds,
    /// An HTTP date.
    Date,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            rotation_kills_tokens: false,
            rotation_kills_sockets: false,
            token_end: TokenEnd::ClosesSockets,
            channel_needs_its_token: false,
            subscribing_extends: true,
            evicted_sees: Evicted::Message,
            refused_with: 404,
            settle_ms: 0,
            handshakes_per_second: 0,
            logins_per_second: 0,
            retry_after: RetryAfter::Seconds,
        }
    }
}

impl Switches {
    /// The same switches with those of `changes` (a JSON object) turned.
    ///
    /// # Errors
    /// When a switch is not known or cannot be in that position.
    pub fn with(&self, changes: &Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(self)?;
        let changes = changes.as_object().ok_or_else(|| wrong("switches are an object"))?;
        if let Some(all) = all.as_object_mut() {
            all.extend(changes.clone());
        }
        let turned: Self = serde_json::from_value(all)?;
        if !(400..600).contains(&turned.refused_with) {
            return Err(wrong("refused_with is a status from 400 to 599"));
        }
        Ok(turned)
    }

    /// The same switches with one turned, given as `name=position`.
    ///
    /// # Errors
    /// When the text has no `=`, the switch is not known, or it cannot be in that position.
    pub fn turned(&self, text: &str) -> Result<Self, serde_json::Error> {
        let (name, position) = text.split_once('=').unwrap_or((text, ""));
        let position = serde_json::from_str(position).unwrap_or_else(|_| Value::from(position));
        self.with(&serde_json::json!({ name: position }))
    }
}

fn wrong(what: &str) -> serde_json::Error {
    serde::de::Error::custom(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_turned_by_name() {
        let turned = Switches::default().turned("evicted_sees=reset").expect("known");
        assert_eq!(turned.evicted_sees, Evicted::Reset);
        let turned = turned.turned("settle_ms=1500").expect("known");
        assert_eq!((turned.settle_ms, turned.evicted_sees), (1500, Evicted::Reset));
        assert!(turned.turned("evicted_sees=maybe").is_err());
        assert!(turned.turned("no_such_switch=true").is_err());
        assert!(turned.turned("refused_with=200").is_err());
        assert!(turned.with(&serde_json::json!([])).is_err());
    }
}
