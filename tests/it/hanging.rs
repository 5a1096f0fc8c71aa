//! What hangs in the operating system does not keep the process from ending.

use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than any machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process that reads its secret from a pipe that nobody writes to, and thus hangs in `open`; `sink` is its table.
async fn hangs(folder: &tempfile::TempDir, sink: &str) -> Child {
    let (pipe, file) = (folder.path().join("secret"), folder.path().join("tieline.toml"));
    let made = Command::new("mkfifo").arg(&pipe).status().await.unwrap();
    assert!(made.success());
    let text = format!(
        "data_dir = {:?}\n[genesys]\nlogin_url = \"http://127.0.0.1:9\"\napi_url = \"http://127.0.0.1:9\"\n\
         allow_insecure = true\nclient_id = \"a\"\nqueues = [\"all\"]\n[secret.file]\npath = {pipe:?}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n{sink}",
        folder.path().join("data"),
    );
    std::fs::write(&file, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tieline"))
        .arg("run")
        .arg(&file)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    hear(&mut child, "127.0.0.1:").await;
    child
}

/// Waits for a line of the log that holds `words`.
async fn hear(child: &mut Child, words: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it has ended");
            if line.contains(words) {
                return;
            }
        }
    };
    timeout(DEADLINE, heard).await.expect("not said");
    child.stderr = Some(lines.into_inner().into_inner());
}

async fn terminate(child: &Child) {
    let kill = format!("kill -TERM {}", child.id().unwrap());
    assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_hangs_does_not_keep_the_process_alive() {
    let folder = tempfile::tempdir().unwrap();
    let sink = format!("[sink.jsonl]\npath = {:?}\n", folder.path().join("events.jsonl"));
    let mut child = hangs(&folder, &sink).await;
    terminate(&child).await;
    let ended = timeout(DEADLINE, child.wait()).await.expect("it hangs").unwrap();
    assert_eq!(ended.code(), Some(0));
}
