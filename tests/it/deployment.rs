//! The compose file, the dashboard and the alerts tell the truth about the program that they deploy and watch.
//!
//! No container engine runs here: what can be read is compared with the repository, nothing is started.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tieline::config::Config;

#[test]
fn every_file_that_compose_mounts_is_there() {
    for (name, service) in services() {
        for volume in strings(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            if source.starts_with('.') {
                assert!(root().join(source).exists(), "{name} mounts {source}");
            } else {
                assert!(compose()["volumes"].as_object().unwrap().contains_key(source), "{source}");
            }
        }
    }
}

#[test]
fn compose_waits_for_what_exists_and_has_a_health_check() {
    let services = services();
    for (name, service) in &services {
        let needs = service["depends_on"].as_object().into_iter().flatten();
        for (needed, how) in needs {
            let needed = &services.iter().find(|(other, _)| other == needed).unwrap().1;
            if how["condition"] == "service_healthy" {
                assert!(needed["healthcheck"].is_object(), "{name} waits for {needed}");
            }
        }
        if let Some(image) = service["image"].as_str() {
            let tag = image.rsplit_once(':').map(|(_, tag)| tag);
            assert!(tag.is_some_and(|tag| tag != "latest"), "{name}: pin {image}");
        }
    }
}

#[test]
fn what_compose_runs_is_configured_to_find_its_neighbours() {
    let tieline = service("tieline");
    let mounts = strings(&tieline["volumes"]);
    let file = mounts.iter().find_map(|mount| mount.strip_suffix(":/etc/tieline/tieline.toml:ro"));
    let file = root().join(file.unwrap());
    let variables = tieline["environment"].as_object().unwrap().iter();
    let variables =
        variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    let config = Config::load(Some(&file), variables).unwrap();

    assert_eq!(config.genesys.api_url.as_deref(), Some("http://simulator:8080"));
    let simulator = strings(&service("simulator")["command"]);
    assert!(simulator.contains(&"--listen=0.0.0.0:8080".to_owned()));
    assert!(simulator.contains(&"--public-url=http://simulator:8080".to_owned()));
    let port = config.admin.listen.port();
    assert_eq!(strings(&tieline["ports"]), [format!("127.0.0.1:{port}:{port}")]);
    let scrape = yaml("dashboards/prometheus.yml").to_string();
    assert!(scrape.contains(&format!("tieline:{port}")), "{scrape}");

    let text = std::fs::read_to_string(&file).unwrap();
    let hosts = ["simulator:8080", "openbao:8200", "kafka:9092", "nats:4222"];
    for host in hosts {
        assert!(text.contains(host), "{host}");
        service(host.split(':').next().unwrap());
    }
}

#[test]
fn the_simulator_knows_the_flags_that_compose_gives_it() {
    let manual = std::fs::read_to_string(root().join("sim/README.md")).unwrap();
    for argument in strings(&service("simulator")["command"]) {
        let flag = argument.split('=').next().unwrap();
        assert!(manual.contains(&format!("`{flag}")), "{flag} is not in sim/README.md");
    }
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    for file in ["dashboards/tieline.json", "dashboards/alerts.yml"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let named = metrics(&text);
        assert!(named.len() > 5, "{file} names {named:?}");
        for metric in named {
            assert!(page.contains(&format!("`{metric}`")), "{file}: {metric}");
        }
    }
}

/// The metrics that a text names; a label's value or a file's name is none.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("tieline_")).map(str::to_owned).collect()
}

fn services() -> Vec<(String, Value)> {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn service(name: &str) -> Value {
    let found = services().into_iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("compose has no service {name}")).1
}

fn compose() -> Value {
    yaml("docker-compose.yml")
}

fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}
