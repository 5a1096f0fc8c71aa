//! `tieline check`: every mistake of a configuration, or what it would run.
//!
//! Connects to nothing: what only the platform knows is said to be unknown, unless `--online` has it asked.

use super::Exit;
use super::args::{Check, Output};
use super::door::{Trouble, on_runtime};
use super::online::{self, Answered, Finding};
use super::say;
use crate::config::{Config, Mistakes, without_userinfo};
use crate::event::Topic;
use crate::lifecycle::{CHANNELS_PER_CLIENT, expand};
use crate::privacy::{self, Privacy};
use crate::{genesys, secret};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// What a valid configuration would run. The field names are the JSON's, for scripts.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Summary {
    /// The region, or the API's address.
    pub organisation: String,
    /// The OAuth client's id; none when the secret's source holds it.
    pub client_id: Option<String>,
    /// Where the secret comes from; never what it is.
    pub secret: String,
    /// The queues of the configuration, as they stand there.
    pub queues: Vec<String>,
    /// The topics of the configuration, as they stand there.
    pub topics: Vec<String>,
    /// How many subscriptions these are; none when only the platform can say.
    pub subscriptions: Option<usize>,
    /// How the topics are divided; none when only the platform can say, or when they do not fit.
    pub plan: Option<PlanSummary>,
    /// Why they do not fit.
    pub refused: Option<String>,
    /// What cannot be said without the platform.
    pub unknown: Vec<String>,
    /// The sinks and what each promises.
    pub sinks: Vec<SinkSummary>,
    /// What the events would tell about people, by family.
    pub personal: Vec<String>,
    /// Where the admin pages will be.
    pub admin: String,
    /// What is allowed but deserves a second look.
    pub warnings: Vec<String>,
}

/// How the topics are divided.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct PlanSummary {
    /// Each shard's topics and how many subscriptions they take.
    pub shards: Vec<ShardSummary>,
    /// How many sessions carry each shard.
    pub redundancy: usize,
    /// How many channels that takes, the one for successors included.
    pub channels: usize,
    /// How many an OAuth client may have.
    pub channels_max: usize,
}

/// A slice of the topics that fits one channel.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct ShardSummary {
    /// Each by itself.
    pub topics: usize,
    /// A combined topic is one.
    pub subscriptions: usize,
}

/// A sink of the configuration.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct SinkSummary {
    /// Its name: `kafka`.
    pub name: &'static str,
    /// Where it delivers.
    pub target: String,
    /// What it promises.
    pub guarantee: &'static str,
}

/// What a script reads.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a Summary>,
    mistakes: Vec<&'a crate::config::Located>,
}

/// What a script reads of `--online`.
#[derive(Serialize)]
struct Asked<'a> {
    ok: bool,
    summary: &'a Summary,
    findings: &'a [Finding],
}

/// `tieline check` on the process's own variables and streams.
pub fn run(args: &Check) -> Exit {
    // A configuration with mistakes is told the same way, whether anybody is asked or not.
    if args.online
        && let Ok(config) = Config::load(Some(&args.file), crate::config::variables())
    {
        return ask(args, &config);
    }
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    // Where nothing can be written, nobody can be told either.
    check(args, crate::config::variables(), &mut out, &mut err).unwrap_or(Exit::Bug)
}

/// Asks whoever the configuration names, and says the summary and what they answered.
fn ask(args: &Check, config: &Config) -> Exit {
    let findings = match on_runtime(async { Ok(online::check(config).await) }) {
        Ok(findings) => findings,
        Err(trouble) => return say::complain(&trouble),
    };
    let (exit, summary) = (online::exit(&findings), Summary::of(config));
    let asked = Asked { ok: exit == Exit::Success, summary: &summary, findings: &findings };
    let said = say::end(Ok::<_, Trouble>(asked), args.output, |asked, mut out| {
        write_summary(asked.summary, &args.file, &mut out)?;
        write_findings(asked.findings, out)
    });
    if said == Exit::Success { exit } else { said }
}

fn write_findings(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nAsked:")?;
    let rows = findings.iter().map(|finding| {
        let answer = match finding.answer {
            Answered::Ok => "ok",
            Answered::Refused => "REFUSED",
            Answered::Unreachable => "UNREACHABLE",
            Answered::Skipped => "not asked",
        };
        vec![answer.to_owned(), finding.what.clone(), finding.words.clone()]
    });
    say::table(&rows.collect::<Vec<_>>(), out)
}

/// Loads the configuration and says what came of it: the summary on `out`; mistakes on `err`, or with JSON on `out` too.
///
/// # Errors
/// When `out` or `err` cannot be written.
pub fn check(
    args: &Check,
    variables: impl Iterator<Item = (String, String)>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let loaded = Config::load(Some(&args.file), variables).map(|config| Summary::of(&config));
    match args.output {
        Output::Json => write_json(&loaded, out)?,
        Output::Text => match &loaded {
            Ok(summary) => write_text(summary, &args.file, out)?,
            Err(mistakes) => writeln!(err, "{}: {mistakes}", args.file.display())?,
        },
    }
    let fits = loaded.as_ref().is_ok_and(|summary| summary.refused.is_none());
    Ok(if fits { Exit::Success } else { Exit::Configuration })
}

