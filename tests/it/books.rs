//! The books of a run: what the simulator says it sent against what a sink holds, and each named gap against its fault.
//!
//! It knows neither process nor broker, and never asks tieline how much it counted.

use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tieline_sim::journal::{Emission, Journal};

/// How much later than the simulator's flush a frame may be read; on a busy machine by as much more as those before it were (`Lags`).
const READ_LAG: u64 = 250_000;

/// Equal bodies further apart than this are not mistaken for each other: `arbitration.hold`, and what a busy machine adds.
const MISTAKEN: u64 = 5_000_000;

/// How long the bridge may need for what it does at once, on a busy machine: the second handshake after a first one that came too early
/// included. To the moment it is a test of virtual time.
const HASTE: Duration = Duration::from_secs(10);

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
    /// Whether it says that it may be a second copy (decision 0003).
    pub possible_duplicate: bool,
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
        held.possible_duplicate = event["possibleduplicate"] == true;
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
            possible_duplicate: text("possibleduplicate") == "true",
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
        let body = self.record()?;
        let moment = |name: &str| body[name].as_str().map(micros);
        Some((moment("from")?, moment("to")?))
    }

    /// What it says of a gap of its topic, if it does.
    fn record(&self) -> Option<Value> {
        (self.kind == "tieline.gap.v1").then(|| serde_json::from_str(&self.body).ok())?
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
    /// The one sink that lacks something; none where all do.
    pub sink: Option<String>,
    pub cause: String,
    pub certainty: String,
    pub from: String,
    pub to: Option<String>,
    pub action: Option<String>,
}

impl Gap {
    /// Whether it ended with the first frame of another socket on the same channel.
    fn is_resumed(&self) -> bool {
        self.certainty == "certain" && self.action.as_deref() == Some("resumed")
    }

    /// It is no wider to its end than the simulator bears out: it ended once the last socket that was opened within it had the time that
    /// it needs to be certain. Answers when that was opened.
    pub fn assert_ends_in_time(&self, journal: &Journal, certain: Duration) -> u64 {
        let to = micros(self.to.as_deref().unwrap_or_else(|| panic!("it lasts on: {self:?}")));
        let opened = journal.sessions.iter().map(|session| micros(&session.opened));
        // The simulator counts in milliseconds.
        let within = opened.filter(|at| micros(&self.from) < at + 1_000 && *at <= to);
        let opened = within.max().unwrap_or_else(|| panic!("no socket within {self:?}"));
        let allowed = u64::try_from((certain + HASTE).as_micros()).unwrap();
        assert!(to <= opened + allowed, "{self:?} ends long after its socket came: {opened}");
        opened
    }
}

/// What came of the comparison. Emissions are told by their numbers.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Emissions that count.
    pub emitted: usize,
    /// Those that the sink lacks within a named gap.
    pub missed: Vec<u64>,
    /// Those of them that no record tells of before a younger one of their topic comes, with where they were sent.
    pub untold: Vec<String>,
    /// Those that it lacks outside of all gaps.
    pub lost: Vec<u64>,
    /// Those that it holds more than once, though a later copy is not marked as one, with all their copies and where they were sent.
    pub doubled: Vec<String>,
    /// Those of which each later copy is marked as a possible one.
    pub repeated: Vec<u64>,
    /// Those that are there, and say that they are late.
    pub late: Vec<u64>,
    /// Those that stand behind a younger one of their key, and are not marked as late.
    pub disordered: Vec<u64>,
    /// Named as missing although something was received meanwhile: a gap ends with the first certain delivery.
    pub wide: Vec<String>,
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
    judge_changing(journal, topics, &[], held, gaps, since)
}

