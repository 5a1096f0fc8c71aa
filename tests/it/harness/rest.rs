//! The platform's own answers, asked for by the test itself with a token of its own.

use super::Stand;
use serde_json::Value;

/// REST as a third party uses it, past the process that is tested.
pub struct Rest {
    http: reqwest::Client,
    api: String,
    token: String,
}

impl Rest {
    pub async fn of(stand: &Stand) -> Self {
        let (http, api) = (reqwest::Client::new(), stand.sim.api_url().to_owned());
        let request = http
            .post(format!("{api}/oauth/token"))
            .basic_auth(stand.sim.client_id(), Some(stand.sim.client_secret()))
            .form(&[("grant_type", "client_credentials")]);
        let text = request.send().await.unwrap().bytes().await.unwrap();
        let reply: Value = serde_json::from_slice(&text).unwrap();
        let token = reply["access_token"].as_str().unwrap().to_owned();
        Self { http, api, token }
    }

    /// What is behind `/api/v2/`.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(self.http.post(self.url(path)).json(body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v2/{path}", self.api)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        let reply = request.bearer_auth(&self.token).send().await.unwrap();
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    }
}
