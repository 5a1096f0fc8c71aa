//! Makes one clean stream of what one or more sessions say: duplicates out, numbers on, gaps named.
//!
//! Pure: no IO, no clock, no randomness.

mod config;

pub use config::Config;
