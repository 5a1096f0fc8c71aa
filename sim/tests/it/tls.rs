//! https and wss on one port, under the names that clients derive.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tieline_sim::{Options, Sim, certificate};
use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::quiet;

#[tokio::test]
async fn one_port_serves_the_login_and_api_names_of_a_test_domain() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let folder = tempfile::tempdir().unwrap();
    let files = certificate::make(folder.path(), "genesys.test").unwrap();
    let authority = std::fs::read(&files.authority).unwrap();
    let sim = Sim::start(Options { tls: Some(files.into()), ..quiet() }).await.unwrap();
    let address: SocketAddr = sim.api_url().strip_prefix("https://").unwrap().parse().unwrap();
    let port = address.port();
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .resolve("login.genesys.test", address)
        .resolve("api.genesys.test", address)
        .build()
        .unwrap();

    let token = http
        .post(format!("https://login.genesys.test:{port}/oauth/token"))
        .basic_auth(sim.client_id(), Some(sim.client_secret()))
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .unwrap();
    let token: Value = token.json().await.unwrap();
    let channel = http
        .post(format!("https://api.genesys.test:{port}/api/v2/notifications/channels"))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let channel: Value = channel.json().await.unwrap();
    let uri = channel["connectUri"].as_str().unwrap();
    assert!(uri.starts_with("wss://127.0.0.1:"));

    let connector = Connector::Rustls(std::sync::Arc::new(trusting(&authority)));
    let (mut socket, _) =
        tokio_tungstenite::connect_async_tls_with_config(uri, None, false, Some(connector))
            .await
            .unwrap();
    socket.send(Message::text(json!({"message": "ping"}).to_string())).await.unwrap();
    let Some(Ok(Message::Text(pong))) = socket.next().await else { panic!("no pong") };
    assert!(pong.contains("pong"));

    // Faults below the protocol work under TLS too.
    let url = format!("https://api.genesys.test:{port}/sim/close");
    http.post(url).json(&json!({"mode": "rst"})).send().await.unwrap();
    assert!(matches!(socket.next().await, Some(Err(_))));
}

fn trusting(authority: &[u8]) -> rustls::ClientConfig {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}
