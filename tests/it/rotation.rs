//! Planned changes of the real process under traffic: whatever is rotated, in whatever order, costs nothing.

use crate::harness::{Bridge, Stand, brisk};
use crate::secrets::bao::Bao;
use serde_json::json;
use std::time::Duration;
use tieline_sim::Options;

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_notice_costs_nothing() {
    let (stand, bridge, since) = begin(brisk()).await;
    let leaving = stand.channel().await;
    stand.control("socket-closing", json!({"after_ms": 5_000})).await;
    finished(&bridge, "closing_notice", 1).await;
    let journal = stand
        .journal_with("the predecessor is closed", |journal| {
            journal.sessions.iter().any(|one| one.channel == leaving && one.closed.is_some())
        })
        .await;
    let by_us = journal.sessions[0].reason.as_deref();
    assert_eq!(by_us, Some("closed by the client"), "before the platform did");
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_genesys_has_first_costs_nothing() {
    let (stand, bridge, since) = begin(brisk()).await;
    let secret = stand.rotate().await;
    stand.emits(30).await;
    stand.config.write_secret(&secret);
    finished(&bridge, "secret", 1).await;
    assert_eq!(bridge.count(&["credentials_rejected"]), 0);
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_the_file_has_first_costs_nothing() {
    let (stand, bridge, since) = begin(brisk()).await;
    let secret = "a-secret-that-genesys-learns-of-later";
    stand.config.write_secret(secret);
    bridge.line(&["credentials_rejected"]).await;
    stand.emits(30).await;
    stand.control("rotate", json!({"secret": secret})).await;
    bridge.line(&["credentials_accepted"]).await;
    finished(&bridge, "secret", 1).await;
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_named_and_what_is_live_stays_live() {
    let (stand, bridge, since) = begin(brisk()).await;
    let right = stand.rotate().await;
    stand.config.write_secret("this-is-not-it");
    bridge.line(&["credentials_rejected", "Genesys refuses the newest secret"]).await;
    let state = bridge
        .state("credentials are rejected", |state| state["login"]["credentials_rejected"] == true)
        .await;
    assert!(state["login"]["retry_at"].is_string(), "{state}");
    let words = state["login"]["last_error"].as_str().unwrap();
    assert!(words.contains("401 invalid_client"), "{words}");
    assert_eq!((&state["ready"], &state["sessions"][0]["state"]), (&true.into(), &"live".into()));
    stand.emits(120).await;
    assert_eq!(bridge.count(&["session_lost"]), 0);
    // No more than a refused secret may be tried: twelve times in five minutes.
    assert!(bridge.count(&["token_refused"]) <= 12);
    stand.config.write_secret(&right);
    finished(&bridge, "secret", 1).await;
    bridge
        .state("credentials are accepted", |state| {
            state["login"]["credentials_rejected"] == false
                && state["login"]["last_error"].is_null()
        })
        .await;
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_vault_costs_nothing() {
    let bao = Bao::shared("process-rotation").await;
    let options = Options { client_id: Some("client".to_owned()), ..brisk() };
    let mut stand = Stand::new(options).await;
    bao.write(stand.sim.client_secret()).await;
    let vault = bao.config(Duration::from_secs(1)).await.vault.unwrap();
    stand.config.unset("secret.file");
    stand.config.set("secret.poll_interval", "1s");
    for (key, value) in
        [("address", &vault.address), ("mount", &vault.mount), ("path", &vault.path)]
    {
        stand.config.set(&format!("secret.vault.{key}"), value.as_str());
    }
    stand.config.set("secret.vault.auth.role_id", vault.auth.role_id.unwrap());
    let file = vault.auth.secret_id_file.unwrap();
    let secret_id = std::fs::read_to_string(&file).unwrap();
    stand.config.set("secret.vault.auth.secret_id_file", file.display().to_string());

    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    // Genesys first, and then Vault first.
    let secret = stand.rotate().await;
    bao.write(&secret).await;
    finished(&bridge, "secret", 1).await;
    bao.write("vault-knows-it-first").await;
    bridge.line(&["credentials_rejected"]).await;
    stand.control("rotate", json!({"secret": "vault-knows-it-first"})).await;
    finished(&bridge, "secret", 2).await;
    stand.emits(30).await;
    let (verdict, log) = stand.balance_and_log(bridge, since).await;
    verdict.assert_seamless();
    for hidden in [secret_id.trim(), &secret, "vault-knows-it-first"] {
        assert!(!log.contains(hidden), "it told {hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_signal_rotates_without_a_gap() {
    let (stand, bridge, since) = begin(brisk()).await;
    bridge.signal("USR1").await;
    finished(&bridge, "operator", 1).await;
    assert!(stand.channels().await <= 2);
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expire_cost_nothing() {
    // The simulator closes the sockets of a token that ends.
    let options = Options { token_ttl: Duration::from_secs(6), ..brisk() };
    let (stand, bridge, since) = begin(options).await;
    finished(&bridge, "token_expiry", 3).await;
    assert!(stand.channels().await <= 2);
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_rotations_make_two_channels() {
    let (stand, bridge, since) = begin(brisk()).await;
    for nth in 1..=5 {
        let secret = stand.rotate().await;
        stand.config.write_secret(&secret);
        finished(&bridge, "secret", nth).await;
    }
    assert!(stand.channels().await <= 2);
    let journal = stand.sim.journal();
    let mut used: Vec<&str> = journal.sessions.iter().map(|one| one.channel.as_str()).collect();
    assert_eq!(used.len(), 6);
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 2, "channels that ever had a socket");
    end(stand, bridge, since).await;
}

/// A process that is ready, and the first emission that counts.
async fn begin(options: Options) -> (Stand, Bridge, u64) {
    let stand = Stand::new(options).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    (stand, bridge, since)
}

/// Waits until so many rotations with this trigger are over.
async fn finished(bridge: &Bridge, trigger: &str, count: usize) {
    let trigger = format!("\"trigger\":\"{trigger}\"");
    bridge.lines(&["\"event\":\"rotation_finished\"", &trigger], count).await;
}

/// The books after some more traffic: no gap, and nothing lost, doubled or out of order.
async fn end(stand: Stand, bridge: Bridge, since: u64) {
    stand.emits(30).await;
    assert_eq!(bridge.count(&["\"event\":\"rotation_failed\""]), 0, "{}", bridge.log());
    stand.balance(bridge, since).await.assert_seamless();
}