/// The same, where beside `topics` others come and go: of those, what was sent counts.
pub fn judge_changing(
    journal: &Journal,
    topics: &[String],
    changing: &[String],
    held: &[Held],
    gaps: &[Gap],
    since: u64,
) -> Verdict {
    let mut verdict = Verdict { gaps: gaps.to_vec(), ..Verdict::default() };
    let by_name: HashMap<(&str, &str), &Emission> = journal
        .emissions
        .iter()
        .filter(|emission| topics.contains(&emission.topic) || changing.contains(&emission.topic))
        .map(|emission| ((emission.topic.as_str(), emission.correlation_id.as_str()), emission))
        .collect();
    let moments = Moments::of(journal, held, gaps, &by_name);
    let mut copies = read_through(held, &by_name, &mut verdict);
    exchange(journal, &moments, &mut copies);
    number_by_number(held, &mut verdict);
    within_no_gap(held, gaps, &mut verdict);
    let counts = |emission: &&Emission| {
        emission.number >= since
            && (topics.contains(&emission.topic)
                || changing.contains(&emission.topic) && moments.is_sent(emission.number))
    };
    for emission in journal.emissions.iter().filter(counts) {
        verdict.emitted += 1;
        match copies.get(&emission.number) {
            Some(Copies { unmarked: 0, all: 1 }) => {}
            Some(Copies { unmarked: 0, .. }) => verdict.repeated.push(emission.number),
            Some(_) => verdict.doubled.push(story(emission, journal, held)),
            None if moments.are_excused(emission.number) => {
                if !moments.are_told(emission) {
                    verdict.untold.push(story(emission, journal, held));
                }
                verdict.missed.push(emission.number);
            }
            None => verdict.lost.push(emission.number),
        }
    }
    verdict
}

/// How often a sink holds one emission.
#[derive(Debug, Default)]
struct Copies {
    all: usize,
    /// Second ones and later that are not marked as possible ones.
    unmarked: usize,
}

/// All that is known of an emission but its body, for the words of a failure.
fn story(emission: &Emission, journal: &Journal, held: &[Held]) -> String {
    let name = |event: &&Held| event.correlation_id == emission.correlation_id;
    let copies = held.iter().filter(name).cloned();
    let copies: Vec<Held> = copies.map(|copy| Held { body: String::new(), ..copy }).collect();
    let sent = journal.deliveries.iter().filter(|one| one.number == emission.number);
    let Emission { number, topic, time, .. } = emission;
    format!("{number} of {topic} at {time}\nsent {:?}\nheld {copies:?}", sent.collect::<Vec<_>>())
}

/// Equal to the byte but for the `CorrelationId`, which never counts, one goes for the other where a session did not get the first: what
/// that one showed second is what the other showed first. There are as many in the sink as were sent.
fn exchange(journal: &Journal, moments: &Moments<'_>, copies: &mut HashMap<u64, Copies>) {
    let is_double =
        |emission: &&Emission| copies.get(&emission.number).is_some_and(|copies| copies.all > 1);
    let doubles: Vec<&Emission> = journal.emissions.iter().filter(is_double).collect();
    let sent = |emission: &Emission| moments.sent.get(&emission.number).map_or(0, Vec::len);
    let released =
        |emission: &Emission| moments.released.get(&emission.number).copied().unwrap_or(0);
    for emission in journal.emissions.iter().filter(|emission| sent(emission) > 0) {
        if copies.contains_key(&emission.number) {
            continue;
        }
        let twin = doubles.iter().find(|twin| {
            twin.topic == emission.topic
                && twin.body.get() == emission.body.get()
                && sent(emission) < sent(twin)
                && released(emission).abs_diff(released(twin)) < MISTAKEN
                && copies.get(&twin.number).is_some_and(|copies| copies.all > 1)
        });
        if let Some(copies_of_twin) = twin.and_then(|twin| copies.get_mut(&twin.number)) {
            copies_of_twin.all -= 1;
            copies_of_twin.unmarked = copies_of_twin.unmarked.saturating_sub(1);
            copies.insert(emission.number, Copies { all: 1, unmarked: 0 });
        }
    }
}

