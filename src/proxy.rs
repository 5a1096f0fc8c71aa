//! Which host is reached through which proxy, as `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
//!
//! One reading for REST, Vault and the socket, so that they cannot differ. It opens no connection. Loopback is never proxied:
//! what may travel in clear because it stays on this host must not leave it.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A variable that names no proxy that can be used. Its value is not told: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "{variable} names no proxy that can be used: write http://host:port or https://host:port, with \"user:password@\" before the host where it wants them"
)]
pub struct Error {
    variable: &'static str,
}

/// The environment's rules, read once; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    /// Who is reached directly.
    except: Vec<Exception>,
}

/// One proxy. Its credentials are not part of what is printed.
#[derive(Clone, Debug)]
pub struct Proxy {
    variable: &'static str,
    intercept: Intercept,
    /// With the credentials, as the HTTP client wants it.
    url: SecretString,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
struct Exception {
    host: Host,
    /// Any port when absent.
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// An address, or a block of them by the number of leading bits that count.
    Block(IpAddr, u8),
    /// The name and all below it; in lower case.
    Domain(String),
}

impl Proxies {
    /// As the environment says.
    ///
    /// Fails over a variable that names no proxy that can be used; going directly instead would be a surprise.
    pub fn from_env() -> Result<Self, Error> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// As these variables say. Upper case wins over lower case, and an empty one counts as unset.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let first = |names: [&'static str; 2]| {
            let set = |name| variable(name).filter(|value| !value.trim().is_empty());
            names.into_iter().find_map(|name| Some((name, set(name)?)))
        };
        let proxy = |names| match first(names) {
            Some((name, value)) => Proxy::new(name, value.trim()).map(Some),
            None => Ok(None),
        };
        let all = proxy(["ALL_PROXY", "all_proxy"])?;
        let except = first(["NO_PROXY", "no_proxy"]).map(|(_, value)| exceptions(&value));
        Ok(Self(Arc::new(Rules {
            http: proxy(["HTTP_PROXY", "http_proxy"])?.or_else(|| all.clone()),
            https: proxy(["HTTPS_PROXY", "https_proxy"])?.or(all),
            except: except.unwrap_or_default(),
        })))
    }

    /// One proxy for everything.
    #[cfg(test)]
    pub fn all(proxy: &str) -> Self {
        Self::read(|name| (name == "ALL_PROXY").then(|| proxy.to_owned())).expect("a proxy")
    }

    /// The proxy on the way to a host, if there is one; `secure` tells https and wss from http and ws.
    pub fn on_the_way_to(&self, secure: bool, host: &str, port: u16) -> Option<&Proxy> {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let is_loopback = address.map_or(host == "localhost", |address| address.is_loopback());
        if is_loopback || self.0.except.iter().any(|entry| entry.is_for(&host, address, port)) {
            return None;
        }
        let Rules { http, https, .. } = &*self.0;
        if secure { https.as_ref() } else { http.as_ref() }
    }

    /// The proxy on the way to a URL.
    pub fn on_the_way_to_url(&self, url: &Url) -> Option<&Proxy> {
        let port = url.port_or_known_default().unwrap_or_default();
        self.on_the_way_to(url.scheme() == "https", url.host_str()?, port)
    }

    /// Makes an HTTP client go by these rules instead of its own.
    pub fn rule(&self, client: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let proxies = self.clone();
        client.no_proxy().proxy(reqwest::Proxy::custom(move |url| {
            let proxy = proxies.on_the_way_to_url(url)?;
            Url::parse(proxy.url.expose_secret()).ok()
        }))
    }
}

impl Proxy {
    fn new(variable: &'static str, value: &str) -> Result<Self, Error> {
        let unfit = || Error { variable };
        let url = match value.contains("://") {
            true => value.to_owned(),
            false => format!("http://{value}"),
        };
        let parsed = Url::parse(&url).map_err(|_| unfit())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(unfit());
        }
        let any = "http://any.invalid/".parse().map_err(|_| unfit())?;
        let matcher = Matcher::builder().all(parsed.as_str()).build();
        let intercept = matcher.intercept(&any).ok_or_else(unfit)?;
        Ok(Self { variable, intercept, url: SecretString::from(parsed.as_str()) })
    }

    /// Whether the way to the proxy itself is TLS.
    pub fn is_secure(&self) -> bool {
        self.intercept.uri().scheme_str() == Some("https")
    }

    /// Host (an IPv6 address without its brackets) and port.
    pub fn place(&self) -> (&str, u16) {
        let uri = self.intercept.uri();
        let host = uri.host().unwrap_or_default();
        let port = if self.is_secure() { 443 } else { 80 };
        (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(port))
    }

    /// The value of `Proxy-Authorization`, where the variable held a user.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = self.place();
        match host.contains(':') {
            true => write!(f, "the proxy at [{host}]:{port} ({})", self.variable),
            false => write!(f, "the proxy at {host}:{port} ({})", self.variable),
        }
    }
}

fn exceptions(list: &str) -> Vec<Exception> {
    let entries = list.split(|letter: char| letter == ',' || letter.is_whitespace());
    entries.filter_map(exception).collect()
}

