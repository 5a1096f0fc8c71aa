//! The lifecycle against a model of the platform, in virtual time.

mod handed;
mod herd;
mod kept;
mod makers;
mod platform;
mod properties;
mod reasons;
mod redundant;
mod seamless;
mod siblings;
mod stories;
mod topics;
mod transcripts;
mod world;

pub use world::config;
