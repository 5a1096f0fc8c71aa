//! What is said at the end: a table for people, one line of JSON for scripts, and the exit code for both.

use super::oracle::{Findings, NamedGap};
use super::screen::grouped;
use crate::cli::Exit;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// How many events of each kind of mishap are named.
const NAMED_MAX: usize = 10;

/// A run in the end.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) findings: Findings,
    /// The sink's name.
    pub(super) sink: &'static str,
    /// Where it is.
    pub(super) place: String,
    pub(super) seed: u64,
    /// From the first notification to the end of the drain.
    pub(super) seconds: f64,
    /// How long the story was to be.
    pub(super) length: Duration,
    pub(super) log: PathBuf,
}

/// The line of JSON; its names are the interface.
#[derive(Debug, Serialize)]
struct Line<'a> {
    emitted: u64,
    delivered: u64,
    missed: u64,
    lost: usize,
    doubled: usize,
    disordered: usize,
    late: u64,
    unknown: usize,
    altered: usize,
    misnumbered: usize,
    gaps: &'a [NamedGap],
    rotations: u64,
    complaints: &'a [String],
    sink: &'a str,
    seed: u64,
    seconds: f64,
    log: String,
}

impl Report {
    /// Says it and answers the exit code.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) fn tell(&self, json: bool) -> anyhow::Result<Exit> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", self.line()?)?;
            // Whoever looks at a failed script wants more than numbers.
            if !self.findings.is_clean() {
                write!(std::io::stderr(), "{}", self.mishaps()?)?;
            }
        } else {
            write!(out, "{}", self.table()?)?;
        }
        Ok(match self.findings.is_clean() {
            true => Exit::Success,
            false => Exit::PromiseBroken,
        })
    }

    fn line(&self) -> anyhow::Result<String> {
        let findings = &self.findings;
        let line = Line {
            emitted: findings.emitted,
            delivered: findings.delivered,
            missed: findings.missed,
            lost: findings.lost.len(),
            doubled: findings.doubled.len(),
            disordered: findings.disordered.len(),
            late: findings.late,
            unknown: findings.unknown.len(),
            altered: findings.altered.len(),
            misnumbered: findings.misnumbered.len(),
            gaps: &findings.gaps,
            rotations: findings.rotations,
            complaints: &findings.complaints,
            sink: self.sink,
            seed: self.seed,
            seconds: self.seconds,
            log: self.log.display().to_string(),
        };
        Ok(serde_json::to_string(&line)?)
    }

    fn table(&self) -> Result<String, std::fmt::Error> {
        let findings = &self.findings;
        let mut text = String::from("\nThe simulator's journal against what the sink holds\n\n");
        let mut row = |name: &str, count: u64, words: &str| {
            writeln!(text, "  {name:<14}{:>10}   {words}", grouped(count))
        };
        row("emitted", findings.emitted, "by the simulator")?;
        row("delivered", findings.delivered, "found in the sink")?;
        row("missed", findings.missed, "not in the sink, within a named gap")?;
        for (kind, mishaps) in findings.mishaps() {
            row(kind, mishaps.len() as u64, meaning(kind))?;
        }
        row("late", findings.late, "marked as coming after a younger one")?;
        row("rotations", findings.rotations, "planned changes, successor first, without a gap")?;
        row("gaps named", findings.gaps.len() as u64, "each with its fault")?;
        for gap in &findings.gaps {
            // Without the word that all refusals share, so that a row has room in 80 columns.
            let fault = gap.fault.as_deref().unwrap_or("no fault").replace("throttle.", "");
            let at = gap.from.to_string();
            let at = at.get(11..23).unwrap_or(&at);
            writeln!(
                text,
                "    #{} {:<8} {at} {:>6.2} s {:>5} missed   {fault}",
                gap.number, gap.cause, gap.seconds, gap.missed
            )?;
        }
        text.push('\n');
        text.push_str(&self.mishaps()?);
        let verdict = match findings.is_clean() {
            true => "Every promise was kept",
            false => "A PROMISE WAS BROKEN",
        };
        writeln!(
            text,
            "{verdict}: {:.0} s of a {} s story, seed {}.",
            self.seconds,
            self.length.as_secs(),
            self.seed
        )?;
        writeln!(text, "  sink  {}: {}", self.sink, self.place)?;
        writeln!(text, "  log   {}", self.log.display())?;
        Ok(text)
    }

    /// All that went wrong, the first of each kind by name; nothing when nothing did.
    fn mishaps(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        for complaint in &self.findings.complaints {
            writeln!(text, "  {complaint}")?;
        }
        for (kind, mishaps) in self.findings.mishaps().filter(|(_, mishaps)| !mishaps.is_empty()) {
            writeln!(text, "  {kind}, the first of {}:", mishaps.len())?;
            for mishap in mishaps.iter().take(NAMED_MAX) {
                writeln!(text, "    {mishap}")?;
            }
        }
        if !text.is_empty() {
            writeln!(text, "  what the bridge did: {}", self.log.display())?;
        }
        Ok(text)
    }
}

/// What a kind of mishap means, for the table.
fn meaning(kind: &str) -> &'static str {
    match kind {
        "lost" => "not in the sink, and in no named gap",
        "doubled" => "copies beyond the first",
        "disordered" => "behind a younger one of the same key",
        "unknown" => "in the sink, but never emitted",
        "altered" => "with other data than emitted",
        "misnumbered" => "numbers with a hole or a repeat",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::Mishap;
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_clean_run_has_a_table_within_80_columns() {
        let text = report().table().unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_failed_run_names_the_first_ten_events_and_the_log() {
        let mut report = report();
        report.findings.lost = (1..=12).map(lost).collect();
        report.findings.complaints.push("gap 2 (cut) has no fault behind it".to_owned());
        insta::assert_snapshot!(report.mishaps().unwrap());
        assert!(report.table().unwrap().contains("A PROMISE WAS BROKEN"));
    }

    #[test]
    fn the_line_for_scripts_has_the_agreed_names() {
        insta::assert_snapshot!(report().line().unwrap());
    }

    fn report() -> Report {
        let from = Timestamp::from_micros(1_700_000_000_123_456);
        let gap = NamedGap {
            number: 1,
            cause: "silent".to_owned(),
            from,
            to: Some(from.after(Duration::from_millis(12_345))),
            seconds: 12.345,
            fault: Some("close.rst + throttle.handshake.429".to_owned()),
            missed: 12_345,
        };
        Report {
            findings: Findings {
                emitted: 1_002_902,
                delivered: 990_557,
                missed: 12_345,
                rotations: 2,
                gaps: vec![gap],
                ..Findings::default()
            },
            sink: "nats",
            place: "stream GENESYS on nats://127.0.0.1:25536".to_owned(),
            seed: 42,
            seconds: 59.1,
            length: Duration::from_secs(60),
            log: "/tmp/tieline-demo-ddd7315c/demo.log".into(),
        }
    }

    fn lost(number: u64) -> Mishap {
        Mishap {
            emission: Some(number),
            topic: "v2.k".to_owned(),
            detail: "not in the sink".to_owned(),
        }
    }
}
