//! A real OpenBao as an administrator sees it: entries, policies, roles, tokens.

use crate::servers::{Server, shared};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tieline::genesys::tls;
use tieline::secret::Config;

use super::{Watched, approle, replace, watch};

/// Where AppRole is mounted if nothing else is said.
const APPROLE: &str = "approle";

/// An entry of a real OpenBao, with a policy and an AppRole of the same name.
///
/// Nobody asks about another's token: who looks one up before its lease is written ends it (it has none, and ought to). So on the server
/// that tests share each has a mount of its own, by which its leases are told from the others'.
pub struct Bao {
    name: &'static str,
    /// Where AppRole is mounted.
    pub mount: String,
    address: String,
    root: String,
    namespace: Option<&'static str>,
    http: reqwest::Client,
    pub folder: TempDir,
}

impl Bao {
    pub async fn shared(name: &'static str) -> Self {
        let mount = format!("approle-{name}");
        let vault = Self { mount, ..Self::found(shared("openbao"), name) };
        vault.furnish().await;
        vault
    }

    pub async fn at(server: &Server, name: &'static str) -> Self {
        let vault = Self::found(server, name);
        vault.furnish().await;
        vault
    }

    /// The same in a namespace of the entry's name, with an engine of its own.
    pub async fn within_namespace(name: &'static str) -> Self {
        let mut vault = Self::found(shared("openbao"), name);
        // Outside there is a mount of the same name, which knows nothing of the role.
        vault.mount_approle().await;
        vault.post(&format!("sys/namespaces/{name}"), json!({})).await;
        vault.namespace = Some(name);
        let engine = json!({"type": "kv", "options": {"version": "2"}});
        vault.post("sys/mounts/secret", engine).await;
        vault.furnish().await;
        vault
    }

    fn found(server: &Server, name: &'static str) -> Self {
        tls::install_provider();
        Self {
            name,
            mount: APPROLE.to_owned(),
            address: server.field("address"),
            root: server.field("root_token"),
            namespace: None,
            http: reqwest::Client::new(),
            folder: TempDir::new().expect("a folder"),
        }
    }

    async fn mount_approle(&self) {
        self.post(&format!("sys/auth/{}", self.mount), json!({"type": "approle"})).await;
    }

    async fn furnish(&self) {
        self.mount_approle().await;
        self.allow().await;
        self.role(json!({"token_ttl": "1h"})).await;
    }

    /// Writes the role anew; what is left out stays as it was.
    pub async fn role(&self, mut role: Value) {
        role["token_policies"] = json!([self.name]);
        self.post(&format!("auth/{}/role/{}", self.mount, self.name), role).await;
    }

    pub async fn watch(&self, poll_interval: Duration) -> Watched {
        watch(&self.config(poll_interval).await)
    }

    pub async fn config(&self, poll_interval: Duration) -> Config {
        self.new_secret_id().await;
        let role = self.role_id().await;
        let mut config = approle(self.folder.path(), &self.address, &role, poll_interval);
        let vault = config.vault.as_mut().expect("vault");
        vault.namespace = self.namespace.map(str::to_owned);
        vault.auth.mount = Some(self.mount.clone()).filter(|mount| mount != APPROLE);
        (vault.mount, vault.path) = ("secret/".to_owned(), format!("/{}", self.name));
        config
    }

    /// The role's own id.
    pub async fn role_id(&self) -> String {
        let role = format!("auth/{}/role/{}/role-id", self.mount, self.name);
        let role = self.call(reqwest::Method::GET, &role, Value::Null).await;
        role["data"]["role_id"].as_str().expect("a role id").to_owned()
    }

    pub async fn new_secret_id(&self) -> PathBuf {
        let path = format!("auth/{}/role/{}/secret-id", self.mount, self.name);
        let made = self.post(&path, json!({})).await;
        let secret_id = made["data"]["secret_id"].as_str().expect("a secret id");
        let file = self.folder.path().join("secret-id");
        replace(&file, &format!("{secret_id}\n"));
        file
    }

    pub async fn write(&self, secret: &str) {
        self.write_for("client", secret).await;
    }

    pub async fn write_for(&self, client: &str, secret: &str) {
        let data = json!({"data": {"client_id": client, "client_secret": secret}});
        self.post(&format!("secret/data/{}", self.name), data).await;
    }

    pub async fn allow(&self) {
        let name = self.name;
        let rules = ["data", "metadata"]
            .map(|part| format!(r#"path "secret/{part}/{name}" {{ capabilities = ["read"] }}"#));
        self.policy(&rules.join("\n")).await;
    }

    pub async fn policy(&self, rules: &str) {
        let path = format!("sys/policies/acl/{}", self.name);
        self.post(&path, json!({"policy": rules})).await;
    }

    /// The leases of the living tokens that the role has bought.
    pub async fn leases(&self) -> Vec<String> {
        let list = reqwest::Method::from_bytes(b"LIST").expect("a method");
        let path = format!("sys/leases/lookup/auth/{}/login", self.mount);
        let all = self.try_call(list, &path, Value::Null).await;
        let all = all["data"]["keys"].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub async fn logins(&self) -> usize {
        self.leases().await.len()
    }

    pub async fn revoke_logins(&self) {
        self.revoke_logins_at(&self.mount).await;
    }

    /// Ends every token that was bought there.
    pub async fn revoke_logins_at(&self, mount: &str) {
        let path = format!("sys/leases/revoke-prefix/auth/{mount}/login");
        self.post(&path, json!({"sync": true})).await;
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call(reqwest::Method::POST, path, body).await
    }

    pub async fn call(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let answer = self.try_call(method, path, body).await;
        assert_eq!(answer.get("errors"), None, "{path}: {answer}");
        answer
    }

    pub async fn try_call(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("{}/v1/{path}", self.address);
        let mut request = self.http.request(method, url).header("X-Vault-Token", &self.root);
        if let Some(namespace) = self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer").bytes().await;
        serde_json::from_slice(&answer.expect("a body")).unwrap_or_default()
    }
}
