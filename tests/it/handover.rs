//! One real process takes over from another under traffic: what that costs (nothing), and what it costs when one of them dies meanwhile.

use crate::books::Held;
use crate::harness::{Bridge, Stand, eventually, hold_no_secret, quiet, tieline};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tieline_sim::Options;

/// A stand whose processes take no pause of a busy machine for the end of a session.
async fn stand(rate: f64) -> Stand {
    let mut stand = Stand::new(Options { rate, ..quiet() }).await;
    stand.config.set("lifecycle.dead_after", "20s");
    stand
}

/// A process that is to take over from the one that runs.
fn heir(stand: &Stand) -> Bridge {
    Bridge::launch(tieline(&stand.config, &["--handover"]))
}

/// Waits until the new process has taken over and the old one has ended well.
async fn taken_over(stand: &Stand, old: Bridge, mut new: Bridge) -> (Bridge, String) {
    new.line(&["\"event\":\"took_over\""]).await;
    new.doors().await;
    let (code, log) = old.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"event\":\"handed_over\""), "{log}");
    assert!(log.contains("draining (handover)"), "{log}");
    assert!(log.contains("every sink has acknowledged everything"), "{log}");
    hold_no_secret(&log, stand);
    new.ready().await;
    (new, log)
}

/// All that the file holds is of one epoch.
fn one_epoch(held: &[Held]) {
    assert!(held.iter().all(|event| event.epoch == held[0].epoch), "the epoch does not go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_traffic_it_costs_nothing() {
    let stand = stand(600.0).await;
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(300).await;
    let socket = stand.config.path("data").join("handover.sock");
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    let (new, _) = taken_over(&stand, old, heir(&stand)).await;
    stand.emits(600).await;
    assert_eq!(stand.channels().await, 2);
    stand.balance(new, since).await.assert_seamless();
    one_epoch(&stand.held());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_in_a_row_make_no_third_channel() {
    let stand = stand(60.0).await;
    let mut bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    for _ in 0..10 {
        bridge = taken_over(&stand, bridge, heir(&stand)).await.0;
    }
    stand.emits(60).await;
    assert_eq!(stand.channels().await, 2);
    stand.balance(bridge, since).await.assert_seamless();
    one_epoch(&stand.held());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_legs_are_taken_over_by_two() {
    let mut stand = stand(300.0).await;
    stand.config.set("lifecycle.redundancy", 2);
    let mut bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    for _ in 0..2 {
        stand.emits(150).await;
        bridge = taken_over(&stand, bridge, heir(&stand)).await.0;
    }
    stand.emits(300).await;
    assert!(stand.channels().await <= 4, "{} channels", stand.channels().await);
    stand.balance(bridge, since).await.assert_seamless();
    one_epoch(&stand.held());
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_join_with_it_begin_with_it() {
    let mut stand = stand(60.0).await;
    let first = stand.sim.queues()[0].id.clone();
    stand.config.set("genesys.queues", vec![first.clone()]);
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    stand.config.set("genesys.queues", vec!["all"]);
    let (new, _) = taken_over(&stand, old, heir(&stand)).await;
    let all_since = stand.emitted().await + 1;
    stand.emits(120).await;
    let topics = stand.config.topics(&stand.sim);
    let of_first: Vec<String> =
        topics.iter().filter(|name| name.contains(&*first)).cloned().collect();
    let (verdict, _) = stand.balance_and_log(new, all_since).await;
    verdict.assert_seamless();
    let held: Vec<Held> = stand
        .held()
        .into_iter()
        .filter(|event| event.is_own() || of_first.contains(&event.topic))
        .collect();
    crate::books::judge(&stand.sim.journal(), &of_first, &held, &[], since).assert_seamless();
    one_epoch(&held);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_asking_a_second_process_refuses_and_names_the_way_out() {
    let stand = Stand::new(quiet()).await;
    let bridge = stand.ready().await;
    let (code, said) = Bridge::launch(tieline(&stand.config, &[])).ended().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains(&format!("process {}", bridge.pid())), "{said}");
    assert!(said.contains("tieline run --handover"), "{said}");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_runs_it_is_an_ordinary_start() {
    let stand = stand(60.0).await;
    let first = heir(&stand);
    first.line(&["\"event\":\"handover_alone\""]).await;
    first.line(&["\"event\":\"ready\""]).await;
    let heard = stand.config.path("data").join("heard.json");
    eventually("it is known what was heard", async || heard.exists().then_some(())).await;
    // The socket stays behind, and nobody is at it.
    first.signal("KILL").await;
    first.ended().await;
    let mut second = heir(&stand);
    second.line(&["\"event\":\"handover_alone\""]).await;
    second.doors().await;
    second.ready().await;
    let gaps = second.gaps().await;
    assert_eq!((gaps.len(), gaps[0].cause.as_str()), (1, "restart"), "{gaps:?}");
    second.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_platform_is_refused_and_nothing_changes() {
    let mut stand = stand(60.0).await;
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    let other = Stand::new(quiet()).await;
    for key in ["genesys.login_url", "genesys.api_url"] {
        stand.config.set(key, other.sim.api_url());
    }
    let (code, said) = heir(&stand).ended().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("no handover: it would log in elsewhere"), "{said}");
    for key in ["genesys.login_url", "genesys.api_url"] {
        stand.config.set(key, stand.sim.api_url());
    }
    stand.emits(30).await;
    stand.balance(old, since).await.assert_seamless();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_is_refused_and_nothing_changes() {
    let mut stand = stand(60.0).await;
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    let (id, secret) = ("second", "secret-of-the-second");
    stand.control("rotate", json!({"client_id": id, "secret": secret})).await;
    let path = stand.config.path("secret-of-another");
    std::fs::write(&path, secret).unwrap();
    stand.config.set("genesys.client_id", id);
    stand.config.set("secret.file.path", path.display().to_string());
    let (code, said) = heir(&stand).ended().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("no handover: it is of another OAuth client"), "{said}");
    assert!(!said.contains(secret), "{said}");
    old.line(&["\"event\":\"handover_failed\"", "this process goes on"]).await;
    stand.emits(30).await;
    stand.balance(old, since).await.assert_seamless();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rest_was_still_being_asked_is_asked_again() {
    let mut stand = Stand::new(Options { rate: 60.0, queues: 12, ..quiet() }).await;
    stand.config.set("lifecycle.dead_after", "20s");
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;
    stand.control("close", json!({"mode": "rst"})).await;
    old.line(&["\"event\":\"gap_closed\""]).await;
    // The members of each queue are a request of their own, and those are paced: it takes longer than the handover.
    let (new, log) = taken_over(&stand, old, heir(&stand)).await;
    if !log.contains("\"event\":\"rebased\"") {
        new.line(&["\"event\":\"rebased\"", "\"gap\":1"]).await;
    }
    let is_told = |event: &Held| event.kind == "tieline.gap.rebased.v1";
    eventually("consumers are told", async || stand.held().iter().any(is_told).then_some(())).await;
    let verdict = stand.balance(new, since).await;
    verdict.assert_kept();
    assert_eq!(verdict.gaps.len(), 1, "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_old_process_that_is_dead_unnoticed_is_a_named_gap() {
    let mut stand = stand(300.0).await;
    stand.config.set("lifecycle.dead_after", "6s");
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(150).await;
    stand.control("half-open", json!({})).await;
    let (new, _) = taken_over(&stand, old, heir(&stand)).await;
    stand.emits(150).await;
    let verdict = stand.balance(new, since).await;
    // It is told when it is found out: by then the new process has been heard for long.
    assert!(verdict.lost.is_empty() && verdict.doubled.is_empty(), "{verdict:#?}");
    assert!(verdict.strange.is_empty() && verdict.disordered.is_empty(), "{verdict:#?}");
    assert!(!verdict.missed.is_empty(), "it was dead before the new process was heard");
    assert_eq!(verdict.gaps[0].cause, "silent", "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_that_cannot_be_had_any_more_do_not_end_what_others_rely_on() {
    let mut stand = stand(60.0).await;
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    stand.config.set("admin.listen", taken.clone());
    let (new, _) = taken_over(&stand, old, heir(&stand)).await;
    new.line(&[&taken, "is taken by another process"]).await;
    stand.balance(new, since).await.assert_seamless();
    // What only the configuration can mend is said while the old process goes on.
    stand.config.set("admin.listen", "127.0.0.1:0");
    let old = stand.ready().await;
    stand.config.set("admin.token_file", stand.config.path("nowhere").display().to_string());
    let (code, said) = heir(&stand).ended().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("admin.token_file"), "{said}");
    old.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_dies_before_it_has_settled_costs_nothing_and_another_may_come() {
    let stand = stand(300.0).await;
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    let new = heir(&stand);
    new.line(&["\"event\":\"handover_joined\""]).await;
    new.signal("KILL").await;
    new.ended().await;
    old.line(&["\"event\":\"handover_failed\"", "this process goes on"]).await;
    stand.emits(150).await;
    let (new, log) = taken_over(&stand, old, heir(&stand)).await;
    assert!(!log.contains("\"event\":\"gap_opened\""), "{log}");
    stand.emits(150).await;
    stand.balance(new, since).await.assert_seamless();
    one_epoch(&stand.held());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_dies_while_it_alone_is_heard_is_one_named_gap() {
    let mut stand = stand(300.0).await;
    stand.config.set("arbitration.hold", "1s");
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    let new = heir(&stand);
    old.line(&["\"event\":\"handover_silent\""]).await;
    new.signal("KILL").await;
    new.ended().await;
    old.line(&["\"event\":\"handover_failed\"", "this process goes on"]).await;
    stand.emits(150).await;
    let verdict = stand.balance(old, since).await;
    verdict.assert_kept();
    let [gap] = verdict.gaps.as_slice() else { panic!("{verdict:#?}") };
    assert_eq!((gap.cause.as_str(), gap.action.as_deref()), ("handover", Some("resumed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_process_that_dies_meanwhile_is_one_restart_and_the_new_one_goes_on() {
    let mut stand = stand(300.0).await;
    stand.config.set("arbitration.hold", "1s");
    for silent in [false, true] {
        let old = stand.ready().await;
        let since = stand.emitted().await + 1;
        let mut new = heir(&stand);
        let moment =
            if silent { "\"event\":\"handover_silent\"" } else { "\"event\":\"handover_asked\"" };
        old.line(&[moment]).await;
        old.signal("KILL").await;
        old.ended().await;
        new.line(&["\"event\":\"handover_orphaned\""]).await;
        new.doors().await;
        new.ready().await;
        stand.emits(100).await;
        stand.control("traffic", json!({"state": "pause"})).await;
        stand.delivered_all(since).await;
        let gaps = new.gaps().await;
        let gap = gaps.last().unwrap();
        assert_eq!((gap.cause.as_str(), gap.action.as_deref()), ("restart", Some("resubscribed")));
        let verdict = stand.judge(&stand.held(), &gaps, since);
        assert!(verdict.lost.is_empty() && verdict.untold.is_empty(), "{verdict:#?}");
        assert!(verdict.doubled.is_empty(), "what both may have published is marked: {verdict:#?}");
        assert!(verdict.strange.is_empty() && verdict.disordered.is_empty(), "{verdict:#?}");
        one_epoch(&stand.held());
        stand.control("traffic", json!({"state": "run"})).await;
        let _ = new.finish(&stand).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_stops_the_new_one_leaves_the_old_one_as_it_was() {
    let stand = stand(60.0).await;
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    let new = heir(&stand);
    new.line(&["\"event\":\"handover_joined\""]).await;
    new.signal("TERM").await;
    let (code, log) = new.ended().await;
    assert_eq!(code, Some(0), "{log}");
    old.line(&["\"event\":\"handover_failed\""]).await;
    // It rotates again, on whatever channel is free.
    old.signal("USR1").await;
    crate::rotation::finished(&old, "operator", 1).await;
    let quiet = eventually("one session is left", async || {
        (stand.open_channels().await.len() == 1).then_some(())
    });
    quiet.await;
    stand.balance(old, since).await.assert_seamless();
}

/// What the service manager hears.
struct Manager {
    socket: std::os::unix::net::UnixDatagram,
    heard: std::cell::RefCell<Vec<String>>,
}

impl Manager {
    fn listen(stand: &mut Stand) -> Self {
        let path = stand.config.path("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let path = path.display().to_string();
        stand.config.environment.push(("NOTIFY_SOCKET".into(), path));
        Self { socket, heard: Default::default() }
    }

    async fn hears(&self, words: &str) -> Vec<String> {
        eventually(&format!("the service manager hears {words}"), async || {
            let mut state = [0; 256];
            while let Ok(length) = self.socket.recv(&mut state) {
                let state = String::from_utf8_lossy(&state[..length]).into_owned();
                self.heard.borrow_mut().push(state);
            }
            let heard = self.heard.borrow();
            heard.iter().any(|state| state.contains(words)).then(|| heard.clone())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_by_a_service_manager_ends_when_another_process_has_taken_over() {
    let mut stand = stand(60.0).await;
    let manager = Manager::listen(&mut stand);
    let old = stand.ready().await;
    let since = stand.emitted().await + 1;
    manager.hears(&format!("MAINPID={}\nREADY=1", old.pid())).await;
    let mut command = tieline(&stand.config, &["--handover"]);
    command.env("MAINPID", old.pid().to_string());
    let mut reload = Bridge::launch(command);
    reload.line(&["\"event\":\"took_over\""]).await;
    reload.doors().await;
    let (code, _) = old.ended().await;
    assert_eq!(code, Some(0));
    let main: u32 = std::fs::read_to_string(stand.config.path("data").join("lock"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // The old one says it before it ends, the new one says it too.
    let heard = manager.hears(&format!("MAINPID={main}\nREADY=1")).await;
    assert!(heard.contains(&format!("MAINPID={main}")), "{heard:?}");
    assert!(!heard.iter().any(|state| state.contains("STOPPING")), "{heard:?}");
    assert_ne!(main, reload.pid(), "the command ends, another process goes on");
    stand.emits(60).await;
    reload.ready().await;
    stand.control("traffic", json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let gaps = reload.gaps().await;
    let stop = tokio::process::Command::new("kill").arg(main.to_string()).status().await.unwrap();
    assert!(stop.success());
    manager.hears("STOPPING=1").await;
    // Its words come to an end when the other process has ended as well.
    let (code, log) = reload.ended().await;
    assert_eq!(code, Some(0), "{log}");
    stand.judge(&stand.held(), &gaps, since).assert_seamless();
}
