//! Whom REST and the socket trust: the authorities of `ca_file`, or the system's.
//!
//! Verification cannot be switched off.

use super::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// Makes ring the process's TLS provider, once; to be called before any client is made.
///
/// Several times does no harm: the first call wins.
pub fn install_provider() {
    // An error only says that a provider is already there.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The authorities of `ca_file`; none when the system's are to be used.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    own: Option<Vec<CertificateDer<'static>>>,
}

impl Trust {
    /// Reads `ca_file`, if one is configured.
    pub(super) fn load(ca_file: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = ca_file else {
            return Ok(Self { own: None });
        };
        let own = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| Error::CaFile { path: path.to_owned(), source })?;
        let mut probe = RootCertStore::empty();
        let (fit, _) = probe.add_parsable_certificates(own.iter().cloned());
        match fit {
            0 => Err(Error::NoAuthority { path: path.to_owned() }),
            _ => Ok(Self { own: Some(own) }),
        }
    }

    /// What REST trusts; `secure` tells whether any address is https.
    pub(super) fn rest(
        &self,
        builder: reqwest::ClientBuilder,
        secure: bool,
    ) -> Result<reqwest::ClientBuilder, Error> {
        match &self.own {
            Some(own) => {
                let own: Result<Vec<_>, _> =
                    own.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
                let own = own.map_err(|source| Error::Client { source })?;
                Ok(builder.tls_certs_only(own))
            }
            None if secure => Ok(builder),
            // Without TLS the system's authorities are not needed, and a container may lack them.
            None => Ok(builder.tls_certs_only([])),
        }
    }

    /// What the socket trusts. A system without authorities is told at the handshake, by the certificate that is refused.
    pub(super) fn socket(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        let authorities = match &self.own {
            Some(own) => own.clone(),
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(authorities);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| Error::Tls { source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}
