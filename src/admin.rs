//! The doors for operators: `/metrics`, `/healthz`, `/readyz`, `/api/v1/state`, `/api/v1/gaps`.

use serde::Deserialize;
use std::net::SocketAddr;

/// The `[admin]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; loopback unless told otherwise.
    pub listen: SocketAddr,
}
