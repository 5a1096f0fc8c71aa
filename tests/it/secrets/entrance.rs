//! Ways into a real OpenBao: Kubernetes, other mounts, namespaces, TLS with an authority of one's own, and a role that is locked.

use super::bao::Bao;
use super::{NEVER, OFTEN, replace, watch};
use crate::servers::Server;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tieline::observation::Observation;
use tieline::secret::{Config, Method};
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Kubernetes' TokenReview, which vouches for one token at a time.
struct Reviewer {
    good: Arc<Mutex<String>>,
    address: String,
    _serving: AbortOnDropHandle<()>,
}

impl Reviewer {
    async fn start() -> Self {
        let good = Arc::<Mutex<String>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let known = good.clone();
        let review = move |body: String| async move {
            let asked: Value = serde_json::from_str(&body).unwrap();
            let is_good = asked["spec"]["token"] == *known.lock().unwrap().as_str();
            let user = json!({
                "username": "system:serviceaccount:telephony:tieline",
                "uid": "7d1f0a52",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            });
            let status = match is_good {
                true => json!({"authenticated": true, "user": user, "audiences": ["vault"]}),
                false => json!({"authenticated": false, "error": "token is expired"}),
            };
            let answer = json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": status,
            });
            let kind = [("content-type", "application/json")];
            (StatusCode::CREATED, kind, answer.to_string())
        };
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let serving = axum::serve(listener, Router::new().route(path, post(review)));
        let serving = TaskTracker::new().spawn(async move { serving.await.unwrap() });
        Self { good, address, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Mounts the Kubernetes method, with this as its cluster.
    async fn introduce(&self, vault: &Bao, mount: &str) {
        vault.post(&format!("sys/auth/{mount}"), json!({"type": "kubernetes"})).await;
        // The authority is asked for also where the cluster is reached by plain http.
        let (_, ca) = crate::platform::certificate(&vault.folder);
        let cluster = json!({
            "kubernetes_host": self.address,
            "kubernetes_ca_cert": std::fs::read_to_string(ca).unwrap(),
            "token_reviewer_jwt": pod_token(0),
            "disable_local_ca_jwt": true,
        });
        vault.post(&format!("auth/{mount}/config"), cluster).await;
    }

    /// A pod's token, and the only one that is vouched for from now on.
    fn issue(&self, nth: u32) -> String {
        let token = pod_token(nth);
        self.good.lock().unwrap().clone_from(&token);
        token
    }
}

/// A token as Kubernetes issues them; nobody here looks at its signature, which only the reviewer could check.
fn pod_token(nth: u32) -> String {
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:telephony:tieline",
        "aud": ["vault"],
        "nbf": 1_700_000_000_u64,
        "exp": 4_102_444_800_u64,
        "jti": nth.to_string(),
        "kubernetes.io": {
            "namespace": "telephony",
            "serviceaccount": {"name": "tieline", "uid": "7d1f0a52"},
        },
    });
    let header = json!({"alg": "RS256", "kid": "one"});
    let part = |json: Value| base64(json.to_string().as_bytes());
    format!("{}.{}.{}", part(header), part(claims), base64(b"not a signature"))
}

/// Base 64 in the alphabet of URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let letters = (0..=chunk.len()).map(|nth| ALPHABET[(bits >> (18 - 6 * nth)) as usize & 63]);
        text.extend(letters.map(char::from));
    }
    text
}

