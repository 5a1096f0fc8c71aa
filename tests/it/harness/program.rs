//! What is run: the program, and readers of another language.

use super::Config;
use tokio::process::Command;

/// `tieline run FILE` with these further arguments.
pub fn tieline(config: &Config, args: &[&str]) -> Command {
    let mut command = program(&["run"]);
    command.arg(config.write()).args(args).envs(config.environment.iter().cloned());
    command
}

/// The program with exactly these arguments, and nothing of ours in the environment.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tieline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIELINE_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs a reader of another language and answers its lines.
#[cfg(all(feature = "kafka", feature = "nats"))]
pub async fn read_with(script: &str, args: &[&str]) -> Vec<serde_json::Value> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consumers");
    let python = Command::new(here.join("install.sh")).output().await.unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let python = String::from_utf8(python.stdout).unwrap();
    let read = Command::new(python.trim()).arg(here.join(script)).args(args).output();
    let read = read.await.unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let lines = String::from_utf8(read.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
