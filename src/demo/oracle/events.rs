//! Every emission against the sink: lost, doubled, out of order, altered, misnumbered.

use super::{BadTime, Books, Findings, Held, Mishap, NamedGap, moment};
use crate::time::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use tieline_sim::journal::Emission;

/// Emissions by topic and CorrelationId.
type Index<'a> = HashMap<(&'a str, &'a str), &'a Emission>;

/// Compares emissions and events, both ways.
pub(super) fn balance(
    books: &Books<'_>,
    gaps: &mut [NamedGap],
    findings: &mut Findings,
) -> Result<(), BadTime> {
    let emissions = counting(books)?;
    findings.emitted = emissions.len() as u64;
    let index = emissions
        .iter()
        .map(|emission| ((emission.topic.as_str(), emission.correlation_id.as_str()), *emission))
        .collect();
    let copies = read_through(books.held, &index, findings);
    findings.delivered = copies.len() as u64;
    check_numbers(books.held, findings);

    let absent = emissions.iter().filter(|emission| !copies.contains_key(&emission.number));
    let absent: BTreeMap<u64, &Emission> =
        absent.map(|emission| (emission.number, *emission)).collect();
    let moments = moments(books, &absent)?;
    for (number, emission) in absent {
        let sent = moments.get(&number).map_or(&[][..], Vec::as_slice);
        match covering(gaps, sent) {
            Some(gap) => {
                gap.missed += 1;
                findings.missed += 1;
            }
            None => findings.lost.push(lost(emission, sent)),
        }
    }
    Ok(())
}

/// The emissions that count: on a subscribed topic, after the subscription was settled.
fn counting<'a>(books: &Books<'a>) -> Result<Vec<&'a Emission>, BadTime> {
    let mut counting = Vec::new();
    for emission in &books.journal.emissions {
        if books.topics.contains(&emission.topic) && moment(&emission.time)? >= books.since {
            counting.push(emission);
        }
    }
    Ok(counting)
}

/// Reads the sink from its beginning. Answers how many copies there are of each emission that it holds.
fn read_through(held: &[Held], index: &Index<'_>, findings: &mut Findings) -> HashMap<u64, u64> {
    let mut copies: HashMap<u64, u64> = HashMap::new();
    let mut youngest: HashMap<&str, u64> = HashMap::new();
    for event in held.iter().filter(|event| !event.own) {
        findings.late += u64::from(event.late);
        let name = (event.topic.as_str(), event.correlation_id.as_str());
        let Some(emission) = index.get(&name) else {
            let detail = format!("never emitted: correlation id {:?}", event.correlation_id);
            findings.unknown.push(mishap(None, event, detail));
            continue;
        };
        let number = Some(emission.number);
        if !is_same(&emission.body, &event.body) {
            let detail = format!("holds {} instead of {}", event.body, emission.body);
            findings.altered.push(mishap(number, event, detail));
        }
        let copy = copies.entry(emission.number).or_default();
        *copy += 1;
        if *copy > 1 {
            let detail = format!("copy {copy}, with number {}", event.sequence);
            findings.doubled.push(mishap(number, event, detail));
            continue;
        }
        let before = youngest.entry(&event.key).or_default();
        if event.late {
            continue;
        }
        if emission.number < *before {
            let detail = format!("comes after emission {before} of the same key");
            findings.disordered.push(mishap(number, event, detail));
        }
        *before = emission.number.max(*before);
    }
    copies
}

/// Numbers begin with 1 and have neither hole nor repeat, for each key and epoch.
fn check_numbers(held: &[Held], findings: &mut Findings) {
    let mut last: HashMap<(&str, &str), u64> = HashMap::new();
    for event in held {
        let last = last.entry((&event.key, &event.epoch)).or_default();
        if event.sequence != *last + 1 {
            let detail = format!("has number {} after {last}", event.sequence);
            findings.misnumbered.push(mishap(None, event, detail));
        }
        *last = event.sequence;
    }
}

/// When each of these was written to a socket; when it was to none, when it would have been.
fn moments(
    books: &Books<'_>,
    absent: &BTreeMap<u64, &Emission>,
) -> Result<HashMap<u64, Vec<Timestamp>>, BadTime> {
    let mut moments: HashMap<u64, Vec<Timestamp>> = HashMap::new();
    for delivery in &books.journal.deliveries {
        if absent.contains_key(&delivery.number) {
            let at = moment(&delivery.at)?;
            moments.entry(delivery.number).or_default().push(at);
        }
    }
    for release in &books.journal.releases {
        if absent.contains_key(&release.number) && !moments.contains_key(&release.number) {
            moments.insert(release.number, vec![moment(&release.at)?]);
        }
    }
    Ok(moments)
}

/// The gap that excuses what was sent at these moments: each of them has to lie in one.
fn covering<'a>(gaps: &'a mut [NamedGap], sent: &[Timestamp]) -> Option<&'a mut NamedGap> {
    let (first, others) = sent.split_first()?;
    let excused = |at: &Timestamp| gaps.iter().any(|gap| gap.covers(*at));
    if !others.iter().all(excused) {
        return None;
    }
    gaps.iter_mut().find(|gap| gap.covers(*first))
}

fn is_same(emitted: &RawValue, held: &RawValue) -> bool {
    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    emitted.get() == held.get() || value(emitted) == value(held)
}

fn lost(emission: &Emission, sent: &[Timestamp]) -> Mishap {
    let sent: Vec<String> = sent.iter().map(Timestamp::to_string).collect();
    Mishap {
        emission: Some(emission.number),
        topic: emission.topic.clone(),
        detail: format!("not in the sink, and in no gap; sent at {}", sent.join(" and ")),
    }
}

fn mishap(emission: Option<u64>, event: &Held, detail: String) -> Mishap {
    Mishap { emission, topic: event.topic.clone(), detail }
}
