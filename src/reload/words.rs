//! What is told of a reload: observations for the log, and what the status shows.
//!
//! Values come from `config` as a message may show them; nothing here sees a secret.

use crate::bridge::status::{Changed, OverriddenKey, Reload};
use crate::config::{Change, Difference, Mistakes};
use crate::observation::Observation;
use crate::telemetry::metrics::RELOADS;
use crate::time::Timestamp;
use std::error::Error;

/// Everything asked for is in force.
const APPLIED: &str = RELOADS[0];
/// Something asked for takes a new process; the rest is in force.
const PENDING: &str = RELOADS[1];
/// Nothing is asked for that is not in force.
const UNCHANGED: &str = RELOADS[2];
/// It has mistakes; nothing of it is in force.
const REFUSED: &str = RELOADS[3];

/// How many mistakes are told one by one; a file with more is another file.
const TOLD_MAX: usize = 50;

/// The key of `privacy.key_file`.
const KEY_FILE: &str = "privacy.key_file";

/// Whether a change names another key file, so that another key is no news.
pub(super) fn is_key_file(change: &Change) -> bool {
    change.key == KEY_FILE
}

/// The file of the same name holds another key.
pub(super) fn other_key() -> Change {
    let (was, now) = ("(the key it held)".into(), "(another key)".into());
    Change { key: KEY_FILE.into(), was, now }
}

fn outcome(difference: &Difference) -> &'static str {
    match (difference.pending.is_empty(), difference.live.is_empty()) {
        (false, _) => PENDING,
        (true, false) => APPLIED,
        (true, true) => UNCHANGED,
    }
}

/// A change as the status shows it.
pub(super) fn changed(change: &Change) -> Changed {
    let Change { key, was, now } = change.clone();
    Changed { key, was, now }
}

/// What the status shows of a reload without mistakes.
pub(super) fn reload(at: Timestamp, trigger: &'static str, difference: &Difference) -> Reload {
    Reload {
        at,
        trigger,
        outcome: outcome(difference),
        applied: difference.live.iter().map(changed).collect(),
        overridden: difference
            .overridden
            .iter()
            .map(|one| OverriddenKey { key: one.key.clone(), variable: one.variable.clone() })
            .collect(),
        mistakes: Vec::new(),
    }
}

/// What the status shows of one with mistakes.
pub(super) fn refused(at: Timestamp, trigger: &'static str, mistakes: &Mistakes) -> Reload {
    let told = mistakes.iter().take(TOLD_MAX).map(line);
    let (applied, overridden, mistakes) = (Vec::new(), Vec::new(), told.collect());
    Reload { at, trigger, outcome: REFUSED, applied, overridden, mistakes }
}

/// What the log says of a reload without mistakes.
pub(super) fn tell(trigger: &'static str, difference: &Difference) -> Vec<Observation> {
    let mut told = vec![Observation::ConfigRead { trigger, outcome: outcome(difference) }];
    told.extend(difference.live.iter().cloned().map(|change| {
        let Change { key, was, now } = change;
        Observation::ConfigApplied { key, was, now }
    }));
    told.extend(difference.pending.iter().cloned().map(|change| {
        let Change { key, was, now } = change;
        Observation::ConfigPending { key, was, now }
    }));
    told.extend(
        difference
            .overridden
            .iter()
            .cloned()
            .map(|one| Observation::ConfigOverridden { key: one.key, variable: one.variable }),
    );
    told
}

/// What the log says of one with mistakes.
pub(super) fn mistakes(trigger: &'static str, mistakes: &Mistakes) -> Vec<Observation> {
    let mut told = vec![Observation::ConfigRead { trigger, outcome: REFUSED }];
    told.extend(mistakes.iter().take(TOLD_MAX).map(|mistake| Observation::ConfigMistaken {
        key: mistake.key.clone(),
        words: line(mistake),
    }));
    told
}

/// As `check` says it, on one line.
fn line(mistake: &crate::config::Located) -> String {
    let words = mistake.to_string();
    words.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// An error with its causes.
pub(super) fn whole(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    words
}
