//! The real process behind a proxy: REST, Vault and the socket all go through it, and its refusals are waited out in words.
//!
//! Only the proxy knows the way to the names that are used here, so that nothing can go past it.

use crate::harness::{Bridge, Stand, brisk};
use crate::platform::certificate_for;
use crate::secrets::bao::Bao;
use crate::servers::Server;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tieline_sim::{Options, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

const GENESYS: &str = "genesys.test:443";
const VAULT: &str = "vault.test:8200";

/// A proxy that knows CONNECT alone.
struct Connect {
    address: SocketAddr,
    ways: Arc<Ways>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Ways {
    /// Where each name leads.
    to: Mutex<HashMap<&'static str, SocketAddr>>,
    /// Names that are refused, with which status; whoever is under way is cut off at a change.
    refused: watch::Sender<HashMap<&'static str, u16>>,
    /// Targets that were asked for, and with which credentials.
    asked: Mutex<Vec<(String, Option<String>)>>,
}

impl Connect {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ways = Arc::<Ways>::default();
        let shared = ways.clone();
        let tasks = TaskTracker::new();
        let serving = tasks.clone();
        let accepting = tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(shared.clone().serve(stream));
            }
        });
        Self { address, ways, _accepting: AbortOnDropHandle::new(accepting) }
    }

    fn refuse(&self, refused: &[(&'static str, u16)]) {
        self.ways.refused.send_replace(refused.iter().copied().collect());
    }

    /// What was asked for so far.
    fn asked(&self) -> Vec<(String, Option<String>)> {
        self.ways.asked.lock().unwrap().clone()
    }
}

impl Ways {
    async fn serve(self: Arc<Self>, mut client: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = client.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let target = target.unwrap_or_else(|| panic!("not a CONNECT: {head}")).to_owned();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let credentials = fields
            .find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
            .map(|(_, value)| value.to_owned());
        self.asked.lock().unwrap().push((target.clone(), credentials));
        let mut changes = self.refused.subscribe();
        let refused = changes.borrow_and_update().get(target.as_str()).copied();
        if let Some(status) = refused {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
            client.write_all(answer.as_bytes()).await.ok();
            return;
        }
        let to = self.to.lock().unwrap().get(target.as_str()).copied();
        let to = to.unwrap_or_else(|| panic!("nobody is called {target}"));
        let Ok(mut server) = TcpStream::connect(to).await else {
            return;
        };
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok();
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            _ = changes.changed() => {}
        }
    }
}

/// A simulator and a Vault that only the proxy finds, and a configuration that names them.
async fn stand_behind(proxy: &Connect, folder: &TempDir) -> (Stand, Server, Bao) {
    let (tls, ca) = certificate_for(folder, &["genesys.test", "vault.test"]);
    let options = Options {
        tls: Some(tls),
        public_url: Some("https://genesys.test".to_owned()),
        client_id: Some("client".to_owned()),
        ..brisk()
    };
    let at = folder.path().display().to_string();
    let start = move || Server::start("openbao", &["--tls", &at]);
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let bao = Bao::at(&server, "proxies").await;
    let sim = Sim::start(options).await.unwrap();
    let vault_address =
        SocketAddr::from(([127, 0, 0, 1], server.field("tls_port").parse().unwrap()));
    proxy.ways.to.lock().unwrap().extend([(GENESYS, sim.address()), (VAULT, vault_address)]);

    let pem = reqwest::Certificate::from_pem(&std::fs::read(&ca).unwrap()).unwrap();
    // The test's own calls need no proxy.
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([pem]);
    let http = http.resolve("genesys.test", sim.address()).build().unwrap();
    bao.write(sim.client_secret()).await;
    let vault = bao.config(Duration::from_secs(1)).await.vault.unwrap();
    let mut stand = Stand::of(sim, http);
    stand.config.unset("secret.file");
    let secret_id = folder.path().join("secret-id");
    std::fs::copy(vault.auth.secret_id_file.unwrap(), &secret_id).unwrap();
    for (key, value) in [
        ("secret.poll_interval", "1s".to_owned()),
        ("secret.vault.address", format!("https://{VAULT}")),
        ("secret.vault.mount", vault.mount),
        ("secret.vault.path", vault.path),
        ("secret.vault.ca_file", ca.display().to_string()),
        ("secret.vault.auth.role_id", vault.auth.role_id.unwrap()),
        ("secret.vault.auth.secret_id_file", secret_id.display().to_string()),
        ("genesys.ca_file", ca.display().to_string()),
    ] {
        stand.config.set(key, value);
    }
    stand.config.set("genesys.allow_insecure", false);
    stand.config.environment = [
        ("HTTPS_PROXY", format!("http://us-er:hush-hush@{}", proxy.address)),
        ("NO_PROXY", "elsewhere.test, 10.0.0.0/8".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    (stand, server, bao)
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_vault_and_the_socket_go_through_the_proxy_and_its_refusals_are_waited_out() {
    let folder = TempDir::new().unwrap();
    let proxy = Connect::start().await;
    let (stand, _server, bao) = stand_behind(&proxy, &folder).await;
    let through = format!("through the proxy at {} (HTTPS_PROXY)", proxy.address);

    proxy.refuse(&[(VAULT, 407), (GENESYS, 502)]);
    let bridge = stand.start().await;
    bridge.line(&["secret_source_failed", &through, "proxy authorization required"]).await;
    proxy.refuse(&[(GENESYS, 502)]);
    bridge.line(&["token_refused", "\"proxy\"", &through]).await;
    proxy.refuse(&[]);
    bridge.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(30).await;

    for (status, words) in
        [(407, "does not take the credentials it was given (407)"), (502, "with 502")]
    {
        proxy.refuse(&[(GENESYS, status)]);
        bridge.unready(&[&format!("the proxy at {}", proxy.address), words]).await;
        proxy.refuse(&[]);
        bridge.ready().await;
        stand.emits(30).await;
    }
    // A fresh secret goes the same way.
    let secret = stand.rotate().await;
    bao.write(&secret).await;
    bridge.line(&["rotation_finished", "\"trigger\":\"secret\""]).await;
    all_went_through(&proxy);
    let told = finish(stand, bridge, since).await;
    for hidden in ["hush-hush", "dXMtZXI6aHVzaC1odXNo", &secret] {
        assert!(!told.contains(hidden), "it told {hidden}");
    }
}

/// The proxy was asked for both names, each time with its credentials.
fn all_went_through(proxy: &Connect) {
    let asked = proxy.asked();
    for name in [GENESYS, VAULT] {
        assert!(asked.iter().any(|(target, _)| target == name), "{asked:?}");
    }
    let credentials = Some("Basic dXMtZXI6aHVzaC1odXNo");
    assert!(asked.iter().all(|(_, given)| given.as_deref() == credentials), "{asked:?}");
}

/// Balances the books, in which each cut is a gap, and answers all that was said.
async fn finish(stand: Stand, bridge: Bridge, since: u64) -> String {
    let (verdict, log) = stand.balance_and_log(bridge, since).await;
    verdict.assert_kept();
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_another_kind_is_a_mistake_in_words() {
    let mut stand = Stand::new(brisk()).await;
    let socks = "socks5://us-er:hush-hush@proxy.test:1080".to_owned();
    stand.config.environment = vec![("ALL_PROXY".to_owned(), socks)];
    let bridge = Bridge::launch(crate::harness::tieline(&stand.config, &[]));
    let (code, log) = bridge.ended().await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("ALL_PROXY names no proxy that can be used"), "{log}");
    assert!(!log.contains("hush-hush"), "{log}");
}
