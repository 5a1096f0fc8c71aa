//! Makes one clean stream of what one or more sessions say: duplicates out, numbers on, gaps named.
//!
//! Pure: no IO, no clock, no randomness.

mod arbiter;
mod config;
mod ledger;
mod sequencer;

pub use arbiter::{Arbiter, Leg, Score, Verdict};
pub use config::Config;
pub use ledger::{Certainty, Gap, Ledger};
pub use sequencer::{Numbers, SINKS_MAX, Sequencer};
