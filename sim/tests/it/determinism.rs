//! One seed, one truth: emissions repeat to the byte, rehearsed or live.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tieline_sim::journal::Emission;
use tieline_sim::{Options, Sim, rehearse};

use crate::harness::eventually;

const SCENARIO: &str = r#"
about = "emissions among the traffic"

[[step]]
at = "100ms"
call = "emit"
topic = "v2.users.0f2a4c6e-0f2a-4c6e-8f2a-4c6e0f2a4c6e.presence"
body = { primary = true, source = "PURECLOUD" }

[[step]]
pause = "50ms..150ms"
until = "1h"
call = "throttle"
what = "rest"
for_ms = 1
"#;

fn options(scenario: &tempfile::NamedTempFile) -> Options {
    Options {
        seed: 42,
        rate: 400.0,
        start: Some(start()),
        scenario: Some(scenario.path().to_owned()),
        ..Options::default()
    }
}

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn scenario() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(SCENARIO.as_bytes()).unwrap();
    file
}

fn text(emissions: &[Emission]) -> String {
    serde_json::to_string_pretty(emissions).unwrap()
}

#[test]
fn a_rehearsal_repeats_to_the_byte() {
    let file = scenario();
    let first = rehearse(&options(&file), Duration::from_secs(60)).unwrap();
    let second = rehearse(&options(&file), Duration::from_secs(60)).unwrap();
    assert!(first.len() > 20_000);
    assert_eq!(text(&first), text(&second));
    let other = rehearse(&Options { seed: 43, ..options(&file) }, Duration::from_secs(60));
    assert_ne!(text(&first), text(&other.unwrap()));
}

#[tokio::test]
async fn two_live_runs_and_a_rehearsal_say_the_same() {
    let file = scenario();
    let count = 300;
    let mut told = vec![rehearse(&options(&file), Duration::from_secs(5)).unwrap()];
    for _ in 0..2 {
        let sim = Sim::start(options(&file)).await.unwrap();
        let journal = eventually(|| {
            let journal = sim.journal();
            (journal.emissions.len() >= count).then_some(journal)
        });
        let journal = journal.await;
        assert!(journal.faults.iter().any(|fault| fault.kind == "throttle.rest.429"));
        told.push(journal.emissions);
        sim.stop().await;
    }
    let told: Vec<String> = told.iter().map(|emissions| text(&emissions[..count])).collect();
    assert!(told[0].contains("PURECLOUD"));
    assert_eq!(told[0], told[1]);
    assert_eq!(told[1], told[2]);
}

#[test]
fn the_rate_holds_and_statistics_come_at_most_once_a_second() {
    let options = Options { rate: 100.0, start: Some(start()), ..Options::default() };
    let emissions = rehearse(&options, Duration::from_secs(100)).unwrap();
    assert!((9_800..10_200).contains(&emissions.len()), "{}", emissions.len());
    for queue in ["observations", "activity"] {
        let mut last = std::collections::HashMap::new();
        for emission in emissions.iter().filter(|emission| emission.topic.ends_with(queue)) {
            let time = humantime::parse_rfc3339(&emission.time).unwrap();
            if let Some(before) = last.insert(&emission.key, time) {
                assert!(time.duration_since(before).unwrap() >= Duration::from_secs(1));
            }
        }
        assert_eq!(last.len(), 3);
    }
}

#[test]
fn bodies_repeat_legally_and_correlation_ids_do_not() {
    let options = Options { rate: 100.0, ..Options::default() };
    let emissions = rehearse(&options, Duration::from_secs(60)).unwrap();
    let bodies: std::collections::HashSet<_> =
        emissions.iter().map(|emission| (&emission.topic, emission.body.get())).collect();
    assert!(bodies.len() + 100 < emissions.len());
    let ids: std::collections::HashSet<_> =
        emissions.iter().map(|emission| &emission.correlation_id).collect();
    assert_eq!(ids.len(), emissions.len());
}

#[test]
fn every_scenario_of_the_folder_can_be_played() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in folder.read_dir().unwrap() {
        let scenario = Some(entry.unwrap().path());
        let options = Options { scenario, rate: 0.0, ..Options::default() };
        rehearse(&options, Duration::from_secs(60)).unwrap();
        count += 1;
    }
    assert!(count > 10);
}
