//! Turns observations into log lines and metrics; nothing else in the crate knows prometheus or writes logs.

pub mod logging;
