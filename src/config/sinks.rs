//! The `[sink.*]` tables: each sink that is named, with its own configuration.

use crate::mistake::Mistake;
use crate::sink;
use serde::Deserialize;

/// The `[sink.*]` tables: a sink is on when its table is there.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Tables {
    /// The `[sink.jsonl]` table.
    pub jsonl: Option<sink::jsonl::Config>,
    /// The `[sink.kafka]` table.
    #[cfg(feature = "kafka")]
    pub kafka: Option<sink::kafka::Config>,
    /// The `[sink.nats]` table.
    #[cfg(feature = "nats")]
    pub nats: Option<sink::nats::Config>,
}

/// The kinds that this build can make.
pub const NAMES: &[&str] = &[
    "jsonl",
    #[cfg(feature = "kafka")]
    "kafka",
    #[cfg(feature = "nats")]
    "nats",
];

/// All kinds there are, also those whose feature this build lacks.
pub const ALL_NAMES: &[&str] = &["jsonl", "kafka", "nats"];

impl Tables {
    /// What cannot work, with the kind of the sink whose table says so.
    pub fn mistakes(&self) -> Vec<(&'static str, Mistake)> {
        let mut mistakes = Vec::new();
        if let Some(config) = &self.jsonl {
            mistakes.extend(
                config
                    .mistakes()
                    .into_iter()
                    .map(|mistake| ("jsonl", mistake)),
            );
        }
        #[cfg(feature = "kafka")]
        if let Some(config) = &self.kafka {
            mistakes.extend(
                config
                    .mistakes()
                    .into_iter()
                    .map(|mistake| ("kafka", mistake)),
            );
        }
        #[cfg(feature = "nats")]
        if let Some(config) = &self.nats {
            mistakes.extend(
                config
                    .mistakes()
                    .into_iter()
                    .map(|mistake| ("nats", mistake)),
            );
        }
        mistakes
    }
}
