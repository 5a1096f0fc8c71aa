//! Planned changes of the real process under traffic: whatever is rotated, in whatever order, costs nothing.

use crate::harness::{Bridge, SETTLE, Stand, brisk};
use crate::secrets::orders::assert_no_login_storm;
use crate::soak::say;
use serde_json::json;
use std::time::Duration;
use tieline_sim::{Options, Switches};

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_notice_costs_nothing() {
    let (stand, bridge, since) = begin(brisk()).await;
    let leaving = stand.channel().await;
    stand.control("socket-closing", json!({"after_ms": 30_000})).await;
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
    let options = Options { token_ttl: Duration::from_secs(10), ..brisk() };
    let (stand, bridge, since) = begin(options).await;
    finished(&bridge, "token_expiry", 2).await;
    assert!(stand.channels().await <= 2);
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_expire_cost_nothing() {
    let options = Options { channel_ttl: Duration::from_secs(6), ..brisk() };
    let (stand, bridge, since) = begin(options).await;
    finished(&bridge, "channel_expiry", 2).await;
    let state = stand.state().await;
    let channels = state["channels"].as_array().unwrap();
    assert!(channels.len() <= 2, "{channels:?}");
    let journal = stand.sim.journal();
    // Nothing prolongs a spare channel but its use: each life that ends costs one more, and the platform has dropped as many.
    assert_eq!(journal.sessions.len(), 3);
    for session in &journal.sessions[..2] {
        let by_us = session.reason.as_deref();
        assert_eq!(by_us, Some("closed by the client"), "before the platform did");
    }
    end(stand, bridge, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_rotation_kills_the_sockets_each_is_one_gap() {
    let switches = Switches { rotation_kills_sockets: true, ..Switches::default() };
    let (stand, bridge, since) = begin(Options { switches, ..brisk() }).await;
    for nth in 1..=3 {
        let secret = stand.rotate().await;
        stand.config.write_secret(&secret);
        bridge.lines(&["\"event\":\"gap_closed\""], nth).await;
        // Longer than `stable_after`.
        stand.emits(90).await;
    }
    assert!(stand.channels().await <= 2);
    assert_no_login_storm(&stand.sim.journal().logins);
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept().assert_unrepeated();
    let told = verdict.gaps.iter().map(|gap| (gap.cause.as_str(), gap.certainty.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), [("token_revoked", "certain"); 3], "{verdict:#?}");
    let journal = stand.sim.journal();
    for gap in &verdict.gaps {
        gap.assert_ends_in_time(&journal, SETTLE);
    }
    let killed = journal.faults.iter().map(|fault| (fault.kind.as_str(), fault.channels.len()));
    assert_eq!(killed.collect::<Vec<_>>(), [("rotate", 1); 3]);
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

/// How many rotations the long test makes; `make soak` asks for more.
const ROTATIONS: &str = "TIELINE_ROTATIONS";

/// Genesys first and the file a moment later, or the other way round, in turns.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_under_traffic_cost_nothing() {
    let asked = std::env::var(ROTATIONS).ok().map(|count| count.parse().unwrap());
    let rotations = asked.unwrap_or(20);
    let mut stand = Stand::new(brisk()).await;
    // The log is searched at each line that comes.
    stand.config.set("log.level", "info");
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    for nth in 1..=rotations {
        if nth % 2 == 1 {
            let secret = stand.rotate().await;
            stand.config.write_secret(&secret);
        } else {
            let secret = format!("secret-number-{nth}-which-the-file-has-first");
            stand.config.write_secret(&secret);
            stand.emits(10).await;
            stand.control("rotate", json!({"secret": secret})).await;
        }
        finished(&bridge, "secret", nth).await;
    }
    let made = stand.channels().await;
    assert!(made <= 2, "{made} channels for one shard");
    let journal = stand.sim.journal();
    assert!(journal.sessions.len() > rotations, "{} sockets", journal.sessions.len());
    assert!(journal.logins.iter().filter(|login| login.status == 200).count() > rotations);
    assert_no_login_storm(&journal.logins);
    assert_eq!(bridge.count(&["\"event\":\"session_lost\""]), 0, "{}", bridge.log());
    let emitted = stand.emitted().await + 1 - since;
    end(stand, bridge, since).await;
    if asked.is_some() {
        let logins = journal.logins.len();
        say(&format!(
            "{rotations} rotations, {emitted} notifications: 0 lost, 0 doubled, 0 gaps; {made} channels made, {logins} logins"
        ));
    }
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
pub async fn finished(bridge: &Bridge, trigger: &str, count: usize) {
    let trigger = format!("\"trigger\":\"{trigger}\"");
    bridge.lines(&["\"event\":\"rotation_finished\"", &trigger], count).await;
}

/// The books after some more traffic: no gap, and nothing lost, doubled or out of order.
pub async fn end(stand: Stand, bridge: Bridge, since: u64) {
    stand.emits(30).await;
    assert_eq!(bridge.count(&["\"event\":\"rotation_failed\""]), 0, "{}", bridge.log());
    stand.balance(bridge, since).await.assert_seamless();
}
