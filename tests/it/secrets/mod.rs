//! `secret` against files, and against a real OpenBao through rotations, outages and refusals.

pub mod bao;
mod entrance;
mod files;
pub mod orders;
mod variable;

use crate::logs::Logs;
use crate::servers::Server;
use bao::Bao;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tieline::clock::Clock;
use tieline::genesys::tls;
use tieline::observation::Observation;
use tieline::secret::{Auth, Config, Credentials, File, Method, Secrets, Vault};
use tieline::time::Time;
use tieline_sim::Sim;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The slowest thing waited for is a server that comes back.
const DEADLINE: Duration = Duration::from_secs(60);

/// So long that only `newest` looks.
const NEVER: Duration = Duration::from_secs(3600);

const OFTEN: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_renamed_file_is_seen_and_a_missing_one_keeps_the_last_secret() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("secret");
    replace(&path, "one\n");
    let mut watched = watch_file(&path);
    let first = watched.newest().await;
    assert_eq!(first.client_secret.expose_secret(), "one");
    assert_eq!((first.client_id, first.version), (None, 1));

    replace(&path, r#"{"client_id":"me","client_secret":"two"}"#);
    watched.changed(2).await;
    let second = watched.newest().await;
    assert_eq!(second.client_secret.expose_secret(), "two");
    assert_eq!(second.client_id.as_deref(), Some("me"));

    std::fs::remove_file(&path).expect("removed");
    let detail = watched.failed().await;
    assert!(detail.contains("cannot be read"), "{detail}");
    assert_eq!(watched.newest().await.version, 2, "the last good one");
    replace(&path, "three");
    watched.recovered().await;
    watched.changed(3).await;
}

#[tokio::test]
async fn a_swapped_symlink_is_seen() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (name, secret) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(at(name)).expect("a folder");
        std::fs::write(at(name).join("secret"), secret).expect("written");
    }
    // As Kubernetes mounts a secret: a link to a file behind a link to the folder of the day.
    symlink("v1", at("..data")).expect("a link");
    symlink("..data/secret", at("secret")).expect("a link");
    let watched = watch_file(&at("secret"));
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "one");
    symlink("v2", at("..new")).expect("a link");
    std::fs::rename(at("..new"), at("..data")).expect("renamed");
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "two");
}

#[tokio::test]
async fn a_rotation_in_vault_is_seen_by_polling() {
    let vault = Bao::shared("rotation").await;
    vault.write("one").await;
    let watched = vault.watch(OFTEN).await;
    let first = watched.newest().await;
    assert_eq!(first.client_secret.expose_secret(), "one");
    assert_eq!(first.client_id.as_deref(), Some("client"));
    vault.write("two").await;
    watched.changed(2).await;
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "two");
}

#[tokio::test]
async fn after_a_refusal_by_genesys_vault_is_asked_at_once() {
    let vault = Bao::shared("hurry").await;
    vault.write("one").await;
    let watched = vault.watch(NEVER).await;
    watched.changed(1).await;
    watched.secrets.hurry();
    vault.write("two").await;
    watched.changed(2).await;
}

#[tokio::test]
async fn a_token_file_logs_in_and_its_change_is_taken_up() {
    let vault = Bao::shared("token").await;
    vault.write("one").await;
    let create = json!({"policies": ["token"], "ttl": "1h"});
    let first = vault.post("auth/token/create", create.clone()).await;
    let first = first["auth"]["client_token"].as_str().expect("a token");
    let mut config = vault.config(OFTEN).await;
    let file = vault.folder.path().join("token");
    replace(&file, &format!("{first}\n"));
    let auth = &mut config.vault.as_mut().expect("vault").auth;
    auth.method = Method::Token;
    auth.token_file = Some(file.clone());
    let mut watched = watch(&config);
    assert_eq!(watched.newest().await.version, 1);

    vault.post("auth/token/revoke", json!({"token": first})).await;
    let detail = watched.failed().await;
    assert!(detail.contains("does not know the token"), "{detail}");
    let second = vault.post("auth/token/create", create).await;
    let second = second["auth"]["client_token"].as_str().expect("a token");
    replace(&file, second);
    watched.recovered().await;
    vault.write("two").await;
    watched.changed(2).await;
}

#[tokio::test]
async fn a_deleted_version_keeps_the_last_secret_and_an_undeleted_one_is_fresh() {
    let vault = Bao::shared("deleted").await;
    vault.write("one").await;
    let mut watched = vault.watch(NEVER).await;
    assert_eq!(watched.newest().await.version, 1);
    vault.write("two").await;
    let versions = json!({"versions": [2]});
    vault.post("secret/delete/deleted", versions.clone()).await;
    let held = watched.newest().await;
    assert_eq!(held.client_secret.expose_secret(), "one");
    let detail = watched.failed().await;
    assert!(detail.contains("version 2 of secret/deleted is deleted"), "{detail}");

    vault.post("secret/undelete/deleted", versions.clone()).await;
    let fresh = watched.newest().await;
    assert_eq!(fresh.client_secret.expose_secret(), "two");
    assert_eq!(fresh.version, 2);
    watched.recovered().await;

    vault.post("secret/delete/deleted", versions.clone()).await;
    assert_eq!(watched.newest().await.version, 2);
    vault.post("secret/undelete/deleted", versions).await;
    assert_eq!(watched.newest().await.version, 2, "it is the same secret");
}

