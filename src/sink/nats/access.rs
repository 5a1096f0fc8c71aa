//! Who we are to the server: credentials, certificates and names of ours, read again for each connection.
//!
//! So that a file that was rotated is taken up at the next connection. What stands in the files is never shown.

use super::Config;
use crate::sink::Error;
use async_nats::ConnectOptions;
use secrecy::{ExposeSecret, SecretString};
use std::io;
use std::path::Path;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// A longer file is no credential.
const FILE_MAX: u64 = 64 << 10;

/// The options with everything that says who we are. `user` is what the address says of one.
pub(super) async fn identified(
    mut options: ConnectOptions,
    config: &Config,
    user: Option<super::config::User>,
) -> Result<ConnectOptions, Error> {
    if let Some((name, password)) = user {
        options = options.user_and_password(name, password);
    }
    if let (Some(name), Some(path)) = (&config.user, &config.password_file) {
        let password = read("the password", path).await?;
        options = options.user_and_password(name.clone(), password.expose_secret().to_owned());
    }
    if let Some(path) = &config.token_file {
        let token = read("the token", path).await?;
        options = options.token(token.expose_secret().to_owned());
    }
    if let Some(path) = &config.nkey_file {
        let seed = read("the nkey's seed", path).await?;
        options = options.nkey(seed.expose_secret().to_owned());
    }
    if let Some(path) = &config.creds_file {
        let credentials = read("credentials", path).await?;
        let read = options.credentials(credentials.expose_secret());
        options = read.map_err(|error| unreadable("credentials", path, error))?;
    }
    if let Some(path) = &config.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(certificate), Some(key)) = (&config.cert_file, &config.key_file) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options)
}

/// What a file holds, without the white space around it.
async fn read(what: &str, path: &Path) -> Result<SecretString, Error> {
    let mut text = String::new();
    let read = async {
        let file = File::open(path).await?;
        file.take(FILE_MAX).read_to_string(&mut text).await
    };
    match read.await {
        Ok(_) if text.trim().is_empty() => {
            let empty = io::Error::new(io::ErrorKind::InvalidData, "the file is empty");
            Err(unreadable(what, path, empty))
        }
        Ok(_) => Ok(SecretString::from(text.trim().to_owned())),
        Err(error) => Err(unreadable(what, path, error)),
    }
}

/// Whoever writes the file may yet mend it.
fn unreadable(what: &str, path: &Path, error: io::Error) -> Error {
    Error::retry(format!("read {what} from {}", path.display()), error)
}
