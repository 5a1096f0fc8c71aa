//! The books of a run: what the simulator says it sent against what a sink holds, and each named gap against its fault.
//!
//! It knows neither process nor broker, and never asks tieline how much it counted.

use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tieline_sim::journal::{Emission, Journal};

/// How much later than the simulator's flush a frame may be read on a busy machine.
const READ_LAG: u64 = 250_000;

/// How long the bridge may need for what it does at once: the second handshake after a first one that came too early included.
const HASTE: Duration = Duration::from_millis(2_500);

/// An event as a consumer finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub id: String,
    pub topic: String,
    pub key: String,
    pub kind: String,
    pub correlation_id: String,
    pub epoch: String,
    pub sequence: u64,
    pub late: bool,
    pub time: String,
    pub body: String,
}

impl Held {
    /// An event in structured mode.
    pub fn structured(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let (_, body) = line.split_once(",\"data\":").unwrap();
        let mut held = Self::of(|name| event[name].as_str().map(str::to_owned));
        held.late = event["late"] == true;
        held.body = body.strip_suffix('}').unwrap().to_owned();
        held
    }

    /// An event by its attributes, with an empty body.
    pub fn of(attribute: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| attribute(name).unwrap_or_default();
        Self {
            id: text("id"),
            topic: text("topic"),
            key: text("partitionkey"),
            kind: text("type"),
            correlation_id: text("correlationid"),
            epoch: text("epoch"),
            sequence: text("sequence").parse().unwrap(),
            late: text("late") == "true",
            time: text("time"),
            body: String::new(),
        }
    }
}

impl Held {
    /// Whether tieline says it, and not the platform.
    pub fn is_own(&self) -> bool {
        self.kind.starts_with("tieline.")
    }

    /// Whether it stands where only tieline's own words are, beside the events of queues.
    pub fn is_control(&self) -> bool {
        self.key == "tieline.control"
    }

    /// From when to when it says that events of its topic are missing, if it says that.
    fn missing(&self) -> Option<(u64, u64)> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let moment = |name: &str| body[name].as_str().map(micros);
        (self.kind == "tieline.gap.v1").then_some(())?;
        Some((moment("from")?, moment("to")?))
    }
}

/// The whole lines of a file; none while there is no file.
pub fn read_lines(path: &Path) -> Vec<Held> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(Held::structured).collect()
}

/// A gap as `/api/v1/gaps` names it.
#[derive(Clone, Debug, Deserialize)]
pub struct Gap {
    pub number: u64,
    pub cause: String,
    pub from: String,
    pub to: Option<String>,
    pub action: Option<String>,
}

/// What came of the comparison. Emissions are told by their numbers.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Emissions that count.
    pub emitted: usize,
    /// Those that the sink lacks within a named gap.
    pub missed: Vec<u64>,
    /// Those of them that no record in the order of their topic tells of.
    pub untold: Vec<u64>,
    /// Those that it lacks outside of all gaps.
    pub lost: Vec<u64>,
    /// Those that it holds more than once, with all their copies and where they were sent.
    pub doubled: Vec<String>,
    /// Those that stand behind a younger one of their key, and are not marked as late.
    pub disordered: Vec<u64>,
    /// Events that nobody emitted, that were altered, or whose number does not follow the one before.
    pub strange: Vec<String>,
    pub gaps: Vec<Gap>,
}

/// Compares emissions from number `since` on with what a sink holds.
pub fn judge(
    journal: &Journal,
    topics: &[String],
    held: &[Held],
    gaps: &[Gap],
    since: u64,
) -> Verdict {
    let mut verdict = Verdict { gaps: gaps.to_vec(), ..Verdict::default() };
    let subscribed: Vec<&Emission> =
        journal.emissions.iter().filter(|emission| topics.contains(&emission.topic)).collect();
    let by_name: HashMap<(&str, &str), &Emission> = subscribed
        .iter()
        .map(|emission| ((emission.topic.as_str(), emission.correlation_id.as_str()), *emission))
        .collect();
    let copies = read_through(held, &by_name, &mut verdict);
    number_by_number(held, &mut verdict);
    for emission in subscribed.into_iter().filter(|emission| emission.number >= since) {
        verdict.emitted += 1;
        match copies.get(&emission.number) {
            Some(1) => {}
            Some(_) => verdict.doubled.push(story(emission, journal, held)),
            None if is_excused(emission.number, journal, gaps) => {
                if !is_told(emission, journal, held) {
                    verdict.untold.push(emission.number);
                }
                verdict.missed.push(emission.number);
            }
            None => verdict.lost.push(emission.number),
        }
    }
    verdict
}

/// All that is known of an emission, for the words of a failure.
fn story(emission: &Emission, journal: &Journal, held: &[Held]) -> String {
    let name = |event: &&Held| event.correlation_id == emission.correlation_id;
    let copies: Vec<&Held> = held.iter().filter(name).collect();
    let sent = journal.deliveries.iter().filter(|one| one.number == emission.number);
    format!("{emission:?}\nsent {:?}\nheld {copies:?}", sent.collect::<Vec<_>>())
}

