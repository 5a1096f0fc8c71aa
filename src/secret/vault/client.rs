//! The HTTP client for Vault: whom it trusts, and that the environment has no say in it save by the proxies' variables.
//!
//! Asks nothing of Vault.

use super::super::{Error, config};
use super::refusal::chain;
use crate::proxy::Proxies;
use std::time::Duration;
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};

/// One request to Vault; a token request waits at most 2 s in all and then takes the last good secret.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that takes nothing from the environment save the proxies.
pub(super) fn new(config: &config::Vault, proxies: &Proxies) -> Result<VaultClient, Error> {
    let failed = |error: &dyn std::error::Error| Error::Client { detail: chain(error) };
    let url = reqwest::Url::parse(&config.address).map_err(|_| Error::Address)?;
    let secure = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(Error::Address),
    };
    let mut http = reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .https_only(secure)
        // A standby names the active server so. What is sent along opens the entry, and is sent on once at most.
        .redirect(reqwest::redirect::Policy::limited(1));
    if let Some(path) = &config.ca_file {
        http = http.tls_certs_only(authorities(path)?);
    } else if !secure {
        // Without this reqwest would want the system's authorities, which a container may lack.
        http = http.tls_certs_only([]);
    }
    let http = proxies.rule(http).build().map_err(|error| failed(&error))?;
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
