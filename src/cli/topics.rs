//! `tieline topics`: what the platform offers, and what of it the configuration takes.

use super::Exit;
use super::args::Topics;
use super::door::{Trouble, on_runtime};
use super::online::{self, Answered, Finding};
use super::say;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::genesys::{self, Inquiry, Offer};
use serde::Serialize;
use std::io::{self, Write};

/// What a topic's ids are written as.
const ID: &str = "{id}";

/// What is said, for scripts too.
#[derive(Debug, Serialize)]
struct Report {
    /// Every topic that can be had over the socket, or all with `--all`.
    offered: Vec<Line>,
    /// Topics of the configuration that the platform does not offer.
    unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    taken: bool,
    on_socket: bool,
    permissions: Vec<String>,
    description: String,
}

/// Asks the platform and says what it offers.
pub fn run(args: &Topics) -> Exit {
    let asked = Config::load(Some(&args.file), config::variables())
        .map_err(|mistakes| Trouble::new(Exit::Configuration, mistakes.to_string()))
        .and_then(|config| on_runtime(async { ask(&config, args.all).await }));
    say::end(asked, args.output, write_text)
}

async fn ask(config: &Config, all: bool) -> Result<Report, Trouble> {
    genesys::tls::install_provider();
    let trouble = |finding: Finding| {
        let exit = online::exit(std::slice::from_ref(&finding));
        Trouble::new(exit, format!("{}: {}", finding.what, finding.words))
    };
    let credentials = online::credentials(&config.secret).await.map_err(trouble)?;
    let refused = |refusal| trouble(Finding::refused("Genesys", &refusal));
    let inquiry = Inquiry::begin(&config.genesys, &credentials, Clock::start())
        .await
        .map_err(|error| Trouble::new(Exit::Configuration, error.to_string()))?
        .map_err(refused)?;
    let offers = inquiry.offers().await.map_err(refused)?;
    Ok(report(&config.genesys.topics, offers, all))
}

fn report(topics: &[String], offers: Vec<Offer>, all: bool) -> Report {
    let wanted: Vec<String> = topics.iter().flat_map(|topic| parts(topic)).collect();
    let unknown = wanted.iter().filter(|topic| !offers.iter().any(|offer| is(topic, offer)));
    let unknown = unknown.cloned().collect();
    let lines = offers.into_iter().map(|offer| Line {
        taken: wanted.iter().any(|topic| is(topic, &offer)),
        topic: offer.template,
        on_socket: offer.on_socket,
        permissions: offer.permissions,
        description: offer.description,
    });
    Report { offered: lines.filter(|line| all || line.on_socket || line.taken).collect(), unknown }
}

fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<Vec<String>> = report
        .offered
        .iter()
        .map(|line| {
            let taken = if line.taken { "taken" } else { "" };
            let needs = match (line.on_socket, line.permissions.is_empty()) {
                (false, _) => "not over the socket".to_owned(),
                (true, true) => String::new(),
                (true, false) => format!("needs {}", line.permissions.join(", ")),
            };
            vec![taken.to_owned(), line.topic.clone(), needs]
        })
        .collect();
    say::table(&rows, out)?;
    for topic in &report.unknown {
        writeln!(out, "  {topic} stands in genesys.topics and is not offered")?;
    }
    Ok(())
}

/// What the catalogue says against the topics of the configuration.
pub(super) fn findings(topics: &[String], offers: &[Offer]) -> Vec<Finding> {
    let wanted = topics.iter().flat_map(|topic| parts(topic));
    wanted
        .filter_map(|topic| {
            let words = match offers.iter().find(|offer| is(&topic, offer)) {
                Some(offer) if offer.on_socket => return None,
                Some(_) => format!("{topic} cannot be had over the socket"),
                None => format!("{topic} is no topic that Genesys offers"),
            };
            Some(Finding::new("catalogue", Answered::Refused, words))
        })
        .collect()
}

/// A topic and its parts as the catalogue writes them: `a.{id}?b&c` is `a.{id}.b` and `a.{id}.c`.
fn parts(topic: &str) -> Vec<String> {
    match topic.split_once('?') {
        Some((prefix, parts)) => parts.split('&').map(|part| format!("{prefix}.{part}")).collect(),
        None => vec![topic.to_owned()],
    }
}

/// Whether a topic of the configuration, with ids or places for them, is the one that is offered.
fn is(topic: &str, offer: &Offer) -> bool {
    let mut own = topic.split('.');
    let mut theirs = offer.template.split('.');
    loop {
        match (own.next(), theirs.next()) {
            (None, None) => return true,
            (Some(_), Some(ID)) => {}
            (Some(one), Some(other)) if one.eq_ignore_ascii_case(other) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(template: &str, on_socket: bool) -> Offer {
        let permissions = vec!["routing:queue:view".to_owned()];
        Offer { template: template.into(), description: String::new(), on_socket, permissions }
    }

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn combined_topics_and_topics_with_ids_are_found_in_the_catalogue() {
        let offers = [
            offer("v2.users.{id}.presence", true),
            offer("v2.users.{id}.routingStatus", true),
            offer("v2.routing.queues.{id}.users", true),
            offer("v2.detail.events.x", false),
        ];
        let topics = strings(&[
            "v2.users.{id}?presence&routingstatus",
            "v2.routing.queues.11111111-4c52-4b0e-9d3a-0c5b6e1f2a4d.users",
            "v2.detail.events.x",
            "v2.nonsense",
        ]);
        let report = report(&topics, offers.to_vec(), false);
        assert!(report.offered.iter().all(|line| line.taken), "{report:?}");
        assert_eq!(report.unknown, ["v2.nonsense"]);
        let words: Vec<String> =
            findings(&topics, &offers).into_iter().map(|one| one.words).collect();
        assert_eq!(
            words,
            [
                "v2.detail.events.x cannot be had over the socket",
                "v2.nonsense is no topic that Genesys offers"
            ]
        );
    }

    #[test]
    fn what_the_socket_cannot_have_is_shown_only_when_all_is_asked_for() {
        let offers = vec![offer("v2.a", true), offer("v2.b", false)];
        assert_eq!(report(&[], offers.clone(), false).offered.len(), 1);
        assert_eq!(report(&[], offers, true).offered.len(), 2);
    }
}
