//! Takes the port and reads the keys, so that what cannot work is known before anything else starts.

use super::config::Config;
use super::keys::{self, Files, Keys};
use crate::mistake::Mistake;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The doors before anybody is let in.
#[derive(Debug)]
pub struct Entrance {
    pub(super) listener: TcpListener,
    pub(super) config: Config,
    pub(super) files: Files,
    pub(super) keys: Keys,
}

/// The doors cannot be opened; only a change of configuration, or of what else runs, helps.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port cannot be had.
    #[error("admin.listen = \"{address}\" {}; {}", .mistake.problem, .mistake.fix)]
    Listen {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// The same for the list of configuration mistakes; its key is `listen`.
        mistake: Mistake,
        /// What the system said.
        source: io::Error,
    },
    /// The token, the certificate or its key cannot be used.
    #[error("admin.{}", .0.key)]
    Keys(#[from] keys::Error),
}

impl Error {
    /// Whether another process has the port.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// Takes the port and reads the keys.
///
/// # Errors
/// When the address cannot be listened on or a key cannot be used, with what to do about it.
pub async fn open(config: &Config) -> Result<Entrance, Error> {
    let files = Files::of(config);
    let keys = files.read()?;
    let address = config.listen;
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| {
        let mistake = unbound(&source);
        Error::Listen { address, mistake, source }
    })?;
    Ok(Entrance { listener, config: config.clone(), files, keys })
}

impl Entrance {
    /// The bound address, also when port 0 was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
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
