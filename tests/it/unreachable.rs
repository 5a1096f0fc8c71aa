//! Hosts whose names nobody knows, and servers that nobody vouches for: each is waited for with back-off, `/readyz` says why, and
//! with `--fail-fast` the process ends with 69.

use crate::harness::{Bridge, Stand, eventually, quiet, tieline};
use crate::platform::certificate;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;
use tieline::genesys::tls::install_provider;
use tieline_sim::{Options, Sim};

/// Names below this never lead anywhere (RFC 6761).
const NOWHERE: &str = "nowhere.invalid";

/// Waits out a few attempts and checks what is said of them, and that another process ends where it is not to wait.
async fn is_waited_for(stand: &Stand, event: &str, reason: &str, words: &str) {
    let bridge = stand.start().await;
    waits(&bridge, event, reason, words).await;
    let log = bridge.finish(stand).await;
    assert_no_channel_is_told(&log, stand);
    let (code, log) = Bridge::launch(tieline(&stand.config, &["--fail-fast"])).ended().await;
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("--fail-fast") && log.contains(words), "{log}");
    assert_no_channel_is_told(&log, stand);
}

async fn waits(bridge: &Bridge, event: &str, reason: &str, words: &str) {
    bridge.unready(&[words]).await;
    let lines = [&format!("\"event\":\"{event}\""), &format!("\"reason\":\"{reason}\""), words];
    let attempts = bridge.lines(&lines, 3).await;
    let waits = |told: &Value| told["retry_in_seconds"].as_f64().unwrap();
    assert!(attempts.iter().all(|told| waits(told) > 0.0), "{attempts:?}");
    assert_eq!(bridge.get("/healthz").await, (200, json!({"alive": true})));
}

/// A channel that never had a socket is in the journal all the same; its name is most of its address.
fn assert_no_channel_is_told(log: &str, stand: &Stand) {
    for subscribed in stand.sim.journal().subscriptions {
        assert!(!log.contains(&subscribed.channel), "{log}");
    }
}

/// How many channels were made, as far as any was given topics.
fn channels(stand: &Stand) -> usize {
    let subscriptions = stand.sim.journal().subscriptions;
    subscriptions.iter().map(|one| &one.channel).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_host_without_a_name_is_waited_for() {
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("genesys.login_url", format!("http://login.{NOWHERE}"));
    is_waited_for(&stand, "token_refused", "dns", NOWHERE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_host_without_a_name_is_waited_for_whichever_call_is_the_first() {
    let mut stand = Stand::new(quiet()).await;
    stand.config.set("genesys.api_url", format!("http://api.{NOWHERE}"));
    is_waited_for(&stand, "plan_refused", "dns", NOWHERE).await;
    // Queues that are named by their ids need not be listed: then the client's channels are counted first.
    let ids: Vec<String> = stand.sim.queues().iter().map(|queue| queue.id.clone()).collect();
    stand.config.set("genesys.queues", ids);
    is_waited_for(&stand, "channels_refused", "dns", NOWHERE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_host_has_no_name_is_waited_for_on_one_channel() {
    let url = format!("http://streaming.{NOWHERE}");
    let stand = stand_told(Options { public_url: Some(url), ..quiet() }, None).await;
    is_waited_for(&stand, "retry_scheduled", "dns", NOWHERE).await;
    assert_eq!(channels(&stand), 1, "one for both processes and all attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_waited_for_until_it_is_the_right_one() {
    let (ours, strange) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (right, authority) = certificate(&ours);
    let (wrong, _) = certificate(&strange);
    let mut stand = stand_told(Options { tls: Some(wrong), ..quiet() }, Some(&authority)).await;
    is_waited_for(&stand, "token_refused", "tls", "certificate").await;

    let bridge = stand.start().await;
    waits(&bridge, "token_refused", "tls", "certificate").await;
    let options = Options {
        listen: stand.sim.address(),
        tls: Some(right),
        client_id: Some(stand.sim.client_id().to_owned()),
        client_secret: Some(stand.sim.client_secret().to_owned()),
        ..quiet()
    };
    let elsewhere = Sim::start(quiet()).await.unwrap();
    std::mem::replace(&mut stand.sim, elsewhere).stop().await;
    let up = eventually("the port is free again", async || Sim::start(options.clone()).await.ok());
    stand.sim = up.await;
    bridge.ready().await;
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_nobody_vouches_for_is_waited_for_on_one_channel() {
    let (ours, strange) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (right, authority) = certificate(&ours);
    let (wrong, _) = certificate(&strange);
    install_provider();
    let other = Sim::start(Options { tls: Some(wrong), ..quiet() }).await.unwrap();
    let told = Some(other.api_url().to_owned());
    let options = Options { tls: Some(right), public_url: told, ..quiet() };
    let stand = stand_told(options, Some(&authority)).await;
    is_waited_for(&stand, "retry_scheduled", "tls", "certificate").await;
    assert_eq!(channels(&stand), 1, "one for both processes and all attempts");
    assert!(other.journal().sessions.is_empty());
}

/// A process that finds login and API where they listen, and the socket where the simulator says.
async fn stand_told(options: Options, authority: Option<&Path>) -> Stand {
    install_provider();
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let sim = Sim::start(options).await.unwrap();
    let url = format!("{scheme}://{}", sim.address());
    let mut stand = Stand::of(sim, reqwest::Client::new());
    stand.config.set("genesys.login_url", url.clone());
    stand.config.set("genesys.api_url", url);
    if let Some(authority) = authority {
        stand.config.set("genesys.ca_file", authority.display().to_string());
    }
    stand
}
