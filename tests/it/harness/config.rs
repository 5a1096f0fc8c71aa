//! The configuration file of one process, in a folder of its own.

use std::path::PathBuf;
use tempfile::TempDir;
use tieline_sim::Sim;

/// The configuration file of one process, in a folder of its own.
pub struct Config {
    pub folder: TempDir,
    tables: toml::Table,
    pub environment: Vec<(String, String)>,
}

impl Config {
    pub fn new(url: &str, client_id: &str) -> Self {
        let folder = TempDir::with_prefix("tieline-process-").unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            r#"
            data_dir = "{data}"
            [genesys]
            login_url = "{url}"
            api_url = "{url}"
            client_id = "{client_id}"
            queues = ["all"]
            allow_insecure = true
            request_timeout = "5s"
            [secret.file]
            path = "{secret}"
            [lifecycle]
            ping_interval = "500ms"
            dead_after = "20s"
            settle = "500ms"
            drain = "700ms"
            backoff_base = "100ms"
            backoff_cap = "1s"
            stable_after = "1s"
            rotation_jitter = "200ms"
            [arbitration]
            hold = "400ms"
            [sink.jsonl]
            path = "{events}"
            [admin]
            listen = "127.0.0.1:0"
            [log]
            level = "trace"
            [process]
            drain_timeout = "10s"
            "#,
            data = at("data"),
            secret = at("secret"),
            events = at("events.jsonl"),
        );
        let tables = text.parse().unwrap();
        Self { folder, tables, environment: Vec::new() }
    }

    /// Sets a key, such as `sink.nats.url`.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        let (tables, name) = match key.rsplit_once('.') {
            Some((tables, name)) => (tables.split('.').collect(), name),
            None => (Vec::new(), key),
        };
        let mut at = &mut self.tables;
        for table in tables {
            let entry = at.entry(table).or_insert_with(|| toml::Table::new().into());
            at = entry.as_table_mut().unwrap();
        }
        at.insert(name.to_owned(), value.into());
    }

    /// Removes a table, such as `secret.file`.
    pub fn unset(&mut self, table: &str) {
        let (outer, name) = table.split_once('.').unwrap();
        self.tables[outer].as_table_mut().unwrap().remove(name);
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where events are written.
    pub fn events(&self) -> PathBuf {
        PathBuf::from(self.tables["sink"]["jsonl"]["path"].as_str().unwrap())
    }

    /// Replaces the secret file as an operator does: in one move.
    pub fn write_secret(&self, secret: &str) {
        let path = self.path("secret");
        std::fs::write(path.with_extension("new"), secret).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// Writes the file and answers its path.
    pub fn write(&self) -> PathBuf {
        let path = self.path("tieline.toml");
        std::fs::write(&path, self.tables.to_string()).unwrap();
        path
    }

    /// Every topic that is subscribed to by default.
    pub fn topics(&self, sim: &Sim) -> Vec<String> {
        sim.queues().iter().flat_map(|queue| topics_of(&queue.id)).collect()
    }
}

/// Those of one queue.
pub fn topics_of(queue: &str) -> [String; 3] {
    [
        format!("v2.routing.queues.{queue}.conversations"),
        format!("v2.routing.queues.{queue}.users"),
        format!("v2.analytics.queues.{queue}.observations"),
    ]
}
