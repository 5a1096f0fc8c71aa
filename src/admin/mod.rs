//! The doors for operators: `/metrics`, `/healthz`, `/readyz`, `/api/v1/state`, `/api/v1/gaps`, and a page that names them.
//!
//! Read-only, and without authentication yet: hence loopback unless told otherwise.

mod pages;
mod scrape;
mod server;

use crate::bridge::status::Status;
use crate::clock::Clock;
use crate::mistake::Mistake;
use crate::telemetry::metrics::Metrics;
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use server::serve;

/// The `[admin]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; loopback unless told otherwise. Port 0 takes a free one.
    pub listen: SocketAddr,
}

/// What the doors show.
#[derive(Clone, Debug)]
pub struct Doors {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What all others show; the driver keeps it fresh.
    pub status: watch::Receiver<Arc<Status>>,
    /// Tells how old things are at the moment of asking.
    pub clock: Clock,
}

/// The doors cannot be opened; only a change of configuration, or of what else runs, helps.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen = \"{address}\" {}; {}", .mistake.problem, .mistake.fix)]
pub struct Error {
    /// Where we wanted to listen.
    pub address: SocketAddr,
    /// The same for the list of configuration mistakes; its key is `listen`.
    pub mistake: Mistake,
    /// What the system said.
    pub source: io::Error,
}

/// Takes the port, so that a port that is taken is known before anything else starts.
///
/// The bound address is `local_addr` of the result.
///
/// # Errors
/// When the address cannot be listened on, with what to do about it.
pub async fn bind(config: &Config) -> Result<TcpListener, Error> {
    let address = config.listen;
    TcpListener::bind(address).await.map_err(|source| Error {
        address,
        mistake: unbound(&source),
        source,
    })
}

fn unbound(error: &io::Error) -> Mistake {
    let (problem, fix) = if error.kind() == io::ErrorKind::AddrInUse {
        (
            "is taken by another process",
            "stop that process, or set admin.listen to a free port (port 0 takes any)",
        )
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        ("is not an address of this machine", "set admin.listen to one, such as \"127.0.0.1:9464\"")
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        ("may not be listened on by this user", "set admin.listen to a port above 1023")
    } else {
        ("cannot be listened on", "set admin.listen to an address of this machine and a free port")
    };
    Mistake::new("listen", problem, fix)
}
