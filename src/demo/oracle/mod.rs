//! The oracle: balances what the simulator says it sent against what the sink holds, and each named gap against its fault.
//!
//! It never looks at tieline's counters, and does not know how journal, gaps and sink were read. A gap is the bridge's claim, and
//! is believed only as far as a fault of the simulator bears it out.

mod events;
mod gaps;
mod rotations;
#[cfg(test)]
mod tests;

pub use gaps::NamedGap;

use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tieline_sim::journal::Journal;

/// How much later than the simulator's flush a frame may be read. A gap begins with the bridge's reading of the last frame
/// before it, so an event that was flushed this long before the gap may still be what the gap cost.
pub const READ_LAG: Duration = Duration::from_millis(100);

/// How much longer than its fault a gap may be: the platform's own dead time, after which silence counts as loss.
pub const GAP_ALLOWANCE: Duration = Duration::from_secs(35);

/// All that is compared.
#[derive(Clone, Copy, Debug)]
pub struct Books<'a> {
    /// What the simulator did, in its own words.
    pub journal: &'a Journal,
    /// The topics that were subscribed to; emissions on others do not count.
    pub topics: &'a BTreeSet<String>,
    /// When the subscription was settled; earlier emissions do not count.
    pub since: Timestamp,
    /// Where the bridge says that it may have missed something.
    pub gaps: &'a [Claim],
    /// What the sink holds, in its own order at least within each key.
    pub held: &'a [Held],
}

/// A gap as the bridge names it at `/api/v1/gaps`.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its number, from 1.
    pub number: u64,
    /// Why, in the bridge's words.
    pub cause: String,
    /// The last frame before it.
    pub from: Timestamp,
    /// The first certain delivery after it; none while it is open.
    pub to: Option<Timestamp>,
}

/// One event in the sink, as a consumer sees it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The topic it came on.
    pub topic: String,
    /// The unit of order.
    pub key: String,
    /// Whether it is tieline's own: it has a number, and the simulator never emitted it.
    pub own: bool,
    /// `metadata.CorrelationId`, which is unique in the simulator; empty in what is tieline's own.
    pub correlation_id: String,
    /// The life of the journal that numbered it.
    pub epoch: String,
    /// Its number within key and epoch.
    pub sequence: u64,
    /// Whether it says itself that it comes after a younger one.
    pub late: bool,
    /// The event's data.
    pub body: Box<RawValue>,
}

/// What came of the comparison.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Emissions that count.
    pub emitted: u64,
    /// Emissions of which the sink holds at least one copy.
    pub delivered: u64,
    /// Emissions that the sink lacks, within a named gap.
    pub missed: u64,
    /// Events that are marked as late.
    pub late: u64,
    /// Planned changes after which the simulator saw a successor come before its predecessor left.
    pub rotations: u64,
    /// Emissions that the sink lacks, outside all gaps.
    pub lost: Vec<Mishap>,
    /// Copies beyond the first.
    pub doubled: Vec<Mishap>,
    /// Events behind a younger one of their key that are not marked as late.
    pub disordered: Vec<Mishap>,
    /// Events that the simulator never emitted.
    pub unknown: Vec<Mishap>,
    /// Events whose data differ from what was emitted.
    pub altered: Vec<Mishap>,
    /// Events whose number does not follow the one before.
    pub misnumbered: Vec<Mishap>,
    /// The gaps, each with its fault.
    pub gaps: Vec<NamedGap>,
    /// Gaps that no fault bears out, and planned changes that did not come about, in words.
    pub complaints: Vec<String>,
}

/// One event that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mishap {
    /// The simulator's number of the emission, where there is one.
    pub emission: Option<u64>,
    /// Its topic.
    pub topic: String,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.emission {
            Some(number) => write!(f, "emission {number} on {}: {}", self.topic, self.detail),
            None => write!(f, "{}: {}", self.topic, self.detail),
        }
    }
}

/// The simulator wrote a time that is none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal holds {text:?} where a time should be")]
pub struct BadTime {
    text: String,
    source: humantime::TimestampError,
}

/// Compares.
///
/// # Errors
/// When the journal's times cannot be read; nothing can be said then.
pub fn judge(books: &Books<'_>) -> Result<Findings, BadTime> {
    let mut findings = Findings::default();
    let mut gaps = gaps::explain(books, &mut findings)?;
    events::balance(books, &mut gaps, &mut findings)?;
    rotations::confirm(books, &mut findings)?;
    findings.gaps = gaps;
    Ok(findings)
}

impl Findings {
    /// Whether every promise was kept. Missing events within named gaps break none.
    pub fn is_clean(&self) -> bool {
        self.mishaps().all(|(_, mishaps)| mishaps.is_empty()) && self.complaints.is_empty()
    }

    /// All that went wrong with events, by kind.
    pub fn mishaps(&self) -> impl Iterator<Item = (&'static str, &[Mishap])> {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("disordered", &self.disordered),
            ("unknown", &self.unknown),
            ("altered", &self.altered),
            ("misnumbered", &self.misnumbered),
        ]
        .into_iter()
        .map(|(kind, mishaps)| (kind, mishaps.as_slice()))
    }
}

/// A moment as journal and doors write it.
///
/// # Errors
/// When it is no RFC 3339 time.
pub fn moment(text: &str) -> Result<Timestamp, BadTime> {
    let time = humantime::parse_rfc3339(text)
        .map_err(|source| BadTime { text: text.to_owned(), source })?;
    Ok(time.into())
}

/// How long `to` is after `from`; zero when it is not.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(to.as_micros().saturating_sub(from.as_micros()))
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            number: u64,
            cause: String,
            from: String,
            to: Option<String>,
        }
        let written = Written::deserialize(deserializer)?;
        let moment = |text: &str| moment(text).map_err(serde::de::Error::custom);
        Ok(Self {
            number: written.number,
            cause: written.cause,
            from: moment(&written.from)?,
            to: written.to.as_deref().map(moment).transpose()?,
        })
    }
}
