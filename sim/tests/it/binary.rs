//! The binary itself: its one line, its flags, its end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(arguments: &[&str]) -> (Running, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tieline-sim"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Running(child), serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn it_says_in_one_line_where_it_is_and_obeys_its_flags() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let flags = ["--queues", "2", "--client-id", "me", "--client-secret", "hush", "--paused"];
    let (_running, ready) = start(&[&flags[..], &["--switch", "refused_with=410"]].concat());
    assert_eq!((&ready["client_id"], &ready["client_secret"]), (&"me".into(), &"hush".into()));
    assert_eq!(ready["queues"].as_array().unwrap().len(), 2);
    assert_eq!(ready["queues"][0]["name"], "Queue 01");
    let url = format!("{}/sim/state", ready["control_url"].as_str().unwrap());
    let state: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(state["traffic"], "pause");
    assert_eq!(state["switches"]["refused_with"], 410);
}

#[test]
fn a_mistake_ends_it_with_a_reason() {
    for wrong in [["--switch", "nonsense=1"], ["--scenario", "/nowhere.toml"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_tieline-sim")).args(wrong).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot"));
    }
}
