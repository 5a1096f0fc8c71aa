//! Carries out the lifecycle's commands against Genesys Cloud.

mod config;

pub use config::Config;
