//! What the streams of changes and of events say, and when.

use super::*;

#[tokio::test]
async fn a_change_is_told_at_once_and_silence_each_second() {
    let bridge = Bridge::start().await;
    let mut watcher = bridge.watch("/api/v1/events").await;
    let first = watcher.event("state").await;
    assert_eq!(first["verdict"]["live"]["words"], "Yes");
    assert_eq!(watcher.event("history").await["coverage"], serde_json::json!([]));
    // Each change follows on what was just told: by itself it would be told a second later. One that is told sooner is enough, for on a
    // busy machine any may take longer.
    let mut told = first;
    let is_told_at_once = async {
        for state in ["waiting", "opening"].into_iter().cycle() {
            bridge.change(|status| status.sessions[0].state = state);
            let before = bridge.clock().now();
            while told["sessions"][0]["state"] != state {
                told = watcher.event("state").await;
            }
            if bridge.clock().now().since(before) < Duration::from_millis(500) {
                return;
            }
        }
    };
    tokio::time::timeout(crate::harness::DEADLINE, is_told_at_once).await.expect("at once");
    assert_eq!(told["verdict"]["live"]["words"], "No");
    // Nothing changes any more; that the bridge says nothing must be seen all the same.
    let later = watcher.event("state").await;
    assert_ne!(later["now"], told["now"]);
}

#[tokio::test]
async fn a_tap_shows_what_was_asked_for_and_counts_what_it_missed() {
    let bridge = Bridge::start().await;
    let watcher = bridge.watch("/api/v1/tap?family=queues&key=QUEUE-1").await;
    let show = |nth: u64, name: &str| {
        let body = format!("{{\"n\":\r\n{nth}}}");
        bridge.doors.tap.show(Tapped {
            kind: Kind::Notification,
            nth: Some(nth),
            topic: Topic::new(name),
            length: body.len(),
            body: Some(body.into()),
            received: bridge.doors.clock.timestamp(),
            marks: Marks { late: true, ..Marks::default() },
        });
    };
    show(1, "v2.users.presence");
    show(2, "queue-1");
    assert!(bridge.doors.tap.is_watched());
    let queue = "v2.routing.queues.11111111-4c52-4b0e-9d3a-0c5b6e1f2a4d.users";
    show(3, queue);
    drop(watcher);
    let mut watcher =
        bridge.watch("/api/v1/tap?family=queues&key=11111111-4C52-4b0e-9d3a-0c5b6e1f2a4d").await;
    show(4, "v2.users.presence");
    show(5, queue);
    let event = watcher.event("event").await;
    assert_eq!((&event["nth"], &event["data"]["n"]), (&5.into(), &5.into()));
    assert_eq!(
        (&event["late"], &event["subject"]),
        (&true.into(), &"11111111-4c52-4b0e-9d3a-0c5b6e1f2a4d".into())
    );
    // More than the tap remembers, in one go of this one thread.
    for nth in 6..1_006 {
        show(nth, queue);
    }
    let missed = watcher.event("missed").await["missed"].as_u64().unwrap();
    assert!((1..1_000).contains(&missed), "{missed}");
    assert_eq!(bridge.get("/api/v1/tap?colour=blue").await.code, 400);
}
