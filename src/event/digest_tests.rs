//! What the digest promises, against a model of JSON and against `serde_json`.

use super::{Digester, digest};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn spelling_does_not_count() {
    let plain = br#"{"a":"x\/\u00e9\ud83d\ude00","b":[1,{"c":null,"d":true}]}"#;
    let other = "\n{ \"b\" : [ 1 , {\"d\":true,\"c\":null} ] , \"\\u0061\":\"\\u0078/é😀\" }\t";
    assert_eq!(digest(plain), digest(other.as_bytes()));
}

#[test]
fn values_that_differ_have_different_digests() {
    let texts: [&[u8]; 24] = [
        b"1",
        b"1.0",
        b"1e0",
        b"\"1\"",
        b"[1]",
        b"[]",
        b"{}",
        b"[[]]",
        b"null",
        b"\"null\"",
        b"true",
        b"false",
        b"\"\"",
        b"[1,2]",
        b"[2,1]",
        b"{\"a\":1}",
        b"{\"a\":1,\"a\":1}",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":2,\"a\":1}",
        b"{\"a\":{\"b\":1}}",
        b"{\"b\":{\"a\":1}}",
        b"\"\\ud800\"",
        b"\"\\ud801\"",
        b"x",
    ];
    let digests: std::collections::HashSet<u128> = texts.iter().map(|text| digest(text)).collect();
    assert_eq!(digests.len(), texts.len());
}

#[test]
fn what_is_not_json_is_compared_as_bytes() {
    for broken in [
        "{\"a\":1",
        "{\"a\":1 ",
        "[1,]",
        "01",
        "1.",
        "-",
        "\"\n\"",
        "\"\\x\"",
        "{} x",
        "nul",
        "\"\\u12\"",
    ] {
        assert_eq!(
            digest(broken.as_bytes()),
            super::xxh3_128_with_seed(broken.as_bytes(), super::BYTES),
            "{broken}"
        );
    }
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_loses_its_difference() {
    let deep = "[".repeat(1_000_000);
    let deeper = "[".repeat(1_000_001);
    assert_ne!(digest(deep.as_bytes()), digest(deeper.as_bytes()));
}

#[test]
fn the_digest_is_part_of_ids_and_never_changes() {
    let body = br#"{"recordId":"r-1","n":[1,2.50,"\n"],"ok":true}"#;
    assert_eq!(format!("{:032x}", digest(body)), "9cab81398946eadab5656eddc017b933");
}

/// JSON as the digest sees it: numbers are text.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Literal(&'static str),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(Json::Literal),
        "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,2})?(e[+-]?[0-9])?".prop_map(Json::Number),
        "[ab\"\\\\\n\u{e9}\u{1f600}/]{0,12}".prop_map(Json::Text),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::List),
            prop::collection::btree_map("[abc\"]{0,2}", inner, 0..5).prop_map(Json::Object),
        ]
    })
}

/// Writes `json`, spelling each thing in a way that the bits of `style` choose.
fn spell(json: &Json, style: &mut impl Iterator<Item = bool>, out: &mut String) {
    let space = |style: &mut dyn Iterator<Item = bool>, out: &mut String| {
        if style.next().unwrap_or_default() {
            out.push_str(" \n\t\r");
        }
    };
    space(style, out);
    match json {
        Json::Literal(text) => out.push_str(text),
        Json::Number(text) => out.push_str(text),
        Json::Text(text) => spell_text(text, style, out),
        Json::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                spell(item, style, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            let mut members: Vec<_> = members.iter().collect();
            if style.next().unwrap_or_default() {
                members.reverse();
            }
            for (at, (name, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                space(style, out);
                spell_text(name, style, out);
                space(style, out);
                out.push(':');
                spell(value, style, out);
            }
            out.push('}');
        }
    }
    space(style, out);
}

fn spell_text(text: &str, style: &mut impl Iterator<Item = bool>, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        let must = matches!(letter, '"' | '\\') || letter < ' ';
        if must || style.next().unwrap_or_default() {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(letter);
        }
    }
    out.push('"');
}

fn spelt(json: &Json, style: &[bool]) -> String {
    let mut out = String::new();
    spell(json, &mut style.iter().copied().cycle(), &mut out);
    out
}

fn style() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 1..24)
}

proptest! {
    #[test]
    fn equal_values_have_equal_digests_however_they_are_spelt(value in json(), one in style(), other in style()) {
        let (one, other) = (spelt(&value, &one), spelt(&value, &other));
        let (left, right): (Value, Value) =
            (serde_json::from_str(&one).expect("valid"), serde_json::from_str(&other).expect("valid"));
        prop_assert_eq!(left, right);
        prop_assert_eq!(digest(one.as_bytes()), digest(other.as_bytes()));
    }

    #[test]
    fn digests_are_equal_only_when_values_are(left in json(), right in json(), style in style()) {
        let mut digester = Digester::default();
        let one = digester.digest(spelt(&left, &style).as_bytes());
        let other = digester.digest(spelt(&right, &style).as_bytes());
        prop_assert_eq!(one == other, left == right);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        digest(&bytes);
    }

    #[test]
    fn no_text_of_json_letters_makes_it_panic(text in "[\\[\\]{}\",:\\\\u0-9dDeE.+ntrue -]{0,60}") {
        let is_json = serde_json::from_str::<Value>(&text).is_ok();
        let as_bytes = super::xxh3_128_with_seed(text.as_bytes(), super::BYTES);
        prop_assert!(!is_json || digest(text.as_bytes()) != as_bytes);
    }

    #[test]
    fn plain_length_agrees_with_the_plain_way(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), Just(b'a'), Just(b'"'), Just(b'\\'), Just(0x1F), Just(0x20), Just(0xA2), Just(0xDC)], 0..40)) {
        let plain = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
        prop_assert_eq!(super::plain_length(&bytes), plain);
    }
}
