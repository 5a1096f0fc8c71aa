//! NATS JetStream: ordered and pipelined, each message chained to its predecessor.

use crate::mistake::Mistake;
use crate::sink::cloudevents::Mode;
use crate::size::Size;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The `[sink.nats]` table; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Such as `nats://localhost:4222` or `tls://…`, comma-separated.
    pub url: String,
    /// The stream, tieline's alone.
    pub stream: String,
    /// The subject, `{family}` and `{key}` allowed.
    pub subject: String,
    /// The CloudEvents content mode.
    pub mode: Mode,
    /// Replicas of a created stream.
    pub replicas: usize,
    /// How long a created stream keeps messages.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How much a created stream keeps; 0 is without bound.
    pub max_bytes: Size,
    /// How many messages may be unacknowledged.
    pub window: usize,
    /// A NATS credentials file.
    pub creds_file: Option<PathBuf>,
    /// An authority to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }
}
