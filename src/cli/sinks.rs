//! Whether what stands behind each sink can be reached, for `check --online`.
//!
//! Connects and hangs up: what a broker promises is for `tieline explain`, and what it would take only a run shows.

use super::online::{Answered, Finding, REACHED_WITHIN};
use crate::sink::Tables;
use std::path::Path;
use tokio::net::TcpStream;

/// A finding for each sink.
pub(super) async fn reach(sinks: &Tables) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(jsonl) = &sinks.jsonl {
        findings.push(folder(&jsonl.path));
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &sinks.kafka {
        findings.push(servers("sink kafka", &kafka.brokers, 9092).await);
    }
    #[cfg(feature = "nats")]
    if let Some(nats) = &sinks.nats {
        findings.push(servers("sink nats", &nats.url, 4222).await);
    }
    findings
}

fn folder(path: &Path) -> Finding {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if path.as_os_str() == "-" || folder.is_dir() {
        return Finding::new(
            "sink jsonl",
            Answered::Ok,
            format!("{} can be written", path.display()),
        );
    }
    let words = format!("{} is no folder: make it", folder.display());
    Finding::new("sink jsonl", Answered::Refused, words)
}

/// One of several servers, each `host:port` with or without a scheme, must take a connection.
#[cfg(any(feature = "kafka", feature = "nats"))]
async fn servers(what: &str, list: &str, port: u16) -> Finding {
    let mut failures = Vec::new();
    for server in list.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        let address = address(server, port);
        match tokio::time::timeout(REACHED_WITHIN, TcpStream::connect(&address)).await {
            Ok(Ok(_)) => return Finding::new(what, Answered::Ok, format!("{address} answers")),
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => failures.push(format!("{address}: no answer within {REACHED_WITHIN:?}")),
        }
    }
    Finding::new(what, Answered::Unreachable, failures.join("; "))
}

/// `host:port` of a server as the configuration writes it; user and password stay out of it.
#[cfg(any(feature = "kafka", feature = "nats"))]
fn address(server: &str, port: u16) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { rest.to_owned() } else { format!("{rest}:{port}") }
}

#[cfg(all(test, any(feature = "kafka", feature = "nats")))]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_scheme_and_password_and_gets_its_port() {
        assert_eq!(address("nats://me:secret@one:4333", 4222), "one:4333");
        assert_eq!(address("tls://one/", 4222), "one:4222");
        assert_eq!(address("localhost:9092", 9092), "localhost:9092");
        assert_eq!(address("[::1]:9092", 9092), "[::1]:9092");
    }

    #[tokio::test]
    async fn one_server_of_several_is_enough_and_none_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let shut = closed.local_addr().unwrap();
        let found = servers("sink nats", &format!("nats://{shut}, nats://{open}"), 4222).await;
        assert_eq!(found.answer, Answered::Ok);
        let found = servers("sink nats", &format!("nats://user:secret@{shut}"), 4222).await;
        assert_eq!(found.answer, Answered::Unreachable);
        assert!(
            found.words.contains("refused") && !found.words.contains("secret"),
            "{}",
            found.words
        );
    }
}
