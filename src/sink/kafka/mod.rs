//! Apache Kafka by librdkafka: idempotent, pipelined, keyed; in transactions where `exactly_once` is asked for.
//!
//! While a producer lives, librdkafka sends again by itself and neither reorders nor doubles, however long a broker is away:
//! nothing is dropped for its age. A producer that failed for good is purged and replaced; what it had in flight may have been
//! stored, so that after a reopening, as after a restart, plain Kafka is at least once. With transactions the cursor, which is
//! committed together with the events, says what was stored, so that readers of what is committed see each event once.

mod config;
mod cursor;
mod guarantee;
mod identity;
mod options;
mod producer;
mod report;
mod statistics;
mod topic;
mod transaction;

pub use config::{Config, Delivery};
pub use cursor::Cursor;
pub use options::{Hidden, Options};

use super::cloudevents::Encoder;
use super::guarantee::Guarantee;
use super::template::{Part, Template};
use super::{Error, Record, Resume, Sink, Verdict};
use crate::event::Epoch;
use crate::observation::BrokerFigures;
use async_trait::async_trait;
use config::{Limits, is_topic};
use producer::{Link, Setup, Taken};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use topic::ensure;
use transaction::Claim;

impl Config {
    /// The sink, not yet open. `source` is the address of the platform's API.
    pub fn build(self, source: &str) -> Box<dyn Sink> {
        let topic = self.template().ok();
        Box::new(Kafka {
            constant: topic.as_ref().and_then(constant).map(str::to_owned),
            // A bad template is a mistake that `mistakes` names; such a sink is never opened.
            topic,
            control: self.control().unwrap_or_default(),
            encoder: Encoder::new(source),
            rendered: String::new(),
            link: None,
            epoch: None,
            youngest: None,
            declared: None,
            limits: Limits::default(),
            caution: Caution::default(),
            cautions: BTreeMap::new(),
            judged: BTreeSet::new(),
            figures: watch::Sender::default(),
            config: self,
        })
    }
}

struct Kafka {
    config: Config,
    topic: Option<Template>,
    /// The topic, where all events go to the same.
    constant: Option<String>,
    /// The topic of control events.
    control: String,
    encoder: Encoder,
    /// The topic of the event at hand.
    rendered: String,
    /// The producer; `None` before `open` and after an error.
    link: Option<Link>,
    epoch: Option<Epoch>,
    /// The youngest epoch that was asked about.
    youngest: Option<Epoch>,
    /// The youngest that was written into a cursor.
    declared: Option<Epoch>,
    /// Those of all topics that are known.
    limits: Limits,
    caution: Caution,
    /// Those of the other epochs, by their names: they are opened in turn until the older ones are delivered.
    cautions: BTreeMap<String, Caution>,
    /// The topics that were judged when they came.
    judged: BTreeSet<String>,
    figures: watch::Sender<BrokerFigures>,
}

/// What is remembered of an epoch's events from one producer to the next.
#[derive(Debug, Default, PartialEq, Eq)]
struct Caution {
    /// What the brokers refused and nobody was told yet, by position.
    refused: BTreeMap<u64, String>,
    /// The last event of which it is not known whether it was meant when a batch was refused.
    careful_until: Option<u64>,
}

/// How often to look for the room that librdkafka makes once it has forgotten what it delivered, and how often at most.
const ROOM: (Duration, u32) = (Duration::from_millis(1), 2_000);

#[async_trait]
impl Sink for Kafka {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error> {
        self.retire().await;
        if let Some(last) = self.epoch.replace(epoch.clone()).filter(|last| last != epoch) {
            let caution = std::mem::take(&mut self.caution);
            if caution != Caution::default() {
                self.cautions.insert(last.to_string(), caution);
            }
            self.caution = self.cautions.remove(epoch.as_str()).unwrap_or_default();
        }
        // Epochs sort by age.
        if self.youngest.as_ref().is_none_or(|youngest| youngest.as_str() < epoch.as_str()) {
            self.youngest = Some(epoch.clone());
        }
        self.limits = Limits::default();
        self.connect().await
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        self.grow_bold(records.first()).await?;
        for (taken, record) in records.iter().enumerate() {
            if record.event.kind.is_control() {
                self.rendered.clone_from(&self.control);
            } else if let Some(template) = &self.topic {
                template.render(&record.event.topic, legal, &mut self.rendered);
            }
            // What no topic can be called is refused in its turn.
            if is_topic(&self.rendered) && !self.prepare().await? {
                return Ok(taken);
            }
            let mut looks = ROOM.1;
            loop {
                match self.take(record)? {
                    Taken::Yes => break,
                    Taken::InAMoment if looks > 0 => sleep(ROOM.0).await,
                    Taken::NotYet | Taken::InAMoment => return Ok(taken),
                }
                looks -= 1;
            }
        }
        Ok(records.len())
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some(link) = &mut self.link else {
            return future::pending().await;
        };
        match link.settle(verdicts).await {
            Ok(position) => {
                self.caution.refused.retain(|refused, _| *refused > position);
                link.refused.retain(|refused, _| *refused > position);
                Ok(())
            }
            Err(reason) => {
                let operation =
                    format!("produce to {} at {}", self.config.topic, self.config.brokers);
                Err(Error::retry(operation, reason))
            }
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.retire().await;
        Ok(())
    }

