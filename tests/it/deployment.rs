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
    // Prometheus shows no token and speaks no TLS there, so that the doors must be open to it, and to nobody outside this machine.
    assert!(config.admin.is_open() && config.admin.allow_insecure);
    let scrape = yaml("dashboards/prometheus.yml")["scrape_configs"][0].clone();
    assert_eq!(scrape["job_name"], "tieline", "the alerts ask for this job");
    assert_eq!(strings(&scrape["static_configs"][0]["targets"]), [format!("tieline:{port}")]);
    assert!(scrape["scheme"].is_null() && scrape["authorization"].is_null(), "{scrape}");
    let health = tieline["healthcheck"]["test"].to_string();
    assert!(
        health.contains(&format!("127.0.0.1/{port}")) && health.contains("/readyz"),
        "{health}"
    );

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
    for file in ["dashboards/tieline.json", "dashboards/alerts.yml", "docs/runbook.md"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let named = metrics(&text);
        assert!(named.len() > 5, "{file} names {named:?}");
        for metric in named {
            // A histogram is asked for by its parts.
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| metric.strip_suffix(part));
            let known = |name: &str| page.contains(&format!("`{name}`"));
            assert!(known(&metric) || whole.is_some_and(known), "{file}: {metric}");
        }
    }
}

#[test]
fn what_kubernetes_mounts_and_asks_is_what_the_configuration_says() {
    let kind = |kind: &str| {
        let mut found = manifests().into_iter().filter(|one| one["kind"] == kind);
        found.next().unwrap_or_else(|| panic!("no {kind}"))
    };
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("tieline.toml");
    let (name, map) = ("tieline.toml", kind("ConfigMap"));
    std::fs::write(&file, map["data"][name].as_str().unwrap()).unwrap();
    let config = Config::load(Some(&file), std::iter::empty()).unwrap();

    let pod = kind("StatefulSet")["spec"]["template"]["spec"].clone();
    let container = &pod["containers"][0];
    let mounts = container["volumeMounts"].as_array().unwrap();
    let volumes = pod["volumes"].as_array().unwrap();
    // What is mounted where a path lies, with its place in the mount.
    let mounted = |path: &Path| {
        let mount =
            mounts.iter().find(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()));
        let mount = mount.unwrap_or_else(|| panic!("{path:?} is on no volume"));
        let inside = path.strip_prefix(mount["mountPath"].as_str().unwrap()).unwrap();
        assert!(mount["subPath"].is_null(), "a subPath never sees a rotation: {mount}");
        (mount.clone(), inside.display().to_string())
    };
    let volume = |mount: &Value| volumes.iter().find(|one| one["name"] == mount["name"]).cloned();

    let arguments = strings(&container["args"]);
    assert_eq!(arguments[0], "run");
    let (mount, inside) = mounted(Path::new(&arguments[1]));
    assert_eq!(inside, name);
    assert_eq!(volume(&mount).unwrap()["configMap"]["name"], map["metadata"]["name"]);

    let text: toml::Table = map["data"][name].as_str().unwrap().parse().unwrap();
    let (mount, inside) = mounted(Path::new(text["secret"]["file"]["path"].as_str().unwrap()));
    let secret = kind("Secret");
    assert_eq!(volume(&mount).unwrap()["secret"]["secretName"], secret["metadata"]["name"]);
    let credentials: Value =
        serde_json::from_str(secret["stringData"][&inside].as_str().unwrap()).unwrap();
    assert!(credentials["client_id"].is_string() && credentials["client_secret"].is_string());

    let (mount, _) = mounted(&config.data_dir);
    assert_ne!(mount["readOnly"], true);
    let claims = kind("StatefulSet")["spec"]["volumeClaimTemplates"].clone();
    assert_eq!(claims[0]["metadata"]["name"], mount["name"]);

    let port = u64::from(config.admin.listen.port());
    assert!(!config.admin.listen.ip().is_loopback(), "probes come from elsewhere");
    assert_eq!(container["ports"][0]["containerPort"], port);
    assert_eq!(kind("Service")["spec"]["ports"][0]["port"], port);
    assert_eq!(kind("NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"], port);
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
    }
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > config.process.drain_timeout.as_secs(), "the drain is cut short");
    assert_eq!(kind("StatefulSet")["spec"]["replicas"], 1);
}

#[test]
fn the_unit_starts_what_the_program_understands() {
    let unit = std::fs::read_to_string(root().join("config/systemd/tieline.service")).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let start: Vec<&str> = value("ExecStart=").split_whitespace().collect();
    assert_eq!(start[..2], ["/usr/bin/tieline", "run"]);
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_tieline"))
        .args([start[1], "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in start.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{flag} is not in: {help}");
    }
    let name = value("Environment=").split('=').next().unwrap();
    let variables = [(name.to_owned(), "/var/lib/tieline".to_owned())];
    let config =
        Config::load(Some(&root().join("config/nats.toml")), variables.into_iter()).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/tieline"));
    assert_eq!(value("StateDirectory="), "tieline");
    let stop: u64 = value("TimeoutStopSec=").trim_end_matches('s').parse().unwrap();
    assert!(stop > config.process.drain_timeout.as_secs(), "the drain is cut short");
    assert!(value("RestartPreventExitStatus=").contains("78"));
}

/// Every object of the manifest.
fn manifests() -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("config/kubernetes/tieline.yaml")).unwrap();
    let documents = text.split("\n---\n");
    documents.map(|one| serde_yaml_ng::from_str(one).unwrap()).collect()
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
