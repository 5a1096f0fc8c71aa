//! The arguments, and the help that teaches them.

use super::{Exit, help};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
#[cfg(feature = "demo")]
use std::time::Duration;

/// Keeps the Genesys Cloud notification stream alive and delivers it to Kafka, NATS or a file
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(version, propagate_version = true, after_help = help::EXAMPLES, arg_required_else_help = true)]
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
    /// SIGUSR1 replaces every session, without a gap. SIGHUP reads the file again, which is also watched: queues, topics, log level
    /// and privacy rules are taken over, and what needs a restart is named.
    #[command(after_help = help::RUN)]
    Run(Run),
    /// Show it work: a simulated Genesys Cloud, a scripted story of faults, and the books balanced at the end
    ///
    /// Runs a simulator and the bridge in this process and cuts, throttles, silences and rotates under it. At the end the
    /// simulator's own journal is compared with what the sink holds.
    #[cfg(feature = "demo")]
    #[command(after_help = help::DEMO)]
    Demo(Demo),
    /// Say every mistake of a configuration, or what it would run
    ///
    /// Reads the file and the TIELINE_… variables exactly as `run` does, and connects to nothing, unless --online.
    #[command(after_help = help::CHECK)]
    Check(Check),
    /// Say what each sink guarantees as its broker answers now, and what weakens it
    ///
    /// Asks the brokers and changes nothing there: no topic, stream or file is made, and a running tieline is not disturbed.
    #[command(after_help = help::EXPLAIN)]
    Explain(Explain),
    /// Say which topics Genesys offers, and which the configuration takes
    ///
    /// Logs in as `run` would and reads the catalogue; makes no channel.
    #[command(after_help = help::TOPICS)]
    Topics(Topics),
    /// Say how a running process is: is it live, are we losing anything, whose fault is it
    #[command(after_help = help::STATE)]
    State(Door),
    /// List where a running process may have missed notifications
    #[command(after_help = help::GAPS)]
    Gaps(Door),
    /// Watch events go by, as the journal of a running process takes them
    ///
    /// It slows nothing: who watches too slowly misses events here, never in a sink, and is told how many.
    #[command(after_help = help::TAP)]
    Tap(Tap),
    /// Print what makes a shell complete commands and options
    #[command(after_help = help::COMPLETIONS)]
    Completions(Completions),
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The configuration (TOML); without it the defaults and the TIELINE_… variables alone
    pub file: Option<PathBuf>,
    /// Take over from the process that runs with the same data_dir, without a gap; where there is none, start as usual
    #[arg(long)]
    pub handover: bool,
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
    /// Also ask Genesys, the secret's source and the brokers: credentials, plan, permissions, reachability
    #[arg(long)]
    pub online: bool,
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

/// Arguments of `topics`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// The configuration (TOML)
    pub file: PathBuf,
    /// Also those that cannot be had over the socket
    #[arg(long)]
    pub all: bool,
    /// How to say it
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Where the doors of a running process are: arguments of `state` and `gaps`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The configuration (TOML) that the process runs; it says where its doors are
    pub file: Option<PathBuf>,
    /// Where its doors are, instead of the configuration
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub url: Option<String>,
    /// The file with the token that they ask for, instead of admin.token_file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authorities (PEM) to trust for https, instead of admin.tls_cert
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How to say it
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Arguments of `tap`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Whose doors.
    #[command(flatten)]
    pub door: Door,
    /// Only this key: a queue, user or conversation
    #[arg(long)]
    pub key: Option<String>,
    /// Only topics with this in their name
    #[arg(long, value_name = "PART")]
    pub topic: Option<String>,
    /// Only types with this in their name, such as routing.queues
    #[arg(long, value_name = "PART")]
    pub family: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Arguments of `completions`.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completions {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// How a command says what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For scripts: JSON on standard output, mistakes of a check included.
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
        for line in [
            "tieline",
            "tieline fly",
            "tieline check",
            "tieline run a b",
            "tieline run --hard",
            "tieline topics",
            "tieline state a --url http://localhost:1",
            "tieline tap --count 0",
            "tieline completions cmd",
        ] {
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
