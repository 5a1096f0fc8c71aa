//! `tieline demo` as a person runs it: the program itself, real servers, and its own verdict.

use serde_json::Value;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A story of 20 s, its server's first start with the download, and a machine that does other things as well.
const DEADLINE: Duration = Duration::from_secs(180);

/// The faults of the story that cost something; each has to be named as a gap.
const CUTS: usize = 4;

/// The changes of the story that must cost nothing.
const ROTATIONS: u64 = 2;

#[tokio::test]
async fn a_file_holds_what_the_simulator_emitted_save_the_named_gaps() {
    every_promise_is_kept("jsonl").await;
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn a_stream_holds_what_the_simulator_emitted_save_the_named_gaps() {
    every_promise_is_kept("nats").await;
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_topic_holds_what_the_simulator_emitted_save_the_named_gaps() {
    every_promise_is_kept("kafka").await;
}

async fn every_promise_is_kept(sink: &str) {
    let child = demo(&["--sink", sink, "--for", "20s", "--seed", "5", "--json"]);
    let output = timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let said = verdict(&output);
    for nothing in ["lost", "doubled", "disordered", "unknown", "altered", "misnumbered"] {
        assert_eq!(said[nothing], 0, "{nothing}: {said}");
    }
    let gaps = said["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), CUTS, "{said}");
    assert!(gaps.iter().all(|gap| gap["fault"].is_string()), "{said}");
    assert_eq!(said["rotations"], ROTATIONS, "{said}");
    let count = |name: &str| said[name].as_u64().unwrap();
    assert_eq!(count("delivered") + count("missed"), count("emitted"), "{said}");
    assert!(count("delivered") > count("missed"), "{said}");
    assert_eq!((&said["sink"], &said["seed"]), (&sink.into(), &5.into()), "{said}");
    forget(&said);
}

#[tokio::test]
async fn an_early_end_still_balances_the_books() {
    let mut child = demo(&["--for", "10m", "--json"]);
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = async {
        while let Some(line) = told.next_line().await.unwrap() {
            if line.contains("traffic runs") {
                return;
            }
        }
        panic!("the traffic never ran");
    };
    timeout(DEADLINE, begun).await.unwrap();
    let pid = child.id().unwrap();
    let interrupt = format!("kill -INT {pid}");
    let killed = Command::new("sh").args(["-c", &interrupt]).status().await.unwrap();
    assert!(killed.success());
    let output = timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let said = verdict(&output);
    assert_eq!((&said["lost"], &said["rotations"]), (&0.into(), &0.into()), "{said}");
    forget(&said);
}

fn demo(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tieline"))
        .arg("demo")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The one line on standard output, after a run that ended well.
fn verdict(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

/// A run that ended well leaves its folder for people; a test has no use for it.
fn forget(said: &Value) {
    let log = std::path::Path::new(said["log"].as_str().unwrap());
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
}
