//! The compose file, the dashboard and the alerts tell the truth about the program that they deploy and watch.
//!
//! No container engine runs here: what can be read is compared with the repository, nothing is started.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
    let file = configuration(&mounts);
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
    // Prometheus shows no token and speaks no TLS there, so that the doors must be open to it, and to nobody outside this machine: the port
    // is published on loopback, above, and a page in this machine's browser cannot ask by a name of its own.
    assert!(config.admin.is_open() && config.admin.allow_insecure);
    assert_eq!(config.admin.hosts, ["tieline"], "the name by which Prometheus asks, and no other");
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
fn compose_opens_no_port_to_the_network() {
    for (name, service) in services() {
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }
}

#[test]
fn the_secret_that_compose_puts_into_the_vault_is_the_simulators_and_is_found_there() {
    let setup = service("openbao-setup");
    let script = strings(&setup["command"]).concat().replace("\\\n", " ");
    let script = script.split_whitespace().collect::<Vec<_>>().join(" ");
    let simulator = strings(&service("simulator")["command"]);
    let flag = |name: &str| simulator.iter().find_map(|one| one.strip_prefix(name)).unwrap();
    let (id, secret) = (flag("--client-id="), flag("--client-secret="));
    let text = std::fs::read_to_string(configuration(&strings(&service("tieline")["volumes"])));
    let config: toml::Table = text.unwrap().parse().unwrap();
    let vault = &config["secret"]["vault"];
    let word = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let (mount, path) = (word(&vault["mount"]), word(&vault["path"]));
    let put = format!("bao kv put -mount={mount} {path} client_id={id} client_secret={secret} ");
    assert!(script.contains(&put), "{script}");
    for kind in ["data", "metadata"] {
        let rule = format!(r#"path "{mount}/{kind}/{path}" {{ capabilities = ["read"] }}"#);
        assert!(script.contains(&rule), "{script}");
    }
    let auth = &vault["auth"];
    assert_eq!(word(&auth["method"]), "approle");
    assert!(script.contains(&format!("role-id role_id={} ", word(&auth["role_id"]))), "{script}");

    // Who logs in reads the file that the other one writes, through a volume of both.
    let own = strings(&setup["volumes"]);
    let (volume, folder) = own[0].split_once(':').unwrap();
    assert!(script.contains(&format!(">{folder}/secret_id ")), "{script}");
    let theirs = strings(&service("tieline")["volumes"]);
    let login = theirs.iter().find_map(|mount| mount.strip_prefix(&format!("{volume}:"))).unwrap();
    let login = login.strip_suffix(":ro").expect("nobody else writes it");
    assert_eq!(word(&auth["secret_id_file"]), format!("{login}/secret_id"));

    let listens = service("openbao")["environment"]["BAO_DEV_LISTEN_ADDRESS"].clone();
    let port = listens.as_str().unwrap().rsplit_once(':').unwrap().1;
    assert_eq!(word(&vault["address"]), format!("http://openbao:{port}"));
}

#[test]
fn what_compose_keeps_and_where_its_brokers_listen_is_what_the_configuration_says() {
    let mounts = strings(&service("tieline")["volumes"]);
    let text = std::fs::read_to_string(configuration(&mounts)).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let data_dir = config["data_dir"].as_str().unwrap();
    assert!(mounts.contains(&format!("state:{data_dir}")), "{mounts:?}");

    let kafka = service("kafka")["environment"].clone();
    let brokers = config["sink"]["kafka"]["brokers"].as_str().unwrap();
    assert_eq!(kafka["KAFKA_ADVERTISED_LISTENERS"], format!("PLAINTEXT://{brokers}"));
    let port = brokers.rsplit_once(':').unwrap().1;
    let listeners = kafka["KAFKA_LISTENERS"].as_str().unwrap();
    assert!(listeners.split(',').any(|one| one == format!("PLAINTEXT://:{port}")), "{listeners}");

    let nats = service("nats");
    let command = strings(&nats["command"]);
    assert!(command.contains(&"--jetstream".to_owned()), "{command:?}");
    let is_moved = command.iter().any(|one| one.starts_with("--port") || one.starts_with("-p"));
    assert!(!is_moved, "the default port is meant");
    assert_eq!(config["sink"]["nats"]["url"].as_str(), Some("nats://nats:4222"));
    assert_eq!(strings(&nats["ports"]), ["127.0.0.1:4222:4222"]);
}

#[test]
fn grafana_finds_the_dashboard_and_the_dashboard_its_prometheus() {
    let grafana = service("grafana");
    let mounts = strings(&grafana["volumes"]);
    let target = |source: &str| {
        let mut found = mounts.iter().filter_map(|mount| mount.strip_prefix(source));
        let target = found.next().unwrap_or_else(|| panic!("{source} is not mounted"));
        target.trim_start_matches(':').trim_end_matches(":ro").to_owned()
    };
    // Where Grafana looks by itself.
    assert_eq!(target("./dashboards/provisioning"), "/etc/grafana/provisioning");
    let board = target("./dashboards/tieline.json");
    let home = &grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    assert_eq!(*home, board);
    let provider = yaml("dashboards/provisioning/dashboards/tieline.yml")["providers"][0].clone();
    let folder = provider["options"]["path"].as_str().unwrap();
    assert_eq!(Path::new(&board).parent().unwrap(), Path::new(folder));

    let source = yaml("dashboards/provisioning/datasources/prometheus.yml");
    let source = &source["datasources"][0];
    let text = std::fs::read_to_string(root().join("dashboards/tieline.json")).unwrap();
    let mut used = BTreeSet::new();
    sources(&serde_json::from_str(&text).unwrap(), &mut used);
    assert_eq!(used, [source["uid"].as_str().unwrap().to_owned()].into());
    let port = strings(&service("prometheus")["ports"])[0].rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(source["url"], format!("http://prometheus:{port}"));

    // Prometheus reads prometheus.yml where its image looks, and the rules beside it.
    let mounts = strings(&service("prometheus")["volumes"]);
    assert!(mounts.contains(&"./dashboards:/etc/prometheus:ro".to_owned()), "{mounts:?}");
    for rules in strings(&yaml("dashboards/prometheus.yml")["rule_files"]) {
        assert!(root().join("dashboards").join(&rules).is_file(), "{rules}");
    }
}

#[test]
fn the_images_are_stages_without_root_built_by_the_rust_that_is_promised() {
    let file = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    // Each stage: what it is from, and its lines.
    let mut stages: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
    let mut name = "";
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["FROM", from, "AS", stage] = words[..] {
            name = stage;
            stages.insert(name, (from, Vec::new()));
        } else if !name.is_empty() {
            stages.get_mut(name).unwrap().1.push(line);
        }
    }
    let manifest: toml::Table =
        std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let promised = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert_eq!(stages["build"].0, format!("rust:{promised}-bookworm"));

    let built = services()
        .into_iter()
        .filter_map(|(_, one)| one["build"]["target"].as_str().map(str::to_owned));
    let built: BTreeSet<String> = built.collect();
    assert_eq!(built, ["tieline".to_owned(), "tieline-sim".to_owned()].into());
    for stage in &built {
        let (from, own) = &stages[stage.as_str()];
        let below = &stages[from].1;
        let user = below.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
        assert!(!own.iter().any(|line| line.starts_with("USER ")), "{stage} is {user}'s");
        let made = below.join(" ");
        let (_, made) = made.split_once("useradd --uid ").unwrap();
        let uid: u64 = made.split_whitespace().next().unwrap().parse().unwrap();
        assert!(made.contains(&format!(" {user} ")), "{made}");
        let pod = manifests().into_iter().find(|one| one["kind"] == "StatefulSet").unwrap();
        let pod = pod["spec"]["template"]["spec"]["securityContext"].clone();
        assert_eq!((&pod["runAsUser"], &pod["runAsNonRoot"]), (&uid.into(), &true.into()));
        let entry = format!("ENTRYPOINT [\"{stage}\"]");
        let copied = format!("COPY --from=build /out/{stage} /usr/local/bin/");
        let place = |wanted: &str| own.iter().position(|line| *line == wanted);
        assert!(place(&copied).unwrap() < place(&entry).unwrap(), "{stage}");
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
    // One replica that may never be evicted would only keep its node from being drained.
    let budgets = manifests().iter().filter(|one| one["kind"] == "PodDisruptionBudget").count();
    assert_eq!(budgets, 0);
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

/// The file of this repository that is mounted as tieline's configuration.
fn configuration(mounts: &[String]) -> PathBuf {
    let file = mounts.iter().find_map(|mount| mount.strip_suffix(":/etc/tieline/tieline.toml:ro"));
    root().join(file.unwrap())
}

/// The uids of all data sources that a dashboard asks.
fn sources(value: &Value, found: &mut BTreeSet<String>) {
    if let Some(uid) = value["datasource"]["uid"].as_str() {
        found.insert(uid.to_owned());
    }
    let members = value.as_object().into_iter().flatten().map(|(_, member)| member);
    members.chain(value.as_array().into_iter().flatten()).for_each(|one| sources(one, found));
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
