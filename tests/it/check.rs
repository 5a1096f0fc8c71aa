//! What `tieline check` prints, on which stream, and with which code it ends.

use crate::mistakes::{RIGHT, TEN};
use insta::assert_snapshot;
use tieline::cli::args::{Check, Output};
use tieline::cli::{Exit, check};

#[test]
fn check_says_mistakes_on_standard_error_and_ends_with_78() {
    let (exit, out, err) = run_check(TEN, Output::Text);
    assert_eq!(exit, Exit::Configuration);
    assert_eq!(out, "");
    assert!(err.contains("9 mistakes"), "{err}");
}

#[test]
fn check_tells_a_script_everything_on_standard_output() {
    let (exit, out, err) =
        run_check("[log]\nformat = \"pretty\"\n[genesys]\nallow_insecure = 1\n", Output::Json);
    assert_eq!((exit, err.as_str()), (Exit::Configuration, ""));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], false);
    let keys: Vec<_> = report["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake| mistake["key"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&"log.format") && keys.contains(&"genesys.allow_insecure"), "{keys:?}");
}

#[test]
fn check_shows_what_a_right_file_would_run() {
    let (exit, out, err) = run_check(RIGHT, Output::Text);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    assert_snapshot!(out, @r#"
    bad.toml is right, and would run:
      organisation   region mypurecloud.ie
      OAuth client   7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d
      secret         environment variable GENESYS_CLIENT_SECRET
      queues         Support
      topics         v2.routing.queues.{id}.conversations
                     v2.routing.queues.{id}.users
                     v2.analytics.queues.{id}.observations
      subscriptions  3
      sink           jsonl to ./events.jsonl: once in effect
      personal data  v2.routing.queues.conversations: names, phone numbers, addresses, attributes, contact ids, subjects, notes
      personal data  privacy.profile = "personal" drops or hashes these
      admin          http://127.0.0.1:9464/
      not known yet  whether the platform knows these queues
      not known yet  which ids these names have, and so the plan of shards and channels: --online shows it
      not known yet  whether the client may subscribe to each topic
      not known yet  whether the organisation, the secret's source and the sinks can be reached
    "#);
}

#[test]
fn check_knows_what_only_the_platform_knows() {
    let text = RIGHT.replace("Support", "all");
    let (_, out, _) = run_check(&text, Output::Json);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["summary"]["subscriptions"], serde_json::Value::Null);
    assert!(report["summary"]["unknown"][0].as_str().unwrap().contains("how many queues"));
}

/// So many queues by their ids.
fn by_ids(count: usize) -> String {
    let ids: Vec<String> =
        (0..count).map(|queue| format!("\"00000000-0000-4000-8000-{queue:012}\"")).collect();
    RIGHT.replace("\"Support\"", &ids.join(", "))
}

#[test]
fn check_shows_the_plan_of_queues_that_are_named_by_id() {
    let (exit, out, err) = run_check(&by_ids(1_200), Output::Text);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    let lines = out.lines().map(str::trim_start);
    let plan: Vec<&str> = lines.skip_while(|line| !line.starts_with("plan")).take(4).collect();
    assert_eq!(
        plan,
        [
            "plan           3 shards: 4 of 20 channels, one of them for successors",
            "shard 0        1500 topics in 1000 subscriptions",
            "shard 1        1500 topics in 1000 subscriptions",
            "shard 2        600 topics in 400 subscriptions",
        ]
    );
    let redundant = format!("{}\n[lifecycle]\nredundancy = 2\n", by_ids(1_200));
    let (_, out, _) = run_check(&redundant, Output::Json);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let plan = &report["summary"]["plan"];
    assert_eq!((&plan["channels"], &plan["redundancy"]), (&7.into(), &2.into()));
    assert_eq!(plan["shards"][2]["topics"], 600);
}

#[test]
fn check_refuses_more_topics_than_an_oauth_client_has_channels_for() {
    let (exit, out, _) = run_check(&by_ids(9_600), Output::Text);
    assert_eq!(exit, Exit::Configuration);
    assert!(out.contains("plan           REFUSED: ") && out.contains("two OAuth clients"), "{out}");
}

fn run_check(text: &str, output: Output) -> (Exit, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    std::fs::write(&file, text).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = check::check(
        &Check { file, online: false, output },
        std::iter::empty(),
        &mut out,
        &mut err,
    )
    .unwrap();
    let plain = |bytes| {
        String::from_utf8(bytes).unwrap().replace(&format!("{}/", directory.path().display()), "")
    };
    (exit, plain(out), plain(err))
}
