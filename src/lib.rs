//! tieline keeps the Genesys Cloud notification stream alive and delivers it to Kafka, NATS or a file.
//!
//! The modules stand in the order in which an event passes them.

pub mod time;

pub mod event;
pub mod mistake;
pub mod observation;
pub mod size;

pub mod handover;
pub mod lifecycle;
pub mod sequence;

pub mod route;

pub mod clock;
pub mod proxy;
pub mod secret;

pub mod genesys;
pub mod privacy;

pub mod journal;
pub mod sink;

pub mod bridge;
pub mod telemetry;

pub mod admin;
pub mod config;

pub mod exit;

pub mod reload;

pub mod app;
pub mod cli;

#[cfg(feature = "demo")]
pub mod demo;
