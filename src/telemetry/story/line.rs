//! One line of the story: how it is logged and kept in the same words, and how durations, lists and floods are said in it.
//!
//! Knows nothing of what happened.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Who gets woken by a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nobody: the story's small print.
    Debug,
    /// Nobody: the story.
    Info,
    /// Somebody, today.
    Warn,
    /// Somebody, now.
    Error,
}

/// A line of the story as it was told, for those who show it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who gets woken by it.
    pub level: Level,
    /// The message; empty where the small print has none.
    pub words: String,
}

/// The message of a line of `tracing`: what stands behind its fields.
macro_rules! words {
    ($text:literal $(, $($args:tt)*)?) => { format!($text $(, $($args)*)?) };
    ($name:ident = % $value:expr $(, $($rest:tt)*)?) => { words!($($($rest)*)?) };
    ($name:ident = ? $value:expr $(, $($rest:tt)*)?) => { words!($($($rest)*)?) };
    ($name:ident = $value:expr $(, $($rest:tt)*)?) => { words!($($($rest)*)?) };
    ($name:ident $(, $($rest:tt)*)?) => { words!($($($rest)*)?) };
    () => { String::new() };
}

/// Logs a line, and ends the story with it, so that whoever asked for the story has the same words.
macro_rules! said {
    ($level:ident, $log:ident, $($line:tt)*) => {{
        tracing::$log!($($line)*);
        return Told { level: Level::$level, words: words!($($line)*) };
    }};
}

macro_rules! error { ($($line:tt)*) => { said!(Error, error, $($line)*) } }
macro_rules! warn { ($($line:tt)*) => { said!(Warn, warn, $($line)*) } }
macro_rules! info { ($($line:tt)*) => { said!(Info, info, $($line)*) } }
macro_rules! debug { ($($line:tt)*) => { said!(Debug, debug, $($line)*) } }

/// A duration as people say it: `250ms`, `1.2s`, `4m 10s`, `23h 59m`.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.as_millis());
        match seconds {
            0 => write!(f, "{millis}ms"),
            1..=9 => write!(f, "{:.1}s", self.0.as_secs_f64()),
            10..=59 => write!(f, "{seconds}s"),
            60..=3599 => write!(f, "{}m {}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h {}m", seconds / 3600, seconds % 3600 / 60),
        }
    }
}

/// When it is tried again, or why it is not.
pub(super) fn attempt_or(wait: Option<Duration>, otherwise: &str) -> String {
    match wait {
        Some(wait) => format!("next attempt in {}", Span(wait)),
        None => otherwise.to_owned(),
    }
}

/// So many keys are named in a line.
const KEYS_MAX: usize = 10;

/// The first of these keys, and how many more there are.
pub(super) fn first_of(keys: &[String]) -> String {
    match keys.split_at_checked(KEYS_MAX) {
        Some((named, more)) if !more.is_empty() => {
            format!("{} and {} more", named.join(", "), more.len())
        }
        Some(_) | None if keys.is_empty() => "none".to_owned(),
        Some(_) | None => keys.join(", "),
    }
}

/// Whether the `nth` of a flood is told aloud: the first few, then ever rarer, and each thousandth.
pub(super) const fn is_loud(nth: u64) -> bool {
    nth.is_power_of_two() || nth.is_multiple_of(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_ever_more_rarely() {
        let loud: Vec<u64> = (1..=2100).filter(|nth| is_loud(*nth)).collect();
        assert_eq!(loud, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1024, 2000, 2048]);
    }

    #[test]
    fn spans_are_as_people_say_them() {
        let said = |seconds: f64| Span(Duration::from_secs_f64(seconds)).to_string();
        assert_eq!(said(0.25), "250ms");
        assert_eq!(said(1.23), "1.2s");
        assert_eq!(said(35.0), "35s");
        assert_eq!(said(250.0), "4m 10s");
        assert_eq!(said(86_399.0), "23h 59m");
    }
}
