//! The real server that `--sink nats` and `--sink kafka` deliver to: started by the script that the tests use, stopped with the run.
//!
//! The scripts are part of the program, so that it needs no repository around it. They install what is missing; this only shows
//! what they say.

use super::folder::Folder;
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What a script needs beside it.
const FILES: &[(&str, &str)] = &[
    ("common.sh", include_str!("../../tests/servers/common.sh")),
    #[cfg(feature = "nats")]
    ("nats.sh", include_str!("../../tests/servers/nats.sh")),
    #[cfg(feature = "kafka")]
    ("kafka.sh", include_str!("../../tests/servers/kafka.sh")),
    #[cfg(feature = "kafka")]
    ("pom.xml", include_str!("../../tests/servers/pom.xml")),
];

/// Where downloads go, for the scripts; set by whoever wants them elsewhere.
const DOWNLOADS: &str = "TIELINE_SERVERS_DIR";

/// What a first start may take, download included.
const START_MAX: Duration = Duration::from_secs(300);

/// The script kills a server that does not stop within 10 s.
const STOP_MAX: Duration = Duration::from_secs(15);

/// How many of the script's last words are told when it gives up.
const WORDS_MAX: usize = 20;

/// A server that answers. Its script stops it at the end of its own stdin, and so at the latest when this process is gone.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    fields: Map<String, Value>,
}

impl Server {
    /// Runs `NAME.sh` until its server answers; every line that it says meanwhile goes to `tell`.
    pub(super) async fn start(
        name: &str,
        folder: &Folder,
        tell: impl FnMut(&str),
    ) -> anyhow::Result<Self> {
        let scripts = folder.path().join("servers");
        std::fs::create_dir_all(&scripts)?;
        for (name, text) in FILES {
            let path = scripts.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut command = Command::new("bash");
        command
            .arg(scripts.join(format!("{name}.sh")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: the server goes when we no longer need it.
            .process_group(0);
        if let Some(downloads) = downloads() {
            command.env(DOWNLOADS, downloads);
        }
        let child = command.spawn().context("cannot run bash")?;
        let mut server = Self { child, fields: Map::new() };
        let started = tokio::time::timeout(START_MAX, server.listen(tell)).await;
        started.with_context(|| format!("{name} is not ready within {START_MAX:?}"))??;
        Ok(server)
    }

    /// Waits for the line of JSON that says that the server answers.
    async fn listen(&mut self, mut tell: impl FnMut(&str)) -> anyhow::Result<()> {
        let (Some(stdout), Some(stderr)) = (self.child.stdout.take(), self.child.stderr.take())
        else {
            bail!("the script has no output");
        };
        let mut said = BufReader::new(stdout).lines();
        let mut told = BufReader::new(stderr).lines();
        let mut last = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                line = told.next_line() => match line? {
                    Some(line) => {
                        tell(&line);
                        last.push_back(line);
                        if last.len() > WORDS_MAX {
                            last.pop_front();
                        }
                    }
                    None => {
                        let words: Vec<String> = last.into();
                        bail!("the server's script gave up:\n{}", words.join("\n"));
                    }
                },
                line = said.next_line() => {
                    // At its end the script has more to say on stderr.
                    let Some(line) = line? else { continue };
                    self.fields = serde_json::from_str(&line)
                        .with_context(|| format!("the server's script said {line:?}"))?;
                    return Ok(());
                }
            }
        }
    }

    /// What the script says of its server, such as `url` or `brokers`.
    pub(super) fn field(&self, name: &str) -> anyhow::Result<String> {
        let value = self.fields.get(name).and_then(Value::as_str);
        let value =
            value.with_context(|| format!("the server's script does not say its {name}"))?;
        Ok(value.to_owned())
    }

    /// Stops the server and waits until it is gone.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(STOP_MAX, self.child.wait()).await;
        ended.context("the server does not stop")??;
        Ok(())
    }
}

/// Within the repository, where `make servers` puts them; elsewhere the script knows the user's cache.
fn downloads() -> Option<PathBuf> {
    if std::env::var_os(DOWNLOADS).is_some() {
        return None;
    }
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|folder| folder.join("tests/servers/common.sh").exists())?;
    Some(root.join(".servers"))
}
