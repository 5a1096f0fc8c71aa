//! All that is wrong with a configuration, told at once, for a person and for a script.
//!
//! Never shows a value that may be a secret.

use super::tree::{Source, join};
use serde::Serialize;
use std::fmt;

/// One mistake, with the place where it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The full path, such as `sink.kafka.topic`; empty when the file as a whole is meant.
    pub key: String,
    /// The value as TOML; none when it is missing, unknown, or may be a secret.
    pub value: Option<String>,
    /// Where it was written, or the nearest table to where it is missing.
    pub source: Source,
    /// What is wrong, as it fits after the value.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

/// All mistakes of a configuration, in the order of the file, then of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Mistakes(Vec<Located>);

impl Mistakes {
    /// Sorts and gathers them; says each thing once.
    pub fn new(mut mistakes: Vec<Located>) -> Self {
        mistakes.sort_by(|a, b| (&a.source, &a.key).cmp(&(&b.source, &b.key)));
        mistakes.dedup();
        Self(mistakes)
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Located> {
        self.0.iter()
    }

    /// How many; never 0 where a `Mistakes` is returned as an error.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has 1 mistake")?,
            count => write!(f, "the configuration has {count} mistakes")?,
        }
        for (index, mistake) in self.0.iter().enumerate() {
            write!(f, "\n\n{:>3}. {mistake}", index + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.value) {
            (key, _) if key.is_empty() => write!(f, "{}", self.source)?,
            (key, Some(value)) => write!(f, "{key} = {value}   ({})", self.source)?,
            (key, None) => write!(f, "{key}   ({})", self.source)?,
        }
        write!(f, "\n     {}\n     fix: {}", self.problem, self.fix)
    }
}

/// Words that make a key's value a secret wherever they stand in its name.
const SECRET_WORDS: [&str; 8] =
    ["secret", "password", "passwd", "passphrase", "token", "credential", "credentials", "jwt"];

/// Known keys whose value is a place or a name although their path has a word of the list.
const PLACES: [&str; 10] = [
    "path",
    "file",
    "address",
    "mount",
    "namespace",
    "method",
    "interval",
    "lifetime",
    "location",
    "url",
];

/// Longest value that a message shows, in characters; the rest is cut.
const SHOWN_MAX: usize = 120;

/// The value as a message may show it: none when it may be a secret, without the user and password of a URL, and cut.
///
/// `known` says whether the program knows the key: the value of a misspelt one is judged by the more careful rule.
pub fn shown(path: &[String], known: bool, value: &str) -> Option<String> {
    if may_be_secret(path, known) {
        return None;
    }
    let value = without_userinfo(value);
    let mut shown: String = value.chars().take(SHOWN_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    Some(shown)
}

/// Whether a value at this path may be a secret.
fn may_be_secret(path: &[String], known: bool) -> bool {
    let joined = join(path).to_ascii_lowercase();
    let last = joined.rsplit(|c: char| !c.is_ascii_alphanumeric()).find(|word| !word.is_empty());
    let place = known && last.is_some_and(|word| PLACES.contains(&word));
    names_secret(&joined) && !place
}

/// Whether a name says that it is a secret's. Misspelt words count: `client_secert` holds one as well.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        SECRET_WORDS.iter().any(|secret| {
            word.contains(secret)
                || strsim::damerau_levenshtein(word, secret) <= secret.len() / SLIP_LENGTH
        })
        // `ssl.key.pem`, `sasl.jaas.config`, and the like of other clients.
        || matches!(word, "pem" | "jaas" | "pass" | "key")
    })
}

/// A word of so many letters may have one slip and is still that word.
const SLIP_LENGTH: usize = 5;

/// `nats://user:password@host` without what stands before the `@`. Whatever a password is made of, it lies between a scheme
/// and the last `@` before the next scheme.
pub fn without_userinfo(value: &str) -> String {
    let clean: Vec<String> = value
        .split("://")
        .map(|part| match part.rsplit_once('@') {
            Some((before, host)) if before.starts_with('"') => format!("\"[REDACTED]@{host}"),
            Some((_, host)) => format!("[REDACTED]@{host}"),
            None => part.to_owned(),
        })
        .collect();
    clean.join("://")
}

#[cfg(test)]
mod tests {
    use super::super::tree::split;
    use super::*;

    #[test]
    fn a_value_that_may_be_a_secret_is_not_shown() {
        for path in [
            "genesys.client_secret",
            "genesys.client_secert",
            "secret.vault.token",
            "secret.env.variable",
            "sink.nats.password",
            "secret.file",
            "secret",
        ] {
            assert_eq!(shown(&split(path), false, "\"x\""), None, "{path}");
        }
        let option = ["sink", "kafka", "options", "sasl.password"].map(str::to_owned);
        assert_eq!(shown(&option, true, "\"x\""), None);
    }

    #[test]
    fn a_place_of_a_secret_is_shown() {
        for path in [
            "secret.file.path",
            "secret.vault.address",
            "secret.vault.auth.secret_id_file",
            "secret.vault.auth.token_file",
            "sink.kafka.topic",
        ] {
            assert!(shown(&split(path), true, "\"x\"").is_some(), "{path}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_user_and_password() {
        let path = split("sink.nats.url");
        assert_eq!(
            shown(&path, true, r#""nats://me:p/,a@ss@a:4222,tls://you:x@b""#).as_deref(),
            Some(r#""nats://[REDACTED]@a:4222,tls://[REDACTED]@b""#)
        );
        assert_eq!(
            shown(&path, true, r#""me:pass@a:4222""#).as_deref(),
            Some(r#""[REDACTED]@a:4222""#)
        );
    }
}
