//! What a source of credentials answers, and the three kinds of source behind one door.
//!
//! Knows nothing of versions or waiting: `keeper` compares what was found with what is known.

use super::{Config, Error, file, vault::Vault};
use crate::clock::Clock;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

/// Credentials as a source shows them.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: SecretString,
}

impl Found {
    /// Whether another look showed the same credentials.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.client_id == other.client_id
            && self.client_secret.expose_secret() == other.client_secret.expose_secret()
    }
}

/// What a look at the source showed.
#[derive(Debug)]
pub(super) enum Look {
    /// What it showed the last time, told without reading the secret again.
    Same,
    /// Credentials, perhaps the same.
    Found(Found),
}

/// Why a look failed; decides what is told again during one outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such file, variable or entry.
    Missing,
    /// The entry's newest version is deleted or destroyed.
    Deleted,
    /// No answer, or a server's error.
    Unreachable,
    /// Vault is sealed.
    Sealed,
    /// A fresh login may not read the entry.
    Forbidden,
    /// Vault refused the login.
    LoginRefused,
    /// What was found is not credentials.
    Unreadable,
}

/// A failed look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// For people; never a secret.
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// One source.
pub(super) enum Source {
    File(file::File),
    Env(Result<Found, Failure>),
    Vault(Box<Vault>),
}

/// A file costs nothing to look at, so it is looked at this often whatever the configuration says.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// A variable cannot change while the process lives; a look now and then costs nothing.
const ENV_INTERVAL: Duration = Duration::from_secs(3600);

impl Source {
    /// The source that the configuration names.
    pub(super) fn new(config: &Config, clock: Clock) -> Result<Self, Error> {
        match (&config.file, &config.env, &config.vault) {
            (Some(file), None, None) => Ok(Self::File(file::File::new(file.path.clone()))),
            (None, Some(env), None) => Ok(Self::Env(file::variable(&env.variable))),
            (None, None, Some(vault)) => Ok(Self::Vault(Box::new(Vault::new(vault, clock)?))),
            _ => Err(Error::NotOneSource),
        }
    }

    /// The name under which observations speak of it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Env(_) => "env",
            Self::Vault(_) => "vault",
        }
    }

    /// How often it is looked at while nothing is amiss.
    pub(super) fn interval(&self, poll_interval: Duration) -> Duration {
        match self {
            Self::File(_) => FILE_INTERVAL,
            Self::Env(_) => ENV_INTERVAL,
            Self::Vault(_) => poll_interval,
        }
    }

    /// What will end its being read, although it can be read now.
    pub(super) fn risk(&self) -> Option<&Failure> {
        match self {
            Self::File(_) | Self::Env(_) => None,
            Self::Vault(vault) => vault.risk(),
        }
    }

    /// Looks once.
    pub(super) async fn look(&mut self) -> Result<Look, Failure> {
        match self {
            Self::File(file) => file.look().await.map(Look::Found),
            Self::Env(found) => found.clone().map(Look::Found),
            // vaultrs logs each failure by itself, and in spans that hold what was sent.
            Self::Vault(vault) => vault.look().with_subscriber(NoSubscriber::default()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Env;
    use super::*;

    #[tokio::test]
    async fn a_variable_is_read_once_and_shows_the_same_for_good() {
        let config = Config {
            poll_interval: Duration::from_secs(1),
            file: None,
            env: Some(Env { variable: "PATH".to_owned() }),
            vault: None,
        };
        let mut source = Source::new(&config, Clock::start()).expect("one source");
        assert_eq!((source.name(), source.interval(config.poll_interval)), ("env", ENV_INTERVAL));
        assert_eq!(source.risk(), None);
        let mut looks = Vec::new();
        for _ in 0..2 {
            match source.look().await {
                Ok(Look::Found(found)) => looks.push(found),
                other => panic!("{other:?}"),
            }
        }
        assert!(looks[0].is(&looks[1]));
    }
}
