//! Credentials in a Vault (or OpenBao) KV version 2 entry, by `vaultrs`.
//!
//! Polls the entry's metadata and reads the secret only when a version is fresh; `login` decides when to log in. Vault's
//! events are not used: they are an Enterprise feature, and polling works everywhere.

use super::Error;
use super::config::{self, Method};
use super::file;
use super::login::{Login, Step, Verdict};
use super::source::{Failure, Found, Kind, Look};
use crate::clock::Clock;
use crate::time::Time;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use vaultrs::api::kv2::requests::ReadSecretRequest;
use vaultrs::api::kv2::responses::{ReadSecretMetadataResponse, ReadSecretResponse};
use vaultrs::client::{Client as _, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;

/// One request to Vault; a token request waits at most 2 s in all and then takes the last good secret.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that lock-outs of processes that were refused together are spread.
const JITTER_MAX_MS: u64 = 60_000;

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
    login: Login,
    clock: Clock,
    read: Option<Mark>,
}

impl Vault {
    pub(super) fn new(config: &config::Vault, clock: Clock) -> Result<Self, Error> {
        let client = client(config)?;
        let mut config = config.clone();
        // People write "secret/" as well; an empty segment would be part of the address.
        for part in [&mut config.mount, &mut config.path] {
            *part = part.trim_matches('/').to_owned();
        }
        Ok(Self { client, login: Login::new(config.auth.method), config, clock, read: None })
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
                let refused = self.log_in(now, credential?).await.err();
                if let Some(failure) = refused.filter(|_| !self.login.is_live()) {
                    return Err(failure);
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
            .map_err(|error| failure(&format!("{mount}/metadata/{path}"), &error))?;
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
            .map_err(|error| failure(&format!("{mount}/data/{path}"), &error))?;
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

    /// What the login needs: the AppRole's secret id, or the token; read anew each time.
    async fn credential(&self) -> Result<SecretString, Failure> {
        let auth = &self.config.auth;
        let path = match auth.method {
            Method::Approle => auth.secret_id_file.as_ref(),
            Method::Token => auth.token_file.as_ref(),
        };
        let path = path.ok_or_else(|| {
            Failure::new(Kind::Missing, "no file with vault's credential is named")
        })?;
        let text = file::read(path).await?;
        let text = text.trim();
        // A token becomes a header, which takes visible characters only.
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(SecretString::from(text)),
            false => Err(Failure::new(
                Kind::Unreadable,
                format!("{} holds no credential of vault", path.display()),
            )),
        }
    }

    async fn log_in(&mut self, now: Time, credential: SecretString) -> Result<(), Failure> {
        match self.config.auth.method {
            Method::Approle => self.log_in_by_role(now, credential).await,
            Method::Token => self.log_in_by_token(now, credential).await,
        }
    }

    async fn log_in_by_role(&mut self, now: Time, secret_id: SecretString) -> Result<(), Failure> {
        let role_id = self.config.auth.role_id.as_deref().unwrap_or_default();
        let before = self.client.settings().token.clone();
        self.client.set_token("");
        let secret = secret_id.expose_secret();
        let login = vaultrs::auth::approle::login(&self.client, "approle", role_id, secret).await;
        let error = match login {
            Ok(auth) => {
                self.client.set_token(&auth.client_token);
                let term = Duration::from_secs(auth.lease_duration);
                self.login.granted(now, secret_id, term, auth.renewable);
                return Ok(());
            }
            Err(error) => error,
        };
        self.client.set_token(&before);
        let refused = failure("the login at auth/approle/login", &error);
        match status(&error) {
            Some(400) => self.login.spent(secret_id),
            Some(403) => {
                let jitter = rand::random_range(0..=JITTER_MAX_MS);
                self.login.locked(now, Duration::from_millis(jitter));
            }
            _ => return Err(refused),
        }
        Err(Failure::new(Kind::LoginRefused, refused.detail))
    }

    async fn log_in_by_token(&mut self, now: Time, token: SecretString) -> Result<(), Failure> {
        let before = self.client.settings().token.clone();
        self.client.set_token(token.expose_secret());
        match vaultrs::token::lookup_self(&self.client).await {
            Ok(found) => {
                let term = Duration::from_secs(found.ttl);
                let renewable = found.renewable.unwrap_or_default();
                self.login.granted(now, token, term, renewable);
                Ok(())
            }
            Err(error) => {
                self.client.set_token(&before);
                let refused = failure("the look-up of the token", &error);
                match refused.kind {
                    Kind::Forbidden => Err(Failure::new(
                        Kind::LoginRefused,
                        "vault does not know the token in the token file (expired, revoked, or may not look itself up)",
                    )),
                    Kind::Missing
                    | Kind::Deleted
                    | Kind::Unreachable
                    | Kind::Sealed
                    | Kind::LoginRefused
                    | Kind::Unreadable => Err(refused),
                }
            }
        }
    }

    /// Renews the token. What fails otherwise than by refusal is tried again at the next look.
    async fn renew(&mut self, now: Time) {
        match vaultrs::token::renew_self(&self.client, None).await {
            Ok(auth) => self.login.renewed(now, Duration::from_secs(auth.lease_duration)),
            Err(error) if status(&error) == Some(403) => self.login.lost(),
            Err(_) => {}
        }
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

/// A client that takes nothing from the environment save the proxies.
fn client(config: &config::Vault) -> Result<VaultClient, Error> {
    let failed = |error: &dyn std::error::Error| Error::Client { detail: chain(error) };
    let url = reqwest::Url::parse(&config.address).map_err(|_| Error::Address)?;
    let secure = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(Error::Address),
    };
    let mut http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).https_only(secure);
    if let Some(path) = &config.ca_file {
        http = http.tls_certs_only(authorities(path)?);
    } else if !secure {
        // Without this reqwest would want the system's authorities, which a container may lack.
        http = http.tls_certs_only([]);
    }
    let http = http.build().map_err(|error| failed(&error))?;
    // Each setting is given: what is left out would be taken from VAULT_SKIP_VERIFY, VAULT_TOKEN, VAULT_CACERT and others.
    let settings = VaultClientSettingsBuilder::default()
        .address("http://127.0.0.1")
        .ca_certs(Vec::new())
        .identity(None)
        .timeout(Some(REQUEST_TIMEOUT))
        .token("")
        .verify(true)
        .namespace(config.namespace.clone())
        .build()
        .map_err(|error| failed(&error))?;
    // vaultrs can only add an authority to the system's, so its transport is replaced by one that trusts ours alone.
    let mut client = VaultClient::new(settings).map_err(|error| failed(&error))?;
    client.http.base = config.address.trim_end_matches('/').to_owned();
    client.http.http = http;
    client.settings.address = url;
    Ok(client)
}

fn authorities(path: &std::path::Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let pem =
        std::fs::read(path).map_err(|source| Error::CaFile { path: path.to_owned(), source })?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(Error::CaFormat { path: path.to_owned() }),
    }
}

