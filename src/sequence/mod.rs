//! Makes one clean stream of what one or more sessions say: duplicates out, numbers on, gaps named.
//!
//! Pure: no IO, no clock, no randomness.

mod arbiter;
mod config;
mod cover;
mod feed;
mod ledger;
mod sequencer;

pub use arbiter::{Arbiter, Leg, Score, Verdict};
pub use config::{Config, Watch};
pub use cover::{Cover, Interval};
pub use feed::{Feed, Suspicion};
pub use ledger::{Certainty, Gap, Ledger, Rebased};
pub use sequencer::{Numbers, SINKS_MAX, Sequencer};
