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
    /// Whether plain http is allowed where the host is not loopback.
    pub allow_insecure: bool,
    /// The `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: Auth,
}

/// The `[secret.vault.auth]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `approle`, `kubernetes` or `token`.
    pub method: Method,
    /// Where the method is mounted; by default at its own name.
    pub mount: Option<String>,
    /// The AppRole's role id.
    pub role_id: Option<String>,
    /// The file that holds the AppRole's secret id; read at each login.
    pub secret_id_file: Option<PathBuf>,
    /// The role of the Kubernetes method.
    pub role: Option<String>,
    /// The file that holds the pod's token; read at each login.
    pub jwt_file: PathBuf,
    /// The file that holds a Vault token; read at each login.
    pub token_file: Option<PathBuf>,
}

/// How to log in to Vault.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `auth/approle/login` with a role id and a secret id.
    Approle,
    /// `auth/kubernetes/login` with a role and the pod's token.
    Kubernetes,
    /// A token from a file.
    Token,
}

impl Config {
    /// Where the secret comes from, in one word.
    pub const fn name(&self) -> &'static str {
        match (&self.file, &self.env, &self.vault) {
            (Some(_), _, _) => "file",
            (None, Some(_), _) => "env",
            (None, None, _) => "vault",
        }
    }

    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let named = [self.file.is_some(), self.env.is_some(), self.vault.is_some()];
        match named.iter().filter(|named| **named).count() {
            1 => {}
            0 => mistakes.push(Mistake::new(
                "file",
                "is not named, nor is another source, so that there is no client secret",
                "name one: file.path, env.variable, or vault.address and vault.path",
            )),
            _ => mistakes.push(Mistake::new(
                "file",
                "is one of several sources, and which secret is the newest could not be told",
                "keep exactly one of file, env and vault",
            )),
        }
        if self.poll_interval < Duration::from_secs(1) {
            mistakes.push(Mistake::new(
                "poll_interval",
                "is below a second",
                "write \"1s\" or more; \"10s\" is the default",
            ));
        }
        if let Some(file) = &self.file {
            let empty = file.path.as_os_str().is_empty();
            mistakes.extend(missing("file.path", empty, "write the path of the secret file"));
        }
        if let Some(env) = &self.env {
            let unfit = env.variable.is_empty() || env.variable.contains(['=', '\0']);
            mistakes.extend(unfit.then(|| {
                Mistake::new(
                    "env.variable",
                    "is not the name of a variable",
                    "write its name, such as \"GENESYS_CLIENT_SECRET\", not the secret",
                )
            }));
        }
        if let Some(vault) = &self.vault {
            mistakes.extend(vault.mistakes());
        }
        mistakes
    }
}

impl Vault {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        mistakes.extend(self.address_mistake());
        let blank = |text: &str| text.trim_matches('/').trim().is_empty();
        mistakes.extend(missing(
            "vault.mount",
            blank(&self.mount),
            "write the mount of the KV version 2 engine, such as \"secret\"",
        ));
        mistakes.extend(missing(
            "vault.path",
            blank(&self.path),
            "write the entry below the mount, such as \"genesys/tieline\"",
        ));
        let odd =
            |text: &String| text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic());
        if self.namespace.as_ref().is_some_and(odd) {
            mistakes.push(Mistake::new(
                "vault.namespace",
                "is empty or holds white space or unusual characters",
                "write the namespace's path, such as \"team-a\", or leave the key out",
            ));
        }
        mistakes.extend(self.auth.mistakes());
        mistakes
    }

    fn address_mistake(&self) -> Option<Mistake> {
        const FIX: &str = "write an address such as \"https://vault.example.com:8200\"";
        let key = "vault.address";
        let Ok(url) = reqwest::Url::parse(&self.address) else {
            return Some(Mistake::new(key, "is not a URL", FIX));
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Some(Mistake::new(key, "is not an http or https URL", FIX));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some(Mistake::new(key, "holds a user or password", FIX));
        }
        if url.scheme() == "http" && !self.allow_insecure && !is_loopback(&url) {
            return Some(Mistake::new(
                key,
                "is plain http, over which the client secret would be read in clear",
                "use https (and vault.ca_file for an authority of your own); in a network of your own set vault.allow_insecure = true",
            ));
        }
        None
    }
}

