//! The configuration: valid by construction, every mistake told at once.
//!
//! Three layers, lowest first: the embedded `config/default.toml`, the file, and `TIELINE_SECTION__KEY` variables. This module
//! gathers what the parts say of their own tables; what a key means is theirs.

mod environment;
mod extract;
mod file;
mod load;
mod loaded;
mod mistakes;
mod schema;
mod text;
mod tree;

use crate::sink::Tables;
pub use environment::variables;
pub use loaded::{Change, Difference, Loaded, Overridden};
pub use mistakes::{Located, Mistakes, without_userinfo};
pub use schema::{Key, Schema, Table};
pub use text::Text;
pub use tree::Source;

use crate::mistake::Mistake;
use crate::{admin, genesys, journal, lifecycle, privacy, secret, sequence, telemetry};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All that the program is told. Made by `Config::load`, which lets nothing through that cannot work.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where tieline keeps its state.
    pub data_dir: PathBuf,
    /// Which organisation, client, queues and topics.
    pub genesys: genesys::Config,
    /// Where the client secret comes from.
    pub secret: secret::Config,
    /// The times of a session's life.
    pub lifecycle: lifecycle::Config,
    /// The bounds of arbitration.
    pub arbitration: sequence::Config,
    /// What is done about gaps.
    pub gaps: sequence::Watch,
    /// What is left out or hashed.
    pub privacy: privacy::Config,
    /// The bounds of the journal.
    pub journal: journal::Config,
    /// Where events go; at least one is there.
    #[serde(rename = "sink")]
    pub sinks: Tables,
    /// The doors for operators.
    pub admin: admin::Config,
    /// How log lines look.
    pub log: telemetry::logging::Config,
    /// What is measured on request.
    pub telemetry: telemetry::Config,
    /// The process as a whole.
    pub process: Process,
}

/// The `[process]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// How long SIGTERM and Ctrl-C may wait for sinks to acknowledge what is in hand.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// Seeds every random choice; 0 takes one from the system.
    pub seed: u64,
}

impl Config {
    /// Reads the layers: `path`, when there is one, above the defaults, and `variables` above both.
    ///
    /// Variables that do not begin with `TIELINE_` are ignored; `config::variables` gives the process's own.
    ///
    /// # Errors
    /// All mistakes at once, at least one.
    pub fn load(
        path: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        Ok(Loaded::of(path.map(Text::read).as_ref(), variables)?.config)
    }

    /// What the parts say of their tables, each mistake with the path of its table.
    fn mistakes(&self) -> Vec<(String, Mistake)> {
        let parts = [
            ("", self.own_mistakes()),
            ("genesys", self.genesys.mistakes()),
            ("secret", self.secret.mistakes()),
            ("lifecycle", self.lifecycle.mistakes()),
            ("gaps", self.gaps.mistakes()),
            ("journal", self.journal.mistakes()),
            ("admin", self.admin.mistakes()),
            ("privacy", self.privacy.mistakes()),
            ("log", self.log.mistakes()),
        ];
        let of_parts = parts.into_iter().flat_map(|(table, mistakes)| {
            mistakes.into_iter().map(move |mistake| (table.to_owned(), mistake))
        });
        let of_sinks = self.sinks.mistakes().into_iter();
        of_parts.chain(of_sinks.map(|(kind, mistake)| (format!("sink.{kind}"), mistake))).collect()
    }

    /// What is wrong between tables, and in those that have no part of their own.
    fn own_mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            mistakes.push(Mistake::new(
                "data_dir",
                "is empty",
                "name a directory that tieline may write, such as \"./data\"",
            ));
        }
        let overlap = self.lifecycle.settle + self.lifecycle.drain;
        if overlap <= self.arbitration.hold {
            mistakes.push(Mistake::new(
                "arbitration.hold",
                "is not shorter than lifecycle.settle and lifecycle.drain together, so that a rotation could double events",
                "keep the overlap of two sessions longer than the hold, such as 2s + 2s and 1s",
            ));
        }
        mistakes
    }
}

/// Every key that the program's types know, as paths; `config/default.toml` must name the same.
pub fn fields() -> BTreeSet<String> {
    load::fields()
}
