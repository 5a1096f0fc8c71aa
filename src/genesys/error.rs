//! Why the platform's client could not be made.

use crate::proxy;
use std::path::PathBuf;

/// A mistake in the `[genesys]` table that shows only when it is put to use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table cannot work.
    #[error("genesys.{key} {problem}")]
    Config {
        /// The key, relative to the table.
        key: &'static str,
        /// What is wrong, as it fits after the key.
        problem: String,
    },
    /// The file with authorities cannot be read.
    #[error("cannot read the authorities in {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The file with authorities holds none.
    #[error("{} holds no certificate that can be trusted", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The environment names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// The HTTP client could not be made.
    #[error("cannot make an HTTP client")]
    Client {
        /// Why.
        source: reqwest::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
}
