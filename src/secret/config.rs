//! The `[secret]` table: exactly one source of the client secret.

use crate::mistake::Mistake;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Where credentials come from; `config/default.toml` explains each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often Vault is asked.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// A file.
    pub file: Option<File>,
    /// An environment variable.
    pub env: Option<Env>,
    /// A Vault KV v2 entry.
    pub vault: Option<Vault>,
}

/// The `[secret.file]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The bare secret, or JSON with `client_id` and `client_secret`.
    pub path: PathBuf,
}

/// The `[secret.env]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Env {
    /// The variable's name.
    pub variable: String,
}

/// The `[secret.vault]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Such as `https://vault.example.com:8200`.
    pub address: String,
    /// The KV v2 engine's mount.
    pub mount: String,
    /// The entry that holds `client_id` and `client_secret`.
    pub path: String,
    /// An authority to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: Auth,
}

/// The `[secret.vault.auth]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `approle` or `token`.
    pub method: Method,
    /// The AppRole's role id.
    pub role_id: Option<String>,
    /// The file that holds the AppRole's secret id; read at each login.
    pub secret_id_file: Option<PathBuf>,
    /// The file that holds a Vault token; read at each login.
    pub token_file: Option<PathBuf>,
}

/// How to log in to Vault.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `auth/approle/login` with a role id and a secret id.
    Approle,
    /// A token from a file.
    Token,
}

impl Config {
    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }
}