#[tokio::test]
async fn a_pod_logs_in_with_its_token_which_is_read_again_each_time() {
    let vault = Bao::shared("pod").await;
    let reviewer = Reviewer::start().await;
    reviewer.introduce(&vault, "kubernetes-eu").await;
    let role = json!({
        "bound_service_account_names": ["tieline"],
        "bound_service_account_namespaces": ["telephony"],
        "token_policies": ["pod"],
        "token_ttl": "1h",
    });
    vault.post("auth/kubernetes-eu/role/pod", role).await;
    vault.write("one").await;

    let mut config = vault.config(OFTEN).await;
    let auth = &mut config.vault.as_mut().unwrap().auth;
    auth.method = Method::Kubernetes;
    auth.mount = Some("/kubernetes-eu/".to_owned());
    auth.role = Some("pod".to_owned());
    auth.role_id = None;
    auth.secret_id_file = None;
    replace(&auth.jwt_file, &reviewer.issue(1));
    let jwt_file = auth.jwt_file.clone();
    let mut watched = watch(&config);
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "one");

    // The kubelet has written a new token, and the old one is over.
    let second = reviewer.issue(2);
    vault.revoke_logins_at("kubernetes-eu").await;
    let detail = watched.failed().await;
    assert!(detail.contains("the login at auth/kubernetes-eu/login answered 403"), "{detail}");
    assert!(detail.contains("tried again in a minute or when"), "{detail}");
    assert_eq!(watched.newest().await.version, 1, "the last good one");
    replace(&jwt_file, &second);
    watched.recovered().await;
    vault.write("two").await;
    watched.changed(2).await;
}

#[tokio::test]
async fn a_role_that_is_not_there_turns_a_pod_away() {
    let vault = Bao::shared("no-pod").await;
    let reviewer = Reviewer::start().await;
    reviewer.introduce(&vault, "kubernetes-us").await;
    let mut config = vault.config(OFTEN).await;
    let auth = &mut config.vault.as_mut().unwrap().auth;
    auth.method = Method::Kubernetes;
    auth.mount = Some("kubernetes-us".to_owned());
    auth.role = Some("nobody".to_owned());
    replace(&auth.jwt_file, &reviewer.issue(1));
    let mut watched = watch(&config);
    let detail = watched.failed().await;
    assert!(detail.contains("the role or its bindings may be wrong"), "{detail}");
    let error = watched.secrets.newest().await.expect_err("no login").to_string();
    assert!(error.contains("within a minute or when its file changes"), "{error}");
}

#[tokio::test]
async fn an_approle_may_be_mounted_elsewhere() {
    let vault = Bao::shared("elsewhere").await;
    vault.write("one").await;
    vault.post("sys/auth/robots/night", json!({"type": "approle"})).await;
    let role = json!({"token_policies": ["elsewhere"], "role_id": "robot"});
    vault.post("auth/robots/night/role/robot", role).await;
    let made = vault.post("auth/robots/night/role/robot/secret-id", json!({})).await;
    let mut config = vault.config(NEVER).await;
    let auth = &mut config.vault.as_mut().unwrap().auth;
    replace(auth.secret_id_file.as_ref().unwrap(), made["data"]["secret_id"].as_str().unwrap());
    auth.mount = Some("robots/night".to_owned());
    auth.role_id = Some("robot".to_owned());
    let watched = watch(&config);
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "one");
}

#[tokio::test]
async fn a_namespace_has_its_own_login_and_its_own_entry() {
    let vault = Bao::within_namespace("branch").await;
    vault.write("inside").await;
    let mut config = vault.config(NEVER).await;
    let watched = watch(&config);
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "inside");
    // The same role and secret id mean nothing outside.
    config.vault.as_mut().unwrap().namespace = None;
    let detail = watch(&config).failed().await;
    assert!(detail.contains("the login at auth/approle/login answered 400"), "{detail}");
}

#[tokio::test]
async fn a_locked_role_is_left_alone_for_a_quarter_of_an_hour_even_when_it_is_unlocked() {
    let vault = Bao::shared("locked").await;
    vault.write("one").await;
    let config = vault.config(OFTEN).await;
    let wrong = json!({"role_id": vault.role_id().await, "secret_id": "wrong"});
    let login = format!("auth/{}/login", vault.mount);
    for _ in 0..5 {
        let refused = vault.try_call(reqwest::Method::POST, &login, wrong.clone());
        assert!(refused.await["errors"].is_array());
    }
    let mut watched = watch(&config);
    let detail = watched.failed().await;
    assert!(detail.contains("answered 403"), "{detail}");
    assert!(detail.contains("the role may be locked"), "{detail}");
    assert!(detail.contains("tried again within 16 minutes"), "{detail}");
    let locked = vault.call(reqwest::Method::GET, "sys/locked-users", Value::Null).await;
    let mounts = locked["data"]["by_namespace"][0]["mount_accessors"].as_array().unwrap().clone();
    for mount in mounts {
        let accessor = mount["mount_accessor"].as_str().unwrap();
        for alias in mount["alias_identifiers"].as_array().unwrap() {
            let alias = alias.as_str().unwrap();
            let unlock = format!("sys/locked-users/{accessor}/unlock/{alias}");
            vault.post(&unlock, json!({})).await;
        }
    }
    // Were it asked again, it would be let in.
    for _ in 0..3 {
        let error = watched.secrets.newest().await.expect_err("held").to_string();
        assert!(error.contains("within 16 minutes"), "{error}");
    }
    assert_eq!(vault.logins().await, 0);
}