impl Auth {
    /// Where the method is mounted, without slashes at its ends.
    pub(super) fn mount(&self) -> &str {
        let own = match self.method {
            Method::Approle => "approle",
            Method::Kubernetes => "kubernetes",
            Method::Token => "token",
        };
        self.mount.as_deref().map_or(own, |mount| mount.trim_matches('/'))
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let unfit = |text: &str| {
            text.trim_matches('/').is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let mount = self.mount.as_deref().is_some_and(unfit).then(|| {
            Mistake::new(
                "vault.auth.mount",
                "is empty or holds white space or unusual characters",
                "write where the method is mounted, such as \"kubernetes-eu\", or leave the key out",
            )
        });
        let needed = match self.method {
            Method::Approle => vec![
                missing(
                    "vault.auth.role_id",
                    self.role_id.as_deref().unwrap_or_default().is_empty(),
                    "write the AppRole's role id",
                ),
                missing(
                    "vault.auth.secret_id_file",
                    self.secret_id_file.is_none(),
                    "write the path of the file that holds the AppRole's secret id",
                ),
            ],
            Method::Kubernetes => vec![
                missing(
                    "vault.auth.role",
                    self.role.as_deref().unwrap_or_default().is_empty(),
                    "write the role of vault's kubernetes method",
                ),
                missing(
                    "vault.auth.jwt_file",
                    self.jwt_file.as_os_str().is_empty(),
                    "write the path of the file that holds the pod's token, or leave the key out",
                ),
            ],
            Method::Token => vec![missing(
                "vault.auth.token_file",
                self.token_file.is_none(),
                "write the path of the file that holds the Vault token",
            )],
        };
        mount.into_iter().chain(needed.into_iter().flatten()).collect()
    }
}

fn missing(key: &'static str, is_missing: bool, fix: &str) -> Option<Mistake> {
    is_missing.then(|| Mistake::new(key, "is missing", fix))
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Config {
        Config { poll_interval: Duration::from_secs(10), file: None, env: None, vault: None }
    }

    fn vault(address: &str) -> Vault {
        Vault {
            address: address.into(),
            mount: "secret".into(),
            path: "genesys/tieline".into(),
            ca_file: None,
            allow_insecure: false,
            namespace: None,
            auth: Auth {
                method: Method::Approle,
                mount: None,
                role_id: Some("role".into()),
                secret_id_file: Some("/run/secret-id".into()),
                role: None,
                jwt_file: "/run/jwt".into(),
                token_file: None,
            },
        }
    }

    fn keys(config: &Config) -> Vec<&'static str> {
        config.mistakes().iter().map(|mistake| mistake.key).collect()
    }

    #[test]
    fn exactly_one_source_is_wanted() {
        assert_eq!(keys(&nothing()), ["file"]);
        let file = Some(File { path: "/run/secret".into() });
        let one = Config { file: file.clone(), ..nothing() };
        assert!(keys(&one).is_empty());
        let two = Config { env: Some(Env { variable: "SECRET".into() }), ..one };
        assert_eq!(keys(&two), ["file"]);
    }

    #[test]
    fn plain_http_to_vault_is_for_loopback_only() {
        for (address, fine) in [
            ("https://vault.example.com:8200", true),
            ("http://127.0.0.1:8200", true),
            ("http://[::1]:8200", true),
            ("http://localhost:8200", true),
            ("http://vault.example.com:8200", false),
            ("http://127.0.0.1.example.com", false),
            ("https://root:root@vault.example.com", false),
            ("vault.example.com:8200", false),
            ("ftp://vault.example.com", false),
        ] {
            let mistake = vault(address).address_mistake();
            assert_eq!(mistake.is_none(), fine, "{address}: {mistake:?}");
        }
    }

    #[test]
    fn each_login_says_what_it_needs() {
        let mut config = vault("https://vault");
        assert!(config.mistakes().is_empty());
        config.auth.role_id = None;
        config.auth.secret_id_file = None;
        config.path = "/".into();
        let whole = Config { vault: Some(config.clone()), ..nothing() };
        assert_eq!(keys(&whole), ["vault.path", "vault.auth.role_id", "vault.auth.secret_id_file"]);
        config.auth.method = Method::Token;
        let whole = Config { vault: Some(config.clone()), ..nothing() };
        assert_eq!(keys(&whole), ["vault.path", "vault.auth.token_file"]);
        config.auth.method = Method::Kubernetes;
        config.auth.mount = Some("/".into());
        let whole = Config { vault: Some(config.clone()), ..nothing() };
        assert_eq!(keys(&whole), ["vault.path", "vault.auth.mount", "vault.auth.role"]);
        config.auth.mount = Some("/kubernetes/eu/".into());
        assert_eq!(config.auth.mount(), "kubernetes/eu");
    }
}
