//! `tieline explain`: the guarantee of each sink as its broker answers now, and what weakens it.
//!
//! Reads and changes nothing: no topic, stream or file is made, and a running tieline is not disturbed.

use super::Exit;
use super::args::{Explain, Output};
use crate::config::{self, Config};
use crate::genesys::tls;
use crate::journal;
use crate::sink::guarantee::{Effect, Finding, Guarantee, Level};
use crate::sink::{self, Disposition};
use serde::Serialize;
use std::error::Error as _;
use std::io::{self, Write};
use std::time::Duration;

/// What each sink gives. The field names are the JSON's, for scripts.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether every sink gives what is required of it.
    pub ok: bool,
    /// One for each sink.
    pub sinks: Vec<Explained>,
    /// What lies between the stream and every sink.
    pub journal: Vec<Finding>,
}

/// One sink.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// Its name: `kafka`.
    pub name: &'static str,
    /// What it gives; none when its broker did not answer.
    #[serde(flatten)]
    pub guarantee: Option<Guarantee>,
    /// What is required of it.
    pub required: Option<Level>,
    /// Which events it takes; none is all.
    pub filter: Option<String>,
    /// Why it is less than required, or why nothing is known.
    pub problem: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

/// How long the brokers may take to answer, all together.
const PATIENCE: Duration = Duration::from_secs(30);

/// `tieline explain` on the process's own variables and streams.
pub fn run(args: &Explain) -> Exit {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let config = match Config::load(Some(&args.file), config::variables()) {
        Ok(config) => config,
        Err(mistakes) => {
            // Where nothing can be written, the code still says what happened.
            writeln!(err, "{}: {mistakes}", args.file.display()).ok();
            return Exit::Configuration;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            writeln!(err, "the system gives no threads: {error}").ok();
            return Exit::Bug;
        }
    };
    tls::install_provider();
    let report = runtime.block_on(explain(&config));
    runtime.shutdown_background();
    let written = match args.output {
        Output::Json => write_json(&report, &mut out),
        Output::Text => write_text(&report, &mut out),
    };
    written.map_or(Exit::Bug, |()| report.exit())
}

/// Asks every sink's broker.
pub async fn explain(config: &Config) -> Report {
    let terms = config.sinks.terms();
    let sinks = config.sinks.clone().build(&config.genesys.api_url());
    let asked = sinks.into_iter().zip(terms).map(async |((name, mut sink), terms)| {
        let answer = tokio::time::timeout(PATIENCE, sink.guarantee()).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(sink::Error::retry("ask the broker", format!("no answer within {PATIENCE:?}")))
        });
        let filter = terms.filter.map(|filter| filter.text().to_owned());
        Explained::of(name, answer, terms.required, filter)
    });
    let sinks: Vec<Explained> = futures_util::future::join_all(asked).await;
    Report {
        ok: sinks.iter().all(|sink| sink.exit == Exit::Success),
        sinks,
        journal: journal::findings(&config.journal),
    }
}

impl Explained {
    fn of(
        name: &'static str,
        answer: Result<Guarantee, sink::Error>,
        required: Option<Level>,
        filter: Option<String>,
    ) -> Self {
        let (guarantee, problem, exit) = match answer {
            Ok(guarantee) => {
                let shortfall = required.and_then(|level| guarantee.shortfall(level));
                let exit = if shortfall.is_some() { Exit::Configuration } else { Exit::Success };
                (Some(guarantee), shortfall, exit)
            }
            Err(error) => {
                let exit = match error.disposition {
                    Disposition::Misconfigured => Exit::Configuration,
                    Disposition::Retry { .. } => Exit::Unreachable,
                };
                (None, Some(whole(&error)), exit)
            }
        };
        Self { name, guarantee, required, filter, problem, exit }
    }
}

impl Explained {
    /// What it makes of the process.
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl Report {
    /// What the process ends with: a sink that cannot do what is required counts before one that does not answer.
    pub fn exit(&self) -> Exit {
        let exits = || self.sinks.iter().map(|sink| sink.exit);
        exits()
            .find(|exit| *exit == Exit::Configuration)
            .or_else(|| exits().find(|exit| *exit != Exit::Success))
            .unwrap_or(Exit::Success)
    }
}

/// An error with all that lies below it.
fn whole(error: &sink::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

fn write_text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for sink in &report.sinks {
        let level = sink.guarantee.as_ref().map(|guarantee| guarantee.level.to_string());
        writeln!(out, "{}: {}", sink.name, level.as_deref().unwrap_or("not known"))?;
        if let Some(filter) = &sink.filter {
            writeln!(out, "  filter    {filter}")?;
        }
        for finding in sink.guarantee.iter().flat_map(|guarantee| &guarantee.findings) {
            write_finding(finding, out)?;
        }
        if let Some(problem) = &sink.problem {
            writeln!(out, "  PROBLEM   {problem}")?;
        }
        writeln!(out)?;
    }
    writeln!(out, "before every sink:")?;
    report.journal.iter().try_for_each(|finding| write_finding(finding, out))
}

fn write_finding(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let effect = match finding.effect {
        Effect::Holds => "holds",
        Effect::Weakens => "weakens",
        Effect::Lowers => "LOWERS",
        Effect::Unknown => "unknown",
    };
    writeln!(out, "  {effect:<8}  {:<16}  {}", finding.name, finding.text)
}
