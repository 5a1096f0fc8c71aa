//! The `[genesys]` table: which organisation, which client, which queues and topics.

use crate::mistake::Mistake;
use crate::size::Size;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Where the platform is and what is wanted of it; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The region's domain.
    pub region: Option<String>,
    /// The login host's address, instead of a region.
    pub login_url: Option<String>,
    /// The API host's address, instead of a region.
    pub api_url: Option<String>,
    /// The OAuth client's id, unless the secret's source holds it.
    pub client_id: Option<String>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Ids, names, or `["all"]`.
    pub queues: Vec<String>,
    /// Topics in the platform's spelling, with `{id}` for each queue.
    pub topics: Vec<String>,
    /// Whether plain http and ws are allowed.
    pub allow_insecure: bool,
    /// How long a REST call or a handshake may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The largest frame taken from the socket.
    pub frame_max: Size,
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }
}
