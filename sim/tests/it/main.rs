//! The simulator against plain clients: reqwest and tungstenite, nothing of the bridge.
//!
//! No test sleeps: each waits for a frame or for a line of the journal, with a deadline.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it found by panicking"
)]

mod bad_input;
mod binary;
mod determinism;
mod disturbances;
mod errors;
mod faults;
mod harness;
mod rest;
mod schemas;
mod sdk;
mod socket;
mod switches;
mod tls;
mod traffic;
