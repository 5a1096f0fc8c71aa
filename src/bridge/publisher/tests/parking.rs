//! Events that a sink can never take: where they lie, who reads them, and what stands in their place.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_parked_event_lies_on_one_line_that_only_its_owner_reads() {
    let bench = scripted(1, 0, true, &[2]);
    let path = bench.folder.path().join("dead-letter.test.jsonl");
    std::fs::write(&path, "{\"torn\":").expect("writable");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let mut observations = Vec::new();
    let Bench { mut journal, publisher, observations: mut receiver, folder: _folder, .. } = bench;
    append(&mut journal, 0..3);
    journal.close();
    publisher.run().await.expect("drained");
    while let Ok(observation) = receiver.try_recv() {
        observations.push(observation);
    }
    let text = std::fs::read_to_string(&path).expect("parked");
    let last = text.lines().last().expect("a line");
    assert_eq!(last, r#"{"sink":"test","reason":"too large","event":{"data":{"n": 1}}}"#);
    assert_eq!(text.lines().count(), 2, "the torn line ends before it");
    let parked = Observation::EventParked {
        sink: "test",
        topic: Topic::new("b"),
        number: 1,
        reason: "too large".into(),
    };
    assert!(observations.contains(&parked));
}

#[tokio::test(start_paused = true)]
async fn a_new_dead_letter_file_is_readable_by_its_owner_alone() {
    let bench = scripted(1, 0, true, &[1]);
    let path = bench.folder.path().join("dead-letter.test.jsonl");
    let Bench { mut journal, publisher, folder: _folder, .. } = bench;
    append(&mut journal, 0..1);
    journal.close();
    publisher.run().await.expect("drained");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_not_let_go_while_it_cannot_be_parked() {
    let bench = scripted(1, 0, true, &[1]);
    let path = bench.folder.path().join("dead-letter.test.jsonl");
    std::fs::create_dir(&path).expect("a folder in the way");
    let Bench {
        mut journal, publisher, observations: mut receiver, broker, folder: _folder, ..
    } = bench;
    append(&mut journal, 0..2);
    journal.close();
    let running = TaskTracker::new().spawn(publisher.run());
    loop {
        let observation = receiver.recv().await.expect("it goes on trying");
        if let Observation::SinkFailed { detail, .. } = observation {
            assert!(detail.starts_with("write the dead letter to "), "{detail}");
            break;
        }
    }
    assert!(broker.lock().expect("not poisoned").stored.is_empty());
    std::fs::remove_dir(&path).expect("out of the way");
    assert_eq!(running.await.expect("no panic").expect("drained"), 0);
    let broker = broker.lock().expect("not poisoned");
    assert_eq!((broker.stored.len(), &broker.markers[..]), (2, &[1][..]));
}

#[tokio::test(start_paused = true)]
async fn a_parked_event_leaves_a_marker_with_its_number_and_key() {
    let bench = scripted(1, 0, true, &[2]);
    let broker = Arc::clone(&bench.broker);
    deliver(bench, 6).await;
    let broker = broker.lock().expect("not poisoned");
    assert_eq!(broker.markers, [2]);
    let numbers: Vec<u64> =
        broker.stored.iter().filter(|stored| stored.1 == "b").map(|stored| stored.2).collect();
    assert_eq!(numbers, [1, 2], "the numbers of its key have no hole");
}

#[tokio::test(start_paused = true)]
async fn a_marker_that_is_refused_too_is_told_and_the_others_go_on() {
    let bench =
        bench(|broker| Box::new(Scripted { refused: vec![2], marks: false, ..script(broker) }));
    let Bench { mut journal, publisher, observations: mut receiver, broker, folder, .. } = bench;
    append(&mut journal, 0..5);
    journal.close();
    assert_eq!(publisher.run().await.expect("drained"), 0);
    let told = Observation::MarkerRefused {
        sink: "test",
        topic: Topic::new("b"),
        number: 1,
        reason: "too large".into(),
    };
    let mut observations = std::iter::from_fn(|| receiver.try_recv().ok());
    assert!(observations.any(|observation| observation == told));
    assert_eq!(broker.lock().expect("not poisoned").stored.len(), 4);
    let parked = folder.path().join("dead-letter.test.jsonl");
    assert_eq!(std::fs::read_to_string(parked).expect("parked").lines().count(), 1);
}
