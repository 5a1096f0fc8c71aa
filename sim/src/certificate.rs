//! A certificate authority and a certificate for tests: one host that is both `api.D` and
//! `login.D`, as clients derive the one name from the other.
//!
//! The authority's own key is thrown away: nothing else will ever be signed by it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::options::Tls;

/// The files that were written.
#[derive(Debug, Clone)]
pub struct Files {
    /// The authority, for clients to trust.
    pub authority: PathBuf,
    /// The chain, for the simulator.
    pub certificate: PathBuf,
    /// The key of the chain's first certificate, PKCS#8.
    pub key: PathBuf,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is no name a certificate can carry.
    #[error("cannot make a certificate for {domain:?}")]
    Make {
        /// The domain asked for.
        domain: String,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<Files> for Tls {
    fn from(files: Files) -> Self {
        Self { certificate: files.certificate, key: files.key }
    }
}

/// Writes `ca.pem`, `certificate.pem` and `key.pem` into `folder`, which is made if need be. The
/// certificate is good for 127.0.0.1, `localhost`, the domain, and `api.`, `login.` and `streaming.`
/// before it.
///
/// # Errors
/// When the domain is no name, or a file cannot be written.
pub fn make(folder: &Path, domain: &str) -> Result<Files, Error> {
    let made = sign(domain);
    let (authority, chain, key) =
        made.map_err(|source| Error::Make { domain: domain.to_owned(), source })?;
    let files = Files {
        authority: folder.join("ca.pem"),
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    let wrong = |file: &Path| {
        let file = file.to_owned();
        move |source| Error::Write { file, source }
    };
    fs::create_dir_all(folder).map_err(wrong(folder))?;
    for (file, text) in
        [(&files.authority, authority), (&files.certificate, chain), (&files.key, key)]
    {
        fs::write(file, text).map_err(wrong(file))?;
    }
    Ok(files)
}

/// The authority, the chain and its key, as PEM.
fn sign(domain: &str) -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "tieline-sim test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    be_valid(&mut params);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);

    let names = ["127.0.0.1", "localhost", domain].map(str::to_owned);
    let prefixed = ["api", "login", "streaming"].map(|prefix| format!("{prefix}.{domain}"));
    let mut params = CertificateParams::new([&names[..], &prefixed[..]].concat())?;
    params.distinguished_name.push(DnType::CommonName, domain);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    be_valid(&mut params);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let chain = format!("{}{}", certificate.pem(), authority.pem());
    Ok((authority.pem(), chain, key.serialize_pem()))
}

/// Long enough that no test ever fails of old age.
fn be_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
}
