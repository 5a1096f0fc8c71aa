//! The status page in a real Chromium: what it shows of a real process, whether it can be read, and its pictures.
//!
//! With PICTURES=FOLDER the pictures of docs/images are taken anew (`make pictures`).

use crate::browser::Tab;
use crate::doors::{Bridge, Guarded, TOKEN};
use crate::harness::{Stand, brisk, hold_no_secret};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tieline::bridge::history::{History, Line, Rotation, Span};
use tieline::bridge::status::{Budget, Channels, Gaps, Session, Sink, Status, Stream, Topics};
use tieline::clock::Clock;
use tieline::sequence::{Certainty, Gap};
use tieline::telemetry::Level;
use tieline::time::Timestamp;

const DESK: (u32, u32) = (1180, 900);
const PHONE: (u32, u32) = (390, 844);

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_and_a_rotation_are_seen_as_they_happen_and_later() {
    let stand = Stand::new(brisk()).await;
    let bridge = stand.ready().await;
    let origin = bridge.url();
    let tab = Tab::open(&origin, DESK, "light").await;
    tab.until("document.querySelector('#live .words')?.textContent === 'Yes'").await;
    tab.until("document.querySelector('.track .span.live')").await;
    tab.until("document.querySelector('#fault .words').textContent === 'Nobody\\'s'").await;

    stand.control("close", json!({"mode": "rst"})).await;
    tab.until("document.querySelector('.track .span.gap')").await;
    tab.until("document.querySelector('#gaps').innerText.includes('cut')").await;
    tab.until("document.querySelector('#live .words').textContent === 'Yes'").await;
    tab.until("document.querySelector('#losing .why').textContent.startsWith('1 gap so far')")
        .await;

    stand.config.write_secret(&stand.rotate().await);
    tab.until("document.querySelector('.track .mark')").await;
    tab.until("document.querySelector('.track .span.overlap')").await;
    tab.until("document.querySelector('#told').innerText.includes('(secret)')").await;
    tab.until("document.querySelector('#facts').innerText.includes('number 2 in use')").await;

    // Whoever comes later sees what was.
    let later = Tab::open(&origin, PHONE, "dark").await;
    for kind in ["span.gap", "mark", "span.overlap"] {
        later.until(&format!("document.querySelector('.track .{kind}')")).await;
    }
    let asked = [tab.requests().await, later.requests().await].concat();
    assert!(asked.iter().any(|url| url.ends_with("/api/v1/events")), "{asked:?}");
    let strange: Vec<_> = asked.iter().filter(|url| !url.starts_with(&origin)).collect();
    assert!(strange.is_empty(), "it asked elsewhere: {strange:?}");
    assert_eq!([tab.complaints().await, later.complaints().await].concat(), [""; 0]);
    let shown = tab.value("document.documentElement.outerHTML").await;
    hold_no_secret(shown.as_str().unwrap(), &stand);
    bridge.finish(&stand).await;
    tab.until("document.querySelector('#link').dataset.mood === 'bad'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redundant_process_shows_two_legs_and_no_overlap() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("lifecycle.redundancy", 2);
    let bridge = stand.ready().await;
    bridge
        .state("both legs are live", |state| {
            let sessions = state["sessions"].as_array().unwrap();
            sessions.len() == 2 && sessions.iter().all(|one| one["state"] == "live")
        })
        .await;
    let tab = Tab::open(&bridge.url(), DESK, "light").await;
    tab.until("document.querySelectorAll('#sessions .pill[data-mood=good]').length === 2").await;
    tab.until("[...document.querySelectorAll('.track .span')].at(-1)?.className === 'span live'")
        .await;
    assert_eq!(tab.value("document.querySelector('.track .span.overlap')").await, json!(null));
    let legs = "[...document.querySelectorAll('#sessions tr')].map((row) => row.cells[1].textContent).sort()";
    assert_eq!(tab.value(legs).await, json!(["1", "2"]));
    let (_, metrics) = bridge.read("/metrics").await;
    assert!(metrics.contains("\ntieline_sessions_wanted 2\n"), "{metrics}");
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_seen_as_it_is_taken_up_or_refused() {
    let mut stand = Stand::new(brisk()).await;
    stand.config.set("log.level", "info");
    let bridge = stand.ready().await;
    let tab = Tab::open(&bridge.url(), DESK, "light").await;
    tab.until("document.querySelector('#facts').innerText.includes('as at the start')").await;
    assert_eq!(tab.value("document.querySelector('#file').hidden").await, true);

    // One key is taken up at once, the other needs a restart.
    stand.config.set("log.level", "debug");
    stand.config.set("process.drain_timeout", "7s");
    stand.config.write();
    tab.until(
        "document.querySelector('#facts').innerText.includes('1 changed keys need a restart')",
    )
    .await;
    tab.until("!document.querySelector('#file').hidden").await;
    // What is folded away is read as well.
    let file = async || {
        let text = tab.value("document.querySelector('#file').textContent").await;
        text.as_str().unwrap().to_owned()
    };
    let first = file().await;
    let words =
        ["Not all of the configuration file", "process.drain_timeout needs a restart", "7s"];
    assert!(words.iter().all(|words| first.contains(words)), "{first}");
    assert!(!first.contains("log.level"), "{first}");

    // A file with mistakes changes nothing, and each is named.
    let path = stand.config.path("tieline.toml");
    let right = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, right.replace("level = \"debug\"", "level = \"debgu\"")).unwrap();
    tab.until("document.querySelector('#facts').innerText.includes('the file is refused')").await;
    tab.until("document.querySelector('#file').textContent.includes('log.level')").await;
    assert!(file().await.contains("is refused, and changes nothing"));

    // And forgotten when it is mended.
    std::fs::write(&path, right).unwrap();
    tab.until(
        "document.querySelector('#facts').innerText.includes('1 changed keys need a restart')",
    )
    .await;
    assert_eq!(tab.complaints().await, [""; 0]);
    let shown = tab.value("document.documentElement.outerHTML").await;
    hold_no_secret(shown.as_str().unwrap(), &stand);
    bridge.finish(&stand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_read_in_light_and_dark_at_a_desk_and_on_a_phone() {
    let bridge = Bridge::start().await;
    let mut papers: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, trouble, size, scheme, whole) in [
        ("page-light", false, DESK, "light", true),
        ("page-dark", true, DESK, "dark", false),
        ("page-phone", true, PHONE, "light", false),
        ("page-phone-dark", false, PHONE, "dark", true),
    ] {
        bridge.change(|status| *status = story(bridge.clock(), trouble));
        let tab = Tab::open(&bridge.url(), size, scheme).await;
        tab.until("document.querySelectorAll('.track .span').length > 5").await;
        tab.until("document.querySelectorAll('#told li').length > 3").await;
        assert_eq!(tab.value(UNREADABLE).await, json!([]), "{name}: too little contrast");
        let lightness = tab.value(LIGHTNESS).await.as_f64().unwrap();
        papers.entry(scheme).or_default().push(lightness);
        let width = tab.value("document.documentElement.scrollWidth").await;
        assert!(width.as_u64().unwrap() <= u64::from(size.0), "{name} is {width} wide");
        assert_eq!(tab.complaints().await, [""; 0]);
        if let Some(folder) = std::env::var_os("PICTURES") {
            tab.picture(&PathBuf::from(folder).join(format!("{name}.png")), whole).await;
        }
    }
    assert!(papers["light"].iter().all(|paper| *paper > 0.9), "{papers:?}");
    assert!(papers["dark"].iter().all(|paper| *paper < 0.15), "{papers:?}");
}

/// How light the paper is, from 0 to 1.
const LIGHTNESS: &str =
    "getComputedStyle(document.documentElement).backgroundColor.match(/[\\d.]+/g).slice(0, 3)
    .reduce((sum, c) => sum + c / 765, 0)";

#[tokio::test(flavor = "multi_thread")]
async fn two_legs_are_no_overlap_one_alone_is_seen_and_a_shard_that_is_no_more_has_no_lane() {
    let bridge = Bridge::start().await;
    bridge.change(|status| *status = redundant(bridge.clock()));
    let tab = Tab::open(&bridge.url(), DESK, "light").await;
    tab.until("document.querySelector('.track .span')").await;
    let lanes = "[...document.querySelectorAll('.lane')].map((lane) => [lane.querySelector('.name').textContent,
        [...lane.querySelectorAll('.span')].map((one) => one.className.slice(5))])";
    let expected =
        json!([["shard 0", ["live", "overlap", "live"]], ["shard 2", ["live", "fewer"]],]);
    assert_eq!(tab.value(lanes).await, expected);
    let rows = "[...document.querySelectorAll('#sessions tr')].map((row) => [...row.cells].slice(0, 4).map((one) => one.textContent))";
    let expected = json!([
        ["0", "1", "s5", "live"],
        ["0", "2", "s6", "live"],
        ["2", "1", "s3", "live"],
        ["2", "2", "s7", "waiting"],
    ]);
    assert_eq!(tab.value(rows).await, expected);
    let legend = "document.querySelector('#fewer').hidden";
    assert_eq!(tab.value(legend).await, false, "the legend names what is drawn");
    assert_eq!(tab.value(UNREADABLE).await, json!([]));
    bridge.change(|status| *status = story(bridge.clock(), false));
    tab.until("document.querySelectorAll('.lane').length === 2 && document.querySelector('#fewer').hidden")
        .await;
    tab.until("document.querySelector('.lane:nth-child(2) .name').textContent === 'shard 1'").await;
    assert_eq!(tab.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_used_without_eyes_and_without_a_mouse() {
    let bridge = Bridge::start().await;
    bridge.change(|status| *status = story(bridge.clock(), true));
    let tab = Tab::open(&bridge.url(), DESK, "light").await;
    tab.until("document.querySelectorAll('.track .span').length > 5").await;
    for landmark in
        ["header", "main", "footer", "nav[aria-label]", "h1", "[aria-live=polite]", "[role=status]"]
    {
        assert_eq!(
            tab.value(&format!("!!document.querySelector('{landmark}')")).await,
            true,
            "{landmark}"
        );
    }
    let spoken = tab.text("#spoken").await;
    assert!(spoken.starts_with("Live: Only in part. Losing anything: Yes."), "{spoken}");
    let nameless = "[...document.querySelectorAll('section, table, [role=img], [role=region]')].filter((one) =>
        !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby') && one.tagName !== 'TABLE')
        .map((one) => one.outerHTML.slice(0, 80))";
    assert_eq!(tab.value(nameless).await, json!([]));
    let lane = tab.value("document.querySelector('.track').getAttribute('aria-label')").await;
    assert!(lane.as_str().unwrap().starts_with("Shard 0: 2 gaps of"), "{lane}");

    // From the first key on, everything that can be reached shows that it is.
    let mut reached = Vec::new();
    for _ in 0..8 {
        tab.press("Tab", 9).await;
        let focus = "(() => { const one = document.activeElement, style = getComputedStyle(
            one.matches('#range input') ? one.nextElementSibling : one);
            return [one.id || one.name || one.className || one.tagName, style.outlineStyle]; })()";
        let focus = tab.value(focus).await;
        assert_ne!(focus[1], "none", "{focus} is not seen to have the focus");
        reached.push(focus[0].as_str().unwrap().to_owned());
    }
    assert_eq!(reached[..3], ["skip", "range", "scroll"], "{reached:?}");
    let hour = "document.querySelector('#range input[value=\"21600\"]').click(), document.querySelector('#axis').innerText";
    let before = tab.text("#axis").await;
    assert_ne!(tab.value(hour).await, before, "the axis follows the range");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_page_asks_for_the_token_and_shows_nothing_before() {
    let guarded = Guarded::start(false).await;
    let tab = Tab::open(&guarded.bridge.url(), DESK, "dark").await;
    tab.until("!document.querySelector('#door').hidden").await;
    assert_eq!(tab.value("document.querySelector('#rest').hidden").await, true);
    let give = |token: &str| format!("token.value = '{token}', door.requestSubmit()");
    tab.value(&give("not-the-token-at-all")).await;
    tab.until("refused.textContent.includes('not accepted')").await;
    tab.value(&give(TOKEN)).await;
    tab.until("!document.querySelector('#rest').hidden && document.querySelector('#door').hidden")
        .await;
    let shown = tab.value("document.documentElement.outerHTML").await;
    assert!(!shown.as_str().unwrap().contains(TOKEN));
}

