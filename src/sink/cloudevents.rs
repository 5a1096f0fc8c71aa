//! The contract with consumers: an event as a CloudEvent, in binary and structured mode.

use serde::Deserialize;

/// How a CloudEvent is laid on a message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Attributes in headers, `data` as the value.
    Binary,
    /// Everything in one JSON document.
    Structured,
}
