//! A JSON document as CEL sees it.
//!
//! Whole numbers are `int` where they fit, so that `event.data.n == 1` means what it says; of a repeated member the last counts.

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;

/// Any CEL value.
pub(super) type Boxed = Box<dyn Val>;

/// A value of the document.
pub(super) struct Body(pub(super) Boxed);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Boxed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Boxed, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Boxed, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Boxed, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Boxed, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Ok(Box::new(CelUInt::from(value))),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Boxed, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Boxed, E> {
        Ok(text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Boxed, A::Error> {
        let mut list: Vec<Boxed> = Vec::new();
        while let Some(Body(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Box::new(CelList::from(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Boxed, A::Error> {
        let mut object: HashMap<CelMapKey<'_>, Boxed> = HashMap::new();
        while let Some((name, Body(value))) = members.next_entry::<String, Body>()? {
            object.insert(CelMapKey::from(name), value);
        }
        Ok(Box::new(CelMap::from(object)))
    }
}

/// A text as CEL sees it.
pub(super) fn text(value: &str) -> Boxed {
    Box::new(CelString::from(value.to_owned()))
}

/// True or false as CEL sees it.
pub(super) fn truth(value: bool) -> Boxed {
    Box::new(CelBool::from(value))
}

/// An object as CEL sees it.
pub(super) fn object(members: HashMap<CelMapKey<'static>, Boxed>) -> Boxed {
    Box::new(CelMap::from(members))
}
