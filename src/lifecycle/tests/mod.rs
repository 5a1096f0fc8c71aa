//! The lifecycle against a model of the platform, in virtual time.

mod properties;
mod redundant;
mod topics;
mod transcripts;
mod world;

pub use world::config;
