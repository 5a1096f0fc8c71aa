//! Where events go. A sink is one module and one line of the registry; `jsonl` is the example to copy.
//!
//! A sink takes events in order, keeps a window of them in flight, and says in order what became of each. It never decides
//! what to send again: `bridge::publisher` does, from what was acknowledged.

use crate::event::{Epoch, Event};
use crate::mistake::Mistake;
use crate::observation::BrokerFigures;
use crate::route;
use async_trait::async_trait;
use guarantee::{Guarantee, Level};
use registry::registry;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub mod cloudevents;
pub mod guarantee;
mod registry;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod template;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod window;

pub mod jsonl;
#[cfg(feature = "kafka")]
pub mod kafka;
mod mount;
#[cfg(feature = "nats")]
pub mod nats;

registry! {
    jsonl,
    #[cfg(feature = "kafka")] kafka,
    #[cfg(feature = "nats")] nats,
}

/// An event as one sink gets it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The event.
    pub event: Arc<Event>,
    /// Its number: per sink, key and epoch, from 1, without holes.
    pub number: u64,
}

/// What became of a record, told in the order of submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker has it, as durable as it promises.
    Stored,
    /// The broker can never take it; the others go on.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

/// How far the broker had got before this process connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The journal position of the last event of this epoch that the broker holds, when it can tell.
    pub last_position: Option<u64>,
    /// The younger epoch of which it holds events, when it can tell: then nothing of this one will be taken any more.
    pub younger: Option<Epoch>,
}

impl Resume {
    /// What a broker's last event, of that epoch and at that position, says to a process that goes on with `epoch`. Epochs sort by age.
    fn behind(last_epoch: &str, position: Option<u64>, epoch: &Epoch) -> Self {
        let is_ours = last_epoch == epoch.as_str();
        let is_younger = last_epoch > epoch.as_str() && Epoch::is_name(last_epoch);
        Self {
            last_position: position.filter(|_| is_ours),
            younger: is_younger.then(|| Epoch::named(last_epoch)),
        }
    }
}

/// Takes events in order and says when they are safe.
#[async_trait]
pub trait Sink: Send + fmt::Debug {
    /// Connects (again), verifies or creates what it publishes into, forgets what was in flight.
    ///
    /// Called before the first `submit` and after every error. `epoch` is the journal's.
    async fn open(&mut self, epoch: &Epoch) -> Result<Resume, Error>;

    /// Hands over records in order and returns how many were taken: fewer than given when the window is full, 0 included.
    ///
    /// Does not wait for acknowledgements. After an error nothing of the call counts as taken. Not cancel-safe: a call that is
    /// dropped half-way must be followed by `open`.
    async fn submit(&mut self, records: &[Record]) -> Result<usize, Error>;

    /// Waits until at least one record in flight has its verdict and appends verdicts in the order of submission.
    ///
    /// Waits for ever when nothing is in flight. Cancel-safe: dropping the future loses no verdict. An error comes alone: verdicts
    /// that are known are told by an earlier call.
    async fn settle(&mut self, verdicts: &mut Vec<Verdict>) -> Result<(), Error>;

    /// Flushes and disconnects; what is in flight has been settled before, or is given up.
    async fn close(&mut self) -> Result<(), Error>;

    /// What the library that talks to the broker counts, now and later; `None` where nothing is counted.
    fn figures(&self) -> Option<watch::Receiver<BrokerFigures>> {
        None
    }

    /// What the broker gives, asked of it now over a connection of its own. Changes nothing there; needs no `open`.
    async fn guarantee(&mut self) -> Result<Guarantee, Error>;
}

/// What the operator wants of one sink, whatever its kind.
#[derive(Debug)]
pub struct Terms {
    /// Its kind: `kafka`.
    pub kind: &'static str,
    /// Which events it takes; none is all.
    pub filter: Option<route::Filter>,
    /// The least that its broker must give.
    pub required: Option<Level>,
}

/// What is wrong with a sink's filter.
fn filter_mistake(filter: Option<&str>) -> Option<Mistake> {
    let problem = route::Filter::parse(filter?).err()?;
    Some(Mistake::new("filter", problem.problem, problem.fix))
}

/// What a sink says when it fails as a whole.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct Error {
    /// What was attempted, with address and names: "connect to nats://127.0.0.1:4222". Never a credential.
    pub operation: String,
    /// What to do about it.
    pub disposition: Disposition,
    /// What the library said.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The one question an error answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Open again after a back-off, or after this long when the broker said so.
    Retry {
        /// The broker's own wish.
        after: Option<Duration>,
    },
    /// Nothing but a change of configuration helps: the process ends with 78.
    Misconfigured,
}

impl Error {
    /// A failure that time or the operator of the broker may mend.
    pub fn retry(operation: impl Into<String>, source: impl Into<Source>) -> Self {
        Self {
            operation: operation.into(),
            disposition: Disposition::Retry { after: None },
            source: Some(source.into()),
        }
    }

    /// A failure that only a change of configuration mends.
    pub fn misconfigured(operation: impl Into<String>, source: impl Into<Source>) -> Self {
        Self { disposition: Disposition::Misconfigured, ..Self::retry(operation, source) }
    }
}

/// What a library said, or what is wrong in words.
type Source = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(toml: &str) -> Result<Tables, String> {
        toml::from_str(toml).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn several_sinks_may_be_on_at_once() {
        let table = "jsonl = { path = '-', flush = 'line', rotate_bytes = '0B', rotate_every = '0s', keep = 0 }";
        let tables = tables(table).expect("good tables");
        assert_eq!(tables.mistakes(), []);
        let sinks = tables.build("https://api.mypurecloud.ie");
        assert_eq!(sinks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["jsonl"]);
    }

    #[test]
    fn an_unknown_sink_is_refused() {
        let error = tables("[kafak]").expect_err("no such sink");
        assert!(error.contains("unknown field `kafak`"), "{error}");
    }

    #[test]
    fn every_kind_is_known_by_name_even_where_it_is_not_compiled_in() {
        assert_eq!(ALL_NAMES, ["jsonl", "kafka", "nats"]);
        assert!(NAMES.iter().all(|kind| ALL_NAMES.contains(kind)));
        assert_eq!(NAMES.contains(&"kafka"), cfg!(feature = "kafka"));
        assert_eq!(NAMES.contains(&"nats"), cfg!(feature = "nats"));
    }
}