/// Reads the sink from its beginning. Answers how many copies there are of each emission.
fn read_through(
    held: &[Held],
    by_name: &HashMap<(&str, &str), &Emission>,
    verdict: &mut Verdict,
) -> HashMap<u64, usize> {
    let mut copies: HashMap<u64, usize> = HashMap::new();
    let mut youngest: HashMap<&str, u64> = HashMap::new();
    for event in held.iter().filter(|event| !event.is_own()) {
        let name = (event.topic.as_str(), event.correlation_id.as_str());
        let Some(emission) = by_name.get(&name) else {
            verdict.strange.push(format!("never emitted: {event:?}"));
            continue;
        };
        if event.body != emission.body.get() {
            verdict.strange.push(format!("altered: {event:?}"));
        }
        let number = emission.number;
        let copy = copies.entry(number).or_default();
        *copy += 1;
        let before = youngest.entry(&event.key).or_default();
        if *copy == 1 && !event.late && number < *before {
            verdict.disordered.push(number);
        }
        *before = number.max(*before);
    }
    copies
}

/// Numbers begin with 1 and have neither hole nor repeat, for each key and epoch.
fn number_by_number(held: &[Held], verdict: &mut Verdict) {
    let mut last: HashMap<(&str, &str), u64> = HashMap::new();
    for event in held {
        let last = last.entry((&event.key, &event.epoch)).or_default();
        if event.sequence != *last + 1 {
            verdict.strange.push(format!("number {} after {last}: {event:?}", event.sequence));
        }
        *last = event.sequence;
    }
}

/// When an emission was sent, or would have been.
fn sent(number: u64, journal: &Journal) -> Vec<u64> {
    let sent = journal.deliveries.iter().filter(|delivery| delivery.number == number);
    let mut sent: Vec<u64> = sent.map(|delivery| micros(&delivery.at)).collect();
    if sent.is_empty() {
        let released = journal.releases.iter().filter(|release| release.number == number);
        sent.extend(released.map(|release| micros(&release.at)));
    }
    sent
}

/// Whether a consumer of its topic is told that an emission is missing, before it meets a younger event of that topic.
fn is_told(emission: &Emission, journal: &Journal, held: &[Held]) -> bool {
    let of_topic = || held.iter().filter(|event| event.topic == emission.topic);
    let told: Vec<(u64, u64)> = of_topic().filter_map(Held::missing).collect();
    sent(emission.number, journal)
        .iter()
        .all(|at| told.iter().any(|(from, to)| from.saturating_sub(READ_LAG) <= *at && *at <= *to))
}

/// Whether every moment at which an emission was sent, or would have been, lies in a gap.
fn is_excused(number: u64, journal: &Journal, gaps: &[Gap]) -> bool {
    let sent = sent(number, journal);
    let covers = |gap: &Gap, at: u64| {
        let to = gap.to.as_deref().map_or(u64::MAX, micros);
        micros(&gap.from).saturating_sub(READ_LAG) <= at && at <= to
    };
    !sent.is_empty() && sent.iter().all(|at| gaps.iter().any(|gap| covers(gap, *at)))
}

impl Verdict {
    /// Every promise was kept, and there was something to keep.
    pub fn assert_kept(&self) -> &Self {
        let kept = self.lost.is_empty()
            && self.untold.is_empty()
            && self.doubled.is_empty()
            && self.disordered.is_empty()
            && self.strange.is_empty();
        assert!(kept && self.emitted > 0, "{self:#?}");
        self
    }

    /// Nothing was missed and no gap was named.
    pub fn assert_seamless(&self) {
        self.assert_kept();
        assert!(self.gaps.is_empty() && self.missed.is_empty(), "{self:#?}");
    }

    /// Exactly one gap was named, with this cause and what was done about it, and no wider than what the simulator bears out: from
    /// the last notification it had sent, to the socket that came after it and the time that socket needs to be certain.
    pub fn assert_one_gap(&self, journal: &Journal, cause: &str, action: &str, certain: Duration) {
        self.assert_kept();
        let [gap] = self.gaps.as_slice() else { panic!("{self:#?}") };
        let to = gap.to.as_deref().unwrap_or_else(|| panic!("{self:#?}"));
        assert_eq!((gap.cause.as_str(), gap.action.as_deref()), (cause, Some(action)), "{gap:?}");
        let (from, to) = (micros(&gap.from), micros(to));
        let opened = journal.sessions.iter().map(|session| micros(&session.opened));
        let opened = opened.filter(|opened| *opened > from).max().expect("a new socket");
        let allowed = u64::try_from((certain + HASTE).as_micros()).unwrap();
        assert!(to <= opened + allowed, "{gap:?} ends long after its socket came: {opened}");
        let sent = journal.deliveries.iter().map(|delivery| micros(&delivery.at));
        let sent = sent.filter(|at| *at < opened.min(to)).max().expect("a delivery");
        assert!(sent <= from + READ_LAG, "{gap:?} begins before what was heard last: {sent}");
    }
}

/// Microseconds since 1970.
pub fn micros(text: &str) -> u64 {
    let time: SystemTime = humantime::parse_rfc3339(text).unwrap_or_else(|_| panic!("{text}"));
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
