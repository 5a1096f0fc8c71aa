//! The real process between the simulator and a real OpenBao: a secret that is rotated in every order, and a Vault that fails in
//! every way, cost nothing while the session lives, and bring no storm of logins.

use super::bao::Bao;
use crate::books::micros;
use crate::harness::{Bridge, Stand, brisk};
use crate::rotation::{end, finished};
use crate::servers::Server;
use serde_json::{Value, json};
use std::time::Duration;
use tieline_sim::journal::Login;
use tieline_sim::{Options, Switches, TokenEnd};

/// No more than ten token requests in any ten seconds, and no more than twelve refused ones in any five minutes for one secret:
/// between two secrets that are refused there is always one that is not.
pub fn assert_no_login_storm(logins: &[Login]) {
    let most = |logins: &[&Login], window: u64| {
        let times: Vec<u64> = logins.iter().map(|login| micros(&login.at)).collect();
        let within =
            |from: &u64| times.iter().filter(|at| (*from..from + window).contains(at)).count();
        times.iter().map(within).max().unwrap_or_default()
    };
    let all: Vec<&Login> = logins.iter().collect();
    assert!(most(&all, 10_000_000) <= 10, "{logins:#?}");
    for refused in all.split(|login| login.status == 200) {
        assert!(most(refused, 300_000_000) <= 12, "{logins:#?}");
    }
}

/// Tokens that are replaced each few seconds, and whose end costs the platform's sockets nothing.
fn short_tokens() -> Options {
    let switches = Switches { token_end: TokenEnd::Nothing, ..Switches::default() };
    let token_ttl = Duration::from_secs(9);
    Options { client_id: Some("client".to_owned()), token_ttl, switches, ..brisk() }
}

/// A process whose secret is in Vault, and the first emission that counts.
async fn begin(bao: &Bao, options: Options) -> (Stand, Bridge, u64) {
    let options = Options { client_id: Some("client".to_owned()), ..options };
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
    if let Some(mount) = vault.auth.mount {
        stand.config.set("secret.vault.auth.mount", mount);
    }
    stand.config.set("secret.vault.auth.role_id", vault.auth.role_id.unwrap());
    let file = vault.auth.secret_id_file.unwrap();
    stand.config.set("secret.vault.auth.secret_id_file", file.display().to_string());
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(10).await;
    (stand, bridge, since)
}

/// The books, the bounds of logins, and that none of these was told.
async fn balanced(stand: Stand, bridge: Bridge, since: u64, hidden: &[&str]) {
    assert_no_login_storm(&stand.sim.journal().logins);
    for hidden in hidden {
        assert_eq!(bridge.count(&[hidden]), 0, "it told {hidden}");
    }
    assert_eq!(bridge.count(&["\"event\":\"session_lost\""]), 0, "{}", bridge.log());
    end(stand, bridge, since).await;
}

/// How many rotations have been made for a fresh secret.
fn rotations(bridge: &Bridge) -> usize {
    bridge.count(&["\"event\":\"rotation_finished\"", "\"trigger\":\"secret\""])
}

