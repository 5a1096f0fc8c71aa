//! What lies between sequencing and the sinks: each sink's unacknowledged events, bounded.

use crate::size::Size;
use serde::Deserialize;

/// The `[journal]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bound on each sink's unacknowledged events.
    pub max_bytes: Size,
}
