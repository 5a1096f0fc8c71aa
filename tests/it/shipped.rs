//! What is shipped tells the truth: every file of `config/` loads, `config/default.toml` names every key that the program knows
//! and no other, and `docs/configuration.md` says the same as `config/default.toml`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tieline::config::{Config, Schema, fields};
use tieline::sink::{ALL_NAMES, NAMES};

/// Files that stand below every other, and so make no whole by themselves.
const LAYERS: [&str; 1] = ["default.toml"];

#[test]
fn every_shipped_configuration_loads() {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("config")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_file = name.ends_with(".toml");
        if !is_file || LAYERS.contains(&name.as_str()) || !is_built(&name) {
            continue;
        }
        if let Err(mistakes) = Config::load(Some(&path), std::iter::empty()) {
            panic!("{name}: {mistakes}");
        }
        names.push(name);
    }
    assert!(names.contains(&"demo.toml".to_owned()), "{names:?}");
}

/// Whether this build has the sink that the file is named after.
fn is_built(name: &str) -> bool {
    let sink = name.trim_end_matches(".toml");
    !ALL_NAMES.contains(&sink) || NAMES.contains(&sink)
}

#[test]
fn the_defaults_are_on_when_nobody_says_otherwise() {
    let config = Config::load(Some(&root().join("config/demo.toml")), std::iter::empty()).unwrap();
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.process.drain_timeout.as_secs(), 5, "the file lies above the defaults");
}

#[test]
fn the_environment_lies_above_the_file() {
    let variables = [
        ("TIELINE_PROCESS__DRAIN_TIMEOUT", "7s"),
        ("TIELINE_PROCESS__SEED", "42"),
        ("TIELINE_GENESYS__QUEUES", "Support, Sales"),
        ("TIELINE_GENESYS__CLIENT_ID", "12345"),
        ("TIELINE_GENESYS__ALLOW_INSECURE", "true"),
        ("TIELINE_DATA_DIR", "/var/lib/tieline"),
    ];
    let config = load_demo(&variables);
    assert_eq!(config.process.drain_timeout.as_secs(), 7);
    assert_eq!(config.process.seed, 42);
    assert_eq!(config.genesys.queues, ["Support", "Sales"]);
    assert_eq!(config.genesys.client_id.as_deref(), Some("12345"), "text stays text");
    assert_eq!(config.data_dir, Path::new("/var/lib/tieline"));
}

#[cfg(all(feature = "kafka", feature = "nats"))]
#[test]
fn a_sink_is_on_when_the_file_or_the_environment_names_it() {
    let config = load_demo(&[
        ("TIELINE_SINK__KAFKA__BROKERS", "localhost:9092"),
        ("TIELINE_SINK__KAFKA__OPTIONS__SECURITY_PROTOCOL", "ssl"),
    ]);
    let kafka = config.sinks.kafka.unwrap();
    assert_eq!(kafka.options["security.protocol"], "ssl".into());
    assert_eq!(kafka.topic, "genesys.events", "the rest is by default");
    assert!(config.sinks.jsonl.is_some() && config.sinks.nats.is_none());

    let only_nats =
        Config::load(Some(&root().join("config/nats.toml")), std::iter::empty()).unwrap();
    assert!(only_nats.sinks.jsonl.is_none() && only_nats.sinks.nats.is_some());
}

#[test]
fn the_jsonl_sink_is_on_when_no_sink_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bare.toml");
    let bare = "[genesys]\nregion = \"mypurecloud.ie\"\nclient_id = \"me\"\nqueues = [\"all\"]\n[secret.env]\nvariable = \"S\"\n";
    fs::write(&path, bare).unwrap();
    let config = Config::load(Some(&path), std::iter::empty()).unwrap();
    assert_eq!(config.sinks.jsonl.unwrap().path, Path::new("./events.jsonl"));
    assert!(config.secret.file.is_none() && config.secret.vault.is_none());
}

#[test]
fn default_toml_names_every_key_and_no_other() {
    let schema = Schema::get();
    let tables = schema.tables.iter().map(|table| table.path.clone());
    let keys = schema
        .tables
        .iter()
        .filter(|table| !schema.free.contains(&table.path))
        .flat_map(|table| table.keys.iter().map(|key| key.path.clone()));
    let mut named: BTreeSet<String> =
        tables.chain(keys).filter(|path| !path.is_empty() && !is_of_unbuilt_sink(path)).collect();
    // A table without keys of its own has no head in the file.
    named.insert("sink".to_owned());
    assert_eq!(named, fields(), "left: config/default.toml; right: the program's types");
}

