//! Apache Kafka by librdkafka: idempotent, pipelined, keyed.
//!
//! While a producer lives, librdkafka sends again by itself and neither reorders nor doubles, however long a broker is away:
//! nothing is dropped for its age. A producer that failed for good is purged and replaced; what it had in flight may have been
//! stored, so that after a reopening, as after a restart, plain Kafka is at least once.

mod config;
mod guarantee;
mod producer;
mod topic;

pub use config::{Config, Delivery};

use super::cloudevents::Encoder;
use super::guarantee::Guarantee;
use super::template::{Part, Template};
use super::{Error, Record, Resume, Sink, Verdict};
use crate::event::Epoch;
use async_trait::async_trait;
use config::WINDOW;
use producer::Link;
use std::fmt;
use std::future;
use tokio::task::spawn_blocking;
use topic::ensure;

impl Config {
    /// The sink, not yet open. `source` is the address of the platform's API.
    pub fn build(self, source: &str) -> Box<dyn Sink> {
        Box::new(Kafka {
            // A bad template is a mistake that `mistakes` names; such a sink is never opened.
            topic: self.template().ok(),
            control: self.control().unwrap_or_default(),
            encoder: Encoder::new(source),
            link: None,
            config: self,
        })
    }
}

struct Kafka {
    config: Config,
    topic: Option<Template>,
    /// The topic of control events.
    control: String,
    encoder: Encoder,
    /// The producer; `None` before `open` and after an error.
    link: Option<Link>,
}

#[async_trait]
impl Sink for Kafka {
    async fn open(&mut self, _: &Epoch) -> Result<Resume, Error> {
        self.retire().await;
        let config = self.config.clone();
        let name = self.topic.as_ref().and_then(constant).map(str::to_owned);
        let opened = spawn_blocking(move || Link::open(&config, name)).await;
        self.link = Some(opened.unwrap_or_else(|panic| Err(Error::retry("open", panic)))?);
        Ok(Resume::default())
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        let (Some(link), Some(template)) = (&mut self.link, &self.topic) else {
            return Err(Error::retry("produce", "the sink is not open"));
        };
        let room = WINDOW.saturating_sub(link.window.len());
        let mut topic = String::new();
        for (taken, record) in records.iter().take(room).enumerate() {
            if record.event.kind.is_control() {
                topic.clone_from(&self.control);
            } else {
                template.render(&record.event.topic, legal, &mut topic);
            }
            if !link.topics.contains(&topic) {
                let (config, name) = (self.config.clone(), topic.clone());
                let ensured = spawn_blocking(move || ensure(&config, &name)).await;
                ensured.unwrap_or_else(|panic| Err(Error::retry("create a topic", panic)))?;
                link.topics.insert(topic.clone());
            }
            let full = !link.send(&topic, &mut self.encoder, self.config.mode, record)?;
            if full {
                return Ok(taken);
            }
        }
        Ok(records.len().min(room))
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some(link) = &mut self.link else {
            return future::pending().await;
        };
        loop {
            if link.window.tell(verdicts) > 0 {
                return Ok(());
            }
            if let Some(reason) = link.failure.take() {
                let operation =
                    format!("produce to {} at {}", self.config.topic, self.config.brokers);
                return Err(Error::retry(operation, reason));
            }
            // The producer holds the other end, so that this waits while nothing is in flight, but for a fatal error.
            let report = link.reports.recv().await;
            link.hear(report);
            while let Ok(report) = link.reports.try_recv() {
                link.hear(Some(report));
            }
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.retire().await;
        Ok(())
    }

    async fn guarantee(&mut self) -> Result<Guarantee, Error> {
        let (config, template) = (self.config.clone(), self.topic.clone());
        let control = self.control.clone();
        let ask = move || guarantee::guarantee(&config, template.as_ref(), &control);
        let asked = spawn_blocking(ask).await;
        asked.unwrap_or_else(|panic| Err(Error::retry("ask the brokers", panic)))
    }
}

impl Kafka {
    /// Ends the producer: its queue is purged, so that nothing of it is sent behind its successor's back.
    async fn retire(&mut self) {
        if let Some(link) = self.link.take() {
            // Ending waits for threads. A panic there has been reported and leaves nothing to do.
            drop(spawn_blocking(move || drop(link)).await);
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the name of a topic may hold.
fn legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The topic, where all events go to the same.
fn constant(template: &Template) -> Option<&str> {
    match template.parts() {
        [Part::Text(topic)] => Some(topic),
        _ => None,
    }
}
