//! What Kafka gives: read from the topics as they are. Changes nothing there, and creates none.

use super::topic::Admin;
use super::{Config, Delivery};
use crate::sink::Error;
use crate::sink::guarantee::{Guarantee, Level};
use crate::sink::template::{Part, Template};
use rdkafka::admin::ConfigResource;
use rdkafka::metadata::MetadataTopic;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Asks the brokers of `config`, which must show the topic that it is about, if any. Blocks.
pub(super) fn guarantee(
    config: &Config,
    template: Option<&Template>,
    control: &str,
    about: Option<&str>,
) -> Result<Guarantee, Error> {
    let admin = Admin::new(config)?;
    let metadata = admin.metadata()?;
    let ours: Vec<&MetadataTopic> = metadata
        .topics()
        .iter()
        .filter(|topic| {
            let name = topic.name();
            name == control
                || about == Some(name)
                || template.is_some_and(|template| makes(template, name))
        })
        .collect();
    let is_shown =
        |topic: &MetadataTopic| topic.error().is_none() && !topic.partitions().is_empty();
    if let Some(topic) = about
        && !ours.iter().any(|one| one.name() == topic && is_shown(one))
    {
        let operation = format!("ask about topic {topic} at {}", config.brokers);
        return Err(Error::retry(operation, "not every broker shows it yet"));
    }

    let mut guarantee = of_delivery(config.delivery);
    if config.delivery == Delivery::ExactlyOnce {
        of_transactions(&mut guarantee, config, &admin, metadata.topics());
    }
    if ours.is_empty() {
        let topic = &config.topic;
        let how = if config.create {
            format!(
                "tieline will create it with replication {}, the rest as the cluster has it",
                config.replication
            )
        } else {
            "sink.kafka.create is false".into()
        };
        guarantee.unknown("topic", format!("topic {topic} does not exist yet; {how}"));
        return Ok(guarantee);
    }
    let partitions = ours.iter().flat_map(|topic| topic.partitions());
    let copies = partitions.map(|partition| partition.replicas().len());
    let (replicas, most_replicas) = (copies.clone().min().unwrap_or(0), copies.max().unwrap_or(0));
    match replicas {
        0 | 1 => guarantee.weakens(
            "replication",
            "1 replica: the loss of that broker's disk loses its events, and while it is away events wait in the journal",
        ),
        most => guarantee.holds("replication", format!("{most} replicas")),
    }
    let names: Vec<&str> = ours.iter().map(|topic| topic.name()).collect();
    let settings = admin.describe(&names);
    of_settings(&mut guarantee, &settings, replicas..=most_replicas);
    of_disk(&mut guarantee, replicas);
    Ok(guarantee)
}

/// What tieline asks of Kafka by itself.
fn of_delivery(delivery: Delivery) -> Guarantee {
    let mut guarantee = Guarantee::of(Level::ExactlyOnce);
    match delivery {
        Delivery::AtLeastOnce => guarantee.lowers(
            Level::AtLeastOnce,
            "delivery",
            "delivery is at_least_once: idempotence ends with the producer, so that a restart may repeat what was unacknowledged; and nothing fences a second writer into the same topics",
        ),
        Delivery::ExactlyOnce => guarantee.holds(
            "delivery",
            "delivery is exactly_once: events and cursor are committed in one transaction, for readers with isolation.level = read_committed",
        ),
    }
    guarantee.holds("acks", "acks=all: every replica in sync has an event before it counts");
    guarantee
}

/// The topic in which the brokers keep what became of each transaction.
const TRANSACTIONS: &str = "__transaction_state";

/// What transactions lean on: the topic of our cursors, and that of the brokers' own.
fn of_transactions(
    guarantee: &mut Guarantee,
    config: &Config,
    admin: &Admin<'_>,
    topics: &[MetadataTopic],
) {
    let replicas = |name: &str| {
        let topic = topics.iter().find(|topic| topic.name() == name)?;
        topic.partitions().iter().map(|partition| partition.replicas().len()).min()
    };
    let name = &config.cursor_topic;
    let settings = admin.describe(&[name]);
    let policy = settings.iter().find_map(|topic| topic.get("cleanup.policy")?.value.clone());
    match (replicas(name), policy) {
        (None, _) => guarantee.unknown(
            "cursor",
            format!("topic {name}, which holds the cursor, does not exist yet, or may not be seen"),
        ),
        (Some(_), Some(policy)) if policy != "compact" => guarantee.lowers(
            Level::AtLeastOnce,
            "cursor",
            format!("topic {name} has cleanup.policy {policy}, which forgets the cursor: then what is unacknowledged is sent again"),
        ),
        (Some(0 | 1), _) => guarantee.weakens(
            "cursor",
            format!("topic {name} has 1 replica: with that broker's disk the cursor is lost, and what is unacknowledged is sent again"),
        ),
        (Some(most), _) => {
            guarantee.holds("cursor", format!("topic {name}, which holds the cursor, has {most} replicas"));
        }
    }
    match replicas(TRANSACTIONS) {
        None => guarantee.unknown(
            "transaction_state",
            format!("{TRANSACTIONS} is made at the cluster's first transaction, with transaction.state.log.replication.factor, or may not be seen"),
        ),
        Some(0 | 1) => guarantee.weakens(
            "transaction_state",
            format!("{TRANSACTIONS} has 1 replica: a broker killed in the moment of a commit may leave it open for ever, and nobody can read on"),
        ),
        Some(most) => {
            guarantee.holds("transaction_state", format!("{TRANSACTIONS} has {most} replicas"));
        }
    }
}

