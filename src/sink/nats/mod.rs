//! NATS JetStream: ordered and pipelined, each message chained to its predecessor.
//!
//! The stream is tieline's alone. A message names its own place (`Nats-Msg-Id`) and its predecessor's
//! (`Nats-Expected-Last-Msg-Id`), so that neither a server's death nor a late resend nor a second writer can break the order.
//! The first message after opening expects the stream's last sequence number instead: that also holds in a stream without
//! messages, and where a restarted server has forgotten ids older than the duplicate window.
//!
//! A connection is used until it breaks and never mended: `open` makes another. Whatever the library still sends on the old
//! one is refused by the chain.

mod access;
mod config;
mod guarantee;
mod last;
mod link;
mod message;
mod stream;

pub use config::Config;
pub use last::{Last, Whose};

use super::cloudevents::Encoder;
use super::guarantee::Guarantee;
use super::template::Template;
use super::{Error, Record, Resume, Sink, Verdict};
use crate::event::Epoch;
use async_trait::async_trait;
use link::{Link, PATIENCE, Taken};
use message::laid_out;
use std::fmt;
use std::future;
use tokio::time::sleep;

impl Config {
    /// The sink, not yet open. `source` is the address of the platform's API.
    pub fn build(self, source: &str) -> Box<dyn Sink> {
        Box::new(Nats {
            // A bad template is a mistake that `mistakes` names; such a sink is never opened.
            subject: self.template().ok(),
            control: self.control().unwrap_or_default(),
            encoder: Encoder::new(source),
            link: None,
            stored_in: None,
            config: self,
        })
    }
}

struct Nats {
    config: Config,
    subject: Option<Template>,
    /// The subject of control events.
    control: String,
    encoder: Encoder,
    /// The connection; `None` before `open` and after an error.
    link: Option<Link>,
    /// The epoch in which we have stored a message: then the stream's end is ours, or somebody else writes.
    stored_in: Option<Epoch>,
}

#[async_trait]
impl Sink for Nats {
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error> {
        self.link = None;
        let mut link = Link::connect(&self.config).await?;
        let stream = link.stream(&self.config, self.subject.as_ref(), &self.control).await?;
        let last = link.last_message(&stream, epoch).await?;
        let resume = match last {
            Some(Last { whose: Whose::Ours(position), .. }) => {
                Resume { last_position: Some(position), younger: None }
            }
            Some(Last { whose, id }) if self.stored_in.as_ref() == Some(epoch) => {
                // A younger epoch has taken over, and we stay out. Anything else may have been an accident: said once.
                if whose == Whose::Others {
                    self.stored_in = None;
                }
                return Err(Error::retry(
                    format!("go on with stream {}", self.config.stream),
                    format!(
                        "it must be tieline's alone, but another writer's message is its last: id {id:?}"
                    ),
                ));
            }
            Some(Last { whose: Whose::Younger(younger), .. }) => {
                Resume { last_position: None, younger: Some(younger) }
            }
            Some(_) | None => Resume::default(),
        };
        link.epoch = Some(epoch.clone());
        self.link = Some(link);
        Ok(resume)
    }

    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error> {
        let (Some(link), Some(subject)) = (&mut self.link, &self.subject) else {
            return Err(Error::retry("publish", "the sink is not open"));
        };
        let room = self.config.window.saturating_sub(link.window.len());
        if link.window.len() == 0 {
            link.patience = Box::pin(sleep(PATIENCE));
        }
        for (taken, record) in records.iter().take(room).enumerate() {
            if record.event.kind.is_control() {
                link.rendered.clone_from(&self.control);
            } else {
                subject.render(&record.event.topic, legal, &mut link.rendered);
            }
            let place = record.event.place();
            let headers = link.expectation.headers(&place);
            let (headers, body) = laid_out(&mut self.encoder, self.config.mode, record, headers);
            match link.publish(place, headers, body).await? {
                Taken::Sent => {}
                Taken::Refused => return Ok(taken + 1),
                Taken::NotYet => return Ok(taken),
            }
        }
        Ok(records.len().min(room))
    }

    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error> {
        let Some(link) = &mut self.link else {
            return future::pending().await;
        };
        loop {
            let told = link.window.tell(verdicts);
            if told > 0 {
                link.patience = Box::pin(sleep(PATIENCE));
                if verdicts[verdicts.len() - told..].contains(&Verdict::Stored) {
                    self.stored_in.clone_from(&link.epoch);
                }
                return Ok(());
            }
            if let Some(reason) = link.failure.take() {
                let operation =
                    format!("publish to stream {} at {}", self.config.stream, link.addresses);
                return Err(Error::retry(operation, reason));
            }
            if link.window.len() == 0 {
                return future::pending().await;
            }
            link.listen().await;
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.link = None;
        Ok(())
    }

    async fn guarantee(&mut self) -> Result<Guarantee, Error> {
        guarantee::guarantee(&self.config, self.subject.as_ref(), &self.control).await
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a value may bring into a subject.
fn legal(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '*' | '>')
}
