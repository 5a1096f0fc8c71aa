//! Who watches: a real Prometheus scrapes a real process through faults, and every expression of dashboard and alerts answers; three
//! faults are recognised from the alerts and the page's words alone, as `docs/runbook.md` tells it.
//!
//! The alerts are those of `dashboards/alerts.yml` with their patience cut to a second; how long they wait is alerts.test.yml's affair.

use crate::harness::{Bridge, Stand, brisk};
use crate::servers::Server;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than the harness's: a broker that hangs is called so after 30 s.
const PATIENCE: Duration = Duration::from_secs(180);

/// In milliseconds, longer than a test.
const LONG: u64 = 600_000;

#[test]
fn every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() {
    let runbook = text("docs/runbook.md");
    let sections: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## Tieline"))
        .map(|name| format!("Tieline{name}"))
        .collect();
    let names: BTreeSet<String> = rules().iter().map(|rule| word(rule, "alert")).collect();
    assert_eq!(sections, names, "sections of docs/runbook.md and alerts of dashboards/alerts.yml");
    for rule in rules() {
        let name = word(&rule, "alert");
        let place = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], place);
        let (_, section) = runbook.split_once(&format!("## {name}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for part in ["**Means**", "**Look**", "**Do**", "**Wake**"] {
            assert!(section.contains(part), "{name} does not say {part}");
        }
    }
    let tested = text("dashboards/alerts.test.yml");
    for name in names {
        let fires = tested.contains(&format!("alertname: {name}\n        exp_alerts:"));
        let silent = tested.contains(&format!("alertname: {name} }}"));
        assert!(fires && silent, "{name} is not shown both firing and staying silent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_answers_after_a_cut_and_a_rotation() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let prometheus = Prometheus::of(&bridge).await;
    stand.emits(30).await;
    stand.control("close", json!({"mode": "rst"})).await;
    prometheus.until(r#"tieline_gap_seconds_total > 0"#).await;
    bridge.ready().await;
    stand.config.write_secret(&stand.rotate().await);
    prometheus.until(r#"tieline_rotations_total{trigger="secret",outcome="completed"} > 0"#).await;
    prometheus.until("time() - process_start_time_seconds > 3").await;

    let board: Value = serde_json::from_str(&text("dashboards/tieline.json")).unwrap();
    let shown = expressions(&board);
    assert!(shown.len() > 60, "{shown:?}");
    for expression in &shown {
        let asked = expression
            .replace("$instance", ".*")
            .replace("$sink", "jsonl")
            .replace("$__rate_interval", "10s");
        // A line of NaN is none: a division by what has not happened yet answers so.
        patiently(&format!("a figure for {expression}"), async || {
            let answer = prometheus.ask(&asked).await;
            if has_figure(&answer) { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
    }
    for rule in rules() {
        let expression = word(&rule, "expr");
        // An alert is empty by design; that it can be computed is shown here, and of what it is computed.
        prometheus.ask(&expression).await;
        for metric in metrics(&expression) {
            assert_ne!(prometheus.ask(&metric).await, json!([]), "{metric} is nowhere");
        }
    }
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_recognised() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let prometheus = Prometheus::of(&bridge).await;
    let right = stand.rotate().await;
    stand.config.write_secret("this-is-not-it");
    let fired = prometheus.fires("TielineCredentialsRejected").await;
    assert_eq!(fired, ["TielineCredentialsRejected"]);
    recognised(&bridge, "Secret wrong", &["Yes", "No", "Whoever rotated the client secret"]).await;
    stand.config.write_secret(&right);
    prometheus.until("tieline_credentials_rejected == 0").await;
    said(&bridge, "Nobody's").await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_socket_is_recognised() {
    let mut stand = Stand::new(brisk()).await;
    // As shipped it is 35 s, and so is the alert's; here silence is given up at 4 s, after somebody has seen it.
    stand.config.set("lifecycle.dead_after", "4s");
    let bridge = stand.ready().await;
    let prometheus = Prometheus::with(
        &bridge,
        "tieline_last_frame_age_seconds > 35",
        "tieline_last_frame_age_seconds > 2",
    )
    .await;
    stand.control("silence", json!({})).await;
    // No new socket either until it has been recognised: the platform is ill, not the network.
    stand.control("throttle", json!({"what": "handshake", "status": 503, "for_ms": LONG})).await;
    prometheus.fires("TielineSilent").await;
    let fired = prometheus.fires("TielineNotLive").await;
    assert!(fired.contains(&"TielineSilent".to_owned()), "{fired:?}");
    recognised(&bridge, "Socket silent", &["No", "Yes", "Genesys Cloud"]).await;
    // The last one said holds: a moment's delay in the place of a refusal.
    stand.control("throttle", json!({"what": "handshake", "delay_ms": 1, "for_ms": LONG})).await;
    let fired = prometheus.fires("TielineGap").await;
    assert!(fired.contains(&"TielineGap".to_owned()), "{fired:?}");
    bridge.ready().await;
    prometheus
        .until(r#"tieline_gaps_total{cause="silent"} == 1 and on () tieline_gap_open == 0"#)
        .await;
    bridge.finish(&stand).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_kafka_is_recognised() {
    let mut server = tokio::task::spawn_blocking(|| Server::start("kafka", &[])).await.unwrap();
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("sink.kafka.brokers", server.field("brokers"));
    let bridge = stand.ready().await;
    let prometheus = Prometheus::of(&bridge).await;
    prometheus.until(r#"tieline_sink_connected{sink="kafka"} == 1"#).await;
    server.kill();
    let fired = prometheus.fires("TielineSinkDisconnected").await;
    assert_eq!(fired, ["TielineSinkDisconnected"]);
    prometheus.until(r#"tieline_sink_connected{sink="kafka"} == 0"#).await;
    let answers = ["Yes", "Not now", "The broker behind sink kafka"];
    recognised(&bridge, "Kafka dead", &answers).await;
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let _server = server.await.unwrap();
    said(&bridge, "Nobody's").await;
    prometheus.until(r#"tieline_sink_connected{sink="kafka"} == 1"#).await;
    prometheus.until("sum(tieline_journal_oldest_age_seconds) < 5").await;
    bridge.finish(&stand).await;
}

/// Waits until the page says whose fault it is.
async fn said(bridge: &Bridge, fault: &str) {
    patiently(&format!("the fault of {fault}"), async || {
        let (_, state) = bridge.get("/api/v1/state").await;
        let words = &state["verdict"]["fault"]["words"];
        if words == fault { Ok(()) } else { Err(state["verdict"].to_string()) }
    })
    .await;
}

/// Waits until the page gives these three answers, and with them every sentence that the runbook's walk quotes of this fault.
async fn recognised(bridge: &Bridge, heading: &str, answers: &[&str; 3]) {
    let runbook = text("docs/runbook.md");
    let (_, walk) = runbook.split_once("# A walk").unwrap();
    let (_, section) = walk.split_once(&format!("**{heading}**")).unwrap();
    let section = section.split("\n\n").next().unwrap();
    let line = format!("**{}** · **{}** · **{}**", answers[0], answers[1], answers[2]);
    assert!(section.contains(&line), "docs/runbook.md does not say {line}");
    let section = section.replace("**", "").split_whitespace().collect::<Vec<_>>().join(" ");
    let quotes = section.split('*').skip(1).step_by(2).filter(|quote| quote.contains(' '));
    let quotes: Vec<&str> = quotes.collect();
    assert!(!quotes.is_empty(), "the walk quotes nothing of {heading}");
    patiently(&format!("{answers:?} with {quotes:#?}"), async || {
        let (_, state) = bridge.get("/api/v1/state").await;
        let verdict = &state["verdict"];
        let questions = ["live", "losing", "fault"].map(|name| &verdict[name]);
        let told: Vec<String> = questions
            .iter()
            .map(|answer| [&answer["why"], &answer["next"]].map(|part| part.as_str().unwrap()))
            .map(|parts| parts.join(" "))
            .collect();
        let is_told = |quote: &&str| told.iter().any(|told| holds(told, quote));
        let same = questions.map(|answer| answer["words"].as_str().unwrap()) == *answers;
        if same && quotes.iter().all(is_told) { Ok(()) } else { Err(format!("{verdict:#}")) }
    })
    .await;
}

/// Whether `told` has what `quote` says, in order; … stands for whatever differs from time to time.
fn holds(told: &str, quote: &str) -> bool {
    let mut rest = Some(told);
    for piece in quote.split('…') {
        rest = rest.and_then(|rest| rest.split_once(piece.trim())).map(|(_, after)| after);
    }
    rest.is_some()
}

/// Whether an answer of Prometheus has a series with a number that can be drawn.
fn has_figure(answer: &Value) -> bool {
    let mut series = answer.as_array().into_iter().flatten();
    series.any(|one| {
        let value = one["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        value.is_some_and(f64::is_finite)
    })
}

/// Waits until `look` finds something; `Err` is what it saw instead.
async fn patiently<T>(what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
    let mut seen = String::new();
    let found = tokio::time::timeout(PATIENCE, async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            match look().await {
                Ok(found) => return found,
                Err(instead) => seen = instead,
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("it never came to be: {what}; last seen: {seen}"))
}

/// A real Prometheus that scrapes one process five times a second.
struct Prometheus {
    server: Server,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Prometheus {
    async fn of(bridge: &Bridge) -> Self {
        Self::with(bridge, "", "").await
    }

    /// The same, with the alerts' `text` replaced where a test cannot wait so long.
    async fn with(bridge: &Bridge, text: &str, by: &str) -> Self {
        let folder = TempDir::with_prefix("tieline-watching-").unwrap();
        let rules = self::text("dashboards/alerts.yml");
        assert!(rules.contains(text), "no alert says {text}");
        let rules = if text.is_empty() { rules } else { rules.replace(text, by) };
        let hasty = |line: &str| match line.trim_start().strip_prefix("for: ") {
            Some(_) => "        for: 1s".to_owned(),
            None => line.to_owned(),
        };
        let rules: Vec<String> = rules.lines().map(hasty).collect();
        std::fs::write(folder.path().join("alerts.yml"), rules.join("\n")).unwrap();
        let target = bridge.url().replace("http://", "");
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: tieline\n    static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let path = path.display().to_string();
        let start = move || Server::start("prometheus", &["--config", &path]);
        let server = tokio::task::spawn_blocking(start).await.unwrap();
        let prometheus = Self { server, http: reqwest::Client::new(), _folder: folder };
        prometheus.until("tieline_ready == 1").await;
        prometheus
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.server.field("url"))).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let reply = self.http.get(url).send().await.unwrap();
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }

    /// What an expression answers now.
    async fn ask(&self, expression: &str) -> Value {
        let answer = self.get("/api/v1/query", &[("query", expression)]).await;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].clone()
    }

    /// Waits until an expression answers something.
    async fn until(&self, expression: &str) {
        let found = async || (self.ask(expression).await != json!([])).then_some(());
        crate::harness::eventually(expression, found).await;
    }

    /// The alerts that fire.
    async fn firing(&self) -> Vec<String> {
        let answer = self.get("/api/v1/alerts", &[]).await;
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let names = firing.map(|alert| word(&alert["labels"], "alertname"));
        // How full the disk of the machine is that runs the tests is its own affair, and so is whether it is too busy to be scraped five
        // times in a row.
        let its = ["TielineDataDiskFilling", "TielineNotScraped"];
        let ours = names.filter(|name| !its.contains(&name.as_str()));
        ours.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Waits until this alert fires, and answers all that do.
    async fn fires(&self, name: &str) -> Vec<String> {
        patiently(&format!("{name} fires"), async || {
            let firing = self.firing().await;
            let found = firing.iter().any(|one| one == name);
            if found { Ok(firing) } else { Err(format!("{firing:?}")) }
        })
        .await
    }
}

/// Every expression of a dashboard, wherever it stands.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("expr").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(expressions)).collect()
        }
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("tieline_")).map(str::to_owned).collect()
}

fn rules() -> Vec<Value> {
    let file: Value = serde_yaml_ng::from_str(&text("dashboards/alerts.yml")).unwrap();
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

fn word(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
