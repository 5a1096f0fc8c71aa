//! Where the client's credentials come from, and how a fresh secret is noticed.
//!
//! Knows nothing of Genesys: a source is looked at again and again, each fresh secret gets the next number, and while a
//! source fails the last good secret stays in use.

mod config;
mod file;
mod keeper;
mod login;
mod source;
mod vault;

pub use config::{Auth, Config, Env, File, Method, Vault};

use crate::clock::Clock;
use crate::observation::Observation;
use crate::proxy;
use keeper::{Ask, Keeper};
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a token is bought with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The OAuth client's id, when the source holds it; it then wins over the configured one.
    pub client_id: Option<String>,
    /// The OAuth client's secret.
    pub client_secret: SecretString,
    /// Counts the fresh secrets that the source has shown, from 1.
    pub version: u64,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no source, or several.
    #[error("exactly one of secret.file, secret.env and secret.vault must be named")]
    NotOneSource,
    /// The file with Vault's authority cannot be read.
    #[error("cannot read the authorities in {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with Vault's authority is not PEM.
    #[error("{} holds no PEM certificates", path.display())]
    CaFormat {
        /// The file.
        path: PathBuf,
    },
    /// Vault's address is not a URL.
    #[error("vault's address is not an http or https URL")]
    Address,
    /// The client for Vault could not be made.
    #[error("cannot make a client for vault: {detail}")]
    Client {
        /// Why.
        detail: String,
    },
    /// The environment names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// The source has shown no secret yet, and shows none now.
    #[error("the secret's source ({place}) has none to give: {detail}")]
    Unavailable {
        /// `file`, `env` or `vault`.
        place: &'static str,
        /// Why, for people.
        detail: String,
    },
}

/// How long a token request may wait for the source before it takes the last good secret.
const PATIENCE: Duration = Duration::from_secs(2);

/// A handle on the watched source; cheap to clone.
#[derive(Clone, Debug)]
pub struct Secrets {
    place: &'static str,
    asks: mpsc::Sender<Ask>,
    hurry: Arc<Notify>,
    latest: watch::Receiver<Option<Credentials>>,
    versions: watch::Receiver<u64>,
}

impl Secrets {
    /// Starts to watch the source, as a task of `tracker` that ends with `cancel`.
    ///
    /// Fails only over the configuration (an unreadable authority, not one source); a source that is down is waited for.
    /// TLS needs the process's provider: see `genesys::tls::install_provider`.
    pub fn start(
        config: &Config,
        clock: Clock,
        observations: mpsc::Sender<Observation>,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        let source = source::Source::new(config, clock)?;
        let place = source.name();
        let (asks, asked) = mpsc::channel(16);
        let (show, latest) = watch::channel(None);
        let (count, versions) = watch::channel(0);
        let hurry = Arc::new(Notify::new());
        let keeper = Keeper {
            interval: source.interval(config.poll_interval),
            source,
            clock,
            observations,
            asked,
            hurry: hurry.clone(),
            show,
            count,
        };
        tracker.spawn(keeper.run(cancel));
        Ok(Self { place, asks, hurry, latest, versions })
    }

    /// The newest credentials: asks the source for at most 2 s, else gives the last good ones.
    pub async fn newest(&self) -> Result<Credentials, Error> {
        let asked = async {
            let (answer, answered) = oneshot::channel();
            self.asks.send(answer).await.ok()?;
            answered.await.ok()
        };
        let detail = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Some(answer)) => return answer,
            Ok(None) => "nobody looks at it any more".to_owned(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        let latest = self.latest.borrow().clone();
        latest.ok_or(Error::Unavailable { place: self.place, detail })
    }

    /// Returns when nobody looks at the source any more: at the end, or because its task has panicked.
    pub async fn ended(&self) {
        let mut versions = self.versions.clone();
        while versions.changed().await.is_ok() {}
    }

    /// The number of the newest secret: 0 before the first, then one more at each fresh one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.versions.clone()
    }

    /// Genesys refused the newest secret: looks at once and then each second for a minute.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }
}
