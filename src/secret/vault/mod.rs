//! Credentials in a Vault (or OpenBao) KV version 2 entry, by `vaultrs`.
//!
//! Polls the entry's metadata and reads the secret only when a version is fresh; `login` decides when to log in, `entrance`
//! does it. Vault's events are not used: they are an Enterprise feature, and polling works everywhere.

mod client;
mod entrance;
mod refusal;

use super::Error;
use super::config;
use super::login::{Login, Step, Verdict};
use super::source::{Failure, Found, Kind, Look};
use crate::clock::Clock;
use crate::proxy::Proxies;
use crate::time::Time;
use secrecy::SecretString;
use vaultrs::api::kv2::requests::ReadSecretRequest;
use vaultrs::api::kv2::responses::{ReadSecretMetadataResponse, ReadSecretResponse};
use vaultrs::client::VaultClient;
use vaultrs::error::ClientError;

/// Which secret was read: an entry that was destroyed and written anew starts its versions again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    version: u64,
    created: String,
}

/// A watched entry.
pub(super) struct Vault {
    config: config::Vault,
    client: VaultClient,
    proxies: Proxies,
    login: Login,
    clock: Clock,
    read: Option<Mark>,
    /// Why the login that is due failed, while the token at hand still serves.
    risk: Option<Failure>,
}

impl Vault {
    pub(super) fn new(config: &config::Vault, clock: Clock) -> Result<Self, Error> {
        let proxies = Proxies::from_env()?;
        let client = client::new(config, &proxies)?;
        let mut config = config.clone();
        // People write "secret/" as well; an empty segment would be part of the address.
        for part in [&mut config.mount, &mut config.path] {
            *part = part.trim_matches('/').to_owned();
        }
        let login = Login::new(config.auth.method);
        Ok(Self { config, client, proxies, login, clock, read: None, risk: None })
    }

    /// Why the login that is due failed, while the token at hand still serves.
    pub(super) fn risk(&self) -> Option<&Failure> {
        self.risk.as_ref()
    }

    /// Logs in where that is due, then looks at the entry.
    pub(super) async fn look(&mut self) -> Result<Look, Failure> {
        let now = self.clock.now();
        let credential = self.credential().await;
        let mut step = self.login.next(now, credential.as_ref().ok());
        if step == Step::Renew {
            self.renew(now).await;
            step = self.login.next(now, credential.as_ref().ok());
        }
        match step {
            // A renewal that is still due has failed for a while; a third of the token's life is left.
            Step::Use | Step::Renew => {}
            Step::LogIn => {
                let entered = match credential {
                    Ok(credential) => self.log_in(now, credential).await,
                    Err(failure) => Err(failure),
                };
                self.risk = entered.err();
                if !self.login.is_live() {
                    // What is no longer a risk is a failure.
                    self.risk.take().map_or(Ok(()), Err)?;
                }
            }
            Step::Hold(why) => {
                credential?;
                return Err(Failure::new(Kind::LoginRefused, why));
            }
        }
        match self.entry().await {
            Err(failure) if failure.kind == Kind::Forbidden => self.forbidden(now, failure).await,
            looked => {
                if looked.is_ok() {
                    self.login.served();
                }
                looked
            }
        }
    }

    /// The entry was refused: an expired token answers so too, so that one fresh login must tell.
    async fn forbidden(&mut self, now: Time, failure: Failure) -> Result<Look, Failure> {
        match self.login.forbidden(now) {
            Verdict::LogInAgain => {}
            Verdict::Policy => {
                self.login.blame_policy();
                return Err(self.policy(&failure));
            }
        }
        self.login.lost();
        let credential = self.credential().await;
        match self.login.next(now, credential.as_ref().ok()) {
            Step::Hold(why) => return Err(Failure::new(Kind::LoginRefused, why)),
            Step::LogIn | Step::Use | Step::Renew => self.log_in(now, credential?).await?,
        }
        match self.entry().await {
            Err(failure) if failure.kind == Kind::Forbidden => {
                self.login.blame_policy();
                Err(self.policy(&failure))
            }
            looked => looked,
        }
    }

    /// What a failed call means; the proxy is named, for it may be at fault.
    fn failure(&self, asked: &str, error: &ClientError) -> Failure {
        let proxy = self.proxies.on_the_way_to_url(&self.client.settings.address);
        let through = proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default();
        refusal::failure(&format!("{asked}{through}"), error)
    }

    fn policy(&self, failure: &Failure) -> Failure {
        let config::Vault { mount, path, .. } = &self.config;
        let detail = format!(
            "{} although the login is fresh: the policy must allow read on {mount}/data/{path} and {mount}/metadata/{path}",
            failure.detail
        );
        Failure::new(Kind::Forbidden, detail)
    }

    /// Looks at the metadata, and reads the secret if its version is fresh.
    async fn entry(&mut self) -> Result<Look, Failure> {
        let config::Vault { mount, path, .. } = &self.config;
        let metadata = vaultrs::kv2::read_metadata(&self.client, mount, path)
            .await
            .map_err(|error| self.failure(&format!("{mount}/metadata/{path}"), &error))?;
        let mark = self.newest(&metadata)?;
        if self.read.as_ref() == Some(&mark) {
            return Ok(Look::Same);
        }
        let request = ReadSecretRequest::builder()
            .mount(mount)
            .path(path)
            .build()
            .map_err(|error| Failure::new(Kind::Unreadable, error.to_string()))?;
        let answer = vaultrs::api::exec_with_result(&self.client, request)
            .await
            .map_err(|error| self.failure(&format!("{mount}/data/{path}"), &error))?;
        let found = credentials(&answer)
            .map_err(|detail| Failure::new(Kind::Unreadable, format!("{mount}/{path} {detail}")))?;
        // The entry may have moved on between the two calls; the version that was read is the one to remember.
        self.read = (answer.metadata.version == mark.version).then_some(mark);
        Ok(Look::Found(found))
    }

    /// The newest version, if it is there.
    fn newest(&self, metadata: &ReadSecretMetadataResponse) -> Result<Mark, Failure> {
        let config::Vault { mount, path, .. } = &self.config;
        let version = metadata.current_version;
        let Some(newest) = metadata.versions.get(&version.to_string()) else {
            let detail = format!("{mount}/{path} has no version yet");
            return Err(Failure::new(Kind::Missing, detail));
        };
        if newest.destroyed || self.is_past(&newest.deletion_time) {
            let detail = format!("version {version} of {mount}/{path} is deleted");
            return Err(Failure::new(Kind::Deleted, detail));
        }
        Ok(Mark { version, created: newest.created_time.clone() })
    }

    /// Whether a deletion time names a moment that has passed; entries may be written with one that lies ahead.
    fn is_past(&self, deletion_time: &str) -> bool {
        !deletion_time.is_empty()
            && humantime::parse_rfc3339(deletion_time)
                .map_or(true, |time| self.clock.timestamp() >= time.into())
    }
}

/// The credentials in an entry; the error fits after its path and quotes nothing of it.
fn credentials(answer: &ReadSecretResponse) -> Result<Found, &'static str> {
    let text = |key| answer.data.get(key).and_then(|value| value.as_str());
    match text("client_secret") {
        None => Err("holds no text under client_secret"),
        Some("") => Err("holds an empty client_secret"),
        Some(secret) => Ok(Found {
            client_id: text("client_id").filter(|id| !id.is_empty()).map(str::to_owned),
            client_secret: SecretString::from(secret),
        }),
    }
}
