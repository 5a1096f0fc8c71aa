//! A real OpenBao as an administrator sees it: entries, policies, roles, tokens.

use crate::servers::{Server, shared};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tieline::genesys::tls;
use tieline::secret::Config;

use super::{Watched, approle, replace, watch};

/// An entry of a real OpenBao, with a policy and an AppRole of the same name.
pub struct Bao {
    name: &'static str,
    address: String,
    root: String,
    namespace: Option<&'static str>,
    http: reqwest::Client,
    pub folder: TempDir,
}

impl Bao {
    pub async fn shared(name: &'static str) -> Self {
        Self::at(shared("openbao"), name).await
    }

    pub async fn at(server: &Server, name: &'static str) -> Self {
        let vault = Self::found(server, name);
        vault.furnish().await;
        vault
    }

    /// The same in a namespace of the entry's name, with an engine of its own.
    pub async fn within_namespace(name: &'static str) -> Self {
        let mut vault = Self::found(shared("openbao"), name);
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
            address: server.field("address"),
            root: server.field("root_token"),
            namespace: None,
            http: reqwest::Client::new(),
            folder: TempDir::new().expect("a folder"),
        }
    }

    async fn furnish(&self) {
        // Another test may have been first.
        let enable = json!({"type": "approle"});
        self.try_call(reqwest::Method::POST, "sys/auth/approle", enable).await;
        self.allow().await;
        self.role(json!({"token_ttl": "1h"})).await;
    }

    /// Writes the role anew; what is left out stays as it was.
    pub async fn role(&self, mut role: Value) {
        role["token_policies"] = json!([self.name]);
        self.post(&format!("auth/approle/role/{}", self.name), role).await;
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
        (vault.mount, vault.path) = ("secret/".to_owned(), format!("/{}", self.name));
        config
    }

    /// The role's own id.
    pub async fn role_id(&self) -> String {
        let role = format!("auth/approle/role/{}/role-id", self.name);
        let role = self.call(reqwest::Method::GET, &role, Value::Null).await;
        role["data"]["role_id"].as_str().expect("a role id").to_owned()
    }

    pub async fn new_secret_id(&self) -> PathBuf {
        let path = format!("auth/approle/role/{}/secret-id", self.name);
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

    /// The accessors of the living tokens that the role has bought.
    pub async fn accessors(&self) -> Vec<String> {
        let list = reqwest::Method::from_bytes(b"LIST").expect("a method");
        let all = self.call(list, "auth/token/accessors", Value::Null).await;
        let mut own = Vec::new();
        for accessor in all["data"]["keys"].as_array().into_iter().flatten() {
            let asked = json!({"accessor": accessor});
            // Tokens of other tests may end meanwhile.
            let post = reqwest::Method::POST;
            let found = self.try_call(post, "auth/token/lookup-accessor", asked).await;
            if found["data"]["meta"]["role_name"] == self.name {
                own.extend(accessor.as_str().map(str::to_owned));
            }
        }
        own
    }

    pub async fn logins(&self) -> usize {
        self.accessors().await.len()
    }

    pub async fn revoke_logins(&self) {
        for accessor in self.accessors().await {
            let asked = json!({"accessor": accessor});
            self.post("auth/token/revoke-accessor", asked).await;
        }
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
