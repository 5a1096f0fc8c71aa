//! Two epochs that are open at once, as after a power cut: the youngest is asked about first, each time, and the older one delivered first.

use super::*;
use async_trait::async_trait;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tieline::observation::BrokerFigures;
use tieline::sink::Resume;
use tieline::sink::guarantee::Guarantee;
use tokio::sync::watch;

/// A sink that is opened as a publisher opens it whose journal has a younger epoch too.
#[derive(Debug)]
struct Two(Box<dyn Sink>);

pub(super) fn two(sink: Box<dyn Sink>) -> Box<dyn Sink> {
    Box::new(Two(sink))
}

fn younger() -> Epoch {
    Epoch::new(Timestamp::from_micros(1_800_000_000_000_000), 1)
}

#[async_trait]
impl Sink for Two {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error> {
        let resume = self.0.open(&younger()).await?;
        if resume.last_position.is_some() {
            return Ok(resume);
        }
        self.0.open(epoch).await
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        self.0.submit(records).await
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        self.0.settle(verdicts).await
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.0.close().await
    }

    fn figures(&self) -> Option<watch::Receiver<BrokerFigures>> {
        self.0.figures()
    }

    async fn guarantee(&mut self) -> Result<Guarantee, Error> {
        self.0.guarantee().await
    }
}

fn younger_records() -> Vec<Record> {
    let mut records = records(21..=30);
    for record in &mut records {
        record.number = 1;
        Arc::make_mut(&mut record.event).epoch = younger();
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_of_an_older_epoch_is_known_although_the_youngest_is_asked_about_first() {
    let place = Once::new();
    let old = records(1..=20);
    deliver(&mut place.sink(), &old[..10]).await;
    // A process that finds both; and one more that is killed after it has asked.
    let mut sink = two(place.sink());
    assert_eq!(sink.open(&epoch()).await.unwrap().last_position, Some(10));
    drop(sink);
    let mut sink = two(place.sink());
    deliver(&mut sink, &old).await;
    assert_complete::<Once>(&place.read().await, &old);
    assert_eq!(sink.open(&epoch()).await.unwrap().last_position, Some(20));

    // And then the younger one's, also by a process that finds both still.
    let mut sink = place.sink();
    assert_eq!(sink.open(&younger()).await.unwrap(), Resume::default());
    deliver_on(&mut sink, &younger_records()).await;
    drop(sink);
    let mut sink = two(place.sink());
    assert_eq!(sink.open(&epoch()).await.unwrap().last_position, Some(30));
    assert_eq!(place.read().await.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_process_that_begins_again_is_told_of_the_younger_epoch_and_overwrites_nothing() {
    let place = Once::new();
    deliver(&mut place.sink(), &records(1..=10)).await;
    let mut sink = place.sink();
    sink.open(&younger()).await.unwrap();
    deliver_on(&mut sink, &younger_records()).await;
    for _ in 0..2 {
        let resume = place.sink().open(&epoch()).await.unwrap();
        assert_eq!(resume, Resume { last_position: None, younger: Some(younger()) });
    }
    let resume = place.sink().open(&younger()).await.unwrap();
    assert_eq!(resume.last_position, Some(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_cannot_be_read_is_not_taken_for_none() {
    let place = Once::new();
    deliver(&mut place.sink(), &records(1..=10)).await;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", place.brokers()).create().unwrap();
    let (topic, key) = (format!("{}.cursors", place.topic), format!("id-{}", place.topic));
    let write = |value: Option<&'static str>| {
        let record = BaseRecord::<str, str>::to(&topic).key(&key).partition(0);
        producer.send(BaseRecord { payload: value, ..record }).unwrap();
        producer.flush(DEADLINE).unwrap();
    };
    write(Some("not ours"));
    let error = place.sink().open(&epoch()).await.unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
    let reason = error.source.unwrap().to_string();
    assert!(reason.contains("tombstone"), "{reason}");
    // The operator's way out.
    write(None);
    assert_eq!(place.sink().open(&epoch()).await.unwrap(), Resume::default());
}
