//! `tieline check --online`: whether the secret is good, what the configuration comes to, what the platform permits, and whether
//! the brokers can be reached.
//!
//! Changes nothing but for one channel without a socket, made only while the OAuth client has room for it: the platform says
//! nowhere else what a client may subscribe to.

use super::Exit;
use super::explain::{self, Explained};
use crate::clock::Clock;
use crate::config::Config;
use crate::genesys::{self, Inquiry, Plan, Trial};
use crate::lifecycle::{CHANNELS_PER_CLIENT, Reason, Refusal};
use crate::secret::{self, Credentials, Secrets};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many refused topics are named.
const REFUSALS_SHOWN: usize = 20;

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Yes.
    Ok,
    /// No: somebody must change something.
    Refused,
    /// Nobody answered.
    Unreachable,
    /// It was not asked, and why stands in the words.
    Skipped,
}

/// One question and its answer.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Finding {
    /// What was asked about: `secret`, `login`, `topics`, `sink kafka`, …
    pub what: String,
    /// How it was answered.
    pub answer: Answered,
    /// In words, with what to do.
    pub words: String,
}

impl Finding {
    pub(super) fn new(what: impl Into<String>, answer: Answered, words: impl Into<String>) -> Self {
        Self { what: what.into(), answer, words: words.into() }
    }

    pub(super) fn refused(what: &str, refusal: &Refusal) -> Self {
        let answer = match refusal.reason {
            Reason::Unreachable
            | Reason::Dns
            | Reason::Proxy
            | Reason::Timeout
            | Reason::Tls
            | Reason::Cut
            | Reason::Closed
            | Reason::Silent
            | Reason::Throttled
            | Reason::Unavailable => Answered::Unreachable,
            Reason::ClosingNotice
            | Reason::Evicted
            | Reason::TokenRevoked
            | Reason::Protocol
            | Reason::Unauthorized
            | Reason::CredentialsRejected
            | Reason::SecretUnavailable
            | Reason::Forbidden
            | Reason::ChannelGone
            | Reason::Unexpected => Answered::Refused,
        };
        Self::new(what, answer, refusal.detail.clone())
    }
}

/// What the findings make of the process: what is refused needs a person, what is not reached needs time.
pub fn exit(findings: &[Finding]) -> Exit {
    let is = |answer| findings.iter().any(|finding| finding.answer == answer);
    if is(Answered::Refused) {
        Exit::Configuration
    } else if is(Answered::Unreachable) {
        Exit::Unreachable
    } else {
        Exit::Success
    }
}

/// Asks everything that can be asked, whatever the answers before.
pub async fn check(config: &Config) -> Vec<Finding> {
    genesys::tls::install_provider();
    let mut findings = Vec::new();
    if let Some(inquiry) = log_in(config, &mut findings).await {
        ask(&inquiry, config, &mut findings).await;
    }
    let explained = explain::explain(config).await;
    findings.extend(explained.sinks.iter().map(sink));
    findings
}

/// The platform, logged in; what is in the way is told.
async fn log_in(config: &Config, findings: &mut Vec<Finding>) -> Option<Inquiry> {
    let credentials = match credentials(&config.secret).await {
        Ok(credentials) => credentials,
        Err(finding) => {
            findings.push(finding);
            return None;
        }
    };
    let words = format!("{} has one", config.secret.name());
    findings.push(Finding::new("secret", Answered::Ok, words));
    let finding = match Inquiry::begin(&config.genesys, &credentials, Clock::start()).await {
        Ok(Ok(inquiry)) => {
            let lives = humantime::format_duration(inquiry.expires_in());
            let words = format!("Genesys takes it; a token lives {lives}");
            findings.push(Finding::new("login", Answered::Ok, words));
            return Some(inquiry);
        }
        Ok(Err(refusal)) => Finding::refused("login", &refusal),
        Err(error) => Finding::new("login", Answered::Refused, error.to_string()),
    };
    findings.push(finding);
    None
}

/// Reads the secret once.
pub(super) async fn credentials(config: &secret::Config) -> Result<Credentials, Finding> {
    let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
    let _ends_with_this = end.clone().drop_guard();
    // Nobody listens: what the source has to say comes with its answer.
    let (observe, _) = mpsc::channel(1);
    let refused =
        |error: secret::Error| Finding::new("secret", Answered::Refused, error.to_string());
    let secrets =
        Secrets::start(config, Clock::start(), observe, &tracker, end).map_err(refused)?;
    secrets.newest().await.map_err(|error| match (&error, config.name()) {
        // Vault is the one source that lies across a network.
        (secret::Error::Unavailable { .. }, "vault") => {
            Finding::new("secret", Answered::Unreachable, error.to_string())
        }
        _ => refused(error),
    })
}

