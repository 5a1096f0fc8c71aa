//! The commands that people type, as processes: `state`, `gaps`, `tap`, `topics`, `check --online`, `completions`.

use crate::doors::{Guarded, TOKEN};
use crate::harness::{Bridge, Closed, Stand, brisk, program, quiet};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// What a command said and ended with.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}\n{}", self.out, self.err))
    }
}

async fn say(args: &[&str]) -> Said {
    let output = program(args).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(crate::harness::DEADLINE, output).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

async fn running() -> (Stand, Bridge) {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    (stand, bridge)
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_gaps_say_what_the_process_says() {
    let (stand, bridge) = running().await;
    let url = bridge.url();
    let said = say(&["state", "--url", &url]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    for words in ["Is it live?              Yes.", "Whose fault is it?", "s1", "jsonl", "of 20"] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    assert_eq!(say(&["gaps", "--url", &url]).await.out, "No gap is known.\n");
    stand.control("close", json!({"mode": "rst"})).await;
    bridge.line(&["\"event\":\"gap_closed\""]).await;
    bridge.state("the gap is shown", |state| state["gaps"]["recent"][0]["cause"] == "cut").await;
    let said = say(&["gaps", "--url", &url, "--output", "json"]).await;
    assert_eq!((said.code, &said.json()["recent"][0]["cause"]), (0, &"cut".into()));
    assert!(say(&["gaps", "--url", &url]).await.out.contains("cut"));
    let said = say(&["state", "--url", &url, "--output", "json"]).await;
    assert_eq!(said.json()["verdict"]["live"]["words"], "Yes");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_shows_events_as_the_sink_has_them_and_slows_nothing() {
    let (stand, bridge) = running().await;
    let since = stand.emitted().await + 1;
    let url = bridge.url();
    // One that never reads, beside the ones that do.
    let idle = program(&["tap", "--url", &url]).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let said = say(&["tap", "--url", &url, "--count", "5", "--output", "json"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let shown: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown.len(), 5);
    let key = shown[0]["subject"].as_str().unwrap();
    let of_key = say(&["tap", "--url", &url, "--key", key, "--count", "2"]).await;
    assert!(of_key.out.lines().all(|line| line.contains(key)), "{}", of_key.out);
    drop(idle);
    stand.delivered_all(since).await;
    let file = std::fs::read_to_string(stand.config.events()).unwrap();
    let held: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for event in &shown {
        let same =
            held.iter().find(|held| held["time"] == event["time"] && held["data"] == event["data"]);
        let same = same.unwrap_or_else(|| panic!("the sink has no {event}"));
        assert_eq!((&same["type"], &same["subject"]), (&event["type"], &event["subject"]));
    }
    stand.balance(bridge, since).await.assert_seamless();
}

#[tokio::test]
async fn a_guarded_door_is_asked_with_the_token_over_its_certificate() {
    let guarded = Guarded::start(true).await;
    let at = |name: &str| guarded.folder.path().join(name).display().to_string();
    let (token, cert) = (at("token"), at("cert.pem"));
    let url = guarded.bridge.url().replace("http://127.0.0.1", "https://localhost");
    let said = say(&["state", "--url", &url, "--token-file", &token, "--ca-file", &cert]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let said = say(&["state", "--url", &url, "--ca-file", &cert]).await;
    assert_eq!(said.code, 78);
    assert!(said.err.contains("answered 401") && !said.err.contains(TOKEN), "{}", said.err);
    let said = say(&["state", "--url", &url, "--token-file", &token]).await;
    assert_eq!(said.code, 69, "a stranger's certificate: {}", said.err);
}

#[tokio::test]
async fn where_no_process_answers_69_says_so() {
    let closed = Closed::new();
    let url = format!("http://{}", closed.address());
    for command in ["state", "gaps", "tap"] {
        let said = say(&[command, "--url", &url]).await;
        assert_eq!(said.code, 69, "{}", said.err);
        assert!(said.err.contains("no process answers at"), "{}", said.err);
    }
    assert_eq!(say(&["state", "--url", "nonsense"]).await.code, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_tells_what_is_offered_and_what_is_taken() {
    let stand = Stand::new(quiet()).await;
    let file = stand.config.write().display().to_string();
    let said = say(&["topics", &file]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let taken: Vec<&str> =
        said.out.lines().filter(|line| line.trim_start().starts_with("taken")).collect();
    assert_eq!(taken.len(), 3, "{}", said.out);
    let offered = say(&["topics", &file, "--output", "json"]).await.json();
    let offered = offered["offered"].as_array().unwrap().clone();
    assert!(offered.len() > 3 && offered.iter().all(|one| one["on_socket"] == true));
    assert_eq!(stand.channels().await, 0, "it made a channel");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_online_check_says_that_all_is_well() {
    let stand = Stand::new(quiet()).await;
    let file = stand.config.write().display().to_string();
    let said = say(&["check", &file, "--online"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for words in [
        "ok  secret",
        "ok  login",
        "9 topics on 1 channel(s)",
        "all 9 may be subscribed to",
        "ok  sink jsonl",
        "answers, and gives effectively_once; tieline explain says why",
    ] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    assert!(!said.out.contains(stand.sim.client_secret()));
    assert_eq!(stand.channels().await, 1);
    assert_eq!(stand.open_channels().await, [""; 0], "nobody listens on it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_online_check_names_what_is_refused_and_what_is_not_reached() {
    let mut stand = Stand::new(quiet()).await;
    let queue = stand.sim.queues()[0].id.clone();
    stand.control("forbid", json!({"topics": [queue]})).await;
    stand.config.set("genesys.topics", vec!["v2.routing.queues.{id}.users", "v2.nonsense"]);
    let file = stand.config.write().display().to_string();
    let said = say(&["check", &file, "--online", "--output", "json"]).await;
    assert_eq!(said.code, 78, "{}", said.err);
    let report = said.json();
    assert_eq!(report["ok"], false);
    let words = report["findings"].to_string();
    assert!(words.contains("v2.nonsense is no topic that Genesys offers"), "{words}");
    assert!(words.contains(&queue) && words.contains("routing:queue:view"), "{words}");

    stand.config.write_secret("not-the-secret");
    let said = say(&["check", &file, "--online"]).await;
    assert_eq!(said.code, 78);
    assert!(
        said.out.contains("REFUSED  login") && said.out.contains("invalid_client"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("not-the-secret"));

    let closed = Closed::new();
    for key in ["genesys.login_url", "genesys.api_url"] {
        stand.config.set(key, format!("http://{}", closed.address()));
    }
    stand.config.write();
    let said = say(&["check", &file, "--online"]).await;
    assert_eq!(said.code, 69, "{}{}", said.out, said.err);
    assert!(said.out.contains("UNREACHABLE  login"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_online_check_never_makes_a_channel_that_could_end_a_live_one() {
    let (stand, bridge) = running().await;
    let file = stand.config.write().display().to_string();
    for _ in 0..20 {
        assert_eq!(say(&["check", &file, "--online"]).await.code, 0);
    }
    let said = say(&["check", &file, "--online"]).await;
    assert!(said.out.contains("not asked  topics"), "{}", said.out);
    assert!(stand.channels().await <= 19, "room for a successor is left");
    assert_eq!(bridge.count(&["session_lost"]), 0);
    bridge.finish(&stand).await;
}

#[tokio::test]
async fn a_shell_can_complete_every_command() {
    let said = say(&["completions", "bash"]).await;
    assert_eq!(said.code, 0);
    let mut shell = tokio::process::Command::new("bash")
        .args(["-c", "eval \"$(cat)\"; COMP_WORDS=(tieline to); COMP_CWORD=1; _tieline tieline to tieline; echo \"${COMPREPLY[@]}\""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, said.out.as_bytes()).await.unwrap();
    drop(input);
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("topics"));
    shell.wait().await.unwrap();
}
