//! The `[privacy]` table, and the key of its hashes.

use super::pattern::{self, Pattern};
use super::{Action, Rule};
use crate::mistake::Mistake;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// A key shorter than this could be tried out.
const KEY_MIN: usize = 16;

/// A file that is longer is not a key.
const KEY_MAX: u64 = 4_096;

/// What is dropped and hashed; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rules that are shipped.
    pub profile: Profile,
    /// The file that holds the key of the hashes.
    pub key_file: Option<PathBuf>,
    /// Fields that are left out, by family.
    pub drop: BTreeMap<String, Vec<String>>,
    /// Fields whose values are hashed, by family.
    pub hash: BTreeMap<String, Vec<String>>,
}

/// A shipped set of rules.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// None: what Genesys says is published.
    Off,
    /// Personal data of customers and agents: names, free text and attributes are dropped; numbers, addresses and ids of
    /// contacts are hashed.
    Personal,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read privacy.key_file {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it holds is no key.
    #[error("privacy.key_file {} holds {length} bytes, but a key has from {KEY_MIN} to {KEY_MAX}", path.display())]
    Length {
        /// Which file.
        path: PathBuf,
        /// How many bytes were read, without white space around them.
        length: usize,
    },
}

impl Config {
    /// What is wrong with the table.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (key, table) in [("drop", &self.drop), ("hash", &self.hash)] {
            for (family, patterns) in table {
                if let Some(problem) = pattern::wrong_family(family) {
                    let fix = "write a topic without its ids, such as \"v2.routing.queues.conversations\", a prefix such as \"v2.users.*\", or \"*\"";
                    mistakes.push(Mistake::new(
                        key,
                        format!("names \"{family}\", which {problem}"),
                        fix,
                    ));
                }
                for wrong in patterns.iter().filter(|text| Pattern::parse(text).is_none()) {
                    let fix = "write the names from the body's root down, such as \"participants.name\"; \"*\" stands for any one name and \"**\" for any number of them";
                    mistakes.push(Mistake::new(
                        key,
                        format!("holds \"{wrong}\", which is not a path"),
                        fix,
                    ));
                }
            }
        }
        if self.hashes() && self.key_file.is_none() {
            let fix = "name a file with at least 16 random bytes, such as one made by: openssl rand -hex 32";
            mistakes.push(Mistake::new("key_file", "is missing, and fields are to be hashed", fix));
        }
        mistakes
    }

    /// Whether any field is hashed, so that a key is needed.
    fn hashes(&self) -> bool {
        self.profile == Profile::Personal || self.hash.values().any(|patterns| !patterns.is_empty())
    }

    /// Whether anything is done at all.
    pub fn is_off(&self) -> bool {
        self.profile == Profile::Off && self.drop.is_empty() && self.hash.is_empty()
    }

    /// Reads the key where one is needed. White space around it does not count.
    ///
    /// # Errors
    /// The file is unreadable, or holds no key.
    pub fn read_key(&self) -> Result<Option<ring::hmac::Key>, KeyError> {
        let Some(path) = self.key_file.as_ref().filter(|_| self.hashes()) else {
            return Ok(None);
        };
        let unreadable = |source| KeyError::Unreadable { path: path.clone(), source };
        let mut bytes = Zeroizing::new(Vec::new());
        let file = File::open(path).map_err(unreadable)?;
        file.take(KEY_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let key = bytes.trim_ascii();
        if key.len() < KEY_MIN || bytes.len() as u64 > KEY_MAX {
            return Err(KeyError::Length { path: path.clone(), length: key.len() });
        }
        Ok(Some(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key)))
    }

    /// The rules of the two tables, by family. What is dropped wins over what is hashed, so that it comes first.
    pub(super) fn written(&self) -> BTreeMap<&str, Vec<Rule>> {
        let mut rules: BTreeMap<&str, Vec<Rule>> = BTreeMap::new();
        for (table, action) in [(&self.drop, Action::Drop), (&self.hash, Action::Hash)] {
            for (family, patterns) in table {
                let parsed = patterns.iter().filter_map(|text| Pattern::parse(text));
                let parsed = parsed.map(|pattern| Rule { pattern, action });
                rules.entry(family).or_default().extend(parsed);
            }
        }
        rules
    }
}
