//! Log lines: for people on a terminal, JSON otherwise; always on standard error, so that standard output is a sink's.
//!
//! Nothing here redacts: no observation carries a secret, and what libraries say below `info`, where headers and addresses would
//! show, is never let through.

use crate::mistake::Mistake;
use serde::Deserialize;
use std::fs::File;
use std::io::IsTerminal as _;
use std::sync::Arc;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

/// The `[log]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A filter in tracing's syntax.
    pub level: String,
    /// How a line looks.
    pub format: Format,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Libraries tell as errors what is an observation of ours, with a plan; the filter in the configuration may name them again.
const QUIET: &str = "vaultrs=off,rustify=off,async_nats=error,hyper=warn,h2=warn,reqwest=warn";

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.filter().err().into_iter().collect()
    }

    fn filter(&self) -> Result<EnvFilter, Mistake> {
        let mistake = |problem: String| {
            Mistake::new(
                "level",
                format!("is not a filter: {problem}"),
                "write a level (error, warn, info, debug, trace), or levels by target such as \"tieline=debug,warn\"",
            )
        };
        if self.level.trim().is_empty() {
            return Err(mistake("it is empty".to_owned()));
        }
        for part in self.level.split(',') {
            refuse_misspelt(part.trim()).map_err(mistake)?;
        }
        // A later directive for the same target replaces an earlier one.
        EnvFilter::builder()
            .parse(format!("{QUIET},{}", self.level))
            .map_err(|error| mistake(error.to_string()))
    }
}

/// A word that is no level is a target to tracing, all of whose lines are on; `"inof"` would silence everything else.
fn refuse_misspelt(part: &str) -> Result<(), String> {
    let is_word = part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_known = part.parse::<LevelFilter>().is_ok() || part == "tieline";
    if is_word && !is_known {
        return Err(format!("{part:?} is no level"));
    }
    Ok(())
}

/// Whether a line may be written whatever the filter in the configuration says: ours always, a library's only from `info` up.
fn may_show(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tieline") || *metadata.level() <= Level::INFO
}

/// Changes which lines are written, while they are.
#[derive(Clone, Debug)]
pub struct Knob(reload::Handle<EnvFilter, Registry>);

impl Knob {
    /// From now on lines are written as `config.level` says.
    ///
    /// # Errors
    /// A `Mistake` when the filter cannot be read, or when no lines are written any more; then nothing has changed.
    pub fn turn(&self, config: &Config) -> Result<(), Mistake> {
        self.0.reload(config.filter()?).map_err(|error| {
            let problem = format!("cannot take effect: {error}");
            Mistake::new("level", problem, "restart the process")
        })
    }
}

/// Begins to write log lines to standard error, for the whole process and until its end.
///
/// # Errors
/// A `Mistake` when the filter cannot be read, or when lines are already written somewhere.
pub fn init(config: &Config) -> Result<Knob, Mistake> {
    let terminal = std::io::stderr().is_terminal();
    let human = match config.format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    begin(subscriber(config, human, colour, std::io::stderr)?)
}

/// As `init`, but into a file; for people unless the configuration asks for JSON.
///
/// # Errors
/// As `init`.
pub fn init_file(config: &Config, file: File) -> Result<Knob, Mistake> {
    let human = config.format != Format::Json;
    begin(subscriber(config, human, false, Arc::new(file))?)
}

fn begin((subscriber, knob): (impl Subscriber + Send + Sync, Knob)) -> Result<Knob, Mistake> {
    tracing::subscriber::set_global_default(subscriber).map(|()| knob).map_err(|error| {
        Mistake::new(
            "format",
            format!("cannot take effect: {error}"),
            "start the log once in a process",
        )
    })
}

fn subscriber<W>(
    config: &Config,
    human: bool,
    colour: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Knob), Mistake>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The hint lets calls below the level in the configuration cost one comparison.
    let show = filter_fn(may_show).with_max_level_hint(LevelFilter::TRACE);
    let lines = if human { for_people(colour, writer) } else { for_machines(writer) };
    let (filter, handle) = reload::Layer::new(config.filter()?);
    Ok((Registry::default().with(lines.with_filter(filter.and(show))), Knob(handle)))
}