#[tokio::test]
async fn an_entry_that_is_destroyed_and_written_anew_is_fresh() {
    let vault = Bao::shared("anew").await;
    vault.write("one").await;
    let watched = vault.watch(NEVER).await;
    assert_eq!(watched.newest().await.version, 1);
    vault.call(reqwest::Method::DELETE, "secret/metadata/anew", Value::Null).await;
    vault.write("two").await;
    let fresh = watched.newest().await;
    assert_eq!(fresh.client_secret.expose_secret(), "two");
}

#[tokio::test]
async fn a_withdrawn_policy_is_told_after_one_login_and_forgiven() {
    let vault = Bao::shared("policy").await;
    vault.write("one").await;
    let mut watched = vault.watch(OFTEN).await;
    assert_eq!(watched.newest().await.version, 1);
    vault.policy(r#"path "secret/data/other" { capabilities = ["read"] }"#).await;
    let detail = watched.failed().await;
    assert!(detail.contains("the policy must allow read"), "{detail}");
    assert!(detail.contains("403"), "{detail}");
    for _ in 0..5 {
        assert_eq!(watched.newest().await.version, 1);
    }
    let logins = vault.logins().await;
    assert!(logins <= 2, "{logins} tokens of the role");
    vault.allow().await;
    watched.recovered().await;
}

#[tokio::test]
async fn a_spent_secret_id_is_not_shown_again_until_its_file_changes() {
    let vault = Bao::shared("spent").await;
    vault.write("one").await;
    vault.role(json!({"secret_id_num_uses": 1})).await;
    let mut watched = vault.watch(OFTEN).await;
    assert_eq!(watched.newest().await.version, 1);
    vault.revoke_logins().await;
    let detail = watched.failed().await;
    assert!(detail.contains("400"), "{detail}");
    // Five refusals would lock the role even for a good secret id.
    for _ in 0..10 {
        assert_eq!(watched.newest().await.version, 1);
    }
    vault.write("two").await;
    vault.new_secret_id().await;
    watched.changed(2).await;
    watched.recovered().await;
}

#[tokio::test]
async fn a_token_at_its_longest_life_is_replaced_without_a_failure() {
    let vault = Bao::shared("short").await;
    vault.write("0").await;
    // Renewed once at the most; so long that a busy machine does not let it end between two looks.
    vault.role(json!({"token_ttl": "6s", "token_max_ttl": "8s"})).await;
    let mut watched = vault.watch(OFTEN).await;
    let mut version = 1;
    let mut tokens = BTreeSet::new();
    while tokens.len() < 2 {
        watched.changed(version).await;
        version += 1;
        vault.write(&version.to_string()).await;
        tokens.extend(vault.leases().await);
    }
    while let Ok(told) = watched.observations.try_recv() {
        assert!(matches!(told, Observation::SecretSeen { .. }), "{told:?}");
    }
}

#[tokio::test]
async fn a_sealed_vault_and_a_dead_one_keep_the_last_secret() {
    let mut server = Server::start("openbao", &[]);
    let vault = Bao::at(&server, "outage").await;
    vault.write("one").await;
    let mut watched = vault.watch(OFTEN).await;
    assert_eq!(watched.newest().await.version, 1);

    vault.call(reqwest::Method::PUT, "sys/seal", Value::Null).await;
    let detail = watched.failed().await;
    assert!(detail.contains("503"), "{detail}");
    assert_eq!(watched.newest().await.version, 1);
    let key = json!({"key": server.field("unseal_key")});
    vault.call(reqwest::Method::PUT, "sys/unseal", key).await;
    watched.recovered().await;

    server.kill();
    let detail = watched.failed().await;
    assert!(detail.contains("error sending request"), "{detail}");
    assert_eq!(watched.newest().await.version, 1);
    server.restart();
    watched.recovered().await;
    vault.write("two").await;
    watched.changed(2).await;

    server.signal("STOP");
    let mut shortest = DEADLINE;
    for _ in 0..5 {
        let clock = Clock::start();
        assert_eq!(watched.newest().await.version, 2, "the last good one");
        shortest = shortest.min(clock.now().since(Time::START));
        // One is enough: on a busy machine any may take longer.
        if shortest < Duration::from_secs(4) {
            break;
        }
    }
    assert!(shortest < Duration::from_secs(4), "{shortest:?}, and 2 s are waited for it");
    server.signal("CONT");
}

#[tokio::test]
async fn nothing_that_opens_vault_is_logged_at_any_level() {
    let vault = Bao::shared("logged").await;
    vault.write("hunter2").await;
    let config = vault.config(NEVER).await;
    let logs = Logs::catch();
    let mut watched = watch(&config);
    assert_eq!(watched.newest().await.version, 1);
    replace(&vault.folder.path().join("secret-id"), "hunter3");
    vault.revoke_logins().await;
    assert_eq!(watched.newest().await.version, 1);
    watched.failed().await;
    logs.hold_none_of(&["hunter2", "hunter3"]);
}

#[tokio::test]
async fn a_source_that_never_answered_is_an_error_in_words() {
    let folder = TempDir::new().expect("a folder");
    let mut config = approle(folder.path(), "http://127.0.0.1:1", "role", NEVER);
    let watched = watch(&config);
    let error = watched.secrets.newest().await.expect_err("no secret id");
    assert!(error.to_string().contains("secret-id cannot be read"), "{error}");
    replace(&folder.path().join("secret-id"), "x");
    let error = watched.secrets.newest().await.expect_err("nobody there");
    assert!(error.to_string().contains("(vault)"), "{error}");

    let broken = config.vault.as_mut().expect("vault");
    broken.ca_file = Some(folder.path().join("secret-id"));
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (observe, _) = mpsc::channel(1);
    let error = Secrets::start(&config, Clock::start(), observe, &tracker, cancel);
    let error = error.expect_err("not PEM").to_string();
    assert!(error.contains("holds no PEM certificates"), "{error}");
}

/// The environment may say what it likes: run again by the test below, with a variable that would switch vaultrs's checks off.
#[tokio::test]
async fn vault_over_tls_is_verified() {
    let folder = TempDir::new().expect("a folder");
    let (tls, ca) = crate::platform::certificate(&folder);
    let options =
        tieline_sim::Options { tls: Some(tls), rate: 0.0, ..tieline_sim::Options::default() };
    let not_vault = Sim::start(options).await.expect("a simulator");
    replace(&folder.path().join("secret-id"), "x");
    let mut config = approle(folder.path(), not_vault.api_url(), "role", NEVER);
    let error = watch(&config).secrets.newest().await.expect_err("unknown authority");
    assert!(error.to_string().contains("certificate"), "{error}");
    config.vault.as_mut().expect("vault").ca_file = Some(ca);
    let error = watch(&config).secrets.newest().await.expect_err("not vault");
    assert!(error.to_string().contains("answered 404"), "{error}");
}

#[test]
fn the_environment_cannot_switch_verification_off() {
    let this = std::env::current_exe().expect("this program");
    for value in ["", "true", "1"] {
        let run = std::process::Command::new(&this)
            .args(["--exact", "secrets::vault_over_tls_is_verified"])
            .env("VAULT_SKIP_VERIFY", value)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }
}

/// Written beside and renamed, so that no half is ever read.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, path).expect("renamed");
}