/// What the configuration comes to, and what of it the platform permits.
async fn ask(inquiry: &Inquiry, config: &Config, findings: &mut Vec<Finding>) {
    match inquiry.offers().await {
        Ok(offers) => findings.extend(super::topics::findings(&config.genesys.topics, &offers)),
        Err(refusal) => findings.push(Finding::refused("catalogue", &refusal)),
    }
    let plan = match inquiry.plan(config.lifecycle.redundancy).await {
        Ok(plan) => plan,
        Err(refusal) => {
            findings.push(Finding::refused("queues", &refusal));
            return;
        }
    };
    findings.extend(plan.unknown.iter().map(|queue| {
        let words = format!("{queue} is no queue that this client can see");
        Finding::new("queues", Answered::Refused, words)
    }));
    let used = inquiry.channels().await;
    findings.push(channels(&plan, used.as_ref()));
    let Ok(shards) = &plan.shards else {
        return;
    };
    match inquiry.try_topics(shards).await {
        Ok(trial) => findings.extend(tried(&plan, trial)),
        Err(refusal) => findings.push(Finding::refused("topics", &refusal)),
    }
}

fn channels(plan: &Plan, used: Result<&usize, &Refusal>) -> Finding {
    let shards = match &plan.shards {
        Ok(shards) => shards.len() * plan.redundancy,
        Err(error) => return Finding::new("channels", Answered::Refused, error.to_string()),
    };
    match used {
        Ok(used) => {
            let words = format!(
                "{} topics on {shards} channel(s) and one for a successor; the OAuth client has {used} of {CHANNELS_PER_CLIENT} now, \
                 those of a running process included",
                plan.topics.len()
            );
            Finding::new("channels", Answered::Ok, words)
        }
        Err(refusal) => Finding::refused("channels", refusal),
    }
}

fn tried(plan: &Plan, trial: Trial) -> Vec<Finding> {
    let rejected = match trial {
        Trial::Answered(rejected) => rejected,
        Trial::NoRoom => {
            let words = "not tried: the OAuth client has too few channels left for one more; a running process says in \
                         /api/v1/state what is refused";
            return vec![Finding::new("topics", Answered::Skipped, words)];
        }
    };
    if rejected.is_empty() {
        let words = format!("all {} may be subscribed to", plan.topics.len());
        return vec![Finding::new("topics", Answered::Ok, words)];
    }
    let more = rejected.len().saturating_sub(REFUSALS_SHOWN);
    let mut findings: Vec<Finding> = rejected
        .iter()
        .take(REFUSALS_SHOWN)
        .map(|one| {
            Finding::new("topics", Answered::Refused, format!("{}: {}", one.topic, one.reason))
        })
        .collect();
    if more > 0 {
        findings.push(Finding::new("topics", Answered::Refused, format!("and {more} more")));
    }
    findings
}

/// What a sink's broker said, as `explain` asks it.
fn sink(explained: &Explained) -> Finding {
    let answer = match explained.exit() {
        Exit::Success => Answered::Ok,
        Exit::Unreachable => Answered::Unreachable,
        Exit::PromiseBroken | Exit::Usage | Exit::Bug | Exit::Configuration => Answered::Refused,
    };
    let level = explained.guarantee.as_ref().map(|guarantee| guarantee.level.to_string());
    let words = match (&explained.problem, level) {
        (Some(problem), _) => problem.clone(),
        (None, Some(level)) => format!("answers, and gives {level}; tieline explain says why"),
        (None, None) => String::new(),
    };
    Finding::new(format!("sink {}", explained.name), answer, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_weighs_more_than_what_is_not_reached() {
        let of = |answers: &[Answered]| {
            let findings = answers.iter().map(|answer| Finding::new("x", *answer, ""));
            exit(&findings.collect::<Vec<_>>())
        };
        assert_eq!(of(&[Answered::Ok, Answered::Skipped]), Exit::Success);
        assert_eq!(of(&[Answered::Ok, Answered::Unreachable]), Exit::Unreachable);
        assert_eq!(of(&[Answered::Unreachable, Answered::Refused]), Exit::Configuration);
    }
}
