//! Two nodes: leadership moves while a window is in flight.

use super::*;
use crate::harness::eventually;
use crate::servers::Server;
use tokio::runtime::Handle;

/// The first node, which is also the controller, and a broker that may die.
pub struct Cluster {
    pub first: Server,
    pub second: Server,
}

impl Cluster {
    pub fn start() -> Self {
        let first = Server::start("kafka", &["--cluster", "2"]);
        let data = first.field("data");
        let second = Server::start("kafka", &["--cluster", "2", "--join", &data]);
        Self { first, second }
    }

    pub fn brokers(&self) -> String {
        format!("{},{}", self.first.field("brokers"), self.second.field("brokers"))
    }

    /// What is committed in a topic.
    pub(super) async fn read(&self, topic: &'static str) -> Vec<Stored> {
        let brokers = self.brokers();
        let read = move || read_topic(&brokers, topic, false);
        let stored = tokio::task::spawn_blocking(read).await.unwrap();
        stored.into_iter().map(|(_, event)| event).collect()
    }

    /// Whether both nodes have all of everything, so that either may die.
    pub fn is_in_sync(&self) -> bool {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.brokers()).create().unwrap();
        let Ok(metadata) = consumer.fetch_metadata(None, DEADLINE) else { return false };
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.all(|partition| partition.leader() > 0 && partition.isr().len() == 2)
    }

    /// How many partitions of a topic each of the nodes leads.
    fn leaders(&self, topic: &str) -> [usize; 2] {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.brokers()).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
        let partitions = metadata.topics()[0].partitions();
        [1, 2].map(|node| partitions.iter().filter(|it| it.leader() == node).count())
    }
}

async fn leadership_moves<const ONCE: bool>() {
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let mut config = config(&cluster.brokers(), "moved", false, ONCE);
    (config.replication, config.partitions) = (2, 4);
    let records = records(1..=9000);
    let mut sink = config.build(SOURCE);
    let first = deliver(&mut sink, &records[..1000]).await;
    assert_eq!(cluster.leaders("moved"), [2, 2]);

    let (go, gone) = std::sync::mpsc::channel();
    let moves = tokio::task::spawn_blocking(move || {
        // A crash: the other node takes over once the controller has noticed.
        gone.recv().unwrap();
        cluster.second.kill();
        let moved = async || (cluster.leaders("moved") == [4, 0]).then_some(());
        Handle::current().block_on(eventually("the other node leads", moved));
        cluster.second.restart();
        // An orderly end: leadership is handed over first.
        gone.recv().unwrap();
        cluster.second.restart();
        cluster
    });
    let delivery = async {
        let mut verdicts = first;
        let mut submitted = verdicts.len();
        for mark in [2_000, 5_000] {
            while verdicts.len() < mark {
                // Small bites, so that something is always to come.
                let end = records.len().min(submitted + 100);
                submitted += sink.submit(&records[submitted..end]).await.unwrap();
                sink.settle(&mut verdicts).await.unwrap();
            }
            submitted += sink.submit(&records[submitted..mark + 500]).await.unwrap();
            go.send(()).unwrap();
        }
        continue_delivery(&mut sink, &records, verdicts, submitted).await;
    };
    let (cluster, ()) = tokio::join!(moves, delivery);
    let stored = cluster.unwrap().read("moved").await;
    assert_complete::<Broker<false, ONCE>>(&stored, &records);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_and_nothing_lost_while_leadership_moves() {
    leadership_moves::<false>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_committed_once_while_leadership_moves() {
    leadership_moves::<true>().await;
}
