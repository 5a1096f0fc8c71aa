//! Scenarios: a file of control calls, each at its moment.
//!
//! A step does exactly what the control call of the same name does by hand; a scenario has no
//! powers of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::perform;
use crate::platform::Platform;

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file asked for.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a scenario.
    #[error("{} is not a scenario", file.display())]
    Parse {
        /// The file asked for.
        file: PathBuf,
        /// Where it goes wrong.
        source: Box<toml::de::Error>,
    },
}

/// What a scenario file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// One sentence on what it shows.
    pub(crate) about: String,
    /// What happens, in any order.
    #[serde(default, rename = "step")]
    pub(crate) steps: Vec<Step>,
}

/// One control call.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Step {
    /// Time since the simulator became ready, such as `"12s"`.
    at: String,
    /// The control call, such as `"close"`.
    call: String,
    /// Its fields.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Scenario {
    pub(crate) fn load(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| Error::Read { file: file.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| Error::Parse { file: file.to_owned(), source: Box::new(source) })
    }
}

/// Plays a scenario from now on.
pub(crate) async fn play(platform: Arc<Platform>, scenario: Scenario) {
    tracing::info!(about = scenario.about, "playing a scenario");
    for step in scenario.steps {
        let Ok(at) = humantime::parse_duration(&step.at) else {
            tracing::error!(at = step.at, "a step has no readable time");
            continue;
        };
        let stage = Arc::clone(&platform);
        platform.tasks.spawn(async move {
            let stopped = stage.stopped.clone();
            if stopped.run_until_cancelled(tokio::time::sleep(at)).await.is_some() {
                take(&stage, step);
            }
        });
    }
}

fn take(platform: &Arc<Platform>, step: Step) {
    match perform(platform, &step.call, Value::Object(step.fields)) {
        Ok(_) => tracing::info!(call = step.call, "step taken"),
        Err(problem) => {
            let (status, reason) = (problem.status(), problem.message());
            tracing::error!(call = step.call, status, reason, "step failed");
        }
    }
}