/// Time, level and message: the message holds all that a person needs, so the fields are left out.
fn for_people<S, W>(colour: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let message_only = debug_fn(|writer: &mut Writer<'_>, field, value| {
        if field.name() == "message" { write_tame(writer, &format!("{value:?}")) } else { Ok(()) }
    });
    tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(colour)
        .fmt_fields(message_only.delimited(""))
        // A line that cannot be written (a terminal that hung up) is nothing to panic over.
        .log_internal_errors(false)
        .with_writer(writer)
        .boxed()
}

/// One object a line: timestamp, level, target, message, `event` and its fields side by side.
fn for_machines<S, W>(writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .log_internal_errors(false)
        .with_writer(writer)
        .boxed()
}

/// Writes text with control characters spelt out: what a peer says must neither forge a line nor steer a terminal.
fn write_tame(writer: &mut Writer<'_>, text: &str) -> std::fmt::Result {
    for character in text.chars() {
        if character.is_control() {
            write!(writer, "{}", character.escape_default())?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::telemetry::{Telemetry, metrics::Metrics};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// What was written, to be looked at afterwards.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn config(level: &str) -> Config {
        Config { level: level.to_owned(), format: Format::Auto }
    }

    /// What is written at `level` while `act` runs.
    pub(in crate::telemetry) fn written(level: &str, human: bool, act: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, _) =
            subscriber(&config(level), human, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn record(observation: &Observation) {
        Telemetry::new(Arc::new(Metrics::new("1.2.3", &["kafka"]))).record(observation);
    }

    fn lost() -> Observation {
        Observation::SessionLost {
            session: "s3".to_owned(),
            shard: 0,
            reason: "cut",
            detail: "reset\nby peer\u{1b}[31m".to_owned(),
            lived: Duration::from_secs(250),
        }
    }

    #[test]
    fn a_person_reads_the_message_on_one_line_without_fields() {
        let line = written("info", true, || record(&lost()));
        assert!(
            line.ends_with(
                " WARN s3 (shard 0) is lost after 4m 10s (cut): reset\\nby peer\\u{1b}[31m\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_machine_reads_one_object_with_the_fields_beside_the_message() {
        let line = written("info", false, || record(&lost()));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["event"], "session_lost");
        assert_eq!(line["shard"], 0);
        assert_eq!(line["lived_seconds"], 250.0);
        assert!(line["message"].as_str().unwrap().starts_with("s3 (shard 0) is lost"));
    }

    #[test]
    fn libraries_never_tell_their_small_print() {
        let text = written("trace", true, || {
            tracing::debug!(target: "hyper_util::client", "authorization: Bearer abc");
            tracing::error!(target: "vaultrs", "told as an observation");
            tracing::warn!(target: "rdkafka", "broker gone");
            tracing::debug!(target: "tieline::bridge", "small print of ours");
        });
        assert!(!text.contains("Bearer") && !text.contains("told as"), "{text}");
        assert!(text.contains("broker gone") && text.contains("small print of ours"));
    }

    #[test]
    fn the_level_can_be_changed_while_lines_are_written() {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, knob) =
            subscriber(&config("info"), true, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let small_print = |words: &str| tracing::debug!(target: "tieline::bridge", "{words}");
            small_print("before");
            knob.turn(&config("debug")).unwrap();
            small_print("meanwhile");
            tracing::debug!(target: "hyper_util", "authorization: Bearer abc");
            assert!(knob.turn(&config("inof")).is_err());
            small_print("still");
            knob.turn(&config("warn")).unwrap();
            small_print("afterwards");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("meanwhile") && text.contains("still"), "{text}");
        for silent in ["before", "afterwards", "Bearer"] {
            assert!(!text.contains(silent), "{text}");
        }
    }

    #[test]
    fn a_library_may_be_named_in_the_filter() {
        let text = written("info,vaultrs=error", true, || {
            tracing::error!(target: "vaultrs::api", "wanted");
        });
        assert!(text.contains("wanted"), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_a_mistake() {
        for level in ["", "loud", "inof,tieline=debug", "tieline=shout", "a=b=c"] {
            let mistakes = config(level).mistakes();
            assert_eq!(mistakes.len(), 1, "{level:?}");
            assert_eq!(mistakes[0].key, "level");
        }
        for level in ["info", "WARN", "off", "tieline=debug,warn", "tieline::bridge=trace,error"] {
            assert_eq!(config(level).mistakes(), [], "{level:?}");
        }
    }
}
