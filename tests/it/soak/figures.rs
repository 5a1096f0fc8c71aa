//! What a soak came to, as a table that goes into `docs/lifecycle.md`.

use crate::books::{Gap, Held, Verdict, micros};
use crate::harness::Bridge;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tieline_sim::journal::{Fault, Journal, Session};

/// A session that lived so long has its failures forgotten, also on a busy machine.
const STABLE: u64 = 1_700_000;

/// No other fault is so near to a cut that is measured.
const ALONE: u64 = 1_000_000;

/// What only the processes tell, added up over their lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub faults: usize,
    pub restarts: usize,
    rotations: usize,
    lost: usize,
    gaps: usize,
}

impl Tally {
    /// The same with all that this process has told.
    pub fn with(self, bridge: &Bridge) -> Self {
        let told = |event: &str| bridge.count(&[&format!("\"event\":\"{event}\"")]);
        Self {
            rotations: self.rotations + told("rotation_finished"),
            lost: self.lost + told("session_lost"),
            gaps: self.gaps + told("gap_closed"),
            ..self
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, restarts, rotations, lost, gaps } = self;
        write!(
            f,
            "{faults} faults, {rotations} rotations, {lost} sockets lost, {restarts} restarts, {gaps} gaps"
        )
    }
}

#[derive(Debug, Default)]
pub struct Figures {
    pub elapsed: Duration,
    /// How many sessions carried each topic.
    pub legs: usize,
    tally: Tally,
    emitted: usize,
    secrets: usize,
    causes: BTreeMap<String, usize>,
    missed: usize,
    lost: usize,
    doubled: usize,
    repeated: usize,
    disordered: usize,
    channels: usize,
    logins: usize,
    longest_silence: Duration,
    /// From each cut until the platform has the next socket, and until the first event again, where nothing stood in the way; sorted.
    sockets: Vec<Duration>,
    recoveries: Vec<Duration>,
}

impl Figures {
    pub fn of(
        journal: &Journal,
        held: &[Held],
        verdict: &Verdict,
        gaps: &[Gap],
        tally: Tally,
        legs: usize,
    ) -> Self {
        let mut channels: Vec<&str> = journal.sessions.iter().map(|one| &*one.channel).collect();
        channels.sort_unstable();
        channels.dedup();
        let mut causes = BTreeMap::new();
        for gap in gaps {
            *causes.entry(gap.cause.clone()).or_default() += 1;
        }
        let mut heard: Vec<u64> =
            held.iter().filter(|event| !event.is_own()).map(|event| micros(&event.time)).collect();
        heard.sort_unstable();
        let silences = heard.windows(2).map(|pair| pair[1] - pair[0]);
        let (sockets, recoveries) = recoveries(journal, &heard, legs);
        Self {
            elapsed: Duration::ZERO,
            legs,
            tally,
            emitted: verdict.emitted,
            secrets: journal.faults.iter().filter(|fault| fault.kind == "rotate").count(),
            causes,
            missed: verdict.missed.len(),
            lost: verdict.lost.len(),
            doubled: verdict.doubled.len(),
            repeated: verdict.repeated.len(),
            disordered: verdict.disordered.len(),
            channels: channels.len(),
            logins: journal.logins.len(),
            longest_silence: Duration::from_micros(silences.max().unwrap_or_default()),
            sockets,
            recoveries,
        }
    }

    /// What so many of the cuts took at most; `part` is from 0 to 1.
    pub fn recovery(&self, part: f64) -> Duration {
        quantile(&self.recoveries, part)
    }

    /// How long cuts took.
    pub fn of_cuts(&self) -> String {
        let told = |sorted: &[Duration]| {
            let at = |part| quantile(sorted, part).as_millis();
            format!("p50 {} ms, p99 {} ms, at most {} ms", at(0.5), at(0.99), at(1.0))
        };
        format!(
            "{} cuts; until the next socket: {}; until the first event again: {}",
            self.recoveries.len(),
            told(&self.sockets),
            told(&self.recoveries)
        )
    }
}

fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "| {name} | {value} |");
        let causes: Vec<String> =
            self.causes.iter().map(|(cause, count)| format!("{count} `{cause}`")).collect();
        row("redundancy", self.legs.to_string())?;
        row("time", format!("{} s", self.elapsed.as_secs()))?;
        row("notifications", self.emitted.to_string())?;
        row("faults", self.tally.faults.to_string())?;
        row("restarts of the process among them", self.tally.restarts.to_string())?;
        row("changes of the secret", self.secrets.to_string())?;
        row("rotations", self.tally.rotations.to_string())?;
        row("sockets lost, each found again", self.tally.lost.to_string())?;
        row("gaps, each with its fault", causes.join(", "))?;
        row("missed within them", self.missed.to_string())?;
        row("lost outside of them", self.lost.to_string())?;
        row("doubled", self.doubled.to_string())?;
        row("second copies that are marked as possible ones", self.repeated.to_string())?;
        row("disordered", self.disordered.to_string())?;
        row("channels ever used", self.channels.to_string())?;
        row("logins", self.logins.to_string())?;
        row("longest silence", format!("{} ms", self.longest_silence.as_millis()))?;
        row("from a cut to the first event again", self.of_cuts())
    }
}

/// Cuts of all legs, stable ones, with no other fault near them: nobody refused or delayed the next socket.
fn recoveries(journal: &Journal, heard: &[u64], legs: usize) -> (Vec<Duration>, Vec<Duration>) {
    let faults: Vec<(&Fault, u64)> =
        journal.faults.iter().map(|fault| (fault, micros(&fault.from))).collect();
    let mut opened: Vec<u64> =
        journal.sessions.iter().map(|session: &Session| micros(&session.opened)).collect();
    opened.sort_unstable();
    let is_alone = |at: u64| {
        let near = faults.iter().filter(|(_, other)| other.abs_diff(at) < ALONE);
        near.count() == 1
    };
    let is_cut = |fault: &Fault| fault.kind.starts_with("close.") && fault.channels.len() >= legs;
    let cuts = faults.iter().filter(|(fault, at)| is_cut(fault) && is_alone(*at));
    let (mut sockets, mut recoveries) = (Vec::new(), Vec::new());
    for (_, at) in cuts {
        let next = opened.partition_point(|opened| opened < at);
        let Some((was, is)) = next.checked_sub(1).map(|last| opened[last]).zip(opened.get(next))
        else {
            continue;
        };
        let first = heard.get(heard.partition_point(|time| time < is));
        if let Some(first) = first.filter(|_| at - was >= STABLE) {
            sockets.push(Duration::from_micros(is - at));
            recoveries.push(Duration::from_micros(first - at));
        }
    }
    sockets.sort_unstable();
    recoveries.sort_unstable();
    (sockets, recoveries)
}
