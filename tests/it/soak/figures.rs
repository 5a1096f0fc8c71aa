//! What a soak came to, as a table that goes into `docs/lifecycle.md`.

use crate::books::{Held, Verdict, micros};
use std::fmt;
use std::time::Duration;
use tieline_sim::journal::Journal;

#[derive(Debug, Default)]
pub struct Figures {
    pub elapsed: Duration,
    pub faults: usize,
    pub secrets: u64,
    pub rotations: usize,
    pub lost_sockets: usize,
    emitted: usize,
    gaps: usize,
    missed: usize,
    lost: usize,
    doubled: usize,
    disordered: usize,
    late: usize,
    channels: usize,
    logins: usize,
    longest_silence: Duration,
    /// From each cut to the first event again, where nothing stood in the way; sorted.
    recoveries: Vec<Duration>,
}

impl Figures {
    pub fn of(journal: &Journal, held: &[Held], verdict: &Verdict) -> Self {
        let mut channels: Vec<&str> = journal.sessions.iter().map(|one| &*one.channel).collect();
        channels.sort_unstable();
        channels.dedup();
        Self {
            emitted: verdict.emitted,
            gaps: verdict.gaps.len(),
            missed: verdict.missed.len(),
            lost: verdict.lost.len(),
            doubled: verdict.doubled.len(),
            disordered: verdict.disordered.len(),
            late: held.iter().filter(|event| event.late).count(),
            channels: channels.len(),
            logins: journal.logins.len(),
            longest_silence: longest_silence(held),
            recoveries: recoveries(journal, held),
            ..Self::default()
        }
    }

    /// What so many of the cuts took at most; `part` is from 0 to 1.
    pub fn recovery(&self, part: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a short list"
        )]
        let place = (self.recoveries.len() as f64 * part).ceil() as usize;
        self.recoveries.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "| {name} | {value} |");
        row("time", format!("{} s", self.elapsed.as_secs()))?;
        row("notifications", self.emitted.to_string())?;
        row("faults", self.faults.to_string())?;
        row("changes of the secret", self.secrets.to_string())?;
        row("rotations", self.rotations.to_string())?;
        row("sockets lost, each found again", self.lost_sockets.to_string())?;
        row("gaps, each with its fault", self.gaps.to_string())?;
        row("missed within them", self.missed.to_string())?;
        row("lost outside of them", self.lost.to_string())?;
        row("doubled", self.doubled.to_string())?;
        row("disordered", self.disordered.to_string())?;
        row("marked `late`", self.late.to_string())?;
        row("channels ever used", self.channels.to_string())?;
        row("logins", self.logins.to_string())?;
        row("longest silence", format!("{} ms", self.longest_silence.as_millis()))?;
        let (p50, p99) = (self.recovery(0.5).as_millis(), self.recovery(0.99).as_millis());
        row(
            &format!("from a cut to the first event again, of {} cuts", self.recoveries.len()),
            format!("p50 {p50} ms, p99 {p99} ms"),
        )
    }
}

/// The longest time between two events, whatever their keys.
fn longest_silence(held: &[Held]) -> Duration {
    let mut times: Vec<u64> = held.iter().map(|event| micros(&event.time)).collect();
    times.sort_unstable();
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_micros(pauses.max().unwrap_or_default())
}

/// Cuts with no other fault in the second before and after: nobody refused or delayed the next socket.
fn recoveries(journal: &Journal, held: &[Held]) -> Vec<Duration> {
    let mut times: Vec<u64> = held.iter().map(|event| micros(&event.time)).collect();
    times.sort_unstable();
    let faults: Vec<(&str, u64)> =
        journal.faults.iter().map(|fault| (&*fault.kind, micros(&fault.from))).collect();
    let alone = |at: u64| {
        let near = faults.iter().filter(|(_, other)| other.abs_diff(at) < 1_000_000);
        near.count() == 1
    };
    let cuts = faults.iter().filter(|(kind, at)| kind.starts_with("close.") && alone(*at));
    let mut recoveries: Vec<Duration> = cuts
        .filter_map(|(_, at)| {
            let opened = journal.sessions.iter().map(|session| micros(&session.opened));
            let opened = opened.filter(|opened| opened >= at).min()?;
            let first = times.get(times.partition_point(|time| *time < opened))?;
            Some(Duration::from_micros(first - at))
        })
        .collect();
    recoveries.sort_unstable();
    recoveries
}
