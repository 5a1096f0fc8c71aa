//! What JetStream gives: read from the stream as it is, or as it would be created. Changes nothing there.

use super::Config;
use super::link::{ANSWER, Link};
use super::stream::{covers, subjects as stream_subjects, unfit, wanted};
use crate::sink::Error;
use crate::sink::guarantee::{Guarantee, Level};
use crate::sink::template::Template;
use async_nats::jetstream::stream::{
    self, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use serde::Deserialize;
use std::time::Duration;

/// What the server syncs by when its configuration says nothing else.
const SYNC_INTERVAL_DEFAULT: &str = "2m";

/// Asks the server of `config`.
pub(super) async fn guarantee(
    config: &Config,
    subject: Option<&Template>,
    control: &str,
) -> Result<Guarantee, Error> {
    let mut link = Link::connect(config).await?;
    let found = link.find(config).await?;
    let subjects = stream_subjects(subject, control);
    let mut guarantee = Guarantee::of(Level::EffectivelyOnce);
    let stream = match found {
        Some(stream) => {
            let existing = stream.cached_info().config.clone();
            if let Some(problem) = unfit(&existing, &subjects) {
                let name = &config.stream;
                return Err(Error::misconfigured(format!("use stream {name}"), problem));
            }
            existing
        }
        None => {
            guarantee.unknown(
                "stream",
                format!(
                    "stream {} does not exist yet; this is how tieline will create it",
                    config.stream
                ),
            );
            wanted(config, &subjects)
        }
    };
    of_storage(&mut guarantee, &stream);
    of_keeping(&mut guarantee, &stream);
    of_writers(&mut guarantee, &stream, &subjects);
    of_disk(&mut guarantee, &stream, config.monitor.as_deref()).await;
    Ok(guarantee)
}

fn of_storage(guarantee: &mut Guarantee, stream: &stream::Config) {
    let is_async = stream.persist_mode == Some(PersistenceMode::Async);
    match stream.storage {
        StorageType::File if is_async => guarantee.lowers(
            Level::BestEffort,
            "storage",
            "persist_mode is async: the server acknowledges what it has not written yet, so that its death loses events",
        ),
        StorageType::File => guarantee.holds("storage", "the stream is kept in files"),
        StorageType::Memory => guarantee.lowers(
            Level::BestEffort,
            "storage",
            "the stream is kept in memory, so that a restart of its servers loses what was acknowledged",
        ),
    }
    match stream.num_replicas {
        0 | 1 => guarantee.weakens(
            "replicas",
            "1 replica: the loss of that server's disk loses the stream, and while it is away events wait in the journal",
        ),
        most => guarantee.holds("replicas", format!("{most} replicas")),
    }
}

/// How long events stay for those that are to read them.
fn of_keeping(guarantee: &mut Guarantee, stream: &stream::Config) {
    match stream.retention {
        RetentionPolicy::Limits => {
            guarantee.holds("retention", "events stay until a limit, whoever has read them");
        }
        RetentionPolicy::Interest => guarantee.lowers(
            Level::BestEffort,
            "retention",
            "retention is interest: an event for which no consumer exists yet is gone at once",
        ),
        RetentionPolicy::WorkQueue => guarantee.lowers(
            Level::BestEffort,
            "retention",
            "retention is workqueue: an event is gone once any one consumer has taken it, and tieline cannot see where the stream ends",
        ),
    }
    let mut limits = Vec::new();
    if !stream.max_age.is_zero() {
        limits.push(format!("older than {}", humantime::format_duration(stream.max_age)));
    }
    if stream.max_bytes > 0 {
        limits.push(format!("beyond {} bytes", stream.max_bytes));
    }
    if stream.max_messages > 0 {
        limits.push(format!("beyond {} messages", stream.max_messages));
    }
    if stream.max_messages_per_subject > 0 {
        limits.push(format!("beyond {} of a subject", stream.max_messages_per_subject));
    }
    match (limits.is_empty(), &stream.discard) {
        (true, _) => guarantee.holds("limits", "nothing is ever removed"),
        (false, DiscardPolicy::Old) => guarantee.weakens(
            "limits",
            format!("events {} are removed, read or not", limits.join(", or ")),
        ),
        (false, DiscardPolicy::New) => guarantee.weakens(
            "limits",
            format!(
                "discard is new: where there are events {}, the stream refuses more and they wait in the journal",
                limits.join(", or ")
            ),
        ),
    }
}

/// Who else writes there.
fn of_writers(guarantee: &mut Guarantee, stream: &stream::Config, subjects: &[String]) {
    let window = humantime::format_duration(stream.duplicate_window);
    guarantee.holds(
        "duplicates",
        format!("each message names its predecessor, so that no resend doubles or reorders; ids are remembered for {window}"),
    );
    let is_ours = |one: &str| subjects.iter().any(|subject| covers(subject, one));
    let foreign: Vec<&str> =
        stream.subjects.iter().map(String::as_str).filter(|one| !is_ours(one)).collect();
    let sources = stream.sources.as_ref().is_some_and(|sources| !sources.is_empty());
    if foreign.is_empty() && !sources {
        guarantee.holds("sharing", "the stream takes tieline's subjects alone");
        return;
    }
    let others = if sources { "other streams".to_owned() } else { foreign.join(", ") };
    guarantee.lowers(
        Level::AtLeastOnce,
        "sharing",
        format!(
            "the stream also takes {others}: another writer's message breaks the chain, and events sent again behind it may double"
        ),
    );
}

/// When the server's disk has what it acknowledged.
async fn of_disk(guarantee: &mut Guarantee, stream: &stream::Config, monitor: Option<&str>) {
    if matches!(stream.storage, StorageType::Memory) {
        return;
    }
    let cost = if stream.num_replicas > 1 { "a power cut of a majority" } else { "a power cut" };
    let Some(monitor) = monitor else {
        guarantee.unknown(
            "sync_interval",
            format!(
                "JetStream acknowledges before the disk has it: {cost} costs up to sync_interval ({SYNC_INTERVAL_DEFAULT} unless the \
                 server's configuration says otherwise), which NATS itself does not tell; with sink.nats.monitor it is read"
            ),
        );
        return;
    };
    match read_sync(monitor).await {
        Ok(Sync { sync_always: true, .. }) => {
            guarantee.holds("sync_interval", "the server syncs each message before it acknowledges (sync_interval: always)");
        }
        Ok(sync) => {
            let interval = humantime::format_duration(Duration::from_nanos(sync.sync_interval));
            guarantee.weakens(
                "sync_interval",
                format!(
                    "JetStream acknowledges before the disk has it: {cost} costs up to {interval} of events (sync_interval = {interval})"
                ),
            );
        }
        Err(reason) => guarantee.unknown(
            "sync_interval",
            format!(
                "JetStream acknowledges before the disk has it: {cost} costs up to sync_interval, which could not be read: {reason}"
            ),
        ),
    }
}

/// What the monitoring address says of syncing.
#[derive(Deserialize)]
struct Sync {
    /// Nanoseconds.
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

async fn read_sync(monitor: &str) -> Result<Sync, String> {
    #[derive(Deserialize)]
    struct Server {
        config: Option<Sync>,
    }
    let client = reqwest::Client::builder().timeout(ANSWER).no_proxy().build();
    let client = client.map_err(|error| error.to_string())?;
    let url = format!("{}/jsz", monitor.trim_end_matches('/'));
    let answer = client.get(&url).send().await.map_err(|_| format!("nobody answers at {url}"))?;
    let server: Server = answer.json().await.map_err(|_| format!("{url} is no nats-server"))?;
    server.config.ok_or_else(|| format!("the server at {url} has no JetStream"))
}
