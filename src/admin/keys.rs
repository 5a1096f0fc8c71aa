//! The token and the certificate: read from their files, and read again now and then, because both are renewed under a running
//! process.
//!
//! A renewal that cannot be used changes nothing: the last good keys stay in use.

use super::config::Config;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A shorter token could be guessed.
const TOKEN_MIN: usize = 16;

/// Where the keys are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    token: Option<PathBuf>,
    /// Certificate and key.
    tls: Option<(PathBuf, PathBuf)>,
}

/// What lets people in; what is absent is not asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    token: Option<SecretString>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {}", .path.display(), .flaw)]
pub struct Error {
    /// The configuration's key.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It holds no token.
    #[error(
        "holds no token: write one line of at least {TOKEN_MIN} letters and digits, such as openssl rand -hex 32 makes"
    )]
    NoToken,
    /// It is not PEM, or not of the right kind.
    #[error("is not PEM of the right kind: {0}")]
    NoPem(rustls::pki_types::pem::Error),
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("cannot be used: {0}")]
    Unfit(rustls::Error),
}

impl Files {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            token: config.token_file.clone(),
            tls: config.tls_cert.clone().zip(config.tls_key.clone()),
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.token.is_none() && self.tls.is_none()
    }

    /// Reads all of them; the files are small and local.
    pub(super) fn read(&self) -> Result<Keys, Error> {
        let token = self.token.as_deref().map(read_token).transpose()?;
        let tls = self.tls.as_ref().map(|(cert, key)| read_tls(cert, key)).transpose()?;
        Ok(Keys { token, tls })
    }
}

impl Keys {
    /// Whether a token is asked for, and this is not it. The time that this takes tells nothing but the token's length.
    pub(super) fn refuse(&self, shown: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else {
            return false;
        };
        let token = token.expose_secret().as_bytes();
        !shown.is_some_and(|shown| bool::from(shown.ct_eq(token)))
    }
}

fn read_token(path: &Path) -> Result<SecretString, Error> {
    let error = |flaw| Error { key: "token_file", path: path.to_owned(), flaw };
    let text = std::fs::read_to_string(path).map_err(|source| error(Flaw::Unreadable(source)))?;
    let text = SecretString::from(text);
    let token = text.expose_secret().trim();
    if token.len() < TOKEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(error(Flaw::NoToken));
    }
    Ok(SecretString::from(token))
}

fn read_tls(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let of_cert = |flaw| Error { key: "tls_cert", path: cert.to_owned(), flaw };
    let of_key = |flaw| Error { key: "tls_key", path: key.to_owned(), flaw };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| of_cert(Flaw::NoPem(source)))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| of_key(Flaw::NoPem(source)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|tls| tls.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|source| of_cert(Flaw::Unfit(source)))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Result<SecretString, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_token(file.path())
    }

    #[test]
    fn a_token_is_one_line_that_nobody_guesses() {
        assert_eq!(token(" 0123456789abcdef\n").unwrap().expose_secret(), "0123456789abcdef");
        for weak in ["", "secret", "0123456789 abcdef", "0123456789abcdef\nmore"] {
            let error = token(weak).unwrap_err();
            assert!(error.to_string().contains("openssl rand"), "{error}");
            assert!(weak.is_empty() || !error.to_string().contains(weak), "it told the token");
        }
    }

    #[test]
    fn only_the_token_itself_is_let_in() {
        let keys = Keys { token: Some(SecretString::from("0123456789abcdef")), tls: None };
        assert!(!keys.refuse(Some(b"0123456789abcdef")));
        for wrong in [None, Some(&b""[..]), Some(b"0123456789abcdeF"), Some(b"0123456789abcdef0")] {
            assert!(keys.refuse(wrong), "{wrong:?}");
        }
        assert!(!Keys::default().refuse(None), "without a token nothing is asked");
        assert!(!format!("{keys:?}").contains("0123"));
    }
}