/// The file is the same for every build; the types are not.
fn is_of_unbuilt_sink(path: &str) -> bool {
    ALL_NAMES.iter().filter(|name| !NAMES.contains(name)).any(|name| {
        path.strip_prefix("sink.").is_some_and(|rest| rest.split('.').next() == Some(name))
    })
}

#[test]
fn every_key_of_default_toml_is_explained() {
    for table in &Schema::get().tables {
        assert!(
            table.path.is_empty() || !table.meaning.is_empty(),
            "no comment above [{}]",
            table.path
        );
        for key in &table.keys {
            assert!(!key.meaning.is_empty(), "no comment above {}", key.path);
        }
    }
}

/// Set, the test writes the page instead of comparing it.
const UPDATE: &str = "UPDATE_DOCS";

#[test]
fn the_page_on_configuration_agrees_with_default_toml() {
    let path = root().join("docs/configuration.md");
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/configuration.md is not what config/default.toml says; to update it: {UPDATE}=1 cargo test --test it shipped"
    );
}

const HEAD: &str = "\
# Configuration

<!-- Made of config/default.toml by tests/it/shipped.rs: change the comments there, then run
     UPDATE_DOCS=1 cargo test --test it shipped -->

Three layers, the later above the earlier:

1. `config/default.toml`, compiled into the program: every key below that has a default.
2. The file: `tieline run FILE`. It is TOML, and needs only what no default can know; `config/kafka.toml` and `config/nats.toml` are the
   smallest ones that make sense.
3. Environment variables `TIELINE_SECTION__KEY`: two underscores between names, so that `sink.kafka.brokers` is
   `TIELINE_SINK__KAFKA__BROKERS` and `data_dir` is `TIELINE_DATA_DIR`. Text needs no quotes; a list is `a,b` or `[\"a\", \"b\"]`.

`tieline check FILE` says every mistake at once, each with its key, value, source and fix, or what would run. A key that tieline does not
know is a mistake, in the file and in the environment.

The tables `[sink.*]` and `[secret.file]`, `[secret.env]`, `[secret.vault]` are on only when the file or a variable names them; their defaults
are what such a table starts from. When no sink is named, `[sink.jsonl]` is on. Name exactly one source of the secret. A secret itself never
stands in the configuration.

Proxies are no keys: `HTTPS_PROXY` (for https and wss), `HTTP_PROXY` (for http and ws) or `ALL_PROXY` hold for REST, Vault and the socket, which
are tunnelled by CONNECT where they are TLS, as they are for a real organisation; a proxy is `http://` or `https://`, `user:password@` may stand before its host,
another kind is refused at the start. `NO_PROXY` lists who is reached directly: names (with all below them), addresses, blocks such as `10.0.0.0/8`,
each with a port if you like, or `*`. Loopback is never proxied. Brokers are reached directly. No `VAULT_*` variable is read: Vault is what the file says.

Durations are written `\"250ms\"`, `\"30s\"`, `\"2m\"`, `\"1h\"`, sizes `\"512KiB\"`, `\"64MiB\"`. A key without default shows an example
in its place, in brackets.
";

/// The page as it should be.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for table in &Schema::get().tables {
        if table.path.is_empty() {
            page.push_str("\n## At the top\n\n");
        } else {
            write!(page, "\n## `[{}]`\n\n{}\n\n", table.path, table.meaning).unwrap();
        }
        page.push_str("| key | default | meaning |\n| --- | --- | --- |\n");
        for key in &table.keys {
            let name = key.path.strip_prefix(&format!("{}.", table.path)).unwrap_or(&key.path);
            let default = match &key.default {
                Some(default) => format!("`{default}`"),
                None => format!("(`{}`)", key.example),
            };
            writeln!(page, "| `{name}` | {default} | {} |", key.meaning.replace('|', "\\|"))
                .unwrap();
        }
    }
    page
}

fn load_demo(variables: &[(&str, &str)]) -> Config {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Config::load(Some(&root().join("config/demo.toml")), variables) {
        Ok(config) => config,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
