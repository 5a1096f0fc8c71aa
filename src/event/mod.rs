//! The domain's words: what Genesys pushed (`Notification`) and what we publish (`Event`).
//!
//! Parsed values only; no IO, no clock, no knowledge of sessions or sinks.

mod digest;
mod event;
mod notification;
mod topic;

pub use digest::{Digester, digest};
pub use event::{Epoch, Event, Marks};
pub use notification::Notification;
pub use topic::{Family, Topic, Topics};