fn write_json(loaded: &Result<Summary, Mistakes>, out: &mut impl Write) -> io::Result<()> {
    let report = Report {
        ok: loaded.as_ref().is_ok_and(|summary| summary.refused.is_none()),
        summary: loaded.as_ref().ok(),
        mistakes: loaded.as_ref().err().into_iter().flat_map(Mistakes::iter).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn write_text(summary: &Summary, file: &Path, out: &mut impl Write) -> io::Result<()> {
    write_summary(summary, file, out)?;
    for unknown in &summary.unknown {
        writeln!(out, "  not known yet  {unknown}")?;
    }
    Ok(())
}

fn write_summary(summary: &Summary, file: &Path, out: &mut impl Write) -> io::Result<()> {
    let would = if summary.refused.is_none() { "and would run" } else { "but would not run" };
    writeln!(out, "{} is right, {would}:", file.display())?;
    let client = summary.client_id.as_deref().unwrap_or("(its id comes with the secret)");
    writeln!(out, "  organisation   {}", summary.organisation)?;
    writeln!(out, "  OAuth client   {client}")?;
    writeln!(out, "  secret         {}", summary.secret)?;
    writeln!(out, "  queues         {}", list(&summary.queues))?;
    for (index, topic) in summary.topics.iter().enumerate() {
        let head = if index == 0 { "topics" } else { "" };
        writeln!(out, "  {head:<13}  {topic}")?;
    }
    if let Some(count) = summary.subscriptions {
        writeln!(out, "  subscriptions  {count}")?;
    }
    if let Some(plan) = &summary.plan {
        write_plan(plan, out)?;
    }
    if let Some(refused) = &summary.refused {
        writeln!(out, "  plan           REFUSED: {refused}")?;
    }
    for sink in &summary.sinks {
        writeln!(out, "  sink           {} to {}: {}", sink.name, sink.target, sink.guarantee)?;
    }
    for personal in &summary.personal {
        writeln!(out, "  personal data  {personal}")?;
    }
    writeln!(out, "  admin          {}", summary.admin)?;
    for warning in &summary.warnings {
        writeln!(out, "  warning        {warning}")?;
    }
    Ok(())
}

fn write_plan(plan: &PlanSummary, out: &mut impl Write) -> io::Result<()> {
    let PlanSummary { shards, redundancy, channels, channels_max } = plan;
    let of_each = if *redundancy == 1 { "" } else { " on two sessions each" };
    let count = match shards.len() {
        0 => return writeln!(out, "  plan           nothing to subscribe to, and no channel"),
        1 => "1 shard".to_owned(),
        count => format!("{count} shards"),
    };
    writeln!(
        out,
        "  plan           {count}{of_each}: {channels} of {channels_max} channels, one of them for successors"
    )?;
    for (number, ShardSummary { topics, subscriptions }) in shards.iter().enumerate() {
        writeln!(
            out,
            "  {:<13}  {topics} topics in {subscriptions} subscriptions",
            format!("shard {number}")
        )?;
    }
    Ok(())
}

/// How many names a line shows.
const SHOWN_MAX: usize = 5;

fn list(names: &[String]) -> String {
    match names.split_at_checked(SHOWN_MAX) {
        _ if names.is_empty() => "none".into(),
        Some((shown, more)) if !more.is_empty() => {
            format!("{} and {} more", shown.join(", "), more.len())
        }
        Some(_) | None => names.join(", "),
    }
}

impl Summary {
    fn of(config: &Config) -> Self {
        let genesys = &config.genesys;
        let (plan, refused) = plan(config);
        Self {
            plan,
            refused,
            organisation: match (&genesys.region, &genesys.api_url) {
                (_, Some(url)) => without_userinfo(url),
                (Some(region), None) => format!("region {region}"),
                (None, None) => "none".into(),
            },
            client_id: genesys.client_id.clone(),
            secret: secret_source(&config.secret),
            queues: genesys.queues.clone(),
            topics: genesys.topics.clone(),
            subscriptions: subscriptions(genesys),
            unknown: unknown(config),
            sinks: sinks(config),
            personal: personal(config),
            admin: match &config.admin.tls_cert {
                Some(_) => format!("https://{}/", config.admin.listen),
                None => format!("http://{}/", config.admin.listen),
            },
            warnings: warnings(config),
        }
    }
}

/// What a queue's place in a topic is written as.
const QUEUE: &str = "{id}";

/// An id in the platform's form, where only the family of a topic matters.
const ANY_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Whether the platform must be asked which queues there are.
fn is_open(queues: &[String]) -> bool {
    queues.iter().any(|queue| queue == "all")
}

fn subscriptions(genesys: &genesys::Config) -> Option<usize> {
    let per_queue = genesys.topics.iter().filter(|topic| topic.contains(QUEUE)).count();
    if per_queue > 0 && is_open(&genesys.queues) {
        return None;
    }
    Some(per_queue * genesys.queues.len() + genesys.topics.len() - per_queue)
}

/// How the topics are divided, or why they do not fit, as far as that can be said without the platform.
fn plan(config: &Config) -> (Option<PlanSummary>, Option<String>) {
    let redundancy = config.lifecycle.redundancy;
    let shards = match genesys::Plan::offline(&config.genesys, redundancy).map(|plan| plan.shards) {
        None => return (None, None),
        Some(Err(refused)) => return (None, Some(refused.to_string())),
        Some(Ok(shards)) => shards,
    };
    let summary = |topics: &crate::lifecycle::ShardTopics| ShardSummary {
        topics: topics.iter().map(|name| expand(&Topic::new(name)).len()).sum(),
        subscriptions: topics.len(),
    };
    let shards: Vec<ShardSummary> = shards.iter().map(summary).collect();
    let spare = usize::from(!shards.is_empty());
    let channels = shards.len() * redundancy + spare;
    let channels_max = CHANNELS_PER_CLIENT;
    (Some(PlanSummary { shards, redundancy, channels, channels_max }), None)
}

fn secret_source(config: &secret::Config) -> String {
    if let Some(file) = &config.file {
        format!("file {}", file.path.display())
    } else if let Some(env) = &config.env {
        format!("environment variable {}", env.variable)
    } else if let Some(vault) = &config.vault {
        let address = without_userinfo(&vault.address);
        format!("Vault {address}, entry {}/{}", vault.mount, vault.path)
    } else {
        "none".into()
    }
}

fn unknown(config: &Config) -> Vec<String> {
    let genesys = &config.genesys;
    let mut unknown = Vec::new();
    if is_open(&genesys.queues) {
        unknown.push(
            "how many queues there are, and so how many subscriptions, shards and channels: --online shows it".into(),
        );
    } else if !genesys.queues.is_empty() {
        unknown.push("whether the platform knows these queues".into());
        if plan(config) == (None, None) {
            unknown.push("which ids these names have, and so the plan of shards and channels: --online shows it".into());
        }
    }
    unknown.push("whether the client may subscribe to each topic".into());
    unknown
        .push("whether the organisation, the secret's source and the sinks can be reached".into());
    unknown
}

fn sinks(config: &Config) -> Vec<SinkSummary> {
    let mut sinks = Vec::new();
    if let Some(jsonl) = &config.sinks.jsonl {
        let is_stdout = jsonl.path.as_os_str() == "-";
        sinks.push(SinkSummary {
            name: "jsonl",
            target: if is_stdout {
                "standard output".into()
            } else {
                jsonl.path.display().to_string()
            },
            guarantee: if is_stdout { "at least once" } else { "once in effect" },
        });
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &config.sinks.kafka {
        sinks.push(SinkSummary {
            name: "kafka",
            target: format!("topic {} on {}", kafka.topic, kafka.brokers),
            guarantee: match kafka.delivery {
                crate::sink::kafka::Delivery::AtLeastOnce => {
                    "at least once, in order by key (idempotent within one run)"
                }
                crate::sink::kafka::Delivery::ExactlyOnce => {
                    "exactly once for readers of what is committed, in order by key"
                }
            },
        });
    }
    #[cfg(feature = "nats")]
    if let Some(nats) = &config.sinks.nats {
        sinks.push(SinkSummary {
            name: "nats",
            target: format!("stream {}, subject {}", nats.stream, nats.subject),
            guarantee: "once in effect, in order (while the stream is tieline's alone)",
        });
    }
    sinks
}

/// What the plan would publish about people, where the shipped profile does not take it out.
fn personal(config: &Config) -> Vec<String> {
    if config.privacy.profile == privacy::Profile::Personal {
        return Vec::new();
    }
    let rules = Privacy::new(&config.privacy, None);
    let families =
        config.genesys.topics.iter().map(|topic| Topic::new(&topic.replace(QUEUE, ANY_ID)));
    let told: BTreeSet<String> = families
        .filter_map(|topic| {
            let fields = privacy::personal_fields(topic.family_name())?;
            let rules = if rules.concerns(&topic) { ", as far as your rules leave it" } else { "" };
            Some(format!("{}: {fields}{rules}", topic.family_name()))
        })
        .collect();
    let mut told: Vec<String> = told.into_iter().collect();
    if !told.is_empty() {
        told.push("privacy.profile = \"personal\" drops or hashes these".into());
    }
    told
}

fn warnings(config: &Config) -> Vec<String> {
    let genesys = &config.genesys;
    let mut warnings = Vec::new();
    if genesys.allow_insecure {
        warnings.push(
            "genesys.allow_insecure: the secret and every event may travel in plain text".into(),
        );
    }
    if config.admin.is_open() {
        warnings.push(
            "admin.allow_insecure: whoever reaches the doors sees events and state, without token or TLS"
                .into(),
        );
    }
    if subscriptions(genesys) == Some(0) {
        warnings.push("genesys.queues: nothing is subscribed; name queues, or [\"all\"]".into());
    }
    warnings
}