fn watch_file(path: &Path) -> Watched {
    watch(&Config {
        poll_interval: NEVER,
        file: Some(File { path: path.to_owned() }),
        env: None,
        vault: None,
    })
}

fn approle(folder: &Path, address: &str, role_id: &str, poll_interval: Duration) -> Config {
    Config {
        poll_interval,
        file: None,
        env: None,
        vault: Some(Vault {
            address: address.to_owned(),
            mount: "secret".to_owned(),
            path: "nothing".to_owned(),
            ca_file: None,
            allow_insecure: false,
            namespace: None,
            auth: Auth {
                method: Method::Approle,
                mount: None,
                role_id: Some(role_id.to_owned()),
                secret_id_file: Some(folder.join("secret-id")),
                role: None,
                jwt_file: folder.join("jwt"),
                token_file: None,
            },
        }),
    }
}

/// A watched source and what was told about it.
pub struct Watched {
    secrets: Secrets,
    observations: mpsc::Receiver<Observation>,
    _end: DropGuard,
}

fn watch(config: &Config) -> Watched {
    tls::install_provider();
    let (observe, observations) = mpsc::channel(256);
    let cancel = CancellationToken::new();
    let clock = Clock::start();
    let secrets = Secrets::start(config, clock, observe, &TaskTracker::new(), cancel.clone());
    Watched { secrets: secrets.expect("secrets"), observations, _end: cancel.drop_guard() }
}

impl Watched {
    async fn newest(&self) -> Credentials {
        self.secrets.newest().await.expect("credentials")
    }

    async fn changed(&self, version: u64) {
        let mut changes = self.secrets.changes();
        let changed = changes.wait_for(|now| *now >= version);
        let changed = tokio::time::timeout(DEADLINE, changed).await;
        assert_eq!(*changed.expect("in time").expect("a keeper"), version);
    }

    async fn failed(&mut self) -> String {
        self.told(|told| {
            let Observation::SecretSourceFailed { detail, .. } = told else {
                return None;
            };
            Some(detail)
        })
        .await
    }

    async fn recovered(&mut self) {
        self.told(|told| matches!(told, Observation::SecretSourceRecovered { .. }).then_some(()))
            .await;
    }

    async fn told<T>(&mut self, wanted: impl Fn(Observation) -> Option<T>) -> T {
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                let told = self.observations.recv().await.expect("a keeper");
                if let Some(found) = wanted(told) {
                    return found;
                }
            }
        });
        found.await.expect("in time")
    }
}
