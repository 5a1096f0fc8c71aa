//! Sockets lost in every way: the process finds back by itself, names exactly one gap for it, and loses nothing outside.

use crate::harness::{Bridge, Closed, DEAD_AFTER, SETTLE, Stand, brisk, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tieline_sim::{Options, Sim, Switches, TokenEnd};

/// A socket on the channel it had is certain at its first frame.
const RESUMED: (&str, Duration) = ("resumed", Duration::ZERO);

/// Another channel is certain once it has settled.
const RESUBSCRIBED: (&str, Duration) = ("resubscribed", SETTLE);

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_connection_is_one_gap() {
    one_gap("close", json!({"mode": "rst"}), "cut", RESUMED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_without_a_close_is_one_gap() {
    one_gap("close", json!({"mode": "fin"}), "cut", RESUMED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_by_the_platform_is_one_gap() {
    one_gap("close", json!({"mode": "code", "code": 1001}), "closed", RESUMED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed_in_time_and_is_one_gap() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.dead_after", DEAD_AFTER);
    let bridge = stand.ready().await;
    let stand = lost(stand, bridge, "silence", json!({}), "silent", RESUMED).await;
    let journal = stand.sim.journal();
    let [deaf, next] = journal.sessions.as_slice() else { panic!("{:?}", journal.sessions) };
    let fault = crate::books::micros(&journal.faults[0].from);
    let noticed = crate::books::micros(&next.opened).saturating_sub(fault);
    // To the moment it is a test of virtual time; here a busy machine has its share.
    assert!(noticed <= 15_000_000, "after {noticed} µs: {deaf:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_channel_is_replaced() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let evicted = stand.channel().await;
    let stand = lost(stand, bridge, "evict", json!({"channel": evicted}), "evicted", RESUBSCRIBED);
    let journal = stand.await.sim.journal();
    assert_eq!(journal.sessions.len(), 2);
    assert_ne!(journal.sessions[1].channel, evicted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_channel_is_replaced_once_the_handshake_says_so() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let expired = stand.channel().await;
    let fault = json!({"channel": expired});
    let stand = lost(stand, bridge, "expire", fault, "closed", RESUBSCRIBED).await;
    let journal = stand.sim.journal();
    assert_eq!(journal.sessions.len(), 2);
    assert_ne!(journal.sessions[1].channel, expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_gone_is_replaced_in_whatever_words_its_handshake_is_refused() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    let refusals = [401, 403, 410];
    for (nth, status) in refusals.into_iter().enumerate() {
        stand.control("switch", json!({"refused_with": status})).await;
        stand.control("expire", json!({"channel": stand.channel().await})).await;
        let words = ["retry_scheduled", "channel_gone", "new channel", &status.to_string()];
        bridge.line(&words).await;
        bridge.lines(&["\"event\":\"gap_closed\""], nth + 1).await;
        stand.emits(90).await;
    }
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_kept().assert_unrepeated();
    let told = verdict.gaps.iter().map(|gap| (gap.cause.as_str(), gap.action.as_deref()));
    assert_eq!(told.collect::<Vec<_>>(), [("closed", Some("resubscribed")); 3]);
    let journal = stand.sim.journal();
    let channels: BTreeSet<&str> = journal.sessions.iter().map(|one| &*one.channel).collect();
    assert_eq!((journal.sessions.len(), channels.len()), (4, 4));
    for gap in &verdict.gaps {
        gap.assert_ends_in_time(&journal, SETTLE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_ends_with_its_token_is_replaced_once_rest_says_so() {
    let switches = Switches { token_end: TokenEnd::EndsChannels, ..Switches::default() };
    let stand = Stand::new(Options { switches, ..brisk() }).await;
    let bridge = stand.ready().await;
    let watched = async |bridge: &Bridge| {
        bridge.line(&["retry_scheduled", "channel_gone", "new channel", "404"]).await;
    };
    let fault = json!({});
    let stand =
        lost_then(stand, bridge, "revoke", fault, "token_revoked", RESUBSCRIBED, watched).await;
    let journal = stand.sim.journal();
    let [first, second] = journal.sessions.as_slice() else { panic!("{:?}", journal.sessions) };
    assert_ne!(first.channel, second.channel);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_is_never_shortened() {
    let stand = Stand::new(brisk()).await;
    let since = stand.emitted().await;
    let bridge = stand.ready().await;
    let since = since.max(stand.emitted().await);
    // Over long before the wait that it asked for.
    let throttle = json!({"what": "handshake", "status": 429, "retry_after_s": 3, "for_ms": 2_500});
    stand.control("throttle", throttle).await;
    stand.control("close", json!({"mode": "rst"})).await;
    let retry = bridge.line(&["retry_scheduled", "throttled"]).await;
    assert!(retry["retry_in_seconds"].as_f64().unwrap() >= 3.0, "{retry}");
    let refused = crate::books::micros(retry["timestamp"].as_str().unwrap());
    bridge.line(&["gap_closed"]).await;
    stand.emits(60).await;
    assert_eq!(bridge.count(&["retry_scheduled", "throttled"]), 1);
    let verdict = stand.balance(bridge, since).await;
    let journal = stand.sim.journal();
    verdict.assert_one_gap(&journal, "cut", RESUMED.0, RESUMED.1);
    assert_eq!(journal.sessions.len(), 2);
    let opened = crate::books::micros(&journal.sessions[1].opened);
    assert!(opened >= refused + 2_950_000, "only {} µs later", opened.saturating_sub(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_unavailable_for_a_while_is_one_gap() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let throttle = json!({"what": "handshake", "status": 503, "for_ms": 1_000});
    stand.control("throttle", throttle).await;
    let stand = lost(stand, bridge, "close", json!({"mode": "rst"}), "cut", RESUMED).await;
    assert_eq!(stand.sim.journal().sessions.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_replaced_with_its_channel() {
    let stand = one_gap("revoke", json!({}), "token_revoked", RESUBSCRIBED).await;
    assert_eq!(stand.sim.journal().sessions.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_rest_refuses_is_bought_again() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let same = json!({"secret": stand.sim.client_secret(), "kill_tokens": true});
    stand.control("rotate", same).await;
    // The socket does not care; the next REST call does.
    let channel = stand.channel().await;
    bridge.line(&["session_entered", "live"]).await;
    let expire = json!({"channel": channel});
    let watched = async |bridge: &Bridge| {
        bridge.line(&["retry_scheduled", "unauthorized", "new token"]).await;
        bridge.lines(&["token_granted"], 2).await;
    };
    lost_then(stand, bridge, "expire", expire, "closed", RESUBSCRIBED, watched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_down_at_the_start_is_waited_for() {
    let closed = Closed::new();
    let (address, url) = (closed.address(), format!("http://{}", closed.address()));
    let mut stand = Stand::new(Options { rate: 0.0, ..brisk() }).await;
    stand.config.set("genesys.login_url", url.clone());
    stand.config.set("genesys.api_url", url);
    let bridge = stand.start().await;
    bridge.unready(&["not subscribed yet", "refused"]).await;
    bridge.lines(&["token_refused", "unreachable"], 2).await;
    drop(closed);
    let options = Options {
        listen: address,
        client_id: Some(stand.sim.client_id().to_owned()),
        client_secret: Some(stand.sim.client_secret().to_owned()),
        ..brisk()
    };
    let up = eventually("the port is free again", async || Sim::start(options.clone()).await.ok());
    let down = std::mem::replace(&mut stand.sim, up.await);
    down.stop().await;
    bridge.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    // What was never covered before cannot be missed.
    stand.balance(bridge, since).await.assert_seamless();
}

/// Everything from the first readiness to the books, with one fault in between.
async fn one_gap(call: &str, fault: Value, cause: &str, certain: (&str, Duration)) -> Stand {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    lost(stand, bridge, call, fault, cause, certain).await
}

async fn lost(
    stand: Stand,
    bridge: Bridge,
    call: &str,
    fault: Value,
    cause: &str,
    certain: (&str, Duration),
) -> Stand {
    lost_then(stand, bridge, call, fault, cause, certain, async |_: &Bridge| ()).await
}

/// A fault on a process that is ready, what it says meanwhile, and the books.
async fn lost_then(
    stand: Stand,
    bridge: Bridge,
    call: &str,
    fault: Value,
    cause: &str,
    (action, certain): (&str, Duration),
    watched: impl AsyncFnOnce(&Bridge),
) -> Stand {
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    stand.control(call, fault).await;
    bridge.line(&["session_lost"]).await;
    watched(&bridge).await;
    let closed = bridge.line(&["gap_closed"]).await;
    assert_eq!(closed["cause"], cause, "{closed}");
    stand.emits(60).await;
    let verdict = stand.balance(bridge, since).await;
    verdict.assert_one_gap(&stand.sim.journal(), cause, action, certain);
    stand
}
