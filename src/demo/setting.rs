//! The bridge's configuration for a run: the text of `config/demo.toml` with what only a run can know laid over it.
//!
//! It is written to a file and read from there, as a user's would be; nothing is set behind the configuration's back.

use super::folder::Folder;
use super::target::Target;
use crate::config::Config;
use anyhow::Context;
use std::time::Duration;
use tieline_sim::Sim;
use toml::{Table, Value};

/// The configuration that the demo is shipped with.
const SHIPPED: &str = include_str!("../../config/demo.toml");

/// What the file begins with.
const HEAD: &str =
    "# Written by `tieline demo`: config/demo.toml, and what this run adds to it.\n\n";

/// Below this the shipped times leave no room for the whole story.
const SHORT: Duration = Duration::from_secs(45);

/// Times for a short story, laid over `[lifecycle]`.
const SHORT_TIMES: [(&str, &str); 4] =
    [("ping_interval", "1s"), ("dead_after", "3s"), ("settle", "1s"), ("drain", "1s")];

/// All that the simulator speaks of, so that what it emits and what the bridge is to deliver are the same number.
const TOPICS: [&str; 4] = [
    "v2.routing.queues.{id}.conversations",
    "v2.routing.queues.{id}.users",
    "v2.analytics.queues.{id}.observations",
    "v2.analytics.queues.{id}.activity",
];

/// What a run knows that the shipped file cannot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) sim: &'a Sim,
    pub(super) target: &'a Target,
    pub(super) folder: &'a Folder,
    pub(super) seed: u64,
    pub(super) length: Duration,
}

/// Writes the configuration into the folder and reads it.
///
/// # Errors
/// When the folder cannot be written, or when the shipped file has mistakes.
pub(super) fn write(facts: &Facts<'_>) -> anyhow::Result<Config> {
    let path = facts.folder.config();
    let text = format!("{HEAD}{}", lay_over(facts)?);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    // The user's own variables are for the user's own bridge.
    Config::load(Some(&path), std::iter::empty())
        .map_err(|mistakes| anyhow::anyhow!("{}: {mistakes}", path.display()))
}

fn lay_over(facts: &Facts<'_>) -> anyhow::Result<Table> {
    let Facts { sim, folder, .. } = facts;
    let mut table: Table = SHIPPED.parse().context("config/demo.toml")?;
    // Sources of the secret and sinks exclude or add to each other: ours replace them.
    for replaced in ["secret", "sink"] {
        table.remove(replaced);
    }
    let path = |path: std::path::PathBuf| path.display().to_string();
    set(&mut table, "data_dir", path(folder.data()));
    set(&mut table, "genesys.login_url", sim.login_url());
    set(&mut table, "genesys.api_url", sim.api_url());
    set(&mut table, "genesys.client_id", sim.client_id());
    set(&mut table, "genesys.topics", TOPICS.map(Value::from).to_vec());
    set(&mut table, "secret.file.path", path(folder.secret()));
    set(&mut table, "admin.listen", "127.0.0.1:0");
    // TOML knows only signed numbers, and 0 would ask the system for a seed.
    let seed = i64::try_from(facts.seed).unwrap_or(i64::MAX).max(1);
    set(&mut table, "process.seed", seed);
    for (key, value) in facts.target.config() {
        set(&mut table, &key, value);
    }
    if facts.length < SHORT {
        for (key, value) in SHORT_TIMES {
            set(&mut table, &format!("lifecycle.{key}"), value);
        }
    }
    Ok(table)
}

/// Sets `a.b.c`, with the tables on the way there.
fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value.into());
        }
        Some((head, rest)) => {
            let below = table.entry(head).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                set(below, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_shipped_file_carries_what_a_run_adds() {
        let sim = Sim::start(tieline_sim::Options::default()).await.unwrap();
        let folder = Folder::make().unwrap();
        let mut facts = Facts {
            sim: &sim,
            target: &Target::Jsonl(folder.events()),
            folder: &folder,
            seed: u64::MAX,
            length: Duration::from_secs(60),
        };
        let config = write(&facts).unwrap();
        assert_eq!(config.genesys.client_id.as_deref(), Some(sim.client_id()));
        assert_eq!(config.sinks.jsonl.unwrap().path, folder.events());
        assert!(config.secret.file.is_some() && config.secret.env.is_none());
        assert_eq!(config.admin.listen.port(), 0);
        let long = config.lifecycle.dead_after;

        facts.length = Duration::from_secs(20);
        assert!(write(&facts).unwrap().lifecycle.dead_after < long);
        sim.stop().await;
        std::fs::remove_dir_all(folder.path()).unwrap();
    }
}
