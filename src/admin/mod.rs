//! The doors for operators: the status page, its live streams, `/metrics`, `/healthz`, `/readyz` and `/api/v1/…`.
//!
//! Read-only. On loopback unless told otherwise; elsewhere data is shown for a token and over TLS, which `docs/security.md` and
//! `docs/decisions/0008` explain. Nothing here can hold up the bridge: it reads what the driver has published.

mod answer;
mod config;
mod entrance;
mod guard;
mod keys;
mod pages;
mod scrape;
mod server;
mod watch;

use crate::bridge::Tap;
use crate::bridge::status::Status;
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;
use tokio::sync::watch::Receiver;

pub use config::Config;
pub use entrance::{Entrance, Error, open};
pub use server::serve;

/// What the doors show.
#[derive(Clone, Debug)]
pub struct Doors {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What all others show; the driver keeps it fresh.
    pub status: Receiver<Arc<Status>>,
    /// Where events can be watched.
    pub tap: Tap,
    /// Tells how old things are at the moment of asking.
    pub clock: Clock,
}
