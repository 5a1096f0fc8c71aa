//! A process that begins with an old copy of its journal, before a broker that holds more than the copy does.

use super::*;

/// An old copy of a journal with five events, reopened, into which five more came while the sink was being asked how far it got.
fn old_copy() -> (Journal, Vec<Reader>) {
    let disk = Arc::default();
    let config = rehearsal::config();
    let (mut journal, ..) = rehearsal::open(&config, &disk, "boot", &["test"]);
    append(&mut journal, 0..5);
    drop(journal);
    let (mut journal, readers, _) = rehearsal::open(&config, &disk, "boot", &["test"]);
    append(&mut journal, 5..10);
    (journal, readers)
}

/// Delivers what came into the copy to a broker that holds `held` of that epoch already; answers what it stored then.
async fn delivered_from_an_old_copy(held: u64, epoch: Option<Epoch>) -> Vec<(u64, String, u64)> {
    let (journal, readers) = old_copy();
    let old = journal.epoch();
    let epoch = epoch.unwrap_or_else(|| old.clone());
    let Bench { mut journal, publisher, broker, observations, folder: _folder, .. } =
        bench_on(journal, readers, |broker| Box::new(script(broker)));
    {
        let mut broker = broker.lock().expect("not poisoned");
        broker.stored.extend((1..=held).map(|position| (position, "before".to_owned(), position)));
        broker.epochs.extend((1..=held).map(|_| epoch.clone()));
    }
    let writer = async move {
        while journal.epoch() == old {
            journal.flush();
            tokio::task::yield_now().await;
        }
        assert!(journal.epoch().as_str() > epoch.as_str());
        drop(journal);
        drop(observations);
    };
    let (ended, ()) = tokio::join!(publisher.run(), writer);
    assert_eq!(ended.expect("a drained publisher"), 0);
    let broker = broker.lock().expect("not poisoned");
    broker
        .stored
        .iter()
        .skip(held as usize)
        .filter(|it| it.1 != "tieline.control")
        .cloned()
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_holds_more_than_the_old_copy_is_found_out_although_the_copy_has_grown() {
    // Positions 6 to 8 were given before, to other events: what came now must not be taken for these.
    let stored = delivered_from_an_old_copy(8, None).await;
    let numbers: Vec<u64> = stored.iter().map(|stored| stored.2).collect();
    assert_eq!((stored.len(), numbers.iter().max()), (5, Some(&2)), "{stored:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_holds_a_younger_epoch_than_the_old_copy_gets_one_that_is_younger_still() {
    let younger = Epoch::named("20990101T000000Z-00000001");
    let stored = delivered_from_an_old_copy(3, Some(younger)).await;
    assert_eq!(stored.len(), 5, "{stored:?}");
}