/// Reads the sink from its beginning. Answers how many copies there are of each emission.
fn read_through(
    held: &[Held],
    by_name: &HashMap<(&str, &str), &Emission>,
    verdict: &mut Verdict,
) -> HashMap<u64, Copies> {
    let mut copies: HashMap<u64, Copies> = HashMap::new();
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
        copy.all += 1;
        copy.unmarked += usize::from(copy.all > 1 && !event.possible_duplicate);
        if event.late {
            verdict.late.push(number);
        }
        let before = youngest.entry(&event.key).or_default();
        if copy.all == 1 && !event.late && number < *before {
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

/// Nothing of a topic was received between the ends of a record of what it lacks, nor anything at all of the topics of a gap that ended
/// with the first frame on the same channel.
///
/// What is nearer to an end than `READ_LAG` may be one moment that was read from two clocks. What the journal refused is not about
/// delivery; a record of several gaps, for a consumer that is told late, spans them all; and a process
/// that was killed may have heard more than its last word says, so that after a restart only the end counts.
fn within_no_gap(held: &[Held], gaps: &[Gap], verdict: &mut Verdict) {
    let mut heard: HashMap<&str, Vec<(usize, u64)>> = HashMap::new();
    for (place, event) in held.iter().enumerate().filter(|(_, event)| !event.is_own()) {
        heard.entry(&event.topic).or_default().push((place, micros(&event.time)));
    }
    let lies_within = |topic: &str, behind: usize, (from, to): (u64, u64)| {
        let mut own = heard.get(topic).into_iter().flatten();
        own.any(|(place, at)| behind <= *place && from + READ_LAG < *at && *at + READ_LAG < to)
    };
    for (place, record) in held.iter().enumerate() {
        let Some(told) = record.record() else { continue };
        let cause = told["cause"].as_str().unwrap();
        let numbers = told["gaps"].as_array().unwrap();
        if told["certainty"] != "certain" || cause.starts_with("journal_") || numbers.len() > 1 {
            continue;
        }
        let behind = if ["restart", "handover"].contains(&cause) { place } else { 0 };
        let gap = gaps.iter().find(|gap| numbers[0] == gap.number && gap.is_resumed());
        let whole = gap.map(|gap| (micros(&gap.from), gap.to.as_deref().map_or(u64::MAX, micros)));
        let mut spans = record.missing().into_iter().chain(whole);
        if spans.any(|span| lies_within(&record.topic, behind, span)) {
            verdict.wide.push(format!("{} {told} {gap:?}", record.topic));
        }
    }
}

/// When everything was sent, or would have been, and what consumers of each topic are told of its gaps.
struct Moments<'a> {
    sent: HashMap<u64, Vec<u64>>,
    released: HashMap<u64, u64>,
    gaps: Vec<(u64, u64)>,
    told: HashMap<&'a str, Told>,
    lags: Lags,
}

/// When each notification was received, and how much earlier the simulator had it ready to be sent.
#[derive(Default)]
struct Lags(Vec<(u64, u64)>);

impl Lags {
    /// What was to be sent before a gap begins and is missing all the same: it stood behind the last that was received, and that one was
    /// late by so much.
    fn before(&self, from: u64) -> u64 {
        let near = self.0.partition_point(|(at, _)| at + READ_LAG < from);
        let near = self.0[near..].iter().take_while(|(at, _)| *at <= from);
        near.map(|(_, lag)| *lag).max().unwrap_or_default()
    }

    /// Whether it may have been read within one of these: the simulator looks at its clock when a frame has gone out, and by then it may
    /// have been read already.
    fn lies_in(&self, (before, after): (u64, u64), intervals: &[(u64, u64)]) -> bool {
        intervals.iter().any(|&(from, to)| {
            let latest = after + READ_LAG;
            before <= to && (from <= latest || from <= latest + self.before(from))
        })
    }
}

/// What the readers of one topic meet: intervals of gaps, each with the youngest notification that stands before it.
#[derive(Default)]
struct Told {
    youngest: u64,
    intervals: Vec<(u64, (u64, u64))>,
}

impl Told {
    fn read(&mut self, missing: Option<(u64, u64)>, number: Option<u64>) {
        self.intervals.extend(missing.map(|interval| (self.youngest, interval)));
        self.youngest = self.youngest.max(number.unwrap_or_default());
    }

    fn before_any_younger(&self, number: u64) -> Vec<(u64, u64)> {
        let before = self.intervals.iter().take_while(|(youngest, _)| *youngest <= number);
        before.map(|(_, interval)| *interval).collect()
    }
}

impl<'a> Moments<'a> {
    fn of(
        journal: &Journal,
        held: &'a [Held],
        gaps: &[Gap],
        by_name: &HashMap<(&str, &str), &Emission>,
    ) -> Self {
        let mut sent: HashMap<u64, Vec<u64>> = HashMap::new();
        for delivery in &journal.deliveries {
            sent.entry(delivery.number).or_default().push(micros(&delivery.at));
        }
        let releases = journal.releases.iter();
        let released: HashMap<u64, u64> =
            releases.map(|release| (release.number, micros(&release.at))).collect();
        let gaps = gaps.iter();
        let gaps = gaps.map(|gap| (micros(&gap.from), gap.to.as_deref().map_or(u64::MAX, micros)));
        let mut told: HashMap<&str, Told> = HashMap::new();
        let mut lags = Lags::default();
        for event in held {
            let name = (event.topic.as_str(), event.correlation_id.as_str());
            let number = by_name.get(&name).map(|emission| emission.number);
            told.entry(&event.topic).or_default().read(event.missing(), number);
            if let Some(ready) = number.and_then(|number| released.get(&number)) {
                let received = micros(&event.time);
                lags.0.push((received, received.saturating_sub(*ready)));
            }
        }
        lags.0.sort_unstable();
        Self { sent, released, gaps: gaps.collect(), told, lags }
    }

    fn is_sent(&self, number: u64) -> bool {
        self.sent.contains_key(&number)
    }

    /// When an emission was sent, or would have been: each time from before the frame was written until after.
    fn moments(&self, number: u64) -> Vec<(u64, u64)> {
        let released = self.released.get(&number).copied();
        let sent = self.sent.get(&number).map(Vec::as_slice).unwrap_or_default();
        let unsent = released.filter(|_| sent.is_empty());
        let moments = sent.iter().copied().chain(unsent);
        // The simulator looks at its clock soon after it has written.
        let before = |at: u64| released.unwrap_or(at).clamp(at.saturating_sub(READ_LAG), at);
        moments.map(|at| (before(at), at)).collect()
    }

    /// Whether a consumer of its topic is told that an emission is missing, before it meets a younger one.
    fn are_told(&self, emission: &Emission) -> bool {
        let Some(told) = self.told.get(emission.topic.as_str()) else { return false };
        let told = told.before_any_younger(emission.number);
        self.moments(emission.number).iter().all(|moment| self.lags.lies_in(*moment, &told))
    }

    /// Whether every moment at which an emission was sent, or would have been, lies in a gap.
    fn are_excused(&self, number: u64) -> bool {
        let moments = self.moments(number);
        !moments.is_empty() && moments.iter().all(|moment| self.lags.lies_in(*moment, &self.gaps))
    }
}

impl Verdict {
    /// Every promise was kept, and there was something to keep.
    pub fn assert_kept(&self) -> &Self {
        let kept = self.lost.is_empty()
            && self.untold.is_empty()
            && self.doubled.is_empty()
            && self.disordered.is_empty()
            && self.wide.is_empty()
            && self.strange.is_empty();
        assert!(kept && self.emitted > 0, "{self:#?}");
        self
    }

    /// Nothing was missed and no gap was named.
    pub fn assert_seamless(&self) {
        self.assert_kept();
        assert!(self.gaps.is_empty() && self.missed.is_empty(), "{self:#?}");
        self.assert_unrepeated();
    }

    /// There is no second copy either that is marked as a possible one.
    pub fn assert_unrepeated(&self) -> &Self {
        assert!(self.repeated.is_empty(), "{self:#?}");
        self
    }

    /// Exactly one gap was named, with this cause and what was done about it, and no wider than what the simulator bears out: from
    /// the last notification it had sent, to the socket that came after it and the time that socket needs to be certain.
    pub fn assert_one_gap(&self, journal: &Journal, cause: &str, action: &str, certain: Duration) {
        self.assert_kept();
        self.assert_unrepeated();
        let [gap] = self.gaps.as_slice() else { panic!("{self:#?}") };
        let to = gap.to.as_deref().unwrap_or_else(|| panic!("{self:#?}"));
        assert_eq!((gap.cause.as_str(), gap.action.as_deref()), (cause, Some(action)), "{gap:?}");
        assert_eq!((gap.certainty.as_str(), gap.sink.as_deref()), ("certain", None), "{gap:?}");
        let (from, to) = (micros(&gap.from), micros(to));
        let opened = gap.assert_ends_in_time(journal, certain);
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
