//! What is left out or hashed before an event is numbered and journalled, so that nothing behind the journal ever holds it.
//!
//! Off unless told otherwise: then a body passes byte for byte and is not looked into. It judges bodies, never topics or keys, and knows no sink.

mod config;
mod pattern;
mod profile;
mod rewrite;

#[cfg(test)]
mod tests;

pub use config::{Config, KeyError, Profile};
pub use profile::personal_fields;

use crate::event::Topic;
use bytes::Bytes;
use pattern::Pattern;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How many types of events are remembered with their rules: more than the platform has, and a bound on what a peer can make us remember.
const FOUND_MAX: usize = 1_024;

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is left out, name and value.
    Drop,
    /// Its values become keyed hashes: equal values stay equal, and nobody without the key can try them out.
    Hash,
}

/// A pattern and what is done where it fits.
#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    action: Action,
}

/// Equal for the same key, and tells nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print([u8; 32]);

/// Which key this is.
pub fn print(key: &ring::hmac::Key) -> Print {
    let mut print = [0; 32];
    let tag = ring::hmac::sign(key, b"which key of tieline's privacy rules is this?");
    print.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    Print(print)
}

/// The sets of rules that apply to one type of event.
type Fitting = Arc<[Arc<[Rule]>]>;

/// The rules of all families, ready to be applied.
pub struct Privacy {
    /// By family, or `*`, or a prefix that ends in `.*`.
    rules: Vec<(Box<str>, Arc<[Rule]>)>,
    key: Option<ring::hmac::Key>,
    /// What applies to a type of event, found once for each.
    found: HashMap<Box<str>, Fitting>,
}

impl Privacy {
    /// The rules of a configuration without mistakes. `key` is what `Config::read_key` gave.
    pub fn new(config: &Config, key: Option<ring::hmac::Key>) -> Self {
        let shipped = match config.profile {
            Profile::Off => Vec::new(),
            Profile::Personal => profile::rules(),
        };
        let rules = config.written().into_iter().chain(shipped);
        let rules = rules.map(|(family, rules)| (family.into(), rules.into())).collect();
        Self { rules, key, found: HashMap::new() }
    }

    /// No rules at all.
    pub fn off() -> Self {
        Self { rules: Vec::new(), key: None, found: HashMap::new() }
    }

    /// The body as it may leave the process; the very same bytes where no rule fits.
    ///
    /// A body that cannot be looked into (nested deeper than any that the platform sends) is withheld as `null` where a rule might
    /// have fitted.
    pub fn apply(&mut self, topic: &Topic, body: Bytes) -> Bytes {
        if self.rules.is_empty() {
            return body;
        }
        let rules = self.of(topic);
        if rules.is_empty() {
            return body;
        }
        let all: Vec<&Rule> = rules.iter().flat_map(|some| some.iter()).collect();
        match rewrite::rewrite(&body, &all, self.key.as_ref()) {
            Ok(Some(rewritten)) => rewritten.into(),
            Ok(None) => body,
            Err(rewrite::Unreadable) => Bytes::from_static(b"null"),
        }
    }

    /// Whether a rule may fit events of this topic.
    pub fn concerns(&self, topic: &Topic) -> bool {
        self.rules.iter().any(|(family, _)| fits(family, topic.family_name()))
    }

    fn of(&mut self, topic: &Topic) -> Fitting {
        if let Some(found) = self.found.get(topic.kind()) {
            return Arc::clone(found);
        }
        let fitting = self.rules.iter().filter(|(family, _)| fits(family, topic.family_name()));
        let fitting: Fitting = fitting.map(|(_, rules)| Arc::clone(rules)).collect();
        if self.found.len() < FOUND_MAX {
            self.found.insert(topic.kind().into(), Arc::clone(&fitting));
        }
        fitting
    }
}

impl fmt::Debug for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Privacy").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Whether a family as it is written in the configuration means this one. Case does not count, as it does not for the platform.
fn fits(written: &str, family: &str) -> bool {
    if written == "*" {
        return true;
    }
    match written.strip_suffix(".*") {
        Some(prefix) => {
            let (head, rest) = family.split_at_checked(prefix.len()).unwrap_or_default();
            head.eq_ignore_ascii_case(prefix) && (rest.is_empty() || rest.starts_with('.'))
        }
        None => written.eq_ignore_ascii_case(family),
    }
}
