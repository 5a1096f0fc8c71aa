//! The arguments, and the help that teaches them.

use super::Exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
#[cfg(feature = "demo")]
use std::time::Duration;

/// Keeps the Genesys Cloud notification stream alive and delivers it to Kafka, NATS or a file
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(version, propagate_version = true, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Subscribe and deliver until told to stop
    ///
    /// What cannot be reached is waited for. SIGTERM and Ctrl-C deliver what is in hand, at most for process.drain_timeout.
    #[command(after_help = RUN)]
    Run(Run),
    /// Show it work: a simulated Genesys Cloud, a scripted story of faults, and the books balanced at the end
    ///
    /// Runs a simulator and the bridge in this process and cuts, throttles, silences and rotates under it. At the end the
    /// simulator's own journal is compared with what the sink holds.
    #[cfg(feature = "demo")]
    #[command(after_help = DEMO)]
    Demo(Demo),
    /// Say every mistake of a configuration, or what it would run
    ///
    /// Reads the file and the TIELINE_… variables exactly as `run` does, and connects to nothing.
    #[command(after_help = CHECK)]
    Check(Check),
    /// Say what each sink guarantees as its broker answers now, and what weakens it
    ///
    /// Asks the brokers and changes nothing there: no topic, stream or file is made, and a running tieline is not disturbed.
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The configuration (TOML); without it the defaults and the TIELINE_… variables alone
    pub file: Option<PathBuf>,
    /// Exit with 69 when something cannot be reached at start, instead of waiting for it
    #[arg(long)]
    pub fail_fast: bool,
}

/// Arguments of `demo`.
#[cfg(feature = "demo")]
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    /// Where events go; for nats and kafka a real server is started for the run
    #[arg(long, value_enum, default_value = "jsonl")]
    pub sink: DemoSink,
    /// How long the story runs, such as 60s or 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = story_time)]
    pub length: Duration,
    /// Notifications per second, over all queues
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Repeats a run: the same seed makes the same traffic and the same faults
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print one JSON object at the end instead of the live screen
    #[arg(long)]
    pub json: bool,
}

/// Where the demo delivers.
#[cfg(feature = "demo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoSink {
    /// A file.
    Jsonl,
    /// A nats-server with JetStream.
    #[cfg(feature = "nats")]
    Nats,
    /// An Apache Kafka broker.
    #[cfg(feature = "kafka")]
    Kafka,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The configuration (TOML)
    pub file: PathBuf,
    /// How to say it
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Arguments of `explain`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The configuration (TOML)
    pub file: PathBuf,
    /// How to say it
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// How `check` and `explain` say what they found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: mistakes on standard error, the summary on standard output.
    Text,
    /// For scripts: one JSON object on standard output, mistakes included.
    Json,
}

impl Cli {
    /// Reads the arguments, the program's name first.
    ///
    /// # Errors
    /// When there is nothing to carry out: help and version were printed (`Exit::Success`), or the arguments make no sense and
    /// that was said on standard error (`Exit::Usage`).
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(args).map_err(|error| {
            // Where the words cannot be printed, the code still says what happened.
            error.print().ok();
            exit_of(error.kind())
        })
    }
}

/// Clap itself ends with 2 on every error.
fn exit_of(kind: clap::error::ErrorKind) -> Exit {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    if matches!(kind, DisplayHelp | DisplayVersion) { Exit::Success } else { Exit::Usage }
}

/// The shortest story in which every fault fits, with time to recover.
#[cfg(feature = "demo")]
const STORY_MIN: Duration = Duration::from_secs(20);

#[cfg(feature = "demo")]
fn story_time(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 60s"))?;
    if length < STORY_MIN {
        return Err("the story needs at least 20s".into());
    }
    Ok(length)
}

const EXAMPLES: &str = "\
Examples:
  tieline demo                           see it work, without an account
  tieline check /etc/tieline.toml        every mistake at once, or what would run
  tieline explain /etc/tieline.toml      what each sink guarantees, and what weakens it
  tieline run /etc/tieline.toml          run it

Every key can be given by a variable as well: TIELINE_SINK__KAFKA__BROKERS=localhost:9092
Exit codes: 0 done, 64 usage, 69 unreachable, 70 a bug, 78 configuration";

const RUN: &str = "\
Examples:
  tieline run config/kafka.toml
  TIELINE_GENESYS__REGION=mypurecloud.ie tieline run tieline.toml
  tieline run tieline.toml --fail-fast   in a pipeline: 69 instead of waiting

While it runs: http://127.0.0.1:9464/readyz, /metrics and /api/v1/state (admin.listen).";

#[cfg(feature = "demo")]
const DEMO: &str = "\
Examples:
  tieline demo
  tieline demo --sink nats --for 5m
  tieline demo --seed 7 --json           for a script; exits 1 if an event is lost, doubled or out of order";

const CHECK: &str = "\
Examples:
  tieline check tieline.toml
  tieline check tieline.toml --output json | jq .mistakes

Exits 0 when it would run, 78 when it has mistakes.";

const EXPLAIN: &str = "\
Examples:
  tieline explain tieline.toml
  tieline explain tieline.toml --output json | jq '.sinks[] | {name, level, problem}'

Exits 0 when every sink gives what its `required` asks for, 69 when a broker does not answer, 78 when one gives less.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(line: &str) -> Result<Cli, Exit> {
        Cli::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_line_without_sense_is_usage() {
        for line in
            ["tieline", "tieline fly", "tieline check", "tieline run a b", "tieline run --hard"]
        {
            assert_eq!(read(line), Err(Exit::Usage), "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_mistake() {
        for line in
            ["tieline --help", "tieline --version", "tieline run --help", "tieline run --version"]
        {
            assert_eq!(read(line), Err(Exit::Success), "{line}");
        }
    }

    #[test]
    fn run_needs_no_file() {
        let Ok(Cli { command: Command::Run(run) }) = read("tieline run --fail-fast") else {
            panic!("run is not read");
        };
        assert_eq!((run.file, run.fail_fast), (None, true));
    }

    #[cfg(feature = "demo")]
    #[test]
    fn a_story_that_is_too_short_is_usage() {
        assert_eq!(read("tieline demo --for 1s"), Err(Exit::Usage));
        assert_eq!(read("tieline demo --for soon"), Err(Exit::Usage));
        assert!(read("tieline demo --for 60s --rate 100 --seed 7 --json").is_ok());
    }
}
