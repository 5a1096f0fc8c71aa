//! Restarts of the real process: its channels are taken up again, and whoever reads its folder or its log learns no address of one.

use crate::harness::{Stand, hold_no_secret, quiet};
use std::os::unix::fs::PermissionsExt;

#[tokio::test(flavor = "multi_thread")]
async fn ten_restarts_make_no_more_than_two_channels() {
    let stand = Stand::new(quiet()).await;
    let mut told = String::new();
    for nth in 0..=10 {
        let bridge = stand.ready().await;
        if nth % 3 == 2 {
            bridge.signal("USR1").await;
            crate::rotation::finished(&bridge, "operator", 1).await;
        }
        bridge.signal(if nth % 2 == 0 { "KILL" } else { "TERM" }).await;
        let (code, log) = bridge.ended().await;
        assert_eq!(code, (nth % 2 == 1).then_some(0), "{log}");
        assert_eq!(log.contains("channels_found"), nth > 0, "{log}");
        told.push_str(&log);
    }
    assert!(stand.channels().await <= 2, "{} channels", stand.channels().await);
    let file = stand.config.path("data").join("channels.json");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    hold_no_secret(&told, &stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_channels_that_is_no_use_is_told_and_replaced() {
    let mut stand = Stand::new(quiet()).await;
    let file = stand.config.path("data").join("channels.json");
    std::fs::create_dir_all(stand.config.path("data")).unwrap();
    std::fs::write(&file, "{\"version\": 1, \"login_url\": ").unwrap();
    let bridge = stand.ready().await;
    bridge.line(&["channels_unkept", "channels.json"]).await;
    bridge.finish(&stand).await;
    assert_eq!(stand.channels().await, 1);
    // What is there now is good, but another client's.
    let of_another = std::fs::read_to_string(&file).unwrap();
    let another = of_another.replace(stand.sim.client_id(), "00000000-another-client");
    assert_ne!(of_another, another);
    std::fs::write(&file, another).unwrap();
    stand.config.set("log.level", "info");
    let bridge = stand.ready().await;
    bridge.line(&["channels_unkept", "another client"]).await;
    bridge.finish(&stand).await;
    assert_eq!(stand.channels().await, 2);
}