/// Texts whose contrast is under what WCAG 2 AA asks for.
const UNREADABLE: &str = r"(() => {
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return parse(getComputedStyle(document.documentElement).backgroundColor);
  };
  const poor = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement, style = getComputedStyle(node);
    if (!texts.currentNode.data.trim() || !node.checkVisibility() || node.closest('.unseen, .skip, noscript')) continue;
    const [one, other] = [light(parse(style.color)), light(behind(node))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < (large ? 3 : 4.5)) poor.add(`${texts.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
})()";

/// The bridge after five hours: well but for what is past, or in the middle of trouble.
fn story(clock: Clock, trouble: bool) -> Status {
    let now = clock.timestamp();
    let ago = |seconds: u64| now.before(Duration::from_secs(seconds));
    let epoch = "20261124T150000Z-3f9a1c2b";
    let mut status = Status::new("0.1.0", epoch, ago(5 * 3600), Duration::from_secs(35));
    // A minute's worth of word: a machine that is busy with other tests must not make this process one that hangs.
    status.as_of = now.after(Duration::from_secs(60));
    (status.shards, status.shard_numbers) = (2, vec![0, 1]);
    status.channels = Channels { used: 3, most: 20, ..Channels::default() };
    status.budgets = vec![
        Budget { name: "REST calls in a minute", used: 2, most: 240 },
        Budget { name: "Handshakes in a second", used: 0, most: 10 },
    ];
    status.login.source = "vault";
    (status.login.secret, status.login.newest_secret) = (Some(2), Some(2));
    status.login.newest_secret_seen = Some(ago(1_500));
    status.login.token_expires = Some(now.after(Duration::from_secs(82_000)));
    status.topics = Topics { permitted: 1_284, ..Topics::default() };
    status.stream = Stream { received: 412_907, published: 412_377, duplicates: 530 };
    status.sessions = vec![live("s5", 0, 1, ago(1_488), now), live("s6", 1, 1, ago(1_470), now)];
    let sink = |name, delivered| Sink { connected: true, delivered, ..Sink::new(name) };
    status.sinks = vec![sink("kafka", 412_377), sink("nats", 412_377)];
    let gap = |number, shard, cause, from: u64, length: f64, action| Gap {
        number,
        shard,
        sink: None,
        cause,
        certainty: Certainty::Certain,
        from: ago(from),
        to: Some(ago(from).after(Duration::from_secs_f64(length))),
        seconds: Some(length),
        topics: 642,
        action: Some(action),
        rebased: None,
    };
    status.gaps.total = 3;
    status.gaps.recent = vec![
        gap(3, 0, "silent", 420, 38.2, "resubscribed"),
        gap(2, 1, "closed", 2_280, 1.4, "resumed"),
        gap(1, 0, "cut", 2_700, 0.9, "resumed"),
    ];
    status.history = Arc::new(past(ago, trouble));
    if trouble {
        break_down(&mut status, ago, now);
    }
    status
}

/// A session that delivers, and has heard something at this moment.
fn live(id: &str, shard: u16, leg: usize, since: Timestamp, heard: Timestamp) -> Session {
    Session {
        id: id.to_owned(),
        shard,
        leg,
        state: "live",
        since,
        last_frame: Some(heard),
        last_event: Some(heard),
        ..Session::default()
    }
}

/// Two legs a shard, and a shard between them that nothing was left of. Shard 0 has been rotated; shard 2 has lost a leg for good.
fn redundant(clock: Clock) -> Status {
    let now = clock.timestamp();
    let ago = |seconds: u64| now.before(Duration::from_secs(seconds));
    let mut status = story(clock, false);
    (status.shards, status.shard_numbers, status.redundancy) = (2, vec![0, 2], 2);
    let mut sessions = vec![
        live("s5", 0, 1, ago(1_488), now),
        live("s6", 0, 2, ago(1_470), now),
        live("s3", 2, 1, ago(9_000), now),
        live("s7", 2, 2, ago(600), ago(601)),
    ];
    sessions[3].state = "waiting";
    sessions[3].last_words = Some("wss handshake: 403".to_owned());
    status.sessions = sessions;
    let mut history = History { revision: 1, ..History::default() };
    let of_0 = [(9_000, 2), (1_500, 3), (1_440, 2)];
    let of_2 = [(9_000, 2), (600, 1)];
    for (shard, points) in [(0, &of_0[..]), (2, &of_2[..])] {
        for (at, (begin, sessions)) in points.iter().enumerate() {
            let to = points.get(at + 1).map(|(end, _)| ago(*end));
            history.coverage.push_back(Span { shard, sessions: *sessions, from: ago(*begin), to });
        }
    }
    status.history = Arc::new(history);
    status.gaps = Gaps::default();
    status
}

/// What is wrong in the middle of the night: a shard that cannot get back, and a broker that is away.
fn break_down(status: &mut Status, ago: impl Fn(u64) -> Timestamp, now: Timestamp) {
    let lost = &mut status.sessions[1];
    lost.state = "waiting";
    (lost.since, lost.last_frame, lost.last_event) = (ago(4), Some(ago(95)), Some(ago(96)));
    lost.retry_at = Some(now.after(Duration::from_secs(11)));
    lost.last_reason = Some("unreachable");
    lost.last_words =
        Some("wss handshake: connection refused by proxy.example.net:3128".to_owned());
    status.gaps.total = 4;
    status.gaps.open = vec![Gap {
        number: 4,
        shard: 1,
        sink: None,
        cause: "cut",
        certainty: Certainty::Certain,
        from: ago(95),
        to: None,
        seconds: None,
        topics: 642,
        action: None,
        rebased: None,
    }];
    let kafka = &mut status.sinks[0];
    kafka.connected = false;
    (kafka.waiting_events, kafka.waiting_bytes) = (1_846, 1_702_144);
    kafka.oldest_waiting = Some(ago(71));
    kafka.last_error = Some("connect to kafka-1.example.net:9093: timed out".to_owned());
    status.stream.published = 411_000;
}

/// The last hour of two shards: three gaps, a rotation of the secret, and what was told of it.
fn past(ago: impl Fn(u64) -> Timestamp, trouble: bool) -> History {
    let mut history = History { revision: 1, ..History::default() };
    let mut cover = |shard, points: &[(u64, usize)]| {
        for (at, (begin, sessions)) in points.iter().enumerate() {
            let to = points.get(at + 1).map(|(end, _)| ago(*end));
            history.coverage.push_back(Span { shard, sessions: *sessions, from: ago(*begin), to });
        }
    };
    cover(
        0,
        &[
            (18_000, 0),
            (17_990, 1),
            (2_700, 0),
            (2_699, 1),
            (1_500, 2),
            (1_440, 1),
            (420, 0),
            (382, 1),
        ],
    );
    match trouble {
        true => cover(1, &[(17_990, 1), (2_280, 0), (2_278, 1), (1_480, 2), (1_420, 1), (95, 0)]),
        false => cover(1, &[(17_990, 1), (2_280, 0), (2_278, 1), (1_480, 2), (1_420, 1)]),
    }
    for (shard, from, to) in [(0, 1_500, 1_440), (1, 1_480, 1_420)] {
        let (from, to) = (ago(from), Some(ago(to)));
        history.rotations.push_back(Rotation { shard, trigger: "secret", from, to, failures: 0 });
    }
    let mut say = |at, level, words: &str| {
        history.told.push_back(Line { at: ago(at), level, words: words.to_owned() });
    };
    say(
        1_500,
        Level::Info,
        "the secret's source (vault) shows a fresh one (number 2); the next token is bought with it",
    );
    say(1_499, Level::Info, "shard 0 gets a new session s5 beside s3 (secret)");
    say(1_440, Level::Info, "shard 0 has its new session (secret); both delivered for 2.0s");
    say(420, Level::Warn, "s5 (shard 0) was lost (silent): no frame for 35s; it had lived 17m 40s");
    say(419, Level::Warn, "gap 3 opened on shard 0 (silent): notifications may be missed");
    say(382, Level::Warn, "gap 3 on shard 0 (silent) closed after 38s; resubscribed");
    if trouble {
        say(
            95,
            Level::Warn,
            "s6 (shard 1) was lost (cut): connection reset by peer; it had lived 22m 55s",
        );
        say(95, Level::Warn, "gap 4 opened on shard 1 (cut): notifications may be missed");
        say(
            71,
            Level::Warn,
            "sink kafka failed: connect to kafka-1.example.net:9093: timed out; what it has not acknowledged waits, next attempt in 8s",
        );
        say(4, Level::Warn, "s6 (shard 1) tries again in 15s (unreachable): same channel again");
    }
    history
}
