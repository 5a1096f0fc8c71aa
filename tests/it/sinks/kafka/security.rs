//! SASL and TLS against a broker that asks for them, with an authority of our own.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const PASSWORD: &str = "correct-horse";

/// Certificates, and the broker that shows and wants them.
struct Secured {
    folder: TempDir,
    server: Server,
}

impl Secured {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own: a certificate whose issuer has its own name passes for self-signed.
        authority.distinguished_name.push(DnType::CommonName, "the authority of this test");
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &authority.pem());
        for (name, subject) in [("server.pem", "127.0.0.1"), ("client.pem", "tieline")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            write(name, &format!("{}{}", key.serialize_pem(), certificate.pem()));
        }
        write("password", PASSWORD);
        let path = folder.path().display().to_string();
        let server = Server::start("kafka", &["--secure", &path]);
        Self { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, topic: &str, listener: &str, options: &[(&str, &str)]) -> Config {
        let mut config = config(&self.server.field(listener), topic, false, true);
        let authority = self.path("ca.pem").display().to_string();
        config.options.insert("ssl.ca.location".into(), authority.as_str().into());
        for (name, value) in options {
            config.options.insert((*name).to_owned(), (*value).into());
        }
        config
    }

    /// What lies in a topic, read over the listener without any security.
    async fn count(&self, topic: &str) -> usize {
        let (brokers, topic) = (self.server.field("brokers"), topic.to_owned());
        let read = move || read_topic(&brokers, &topic, false).len();
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_certificates_open_a_secured_broker() {
    let secured = tokio::task::spawn_blocking(Secured::start).await.unwrap();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let options = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "tieline"),
        ];
        let mut config = secured.config(mechanism, "sasl", &options);
        config.password_file = Some(secured.path("client-password"));
        assert_eq!(config.mistakes(), []);

        // The file is read at each opening, so that a password can be changed.
        fs::write(secured.path("client-password"), "wrong-wrong").unwrap();
        let mut sink = config.build(SOURCE);
        let error = sink.open(&epoch()).await.unwrap_err();
        assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
        let said = format!("{error:?} {}", error.source.as_ref().unwrap());
        assert!(said.to_lowercase().contains("authentication"), "{said}");
        assert!(!said.contains("wrong-wrong"), "{said}");

        fs::write(secured.path("client-password"), format!("{PASSWORD}\n")).unwrap();
        deliver(&mut sink, &records(1..=50)).await;
        assert_eq!(secured.count(mechanism).await, 50);
        assert!(!format!("{sink:?}").contains(PASSWORD));
    }

    let client = secured.path("client.pem").display().to_string();
    let options = [
        ("security.protocol", "ssl"),
        ("ssl.certificate.location", client.as_str()),
        ("ssl.key.location", client.as_str()),
    ];
    deliver(&mut secured.config("certified", "ssl", &options).build(SOURCE), &records(1..=50))
        .await;
    assert_eq!(secured.count("certified").await, 50);
    let without = secured.config("uncertified", "ssl", &options[..1]);
    let error = without.build(SOURCE).open(&epoch()).await.unwrap_err();
    assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");

    // An authority that nobody knows vouches for nobody.
    let mut config = secured.config("unknown", "ssl", &options);
    config.options.insert("ssl.ca.location".into(), client.as_str().into());
    let error = config.build(SOURCE).open(&epoch()).await.unwrap_err();
    let said = error.source.unwrap().to_string();
    assert!(said.to_lowercase().contains("certificate"), "{said}");
}
