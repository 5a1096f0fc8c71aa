//! The lifecycle against a model of the platform, in virtual time.

mod properties;
mod transcripts;
mod world;

pub use world::config;
