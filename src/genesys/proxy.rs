//! The way to the socket's host: directly, or through the proxy that `HTTPS_PROXY` and `NO_PROXY` name, by CONNECT.
//!
//! REST finds its own way by the same rules, which are those of the HTTP client.

use super::refusal::{refusal, scrub};
use crate::lifecycle::{Reason, Refusal};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;

/// No proxy's answer to CONNECT is longer.
const HEAD_MAX: usize = 8 << 10;

/// Which hosts are reached through which proxy.
#[derive(Debug)]
pub(super) struct Proxies(Matcher);

impl Proxies {
    /// As the environment says, read once.
    pub(super) fn from_env() -> Self {
        Self(Matcher::from_env())
    }

    /// A connection to the host of a `ws` or `wss` address. The caller sets the deadline.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<TcpStream, Refusal> {
        let (host, port) = place(uri, 80, 443)
            .ok_or_else(|| refusal(Reason::Unexpected, "the socket's address names no host"))?;
        let stream = match self.intercept(uri, &host, port) {
            None => dial(&host, port).await?,
            Some(proxy) => tunnel(&proxy, &host, port).await?,
        };
        // Probes are small and must not wait for one another.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }

    fn intercept(&self, uri: &Uri, host: &str, port: u16) -> Option<Intercept> {
        // The rules know http and https; the socket's schemes stand for them.
        let scheme = match uri.scheme_str() {
            Some("wss") => "https",
            Some(_) | None => "http",
        };
        let asked: Uri = format!("{scheme}://{}/", authority(host, port)).parse().ok()?;
        self.0.intercept(&asked)
    }
}

/// Host and port of an address; an IPv6 host without its brackets.
fn place(uri: &Uri, plain: u16, secure: u16) -> Option<(String, u16)> {
    let host = uri.host()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = match uri.scheme_str() {
        Some("wss" | "https") => secure,
        Some(_) | None => plain,
    };
    Some((host.to_owned(), uri.port_u16().unwrap_or(port)))
}

fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, Refusal> {
    let failed = |reason, what: &str, error: std::io::Error| {
        refusal(reason, format!("{} {what}: {error}", authority(host, port)))
    };
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| failed(Reason::Dns, "is not found", error))?;
    let addresses: Vec<_> = found.collect();
    let dialled = TcpStream::connect(addresses.as_slice()).await;
    dialled.map_err(|error| failed(Reason::Unreachable, "cannot be reached", error))
}

/// A tunnel to the host through a plain HTTP proxy.
async fn tunnel(proxy: &Intercept, host: &str, port: u16) -> Result<TcpStream, Refusal> {
    let unreachable = |detail: String| refusal(Reason::Proxy, detail);
    if proxy.uri().scheme_str() != Some("http") {
        return Err(unreachable(
            "the socket can use http proxies only; HTTPS_PROXY names another kind".to_owned(),
        ));
    }
    let (proxy_host, proxy_port) = place(proxy.uri(), 80, 443)
        .ok_or_else(|| unreachable("HTTPS_PROXY names no host".to_owned()))?;
    let dialled = dial(&proxy_host, proxy_port).await;
    let mut stream =
        dialled.map_err(|refused| unreachable(format!("the proxy at {}", refused.detail)))?;
    let target = authority(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(credentials) = proxy.basic_auth() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(credentials.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let place = authority(&proxy_host, proxy_port);
    let broke = |error| unreachable(format!("the proxy at {place} broke off: {error}"));
    stream.write_all(&request).await.map_err(broke)?;
    let head = head(&mut stream).await.map_err(broke)?;
    let mut words = head.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => match status {
            status if status.starts_with('2') && status.len() == 3 => Ok(stream),
            "407" => Err(unreachable(format!("the proxy at {place} wants credentials (407)"))),
            status => Err(unreachable(format!(
                "the proxy at {place} refused {target}: {}",
                scrub(status, &[])
            ))),
        },
        _ => Err(unreachable(format!("the proxy at {place} does not speak HTTP"))),
    }
}

/// The head of the proxy's answer; read by single bytes, because what follows it is no longer the proxy's.
async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
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

    fn uri(text: &str) -> Uri {
        text.parse().expect("a URI")
    }

    #[test]
    fn the_port_follows_from_the_scheme_and_brackets_are_taken_off() {
        let found = |text| place(&uri(text), 80, 443).expect("a host");
        assert_eq!(found("wss://a.example/x"), ("a.example".to_owned(), 443));
        assert_eq!(found("ws://a.example/x"), ("a.example".to_owned(), 80));
        assert_eq!(found("ws://[::1]:99/x"), ("::1".to_owned(), 99));
        assert_eq!(authority("::1", 99), "[::1]:99");
    }

    #[test]
    fn the_rules_for_https_hold_for_wss() {
        let matcher =
            Matcher::builder().https("http://user:pass@proxy:3128").no("inner.example").build();
        let proxies = Proxies(matcher);
        let through = |text: &str, host: &str| proxies.intercept(&uri(text), host, 443).is_some();
        assert!(through("wss://streaming.example/x", "streaming.example"));
        assert!(!through("wss://inner.example/x", "inner.example"));
        assert!(!through("ws://streaming.example/x", "streaming.example"));
    }

    /// What a client learns, and what the proxy was asked, when the proxy answers so.
    async fn ask(answer: &str) -> (Result<TcpStream, Refusal>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let matcher = Matcher::builder().http(format!("http://user:pass@{address}"));
        let proxies = Proxies(matcher.build());
        let target = uri("ws://streaming.example/channels/hunter2");
        let proxy = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let asked = head(&mut stream).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("written");
            asked
        };
        tokio::join!(proxies.connect(&target), proxy)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_name_and_with_credentials() {
        let (tunnel, asked) = ask("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhi").await;
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
        for (answer, problem) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
            ("HTTP/1.1 503 No\r\n\r\n", "refused streaming.example:80: 503"),
            ("SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
            ("HTTP/1.1 200 OK\r\n", "broke off"),
        ] {
            let (refused, _) = ask(answer).await;
            let refusal = refused.expect_err(answer);
            assert_eq!(refusal.reason, Reason::Proxy, "{refusal:?}");
            assert!(refusal.detail.contains(problem), "{refusal:?}");
            assert!(!refusal.detail.contains("pass"), "{refusal:?}");
        }
    }
}
