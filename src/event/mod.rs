//! The domain's words: what Genesys pushed (`Notification`) and what we publish (`Event`).
//!
//! Parsed values only; no IO, no clock, no knowledge of sessions or sinks.

mod digest;
mod entry;
#[expect(clippy::module_inception, reason = "the word names the module and the thing it is about")]
mod event;
mod kind;
mod notification;
mod occurred;
mod topic;

pub use digest::{Digester, digest};
pub use entry::Entry;
pub use event::{Epoch, Event, Marks, traceparent};
pub use kind::Kind;
pub use notification::Notification;
pub use occurred::occurred;
pub use topic::{Family, Topic, Topics};
