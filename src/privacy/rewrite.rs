//! Writes a body anew without what the rules take out of it; all else keeps its bytes.
//!
//! Looks only into objects on the way to a field that a rule may fit, so that numbers keep their text and unknown members
//! their order.

use super::pattern::Place;
use super::{Action, Rule};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// How many hexadecimal digits of a hash are kept: 128 bits, so that two values do not meet by chance.
const DIGITS: usize = 32;

/// The deepest body that is looked into; the platform's have about ten levels.
const DEPTH_MAX: usize = 64;

/// The body cannot be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// The body without what the rules take out; none when they take nothing.
///
/// # Errors
/// The body is not JSON, or deeper than any body is.
pub(super) fn rewrite(
    body: &[u8],
    rules: &[&Rule],
    key: Option<&ring::hmac::Key>,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let root: &RawValue = serde_json::from_slice(body)?;
    let places: Vec<Place> = rules.iter().map(|rule| rule.pattern.begin()).collect();
    let out = Vec::with_capacity(body.len());
    let mut writer = Writer { rules, key, out, depth: 0, changed: false };
    writer.value(root, &places)?;
    Ok(writer.changed.then_some(writer.out))
}

struct Writer<'r> {
    rules: &'r [&'r Rule],
    key: Option<&'r ring::hmac::Key>,
    out: Vec<u8>,
    /// How many brackets are open.
    depth: usize,
    changed: bool,
}

impl Writer<'_> {
    fn value(&mut self, raw: &RawValue, places: &[Place]) -> Result<(), Unreadable> {
        let text = raw.get();
        if places.iter().all(|place| place.is_dead()) {
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        match text.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'_> = serde_json::from_str(text)?;
                self.list(b"{}", members.0, |writer, (name, value)| {
                    writer.member(&name, value, places)
                })
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                self.list(b"[]", items, |writer, item| writer.value(item, places).map(|()| true))
            }
            _ => {
                self.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }

    /// Writes what `one` writes of each item, between brackets and with commas; `one` says whether it wrote anything.
    fn list<T>(
        &mut self,
        brackets: &[u8; 2],
        items: Vec<T>,
        mut one: impl FnMut(&mut Self, T) -> Result<bool, Unreadable>,
    ) -> Result<(), Unreadable> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Unreadable);
        }
        self.out.push(brackets[0]);
        let mut is_first = true;
        for item in items {
            let before = self.out.len();
            if !is_first {
                self.out.push(b',');
            }
            if one(self, item)? {
                is_first = false;
            } else {
                self.out.truncate(before);
            }
        }
        self.out.push(brackets[1]);
        self.depth -= 1;
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        value: &RawValue,
        places: &[Place],
    ) -> Result<bool, Unreadable> {
        let below: Vec<Place> =
            self.rules.iter().zip(places).map(|(rule, at)| rule.pattern.below(*at, name)).collect();
        let fitting = self.rules.iter().zip(&below).filter(|(rule, at)| rule.pattern.fits(**at));
        let actions: Vec<Action> = fitting.map(|(rule, _)| rule.action).collect();
        if actions.contains(&Action::Drop) {
            self.changed = true;
            return Ok(false);
        }
        serde_json::to_writer(&mut self.out, name)?;
        self.out.push(b':');
        if actions.contains(&Action::Hash) {
            self.hashed(value)?;
        } else {
            self.value(value, &below)?;
        }
        Ok(true)
    }

    /// Writes a value whose strings, numbers and booleans are hashed, however deep they lie. `null` says nothing and stays.
    fn hashed(&mut self, raw: &RawValue) -> Result<(), Unreadable> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'_> = serde_json::from_str(text)?;
                self.list(b"{}", members.0, |writer, (name, value)| {
                    serde_json::to_writer(&mut writer.out, &name)?;
                    writer.out.push(b':');
                    writer.hashed(value).map(|()| true)
                })
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                self.list(b"[]", items, |writer, item| writer.hashed(item).map(|()| true))
            }
            Some(b'"') => {
                // By what it says and not by how it is escaped.
                let said: Cow<'_, str> = serde_json::from_str::<Text<'_>>(text)?.0;
                self.hash(&said);
                Ok(())
            }
            Some(b'n') | None => {
                self.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Some(_) => {
                self.hash(text);
                Ok(())
            }
        }
    }

    fn hash(&mut self, said: &str) {
        self.changed = true;
        let Some(key) = self.key else {
            // A configuration without a key is refused; should one ever get here, nothing is told.
            self.out.extend_from_slice(b"null");
            return;
        };
        let tag = ring::hmac::sign(key, said.as_bytes());
        self.out.extend_from_slice(b"\"hashed:");
        let hex = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        self.out.extend(hex.take(DIGITS).map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        self.out.push(b'"');
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object's members in their order, repeated names included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) =
                    map.next_entry::<Text<'de>, &'de RawValue>()?
                {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
