//! Who is let in: by the name under which the doors are asked, by where the asking page came from, and by a token.
//!
//! Probes are always answered, with a code alone where the asker is not let in; the page itself holds no data and needs no token, the
//! data that it loads does.

use super::answer::{refusal, with_headers};
use super::config::Config;
use super::keys::Keys;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Paths that orchestrators probe.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Paths of the page, which is the same for everybody.
pub(super) const SHELL: [&str; 4] = ["/", "/page.css", "/page.js", "/icon.svg"];

/// What is asked of those who come.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// Names besides localhost.
    hosts: Arc<[String]>,
    /// Whether the name counts: without a token a stranger's page could else read us under its own name (DNS rebinding), be it through
    /// loopback or the network that its reader's browser is in.
    checks_host: bool,
    keys: watch::Receiver<Arc<Keys>>,
}

/// Whether the asker of a probe may know more than the code; in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted(pub bool);

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The doors are not asked by this name.
    Name,
    /// Another site's page asks.
    Foreign,
    /// The token is missing or wrong.
    Token,
}

impl Refused {
    fn response(self) -> Response {
        match self {
            Self::Name => refusal(
                StatusCode::MISDIRECTED_REQUEST,
                "these doors are not asked by this name; admin.hosts lists those that they are",
            ),
            Self::Foreign => {
                refusal(StatusCode::FORBIDDEN, "another site's page may not read here")
            }
            Self::Token => {
                let words = "say the token of admin.token_file: Authorization: Bearer …";
                let mut response = refusal(StatusCode::UNAUTHORIZED, words);
                let challenge = HeaderValue::from_static("Bearer realm=\"tieline\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
        }
    }
}

impl Guard {
    pub(super) fn new(config: &Config, keys: watch::Receiver<Arc<Keys>>) -> Self {
        let hosts: Vec<String> = config.hosts.iter().map(|host| host.to_lowercase()).collect();
        let checks_host = config.is_local() || config.token_file.is_none() || !hosts.is_empty();
        Self { checks_host, hosts: hosts.into(), keys }
    }

    /// Whether the request may see the page.
    fn admit_name(&self, request: &Request) -> Result<(), Refused> {
        let named = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
        let named = named.map(String::from_utf8_lossy);
        let mut names = named.iter().map(AsRef::as_ref).chain(request.uri().host());
        let is_ours = |name: &str| {
            let host = host_of(name);
            is_nobodys(&host) || self.hosts.contains(&host)
        };
        if self.checks_host && !names.all(is_ours) { Err(Refused::Name) } else { Ok(()) }
    }

    /// Whether the request may see data.
    fn admit(&self, request: &Request) -> Result<(), Refused> {
        self.admit_name(request)?;
        if is_foreign(request.headers()) {
            return Err(Refused::Foreign);
        }
        let is_refused = self.keys.borrow().refuse(bearer(request.headers()));
        if is_refused { Err(Refused::Token) } else { Ok(()) }
    }
}

/// Stands before every door.
pub(super) async fn stand(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    if has_body(request.headers()) {
        let words = "nothing is taken here: ask without a body";
        let mut response = refusal(StatusCode::PAYLOAD_TOO_LARGE, words);
        // What follows on the connection is the body, and no request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return with_headers(response);
    }
    let path = request.uri().path();
    let admitted =
        if SHELL.contains(&path) { guard.admit_name(&request) } else { guard.admit(&request) };
    let is_probe = PROBES.contains(&path);
    request.extensions_mut().insert(Admitted(admitted.is_ok()));
    match admitted {
        Err(refused) if !is_probe => with_headers(refused.response()),
        Ok(()) | Err(_) => with_headers(next.run(request).await),
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length.as_bytes() != b"0")
        || headers.contains_key(header::TRANSFER_ENCODING)
}

/// The token that the request shows.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Whether a page of another site asks, as browsers tell it. A link that somebody follows is no page that reads.
fn is_foreign(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let by_site =
        value("sec-fetch-site").is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let by_origin = value("origin").is_some_and(|origin| {
        let origin = String::from_utf8_lossy(origin);
        let authority = origin.split_once("://").map(|(_, authority)| authority.to_lowercase());
        let host = value("host").map(|host| String::from_utf8_lossy(host).to_lowercase());
        authority.is_none() || authority != host
    });
    by_origin || (by_site && value("sec-fetch-mode") != Some(b"navigate"))
}

/// The name in `name:port`, in lower case.
fn host_of(authority: &str) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) | None => authority,
    };
    name.trim_end_matches('.').to_lowercase()
}

/// Whether no stranger can own the name: it is this machine's, or an address, under which no page of theirs was loaded. Scrapes and
/// probes of pods ask by address.
fn is_nobodys(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn names_of_this_machine_and_addresses_are_no_strangers() {
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1:1",
            "[::1]:9464",
            "localhost.",
            "10.0.0.1",
            "10.42.0.7:9464",
            "[fd00::7]:9464",
        ] {
            assert!(is_nobodys(&host_of(host)), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9464",
            "127.0.0.1.evil",
            "",
            "0x7f.1",
            "tieline",
        ] {
            assert!(!is_nobodys(&host_of(host)), "{host}");
        }
    }

    #[test]
    fn another_sites_page_is_foreign_and_a_followed_link_is_not() {
        let foreign = |pairs: &[(&'static str, &str)]| is_foreign(&headers(pairs));
        assert!(!foreign(&[("host", "localhost:1")]));
        assert!(!foreign(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
        assert!(foreign(&[("host", "localhost:1"), ("origin", "http://localhost:2")]));
        assert!(foreign(&[("host", "localhost:1"), ("origin", "null")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(!foreign(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
    }

    #[test]
    fn a_token_stands_behind_its_scheme() {
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some(&b"abc"[..]));
        for other in ["Basic abc", "Bearer", "abc"] {
            assert_eq!(bearer(&headers(&[("authorization", other)])), None, "{other}");
        }
    }
}
