//! The end of an act: what independent consumers read from the brokers against the simulator's own journal, and the table of it all.

use super::script::{Kind, Step};
use super::theatre::{Act, Recovery, Theatre};
use crate::books::{self, Gap, Held, Verdict};
use crate::consumers;
use crate::harness::hold_no_secret;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

/// What came of an act.
pub struct Outcome {
    act: Act,
    faults: BTreeMap<Kind, usize>,
    recoveries: Vec<Recovery>,
    gaps: Vec<Gap>,
    sinks: Vec<Sink>,
}

struct Sink {
    name: &'static str,
    events: usize,
    /// Copies that a resend made, with the same number.
    resent: usize,
    verdict: Verdict,
}

impl Theatre<'_> {
    /// Lets everything arrive, ends the process, and compares.
    pub async fn close(mut self, steps: &[Step], recoveries: Vec<Recovery>) -> Outcome {
        self.well(self.now().await).await;
        self.stand.emits(50).await;
        self.stand.control("traffic", json!({"state": "pause"})).await;
        self.stand.delivered_all(self.since).await;
        let bridge = self.bridge.take().unwrap();
        let gaps = bridge.gaps().await;
        let log = bridge.finish(&self.stand).await;
        self.said.push_str(&log);
        hold_no_secret(&self.said, &self.stand);
        let sinks = self.sinks(&gaps).await;
        let mut faults = BTreeMap::new();
        for step in steps {
            for fault in [Some(step.first), step.second].into_iter().flatten() {
                *faults.entry(fault.kind).or_default() += 1;
            }
        }
        Outcome { act: self.act, faults, recoveries, gaps, sinks }
    }

    async fn sinks(&self, gaps: &[Gap]) -> Vec<Sink> {
        let name = self.act.name;
        let brokers = self.brokers.kafka.brokers();
        let of_nats = consumers::nats(&self.brokers.nats.field("url"), name, None).await;
        let mut of_kafka = consumers::kafka(&brokers, name, None).await;
        of_kafka.extend(consumers::kafka(&brokers, &format!("{name}.control"), None).await);
        let events = |messages: Vec<consumers::Message>| {
            messages.into_iter().map(|message| message.event).collect()
        };
        let held: [(&'static str, Vec<Held>); 3] =
            [("kafka", events(of_kafka)), ("nats", events(of_nats)), ("jsonl", self.stand.held())];
        held.map(|(name, held)| {
            // No silence is played here but that of a socket, which is a certain gap: a possible one excuses nothing.
            let excuses = |gap: &&Gap| {
                gap.certainty == "certain" && gap.sink.as_deref().is_none_or(|sink| sink == name)
            };
            let gaps: Vec<Gap> = gaps.iter().filter(excuses).cloned().collect();
            let events = held.len();
            let is_plain = name == "kafka" && !self.act.exactly_once;
            let held = if is_plain { once(held) } else { held };
            let resent = events - held.len();
            let verdict = self.stand.judge(&held, &gaps, self.since);
            Sink { name, events, resent, verdict }
        })
        .into()
    }
}

/// What a reader of plain Kafka makes of it by the numbers alone: a resend repeats a stretch, and never jumps ahead of what it has shown.
fn once(held: Vec<Held>) -> Vec<Held> {
    let mut last: HashMap<(String, String), u64> = HashMap::new();
    let is_new = |event: &Held| {
        let last = last.entry((event.key.clone(), event.epoch.clone())).or_default();
        let is_new = event.sequence > *last;
        *last = event.sequence.max(*last);
        is_new
    };
    let mut is_new = is_new;
    held.into_iter().filter(|event| is_new(event)).collect()
}

impl Outcome {
    /// What was not kept, in words; empty where all was.
    pub fn broken(&self) -> String {
        let mut broken = String::new();
        for Sink { name, verdict, .. } in &self.sinks {
            let numbers = [
                ("lost outside of every named gap", &verdict.lost),
                ("disordered", &verdict.disordered),
            ];
            for (what, numbers) in numbers.into_iter().filter(|(_, numbers)| !numbers.is_empty()) {
                writeln!(broken, "{} {name}: {what}: {numbers:?}", self.act.name).unwrap();
            }
            let words = [
                ("missing and not told in its topic's order", &verdict.untold),
                ("doubled", &verdict.doubled),
                ("strange", &verdict.strange),
            ];
            for (what, words) in words {
                for one in words.iter().take(10) {
                    writeln!(broken, "{} {name}: {what} ({}): {one}", self.act.name, words.len())
                        .unwrap();
                }
            }
            if verdict.emitted == 0 {
                writeln!(broken, "{} {name}: nothing was emitted", self.act.name).unwrap();
            }
        }
        if !broken.is_empty() {
            for gap in &self.gaps {
                writeln!(broken, "{gap:?}").unwrap();
            }
        }
        broken
    }

    /// The table of the act.
    pub fn table(&self) -> String {
        let mut table = format!("\n{}\n", self.act.name);
        writeln!(
            table,
            "| fault | count | alone: well again after p50 | p99 |\n| --- | --- | --- | --- |"
        )
        .unwrap();
        for (kind, count) in &self.faults {
            let took = self.took(Some(*kind));
            writeln!(table, "| {} | {count} | {} |", kind.name(), took).unwrap();
        }
        let doubles = self.recoveries.iter().filter(|one| one.kind.is_none()).count();
        writeln!(table, "| two at once | {doubles} | {} |", self.took(None)).unwrap();
        writeln!(
            table,
            "\n| sink | events | notifications | lost | in named gaps | doubled | sent again | marked as perhaps double | late | disordered |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
        .unwrap();
        for Sink { name, events, resent, verdict } in &self.sinks {
            let Verdict { emitted, lost, missed, doubled, repeated, late, disordered, .. } =
                verdict;
            let [lost, missed, repeated, late, disordered] =
                [lost, missed, repeated, late, disordered].map(Vec::len);
            let doubled = doubled.len();
            writeln!(
                table,
                "| {name} | {events} | {emitted} | {lost} | {missed} | {doubled} | {resent} | {repeated} | {late} | {disordered} |"
            )
            .unwrap();
        }
        table.push_str(&self.gaps_by_cause());
        table
    }

    fn gaps_by_cause(&self) -> String {
        let mut causes: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        for gap in &self.gaps {
            let to = gap.to.as_deref().map_or(0, books::micros);
            let entry = causes.entry(&gap.cause).or_default();
            entry.0 += 1;
            entry.1 += Duration::from_micros(to.saturating_sub(books::micros(&gap.from)));
        }
        let mut table = "\n| gap | count | seconds |\n| --- | --- | --- |\n".to_owned();
        for (cause, (count, length)) in causes {
            writeln!(table, "| `{cause}` | {count} | {:.1} |", length.as_secs_f64()).unwrap();
        }
        table
    }

    fn took(&self, kind: Option<Kind>) -> String {
        let of_kind = self.recoveries.iter().filter(|one| one.kind == kind);
        let mut took: Vec<Duration> = of_kind.map(|one| one.took).collect();
        took.sort_unstable();
        let at = |percent: usize| {
            let index = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(index).map_or("–".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()))
        };
        format!("{} | {}", at(50), at(99))
    }
}
