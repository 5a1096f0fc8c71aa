//! What leaves the process under rules, by example and against the platform's official schemas.

use super::{Config, Privacy, Profile, personal_fields};
use crate::event::Topic;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;

fn table(family: &str, paths: &[&str]) -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([(family.to_owned(), paths.iter().map(|&path| path.to_owned()).collect())])
}

fn rules(drop: &[&str], hash: &[&str]) -> Config {
    Config { profile: Profile::Off, key_file: None, drop: table("*", drop), hash: table("*", hash) }
}

fn personal() -> Config {
    Config { profile: Profile::Personal, ..rules(&[], &[]) }
}

fn key() -> Option<ring::hmac::Key> {
    Some(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a key for the tests"))
}

const QUEUE: &str = "v2.routing.queues.0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d.conversations";

fn applied(config: &Config, topic: &str, body: &'static str) -> String {
    let body = Privacy::new(config, key()).apply(&Topic::new(topic), Bytes::from(body));
    String::from_utf8(body.to_vec()).expect("text")
}

#[test]
fn without_a_rule_that_fits_the_bytes_stay_as_they_are() {
    let body = Bytes::from_static(b"{ \"n\": 1.50 ,\"name\":\"x\"}");
    let mut privacy = Privacy::new(&rules(&["other"], &[]), None);
    assert_eq!(privacy.apply(&Topic::new(QUEUE), body.clone()).as_ptr(), body.as_ptr());
}

#[test]
fn what_is_dropped_goes_and_all_else_keeps_its_text_and_order() {
    let body = r#"{"z":1.50,"participants":[{"name":"Ann","id":"1"},{"id":"2","name":"B"}],"a":{"name":"q"}}"#;
    let shown = applied(&rules(&["participants.name"], &[]), QUEUE, body);
    assert_eq!(shown, r#"{"z":1.50,"participants":[{"id":"1"},{"id":"2"}],"a":{"name":"q"}}"#);
}

#[test]
fn a_hash_keeps_equal_values_equal_and_tells_nothing_else() {
    let body =
        r#"{"ani":"+49 30 1","dnis":"+49 30 2","far":{"ani":["\u002b49 30 1",null,{"n":7}]}}"#;
    let shown: Value =
        serde_json::from_str(&applied(&rules(&[], &["**.ani"]), QUEUE, body)).unwrap();
    let hash = shown["ani"].as_str().unwrap();
    assert!(hash.len() == 39 && hash.starts_with("hashed:"), "{hash}");
    assert_eq!(shown["far"]["ani"][0], hash, "by what it says, not by its escapes");
    assert!(shown["far"]["ani"][1].is_null());
    assert!(shown["far"]["ani"][2]["n"].is_string());
    assert_eq!(shown["dnis"], "+49 30 2");
}

#[test]
fn another_key_gives_another_hash() {
    let (config, topic) = (rules(&[], &["ani"]), Topic::new(QUEUE));
    let hash = |key: &[u8]| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        Privacy::new(&config, Some(key)).apply(&topic, Bytes::from_static(b"{\"ani\":\"1\"}"))
    };
    assert_ne!(hash(b"one key, of 16 bytes"), hash(b"another key, as long"));
}

#[test]
fn dropping_wins_over_hashing() {
    assert_eq!(applied(&rules(&["ani"], &["**.ani"]), QUEUE, r#"{"ani":"1"}"#), "{}");
}

#[test]
fn rules_concern_their_family_alone() {
    let mut config = rules(&[], &[]);
    config.drop = table("v2.routing.queues.Conversations", &["a"]);
    config.drop.extend(table("v2.users.*", &["b"]));
    let user = "v2.users.0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d.presence";
    let both = r#"{"a":1,"b":2}"#;
    assert_eq!(applied(&config, QUEUE, both), r#"{"b":2}"#);
    assert_eq!(applied(&config, user, both), r#"{"a":1}"#);
    assert_eq!(applied(&config, "v2.users", both), r#"{"a":1}"#);
    assert_eq!(applied(&config, "v2.usersx", both), both);
}

#[test]
fn a_body_that_cannot_be_looked_into_is_withheld() {
    let mut privacy = Privacy::new(&rules(&["**.ani"], &[]), None);
    for body in
        ["{\"ani\":", &"[".repeat(100_000), &format!("{}1{}", "[".repeat(65), "]".repeat(65))]
    {
        let shown = privacy.apply(&Topic::new(QUEUE), Bytes::from(body.to_owned()));
        assert_eq!(shown, "null");
    }
}

#[test]
fn each_mistake_is_named() {
    let mut config = rules(&["a..b"], &["ani"]);
    config.drop.extend(table("v2.users.{id}.presence", &["x"]));
    let told: Vec<String> =
        config.mistakes().into_iter().map(|m| format!("{} {}", m.key, m.problem)).collect();
    assert_eq!(
        told,
        [
            "drop holds \"a..b\", which is not a path",
            "drop names \"v2.users.{id}.presence\", which has a place for an id",
            "key_file is missing, and fields are to be hashed",
        ]
    );
}

#[test]
fn a_key_is_read_without_the_white_space_around_it_and_has_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let mut config = Config { key_file: Some(path.clone()), ..rules(&[], &["ani"]) };
    let error = config.read_key().unwrap_err().to_string();
    assert!(error.starts_with("cannot read privacy.key_file "), "{error}");
    std::fs::File::create(&path).unwrap().write_all(b" too short \n").unwrap();
    let error = config.read_key().unwrap_err().to_string();
    assert!(error.ends_with("holds 9 bytes, but a key has from 16 to 4096"), "{error}");
    std::fs::write(&path, b"0123456789abcdef\n").unwrap();
    assert!(config.read_key().unwrap().is_some());
    config.hash.clear();
    assert!(config.read_key().unwrap().is_none(), "no key is needed");
}

/// A body with every field that a schema has.
fn complete(definitions: &Value, schema: &Value, depth: usize) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return if depth > 8 {
            Value::Null
        } else {
            complete(definitions, &definitions[name], depth + 1)
        };
    }
    if let Some(properties) = schema["properties"].as_object() {
        let fields = properties.iter();
        return fields.map(|(name, of)| (name.clone(), complete(definitions, of, depth))).collect();
    }
    match schema["type"].as_str() {
        Some("array") => Value::from(vec![complete(definitions, &schema["items"], depth)]),
        Some("object") => serde_json::json!({ "anything": "a value" }),
        _ => "a value".into(),
    }
}

/// Names of fields that hold personal data wherever they stand, whatever the profile's patterns say.
const PERSONAL: [&str; 22] = [
    "ani",
    "dnis",
    "address",
    "addressRaw",
    "addressNormalized",
    "addressDisplayable",
    "addressFrom",
    "addressTo",
    "nameRaw",
    "attributes",
    "notes",
    "subject",
    "uuiData",
    "callbackNumbers",
    "callbackUserName",
    "callerIdName",
    "externalContactId",
    "participantName",
    "socialUserName",
    "publicIpAddress",
    "previewText",
    "presenceMessage",
];

/// Every place below which a personal value stands in clear.
fn clear(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{path}.{name}");
                let is_clear = !value.is_null() && !value.to_string().contains("hashed:");
                if PERSONAL.contains(&name.as_str()) && is_clear {
                    found.push(path);
                } else {
                    clear(value, &path, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| clear(item, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_shipped_profile_leaves_nothing_personal_of_any_official_schema() {
    let schemas: Value =
        serde_json::from_str(include_str!("../../sim/tests/schemas/topics.json")).unwrap();
    let mut privacy = Privacy::new(&personal(), key());
    let topics = schemas["topics"].as_object().unwrap();
    for (template, name) in topics {
        let topic = Topic::new(&template.replace("{id}", "0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d"));
        let name = name.as_str().unwrap();
        let body = complete(&schemas["definitions"], &schemas["definitions"][name], 0);
        let text = Bytes::from(body.to_string());
        let shown: Value = serde_json::from_slice(&privacy.apply(&topic, text.clone())).unwrap();
        let mut found = Vec::new();
        clear(&shown, "", &mut found);
        assert_eq!(found, [""; 0], "{template}");
        let tells = shown.to_string().len() != text.len();
        assert_eq!(
            personal_fields(topic.family_name()).is_some(),
            tells,
            "{template}: what check says of it"
        );
    }
    assert!(topics.len() > 20);
}

#[test]
fn the_profile_reads_as_it_is_written() {
    let rules = super::profile::rules().iter().map(|(_, rules)| rules.len()).collect::<Vec<_>>();
    assert_eq!(rules, [53, 1, 1, 1, 1], "a path that cannot be read would be no rule");
    assert_eq!(personal_fields("v2.users.conversationsummary"), None);
    assert_eq!(personal_fields("v2.analytics.queues.observations"), None);
}

#[test]
fn the_shipped_profile_names_nobody_in_a_snapshot_of_members() {
    let mut privacy = Privacy::new(&personal(), key());
    let topic = Topic::new("v2.routing.queues.0c5b6e1f-4c52-4b0e-9d3a-7f1d8a3e2a4d.users");
    let snapshot = r#"{"queueId":"q","part":1,"parts":1,"members":[{"id":"u","name":"Ada Byron","joined":true,"user":{"id":"u","name":"Ada Byron","username":"ada@example.org","email":"ada@example.org"}}]}"#;
    let shown = privacy.apply(&topic, snapshot.into());
    let expected = r#"{"queueId":"q","part":1,"parts":1,"members":[{"id":"u","joined":true,"user":{"id":"u"}}]}"#;
    assert_eq!(shown, expected);
}

/// JSON of any shape with few names, so that rules meet it.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a\"\\\\é\u{1F600}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

/// What a rule `drop = ["**.a"]` must leave, by the plainest means.
fn without_a(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| name != "a")
            .map(|(name, value)| (name, without_a(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_a).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

proptest! {
    #[test]
    fn any_body_is_json_again_and_lacks_what_is_dropped_and_nothing_else(body in json()) {
        let mut privacy = Privacy::new(&rules(&["**.a"], &[]), None);
        let shown = privacy.apply(&Topic::new(QUEUE), Bytes::from(body.to_string()));
        prop_assert_eq!(serde_json::from_slice::<Value>(&shown).unwrap(), without_a(body));
    }
}

#[test]
fn no_peer_makes_it_remember_without_end() {
    let mut privacy = Privacy::new(&personal(), key());
    for number in 0..2 * super::FOUND_MAX {
        privacy.apply(&Topic::new(&format!("v2.made.up.{number}")), Bytes::from_static(b"{}"));
    }
    assert_eq!(privacy.found.len(), super::FOUND_MAX);
}
