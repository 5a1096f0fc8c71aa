//! A real broker, started by its script in `tests/servers` and stopped when dropped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

pub struct Server {
    script: Child,
    /// The script ends with it.
    stdin: Option<ChildStdin>,
    said: serde_json::Value,
}

impl Server {
    pub fn start(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/servers/{name}.sh"));
        let mut script = Command::new(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the script starts");
        let stdin = script.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = script.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).expect("the script speaks");
        }
        let said = serde_json::from_str(&line).expect("the server is up");
        Self { script, stdin, said }
    }

    /// A field of what the script said.
    pub fn field(&self, name: &str) -> &str {
        self.said[name].as_str().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.script.wait().ok();
    }
}