/// Waits until another rotation for a fresh secret is over than those that were counted before.
async fn another(bridge: &Bridge, before: usize) {
    finished(bridge, "secret", before + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_vault_costs_nothing_in_either_order() {
    let bao = Bao::shared("process-rotation").await;
    let (stand, bridge, since) = begin(&bao, brisk()).await;
    let secret = stand.rotate().await;
    bao.write(&secret).await;
    another(&bridge, 0).await;
    bao.write("vault-knows-it-first").await;
    bridge.line(&["credentials_rejected"]).await;
    stand.control("rotate", json!({"secret": "vault-knows-it-first"})).await;
    another(&bridge, 1).await;
    let secret_id = std::fs::read_to_string(bao.folder.path().join("secret-id")).unwrap();
    balanced(stand, bridge, since, &[secret_id.trim(), &secret, "vault-knows-it-first"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_lags_costs_nothing() {
    let bao = Bao::shared("process-lag").await;
    let (stand, bridge, since) = begin(&bao, short_tokens()).await;
    // Vault lags until a token must be bought, and then some more.
    let secret = stand.rotate().await;
    bridge.line(&["credentials_rejected"]).await;
    stand.emits(200).await;
    let before = rotations(&bridge);
    bao.write(&secret).await;
    bridge.line(&["credentials_accepted"]).await;
    another(&bridge, before).await;
    // Genesys lags.
    let told = ["credentials_rejected", "credentials_accepted"].map(|event| bridge.count(&[event]));
    bao.write("genesys-learns-of-it-later").await;
    bridge.lines(&["credentials_rejected"], told[0] + 1).await;
    stand.emits(200).await;
    let before = rotations(&bridge);
    stand.control("rotate", json!({"secret": "genesys-learns-of-it-later"})).await;
    bridge.lines(&["credentials_accepted"], told[1] + 1).await;
    another(&bridge, before).await;
    balanced(stand, bridge, since, &[&secret, "genesys-learns-of-it-later"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_in_a_row_and_roll_backs_cost_nothing() {
    let bao = Bao::shared("process-twice").await;
    // Vault's own tokens reach their end again and again meanwhile.
    bao.role(json!({"token_ttl": "6s", "token_max_ttl": "6s"})).await;
    let (stand, bridge, since) = begin(&bao, brisk()).await;
    let (first, second) = (stand.rotate().await, stand.rotate().await);
    bao.write(&first).await;
    bao.write(&second).await;
    another(&bridge, 0).await;
    // Vault took a secret back that Genesys never had.
    let before = rotations(&bridge);
    let rejected = bridge.count(&["credentials_rejected"]);
    bao.write("withdrawn").await;
    bridge.lines(&["credentials_rejected"], rejected + 1).await;
    bao.write(&second).await;
    another(&bridge, before).await;
    // Both took a secret back that both had.
    let before = rotations(&bridge);
    let third = stand.rotate().await;
    bao.write(&third).await;
    another(&bridge, before).await;
    let before = rotations(&bridge);
    stand.control("rotate", json!({"secret": second})).await;
    bao.write(&second).await;
    another(&bridge, before).await;
    assert_eq!(stand.sim.journal().logins.last().map(|login| login.status), Some(200));
    assert!(stand.channels().await <= 2);
    assert_eq!(bridge.count(&["secret_source_failed"]), 0, "{}", bridge.log());
    balanced(stand, bridge, since, &[&first, &second, &third, "withdrawn"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_entry_a_sealed_vault_and_a_dead_one_cost_nothing() {
    let mut server = Server::start("openbao", &[]);
    let bao = Bao::at(&server, "process-outage").await;
    let (stand, bridge, since) = begin(&bao, short_tokens()).await;
    let versions = json!({"versions": [1]});
    bao.post("secret/delete/process-outage", versions.clone()).await;
    bridge.line(&["secret_source_failed", "is deleted", "with the last good secret"]).await;
    bao.post("secret/undelete/process-outage", versions).await;
    bridge.line(&["secret_source_recovered"]).await;

    bao.call(reqwest::Method::PUT, "sys/seal", Value::Null).await;
    bridge.line(&["secret_source_failed", "503"]).await;
    let granted = bridge.count(&["\"event\":\"token_granted\""]);
    bridge.lines(&["\"event\":\"token_granted\""], granted + 1).await;
    let key = json!({"key": server.field("unseal_key")});
    bao.call(reqwest::Method::PUT, "sys/unseal", key).await;
    bridge.lines(&["secret_source_recovered"], 2).await;

    server.kill();
    bridge.lines(&["secret_source_failed"], 3).await;
    let secret = stand.rotate().await;
    bridge.line(&["credentials_rejected"]).await;
    server.restart();
    bridge.lines(&["secret_source_recovered"], 3).await;
    let before = rotations(&bridge);
    bao.write(&secret).await;
    bridge.line(&["credentials_accepted"]).await;
    another(&bridge, before).await;
    balanced(stand, bridge, since, &[&secret]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_that_changes_with_the_secret_costs_nothing() {
    let bao = Bao::shared("process-client").await;
    let (stand, bridge, since) = begin(&bao, brisk()).await;
    // A channel of the old client lies ready for the next rotation, and must not be taken for the new client.
    let secret = stand.rotate().await;
    bao.write(&secret).await;
    another(&bridge, 0).await;
    for (nth, (id, secret)) in
        [("second", "secret-of-the-second"), ("client", &secret)].into_iter().enumerate()
    {
        stand.control("rotate", json!({"client_id": id, "secret": secret})).await;
        bao.write_for(id, secret).await;
        another(&bridge, nth + 1).await;
        let journal = stand.sim.journal();
        let last = journal.logins.last().unwrap();
        assert_eq!((last.client_id.as_str(), last.status), (id, 200));
    }
    // Genesys does not know this one.
    bao.write_for("nobody", "nothing").await;
    bridge.line(&["credentials_rejected", "400 invalid_client"]).await;
    bao.write_for("client", &secret).await;
    bridge.line(&["credentials_accepted"]).await;
    another(&bridge, 3).await;
    // The spare channel of the other client is passed over, which is told as an attempt that failed.
    assert_no_login_storm(&stand.sim.journal().logins);
    stand.emits(30).await;
    let (verdict, log) = stand.balance_and_log(bridge, since).await;
    verdict.assert_seamless();
    for hidden in [&secret, "secret-of-the-second"] {
        assert!(!log.contains(hidden), "it told {hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_in_vault_is_waited_out_within_bounds() {
    let bao = Bao::shared("process-wrong").await;
    let (stand, bridge, since) = begin(&bao, brisk()).await;
    bao.write("somebody-mistyped-it").await;
    bridge.line(&["credentials_rejected"]).await;
    stand.emits(900).await;
    assert_eq!(bridge.get("/readyz").await.0, 200, "what is live delivers");
    let before = rotations(&bridge);
    bao.write(stand.sim.client_secret()).await;
    another(&bridge, before).await;
    balanced(stand, bridge, since, &["somebody-mistyped-it"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_secret_id_and_a_withdrawn_policy_cost_nothing() {
    let bao = Bao::shared("process-refused").await;
    bao.role(json!({"secret_id_num_uses": 1})).await;
    let (stand, bridge, since) = begin(&bao, brisk()).await;
    bao.revoke_logins().await;
    bridge.line(&["secret_source_failed", "answered 400"]).await;
    let secret = stand.rotate().await;
    bao.write(&secret).await;
    bao.new_secret_id().await;
    bridge.line(&["secret_source_recovered"]).await;
    another(&bridge, 0).await;

    // The one login that tells a withdrawn policy from an ended token must be there to be had.
    bao.role(json!({"secret_id_num_uses": 0})).await;
    bao.new_secret_id().await;
    bao.policy(r#"path "secret/data/other" { capabilities = ["read"] }"#).await;
    bridge.line(&["secret_source_failed", "the policy must allow read"]).await;
    let secret = stand.rotate().await;
    bao.write(&secret).await;
    stand.emits(120).await;
    bao.allow().await;
    bridge.lines(&["secret_source_recovered"], 2).await;
    another(&bridge, 1).await;
    let logins = bao.logins().await;
    assert!(logins <= 3, "{logins} tokens of the role");
    balanced(stand, bridge, since, &[&secret]).await;
}
