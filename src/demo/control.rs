//! The two HTTP doors of a run: the simulator's controls, and the bridge's pages for operators.

use super::oracle::Claim;
use anyhow::Context;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tieline_sim::journal::Journal;

/// A long run's journal is hundreds of megabytes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks both.
#[derive(Clone, Debug)]
pub(super) struct Control {
    http: reqwest::Client,
    sim: String,
    bridge: String,
}

/// The simulator in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SimState {
    /// How many notifications it has made.
    pub(super) emitted: u64,
    /// The serial numbers of the sockets that are open.
    pub(super) open: BTreeSet<u64>,
}

impl Control {
    /// For a simulator at `sim`, such as `http://127.0.0.1:8080`, and a bridge whose doors are at `admin`.
    pub(super) fn new(sim: &str, admin: SocketAddr) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Ok(Self {
            http: http.build().context("cannot make an HTTP client")?,
            sim: sim.to_owned(),
            bridge: format!("http://{admin}"),
        })
    }

    /// A control call that answers nothing of interest.
    pub(super) async fn order(&self, call: &str, body: &Value) -> anyhow::Result<()> {
        self.post::<Value>(call, body).await.map(drop)
    }

    /// Regenerates the client secret, as an administrator would, and answers the new one.
    pub(super) async fn rotate(&self) -> anyhow::Result<SecretString> {
        #[derive(Deserialize)]
        struct Rotated {
            client_secret: SecretString,
        }
        let rotated: Rotated = self.post("rotate", &Value::Object(Default::default())).await?;
        Ok(rotated.client_secret)
    }

    /// The simulator in short.
    pub(super) async fn state(&self) -> anyhow::Result<SimState> {
        #[derive(Deserialize)]
        struct State {
            emitted: u64,
            channels: Vec<Channel>,
        }
        #[derive(Deserialize)]
        struct Channel {
            session: Option<u64>,
        }
        let state: State = self.get(&format!("{}/sim/state", self.sim)).await?;
        Ok(SimState {
            emitted: state.emitted,
            open: state.channels.into_iter().filter_map(|channel| channel.session).collect(),
        })
    }

    /// All that the simulator did.
    pub(super) async fn journal(&self) -> anyhow::Result<Journal> {
        self.get(&format!("{}/sim/journal", self.sim)).await
    }

    /// All gaps that the bridge names.
    pub(super) async fn gaps(&self) -> anyhow::Result<Vec<Claim>> {
        #[derive(Deserialize)]
        struct Gaps {
            total: usize,
            open: Vec<Claim>,
            recent: Vec<Claim>,
        }
        let mut gaps: Gaps = self.get(&format!("{}/api/v1/gaps?limit=1000", self.bridge)).await?;
        gaps.open.append(&mut gaps.recent);
        gaps.open.sort_by_key(|gap| gap.number);
        let named = gaps.open.len();
        anyhow::ensure!(named == gaps.total, "the bridge names {named} of {} gaps", gaps.total);
        Ok(gaps.open)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> anyhow::Result<T> {
        answer(self.http.get(url), url).await
    }

    async fn post<T: DeserializeOwned>(&self, call: &str, body: &Value) -> anyhow::Result<T> {
        let url = format!("{}/sim/{call}", self.sim);
        answer(self.http.post(&url).json(body), &url).await
    }
}

async fn answer<T: DeserializeOwned>(
    request: reqwest::RequestBuilder,
    url: &str,
) -> anyhow::Result<T> {
    let response = request.send().await.and_then(reqwest::Response::error_for_status);
    let body = response.with_context(|| format!("no answer from {url}"))?.bytes().await?;
    serde_json::from_slice(&body).with_context(|| format!("cannot read the answer of {url}"))
}
