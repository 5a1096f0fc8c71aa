//! The lifecycle against a model of the platform, in virtual time.

mod handed;
mod herd;
mod kept;
mod listing;
mod makers;
mod notes;
mod places;
mod platform;
mod properties;
mod reasons;
mod redundant;
mod rules;
mod seamless;
mod siblings;
mod stories;
mod topics;
mod transcripts;
mod world;

pub use world::{World, config, refusal};