    fn figures(&self) -> Option<watch::Receiver<BrokerFigures>> {
        Some(self.figures.subscribe())
    }

    async fn guarantee(&mut self) -> Result<Guarantee, Error> {
        self.ask(None).await
    }
}

impl Kafka {
    /// Makes a link. Returns what the brokers are known to hold.
    async fn connect(&mut self) -> Result<Resume, Error> {
        let claim = Claim {
            epoch: self.epoch.clone().ok_or_else(not_open)?,
            youngest: self.youngest.clone().ok_or_else(not_open)?,
            declared: self.declared.clone(),
        };
        let setup = Setup {
            config: self.config.clone(),
            claim,
            topic: self.constant.clone(),
            limits: self.limits,
            careful: self.caution.careful_until.is_some(),
            figures: self.figures.clone(),
        };
        let opened = spawn_blocking(move || Link::open(setup)).await;
        let (link, resume) = opened.unwrap_or_else(|panic| Err(Error::retry("open", panic)))?;
        self.limits = link.limits;
        self.link = Some(link);
        if resume.younger.is_none() {
            self.declared.clone_from(&self.youngest);
        }
        Ok(resume)
    }

    fn take(&mut self, record: &Record) -> Result<Taken, Error> {
        let link = self.link.as_mut().ok_or_else(not_open)?;
        let nowhere = (!is_topic(&self.rendered))
            .then(|| format!("{:?} is not the name of a topic", self.rendered));
        let refused = self.caution.refused.get(&record.event.position).or(nowhere.as_ref());
        link.take(&self.rendered, &mut self.encoder, self.config.mode, record, refused)
    }

    /// Makes sure of the topic at hand. False when its limit asks for another producer and something is in flight.
    async fn prepare(&mut self) -> Result<bool, Error> {
        let link = self.link.as_ref().ok_or_else(not_open)?;
        if link.topics.contains(&self.rendered) {
            return Ok(true);
        }
        let (config, name) = (self.config.clone(), self.rendered.clone());
        let ensured = spawn_blocking(move || ensure(&config, &name)).await;
        let settings =
            ensured.unwrap_or_else(|panic| Err(Error::retry("create a topic", panic)))?;
        self.judge().await?;
        self.limits.add(settings.batch_max());
        let link = self.link.as_ref().ok_or_else(not_open)?;
        if link.limits != self.limits {
            if link.window.len() > 0 {
                return Ok(false);
            }
            self.retire().await;
            self.connect().await?;
        }
        let link = self.link.as_mut().ok_or_else(not_open)?;
        link.topics.insert(self.rendered.clone());
        Ok(true)
    }

    /// Asks what the brokers give, and that they show the topic that it is about.
    async fn ask(&self, about: Option<String>) -> Result<Guarantee, Error> {
        let (config, template) = (self.config.clone(), self.topic.clone());
        let control = self.control.clone();
        let ask =
            move || guarantee::guarantee(&config, template.as_ref(), &control, about.as_deref());
        let asked = spawn_blocking(ask).await;
        asked.unwrap_or_else(|panic| Err(Error::retry("ask the brokers", panic)))
    }

    /// Judges what the brokers give now that they have the topic at hand, where that is new: it came after the guarantee was asked for.
    async fn judge(&mut self) -> Result<(), Error> {
        let Some(required) = self.config.required else {
            return Ok(());
        };
        if !self.judged.contains(&self.rendered) {
            let topic = &self.rendered;
            let given = self.ask(Some(topic.clone())).await?;
            if let Some(shortfall) = given.shortfall(required) {
                let operation = format!("use topic {topic} as sink.kafka.required asks for");
                return Err(Error::misconfigured(operation, shortfall));
            }
            self.judged.insert(topic.clone());
        }
        Ok(())
    }

    /// Ends a careful time once all events are told that were suspected.
    async fn grow_bold(&mut self, next: Option<&Record>) -> Result<(), Error> {
        let until = self.caution.careful_until;
        let (Some(link), Some(until), Some(next)) = (&self.link, until, next) else {
            return Ok(());
        };
        let is_told = self.caution.refused.is_empty();
        if link.window.len() == 0 && next.event.position > until && is_told {
            self.retire().await;
            self.caution.careful_until = None;
            self.connect().await?;
        }
        Ok(())
    }

    /// Ends the producer, and remembers what it learnt.
    async fn retire(&mut self) {
        if let Some(link) = self.link.take() {
            // Ending waits for threads. A panic there has been reported and leaves nothing to do.
            if let Ok((refused, suspect)) = spawn_blocking(move || link.end()).await {
                self.caution.refused.extend(refused);
                self.caution.careful_until = self.caution.careful_until.max(suspect);
            }
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.config).finish_non_exhaustive()
    }
}

fn not_open() -> Error {
    Error::retry("produce", "the sink is not open")
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