#[tokio::test]
async fn a_login_that_cannot_be_renewed_is_told_while_the_old_one_still_serves() {
    let vault = Bao::shared("risk").await;
    vault.write("one").await;
    vault.role(json!({"secret_id_num_uses": 1, "token_ttl": "6s", "token_max_ttl": "6s"})).await;
    let mut watched = vault.watch(OFTEN).await;
    assert_eq!(watched.newest().await.version, 1);
    let detail = watched
        .told(|told| {
            assert!(!matches!(told, Observation::SecretSourceFailed { .. }), "{told:?}");
            let Observation::SecretSourceAtRisk { detail, .. } = told else {
                return None;
            };
            Some(detail)
        })
        .await;
    assert!(detail.contains("the secret id is spent or wrong"), "{detail}");
    vault.write("two").await;
    watched.changed(2).await;
    let detail = watched.failed().await;
    assert!(detail.contains("vault refused the secret id"), "{detail}");
    vault.new_secret_id().await;
    watched.recovered().await;
}

/// An OpenBao that also speaks TLS, and what opens its entry there.
async fn over_tls(folder: &TempDir) -> (Server, Config) {
    let (_, ca) = crate::platform::certificate(folder);
    let at = folder.path().display().to_string();
    let server = Server::start("openbao", &["--tls", &at]);
    let vault = Bao::at(&server, "tls").await;
    vault.write("one").await;
    let mut config = vault.config(Duration::from_secs(10)).await;
    let own = config.vault.as_mut().unwrap();
    own.address = format!("https://127.0.0.1:{}", server.field("tls_port"));
    own.ca_file = Some(ca);
    let kept = folder.path().join("secret-id");
    std::fs::copy(own.auth.secret_id_file.as_ref().unwrap(), &kept).unwrap();
    own.auth.secret_id_file = Some(kept);
    (server, config)
}

/// Run again by the test below, in an environment that speaks of another Vault.
#[tokio::test]
async fn vault_is_trusted_by_its_own_authority_alone() {
    let folder = TempDir::new().unwrap();
    let (_server, mut config) = over_tls(&folder).await;
    let watched = watch(&config);
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "one");
    config.vault.as_mut().unwrap().ca_file = None;
    let error = watch(&config).secrets.newest().await.expect_err("unknown").to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn the_environment_of_vaults_own_tools_changes_nothing() {
    let this = std::env::current_exe().unwrap();
    let run = std::process::Command::new(&this)
        .args(["--exact", "secrets::entrance::vault_is_trusted_by_its_own_authority_alone"])
        .envs([
            ("VAULT_SKIP_VERIFY", "true"),
            ("VAULT_ADDR", "http://127.0.0.1:1"),
            ("VAULT_TOKEN", "hunter2"),
            ("VAULT_NAMESPACE", "elsewhere"),
            ("VAULT_CACERT", "/nowhere/ca.pem"),
            ("VAULT_CAPATH", "/nowhere"),
            ("VAULT_CLIENT_CERT", "/nowhere/cert.pem"),
            ("VAULT_CLIENT_KEY", "/nowhere/key.pem"),
            ("VAULT_TLS_SERVER_NAME", "elsewhere.example"),
            ("VAULT_PROXY_ADDR", "http://127.0.0.1:1"),
            ("VAULT_HTTP_PROXY", "http://127.0.0.1:1"),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}
