//! Topics: one for each family, ones that are not there, and ones that somebody else would make.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_family_may_have_its_topic() {
    let place = Binary::new();
    let mut config = place.config();
    config.topic = format!("{}.{{family}}", place.topic);
    assert_eq!(config.mistakes(), []);
    deliver(&mut config.build(SOURCE), &records(1..=20)).await;
    for (family, parity) in [("v2.routing.queues.conversations", 0), ("v2.users.presence", 1)] {
        let (brokers, topic) = (place.brokers(), format!("{}.{family}", place.topic));
        let read = move || read_topic(&brokers, &topic, false);
        let stored = tokio::task::spawn_blocking(read).await.unwrap();
        assert_eq!(stored.len(), 10);
        assert!(stored.iter().all(|(_, event)| event.place().0 % 2 == parity));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_topic_would_have_no_name_is_refused_and_the_others_go_on() {
    let place = Binary::new();
    let mut config = place.config();
    // With one of the two families it is longer than the brokers take.
    config.topic = format!("{:.<225}{{family}}", place.topic);
    let verdicts = deliver(&mut config.build(SOURCE), &records(1..=20)).await;
    for (position, verdict) in (1..).zip(&verdicts) {
        match verdict {
            Verdict::Stored => assert_eq!(position % 2, 1),
            Verdict::Refused { reason } => {
                assert!(
                    position % 2 == 0 && reason.contains("not the name of a topic"),
                    "{reason}"
                );
            }
        }
    }
}

/// As a broker comes that nobody has configured: it makes each topic that somebody asks for by name, with one partition.
#[tokio::test(flavor = "multi_thread")]
async fn where_brokers_make_topics_by_themselves_ours_are_made_by_us_alone() {
    let start = || Server::start("kafka", &["--set", "auto.create.topics.enable=true"]);
    let place = Binary::on(Some(tokio::task::spawn_blocking(start).await.unwrap()));
    let mut config = place.config();
    config.create = false;
    // The broker would create it at the first mention: also by the second time it has not heard of it.
    for _ in 0..2 {
        let error = config.clone().build(SOURCE).open(&epoch()).await.unwrap_err();
        assert_eq!(error.disposition, Disposition::Misconfigured, "{error:?}");
        assert!(error.operation.contains(&place.topic), "{error:?}");
    }

    config.create = true;
    // How long a topic that was deleted is hoped for.
    config.options.insert("topic.metadata.propagation.max.ms".into(), "1000".into());
    let mut sink = config.build(SOURCE);
    let records = records(1..=30);
    deliver(&mut sink, &records[..10]).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", place.brokers()).create().unwrap();
    let deleted = admin.delete_topics(&[&place.topic], &AdminOptions::new()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let verdicts = continue_delivery(&mut sink, &records, vec![Verdict::Stored; 10], 10).await;
    assert_eq!(verdicts, vec![Verdict::Stored; 30]);
    let brokers = place.brokers();
    let listed = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        consumer.fetch_metadata(None, DEADLINE).unwrap()
    });
    let listed = listed.await.unwrap();
    let topic = listed.topics().iter().find(|found| found.name() == place.topic).unwrap();
    assert_eq!(topic.partitions().len(), 3, "as it is configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_created_says_why() {
    let place = Binary::new();
    let mut config = place.config();
    config.replication = 3;
    let error = config.build(SOURCE).open(&epoch()).await.unwrap_err();
    let reason = error.source.unwrap().to_string();
    assert!(reason.to_lowercase().contains("replication factor"), "{reason}");
}
