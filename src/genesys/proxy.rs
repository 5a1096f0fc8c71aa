//! The way to the socket's host: directly, or by CONNECT through the proxy that `crate::proxy` names.
//!
//! REST goes by the same rules, through the HTTP client's own tunnels.

use super::refusal::{refusal, scrub};
use crate::lifecycle::{Reason, Refusal};
use crate::proxy::{Proxies, Proxy};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::http::Uri;

/// No proxy's answer to CONNECT is longer.
const HEAD_MAX: usize = 8 << 10;

/// A connection to the socket's host: TLS only where it leads through a proxy that is spoken to by TLS.
pub(super) type Way = MaybeTlsStream<TcpStream>;

/// How the socket's host is reached.
#[derive(Debug)]
pub(super) struct Ways {
    proxies: Proxies,
    /// Whom a proxy that is spoken to by TLS must be vouched for by.
    tls: Arc<ClientConfig>,
}

impl Ways {
    pub(super) fn new(proxies: Proxies, tls: Arc<ClientConfig>) -> Self {
        Self { proxies, tls }
    }

    /// A connection to the host of a `ws` or `wss` address. The caller sets the deadline.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<Way, Refusal> {
        let (host, port) = place(uri)
            .ok_or_else(|| refusal(Reason::Unexpected, "the socket's address names no host"))?;
        let is_secure = uri.scheme_str() == Some("wss");
        let Some(proxy) = self.proxies.on_the_way_to(is_secure, &host, port) else {
            return dial(&host, port, &authority(&host, port)).await.map(Way::Plain);
        };
        let (proxy_host, proxy_port) = proxy.place();
        let dialled = dial(proxy_host, proxy_port, &proxy.to_string()).await;
        let stream = dialled.map_err(|lost| Refusal { reason: Reason::Proxy, ..lost })?;
        let mut way = match proxy.is_secure() {
            true => self.encrypt(stream, proxy).await?,
            false => Way::Plain(stream),
        };
        tunnel(&mut way, proxy, &authority(&host, port)).await?;
        Ok(way)
    }

    async fn encrypt(&self, stream: TcpStream, proxy: &Proxy) -> Result<Way, Refusal> {
        let failed = |error: &dyn std::fmt::Display| {
            refusal(Reason::Tls, format!("{proxy} cannot be spoken to by TLS: {error}"))
        };
        let name = ServerName::try_from(proxy.place().0.to_owned()).map_err(|e| failed(&e))?;
        let connected = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        connected.map(Way::Rustls).map_err(|error| failed(&error))
    }
}

/// Host and port of an address; an IPv6 host without its brackets.
fn place(uri: &Uri) -> Option<(String, u16)> {
    let host = uri.host()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = match uri.scheme_str() {
        Some("wss") => 443,
        Some(_) | None => 80,
    };
    Some((host.to_owned(), uri.port_u16().unwrap_or(port)))
}

fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Connects; `what` is its name for people.
async fn dial(host: &str, port: u16, what: &str) -> Result<TcpStream, Refusal> {
    let failed = |reason, how: &str, error: std::io::Error| {
        refusal(reason, format!("{what} {how}: {error}"))
    };
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| failed(Reason::Dns, "is not found", error))?;
    let addresses: Vec<_> = found.collect();
    let dialled = TcpStream::connect(addresses.as_slice()).await;
    let stream =
        dialled.map_err(|error| failed(Reason::Unreachable, "cannot be reached", error))?;
    // Probes are small and must not wait for one another.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// Asks the proxy for a tunnel to `target`.