/// The HTTP status of a refusal, whichever way vaultrs wraps it.
fn status(error: &ClientError) -> Option<u16> {
    if let ClientError::APIError { code, .. } = error {
        return Some(*code);
    }
    if let ClientError::RestClientError {
        source: rustify::errors::ClientError::ServerResponseError { code, .. },
    } = error
    {
        return Some(*code);
    }
    None
}

/// What a failed call means; `asked` says what was asked for, and neither it nor the result holds a secret.
fn failure(asked: &str, error: &ClientError) -> Failure {
    let Some(status) = status(error) else {
        // An answer that could not be read might be quoted by the reason why, so that reason is left out.
        let unreadable = matches!(
            error,
            ClientError::RestClientError {
                source: rustify::errors::ClientError::ResponseParseError { .. }
                    | rustify::errors::ClientError::ResponseConversionError { .. },
            } | ClientError::ResponseDataEmptyError
                | ClientError::ResponseEmptyError
                | ClientError::JsonParseError { .. }
        );
        return match unreadable {
            true => Failure::new(Kind::Unreadable, format!("{asked}: the answer is not vault's")),
            false => Failure::new(Kind::Unreachable, format!("{asked}: {}", chain(error))),
        };
    };
    let kind = match status {
        403 => Kind::Forbidden,
        404 => Kind::Missing,
        503 => Kind::Sealed,
        400 => Kind::Unreadable,
        _ => Kind::Unreachable,
    };
    let mut said = String::new();
    if let ClientError::APIError { errors, .. } = error {
        said = errors.join("; ");
    }
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().take(SAID_MAX).collect();
    let detail = match said.is_empty() {
        true => format!("{asked} answered {status}"),
        false => format!("{asked} answered {status}: {said}"),
    };
    Failure::new(kind, detail)
}

/// How much of vault's own words is told.
const SAID_MAX: usize = 200;

/// An error with its sources, once each.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        next = error.source();
    }
    words
}
