//! The `[admin]` table, and what cannot work in it.

use crate::mistake::Mistake;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The `[admin]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; loopback unless told otherwise. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file with the token that data is shown for.
    pub token_file: Option<PathBuf>,
    /// The file with the certificate chain (PEM); goes with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// The file with the certificate's key (PEM).
    pub tls_key: Option<PathBuf>,
    /// Names, besides localhost and addresses, under which the doors may be asked.
    pub hosts: Vec<String>,
    /// Whether the network may see the doors without token or TLS.
    pub allow_insecure: bool,
}

impl Config {
    /// Whether only this machine can reach the doors.
    pub fn is_local(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// What the network could do for want of a key: see everything, or hear it on its way.
    pub fn is_open(&self) -> bool {
        !self.is_local() && (self.token_file.is_none() || self.tls_cert.is_none())
    }

    /// What cannot work.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            let key = if self.tls_cert.is_some() { "tls_key" } else { "tls_cert" };
            let fix = "name both files: admin.tls_cert and admin.tls_key";
            mistakes.push(Mistake::new(key, "is missing", fix));
        }
        if self.is_open() && !self.allow_insecure {
            mistakes.extend(self.unguarded());
        }
        for host in &self.hosts {
            if host.is_empty() || host.contains(['/', ' ', '*']) {
                let fix = "write names alone, such as \"tieline.example.com\"";
                mistakes.push(Mistake::new("hosts", format!("has no name in {host:?}"), fix));
            }
        }
        mistakes
    }

    fn unguarded(&self) -> Vec<Mistake> {
        let open = "is missing, and admin.listen is open to the network";
        let else_ =
            "or set admin.allow_insecure = true where the network itself keeps strangers out";
        let mut mistakes = Vec::new();
        if self.token_file.is_none() {
            let fix = format!("name a file with a token, made by openssl rand -hex 32; {else_}");
            mistakes.push(Mistake::new("token_file", open, fix));
        }
        if self.tls_cert.is_none() && self.tls_key.is_none() {
            let fix = format!("name a certificate and its key; {else_}");
            mistakes.push(Mistake::new("tls_cert", open, fix));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> Config {
        Config {
            listen: listen.parse().unwrap(),
            token_file: None,
            tls_cert: None,
            tls_key: None,
            hosts: Vec::new(),
            allow_insecure: false,
        }
    }

    fn keys(config: &Config) -> Vec<&'static str> {
        config.mistakes().iter().map(|mistake| mistake.key).collect()
    }

    #[test]
    fn loopback_needs_no_key() {
        for listen in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(config(listen).mistakes().is_empty(), "{listen}");
        }
    }

    #[test]
    fn the_network_needs_both_keys_or_an_explicit_word() {
        for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            let mut config = config(listen);
            assert_eq!(keys(&config), ["token_file", "tls_cert"]);
            config.token_file = Some("token".into());
            assert_eq!(keys(&config), ["tls_cert"]);
            (config.tls_cert, config.tls_key) = (Some("cert".into()), Some("key".into()));
            assert!(config.mistakes().is_empty());
            config.token_file = None;
            assert_eq!(keys(&config), ["token_file"]);
            config.allow_insecure = true;
            assert!(config.mistakes().is_empty());
        }
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let mut config = config("127.0.0.1:1");
        config.tls_cert = Some("cert".into());
        assert_eq!(keys(&config), ["tls_key"]);
        (config.tls_cert, config.tls_key) = (None, Some("key".into()));
        assert_eq!(keys(&config), ["tls_cert"]);
    }

    #[test]
    fn a_host_is_a_name_alone() {
        let mut config = config("127.0.0.1:1");
        config.hosts = vec!["tieline.example.com".into(), "https://x".into(), "*.x".into()];
        assert_eq!(keys(&config), ["hosts", "hosts"]);
    }
}