async fn tunnel(way: &mut Way, proxy: &Proxy, target: &str) -> Result<(), Refusal> {
    let unreachable = |detail: String| refusal(Reason::Proxy, detail);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(credentials) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(credentials.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let broke = |error| unreachable(format!("{proxy} broke off: {error}"));
    way.write_all(&request).await.map_err(broke)?;
    way.flush().await.map_err(broke)?;
    let head = head(way).await.map_err(broke)?;
    let mut words = head.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => match status {
            status if status.starts_with('2') && status.len() == 3 => Ok(()),
            "407" => Err(unreachable(match proxy.authorization() {
                Some(_) => format!("{proxy} does not take the credentials it was given (407)"),
                None => format!("{proxy} wants credentials, and the variable holds none (407)"),
            })),
            status => {
                let status = scrub(status, &[]);
                Err(unreachable(format!("{proxy} refused a tunnel to {target} with {status}")))
            }
        },
        _ => Err(unreachable(format!("{proxy} does not speak HTTP"))),
    }
}

/// The head of the proxy's answer; read by single bytes, because what follows it is no longer the proxy's.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX {
            return Err(std::io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesys::tls::{self, Trust};

    fn uri(text: &str) -> Uri {
        text.parse().expect("a URI")
    }

    fn through(proxy: &str) -> Ways {
        tls::install_provider();
        let trust = Trust::load(None).and_then(|trust| trust.socket()).expect("the system's");
        Ways::new(Proxies::all(proxy), trust)
    }

    #[test]
    fn the_port_follows_from_the_scheme_and_brackets_are_taken_off() {
        let found = |text| place(&uri(text)).expect("a host");
        assert_eq!(found("wss://a.example/x"), ("a.example".to_owned(), 443));
        assert_eq!(found("ws://a.example/x"), ("a.example".to_owned(), 80));
        assert_eq!(found("ws://[::1]:99/x"), ("::1".to_owned(), 99));
        assert_eq!(authority("::1", 99), "[::1]:99");
    }

    /// What a client learns, and what the proxy was asked, when the proxy answers so.
    async fn ask(user: &str, answer: &str) -> (Result<Way, Refusal>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ways = through(&format!("http://{user}{address}"));
        let target = uri("ws://streaming.example/channels/hunter2");
        let proxy = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let asked = head(&mut stream).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("written");
            asked
        };
        tokio::join!(ways.connect(&target), proxy)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_name_and_with_credentials() {
        let answer = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhi";
        let (tunnel, asked) = ask("user:pass@", answer).await;
        let mut after = [0; 2];
        let mut tunnel = tunnel.expect("a tunnel");
        tunnel.read_exact(&mut after).await.expect("more");
        assert_eq!(&after, b"hi", "what follows the head is not the proxy's");
        let mut lines = asked.lines();
        assert_eq!(lines.next(), Some("CONNECT streaming.example:80 HTTP/1.1"));
        assert!(asked.contains("Proxy-Authorization: Basic dXNlcjpwYXNz"));
        assert!(!asked.contains("hunter2"));
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_told_without_its_credentials() {
        for (user, answer, problem) in [
            ("", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "holds none (407)"),
            ("u:pass@", "HTTP/1.1 407 No\r\n\r\n", "the credentials it was given (407)"),
            ("u:pass@", "HTTP/1.1 502 No\r\n\r\n", "to streaming.example:80 with 502"),
            ("u:pass@", "SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
            ("u:pass@", "HTTP/1.1 200 OK\r\n", "broke off"),
        ] {
            let (refused, _) = ask(user, answer).await;
            let refusal = refused.expect_err(answer);
            assert_eq!(refusal.reason, Reason::Proxy, "{refusal:?}");
            assert!(refusal.detail.contains(problem), "{refusal:?}");
            assert!(refusal.detail.contains("the proxy at 127.0.0.1:"), "{refusal:?}");
            assert!(!refusal.detail.contains("pass"), "{refusal:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_should_speak_tls_and_does_not_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ways = through(&format!("https://{address}"));
        let proxy = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        };
        let target = uri("wss://streaming.example/");
        let (refused, ()) = tokio::join!(ways.connect(&target), proxy);
        let refusal = refused.expect_err("no TLS");
        assert_eq!(refusal.reason, Reason::Tls, "{refusal:?}");
        assert!(refusal.detail.contains("cannot be spoken to by TLS"), "{refusal:?}");
    }
}
