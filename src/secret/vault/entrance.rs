//! Logging in to Vault: what the login needs is read anew each time, and each method goes its own way.
//!
//! When to log in is `login`'s to say.

use super::super::config::Method;
use super::super::file;
use super::super::source::{Failure, Kind};
use super::Vault;
use super::refusal::status;
use crate::time::Time;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use vaultrs::api::AuthInfo;
use vaultrs::client::Client as _;
use vaultrs::error::ClientError;

/// The longest that lock-outs of processes that were refused together are spread.
const JITTER_MAX_MS: u64 = 60_000;

impl Vault {
    /// What the login needs: the AppRole's secret id, the pod's token, or Vault's own; read anew each time.
    pub(super) async fn credential(&self) -> Result<SecretString, Failure> {
        let auth = &self.config.auth;
        let path = match auth.method {
            Method::Approle => auth.secret_id_file.as_ref(),
            Method::Kubernetes => Some(&auth.jwt_file),
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

    pub(super) async fn log_in(
        &mut self,
        now: Time,
        credential: SecretString,
    ) -> Result<(), Failure> {
        let before = self.client.settings().token.clone();
        let entered = match self.config.auth.method {
            Method::Approle => self.by_role(now, credential).await,
            Method::Kubernetes => self.by_pod(now, credential).await,
            Method::Token => self.by_token(now, credential).await,
        };
        if entered.is_err() {
            // The old token may still serve.
            self.client.set_token(&before);
        }
        entered
    }

    async fn by_role(&mut self, now: Time, secret_id: SecretString) -> Result<(), Failure> {
        self.client.set_token("");
        let role_id = self.config.auth.role_id.as_deref().unwrap_or_default();
        let mount = self.config.auth.mount();
        let secret = secret_id.expose_secret();
        let login = vaultrs::auth::approle::login(&self.client, mount, role_id, secret).await;
        let error = match login {
            Ok(auth) => {
                self.granted(now, secret_id, &auth);
                return Ok(());
            }
            Err(error) => error,
        };
        let refused = self.failure(&format!("the login at auth/{mount}/login"), &error);
        let next = match status(&error) {
            Some(400) => {
                self.login.spent(secret_id);
                "the secret id is spent or wrong and is not shown again until its file changes, for five refusals lock the role"
            }
            Some(403) => {
                let jitter = rand::random_range(0..=JITTER_MAX_MS);
                self.login.locked(now, Duration::from_millis(jitter));
                "the role may be locked, and the login is tried again within 16 minutes"
            }
            _ => return Err(refused),
        };
        Err(Failure::new(Kind::LoginRefused, format!("{}; {next}", refused.detail)))
    }

    async fn by_pod(&mut self, now: Time, jwt: SecretString) -> Result<(), Failure> {
        self.client.set_token("");
        let role = self.config.auth.role.as_deref().unwrap_or_default();
        let mount = self.config.auth.mount();
        let token = jwt.expose_secret();
        let login = vaultrs::auth::kubernetes::login(&self.client, mount, role, token).await;
        let error = match login {
            Ok(auth) => {
                self.granted(now, jwt, &auth);
                return Ok(());
            }
            Err(error) => error,
        };
        let refused = self.failure(&format!("the login at auth/{mount}/login"), &error);
        match status(&error) {
            Some(400 | 403) => {
                self.login.turned_away(now, jwt);
                let detail = format!(
                    "{}; the role or its bindings may be wrong, and the login is tried again in a minute or when {} changes",
                    refused.detail,
                    self.config.auth.jwt_file.display()
                );
                Err(Failure::new(Kind::LoginRefused, detail))
            }
            _ => Err(refused),
        }
    }

    async fn by_token(&mut self, now: Time, token: SecretString) -> Result<(), Failure> {
        self.client.set_token(token.expose_secret());
        match vaultrs::token::lookup_self(&self.client).await {
            Ok(found) => {
                let term = Duration::from_secs(found.ttl);
                let renewable = found.renewable.unwrap_or_default();
                self.login.granted(now, token, term, renewable);
                Ok(())
            }
            Err(error) if status(&error) == Some(403) => Err(Failure::new(
                Kind::LoginRefused,
                "vault does not know the token in the token file (expired, revoked, or may not look itself up); the file is read again at each poll",
            )),
            Err(error) => Err(self.failure("the look-up of the token", &error)),
        }
    }

    fn granted(&mut self, now: Time, credential: SecretString, auth: &AuthInfo) {
        self.risk = None;
        self.client.set_token(&auth.client_token);
        let term = Duration::from_secs(auth.lease_duration);
        self.login.granted(now, credential, term, auth.renewable);
    }

    /// Renews the token. What fails otherwise than by refusal is tried again at the next look.
    pub(super) async fn renew(&mut self, now: Time) {
        let refused = |error: &ClientError| matches!(status(error), Some(400 | 403));
        match vaultrs::token::renew_self(&self.client, None).await {
            Ok(auth) => self.login.renewed(now, Duration::from_secs(auth.lease_duration)),
            Err(error) if refused(&error) => self.login.cannot_renew(),
            Err(_) => {}
        }
    }
}