fn exception(entry: &str) -> Option<Exception> {
    let entry = entry.trim_end_matches('.').to_ascii_lowercase();
    if let Some(block) = block(entry.trim_start_matches('[').trim_end_matches(']')) {
        return Some(Exception { host: block, port: None });
    }
    let (host, port) = match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        Some((_, Err(_))) | None => (entry.as_str(), None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let domain = host.strip_prefix('*').unwrap_or(host).trim_start_matches('.');
    let host = match (block(host), host) {
        (Some(block), _) => block,
        (None, "*") => Host::Any,
        (None, _) if domain.is_empty() => return None,
        (None, _) => Host::Domain(domain.to_owned()),
    };
    Some(Exception { host, port })
}

/// `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`.
fn block(text: &str) -> Option<Host> {
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = if text.contains('/') { bits.parse().ok()? } else { most };
    (bits <= most).then_some(Host::Block(address, bits))
}

impl Exception {
    fn is_for(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match &self.host {
            Host::Any => true,
            Host::Block(block, bits) => {
                address.is_some_and(|address| starts_alike(address, *block, *bits))
            }
            Host::Domain(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|above| above.is_empty() || above.ends_with('.')),
        }
    }
}

/// Whether two addresses of one kind have the same leading bits.
fn starts_alike(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (differ, width) = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits() ^ other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differ.checked_shr(width - u32::from(bits)).unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Error> {
        Proxies::read(|name| {
            let found = variables.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn way(variables: &[(&str, &str)], url: &str) -> String {
        let proxies = proxies(variables).expect("fit");
        let url = Url::parse(url).expect("a URL");
        proxies.on_the_way_to_url(&url).map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_stands_in() {
        let both = [("HTTPS_PROXY", "http://s:3128"), ("http_proxy", "plain"), ("ALL_PROXY", "a")];
        assert_eq!(way(&both, "https://x.example"), "the proxy at s:3128 (HTTPS_PROXY)");
        assert_eq!(way(&both, "http://x.example"), "the proxy at plain:80 (http_proxy)");
        let all = [("ALL_PROXY", "https://[2001:db8::1]"), ("HTTPS_PROXY", "")];
        assert_eq!(way(&all, "https://x.example"), "the proxy at [2001:db8::1]:443 (ALL_PROXY)");
        assert_eq!(way(&[("HTTP_PROXY", "http://p")], "https://x.example"), "");
        let cases = [("https_proxy", "http://low"), ("HTTPS_PROXY", "http://up")];
        assert_eq!(way(&cases, "https://x.example"), "the proxy at up:80 (HTTPS_PROXY)");
    }

    #[test]
    fn no_proxy_takes_names_suffixes_blocks_and_ports() {
        for (list, host, direct) in [
            ("*", "https://x.example", true),
            ("x.example", "https://x.example", true),
            ("x.example", "https://X.Example.", true),
            ("x.example", "https://a.x.example", true),
            (".x.example", "https://a.x.example", true),
            ("*.x.example", "https://a.x.example", true),
            ("x.example", "https://ax.example", false),
            ("a, b x.example,", "https://x.example", true),
            ("x.example:443", "https://x.example", true),
            ("x.example:8443", "https://x.example", false),
            ("x.example:8443", "https://x.example:8443", true),
            ("10.0.0.0/8", "https://10.9.8.7", true),
            ("10.0.0.0/8", "https://11.0.0.1", false),
            ("0.0.0.0/0", "https://11.0.0.1", true),
            ("10.0.0.1:8200", "https://10.0.0.1:8200", true),
            ("10.0.0.1:8200", "https://10.0.0.1", false),
            ("2001:db8::/32", "https://[2001:db8::5]", true),
            ("[2001:db8::5]:8200", "https://[2001:db8::5]:8200", true),
            ("2001:db8::5", "https://[2001:db8::6]", false),
            ("10.0.0.0/33", "https://10.0.0.1", false),
            ("", "https://x.example", false),
        ] {
            let variables = [("HTTPS_PROXY", "http://p"), ("NO_PROXY", list)];
            assert_eq!(way(&variables, host).is_empty(), direct, "{list} for {host}");
        }
    }

    #[test]
    fn loopback_is_never_proxied() {
        for url in ["http://127.0.0.1:8100", "http://localhost:8100", "https://[::1]"] {
            assert_eq!(way(&[("ALL_PROXY", "http://p")], url), "", "{url}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        for value in ["socks5://u:hunter2@p:1080", "http://u:hunter2@", "http://u:hunter2@p:port"] {
            let error = proxies(&[("ALL_PROXY", value)]).expect_err(value).to_string();
            assert!(error.starts_with("ALL_PROXY names no proxy"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_go_to_the_proxy_and_nowhere_else() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://us%40er:hunter2@p:3128")]).expect("fit");
        let proxy = proxies.on_the_way_to(true, "x.example", 443).expect("a proxy");
        let header = proxy.authorization().expect("credentials");
        assert_eq!(header.as_bytes(), b"Basic dXNAZXI6aHVudGVyMg==");
        let told = format!("{proxy} {proxies:?} {proxy:?} {header:?}");
        assert!(!told.contains("hunter2") && !told.contains("dXNA"), "{told}");
    }
}
