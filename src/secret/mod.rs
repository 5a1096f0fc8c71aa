//! Where the client's credentials come from, and how a fresh secret is noticed.

pub mod config;

pub use config::Config;
