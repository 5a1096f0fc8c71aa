//! What a sink gives to its consumers, as its broker answers now, and what weakens it.
//!
//! The findings' names are a table of `docs/delivery.md`. How a broker is asked is each sink's affair.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How often a consumer may find an event that was acknowledged to tieline.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The broker may lose it in the ordinary course of things: a restart, an election, a full stream.
    #[serde(skip_deserializing)]
    BestEffort,
    /// Once or more often.
    AtLeastOnce,
    /// Once, also over restarts of either side.
    EffectivelyOnce,
    /// Once, because the broker stores events and their progress in one transaction; for `read_committed` readers.
    ExactlyOnce,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "best_effort",
            Self::AtLeastOnce => "at_least_once",
            Self::EffectivelyOnce => "effectively_once",
            Self::ExactlyOnce => "exactly_once",
        })
    }
}

/// What one fact means for the guarantee.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is part of what makes the guarantee.
    Holds,
    /// The guarantee stands, but for the case that the text names.
    Weakens,
    /// Because of it the guarantee is no more than this.
    Lowers,
    /// It could not be read; the text says what is assumed.
    Unknown,
}

/// One fact about the broker.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Finding {
    /// What it is about; a row of the table in `docs/delivery.md`.
    pub name: &'static str,
    /// What it means.
    pub effect: Effect,
    /// In words, with the broker's own figures.
    pub text: String,
}

/// What a sink gives.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Guarantee {
    /// The guarantee in force.
    pub level: Level,
    /// What makes and what weakens it.
    pub findings: Vec<Finding>,
}

impl Guarantee {
    /// What a sink gives by itself, before its broker is asked.
    pub const fn of(level: Level) -> Self {
        Self { level, findings: Vec::new() }
    }

    /// Adds what holds.
    pub fn holds(&mut self, name: &'static str, text: impl Into<String>) {
        self.find(name, Effect::Holds, text.into());
    }

    /// Adds what weakens it.
    pub fn weakens(&mut self, name: &'static str, text: impl Into<String>) {
        self.find(name, Effect::Weakens, text.into());
    }

    /// Adds what nobody could say.
    pub fn unknown(&mut self, name: &'static str, text: impl Into<String>) {
        self.find(name, Effect::Unknown, text.into());
    }

    /// Adds what makes it no more than `level`.
    pub fn lowers(&mut self, level: Level, name: &'static str, text: impl Into<String>) {
        self.level = self.level.min(level);
        self.find(name, Effect::Lowers, text.into());
    }

    /// Why it is less than `required`, in words; none when it is not.
    pub fn shortfall(&self, required: Level) -> Option<String> {
        if self.level >= required {
            return None;
        }
        let lowering = self.findings.iter().filter(|finding| finding.effect == Effect::Lowers);
        let why: Vec<&str> = lowering.map(|finding| finding.text.as_str()).collect();
        let level = self.level;
        Some(format!("{required} is required, and {level} is what there is: {}", why.join("; ")))
    }

    fn find(&mut self, name: &'static str, effect: Effect, text: String) {
        self.findings.push(Finding { name, effect, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weakest_fact_counts_and_says_why() {
        let mut guarantee = Guarantee::of(Level::EffectivelyOnce);
        guarantee.holds("storage", "on disk");
        guarantee.weakens("replicas", "one replica");
        assert_eq!(guarantee.shortfall(Level::EffectivelyOnce), None);
        guarantee.lowers(Level::BestEffort, "storage", "in memory");
        guarantee.lowers(Level::AtLeastOnce, "sharing", "not alone");
        assert_eq!(guarantee.level, Level::BestEffort);
        assert_eq!(
            guarantee.shortfall(Level::AtLeastOnce).as_deref(),
            Some(
                "at_least_once is required, and best_effort is what there is: in memory; not alone"
            )
        );
    }

    #[test]
    fn nobody_requires_less_than_once() {
        let read = serde_json::from_str::<Level>;
        assert!(read("\"best_effort\"").is_err());
        assert_eq!(read("\"exactly_once\"").ok(), Some(Level::ExactlyOnce));
    }
}