/// Whether a topic of that name can be one of ours. Where the template has no text of its own, names do not tell whose they are.
fn makes(template: &Template, name: &str) -> bool {
    let parts = template.parts();
    if !parts.iter().any(|part| matches!(part, Part::Text(_))) {
        return false;
    }
    // What a family or key stands for has no end of its own, and is not empty.
    let (mut rest, mut is_open) = (name, false);
    for (at, part) in parts.iter().enumerate() {
        let Part::Text(text) = part else {
            is_open = true;
            continue;
        };
        let after = match (is_open, at + 1 == parts.len()) {
            (false, _) => rest.strip_prefix(&**text),
            (true, true) => return rest.len() > text.len() && rest.ends_with(&**text),
            (true, false) => rest.get(1..).and_then(|rest| Some(rest.split_once(&**text)?.1)),
        };
        let Some(after) = after else { return false };
        (rest, is_open) = (after, false);
    }
    rest.is_empty() != is_open
}

/// `replicas` are those of the topic with the fewest, and of the one with the most.
fn of_settings(
    guarantee: &mut Guarantee,
    settings: &[ConfigResource],
    replicas: RangeInclusive<usize>,
) {
    let values = |name: &str| -> Vec<String> {
        settings.iter().filter_map(|topic| topic.get(name)?.value.clone()).collect()
    };
    let numbers = |name: &str| -> Vec<i64> {
        values(name).iter().filter_map(|value| value.parse().ok()).collect()
    };
    let insync = numbers("min.insync.replicas");
    let most = insync.iter().max().map_or(0, |most| usize::try_from(*most).unwrap_or(0));
    match insync.into_iter().min() {
        None => guarantee.unknown(
            "min_insync",
            "min.insync.replicas could not be read (permission to describe the topic's configuration?); it is 1 unless somebody set it",
        ),
        Some(1) if *replicas.start() > 1 => guarantee.weakens(
            "min_insync",
            "min.insync.replicas = 1: while the others are away, the leader alone acknowledges, and its disk is all there is",
        ),
        Some(_) if most > *replicas.end() => guarantee.weakens(
            "min_insync",
            format!("min.insync.replicas = {most} of {}: the brokers take nothing until there are more replicas, and events wait in the journal", replicas.end()),
        ),
        Some(least) => guarantee.holds("min_insync", format!("min.insync.replicas = {least}")),
    }
    match values("unclean.leader.election.enable").iter().map(String::as_str).max() {
        None => guarantee.unknown(
            "unclean_election",
            "unclean.leader.election.enable could not be read; it is false unless somebody set it",
        ),
        Some("false") => guarantee.holds("unclean_election", "no unclean leader elections"),
        Some(_) => guarantee.lowers(
            Level::BestEffort,
            "unclean_election",
            "unclean.leader.election.enable = true: a replica that lags may lead, and what it lacks is lost although acknowledged",
        ),
    }
    if values("cleanup.policy").iter().any(|policy| policy.contains("compact")) {
        guarantee.lowers(
            Level::BestEffort,
            "retention",
            "cleanup.policy is compact: of each key only the last event stays",
        );
        return;
    }
    let shortest = |name| numbers(name).into_iter().filter(|limit| *limit >= 0).min();
    let mut limits = Vec::new();
    if let Some(millis) = shortest("retention.ms") {
        let age = Duration::from_millis(millis.unsigned_abs());
        limits.push(format!("older than {}", humantime::format_duration(age)));
    }
    if let Some(bytes) = shortest("retention.bytes") {
        limits.push(format!("beyond {bytes} bytes of a partition"));
    }
    if settings.is_empty() {
        guarantee.unknown("retention", "how long events are kept could not be read");
    } else if limits.is_empty() {
        guarantee.holds("retention", "nothing is ever removed");
    } else {
        let limits = limits.join(", or ");
        guarantee.weakens("retention", format!("events {limits} are removed, read or not"));
    }
}

fn of_disk(guarantee: &mut Guarantee, replicas: usize) {
    let whose = if replicas > 1 { "all replicas at once" } else { "the broker" };
    guarantee.weakens(
        "fsync",
        format!("Kafka acknowledges before the disk has it: a power cut of {whose} costs what the system has not written yet"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_a_template_are_told_by_its_own_text() {
        for (template, ours, others) in [
            ("genesys", &["genesys"][..], &["genesys.a", ""][..]),
            ("genesys.{family}", &["genesys.v2.a"], &["genesys.", "a.genesys.b"]),
            ("{family}.genesys", &["v2.a.genesys"], &[".genesys", "v2.a"]),
            ("a.{key}.b.{family}.c", &["a.1.b.2.c"], &["a..b.2.c", "a.1.b.c", "a.1.2.c"]),
            ("{family}", &[], &["v2.a", "__consumer_offsets"]),
        ] {
            let parsed = Template::parse(template, &["family", "key"]).expect("a good template");
            assert!(ours.iter().all(|name| makes(&parsed, name)), "{template}");
            assert!(!others.iter().any(|name| makes(&parsed, name)), "{template}");
        }
    }
}
