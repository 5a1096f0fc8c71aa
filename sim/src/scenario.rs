//! Scenarios: a file of control calls, each at its moment.
//!
//! A step does exactly what the control call of the same name does by hand; a scenario has no
//! powers of its own. Moments that are left to chance come from the seed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::chance::{self, Chance};
use crate::http::{Asked, CALLS};
use crate::platform::Platform;
use crate::traffic::Scripted;

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
    /// A step makes no sense.
    #[error("step {number} of {}: {reason}", file.display())]
    Step {
        /// The file asked for.
        file: PathBuf,
        /// The first step is 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a scenario file holds.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// One sentence on what it shows.
    about: String,
    /// Switches that differ from the defaults.
    pub(crate) switches: Value,
    steps: Vec<Step>,
}

/// One control call, once or again and again.
#[derive(Debug)]
struct Step {
    when: When,
    call: String,
    /// A JSON object.
    fields: String,
}

/// Times since the simulator became ready.
#[derive(Debug, Clone, Copy)]
enum When {
    At(Duration),
    /// With pauses from the first to the second duration, until the third.
    Paused(Duration, Duration, Duration),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    #[serde(default)]
    switches: Map<String, Value>,
    #[serde(default)]
    step: Vec<Map<String, Value>>,
}

impl Scenario {
    /// Reads a file and checks every step before the first is taken.
    pub(crate) fn load(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| Error::Read { file: file.to_owned(), source })?;
        let read: File = toml::from_str(&text)
            .map_err(|source| Error::Parse { file: file.to_owned(), source: Box::new(source) })?;
        let steps = (1..)
            .zip(read.step)
            .map(|(number, fields)| {
                Step::read(fields).map_err(|reason| {
                    let file = file.to_owned();
                    Error::Step { file, number, reason }
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { about: read.about, switches: Value::Object(read.switches), steps })
    }

    /// Takes the emissions out: the traffic's own schedule plays those, in its virtual time, so
    /// that they repeat to the byte.
    pub(crate) fn take_emissions(&mut self) -> Vec<Scripted> {
        let mut scripted = Vec::new();
        self.steps.retain(|step| match (Asked::read(&step.call, &step.fields), step.when) {
            (Ok(Asked::Emit(asked)), When::At(at)) => {
                let (topic, body) = (asked.topic, asked.body.get().to_owned());
                let correlation_id = asked.correlation_id;
                scripted.push(Scripted { at, topic, body, correlation_id });
                false
            }
            (_, _) => true,
        });
        scripted.sort_by_key(|emission| emission.at);
        scripted
    }
}

impl Step {
    fn read(mut fields: Map<String, Value>) -> Result<Self, String> {
        let mut text = |name: &str| match fields.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{name} must be text, not {other}")),
        };
        let call = text("call")?.ok_or("it has no call")?;
        if !CALLS.contains(&call.as_str()) {
            return Err(format!("there is no call {call:?}; there are {}", CALLS.join(", ")));
        }
        let when = match (text("at")?, text("pause")?, text("until")?) {
            (Some(at), None, None) => When::At(duration(&at)?),
            (None, Some(pause), Some(until)) => {
                let (from, to) = pause.split_once("..").unwrap_or((&pause, &pause));
                When::Paused(duration(from)?, duration(to)?, duration(&until)?)
            }
            _ => return Err("it needs either at, or pause with until".to_owned()),
        };
        if matches!(when, When::Paused(from, to, _) if from.is_zero() || to < from) {
            return Err(
                "pause must be a duration, or a range from a short one to a long one".into()
            );
        }
        if call == "emit" && matches!(when, When::Paused(..)) {
            return Err("emit needs at, so that it repeats".to_owned());
        }
        let fields = Value::Object(fields).to_string();
        Asked::read(&call, &fields).map_err(|problem| problem.message().to_owned())?;
        Ok(Self { when, call, fields })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{text:?} is no duration: {error}"))
}

/// Plays a scenario from now on.
pub(crate) async fn play(platform: Arc<Platform>, scenario: Scenario) {
    tracing::info!(about = scenario.about, "playing a scenario");
    for (number, step) in (1..).zip(scenario.steps) {
        let chance = chance::stream(platform.options.seed, &format!("step {number}"));
        platform.tasks.spawn(play_step(Arc::clone(&platform), step, chance));
    }
}

async fn play_step(platform: Arc<Platform>, step: Step, mut chance: Chance) {
    let began = Instant::now();
    let stopped = platform.stopped.clone();
    let mut next = match step.when {
        When::At(at) => at,
        When::Paused(from, to, _) => between(&mut chance, from, to),
    };
    while stopped.run_until_cancelled(tokio::time::sleep_until(began + next)).await.is_some() {
        take(&platform, &step);
        match step.when {
            When::At(_) => return,
            When::Paused(from, to, until) => {
                next += between(&mut chance, from, to);
                if next > until {
                    return;
                }
            }
        }
    }
}

fn between(chance: &mut Chance, from: Duration, to: Duration) -> Duration {
    let micros = |length: Duration| u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(chance.random_range(micros(from)..=micros(to)))
}

fn take(platform: &Arc<Platform>, step: &Step) {
    match Asked::read(&step.call, &step.fields).and_then(|asked| asked.perform(platform)) {
        Ok(_) => tracing::info!(call = step.call, "step taken"),
        Err(problem) => {
            let (status, reason) = (problem.status(), problem.message());
            tracing::error!(call = step.call, status, reason, "step failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(text: &str) -> Result<Step, String> {
        Step::read(toml::from_str(text).expect("TOML"))
    }

    #[test]
    fn a_step_is_checked_before_it_is_taken() {
        assert!(step("at = '1s'\ncall = 'close'\nmode = 'rst'").is_ok());
        assert!(step("pause = '1s..2s'\nuntil = '9s'\ncall = 'revoke'").is_ok());
        let wrong = |text: &str| step(text).expect_err("wrong");
        assert!(wrong("at = '1s'\ncall = 'clsoe'").contains("no call \"clsoe\""));
        assert!(wrong("at = '1s'\ncall = 'close'\nmode = 'hard'").contains("unknown variant"));
        assert!(wrong("at = 'soon'\ncall = 'close'").contains("\"soon\" is no duration"));
        assert!(wrong("call = 'close'").contains("needs either"));
        let again = "pause = '1s'\nuntil = '9s'\ncall = 'emit'\ntopic = 'v2.a'\nbody = {}";
        assert!(wrong(again).contains("emit needs at"));
    }
}
